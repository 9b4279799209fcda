//! One walk over one SQL text. See the crate docs for what it yields.

use std::fmt;
use std::ops::Range;

/// 64-bit hash of the normalized statement. Printed as 16 hexadecimal digits.
///
/// Stable across restarts and platforms (finding ids are made of it): the hash has a fixed seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How the session's server reads string literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// `standard_conforming_strings`: when false, a backslash escapes inside `'…'`.
    pub has_standard_strings: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { has_standard_strings: true }
    }
}

/// Label of a statement in metrics. A closed set of nine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Copy,
    Ddl,
    Delete,
    Insert,
    Merge,
    Other,
    Select,
    Tx,
    Update,
}

/// What a statement does, as its first words say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Command {
    AlterSystem,
    Begin,
    Call,
    CloseCursor,
    Commit,
    Copy,
    Ddl,
    Deallocate,
    DeallocateAll,
    Declare,
    Delete,
    Discard,
    DiscardAll,
    Do,
    Empty,
    Execute,
    Explain,
    Fetch,
    Insert,
    Listen,
    Lock,
    Maintenance,
    Merge,
    Move,
    Notify,
    #[default]
    Other,
    /// `SELECT` of nothing but one constant, as pools send it to see whether a connection lives.
    Ping,
    Prepare,
    PrepareTransaction,
    Release,
    Reset,
    ResetAll,
    Rollback,
    RollbackTo,
    Savepoint,
    Select,
    /// `SET`, and a `SELECT set_config('pgtally.request', …)` that does nothing else.
    Set,
    Show,
    Truncate,
    Unlisten,
    Update,
    Values,
}

/// How a parameter (literal, `$n`, or folded list) takes part in the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Compared by `=`, `IN`, `= ANY`, `IS NOT DISTINCT FROM` in WHERE, ON or USING-like places.
    Key,
    /// `LIMIT`, `OFFSET`, `FETCH FIRST`.
    Limit,
    /// Anything else.
    Other,
    /// Compared by `<`, `>`, `BETWEEN`, `LIKE`, `<>` and kin.
    Range,
    /// Assigned by `SET` of an UPDATE or by `VALUES` of an INSERT.
    Value,
}

/// Where a parameter's value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A literal; its canonical hash (see [`crate::value`]). For a folded list of literals: of the first element.
    Literal(u32),
    /// `$first` (1-based) up to `$first + count - 1`, in ascending order, of a Bind.
    Placeholder { first: u16, count: u16 },
}

/// One parameter of a statement, in order of appearance: `parameters[k]` is `$k+1` of the normalized text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// How it takes part.
    pub role: Role,
    /// Elements of a folded list as the text shows them; 1 for a scalar; 0 for `= ANY($1)`, whose length only the
    /// bound array tells.
    pub elements: u32,
    /// Hash over the canonical hashes of all literal elements of the list (equal to the literal's own for one).
    pub list_hash: u64,
    /// The value, or where it comes from.
    pub value: Value,
}

/// How long a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingScope {
    Local,
    Session,
    /** `set_config(…, …, $n)`: the n-th bound value decides (true: local). */
    Bound(u16),
}

/// A setting that attribution reads: `pgtally.request`, `application_name`, `search_path`, `role`,
/// `session_authorization`, by `SET`, `RESET` or `set_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Name in lower case, one of the above.
    pub name: &'static str,
    /// How long it holds.
    pub scope: SettingScope,
    /// Bytes of the value's token in the text (quotes included); `None` for RESET and DEFAULT.
    pub value: Option<Range<u32>>,
    /// 1-based placeholder that holds the value, for `set_config('…', $1, …)`.
    pub placeholder: Option<u16>,
}

/// One statement of a scanned text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatementScan {
    /// Identity of its shape.
    pub fingerprint: Fingerprint,
    /// What it does.
    pub command: Command,
    /// Its bytes in the text, without surrounding white space, comments and the semicolon.
    pub text: Range<u32>,
    /// Its parameters: range into [`Scan::parameters`].
    pub parameters: Range<u32>,
    /// Parameters beyond [`Scan::PARAMETERS_MAX`] exist; they are in the fingerprint but not listed.
    pub has_more_parameters: bool,
    /// The text was cut inside this statement: the fingerprint is that of the part seen, marked as cut.
    pub is_truncated: bool,
    /// Hash of the cursor's name (DECLARE, FETCH, MOVE, CLOSE) or of the prepared statement's (PREPARE, EXECUTE, DEALLOCATE); 0 when none.
    pub name_hash: u64,
    /// Setting changed by it.
    pub setting: Option<Setting>,
}

/// Reusable result of scanning one text.
#[derive(Debug, Default)]
pub struct Scan {
    /// Statements in order. Empty ones between semicolons are left out (the server gives them no answer);
    /// a text without any statement yields none.
    pub statements: Vec<StatementScan>,
    /// Parameters of all statements.
    pub parameters: Vec<Parameter>,
    /// Bodies of comments (without their delimiters), hints `/*+ … */` left out.
    pub comments: Vec<Range<u32>>,
}

impl Scan {
    /// Parameters listed per statement; more are hashed only. Reason: keys stand early or in small lists.
    pub const PARAMETERS_MAX: usize = 64;
}
