//! A request: everything that ran under one identity, on one session or on several.
//!
//! Parts arrive when sessions hand them over, in any order and any number; [`Request::absorb`] keeps what fits into
//! the bounds and counts the rest. Reading a request is done in the order in which its statements were sent.
//!
//! Deliberately absent: the decision when a request is over, and any judgement (see `rules.rs`).

use std::sync::Arc;

use pgtally_fingerprint::{Fingerprint, Kind};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::limits::{PARTS_MAX, RECORDS_MAX, SAMPLE_BYTES_MAX};
use crate::record::{
    Attribution, KeyValue, Moment, Origin, Pause, RequestPart, Rollback, RowSample, SampleColumn,
    StatementRecord, WideColumn,
};

/// What tells requests apart.
///
/// An id that the application gave holds within one program on one database: services count their requests with the
/// same small numbers, a trace runs through several of them, and equal statements of two databases or two programs are
/// nobody's loop. A key that pgtally made needs nothing besides itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// As in [`RequestPart::key`].
    pub key: Arc<str>,
    /// Database and `application_name`, both empty where the key alone decides.
    program: (Arc<str>, Arc<str>),
}

impl Identity {
    /// Whose part it is.
    #[must_use]
    pub fn of(part: &RequestPart) -> Self {
        let origin = &part.origin;
        let program = match part.attribution {
            Attribution::Trace | Attribution::Tag | Attribution::Guc => {
                (Arc::clone(&origin.database), Arc::clone(&origin.application_name))
            }
            _ => Default::default(),
        };
        Self { key: Arc::clone(&part.key), program }
    }
}

/// One unit of application work with all its recorded statements.
#[derive(Clone, Debug)]
pub struct Request {
    identity: Identity,
    attribution: Attribution,
    route: Arc<str>,
    origin: Origin,
    started: Moment,
    ended: Moment,
    parts: Vec<RequestPart>,
    /// Recorded statements by time of sending.
    order: Vec<Place>,
    sessions: FxHashSet<u64>,
    statements: u64,
    database_ns: u64,
    sample_bytes: usize,
    samples_dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    part: usize,
    record: usize,
}

/// One recorded statement of a request.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'r> {
    /// Session it ran on.
    pub session: u64,
    /// What was recorded.
    pub statement: &'r StatementRecord,
    /// Its key parameters.
    pub keys: &'r [KeyValue],
}

/// The only row of a result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SingleRow<'r> {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) sent: Moment,
    pub(crate) columns: &'r [SampleColumn],
    /// Canonical hashes, one for each column.
    pub(crate) cells: &'r [u32],
}

/// What one shape cost a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementSummary {
    /// The shape.
    pub fingerprint: Fingerprint,
    /// Its label in metrics.
    pub kind: Kind,
    /// Recorded executions.
    pub count: u32,
    /// Nanoseconds from sending to completion, summed.
    pub database_ns: u64,
    /// Rows returned or affected, summed.
    pub rows: u64,
}

impl Request {
    /// A request of one part.
    #[must_use]
    pub fn new(part: RequestPart) -> Self {
        let mut request = Self {
            identity: Identity::of(&part),
            attribution: part.attribution,
            route: Arc::clone(&part.route),
            origin: part.origin.clone(),
            started: part.started,
            ended: part.ended,
            parts: Vec::new(),
            order: Vec::new(),
            sessions: FxHashSet::default(),
            statements: 0,
            database_ns: 0,
            sample_bytes: 0,
            samples_dropped: 0,
        };
        request.absorb(part);
        request
    }

    /// Adds another part of the same request. Counts stay exact; statements and samples beyond the bounds are dropped
    /// and show in [`Request::is_complete`] and [`Request::samples_dropped`].
    pub fn absorb(&mut self, mut part: RequestPart) {
        debug_assert_eq!(Identity::of(&part), self.identity, "parts of one request share its identity");
        self.started = self.started.min(part.started);
        self.ended = self.ended.max(part.ended);
        self.statements += u64::from(part.statements).max(part.records.len() as u64);
        self.database_ns = self.database_ns.saturating_add(part.database_ns);
        self.samples_dropped += u64::from(part.samples_dropped);
        if !self.attribution.is_request() {
            // A unit may turn out to be more than the transaction it began with.
            self.attribution = self.attribution.max(part.attribution);
        }
        if &*self.route == crate::finding::ROUTE_UNTAGGED {
            self.route = Arc::clone(&part.route);
        }
        if self.sessions.len() < PARTS_MAX {
            self.sessions.insert(part.session);
        }
        if self.parts.len() == PARTS_MAX {
            self.samples_dropped += part.samples.len() as u64;
            return;
        }
        self.fit(&mut part);
        let index = self.parts.len();
        if index == 0 {
            // Most requests have one part.
            self.parts.reserve_exact(1);
        }
        self.order.extend((0..part.records.len()).map(|record| Place { part: index, record }));
        self.parts.push(part);
        // Mostly sorted runs: the standard sort merges them in about linear time.
        let parts = &self.parts;
        self.order.sort_by_key(|place| sent(parts, *place));
    }

    /// Cuts a part to what still fits into the request's bounds.
    fn fit(&mut self, part: &mut RequestPart) {
        let room = RECORDS_MAX - self.order.len();
        if part.records.len() > room {
            part.records.truncate(room);
            let ends = part.records.iter().map(|it| it.keys().end);
            part.keys.truncate(ends.max().unwrap_or(0));
            let ends = part.records.iter().map(|it| it.cells().end);
            part.cells.truncate(ends.max().unwrap_or(0));
        }
        part.records.shrink_to_fit();
        part.keys.shrink_to_fit();
        part.cells.shrink_to_fit();
        let before = part.samples.len();
        part.samples.retain(|sample| {
            let bytes = size_of_val(sample.values.as_slice());
            let fits = self.sample_bytes + bytes <= SAMPLE_BYTES_MAX;
            self.sample_bytes += if fits { bytes } else { 0 };
            fits
        });
        self.samples_dropped += (before - part.samples.len()) as u64;
    }

    /// What tells it from other requests.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it is called, as in [`RequestPart::key`].
    #[must_use]
    pub fn key(&self) -> &Arc<str> {
        &self.identity.key
    }

    /// How its statements were assigned to it.
    #[must_use]
    pub fn attribution(&self) -> Attribution {
        self.attribution
    }

    /// Name of its type, of the first part that has one.
    #[must_use]
    pub fn route(&self) -> &Arc<str> {
        &self.route
    }

    /// Who ran it, as its first part says.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// First statement sent.
    #[must_use]
    pub fn started(&self) -> Moment {
        self.started
    }

    /// Last answer complete.
    #[must_use]
    pub fn ended(&self) -> Moment {
        self.ended
    }

    /// Counted statements, recorded or not.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.statements
    }

    /// Nanoseconds from sending to completion, summed over the counted statements.
    #[must_use]
    pub fn database_ns(&self) -> u64 {
        self.database_ns
    }

    /// Sessions it ran on, at most [`PARTS_MAX`].
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether every counted statement was recorded.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.statements_dropped() == 0
    }

    /// Counted statements that were not recorded.
    #[must_use]
    pub fn statements_dropped(&self) -> u64 {
        self.statements.saturating_sub(self.order.len() as u64)
    }

    /// Row samples given up because of bounds. They cost proofs, never counts.
    #[must_use]
    pub fn samples_dropped(&self) -> u64 {
        self.samples_dropped
    }

    /// Recorded statements in the order in which they were sent.
    pub fn records(&self) -> impl Iterator<Item = Recorded<'_>> {
        self.order.iter().filter_map(|place| {
            let part = self.parts.get(place.part)?;
            let statement = part.records.get(place.record)?;
            let keys = part.keys.get(statement.keys()).unwrap_or_default();
            Some(Recorded { session: part.session, statement, keys })
        })
    }

    /// Key-like cells of the only row of the recorded statement at `position` in the order of sending.
    #[must_use]
    pub fn cells(&self, position: usize) -> &[u32] {
        let cells = || {
            let place = self.order.get(position)?;
            let part = self.parts.get(place.part)?;
            part.cells.get(part.records.get(place.record)?.cells())
        };
        cells().unwrap_or_default()
    }

    /// Pauses inside transactions, with the session of each.
    pub fn pauses(&self) -> impl Iterator<Item = (u64, &Pause)> {
        self.parts.iter().flat_map(|part| part.pauses.iter().map(|pause| (part.session, pause)))
    }

    /// Rollbacks of what it has written, with the session of each.
    pub fn rollbacks(&self) -> impl Iterator<Item = (u64, &Rollback)> {
        self.parts.iter().flat_map(|part| part.rollbacks.iter().map(|rollback| (part.session, rollback)))
    }

    /// Wide columns of the rows that its reads returned.
    pub fn wide_columns(&self) -> impl Iterator<Item = &WideColumn> {
        self.parts.iter().flat_map(|part| &part.wide_columns)
    }

    /// Whether it is the work of a background job: nobody waits for it.
    #[must_use]
    pub fn is_background(&self) -> bool {
        self.origin.is_background()
    }

    /// Samples of rows with the moment when the first of their statements was sent. Samples of statements that are
    /// not recorded are left out: nobody could say what came after them.
    pub fn samples(&self) -> impl Iterator<Item = (Moment, &RowSample)> {
        self.parts.iter().flat_map(|part| {
            part.samples.iter().filter_map(|sample| {
                let first = part.records.get(sample.first_record as usize)?;
                Some((first.sent, sample))
            })
        })
    }

    /// Columns of results of one row, by shape.
    pub(crate) fn row_columns(&self) -> impl Iterator<Item = (Fingerprint, &Arc<[SampleColumn]>)> {
        self.parts.iter().flat_map(|part| part.row_columns.iter().map(|(shape, columns)| (*shape, columns)))
    }

    /// Results of one row, of shapes executed more than once: what was sent, when, what the cells are, and the cells.
    pub(crate) fn single_rows(&self) -> impl Iterator<Item = SingleRow<'_>> {
        self.parts.iter().filter(|part| !part.row_columns.is_empty()).flat_map(|part| {
            part.records.iter().filter_map(|record| {
                let cells = part.cells.get(record.cells())?;
                let named =
                    part.row_columns.iter().find(|(fingerprint, _)| *fingerprint == record.fingerprint);
                let (fingerprint, columns) = named?;
                let fits = !cells.is_empty() && cells.len() == columns.len();
                fits.then_some(SingleRow { fingerprint: *fingerprint, sent: record.sent, columns, cells })
            })
        })
    }

    /// Executions of the shape that was executed most often.
    #[must_use]
    pub fn similar_max(&self) -> u32 {
        self.summaries().iter().map(|summary| summary.count).max().unwrap_or(0)
    }

    /// Statements that repeat an earlier one with equal parameters in the same environment.
    #[must_use]
    pub fn duplicates(&self) -> u32 {
        let mut seen = FxHashSet::default();
        let is_repeat = |it: &Recorded<'_>| {
            let statement = it.statement;
            !seen.insert((statement.fingerprint, statement.environment, statement.parameters_hash))
        };
        u32::try_from(self.records().filter(is_repeat).count()).unwrap_or(u32::MAX)
    }

    /// What each shape cost, in order of first use.
    #[must_use]
    pub fn summaries(&self) -> Vec<StatementSummary> {
        let mut index: FxHashMap<Fingerprint, usize> = FxHashMap::default();
        let mut summaries: Vec<StatementSummary> = Vec::new();
        for Recorded { statement, .. } in self.records() {
            let at = *index.entry(statement.fingerprint).or_insert_with(|| {
                summaries.push(StatementSummary {
                    fingerprint: statement.fingerprint,
                    kind: statement.kind,
                    count: 0,
                    database_ns: 0,
                    rows: 0,
                });
                summaries.len() - 1
            });
            if let Some(summary) = summaries.get_mut(at) {
                summary.count += 1;
                summary.database_ns = summary.database_ns.saturating_add(statement.duration_ns());
                summary.rows = summary.rows.saturating_add(statement.rows.into());
            }
        }
        summaries
    }
}

fn sent(parts: &[RequestPart], place: Place) -> Moment {
    let record = parts.get(place.part).and_then(|part| part.records.get(place.record));
    record.map_or(Moment::default(), |record| record.sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;

    #[test]
    fn parts_of_several_sessions_are_read_in_order_of_time() {
        let mut first = Script::new();
        first.at_ms(0).read("SELECT a FROM t").at_ms(20).read("SELECT c FROM t");
        let mut second = Script::new();
        second.session(2).at_ms(10).read("SELECT b FROM t").read("SELECT b FROM t");
        let mut request = Request::new(second.part());
        request.absorb(first.part());
        let sessions: Vec<u64> = request.records().map(|it| it.session).collect();
        assert_eq!(sessions, [1, 2, 2, 1]);
        assert_eq!((request.queries(), request.sessions(), request.similar_max()), (4, 2, 2));
        assert_eq!(request.duplicates(), 1);
        assert_eq!(request.summaries().iter().map(|it| it.count).collect::<Vec<_>>(), [1, 2, 1]);
        assert!(request.is_complete());
    }

    #[test]
    fn an_id_names_requests_of_one_program_on_one_database() {
        let part = |attribution, database: &str, application_name: &str| {
            let origin = Origin {
                database: database.into(),
                application_name: application_name.into(),
                ..Origin::default()
            };
            Identity::of(&RequestPart { attribution, origin, ..Script::new().part() })
        };
        for level in Attribution::ALL {
            let is_given = matches!(level, Attribution::Trace | Attribution::Tag | Attribution::Guc);
            let one = part(level, "shop", "web");
            assert_eq!(one, part(level, "shop", "web"));
            assert_eq!(one != part(level, "shop", "billing"), is_given, "{level:?}");
            assert_eq!(one != part(level, "archive", "web"), is_given, "{level:?}");
        }
    }

    #[test]
    fn what_exceeds_the_bounds_is_counted() {
        let mut script = Script::new();
        script.repeat(1_500, |script, n| {
            script.keyed("SELECT a FROM t WHERE id = $1", n.into()).cells(&[n.into()]);
        });
        let mut request = Request::new(script.part());
        request.absorb(script.part());
        assert_eq!(request.queries(), 3_000);
        assert_eq!(request.records().count(), RECORDS_MAX);
        assert_eq!(request.statements_dropped(), 1_000);
        assert_eq!(request.parts.iter().map(|part| part.keys.capacity()).sum::<usize>(), RECORDS_MAX);
        assert_eq!(request.parts.iter().map(|part| part.cells.capacity()).sum::<usize>(), RECORDS_MAX);
        assert!(!request.is_complete());
    }

    #[test]
    fn parts_and_samples_are_bounded() {
        let mut script = Script::new();
        script.rows("SELECT id FROM t", &["t.id"], (0..200).map(|n| vec![n]).collect());
        let mut request = Request::new(script.part());
        for _ in 0..PARTS_MAX + 10 {
            request.absorb(script.part());
        }
        assert_eq!(request.queries() as usize, PARTS_MAX + 11);
        assert!(request.samples().map(|(_, it)| it.values.len() * 4).sum::<usize>() <= SAMPLE_BYTES_MAX);
        assert!(request.samples_dropped() > 0 && !request.is_complete());
    }

    #[test]
    fn the_first_named_route_is_taken() {
        let mut script = Script::new();
        script.read("SELECT a FROM t");
        let mut request = Request::new(RequestPart { route: "untagged".into(), ..script.part() });
        request.absorb(RequestPart { route: "/a".into(), ..script.part() });
        request.absorb(RequestPart { route: "/b".into(), ..script.part() });
        assert_eq!(&**request.route(), "/a");
    }
}
