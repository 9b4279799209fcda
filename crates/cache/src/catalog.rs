//! What the names in a statement mean: from what its tree tells to what it reads and writes.
//!
//! A [`Catalog`] is one snapshot of a database's definitions. It answers with supersets only. A name without a schema
//! stands for every relation (or function) of that name in any schema, so that no search path can hide one; a
//! function is as bad as the worst of its name; a write is closed over partitions, inheritance, key actions, rules,
//! views, and the functions of triggers, defaults, checks, indexes and policies. Whatever the snapshot does not know is
//! "everything" for a write and a reason not to keep the answer for a read.
//!
//! What is believed: that a function declared `IMMUTABLE` whose body cannot be read changes nothing; and
//! that text which changes definitions has a word for it (`CREATE`, `ALTER`, …) somewhere in it.
//!
//! Deliberately absent: when a snapshot is too old. Its owner compares the catalog's version.
//!
//! Read next: `writes.rs`, `reads.rs`; `body.rs` for what functions do; `builtin.rs` for what is known of PostgreSQL's own functions.

pub mod body;
mod builtin;
pub mod policy;
mod reads;
pub mod rows;
#[cfg(test)]
mod tests;
mod writes;

use pgtally_fingerprint::{Access, Effect, Function, Refusal, Table};
use rustc_hash::FxHashMap;

use policy::RowPolicy;
pub use rows::CatalogRows;
use rows::{FunctionId, Relation, Routine};

use crate::facts::{BypassReason, StatementFacts, TableId, WriteSet};

/// Schemas whose relations are the system's.
const SYSTEM_SCHEMAS: [&str; 3] = ["information_schema", "pg_catalog", "pg_toast"];
/// What a session calls the schema of its own temporary tables.
const TEMPORARY_SCHEMA: &str = "pg_temp";

/// Definitions of one database at one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    relations: Vec<Relation>,
    routines: Vec<Routine>,
    /// Indexes into `relations`, by name without schema.
    relations_by_name: FxHashMap<String, Vec<usize>>,
    relations_by_id: FxHashMap<TableId, usize>,
    routines_by_name: FxHashMap<String, Vec<usize>>,
    routines_by_id: FxHashMap<FunctionId, usize>,
    children: FxHashMap<TableId, Vec<TableId>>,
    cascades: FxHashMap<TableId, Vec<TableId>>,
    calls: FxHashMap<TableId, Vec<FunctionId>>,
    /// What becomes of every login, also of those past this proxy.
    login_writes: WriteSet,
    policies: FxHashMap<TableId, Vec<RowPolicy>>,
    views: FxHashMap<TableId, Access>,
    operators: FxHashMap<String, Vec<FunctionId>>,
    types: FxHashMap<String, Vec<FunctionId>>,
    /// By name.
    row_functions: FxHashMap<String, Vec<FunctionId>>,
    /// There are functions whose text may change definitions.
    may_define: bool,
}

impl Catalog {
    /// A catalog of these rows.
    #[must_use]
    pub fn new(rows: CatalogRows) -> Self {
        let mut catalog = Self {
            children: grouped(rows.children),
            cascades: grouped(rows.cascades),
            calls: grouped(rows.calls),
            policies: grouped(rows.policies),
            views: rows.views.into_iter().collect(),
            types: grouped(rows.types),
            operators: grouped(rows.operators.into_iter().map(|it| (it.name, it.function))),
            ..Self::default()
        };
        for (index, relation) in rows.relations.iter().enumerate() {
            catalog.relations_by_name.entry(relation.name.clone()).or_default().push(index);
            catalog.relations_by_id.insert(relation.id, index);
        }
        for (index, routine) in rows.routines.iter().enumerate() {
            catalog.routines_by_name.entry(routine.name.clone()).or_default().push(index);
            catalog.routines_by_id.insert(routine.id, index);
        }
        catalog.may_define = rows.routines.iter().any(|routine| routine.may_define);
        catalog.relations = rows.relations;
        catalog.routines = rows.routines;
        let named =
            rows.row_functions.into_iter().filter_map(|id| Some((catalog.routine(id)?.name.clone(), id)));
        catalog.row_functions = grouped(named.collect::<Vec<_>>());
        catalog.login_writes = writes::of_functions(&catalog, &rows.logins);
        catalog
    }

    /// What a statement reads and writes. Transaction control changes nothing by itself: what its transaction wrote is
    /// known from the statements before.
    #[must_use]
    pub fn facts(&self, access: &Access) -> StatementFacts {
        let written = writes::closure(self, access);
        let read = match access.effect {
            Effect::Nothing if written.set.is_nothing() => reads::closure(self, access),
            _ => Err(refused(access.refusal).unwrap_or(BypassReason::Function)),
        };
        StatementFacts {
            read,
            can_commit: can_commit(access.effect),
            can_roll_back: can_commit(access.effect),
            can_change_session: written.changes_session,
            writes: written.set,
        }
    }

    /// Tables whose names are `name` (`schema.table`, or `table` in whatever schema), for rules and orders that name
    /// tables.
    pub fn tables(&self, schema: Option<&str>, name: &str) -> impl Iterator<Item = TableId> {
        self.named(schema, name).map(|relation| relation.id)
    }

    /// The name of a table with its schema.
    #[must_use]
    pub fn name_of(&self, table: TableId) -> Option<(&str, &str)> {
        let relation = self.relation(table)?;
        Some((&relation.schema, &relation.name))
    }

    fn named(&self, schema: Option<&str>, name: &str) -> impl Iterator<Item = &Relation> {
        let indexes = self.relations_by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let relations = indexes.iter().filter_map(|index| self.relations.get(*index));
        relations.filter(move |relation| schema.is_none_or(|schema| schema == relation.schema))
    }

    fn relation(&self, id: TableId) -> Option<&Relation> {
        self.relations.get(*self.relations_by_id.get(&id)?)
    }

    fn called(&self, function: &Function) -> impl Iterator<Item = &Routine> {
        let schema = function.schema.clone();
        let indexes = self.routines_by_name.get(&function.name).map(Vec::as_slice).unwrap_or_default();
        let routines = indexes.iter().filter_map(|index| self.routines.get(*index));
        routines.filter(move |it| schema.as_ref().is_none_or(|schema| *schema == it.schema))
    }

    fn routine(&self, id: FunctionId) -> Option<&Routine> {
        self.routines.get(*self.routines_by_id.get(&id)?)
    }

    fn children_of(&self, id: TableId) -> &[TableId] {
        self.children.get(&id).map(Vec::as_slice).unwrap_or_default()
    }

    /// Functions that an access calls without writing their names: by operators, casts, and rows with a dot.
    fn implied(&self, access: &Access) -> impl Iterator<Item = FunctionId> {
        let operators = access.operators.iter().filter_map(|it| self.operators.get(&it.name));
        // `GROUP BY`, `DISTINCT` and `ORDER BY` apply the operators of their types without a word.
        let silent = ["<", "=", ">"].into_iter().filter_map(|name| self.operators.get(name));
        let types = access.types.iter().filter_map(|it| self.types.get(&it.name));
        let fields = access.fields.iter().filter_map(|name| self.row_functions.get(name));
        operators.chain(silent).chain(types).chain(fields).flatten().copied()
    }
}

/// What a statement may do when no catalog is to be had: only its tree is known. No answer is kept then, so a view
/// whose query calls a function that writes does no harm.
#[must_use]
pub fn facts_without_catalog(access: &Access) -> StatementFacts {
    let writes = match access.effect {
        Effect::Session | Effect::Transaction => WriteSet::nothing(),
        Effect::Nothing if calls_nothing(access) => WriteSet::nothing(),
        Effect::Catalog => WriteSet::catalog(),
        _ => WriteSet::everything(),
    };
    StatementFacts {
        read: Err(refused(access.refusal).unwrap_or(BypassReason::CatalogUnknown)),
        can_commit: can_commit(access.effect),
        can_roll_back: can_commit(access.effect),
        can_change_session: access.effect == Effect::Session || writes.is_everything(),
        writes,
    }
}

fn calls_nothing(access: &Access) -> bool {
    access.functions.is_empty() && access.writes.is_empty()
}

fn can_commit(effect: Effect) -> bool {
    match effect {
        // Procedures commit, and so do some definitions (`CREATE INDEX CONCURRENTLY`).
        Effect::Catalog | Effect::Everything | Effect::Transaction => true,
        Effect::Execute | Effect::Nothing | Effect::Prepare | Effect::Rows | Effect::Session => false,
    }
}

fn refused(refusal: Option<Refusal>) -> Option<BypassReason> {
    Some(match refusal? {
        Refusal::Into | Refusal::NotSelect | Refusal::Writes => BypassReason::NotRead,
        Refusal::Locking => BypassReason::Locking,
        Refusal::SessionValue => BypassReason::Function,
        Refusal::TableSample => BypassReason::TableSample,
        Refusal::Unknown => BypassReason::NotParsed,
    })
}

/// Whether a name is of the system's catalogs. A table of a user may be called `pg_x`; then it is not cached.
fn is_system(table: &Table) -> bool {
    match table.schema.as_deref() {
        Some(schema) => SYSTEM_SCHEMAS.contains(&schema),
        None => table.name.starts_with("pg_"),
    }
}

fn is_temporary(table: &Table) -> bool {
    table.schema.as_deref().is_some_and(|schema| schema.starts_with(TEMPORARY_SCHEMA))
}

fn grouped<K: std::hash::Hash + Eq, V>(pairs: impl IntoIterator<Item = (K, V)>) -> FxHashMap<K, Vec<V>> {
    let mut groups: FxHashMap<K, Vec<V>> = FxHashMap::default();
    for (key, value) in pairs {
        groups.entry(key).or_default().push(value);
    }
    groups
}
