//! What a worker counts, as plain numbers: written without a lock by one thread, taken and merged by the shell.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgtally_fingerprint::{Fingerprint, Kind};

use crate::limits;

/// Upper bounds of the duration histogram in seconds: the semantic conventions' for databases, and the 50 and 100 ms that users watch.
pub const DURATION_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// [`DURATION_BUCKETS`] in nanoseconds.
const BUCKETS_NS: [u64; DURATION_BUCKETS.len()] = {
    let mut bounds = [0; DURATION_BUCKETS.len()];
    let mut at = 0;
    while at < bounds.len() {
        // Whole microseconds, all of them.
        bounds[at] = (DURATION_BUCKETS[at] * 1e6 + 0.5) as u64 * 1_000;
        at += 1;
    }
    bounds
};

/// Why something could not be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Statements of a request beyond [`limits::RECORDS_MAX`]: counted, not recorded.
    Records,
    /// Statements of a session's only unit beyond [`limits::BUSY_RECORDS_MAX`] under load: counted, not recorded.
    Sampled,
    /// Row samples beyond [`limits::SAMPLE_BYTES_MAX`].
    Samples,
    /// New shapes beyond [`limits::NEW_SHAPES_MAX`] waiting to be announced: counted under an unknown text.
    Shapes,
    /// Prepared statements or portals beyond what is tracked per session.
    Statements,
    /// Texts beyond the bytes looked at.
    TextCut,
}

impl Dropped {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Records, Self::Sampled, Self::Samples, Self::Shapes, Self::Statements, Self::TextCut];

    /// Metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Sampled => "sampled",
            Self::Samples => "samples",
            Self::Shapes => "shapes",
            Self::Statements => "statements",
            Self::TextCut => "text_cut",
        }
    }
}

/// Durations of one kind of statements.
#[derive(Clone, Copy, Debug, Default)]
pub struct Durations {
    /// Observations per bucket of [`DURATION_BUCKETS`], not cumulated; the last one is above all bounds.
    pub buckets: [u64; DURATION_BUCKETS.len() + 1],
    /// Sum in nanoseconds.
    pub sum_ns: u64,
}

impl Durations {
    fn observe(&mut self, duration_ns: u64) {
        let bucket = BUCKETS_NS.iter().take_while(|bound| duration_ns > **bound).count();
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.sum_ns = self.sum_ns.saturating_add(duration_ns);
    }

    fn merge(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count += more;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }
}

/// Counts of one database.
#[derive(Clone, Debug, Default)]
pub struct DatabaseCounters {
    /// Its name as clients ask for it; `other` beyond [`limits::DATABASES_MAX`].
    pub name: Arc<str>,
    /// Statements that the server answered, by position in [`Kind::ALL`].
    pub queries: [u64; Kind::ALL.len()],
    /// Statements that the cache answered, likewise.
    pub served: [u64; Kind::ALL.len()],
    /// Errors by the two characters of their SQLSTATE class.
    pub errors: BTreeMap<[u8; 2], u64>,
}

/// What one shape did since the last take.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShapeCounters {
    /// Which shape.
    pub fingerprint: Fingerprint,
    /// Executions.
    pub calls: u64,
    /// Nanoseconds from sending to completion.
    pub duration_ns: u64,
    /// Rows returned or affected.
    pub rows: u64,
    /// Executions that failed.
    pub errors: u64,
}

/// Everything a worker counted since the last take.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// By database, in order of first use.
    pub databases: Vec<DatabaseCounters>,
    /// Of what the server answered, by position in [`Kind::ALL`].
    pub durations: [Durations; Kind::ALL.len()],
    /// Of what the cache answered, likewise.
    pub served_durations: [Durations; Kind::ALL.len()],
    /// Rows returned by counted reads and affected by counted writes.
    pub rows: u64,
    /// By position in [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// By shape.
    pub shapes: Vec<ShapeCounters>,
}

/// Index of a database in [`Counters::databases`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct DatabaseIndex(usize);

impl DatabaseIndex {
    /// Tells databases apart.
    pub(crate) const fn number(self) -> u64 {
        self.0 as u64
    }
}

impl Counters {
    /// Adds what another take counted.
    pub fn merge(&mut self, other: Self) {
        for database in other.databases {
            let index = self.database(&database.name);
            if let Some(slot) = self.databases.get_mut(index.0) {
                for (count, more) in slot.queries.iter_mut().zip(database.queries) {
                    *count += more;
                }
                for (count, more) in slot.served.iter_mut().zip(database.served) {
                    *count += more;
                }
                for (class, more) in database.errors {
                    *slot.errors.entry(class).or_default() += more;
                }
            }
        }
        for (durations, more) in self.durations.iter_mut().zip(&other.durations) {
            durations.merge(more);
        }
        for (durations, more) in self.served_durations.iter_mut().zip(&other.served_durations) {
            durations.merge(more);
        }
        self.rows += other.rows;
        for (count, more) in self.dropped.iter_mut().zip(other.dropped) {
            *count += more;
        }
        self.shapes.extend(other.shapes);
    }

    /// Index of the database `name`; of `other` when there are too many.
    pub(crate) fn database(&mut self, name: &str) -> DatabaseIndex {
        let find = |databases: &[DatabaseCounters], name: &str| {
            databases.iter().position(|slot| &*slot.name == name)
        };
        if let Some(index) = find(&self.databases, name) {
            return DatabaseIndex(index);
        }
        let name = if self.databases.len() < limits::DATABASES_MAX { name } else { "other" };
        if let Some(index) = find(&self.databases, name) {
            return DatabaseIndex(index);
        }
        self.databases.push(DatabaseCounters { name: name.into(), ..DatabaseCounters::default() });
        DatabaseIndex(self.databases.len() - 1)
    }

    /// Takes the counts and leaves zeroes, database indexes staying valid.
    pub(crate) fn take(&mut self) -> Self {
        let zeroed =
            |slot: &DatabaseCounters| DatabaseCounters { name: slot.name.clone(), ..Default::default() };
        let databases = self.databases.iter().map(zeroed).collect();
        std::mem::replace(self, Self { databases, ..Self::default() })
    }

    /// Exchanges what is counted for the server with what is counted for the cache. An exchange around the few statements
    /// that the cache answers costs all others nothing.
    pub(crate) fn exchange_sources(&mut self) {
        std::mem::swap(&mut self.durations, &mut self.served_durations);
        for database in &mut self.databases {
            std::mem::swap(&mut database.queries, &mut database.served);
        }
    }

    pub(crate) fn count_query(&mut self, database: DatabaseIndex, kind: Kind, duration_ns: u64) {
        let kind = kind as usize;
        if let Some(count) = self.databases.get_mut(database.0).and_then(|slot| slot.queries.get_mut(kind)) {
            *count += 1;
        }
        if let Some(durations) = self.durations.get_mut(kind) {
            durations.observe(duration_ns);
        }
    }

    pub(crate) fn count_error(&mut self, database: DatabaseIndex, sqlstate: [u8; 5]) {
        let [first, second, ..] = sqlstate;
        if let Some(slot) = self.databases.get_mut(database.0) {
            // Two characters of a closed list; a hostile server could invent more, hence the bound.
            let class = if slot.errors.len() < limits::ERROR_CLASSES_MAX { [first, second] } else { *b"XX" };
            *slot.errors.entry(class).or_default() += 1;
        }
    }

    pub(crate) fn count_dropped(&mut self, reason: Dropped, count: u64) {
        if let Some(slot) = self.dropped.get_mut(reason as usize) {
            *slot += count;
        }
    }
}
