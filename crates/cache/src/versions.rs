//! Versions and dirty counts: when a kept answer is still what the server would say.
//!
//! Every table, tag, database and the catalog has one word: a version and the number of commits whose outcome is
//! open ("dirty"). A reader notes the words of everything its answer depends on *before* its query is forwarded, and
//! the answer is good for as long as all these words are what they were.
//!
//! ```text
//!  writer   begin: version+1, dirty+1 ──▶ COMMIT forwarded ──▶ outcome known ──▶ finish: version+1, dirty-1 ──▶ client told
//!  filler   token(): no word dirty ──▶ query forwarded ──▶ answer complete: is_current(token)? ──▶ stored with token
//!  hitter   is_current(token)? ──▶ answered
//! ```
//!
//! Between `begin` and `finish` the server may show the old or the new state, and nothing is served or kept that a
//! read might contradict. A writer that vanishes in between never calls `finish`: its words stay dirty until somebody
//! proves that its commit can no longer happen. The rule is explored over all interleavings in `versions/tests.rs`.
//!
//! Words stand in a table of fixed size, found by hash: two tables that share a word spoil each other's hits, and
//! nothing else. So there is no lock, nothing grows, and a check costs a load per table.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxBuildHasher;

use crate::facts::{ReadSet, TableId, WriteSet};
use crate::fault::Fault;
use crate::two_phase::PreparedTransactions;

/// Words in the table, 8 bytes each. With 1,000 tables and tags written at all times, 1.5 % of the others share a word
/// with one of them.
const WORDS: usize = 1 << 16;
/// The lower bits hold the dirty count: more open commits than sessions fit into one process.
const DIRTY_BITS: u32 = 20;
const DIRTY_ONE: u64 = 1;
const DIRTY_MASK: u64 = (1 << DIRTY_BITS) - 1;
/// The upper bits hold the version. 2^44 writes take centuries.
const VERSION_ONE: u64 = 1 << DIRTY_BITS;
/// The word of the catalog, which is about all databases.
const CATALOG: Place = Place(0);

/// Kinds of words about tables: all of a database, any, and one.
type Kinds = [u8; 3];
/// What transactions write.
const WRITTEN: Kinds = *b"dat";
/// What an operator orders: answers that writes leave alone depend on these only.
const ORDERED: Kinds = *b"DAT";

/// Index of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u32);

/// A database, by server and name: OIDs of tables mean something only within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DatabaseId(pub u64);

/// The words of everything an answer depends on, as they were before its query was forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(Box<[(Place, u64)]>);

impl Token {
    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// Commits that were begun and whose outcome is open. Whoever holds it calls [`Versions::finish`] once the outcome
/// is known; dropping it leaves its words dirty for good.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct OpenCommit(Vec<Place>);

impl OpenCommit {
    /// Whether nothing is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All words of one process.
#[derive(Debug)]
pub struct Versions {
    words: Box<[AtomicU64]>,
    fault: Fault,
    pub(crate) prepared: PreparedTransactions,
}

impl Default for Versions {
    fn default() -> Self {
        Self::new()
    }
}

impl Versions {
    /// All versions 0, nothing dirty.
    #[must_use]
    pub fn new() -> Self {
        Self::with_fault(Fault::None)
    }

    /// As [`Versions::new`], with a mistake on purpose.
    #[must_use]
    pub fn with_fault(fault: Fault) -> Self {
        Self { fault, ..Self::with_words(WORDS) }
    }

    pub(crate) fn with_words(count: usize) -> Self {
        let words = (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { words, fault: Fault::None, prepared: PreparedTransactions::default() }
    }

    fn word(&self, place: Place) -> &AtomicU64 {
        // The modulo changes a place only in tests, where tables are small.
        &self.words[place.0 as usize % self.words.len()]
    }

    /// The words of what an answer depends on, to be taken before its query is forwarded; `None` where one is dirty:
    /// an answer given now may be overtaken before it arrives.
    ///
    /// Writes to `reads` make it old where `is_strict`, and otherwise only orders of an operator about them.
    #[must_use]
    pub fn token(
        &self,
        database: DatabaseId,
        reads: &ReadSet,
        is_strict: bool,
        tags: &[Box<str>],
    ) -> Option<Token> {
        let mut places = vec![CATALOG];
        let [of_all, of_any, of_table] = if is_strict { WRITTEN } else { ORDERED };
        places.push(place(database, of_all, b""));
        if reads.is_anything() {
            places.push(place(database, of_any, b""));
        }
        places.extend(reads.tables().iter().map(|table| place_of_table(database, of_table, *table)));
        places.extend(tags.iter().map(|tag| place(database, b'g', tag.as_bytes())));
        self.take(places)
    }

    fn take(&self, places: impl IntoIterator<Item = Place>) -> Option<Token> {
        let words = places.into_iter().map(|place| {
            let word = self.word(place).load(Ordering::SeqCst);
            (word & DIRTY_MASK == 0).then_some((place, word))
        });
        words.collect::<Option<_>>().map(Token)
    }

    /// The words of a database's definitions, to be taken before they are read; `None` while they are being changed.
    #[must_use]
    pub fn definitions(&self, database: DatabaseId) -> Option<Token> {
        self.take([CATALOG, place(database, b'c', b"")])
    }

    /// Whether nothing that `token` is about has been written since, or is being written.
    #[must_use]
    pub fn is_current(&self, token: &Token) -> bool {
        token.0.iter().all(|(place, word)| self.word(*place).load(Ordering::SeqCst) == *word)
    }

    /// The token to keep an answer with that was asked for under `token`; `None` where it has been overtaken.
    #[must_use]
    pub fn settled(&self, token: Token) -> Option<Token> {
        if self.fault.is(Fault::NoFillCheck) {
            return self.take(token.0.iter().map(|(place, _)| *place));
        }
        self.is_current(&token).then_some(token)
    }

    /// A statement that writes is about to be forwarded: of no concern before its transaction commits.
    pub fn stated(&self, database: DatabaseId, writes: &WriteSet) {
        if self.fault.is(Fault::AtStatement) {
            self.invalidate(database, writes);
        }
    }

    /// Somebody may have prepared transactions of any name.
    pub fn forget_prepared(&self) {
        self.prepared.clear();
    }

    /// Marks all that `writes` may change, before the message that may commit it is forwarded. Adds to `open`.
    pub fn begin(&self, database: DatabaseId, writes: &WriteSet, open: &mut OpenCommit) {
        for place in places_of(database, writes) {
            if !open.0.contains(&place) {
                if !self.fault.is(Fault::AtAck) && !self.fault.is(Fault::AtStatement) {
                    self.word(place).fetch_add(VERSION_ONE + DIRTY_ONE, Ordering::SeqCst);
                }
                open.0.push(place);
            }
        }
    }

    /// The outcome is known and has not been told to the client yet, or can no longer change anything.
    pub fn finish(&self, open: OpenCommit) {
        if self.fault.is(Fault::AtStatement) {
            return;
        }
        let dirty = if self.fault.is(Fault::AtAck) { 0 } else { DIRTY_ONE };
        for place in open.0 {
            self.word(place).fetch_add(VERSION_ONE - dirty, Ordering::SeqCst);
        }
    }

    /// Makes everything old that `writes` is about: an order of an operator, not of a transaction.
    pub fn invalidate(&self, database: DatabaseId, writes: &WriteSet) {
        let ordered = table_places_of(database, ORDERED, writes);
        for place in places_of(database, writes).into_iter().chain(ordered) {
            self.word(place).fetch_add(VERSION_ONE, Ordering::SeqCst);
        }
    }

    /// Makes every answer old, of all databases.
    pub fn invalidate_all(&self) {
        self.word(CATALOG).fetch_add(VERSION_ONE, Ordering::SeqCst);
    }
}

/// The words that a write changes. A write to whatever table is one to the words of "any table" and of the database;
/// one to a known table spares the answers that depend on other known tables.
fn places_of(database: DatabaseId, writes: &WriteSet) -> Vec<Place> {
    let mut places = Vec::with_capacity(writes.tables().len() + writes.tags().len() + 1);
    if writes.is_catalog() {
        places.push(CATALOG);
    }
    if writes.may_define() {
        places.push(place(database, b'c', b""));
    }
    places.extend(table_places_of(database, WRITTEN, writes));
    places.extend(writes.tags().iter().map(|tag| place(database, b'g', tag.as_bytes())));
    places
}

fn table_places_of(database: DatabaseId, kinds: Kinds, writes: &WriteSet) -> impl Iterator<Item = Place> {
    let [of_all, of_any, of_table] = kinds;
    let of_all = writes.is_everything().then(|| place(database, of_all, b""));
    let of_any = (!writes.tables().is_empty()).then(|| place(database, of_any, b""));
    let of_tables = writes.tables().iter().map(move |table| place_of_table(database, of_table, *table));
    of_all.into_iter().chain(of_any).chain(of_tables)
}

fn place_of_table(database: DatabaseId, kind: u8, table: TableId) -> Place {
    place(database, kind, &table.0.to_le_bytes())
}

fn place(database: DatabaseId, kind: u8, name: &[u8]) -> Place {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write_u64(database.0);
    hasher.write_u8(kind);
    hasher.write(name);
    // Place 0 is the catalog's alone: a word that all databases share should be dirty for its own reasons only.
    Place(1 + (hasher.finish() >> 20) as u32 % (WORDS as u32 - 1))
}

#[cfg(test)]
pub(crate) mod tests;
