//! Label values of the aggregator's metrics: sticky slots, and the removal of the series of values that lost theirs.

use std::sync::Arc;

use pgtally_analysis::Moment;
use pgtally_fingerprint::Fingerprint;

use crate::metrics::{DATABASE_SLOTS, FINGERPRINT_SLOTS, Metrics, ROUTE_SLOTS};
use crate::slots::{Label, OTHER, Slots};

/// Classes of SQLSTATEs in PostgreSQL's `errcodes.txt`, sorted. A label from the wire must come from a closed set.
const SQLSTATE_CLASSES: [&str; 44] = [
    "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23",
    "24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44",
    "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX",
];

/// The slots of all open-ended labels.
pub(crate) struct Labels {
    metrics: Arc<Metrics>,
    databases: Slots,
    fingerprints: Slots,
    routes: Slots,
}

impl Labels {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            databases: Slots::new(DATABASE_SLOTS),
            fingerprints: Slots::new(FINGERPRINT_SLOTS),
            routes: Slots::new(ROUTE_SLOTS),
        }
    }

    pub(crate) fn database(&mut self, name: &str, times: u64, now: Moment) -> Arc<str> {
        use_label(&self.metrics, "database", self.databases.label(name, times, now))
    }

    pub(crate) fn fingerprint(&mut self, fingerprint: Fingerprint, times: u64, now: Moment) -> Arc<str> {
        use_label(&self.metrics, "fingerprint", self.fingerprints.label(&fingerprint.to_string(), times, now))
    }

    /// The class of an SQLSTATE, as PostgreSQL has it; `other` for what functions and strange servers make up.
    pub(crate) fn sqlstate_class(class: [u8; 2]) -> &'static str {
        std::str::from_utf8(&class)
            .ok()
            .and_then(|class| SQLSTATE_CLASSES.binary_search(&class).ok())
            .and_then(|place| SQLSTATE_CLASSES.get(place).copied())
            .unwrap_or(OTHER)
    }

    pub(crate) fn route(&mut self, route: &str, now: Moment) -> Arc<str> {
        use_label(&self.metrics, "route", self.routes.label(route, 1, now))
    }
}

fn use_label(metrics: &Metrics, name: &str, label: Label) -> Arc<str> {
    if label.is_overflow {
        metrics.label_overflow.with_label_values(&[name]).inc();
    }
    if let Some(evicted) = label.evicted {
        metrics.forget(name, &evicted);
    }
    label.value
}

#[cfg(test)]
mod tests {
    use pgtally_analysis::{Counters, Dropped};
    use pgtally_cache::BypassReason;
    use pgtally_fingerprint::Kind;

    use super::*;

    const ATTRIBUTIONS: [&str; 9] =
        ["application_name", "guc", "idle", "marker", "ping", "session", "tag", "trace", "transaction"];
    /// A few more than there are.
    const FINDING_KINDS: usize = 20;
    /// More values than any label has whose values stand in the code.
    const CLOSED_VALUES: usize = 40;
    /// Tags that the cache counts apart, and those beyond them.
    const CACHE_TAGS: usize = 101;
    /// What `grafana/README.md` tells operators to plan for.
    const SERIES_MAX: usize = 25_600;

    /// Fills every label beyond its bound, as the aggregator would.
    fn fill(metrics: &Arc<Metrics>) {
        let mut labels = Labels::new(Arc::clone(metrics));
        for n in 0..1_000 {
            let fingerprint = labels.fingerprint(Fingerprint(n), 3, Moment(0));
            let fingerprint = &[&*fingerprint];
            metrics.statement_calls.with_label_values(fingerprint).inc();
            metrics.statement_errors.with_label_values(fingerprint).inc();
            metrics.statement_rows.with_label_values(fingerprint).inc();
            metrics.statement_seconds.with_label_values(fingerprint).inc();
            fill_route(metrics, &mut labels, &format!("/{}/{n}", "x".repeat(10_000 * usize::from(n > 900))));
        }
        for n in 0..20 {
            let database = labels.database(&format!("shop{n}"), 3, Moment(0));
            for kind in Kind::ALL {
                for source in ["cache", "upstream"] {
                    metrics.queries.with_label_values(&[&*database, kind.name(), source]).inc();
                }
            }
            for class in 0..=u16::MAX {
                let class = Labels::sqlstate_class(class.to_be_bytes());
                metrics.query_errors.with_label_values(&[&*database, class]).inc();
            }
        }
    }

    fn fill_route(metrics: &Metrics, labels: &mut Labels, route: &str) {
        for _ in 0..3 {
            let route = &*labels.route(route, Moment(0));
            for attribution in ATTRIBUTIONS {
                metrics.requests.with_label_values(&[route, attribution]).inc();
                metrics.queries_per_request.with_label_values(&[route, attribution]).observe(1.0);
            }
            metrics.request_db.with_label_values(&[route]).observe(1.0);
            metrics.request_duration.with_label_values(&[route]).observe(1.0);
            metrics.request_similar.with_label_values(&[route]).observe(1.0);
            metrics.duplicate_queries.with_label_values(&[route]).inc();
            metrics.slow_queries.with_label_values(&[route]).inc();
            metrics.route_baseline.with_label_values(&[route]).set(1.0);
            metrics.route_regression.with_label_values(&[route]).set(1.0);
        }
    }

    /// Fills what has a bound by itself, generously.
    fn fill_closed(metrics: &Metrics) {
        for kind in (0..FINDING_KINDS).map(|n| n.to_string()) {
            for severity in ["critical", "info", "warning"] {
                metrics.findings.with_label_values(&[&*kind, severity]).inc();
                for state in ["acked", "known", "new"] {
                    metrics.findings_open.with_label_values(&[&*kind, severity, state]).inc();
                }
            }
        }
        for tag in (0..CACHE_TAGS).map(|n| n.to_string()) {
            for result in ["hit", "miss", "stale"] {
                metrics.cache_lookups.with_label_values(&[&*tag, result]).inc();
            }
            metrics.cache_saved.with_label_values(&[&*tag]).inc();
        }
        for reason in BypassReason::ALL {
            metrics.cache_bypass.with_label_values(&[reason.name()]).inc();
        }
        let mut counters = Counters::default();
        for durations in counters.durations.iter_mut().chain(&mut counters.served_durations) {
            durations.buckets = [1; 17];
        }
        metrics.query_durations.add(&counters);
        for value in (0..CLOSED_VALUES).map(|n| n.to_string()) {
            metrics.connections_closed.with_label_values(&[&*value]).inc();
            for side in ["client", "upstream"] {
                metrics.auth_failures.with_label_values(&[side, &*value]).inc();
                metrics.tls_handshakes.with_label_values(&[side, &*value]).inc();
            }
        }
        for value in (0..6).map(|n| n.to_string()) {
            metrics.cache_evictions.with_label_values(&[&*value]).inc();
            metrics.cache_fills.with_label_values(&[&*value]).inc();
            metrics.cache_invalidations.with_label_values(&[&*value]).inc();
            metrics.config_reloads.with_label_values(&[&*value]).inc();
            metrics.lifted_parses.with_label_values(&[&*value]).inc();
            metrics.session_gauge(&value).inc();
            metrics.upstreams.with_label_values(&[&*value]).inc();
        }
    }

    /// Names of all families, as `metrics.rs` makes them.
    fn families() -> Vec<String> {
        let code: String = include_str!("metrics.rs").split_whitespace().collect();
        let calls = code.split("make.").skip(1);
        let makes = ["counter", "float_", "gauge", "histogram"];
        let calls = calls.filter(|call| makes.iter().any(|make| call.starts_with(make)));
        calls.filter_map(|call| call.split('"').nth(1)).map(str::to_owned).collect()
    }

    fn series(metrics: &Metrics) -> usize {
        metrics.render().lines().filter(|line| !line.starts_with('#')).count()
    }

    #[test]
    fn the_number_of_series_is_bounded_and_documented() {
        let metrics = Arc::new(Metrics::new().unwrap());
        fill(&metrics);
        fill_closed(&metrics);
        let text = metrics.render();
        assert!(families().len() > 40, "{:?}", families());
        for family in families() {
            assert!(text.contains(&format!("# TYPE pgtally_{family} ")), "{family} is not part of the count");
        }
        let first = series(&metrics);
        fill(&metrics);
        assert_eq!(series(&metrics), first, "nothing grows once every label is full");
        assert!((SERIES_MAX * 9 / 10..=SERIES_MAX).contains(&first), "{first}");
        let documented = include_str!("../../../grafana/README.md");
        assert!(documented.contains("25,600 series"), "the documented bound is another one");
    }

    /// Nanoseconds that this thread has had a processor: others have the machine too.
    fn processor_ns() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().and_then(|field| field.parse().ok()).unwrap()
    }

    fn cost_to_render(metrics: &Metrics) -> u64 {
        let attempt = || {
            let began = processor_ns();
            let _ = metrics.render();
            processor_ns() - began
        };
        (0..8).map(|_| attempt()).min().unwrap_or_default()
    }

    #[test]
    fn the_cost_of_a_scrape_grows_with_the_series_and_no_faster() {
        let [small, large] = [4, 100].map(|routes| {
            let metrics = Arc::new(Metrics::new().unwrap());
            let mut labels = Labels::new(Arc::clone(&metrics));
            (0..routes).for_each(|n| fill_route(&metrics, &mut labels, &format!("/{n}")));
            metrics
        });
        let growth = series(&large) as f64 / series(&small) as f64;
        let dearer = cost_to_render(&large) as f64 / cost_to_render(&small).max(1) as f64;
        // A large text costs more per byte, in memory that is new each time; work that grew as the square would be
        // `growth` times dearer still.
        assert!(
            growth > 16.0 && dearer < growth * 8.0,
            "{dearer:.1} times the work for {growth:.1} times the series"
        );
    }

    #[test]
    fn events_that_alerts_wait_for_have_a_series_from_the_start() {
        let text = Metrics::new().unwrap().render();
        for reason in Dropped::ALL.map(Dropped::name).into_iter().chain(["aggregator_queue", "findings"]) {
            let wanted = format!("pgtally_observations_dropped_total{{reason=\"{reason}\"}} 0");
            assert!(text.contains(&wanted), "{wanted}");
        }
        for wanted in
            ["pgtally_sessions_blind_total{reason=\"panic\"} 0", "label_overflow_total{label=\"route\"} 0"]
        {
            assert!(text.contains(wanted), "{wanted}");
        }
    }

    #[test]
    fn classes_that_postgresql_does_not_have_are_other() {
        let check = |class: &[u8; 2], expected: &str| assert_eq!(Labels::sqlstate_class(*class), expected);
        assert!(SQLSTATE_CLASSES.is_sorted());
        check(b"23", "23");
        check(b"XX", "XX");
        check(b"ZZ", "other");
        check(b"\0\xff", "other");
    }
}
