//! Findings: what the rules report, and their stable identity.

use std::fmt;
use std::sync::Arc;

use pgtally_fingerprint::Fingerprint;

/// The kinds of findings this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// The same read with the same parameters again.
    Duplicate,
    /// One read repeated per row of another.
    NPlusOne,
    /// Single-row writes, one round trip each.
    NPlusOneWrite,
    /// One statement that takes too long.
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
    /// Worth knowing.
    Info,
    /// Worth fixing.
    Warning,
    /// Costs users time now.
    Critical,
}

/// How sure it is. `High` is proof by values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// A hint.
    Info,
    /// The pattern is there, its cause is not proven.
    Medium,
    /// Proven by values, or measured.
    High,
}

/// Stable identity of a finding: hash of (kind, route, parent fingerprint, child fingerprint).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId(pub u64);

/// Route of requests that nothing names.
pub(crate) const ROUTE_UNTAGGED: &str = "untagged";

impl FindingId {
    /// The identity of a finding. Acknowledgements in git name it, so the algorithm (FNV-1a, 64 bits) never changes.
    #[must_use]
    pub fn new(kind: FindingKind, route: &str, parent: Option<Fingerprint>, child: Fingerprint) -> Self {
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        // 0xff can't be part of UTF-8 text: `("a", "bc")` and `("ab", "c")` differ.
        let separator: &[u8] = &[0xff];
        let parent = parent.unwrap_or_default().0.to_le_bytes();
        let child = child.0.to_le_bytes();
        let parts = [kind.name().as_bytes(), separator, route.as_bytes(), separator, &parent, &child];
        let bytes = parts.into_iter().flatten();
        Self(bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME)))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_tell_their_parts_apart() {
        let id = |kind, route, parent, child| FindingId::new(kind, route, parent, Fingerprint(child));
        let golden = id(FindingKind::NPlusOne, "/orders", Some(Fingerprint(1)), 2);
        assert_eq!(golden.to_string(), "1496fdb0462a5ea8");
        assert_ne!(golden, id(FindingKind::NPlusOne, "/orders", None, 2));
        assert_ne!(golden, id(FindingKind::NPlusOne, "/order", Some(Fingerprint(1)), 2));
        assert_ne!(golden, id(FindingKind::Duplicate, "/orders", Some(Fingerprint(1)), 2));
        assert_ne!(golden, id(FindingKind::NPlusOne, "/orders", Some(Fingerprint(2)), 1));
    }
}
