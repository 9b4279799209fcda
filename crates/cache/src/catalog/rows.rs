//! What a catalog is made of: plain rows, as the shell reads them from `pg_class`, `pg_proc` and their kin.

use pgtally_fingerprint::Access;

use super::policy::RowPolicy;
use crate::facts::TableId;

/// OID of a function (`pg_proc.oid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionId(pub u32);

/// What a relation is, as far as reading and writing it differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// A foreign table.
    Foreign,
    /// A materialized view: its rows change with REFRESH alone.
    Materialized,
    /// A sequence.
    Sequence,
    /// A table, partitioned or not.
    Table,
    /// A view.
    View,
}

/// A row of `pg_class`. Temporary relations are not among them: a session knows its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its OID.
    pub id: TableId,
    /// Name of its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its rows vanish with a crash.
    pub is_unlogged: bool,
    /// Which rows are seen depends on who asks.
    pub has_row_security: bool,
    /// A rewrite rule other than a view's own stands on it.
    pub has_rules: bool,
}

/// `pg_proc.provolatile`, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volatility {
    /// Its result depends on its arguments alone.
    Immutable,
    /// It changes nothing, but may look at everything.
    Stable,
    /// Anything.
    Volatile,
}

/// A function, procedure or aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routine {
    /// Its OID.
    pub id: FunctionId,
    /// Name of its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// As declared; for an aggregate the worst of its functions'.
    pub volatility: Volatility,
    /// It came with PostgreSQL.
    pub is_builtin: bool,
    /// Everything its body may execute, where that could be told.
    pub body: Option<Access>,
    /// Its text has a word by which definitions change.
    pub may_define: bool,
}

/// An operator whose function did not come with PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Its name.
    pub name: String,
    /// Its function.
    pub function: FunctionId,
}

/// Everything a [`super::Catalog`] is made of. The order of rows means nothing.
#[derive(Clone, Debug, Default)]
pub struct CatalogRows {
    /// All relations but temporary ones and those of the system.
    pub relations: Vec<Relation>,
    /// A parent and a child, by inheritance or as partition.
    pub children: Vec<(TableId, TableId)>,
    /// A table and one whose rows change (CASCADE, SET NULL, SET DEFAULT) with its keys.
    pub cascades: Vec<(TableId, TableId)>,
    /// A table and a function that a write to it may call: triggers; defaults, checks, indexes and domains as far as
    /// their functions did not come with PostgreSQL.
    pub calls: Vec<(TableId, FunctionId)>,
    /// Functions of event triggers that run at every login.
    pub logins: Vec<FunctionId>,
    /// A table and a policy of it, whether it is read or written.
    pub policies: Vec<(TableId, RowPolicy)>,
    /// Views and what their queries access, all names with their schema.
    pub views: Vec<(TableId, Access)>,
    /// All functions.
    pub routines: Vec<Routine>,
    /// Operators of users and extensions.
    pub operators: Vec<Operator>,
    /// Names of types that call a function which did not come with PostgreSQL where values are cast to them.
    pub types: Vec<(String, FunctionId)>,
    /// Functions of users that take one row, which can be written as if they were a column.
    pub row_functions: Vec<FunctionId>,
}
