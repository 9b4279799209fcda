//! What a parse tree tells about a shape: plain data, filled by the crate that owns libpg_query.

/// A table as the statement names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Schema, when the statement writes it.
    pub schema: Option<String>,
    /// Name of the table, view or other relation.
    pub name: String,
}

/// One function the statement calls, in lower case, without arguments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Function {
    /// Schema, when the statement writes it.
    pub schema: Option<String>,
    /// Name of the function.
    pub name: String,
}

/// Where an output column of the statement comes from, when the tree says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputColumn {
    /// Table (not alias) the column belongs to.
    pub table: Option<String>,
    /// Column name in that table; `None` for an expression.
    pub column: Option<String>,
}

/// FROM and WHERE of a SELECT, whatever it tells of their rows. Equal hashes mean equal clauses, apart from aliases
/// and parameter numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Of both clauses.
    pub hash: u64,
    /// Different parameters in them.
    pub parameters: u16,
}

/// A column that a parameter is compared with by equality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// 1-based number of the parameter in the normalized text.
    pub parameter: u16,
    /// Table (not alias) of the column, when the tree says so.
    pub table: Option<String>,
    /// Name of the column.
    pub column: String,
}

/// What a parse tree tells about a normalized statement.
///
/// The default value says "unknown": `is_parsed` is false, and no rule that needs facts may fire on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShapeFacts {
    /// Whether libpg_query accepted the text.
    pub is_parsed: bool,
    /// Tables read, sorted, each once; tables of CTE names and of the written table itself excluded.
    pub tables_read: Vec<Table>,
    /// Tables written (INSERT, UPDATE, DELETE, MERGE, TRUNCATE, COPY FROM, data-modifying CTE), sorted, each once.
    pub tables_written: Vec<Table>,
    /// Functions called, sorted, each once.
    pub functions: Vec<Function>,
    /// The statement has a FROM clause, at any level of a SELECT or by being a write.
    pub has_from: bool,
    /// All tables are system catalogs (`pg_catalog`, `information_schema`, or unqualified `pg_*`).
    pub is_catalog_only: bool,
    /// Calls a function known to be volatile, or one that takes locks or sequences (`nextval`, `random`,
    /// `pg_advisory_lock`, …), or uses no function but `CURRENT_TIMESTAMP`-like values do not count.
    pub is_volatile: bool,
    /// `FOR UPDATE`, `FOR SHARE` and kin.
    pub has_locking: bool,
    /// `FOR … SKIP LOCKED` or `NOWAIT`.
    pub has_skip_locked: bool,
    /// The outermost select has aggregates or GROUP BY.
    pub has_aggregate: bool,
    /// The outermost select list is exactly `count(*)`, `count(1)` or `count([DISTINCT] column)`, as pagination
    /// counts are.
    pub is_count: bool,
    /// The outermost select has LIMIT or FETCH FIRST.
    pub has_limit: bool,
    /// A `*` in the outermost select list, whose output columns cannot be told.
    pub has_star: bool,
    /// INSERT with more than one VALUES row, or INSERT … SELECT.
    pub is_multi_row_insert: bool,
    /// UPDATE or DELETE whose WHERE compares a column by equality with a parameter.
    pub has_key: bool,
    /// Output columns of the outermost select list in order, up to the first star.
    pub outputs: Vec<OutputColumn>,
    /// Columns compared with parameters by equality.
    pub compared: Vec<Compared>,
    /// Columns that the parameters of an INSERT's first VALUES row go to, where it lists its columns.
    pub inserted: Vec<Compared>,
    /// Which rows a plain SELECT is about.
    pub source: Option<Source>,
}
