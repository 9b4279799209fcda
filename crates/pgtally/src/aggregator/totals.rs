//! What every statement and every route has cost since the start: exact sums, and histograms for percentiles.
//!
//! Two bounded tables. When one is full, the tenth part that was unused longest goes, and is counted as dropped: a
//! flood of names costs memory only up to the bound. A reset forgets findings and requests, not these totals.

use std::hash::Hash;
use std::sync::Arc;

use hdrhistogram::Histogram;
use pgtally_analysis::{Attribution, Request, ShapeCounters};
use pgtally_fingerprint::Fingerprint;
use rustc_hash::FxHashMap;

use crate::limits::{TOTALS_ROUTES_MAX, TOTALS_STATEMENTS_MAX};
use crate::totals::{Percentiles, RouteTotals, StatementTotals};

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
    pub(super) fn count(&mut self, shape: &ShapeCounters) -> u64 {
        let (statement, evicted) = self.statements.entry(shape.fingerprint);
        statement.calls += shape.calls;
        statement.errors += shape.errors;
        statement.rows = statement.rows.saturating_add(shape.rows);
        statement.duration_ns = statement.duration_ns.saturating_add(shape.duration_ns);
        evicted
    }

    /// Adds a finished request, of which `slow` statements took too long; answers as [`Totals::count`].
    pub(super) fn record(&mut self, request: &Request, slow: u64, duplicates: u64) -> u64 {
        let mut evicted = 0;
        for record in request.records() {
            let (statement, gone) = self.statements.entry(record.statement.fingerprint);
            evicted += gone;
            statement.time.record(record.statement.duration_ns() / NS_PER_US);
        }
        let key = (Arc::clone(request.route()), request.attribution());
        let (route, gone) = self.routes.entry(key);
        let duration_ns = request.ended().since(request.started());
        route.requests += 1;
        route.queries = route.queries.saturating_add(request.queries());
        route.duplicates += duplicates;
        route.slow += slow;
        route.database_ns = route.database_ns.saturating_add(request.database_ns());
        route.duration_ns = route.duration_ns.saturating_add(duration_ns);
        route.queries_per_request.record(request.queries());
        route.database_time.record(request.database_ns() / NS_PER_US);
        route.duration.record(duration_ns / NS_PER_US);
        evicted + gone
    }

    /// Statements, the most expensive first.
    pub(super) fn statements(&self, text: impl Fn(Fingerprint) -> Option<String>) -> Vec<StatementTotals> {
        let mut all: Vec<_> = self.statements.iter().collect();
        all.sort_by_key(|(fingerprint, it)| (std::cmp::Reverse(it.duration_ns), fingerprint.0));
        let view = |(fingerprint, it): (&Fingerprint, &Statement)| StatementTotals {
            fingerprint: fingerprint.to_string(),
            statement: text(*fingerprint),
            calls: it.calls,
            errors: it.errors,
            rows: it.rows,
            db_ms: milliseconds(it.duration_ns),
            time: it.time.milliseconds(),
        };
        all.into_iter().map(view).collect()
    }

    /// Routes, the most expensive first.
    pub(super) fn routes(&self) -> Vec<RouteTotals> {
        let mut all: Vec<_> = self.routes.iter().collect();
        all.sort_by(|(one_key, one), (other_key, other)| {
            other.database_ns.cmp(&one.database_ns).then_with(|| one_key.cmp(other_key))
        });
        let view = |((route, attribution), it): (&(Arc<str>, Attribution), &Route)| RouteTotals {
            route: route.to_string(),
            attribution: attribution.name(),
            requests: it.requests,
            queries: it.queries,
            duplicates: it.duplicates,
            slow_queries: it.slow,
            db_ms: milliseconds(it.database_ns),
            duration_ms: milliseconds(it.duration_ns),
            queries_per_request: it.queries_per_request.percentiles(1.0),
            db_time: it.database_time.milliseconds(),
            duration: it.duration.milliseconds(),
        };
        all.into_iter().map(view).collect()
    }
}

#[derive(Default)]
struct Statement {
    calls: u64,
    errors: u64,
    rows: u64,
    duration_ns: u64,
    time: Distribution,
}

#[derive(Default)]
struct Route {
    requests: u64,
    queries: u64,
    duplicates: u64,
    slow: u64,
    database_ns: u64,
    duration_ns: u64,
    queries_per_request: Distribution,
    database_time: Distribution,
    duration: Distribution,
}

/// A histogram that takes memory from its first value on: at most 14 KiB, for values up to [`VALUE_MAX`].
#[derive(Default)]
struct Distribution(Option<Histogram<u32>>);

/// Highest value told apart: an hour of microseconds.
const VALUE_MAX: u64 = 3_600_000_000;
/// Significant digits: every percentile is right to 1 %.
const DIGITS: u8 = 2;

impl Distribution {
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

    /// Microseconds as milliseconds.
    fn milliseconds(&self) -> Percentiles {
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

    fn evict(&mut self) -> u64 {
        let mut used: Vec<u64> = self.entries.values().map(|(_, used)| *used).collect();
        let tenth = used.len() / 10;
        let (_, bound, _) = used.select_nth_unstable(tenth);
        let (bound, before) = (*bound, self.entries.len());
        self.entries.retain(|_, (_, used)| *used > bound);
        (before - self.entries.len()) as u64
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
        let mut distribution = Distribution::default();
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
    }

    #[test]
    fn a_distribution_is_bounded_whatever_it_is_given() {
        let mut distribution = Distribution::default();
        for value in [0, 1, VALUE_MAX, u64::MAX] {
            distribution.record(value);
        }
        let histogram = distribution.0.unwrap();
        assert_eq!(histogram.len(), 4);
        assert!(
            histogram.distinct_values() * size_of::<u32>() <= 14 * 1024,
            "{}",
            histogram.distinct_values()
        );
    }

    #[test]
    fn what_was_used_lately_survives_a_flood() {
        let mut totals = Totals::new();
        let shape =
            |n: u64| ShapeCounters { fingerprint: Fingerprint(n), calls: 1, ..ShapeCounters::default() };
        let mut evicted = 0;
        let flood = TOTALS_STATEMENTS_MAX as u64 * 3;
        for n in 0..flood {
            evicted += totals.count(&shape(n)) + totals.count(&shape(7));
        }
        let statements = totals.statements(|_| None);
        assert!(statements.len() <= TOTALS_STATEMENTS_MAX);
        assert_eq!(evicted + statements.len() as u64, flood);
        let kept = statements.iter().find(|it| it.fingerprint == Fingerprint(7).to_string()).unwrap();
        assert_eq!(kept.calls, flood + 1);
    }
}
