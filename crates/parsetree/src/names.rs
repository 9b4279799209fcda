//! Names that mean something to us: volatile functions, aggregates, system catalogs, first words.
//!
//! Lists of names are guesses about a server's catalog that nobody asked. They err towards silence: a function
//! wrongly held for volatile hides a finding, it never invents one.

use pgtally_fingerprint::{Function, Table};

/// Functions whose repeated call is not a repeated read.
const VOLATILE: [&str; 35] = [
    "clock_timestamp",
    "currval",
    "gen_random_bytes",
    "gen_random_uuid",
    "lastval",
    "lo_creat",
    "lo_create",
    "lo_export",
    "lo_import",
    "lo_unlink",
    "nextval",
    "pg_cancel_backend",
    "pg_current_wal_lsn",
    "pg_current_xact_id",
    "pg_export_snapshot",
    "pg_logical_emit_message",
    "pg_notify",
    "pg_reload_conf",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_switch_wal",
    "pg_terminate_backend",
    "random",
    "random_normal",
    "set_config",
    "setseed",
    "setval",
    "timeofday",
    "txid_current",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
    "uuidv4",
    "uuidv7",
];

/// Families of volatile functions.
const VOLATILE_PREFIXES: [&str; 3] = ["dblink", "pg_advisory", "pg_try_advisory"];

const AGGREGATES: [&str; 27] = [
    "any_value",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "every",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "max",
    "min",
    "range_agg",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
    "xmlagg",
];

/// Functions that return a set: an INSERT … SELECT of one writes many rows.
const SET_RETURNING: [&str; 8] = [
    "generate_series",
    "json_array_elements",
    "json_populate_recordset",
    "json_to_recordset",
    "jsonb_array_elements",
    "jsonb_populate_recordset",
    "jsonb_to_recordset",
    "unnest",
];

/// First words of statements whose tree is walked. Others (DDL, settings, maintenance) have nothing for the rules,
/// and the wrapper's own walk over their trees indexes lists that hostile texts can leave empty.
const WALKABLE: [&str; 12] = [
    "copy", "declare", "delete", "explain", "insert", "merge", "prepare", "select", "table", "truncate",
    "update", "values",
];

pub(crate) fn is_volatile(function: &Function) -> bool {
    let name = function.name.as_str();
    VOLATILE.binary_search(&name).is_ok() || VOLATILE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

pub(crate) fn is_aggregate(name: &str) -> bool {
    AGGREGATES.binary_search(&name).is_ok()
}

pub(crate) fn is_set_returning(name: &str) -> bool {
    SET_RETURNING.binary_search(&name).is_ok()
}

pub(crate) fn is_catalog(table: &Table) -> bool {
    match table.schema.as_deref() {
        Some("pg_catalog" | "information_schema") => true,
        Some(_) => false,
        None => table.name.starts_with("pg_"),
    }
}

pub(crate) fn is_walkable(text: &str) -> bool {
    let start = text.trim_start_matches(|c: char| c == '(' || c.is_whitespace());
    let end = start.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(start.len());
    let word = start.get(..end).unwrap_or_default().to_ascii_lowercase();
    word == "with" || WALKABLE.binary_search(&word.as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_for_binary_search() {
        assert!(VOLATILE.is_sorted() && AGGREGATES.is_sorted());
        assert!(SET_RETURNING.is_sorted() && WALKABLE.is_sorted());
    }
}
