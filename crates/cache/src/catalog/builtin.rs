//! What is known of PostgreSQL's own functions beyond their declared volatility.

/// Functions that are only stable because of settings that are part of every key (`TimeZone`, `DateStyle`,
/// `lc_monetary`, `default_text_search_config`, …) or of definitions (the catalog's version is). Each was looked at
/// in all its variants: `age`, say, is not here, as `age(x)` looks at the clock.
const STABLE_BY_SETTINGS: [&str; 64] = [
    "array_to_json",
    "array_to_string",
    "concat",
    "concat_ws",
    "date",
    "date_add",
    "date_part",
    "date_subtract",
    "date_trunc",
    "extract",
    "format",
    "generate_series",
    "json_agg",
    "json_agg_strict",
    "json_array_elements",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "json_populate_record",
    "json_populate_recordset",
    "json_to_record",
    "json_to_recordset",
    "json_to_tsvector",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "jsonb_populate_record",
    "jsonb_populate_recordset",
    "jsonb_to_record",
    "jsonb_to_recordset",
    "jsonb_to_tsvector",
    "length",
    "make_timestamptz",
    "money",
    "numeric",
    "overlaps",
    "phraseto_tsquery",
    "plainto_tsquery",
    "quote_literal",
    "quote_nullable",
    "row_to_json",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "to_tsquery",
    "to_tsvector",
    "ts_headline",
    "websearch_to_tsquery",
];

/// Volatile functions that change no row of a table. `set_config` changes its session, and is told apart.
const WRITES_NO_ROWS: [&str; 34] = [
    "clock_timestamp",
    "currval",
    "gen_random_uuid",
    "lastval",
    "nextval",
    "pg_cancel_backend",
    "pg_current_wal_insert_lsn",
    "pg_current_wal_lsn",
    "pg_current_xact_id",
    "pg_current_xact_id_if_assigned",
    "pg_export_snapshot",
    "pg_is_in_recovery",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_logical_emit_message",
    "pg_notify",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_terminate_backend",
    "random",
    "random_normal",
    "set_config",
    "setseed",
    "setval",
    "suppress_redundant_updates_trigger",
    "timeofday",
    "tsvector_update_trigger",
    "tsvector_update_trigger_column",
    "txid_current",
    "txid_current_if_assigned",
    "unique_key_recheck",
    "uuidv4",
    "uuidv7",
];

/// Families of such functions.
const WRITES_NO_ROWS_PREFIXES: [&str; 3] = ["pg_advisory_", "pg_stat_get_", "pg_try_advisory_"];

/// Functions that run SQL which stands in one of their arguments, or read tables that do. All of them are called
/// stable or volatile; what they run is in no tree.
const RUNS_TEXT: [&str; 3] = ["query_to_xml", "ts_rewrite", "ts_stat"];

/// Whether all variants of a stable function depend on nothing but arguments and what keys hold.
pub(super) fn is_stable_by_settings(name: &str) -> bool {
    STABLE_BY_SETTINGS.binary_search(&name).is_ok()
}

/// Whether a function of PostgreSQL's, volatile or not, writes no rows.
pub(super) fn writes_no_rows(name: &str, is_volatile: bool) -> bool {
    let runs_text = RUNS_TEXT.iter().any(|it| name.starts_with(it));
    !runs_text
        && (!is_volatile
            || WRITES_NO_ROWS.binary_search(&name).is_ok()
            || WRITES_NO_ROWS_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Types whose values name things of the catalog by text, and mean by it what the catalog says at the time.
pub(super) fn is_catalog_type(name: &str) -> bool {
    matches!(
        name,
        "regclass"
            | "regcollation"
            | "regconfig"
            | "regdictionary"
            | "regnamespace"
            | "regoper"
            | "regoperator"
            | "regproc"
            | "regprocedure"
            | "regrole"
            | "regtype"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_for_binary_search() {
        assert!(STABLE_BY_SETTINGS.is_sorted() && WRITES_NO_ROWS.is_sorted());
    }
}
