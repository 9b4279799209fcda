//! Findings: what the rules report, and their stable identity.

use std::fmt;
use std::sync::Arc;

use pgtally_fingerprint::Fingerprint;

/// The kinds of findings this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    Duplicate,
    NPlusOne,
    NPlusOneWrite,
    SlowStatement,
}

impl FindingKind {
    /// Name in metrics, API and acknowledgements.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::NPlusOne => "n_plus_one",
            Self::NPlusOneWrite => "n_plus_one_write",
            Self::SlowStatement => "slow_statement",
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// How sure it is. `High` is proof by values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    Info,
    Medium,
    High,
}

/// Stable identity of a finding: hash of (kind, route, parent fingerprint, child fingerprint).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId(pub u64);

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The earlier read whose values are the keys of the repeated statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    /// Its shape.
    pub fingerprint: Fingerprint,
    /// `table.column`, or the column's label alone where neither tree nor catalogue tells the table.
    pub column: String,
    /// Rows it returned, all executions.
    pub rows: u64,
    /// Executions of it in the request.
    pub executions: u32,
}

/// One problem, found in one request.
#[derive(Clone, Debug)]
pub struct Detection {
    /// Stable identity.
    pub id: FindingId,
    /// What it is.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// The request's route.
    pub route: Arc<str>,
    /// The repeated or slow statement.
    pub fingerprint: Fingerprint,
    /// Proven parent, for linked kinds.
    pub parent: Option<Parent>,
    /// 1-based number of the key parameter whose values are linked.
    pub linked_parameter: Option<u16>,
    /// Executions in this request.
    pub repeat: u32,
    /// Distinct key values among them.
    pub distinct: u32,
    /// Nanoseconds spent on the repeats (server time and turnaround) beyond the cost of one; for a slow statement its duration.
    pub wasted_ns: u64,
    /// Rows returned by the repeats.
    pub rows: u64,
    /// Bytes of those rows.
    pub bytes: u64,
    /// One statement that replaces the repeats, or nothing where none is known.
    pub rewrite: Option<String>,
    /// What to do, in the words of the application's ORM where it is recognised.
    pub fix: String,
}
