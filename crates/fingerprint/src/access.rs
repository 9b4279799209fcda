//! What one statement reads, calls and writes, as far as its tree tells: complete, or else said to be unknown.
//!
//! [`crate::ShapeFacts`] guess in favour of silence, as a missed finding hurts nobody. The cache may not guess: a
//! relation forgotten here is a stale answer there. So whatever a tree holds that nobody has thought of makes the
//! statement unreadable for it ([`Refusal::Unknown`], [`Effect::Everything`]).
//!
//! Deliberately absent: what names mean. Views, triggers and functions are known to the catalog alone.

use crate::facts::{Function, Table};

/// What executing a statement may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Definitions or rights as well as rows: every remembered answer is void.
    Catalog,
    /// Anything: `DO`, `CALL`, and whatever is not understood.
    #[default]
    Everything,
    /// What the `PREPARE` of this name announced.
    Execute,
    /// Nothing but what its functions do.
    Nothing,
    /// Nothing now; an `EXECUTE` of its name does what the rest of the [`Access`] says.
    Prepare,
    /// Rows of [`Access::writes`], and what their triggers, rules and keys do, and what its functions do.
    Rows,
    /// Settings of its session, and nothing else.
    Session,
    /// The transaction it stands in: where it begins and ends.
    Transaction,
}

/// Why a tree alone forbids to remember a statement's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `SELECT … INTO`.
    Into,
    /// `FOR UPDATE` and kin: it is executed for its locks.
    Locking,
    /// No `SELECT` or `VALUES`.
    NotSelect,
    /// `CURRENT_TIMESTAMP`, `CURRENT_USER` and kin: the answer depends on more than tables and parameters.
    SessionValue,
    /// `TABLESAMPLE`: two executions need not agree.
    TableSample,
    /// Something in the tree is not known here, or there is no tree.
    Unknown,
    /// A data-modifying `WITH` query.
    Writes,
}

/// What the tree of one statement tells for the cache. The default value is "unknown": it may do everything, and
/// its answer may not be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What executing it may change.
    pub effect: Effect,
    /// Why its answer may not be remembered; `None` for a plain read.
    pub refusal: Option<Refusal>,
    /// Relations read, sorted, each once; names of `WITH` queries excluded where they are in force.
    pub reads: Vec<Table>,
    /// Relations written, sorted, each once.
    pub writes: Vec<Table>,
    /// All writes are inserts that replace nothing, so no key's action follows from them.
    pub only_inserts: bool,
    /// Functions called by name, sorted, each once, as PostgreSQL folds their names.
    pub functions: Vec<Function>,
    /// Operators applied, sorted, each once; not those that `DISTINCT`, `GROUP BY` and `ORDER BY` imply.
    pub operators: Vec<Function>,
    /// Types that values are cast to, sorted, each once.
    pub types: Vec<Function>,
    /// Names behind a dot (`b` of `a.b`), sorted, each once: a column, or a function of one row (`f(a)`).
    pub fields: Vec<String>,
}

impl Default for Access {
    fn default() -> Self {
        Self { refusal: Some(Refusal::Unknown), ..Self::of(Effect::Everything) }
    }
}

impl Access {
    /// A statement with this effect that is no read and whose tree tells nothing more.
    #[must_use]
    pub fn of(effect: Effect) -> Self {
        Self {
            effect,
            refusal: Some(Refusal::NotSelect),
            reads: Vec::new(),
            writes: Vec::new(),
            only_inserts: false,
            functions: Vec::new(),
            operators: Vec::new(),
            types: Vec::new(),
            fields: Vec::new(),
        }
    }
}
