//! Transactions that were prepared and wait for `COMMIT PREPARED`, by whoever sends it: what each has written.
//!
//! One that is not listed may have written and defined anything. Whoever cannot say which transaction a message
//! prepares makes the list forget all, as a name may be used again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::facts::WriteSet;
use crate::versions::DatabaseId;

/// Transactions remembered; those beyond go first in, first out.
const PREPARED_MAX: usize = 1_024;
/// Bytes of a longer name are PostgreSQL's to refuse.
const GID_BYTES_MAX: usize = 200;

/// What a statement does to a prepared transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TwoPhase {
    /// `COMMIT PREPARED` of the one with this name, as it was written.
    Commit(Box<str>),
    /// `PREPARE TRANSACTION`.
    Prepare(Box<str>),
    /// `ROLLBACK PREPARED`.
    Rollback(Box<str>),
    /// Something to one nobody knows which.
    Unknown,
}

impl TwoPhase {
    /// Reads one statement; `None` where it has nothing to do with prepared transactions.
    #[must_use]
    pub fn read(statement: &str) -> Option<Self> {
        let (first, rest) = word(statement);
        let (second, rest) = word(rest);
        let is =
            |one: &str, other: &str| first.eq_ignore_ascii_case(one) && second.eq_ignore_ascii_case(other);
        let name = || name(rest.trim());
        if is("commit", "prepared") {
            return Some(name().map_or(Self::Unknown, Self::Commit));
        }
        if is("rollback", "prepared") {
            return Some(name().map_or(Self::Unknown, Self::Rollback));
        }
        is("prepare", "transaction").then(|| name().map_or(Self::Unknown, Self::Prepare))
    }
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len()))
}

/// The name in a plain literal: other forms of literals may mean the same by other bytes, or another by the same.
fn name(literal: &str) -> Option<Box<str>> {
    let name = literal.strip_prefix('\'')?.strip_suffix('\'')?;
    let is_plain = !name.contains(['\'', '\\']) && name.len() <= GID_BYTES_MAX;
    is_plain.then(|| name.into())
}

/// All that wait.
#[derive(Debug, Default)]
pub(crate) struct PreparedTransactions(Mutex<VecDeque<(DatabaseId, Box<str>, WriteSet)>>);

impl PreparedTransactions {
    /// One is about to be prepared. It may be refused, because another one has this name: then the other stays.
    pub(crate) fn add(&self, database: DatabaseId, gid: &str, writes: &WriteSet) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., known)) = all.iter_mut().find(|(of, name, _)| *of == database && **name == *gid) {
            known.merge(writes);
            return;
        }
        if all.len() >= PREPARED_MAX {
            all.pop_front();
        }
        all.push_back((database, gid.into(), writes.clone()));
    }

    /// What the one that is about to end has written. It is asked for once: after that it is not known.
    pub(crate) fn take(&self, database: DatabaseId, gid: &str) -> Option<WriteSet> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|(of, name, _)| *of == database && **name == *gid)?;
        all.remove(at).map(|(.., writes)| writes)
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::TableId;

    #[test]
    fn statements_about_prepared_transactions_are_read() {
        let check =
            |text: &str, expected: Option<TwoPhase>| assert_eq!(TwoPhase::read(text), expected, "{text}");
        check("PREPARE TRANSACTION 'a b'", Some(TwoPhase::Prepare("a b".into())));
        check("commit\n prepared 'x'", Some(TwoPhase::Commit("x".into())));
        check("ROLLBACK PREPARED'x'", Some(TwoPhase::Rollback("x".into())));
        for text in [
            "COMMIT PREPARED E'x'",
            "PREPARE TRANSACTION $$x$$",
            "COMMIT PREPARED 'it''s'",
            "COMMIT PREPARED",
        ] {
            check(text, Some(TwoPhase::Unknown));
        }
        for text in ["COMMIT", "PREPARE p AS SELECT 1", "ROLLBACK TO prepared", ""] {
            check(text, None);
        }
    }

    #[test]
    fn what_is_not_listed_is_not_known() {
        let all = PreparedTransactions::default();
        let [one, other] = [1, 2].map(|table| WriteSet::of([TableId(table)]));
        all.add(DatabaseId(1), "x", &one);
        assert_eq!(all.take(DatabaseId(2), "x"), None);
        all.add(DatabaseId(1), "x", &other);
        assert_eq!(all.take(DatabaseId(1), "x").map(|set| set.tables().len()), Some(2));
        assert_eq!(all.take(DatabaseId(1), "x"), None);
        for number in 0..=PREPARED_MAX {
            all.add(DatabaseId(1), &number.to_string(), &one);
        }
        assert_eq!((all.take(DatabaseId(1), "0"), all.take(DatabaseId(1), "1")), (None, Some(one)));
        all.clear();
        assert_eq!(all.take(DatabaseId(1), "2"), None);
    }
}
