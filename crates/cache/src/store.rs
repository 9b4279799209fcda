//! Where answers are kept: bounded in bytes, shared by all workers of a process.
//!
//! What to keep is left to `quick_cache` (S3-FIFO): an answer that is asked for once does not drive out one that is
//! asked for often. What may be *given* is decided at each hit anew, by [`crate::Versions`] and the asker's plan: an
//! entry that is too old only takes room until somebody meets it.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgtally_fingerprint::Fingerprint;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, Weighter};

use crate::key::{Key, KeyRef};
use crate::policy::Mode;
use crate::versions::Token;

/// `ParseComplete` and `BindComplete`, as every entry begins with.
pub const PREFIX: &[u8] = b"1\0\0\0\x042\0\0\0\x04";
/// `ReadyForQuery` of an idle session, as every entry ends with.
pub const SUFFIX: &[u8] = b"Z\0\0\0\x05I";
/// Bytes that an entry takes beside its key and its answer: the store's own records, headers of allocations, counters.
const ENTRY_OVERHEAD_BYTES: u64 = 208;
/// Assumed size of an answer, for sizing the store's tables.
const ANSWER_BYTES_EXPECTED: u64 = 2 * 1024;

/// A kept answer.
#[derive(Debug)]
pub struct Entry {
    /// [`PREFIX`], the answer from `RowDescription` or `DataRow` to `CommandComplete`, [`SUFFIX`].
    answer: Box<[u8]>,
    /// What it depends on, as of before it was asked for; `None` for one that only its lifetime ends.
    pub token: Token,
    /// Promise that its token was taken for.
    pub mode: Mode,
    /// When its question was forwarded, in nanoseconds of the shell's clock.
    pub sent_ns: u64,
    /// What the server took for it.
    pub cost: Duration,
    /// Shape of the question.
    pub fingerprint: Fingerprint,
    /// Number of the database in metrics and lists.
    pub database: Arc<str>,
    /// Its tags.
    pub tags: Arc<[Box<str>]>,
    hits: AtomicU64,
    /// Bytes of the database's entries.
    quota: Arc<AtomicU64>,
    weight: u64,
}

/// What an entry is made of.
#[derive(Debug)]
pub struct NewEntry {
    /// The answer between prefix and suffix.
    pub answer: Vec<u8>,
    /// See [`Entry::token`].
    pub token: Token,
    /// See [`Entry::mode`].
    pub mode: Mode,
    /// See [`Entry::sent_ns`].
    pub sent_ns: u64,
    /// See [`Entry::cost`].
    pub cost: Duration,
    /// See [`Entry::fingerprint`].
    pub fingerprint: Fingerprint,
    /// See [`Entry::database`].
    pub database: Arc<str>,
    /// See [`Entry::tags`].
    pub tags: Arc<[Box<str>]>,
    /// Bytes of the database's entries, counted by the store.
    pub quota: Arc<AtomicU64>,
}

impl Entry {
    /// The bytes for a client that sent a group, with `ParseComplete` where it had a `Parse`; or a simple query.
    #[must_use]
    pub fn answer(&self, is_simple: bool, has_parse: bool) -> &[u8] {
        let start = match (is_simple, has_parse) {
            (true, _) => PREFIX.len(),
            (false, true) => 0,
            (false, false) => PREFIX.len() / 2,
        };
        self.answer.get(start..).unwrap_or_default()
    }

    /// Times it was given.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// It was given once more. Answers with the times so far.
    pub fn count_hit(&self) -> u64 {
        self.hits.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Bytes it counts for.
    #[must_use]
    pub const fn weight(&self) -> u64 {
        self.weight
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.quota.fetch_sub(self.weight, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Key, Arc<Entry>> for Weight {
    fn weight(&self, _: &Key, entry: &Arc<Entry>) -> u64 {
        entry.weight
    }
}

/// Counts what had to go for want of room.
#[derive(Clone, Debug, Default)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Arc<Entry>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, _: &mut (), _: Key, _: Arc<Entry>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// All kept answers of one process.
#[derive(Debug)]
pub struct Store {
    entries: Cache<Key, Arc<Entry>, Weight, RandomState, Evictions>,
    capacity_bytes: u64,
    evictions: Evictions,
}

impl Store {
    /// A store of at most `capacity_bytes`.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        let evictions = Evictions::default();
        let expected = (capacity_bytes / ANSWER_BYTES_EXPECTED).clamp(16, 1 << 20) as usize;
        let entries =
            Cache::with(expected, capacity_bytes, Weight, RandomState::default(), evictions.clone());
        Self { entries, capacity_bytes, evictions }
    }

    /// The entry under this key, whatever has become of it.
    #[must_use]
    pub fn find(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        self.entries.get(&key)
    }

    /// Keeps an answer in place of the one before. Answers with the entry; whether it stays is the store's affair.
    pub fn keep(&self, key: Key, new: NewEntry) -> Arc<Entry> {
        let answer = [PREFIX, &new.answer, SUFFIX].concat().into_boxed_slice();
        let tags: usize = new.tags.iter().map(|tag| tag.len()).sum();
        let bytes = answer.len() + key.heap_bytes() + new.token.heap_bytes() + tags + size_of::<Entry>();
        let weight = bytes as u64 + ENTRY_OVERHEAD_BYTES;
        new.quota.fetch_add(weight, Ordering::Relaxed);
        let entry = Arc::new(Entry {
            answer,
            token: new.token,
            mode: new.mode,
            sent_ns: new.sent_ns,
            cost: new.cost,
            fingerprint: new.fingerprint,
            database: new.database,
            tags: new.tags,
            hits: AtomicU64::new(0),
            quota: new.quota,
            weight,
        });
        self.entries.insert(key, Arc::clone(&entry));
        entry
    }

    /// Takes out what is of no use to anybody any more.
    pub fn remove(&self, key: KeyRef<'_>, entry: &Arc<Entry>) {
        // Somebody may have put a new one there meanwhile.
        let _ = self.entries.remove_if(&key, |found| Arc::ptr_eq(found, entry));
    }

    /// Gives up everything.
    pub fn clear(&self) {
        self.entries.clear();
    }

    /// The entries at some moment.
    pub fn entries(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// Bytes of all entries.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most bytes of all entries.
    #[must_use]
    pub const fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Entries given up so far for want of room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ReadSet;
    use crate::key::Environment;
    use crate::versions::{DatabaseId, Versions};

    fn new_entry(answer: &[u8], quota: &Arc<AtomicU64>) -> NewEntry {
        NewEntry {
            answer: answer.to_vec(),
            token: Versions::new().token(DatabaseId(1), &ReadSet::default(), true, &[]).unwrap(),
            mode: Mode::Ttl,
            sent_ns: 0,
            cost: Duration::ZERO,
            fingerprint: Fingerprint(1),
            database: "shop".into(),
            tags: Arc::from([]),
            quota: Arc::clone(quota),
        }
    }

    #[test]
    fn each_client_gets_the_frames_it_asked_for() {
        let store = Store::new(1 << 20);
        let environment = Arc::new(Environment::new(b"here"));
        let key = KeyRef { environment: &environment, bytes: b"key" };
        let quota = Arc::default();
        let entry = store.keep(key.to_key(), new_entry(b"<answer>", &quota));
        assert_eq!(entry.answer(true, false), b"<answer>Z\0\0\0\x05I");
        assert_eq!(entry.answer(false, false), b"2\0\0\0\x04<answer>Z\0\0\0\x05I");
        assert_eq!(entry.answer(false, true), b"1\0\0\0\x042\0\0\0\x04<answer>Z\0\0\0\x05I");
        assert!(Arc::ptr_eq(&store.find(key).unwrap(), &entry));
        assert_eq!(quota.load(Ordering::Relaxed), entry.weight());
        let second = store.keep(key.to_key(), new_entry(b"<other>", &quota));
        store.remove(key, &entry);
        assert!(Arc::ptr_eq(&store.find(key).unwrap(), &second));
        store.remove(key, &second);
        drop((entry, second));
        assert_eq!((store.len(), quota.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn more_keys_than_there_is_room_for_stay_within_the_capacity() {
        let store = Store::new(256 * 1024);
        let environment = Arc::new(Environment::new(b"here"));
        let quota = Arc::default();
        for n in 0..20_000_u32 {
            let bytes = n.to_le_bytes();
            let key = KeyRef { environment: &environment, bytes: &bytes };
            store.keep(key.to_key(), new_entry(&[b'x'; 100], &quota));
            assert!(store.bytes() <= store.capacity_bytes());
        }
        assert!(store.evictions() > 10_000 && !store.is_empty());
        assert_eq!(quota.load(Ordering::Relaxed), store.bytes());
        store.clear();
        assert_eq!(quota.load(Ordering::Relaxed), 0);
    }
}
