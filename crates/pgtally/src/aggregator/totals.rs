//! What every statement and every route has cost since the start: exact sums, and histograms for percentiles.
//!
//! Two bounded tables. When one is full, the tenth part that was unused longest goes, and is counted as dropped: a
//! flood of names costs memory only up to the bound. A reset forgets findings and requests, not these totals.

use std::hash::Hash;
use std::sync::Arc;

use hdrhistogram::Histogram;
use pgtally_analysis::{Attribution, Moment, Recorded, Request, ShapeCounters};
use pgtally_fingerprint::{Fingerprint, Kind};
use rustc_hash::FxHashMap;

use crate::limits::{ROUTES_PER_STATEMENT_MAX, TOTALS_ROUTES_MAX, TOTALS_STATEMENTS_MAX};
use crate::totals::{Percentiles, RouteCalls, RouteTotals, StatementTotals};

const NS_PER_US: u64 = 1_000;

/// Both tables.
pub(super) struct Totals {
    statements: Table<Fingerprint, Statement>,
    routes: Table<(Arc<str>, Attribution), Route>,
}

impl Totals {
    pub(super) fn new() -> Self {
        Self { statements: Table::new(TOTALS_STATEMENTS_MAX), routes: Table::new(TOTALS_ROUTES_MAX) }
    }

    /// Adds what a worker has counted of a shape; answers with the number of entries that had to go.
    pub(super) fn count(&mut self, shape: &ShapeCounters, now: Moment) -> u64 {
        let (statement, evicted) = self.statements.entry(shape.fingerprint);
        if statement.calls == 0 {
            statement.first_seen = now;
        }
        statement.last_seen = now;
        statement.calls += shape.calls;
        statement.errors += shape.errors;
        statement.rows = statement.rows.saturating_add(shape.rows);
        statement.duration_ns = statement.duration_ns.saturating_add(shape.duration_ns);
        evicted
    }

    /// Adds a finished request, of which `slow` statements took too long; answers as [`Totals::count`].
    pub(super) fn record(&mut self, request: &Request, slow: u64, duplicates: u64) -> u64 {
        for record in request.records() {
            // Whoever is not there was counted, and had to go: that it was recorded as well makes no room for it.
            if let Some(statement) = self.statements.known(&record.statement.fingerprint) {
                statement.record(request, &record);
            }
        }
        let key = (Arc::clone(request.route()), request.attribution());
        let (route, evicted) = self.routes.entry(key);
        let duration_ns = request.ended().since(request.started());
        route.requests += 1;
        route.last_seen = request.ended();
        route.errors += request.records().filter(|it| it.statement.error.is_some()).count() as u64;
        route.similar_max = route.similar_max.max(request.similar_max());
        route.queries = route.queries.saturating_add(request.queries());
        route.duplicates += duplicates;
        route.slow += slow;
        route.database_ns = route.database_ns.saturating_add(request.database_ns());
        route.duration_ns = route.duration_ns.saturating_add(duration_ns);
        route.queries_per_request.record(request.queries());
        route.database_time.record(request.database_ns() / NS_PER_US);
        route.duration.record(duration_ns / NS_PER_US);
        evicted
    }

    /// All statements, in no order.
    pub(super) fn statements(&self) -> impl Iterator<Item = (Fingerprint, &Statement)> {
        self.statements.iter().map(|(fingerprint, it)| (*fingerprint, it))
    }

    /// One statement.
    pub(super) fn statement(&self, fingerprint: Fingerprint) -> Option<&Statement> {
        self.statements.find(&fingerprint)
    }

    /// All routes, in no order.
    pub(super) fn routes(&self) -> impl Iterator<Item = (&(Arc<str>, Attribution), &Route)> {
        self.routes.iter()
    }
}

/// What one shape has cost.
#[derive(Default)]
pub(super) struct Statement {
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) rows: u64,
    pub(super) duration_ns: u64,
    /// To 7 %: there are many statements.
    pub(super) time: Distribution<1>,
    pub(super) kind: Option<Kind>,
    /// Where it is issued, with the recorded executions; at most [`ROUTES_PER_STATEMENT_MAX`].
    pub(super) routes: Vec<(Arc<str>, u64)>,
    /// Of its first recorded execution.
    pub(super) database: Option<Arc<str>>,
    pub(super) first_seen: Moment,
    pub(super) last_seen: Moment,
}

impl Statement {
    fn record(&mut self, request: &Request, record: &Recorded<'_>) {
        let route = request.route();
        if self.database.is_none() {
            self.database = Some(Arc::clone(&request.origin().database));
        }
        self.kind = Some(record.statement.kind);
        self.time.record(record.statement.duration_ns() / NS_PER_US);
        if let Some((_, calls)) = self.routes.iter_mut().find(|(known, _)| known == route) {
            *calls += 1;
        } else if self.routes.len() < ROUTES_PER_STATEMENT_MAX {
            self.routes.push((Arc::clone(route), 1));
        }
    }

    /// Nanoseconds of the average execution.
    pub(super) fn mean_ns(&self) -> u64 {
        self.duration_ns / self.calls.max(1)
    }

    /// As the API shows it, without what only others know.
    pub(super) fn totals(&self, fingerprint: Fingerprint) -> StatementTotals {
        let mut routes = self.routes.clone();
        routes.sort_by(|(one, calls), (other, more)| more.cmp(calls).then_with(|| one.cmp(other)));
        let routes = routes.into_iter().map(|(route, calls)| RouteCalls { route: route.to_string(), calls });
        StatementTotals {
            fingerprint: fingerprint.to_string(),
            calls: self.calls,
            errors: self.errors,
            rows: self.rows,
            db_ms: milliseconds(self.duration_ns),
            time: self.time.milliseconds(),
            routes: routes.collect(),
            ..StatementTotals::default()
        }
    }
}

/// What the requests of one route have cost.
#[derive(Default)]
pub(super) struct Route {
    pub(super) requests: u64,
    queries: u64,
    duplicates: u64,
    slow: u64,
    errors: u64,
    similar_max: u32,
    database_ns: u64,
    duration_ns: u64,
    queries_per_request: Distribution<2>,
    database_time: Distribution<2>,
    duration: Distribution<2>,
    pub(super) last_seen: Moment,
}

impl Route {
    /// As the API shows it, without what only others know.
    pub(super) fn totals(&self, route: &str, attribution: Attribution) -> RouteTotals {
        RouteTotals {
            route: route.to_owned(),
            attribution: attribution.name(),
            requests: self.requests,
            queries: self.queries,
            duplicates: self.duplicates,
            slow_queries: self.slow,
            db_ms: milliseconds(self.database_ns),
            duration_ms: milliseconds(self.duration_ns),
            queries_per_request: self.queries_per_request.percentiles(1.0),
            db_time: self.database_time.milliseconds(),
            duration: self.duration.milliseconds(),
            similar_max: self.similar_max,
            errors: self.errors,
            ..RouteTotals::default()
        }
    }
}

/// A histogram that takes memory from its first value on: at most 14 KiB for two significant digits (1 %) and 2 KiB
/// for one (7 %), for values up to [`VALUE_MAX`].
#[derive(Default)]
pub(super) struct Distribution<const DIGITS: u8>(Option<Histogram<u32>>);

/// Highest value told apart: an hour of microseconds.
const VALUE_MAX: u64 = 3_600_000_000;

impl<const DIGITS: u8> Distribution<DIGITS> {
    fn record(&mut self, value: u64) {
        if self.0.is_none() {
            // Refused only for other bounds than these.
            self.0 = Histogram::new_with_bounds(1, 2, DIGITS).ok();
            if let Some(histogram) = &mut self.0 {
                histogram.auto(true);
            }
        }
        if let Some(histogram) = &mut self.0 {
            // Grows as needed; the bound above makes that possible always.
            let _ = histogram.record(value.min(VALUE_MAX));
        }
    }

    /// Number of values up to each of `bounds`, and above the one before; the last is of those above all.
    pub(super) fn buckets(&self, bounds: &[u64]) -> Vec<u64> {
        let mut buckets = vec![0; bounds.len() + 1];
        for step in self.0.iter().flat_map(|histogram| histogram.iter_recorded()) {
            let value = step.value_iterated_to();
            let index = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
            if let Some(bucket) = buckets.get_mut(index) {
                *bucket += u64::from(step.count_at_value());
            }
        }
        buckets
    }

    /// Microseconds as milliseconds.
    pub(super) fn milliseconds(&self) -> Percentiles {
        self.percentiles(NS_PER_US as f64)
    }

    fn percentiles(&self, divisor: f64) -> Percentiles {
        let Some(histogram) = &self.0 else { return Percentiles::default() };
        let at = |quantile: f64| histogram.value_at_quantile(quantile).min(histogram.max()) as f64 / divisor;
        Percentiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: histogram.max() as f64 / divisor }
    }
}

/// A bounded table that gives up what was unused longest.
struct Table<K, V> {
    entries: FxHashMap<K, (V, u64)>,
    capacity: usize,
    uses: u64,
}

impl<K: Clone + Eq + Hash, V: Default> Table<K, V> {
    fn new(capacity: usize) -> Self {
        Self { entries: FxHashMap::default(), capacity, uses: 0 }
    }

    /// The entry of `key`, and how many others had to go for it.
    fn entry(&mut self, key: K) -> (&mut V, u64) {
        self.uses += 1;
        let is_full = self.entries.len() >= self.capacity && !self.entries.contains_key(&key);
        let evicted = if is_full { self.evict() } else { 0 };
        let (value, used) = self.entries.entry(key).or_default();
        *used = self.uses;
        (value, evicted)
    }

    /// The entry of `key`, if there is one.
    fn known(&mut self, key: &K) -> Option<&mut V> {
        self.uses += 1;
        let (value, used) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    fn evict(&mut self) -> u64 {
        let mut used: Vec<u64> = self.entries.values().map(|(_, used)| *used).collect();
        let tenth = used.len() / 10;
        let (_, bound, _) = used.select_nth_unstable(tenth);
        let (bound, before) = (*bound, self.entries.len());
        self.entries.retain(|_, (_, used)| *used > bound);
        (before - self.entries.len()) as u64
    }

    fn find(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (value, _))| (key, value))
    }
}

/// Milliseconds with three decimals.
fn milliseconds(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_one_percent() {
        let mut distribution = Distribution::<2>::default();
        assert_eq!(distribution.milliseconds(), Percentiles::default());
        for value in 1..=10_000 {
            distribution.record(value);
        }
        let found = distribution.percentiles(1.0);
        let check = |found: f64, expected: f64| {
            assert!((found / expected - 1.0).abs() <= 0.01, "{found} is not {expected}");
        };
        check(found.p50, 5_000.0);
        check(found.p95, 9_500.0);
        check(found.p99, 9_900.0);
        check(found.max, 10_000.0);
        let buckets = distribution.buckets(&[1_000, 20_000]);
        assert_eq!(buckets.iter().sum::<u64>(), 10_000);
        assert!(buckets[0].abs_diff(1_000) <= 10 && buckets[2] == 0, "{buckets:?}");
    }

    #[test]
    fn a_distribution_is_bounded_whatever_it_is_given() {
        let bytes = |histogram: Option<Histogram<u32>>| {
            histogram.map_or(0, |histogram| histogram.distinct_values() * size_of::<u32>())
        };
        let (mut coarse, mut fine) = (Distribution::<1>::default(), Distribution::<2>::default());
        for value in [0, 1, VALUE_MAX, u64::MAX] {
            coarse.record(value);
            fine.record(value);
        }
        assert_eq!(fine.buckets(&[1]), [2, 2]);
        let (coarse, fine) = (bytes(coarse.0), bytes(fine.0));
        assert!(coarse <= 2 * 1024 && fine <= 14 * 1024, "{coarse} and {fine} bytes");
    }

    #[test]
    fn what_was_used_lately_survives_a_flood() {
        let mut totals = Totals::new();
        let shape =
            |n: u64| ShapeCounters { fingerprint: Fingerprint(n), calls: 1, ..ShapeCounters::default() };
        let mut evicted = 0;
        let flood = TOTALS_STATEMENTS_MAX as u64 * 3;
        for n in 0..flood {
            evicted += totals.count(&shape(n), Moment(n)) + totals.count(&shape(7), Moment(n));
        }
        let kept = totals.statements().count();
        assert!(kept <= TOTALS_STATEMENTS_MAX);
        assert_eq!(evicted + kept as u64, flood);
        assert_eq!(totals.statement(Fingerprint(7)).unwrap().calls, flood + 1);
    }

    #[test]
    fn what_was_recorded_makes_no_room_for_itself() {
        let mut totals = Totals::new();
        let shape = |n: usize| ShapeCounters {
            fingerprint: Fingerprint(n as u64),
            calls: 1,
            ..ShapeCounters::default()
        };
        for n in 0..TOTALS_STATEMENTS_MAX {
            totals.count(&shape(n), Moment(0));
        }
        let mut part = crate::aggregator::requests::tests::part("a", 0);
        let gone = Fingerprint(u64::MAX);
        part.records = vec![pgtally_analysis::StatementRecord { fingerprint: gone, ..Default::default() }];
        assert_eq!(totals.record(&Request::new(part), 0, 0), 0);
        assert_eq!(totals.statements().filter(|(_, it)| it.calls > 0).count(), TOTALS_STATEMENTS_MAX);
    }
}
