//! Findings: what the rules report, and their stable identity.

use std::fmt;
use std::sync::Arc;

use pgtally_fingerprint::Fingerprint;

use crate::baseline::Regression;

/// The kinds of findings this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// Very many statements, or a transaction that mostly waits for the client.
    ChattyRequest,
    /// A count of the rows that are read anyway.
    CountThenSelect,
    /// The same read with the same parameters again.
    Duplicate,
    /// A transaction kept open while the client does something else.
    IdleInTransaction,
    /// One read repeated per row of another.
    NPlusOne,
    /// Single-row writes, one round trip each.
    NPlusOneWrite,
    /// A repeated read most of whose bytes are one wide column.
    OverFetch,
    /// A route runs more statements than its baseline.
    QueryCountRegression,
    /// A read of a row that the request has just written.
    RereadAfterWrite,
    /// Reads that don't need each other, one round trip each.
    SequentialIndependent,
    /// One statement that takes too long.
    SlowStatement,
    /// A result without LIMIT that has grown large.
    UnboundedResult,
}

impl FindingKind {
    /// Name in metrics, API and acknowledgements.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChattyRequest => "chatty_request",
            Self::CountThenSelect => "count_then_select",
            Self::Duplicate => "duplicate",
            Self::IdleInTransaction => "idle_in_transaction",
            Self::NPlusOne => "n_plus_one",
            Self::NPlusOneWrite => "n_plus_one_write",
            Self::OverFetch => "over_fetch",
            Self::QueryCountRegression => "query_count_regression",
            Self::RereadAfterWrite => "reread_after_write",
            Self::SequentialIndependent => "sequential_independent",
            Self::SlowStatement => "slow_statement",
            Self::UnboundedResult => "unbounded_result",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Every kind, in the order of their names.
    pub const ALL: [Self; 12] = [
        Self::ChattyRequest,
        Self::CountThenSelect,
        Self::Duplicate,
        Self::IdleInTransaction,
        Self::NPlusOne,
        Self::NPlusOneWrite,
        Self::OverFetch,
        Self::QueryCountRegression,
        Self::RereadAfterWrite,
        Self::SequentialIndependent,
        Self::SlowStatement,
        Self::UnboundedResult,
    ];
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
        // 0xff can't be part of UTF-8 text: `("a", "bc")` and `("ab", "c")` differ.
        let separator: &[u8] = &[0xff];
        let parent = parent.unwrap_or_default().0.to_le_bytes();
        let child = child.0.to_le_bytes();
        let parts = [kind.name().as_bytes(), separator, route.as_bytes(), separator, &parent, &child];
        Self::hash(&parts)
    }

    /// The identity of a loop: of all statements repeated per row of `parent`.
    #[must_use]
    pub fn of_loop(route: &str, parent: Fingerprint) -> Self {
        Self::hash(&[b"loop", &[0xff], route.as_bytes(), &[0xff], &parent.0.to_le_bytes()])
    }

    fn hash(parts: &[&[u8]]) -> Self {
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let bytes = parts.iter().copied().flatten();
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
    /// `table.column`, or the column's label alone where neither tree nor catalogue tells the table. Empty where
    /// the values prove nothing, but the number of executions grows with the parent's rows.
    pub column: String,
    /// Rows it returned, all executions.
    pub rows: u64,
    /// Executions of it in the request.
    pub executions: u32,
}

/// Where the time of statements went, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// From the last byte sent to the first byte of the answer: the server's.
    pub server_ns: u64,
    /// From there to the end of the answer: shared by server, network and client.
    pub transfer_ns: u64,
    /// From the answer before to the sending: the client's.
    pub client_ns: u64,
}

/// A statement's executions against the rows of its parent, over the requests of a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Executions per row (least squares).
    pub slope: f64,
    /// Share of the variance that the rows explain (r²).
    pub fit: f64,
    /// Requests seen.
    pub requests: u32,
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
    /// The repeated or slow statement; the default for what concerns the request as a whole.
    pub fingerprint: Fingerprint,
    /// Proven parent, for linked kinds; the write of a row read again, the count of the rows selected.
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
    /// Where the time of the repeats went.
    pub times: Times,
    /// The repeats ran at the same time on several sessions.
    pub is_parallel: bool,
    /// The loop this statement is part of, when others are repeated with it per row of the same parent.
    pub loop_id: Option<FindingId>,
    /// How the number of executions depends on the parent's rows over the route's requests, when that is known.
    pub growth: Option<Growth>,
    /// Columns the finding is about, such as wide ones.
    pub columns: Vec<String>,
    /// One statement that replaces the repeats, or nothing where none is known.
    pub rewrite: Option<String>,
    /// What to do, in the words of the application's ORM where it is recognised.
    pub fix: String,
    /// What a regression is about.
    pub regression: Option<Arc<Regression>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: [&str; 12] = [
        "8ba8dda6f01e38d4",
        "f09a9924b2eaaa63",
        "0ebf7c4b37dcd5bc",
        "59d7e97a5185e896",
        "63951378593f76e9",
        "01649b6e5dd0b4d5",
        "2ad81c4adf011122",
        "1bdbc53c60b66f11",
        "1494107e4fa1b901",
        "bdf7e8624aba738f",
        "8519174c2beb10fc",
        "7be4604735366775",
    ];

    #[test]
    fn ids_are_stable_and_tell_their_parts_apart() {
        let id = |kind, route, parent, child| FindingId::new(kind, route, parent, Fingerprint(child));
        let golden = id(FindingKind::NPlusOne, "/orders", Some(Fingerprint(1)), 2);
        assert_eq!(golden.to_string(), "1496fdb0462a5ea8");
        // Files in git name ids: neither the names of the kinds nor the algorithm may change.
        let all = FindingKind::ALL.map(|kind| id(kind, "/orders", None, 2).to_string());
        assert_eq!(all, GOLDEN);
        assert!(FindingKind::ALL.iter().all(|kind| FindingKind::of_name(kind.name()) == Some(*kind)));
        assert!(FindingKind::ALL.is_sorted_by_key(|kind| kind.name()));
        assert_eq!(FindingId::of_loop("/orders", Fingerprint(1)).to_string(), "fe9670ea9c442fc4");
        assert_ne!(golden, id(FindingKind::NPlusOne, "/orders", None, 2));
        assert_ne!(golden, id(FindingKind::NPlusOne, "/order", Some(Fingerprint(1)), 2));
        assert_ne!(golden, id(FindingKind::Duplicate, "/orders", Some(Fingerprint(1)), 2));
        assert_ne!(golden, id(FindingKind::NPlusOne, "/orders", Some(Fingerprint(2)), 1));
    }
}
