//! Proves where the keys of a repeated statement came from: a column of an earlier result of the same request.
//!
//! The proof is the values: at least nine of ten distinct keys stand in one column of rows the request had read
//! before. Small integers coincide by chance (items 1 to 20, teams 1 to 3), so candidates are ranked: does the name
//! fit, do the keys follow the order of the rows, are all of the column's values asked for. Where only chance speaks
//! for a column, it is no parent. The rows of a loop's own look-ups are parents, too, read together: those of the loop
//! inside (each post's author, then each author's country).
//!
//! Deliberately absent: any link across requests, and any guess from adjacency in time.
//!
//! Read next: `affinity.rs` (names), `rules/n_plus_one.rs` (who asks).

use pgtally_fingerprint::{Fingerprint, value};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::affinity::{Affinity, Named, affinity};
use crate::catalog::{Catalog, ColumnName};
use crate::merge::{Request, SingleRow};
use crate::record::{Moment, RowSample, SampleColumn};
use crate::shape::KnownShape;

/// Integers from 0 to here stand in many columns at once.
const SMALL_INTEGER_MAX: i64 = 1_000;
/// Distinct values of a cut sample from which the first keys alone are a proof.
const CUT_VALUES_MIN: usize = 16;
/// Columns of one result that together may cover the keys: assignee, reporter, reviewer.
const UNION_COLUMNS_MAX: usize = 3;

/// Position, table and attribute of each sampled column: results of one layout are pooled.
type Layout = Vec<(u16, u32, i16)>;

/// Every sampled column of a request, ready to be asked for keys.
pub(crate) struct Pool {
    columns: Vec<Column>,
}

/// One result column, pooled over the executions of its statement.
struct Column {
    /// Which result it belongs to: columns of one result share it.
    result: usize,
    fingerprint: Fingerprint,
    name: ColumnName,
    first_sent: Moment,
    rows: u64,
    executions: u32,
    /// More rows were returned than sampled.
    is_cut: bool,
    /// Some execution returned several rows; else they are the rows of look-ups.
    is_list: bool,
    /// Its own statement compares this very column with a parameter, so that its values are its own keys.
    is_compared: bool,
    /// Distinct values with their rank by first occurrence.
    ranks: FxHashMap<u32, usize>,
}

/// Rows to add to a result's columns: row-major hashes.
struct Rows<'a> {
    values: &'a [u32],
    rows: u64,
    executions: u32,
}

/// The keys of one parameter of a repeated statement.
pub(crate) struct Keys<'a> {
    /// The column they are compared with, when the tree tells it.
    pub(crate) column: Option<Named<'a>>,
    /// Distinct values in order of first use, NULLs left out.
    pub(crate) distinct: &'a [u32],
}

/// Whose keys they are.
pub(crate) struct Child {
    pub(crate) fingerprint: Fingerprint,
    /// When its second execution was sent: a parent is older.
    pub(crate) second_sent: Moment,
}

/// A proven source of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) fingerprint: Fingerprint,
    /// `table.column`.
    pub(crate) column: String,
    pub(crate) rows: u64,
    pub(crate) executions: u32,
    pub(crate) score: u32,
}

/// How a column and the keys compare.
struct Match<'p> {
    column: &'p Column,
    affinity: Affinity,
    matched: usize,
    asked: usize,
    is_in_order: bool,
    /// Nearly all of the column's values are asked for.
    is_exhaustive: bool,
}

impl Pool {
    /// Gathers the request's samples and the rows of its look-ups; several of one shape are read as one result.
    pub(crate) fn new(
        request: &Request,
        catalog: &Catalog,
        shape: &mut dyn FnMut(Fingerprint) -> Option<KnownShape>,
    ) -> Self {
        let mut pool = Self { columns: Vec::new() };
        let mut results: FxHashMap<(Fingerprint, Layout), usize> = FxHashMap::default();
        let mut samples: Vec<(Moment, &RowSample)> = request.samples().collect();
        samples.sort_by_key(|(sent, _)| *sent);
        for (sent, sample) in samples {
            // A row that was written and given back is no list to loop over, however many there are of it.
            let mut is_write =
                || shape(sample.fingerprint).is_some_and(|known| !known.facts.tables_written.is_empty());
            if sample.rows <= u64::from(sample.executions) && is_write() {
                continue;
            }
            let at = *results.entry((sample.fingerprint, layout(&sample.columns))).or_insert_with(|| {
                pool.add(request, catalog, shape, sample.fingerprint, &sample.columns, sent)
            });
            let columns = pool.columns.iter_mut().skip(at).take(sample.columns.len());
            columns.for_each(|column| column.is_list = true);
            pool.fill(
                at,
                sample.columns.len(),
                &Rows { values: &sample.values, rows: sample.rows, executions: sample.executions },
            );
        }
        let mut rows: Vec<SingleRow<'_>> = request.single_rows().collect();
        rows.sort_by_key(|row| row.sent);
        for row in rows {
            let at = *results
                .entry((row.fingerprint, layout(row.columns)))
                .or_insert_with(|| pool.add(request, catalog, shape, row.fingerprint, row.columns, row.sent));
            let columns = pool.columns.iter_mut().skip(at).take(row.columns.len());
            columns.for_each(|column| column.first_sent = column.first_sent.min(row.sent));
            pool.fill(at, row.columns.len(), &Rows { values: row.cells, rows: 1, executions: 1 });
        }
        pool
    }

    /// Adds the columns of a result; gives the place of the first.
    fn add(
        &mut self,
        request: &Request,
        catalog: &Catalog,
        shape: &mut dyn FnMut(Fingerprint) -> Option<KnownShape>,
        fingerprint: Fingerprint,
        columns: &[SampleColumn],
        first_sent: Moment,
    ) -> usize {
        let result = self.columns.len();
        let known = shape(fingerprint);
        let facts = known.as_ref().map(|known| &*known.facts);
        for column in columns {
            let name = catalog.name(&request.origin().database, facts, column);
            let is_compared = facts.is_some_and(|facts| {
                facts.compared.iter().any(|it| {
                    let is_same_table = it.table.is_none() || it.table.as_deref() == name.table.as_deref();
                    *it.column == *name.column && is_same_table
                })
            });
            self.columns.push(Column {
                result,
                fingerprint,
                name,
                first_sent,
                rows: 0,
                executions: 0,
                is_cut: false,
                is_list: false,
                is_compared,
                ranks: FxHashMap::default(),
            });
        }
        result
    }

    /// Adds values to the `width` columns that begin at `at`.
    fn fill(&mut self, at: usize, width: usize, rows: &Rows<'_>) {
        let is_cut = (rows.values.len() / width.max(1)) as u64 != rows.rows;
        let columns = self.columns.iter_mut().skip(at).take(width);
        for (offset, column) in columns.enumerate() {
            column.rows = column.rows.saturating_add(rows.rows);
            column.executions = column.executions.saturating_add(rows.executions);
            column.is_cut |= is_cut;
            for value in rows.values.iter().skip(offset).step_by(width.max(1)).filter(|value| **value != 0) {
                let rank = column.ranks.len();
                column.ranks.entry(*value).or_insert(rank);
            }
        }
    }

    /// The best column that holds at least `coverage_min` of the keys; `None` when there is no proof.
    pub(crate) fn link(&self, child: &Child, keys: &Keys<'_>, coverage_min: f64) -> Option<Link> {
        let matches: Vec<Match<'_>> =
            self.columns.iter().filter_map(|column| Match::of(column, child, keys)).collect();
        let proven = matches.iter().filter(|it| it.coverage() >= coverage_min && Self::is_proof(it, keys));
        let best = proven.max_by_key(|it| (it.score(), it.matched, it.column.is_list, it.column.first_sent));
        best.or_else(|| Self::union(&matches, keys, coverage_min)).map(Match::link)
    }

    /// Whether more than chance speaks for the match: a fitting name, values too rare to coincide, or the exact
    /// order of the rows.
    fn is_proof(it: &Match<'_>, keys: &Keys<'_>) -> bool {
        let walks_rows = it.is_in_order && it.is_exhaustive;
        match it.affinity {
            Affinity::Strong => true,
            Affinity::Plausible => !are_small(keys) || it.is_in_order || it.is_exhaustive,
            Affinity::Neutral => !are_small(keys) || (walks_rows && it.matched >= 3),
            Affinity::Contradiction => !are_small(keys) || (walks_rows && it.matched >= 5),
        }
    }

    /// Two references to one table (assignee and reporter of an item) are looked up by one statement: their columns
    /// together hold the keys. Only columns of one result whose names fit, as a union coincides more easily.
    fn union<'m, 'p>(matches: &'m [Match<'p>], keys: &Keys<'_>, coverage_min: f64) -> Option<&'m Match<'p>> {
        let is_rare = !are_small(keys);
        let fits = |it: &&Match<'_>| {
            it.affinity >= Affinity::Plausible && !it.column.is_cut && (is_rare || it.is_exhaustive)
        };
        let fitting: Vec<&Match<'_>> = matches.iter().filter(fits).collect();
        let covers = |first: &&&Match<'_>| {
            let siblings = fitting.iter().filter(|it| it.column.result == first.column.result);
            union_coverage(first, siblings.copied(), keys) >= coverage_min
        };
        fitting.iter().rev().filter(covers).max_by_key(|it| it.matched).copied()
    }
}

/// Slots of [`SMALL_INTEGERS`]: a power of two, so that the lower bits choose one, and four times as many as integers.
const SMALL_SLOTS: usize = 4_096;

/// Hashes of the small integers, each in the first free slot from that of its lower bits on; 0 is none. A table, since
/// every request with a repeated statement asks, and none could hash a thousand integers for that.
static SMALL_INTEGERS: [u32; SMALL_SLOTS] = {
    let mut slots = [0; SMALL_SLOTS];
    let mut integer = 0;
    while integer <= SMALL_INTEGER_MAX {
        let hash = value::hash_integer(integer);
        let mut slot = hash as usize % SMALL_SLOTS;
        while slots[slot] != 0 {
            slot = (slot + 1) % SMALL_SLOTS;
        }
        slots[slot] = hash;
        integer += 1;
    }
    slots
};

fn is_small(hash: u32) -> bool {
    let from = hash as usize % SMALL_SLOTS;
    let slots = SMALL_INTEGERS.iter().cycle().skip(from).take(SMALL_SLOTS);
    slots.take_while(|slot| **slot != 0).any(|slot| *slot == hash)
}

/// Whether at least half of the keys are small integers.
fn are_small(keys: &Keys<'_>) -> bool {
    keys.distinct.iter().filter(|key| is_small(**key)).count() * 2 >= keys.distinct.len()
}

impl<'p> Match<'p> {
    /// `None` when the column can't be the parent: without values, too young, an echo of keys, or nothing in common.
    fn of(column: &'p Column, child: &Child, keys: &Keys<'_>) -> Option<Self> {
        let is_own = column.fingerprint == child.fingerprint;
        // A sibling of the loop returns the very key it was asked with; that proves nothing about where it is from.
        let is_echo = column.is_compared && column.executions as usize * 2 > keys.distinct.len();
        let is_empty = column.ranks.is_empty();
        if is_empty || column.first_sent >= child.second_sent || is_echo || (is_own && column.is_compared) {
            return None;
        }
        // The first key of a walk down a tree comes from elsewhere.
        let asked = keys.distinct.get(usize::from(is_own)..).unwrap_or_default();
        // Of a cut sample only the first rows are known, and loops follow the rows.
        let is_prefix = column.is_cut && column.ranks.len() >= CUT_VALUES_MIN;
        let asked = if is_prefix { asked.get(..column.ranks.len()).unwrap_or(asked) } else { asked };
        let ranks: Vec<usize> = asked.iter().filter_map(|key| column.ranks.get(key).copied()).collect();
        let affinity = match keys.column {
            Some(child) => affinity(child, column.named()),
            None => Affinity::Neutral,
        };
        let it = Self {
            column,
            affinity,
            matched: ranks.len(),
            asked: asked.len(),
            is_in_order: ranks.is_sorted(),
            // A walk up a tree ends with a row whose parent nobody asks for.
            is_exhaustive: (ranks.len() + usize::from(is_own)) * 10 >= column.ranks.len() * 9,
        };
        let is_tree = affinity >= Affinity::Plausible && it.is_exhaustive;
        (it.matched >= 2 && (!is_own || is_tree)).then_some(it)
    }

    #[expect(clippy::cast_precision_loss, reason = "at most 2,000 keys")]
    fn coverage(&self) -> f64 {
        self.matched as f64 / self.asked.max(1) as f64
    }

    /// Fitting names first, then the order of the rows, then completeness. A name that contradicts loses against
    /// any that fits, even where its integers happen to stand in order.
    fn score(&self) -> u32 {
        let name = match self.affinity {
            Affinity::Contradiction => 0,
            Affinity::Neutral => 10,
            Affinity::Plausible => 30,
            Affinity::Strong => 60,
        };
        let order = match (self.is_in_order && self.matched >= 3, self.is_exhaustive) {
            (true, true) => 25,
            (true, false) => 8,
            _ => 0,
        };
        let all_found = self.matched == self.asked;
        name + order + 10 * u32::from(self.is_exhaustive) + 3 * u32::from(all_found)
    }

    fn link(&self) -> Link {
        Link {
            fingerprint: self.column.fingerprint,
            column: self.column.name.display(),
            rows: self.column.rows,
            executions: self.column.executions,
            score: self.score(),
        }
    }
}

fn layout(columns: &[SampleColumn]) -> Layout {
    columns.iter().map(|it| (it.position, it.table_oid, it.attribute)).collect()
}

impl Column {
    fn named(&self) -> Named<'_> {
        Named { table: self.name.table.as_deref(), column: &self.name.column }
    }
}

/// Share of the keys found in `first` and the siblings that add most to it.
#[expect(clippy::cast_precision_loss, reason = "at most 2,000 keys")]
fn union_coverage<'m>(
    first: &Match<'_>,
    siblings: impl Iterator<Item = &'m Match<'m>> + Clone,
    keys: &Keys<'_>,
) -> f64 {
    let mut left: FxHashSet<u32> = keys.distinct.iter().copied().collect();
    left.retain(|key| !first.column.ranks.contains_key(key));
    for _ in 1..UNION_COLUMNS_MAX {
        let added = |it: &&Match<'_>| left.iter().filter(|key| it.column.ranks.contains_key(key)).count();
        let Some(next) = siblings.clone().max_by_key(added) else { break };
        left.retain(|key| !next.column.ranks.contains_key(key));
    }
    1.0 - left.len() as f64 / keys.distinct.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_integers_are_known_by_their_hashes() {
        assert!((0..=SMALL_INTEGER_MAX).all(|it| is_small(value::hash_integer(it))));
        assert!(
            ![-1, SMALL_INTEGER_MAX + 1, i64::MAX].into_iter().any(|it| is_small(value::hash_integer(it)))
        );
        assert!(!is_small(value::hash_text(b"seven")));
    }
}
