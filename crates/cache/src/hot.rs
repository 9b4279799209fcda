//! Which questions are asked most, with what it takes to ask them again: for filling the cache after it was emptied.
//!
//! A question is remembered once its answer was given twice, and outlives it. Hits are noted in powers of two, so that
//! hardly any hit comes here. When there is no room, the colder half goes, and what the rest was asked counts half: what
//! was hot once fades.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::again::Question;
use crate::key::{Key, KeyRef};

/// Questions remembered.
pub const QUESTIONS_MAX: usize = 1_000;
/// Bytes of the longest question remembered, with its key.
const QUESTION_BYTES_MAX: usize = 32 * 1024;
/// Bytes of all, whatever the capacity of the cache.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that a question takes besides what it and its key hold.
const OVERHEAD_BYTES: usize = 256;

/// A question that is asked often.
#[derive(Clone, Debug)]
pub struct HotQuestion {
    /// What its answer is kept under.
    pub key: Key,
    /// What to ask.
    pub question: Arc<Question>,
    /// Tags of the answer.
    pub tags: Arc<[Box<str>]>,
    /// How long an answer is good.
    pub ttl: Duration,
    /// Times it was answered from the cache, older ones counting less.
    pub hits: u64,
}

impl HotQuestion {
    fn bytes(&self) -> usize {
        self.key.heap_bytes() + self.question.heap_bytes() + OVERHEAD_BYTES
    }
}

/// All hot questions of a cache.
#[derive(Debug)]
pub struct Hot {
    table: Mutex<Table>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Table {
    questions: FxHashMap<Key, HotQuestion>,
    bytes: usize,
}

impl Hot {
    /// Of a cache of this capacity: it takes at most a hundredth of that besides.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        let bytes_max = usize::try_from(capacity_bytes / 100).unwrap_or(BYTES_MAX).min(BYTES_MAX);
        Self { table: Mutex::default(), bytes_max }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        // Nothing panics while it is held; the table is sound in any case.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer under `key` was given for the `hits`th time since it was fetched. Only powers of two are noted.
    pub fn note(&self, key: KeyRef<'_>, hits: u64, question: impl FnOnce() -> HotQuestion) {
        if hits < 2 || !hits.is_power_of_two() {
            return;
        }
        // Since the last one that was noted.
        let more = if hits == 2 { 2 } else { hits / 2 };
        let mut table = self.table();
        if let Some(known) = table.questions.get_mut(&key.to_key()) {
            known.hits = known.hits.saturating_add(more);
            return;
        }
        let new = HotQuestion { hits: more, ..question() };
        let bytes = new.bytes();
        if bytes > QUESTION_BYTES_MAX.min(self.bytes_max) {
            return;
        }
        while table.questions.len() >= QUESTIONS_MAX || table.bytes + bytes > self.bytes_max {
            table.fade();
        }
        table.bytes += bytes;
        table.questions.insert(new.key.clone(), new);
    }

    /// All questions, the hottest first.
    #[must_use]
    pub fn hottest(&self) -> Vec<HotQuestion> {
        let mut all: Vec<_> = self.table().questions.values().cloned().collect();
        all.sort_by_key(|question| std::cmp::Reverse(question.hits));
        all
    }
}

impl Table {
    /// Forgets the colder half, at least one.
    fn fade(&mut self) {
        let mut hits: Vec<u64> = self.questions.values().map(|question| question.hits).collect();
        hits.sort_unstable();
        let median = hits.get(hits.len() / 2).copied().unwrap_or_default();
        let mut surplus = hits.len().div_ceil(2);
        self.questions.retain(|_, question| {
            let goes = question.hits <= median && surplus > 0;
            surplus -= usize::from(goes);
            question.hits /= 2;
            !goes
        });
        self.bytes = self.questions.values().map(HotQuestion::bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Environment;
    use crate::unit::Unit;

    fn note(hot: &Hot, environment: &Arc<Environment>, number: u32, text: &[u8], hits: u64) {
        let bytes = number.to_le_bytes();
        let key = KeyRef { environment, bytes: &bytes };
        hot.note(key, hits, || HotQuestion {
            key: key.to_key(),
            question: Arc::new(Question::of(&Unit::Simple { text }, text, b"")),
            tags: Arc::from([]),
            ttl: Duration::ZERO,
            hits: 0,
        });
    }

    #[test]
    fn the_hottest_come_first() {
        let (hot, environment) = (Hot::new(1 << 30), Arc::new(Environment::new(b"here")));
        note(&hot, &environment, 1, b"SELECT 1", 1);
        assert!(hot.hottest().is_empty());
        for hits in [2, 3, 4] {
            note(&hot, &environment, 1, b"SELECT 1", hits);
            note(&hot, &environment, 2, b"SELECT 2", hits);
        }
        note(&hot, &environment, 2, b"SELECT 2", 8);
        let hottest: Vec<_> = hot.hottest().iter().map(|it| (it.question.text().to_vec(), it.hits)).collect();
        assert_eq!(hottest, [(b"SELECT 2".to_vec(), 8), (b"SELECT 1".to_vec(), 4)]);
    }

    #[test]
    fn questions_without_end_stay_within_bounds_and_leave_the_hot_ones() {
        for (capacity, text_bytes) in [(1 << 30, 10), (10 << 20, 1_000)] {
            let (hot, environment) = (Hot::new(capacity), Arc::new(Environment::new(b"here")));
            let text = vec![b'x'; text_bytes];
            for hits in (1..30).map(|power| 1 << power) {
                note(&hot, &environment, 0, b"SELECT 1", hits);
            }
            for number in 1..5_000 {
                note(&hot, &environment, number, &text, 2);
                if number % 16 == 0 {
                    note(&hot, &environment, 0, b"SELECT 1", 4);
                }
                let table = hot.table();
                assert!(table.questions.len() <= QUESTIONS_MAX && table.bytes <= hot.bytes_max);
            }
            assert_eq!(hot.hottest()[0].question.text(), b"SELECT 1");
            note(&hot, &environment, 9_999, &vec![b'x'; QUESTION_BYTES_MAX], 2);
            assert!(hot.hottest().iter().all(|it| it.question.text().len() < QUESTION_BYTES_MAX));
        }
    }
}
