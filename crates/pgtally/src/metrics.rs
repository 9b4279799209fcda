//! Every metric: names, labels, buckets. Nothing is registered anywhere else.
//!
//! Counters that the hot path needs are plain numbers in each worker and arrive here in batches, from the aggregator;
//! only events of a connection's life are counted directly. Labels with open-ended values go through `slots.rs`
//! first. One [`Metrics`] per proxy: two proxies in one process share nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use pgtally_analysis::{Dropped, Moment};
use pgtally_protocol::Desync;
use prometheus::core::Collector;
use prometheus::proto::LabelPair;
use prometheus::{
    CounterVec, Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::admission::Limit;
use crate::durations::DurationHistograms;
use crate::overhead::Heading;

const QUERIES_BUCKETS: [f64; 15] =
    [1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0, 200.0, 500.0, 1000.0];
const SIMILAR_BUCKETS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0];
/// From what a small chunk takes to what nobody would put up with.
const OVERHEAD_BUCKETS: [f64; 12] =
    [0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1];
const SECONDS_BUCKETS: [f64; 16] = pgtally_analysis::DURATION_BUCKETS;

/// Slots of the open-ended labels.
pub(crate) const ROUTE_SLOTS: usize = 100;
/// See [`ROUTE_SLOTS`].
pub(crate) const FINGERPRINT_SLOTS: usize = 100;
/// See [`ROUTE_SLOTS`].
pub(crate) const DATABASE_SLOTS: usize = 16;

/// Why something is dropped elsewhere than in the analysis.
const DROPPED_BY_SHELL: [&str; 6] =
    ["aggregator_queue", "baselines", "findings", "session_blind", DROPPED_FROM_TAP, "totals"];
/// What was not shown to somebody who listens is missing nowhere else.
const DROPPED_FROM_TAP: &str = "tap";
/// Why sessions are blind for other reasons than their bytes.
const BLIND_BY_SHELL: [&str; 4] = ["analysis_off", "panic", "replication", "startup_unknown"];

/// All metrics of one proxy.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) admin_refused: IntCounter,
    pub(crate) aggregator_restarts: IntCounter,
    pub(crate) auth_failures: IntCounterVec,
    pub(crate) baseline_saves: IntCounterVec,
    pub(crate) cache_bypass: IntCounterVec,
    pub(crate) cache_bytes: IntGauge,
    pub(crate) cache_capacity: IntGauge,
    pub(crate) cache_entries: IntGauge,
    pub(crate) cache_evictions: IntCounterVec,
    pub(crate) cache_fills: IntCounterVec,
    pub(crate) cache_hints_refused: IntCounter,
    pub(crate) cache_invalidations: IntCounterVec,
    pub(crate) cache_lookups: IntCounterVec,
    pub(crate) cache_saved: CounterVec,
    pub(crate) cancel_requests: IntCounterVec,
    pub(crate) config_reloads: IntCounterVec,
    pub(crate) connections_closed: IntCounterVec,
    pub(crate) connections_opened: IntCounter,
    pub(crate) duplicate_queries: IntCounterVec,
    pub(crate) findings: IntCounterVec,
    pub(crate) findings_open: IntGaugeVec,
    pub(crate) label_overflow: IntCounterVec,
    pub(crate) late_parts: IntCounter,
    pub(crate) observations_dropped: IntCounterVec,
    overhead_to_client: Histogram,
    overhead_to_upstream: Histogram,
    pub(crate) queries: IntCounterVec,
    pub(crate) queries_per_request: HistogramVec,
    pub(crate) query_durations: DurationHistograms,
    pub(crate) query_errors: IntCounterVec,
    pub(crate) relay_bytes_to_client: IntCounter,
    pub(crate) relay_bytes_to_upstream: IntCounter,
    pub(crate) request_db: HistogramVec,
    pub(crate) request_duration: HistogramVec,
    pub(crate) request_similar: HistogramVec,
    pub(crate) requests: IntCounterVec,
    pub(crate) route_baseline: GaugeVec,
    pub(crate) route_regression: GaugeVec,
    pub(crate) rows: IntCounter,
    sessions: IntGaugeVec,
    pub(crate) sessions_blind: IntCounterVec,
    pub(crate) lifted_parses: IntCounterVec,
    pub(crate) sessions_refused: IntCounterVec,
    pub(crate) sessions_stalled: IntGaugeVec,
    pub(crate) slow_queries: IntCounterVec,
    pub(crate) stalls: IntCounterVec,
    pub(crate) statement_calls: IntCounterVec,
    pub(crate) statement_errors: IntCounterVec,
    pub(crate) statement_rows: IntCounterVec,
    pub(crate) statement_seconds: CounterVec,
    pub(crate) tls_handshakes: IntCounterVec,
    pub(crate) upstream_connect: Histogram,
    upstream_up: IntGauge,
    pub(crate) upstreams: IntGaugeVec,
    /// When the upstream was last reached or not, plus one; 0 before the first time.
    upstream_contacted: AtomicU64,
}

impl Metrics {
    /// Makes and registers all metrics.
    ///
    /// # Errors
    /// A name or label that the library refuses: a mistake in this file.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let make = Maker { registry: Registry::new() };
        let relay_bytes =
            make.counters("relay_bytes_total", "Bytes forwarded, by direction", &["direction"])?;
        let overhead = make.histograms(
            "proxy_overhead_seconds",
            "Time from the beginning of the read of a chunk to the end of its write, of one chunk in 61",
            &["direction"],
            &OVERHEAD_BUCKETS,
        )?;
        let query_durations = DurationHistograms::new(
            "pgtally_query_duration_seconds",
            "Time from sending a statement to its completion; from the cache, from its arrival to the answer's end",
        )?;
        make.register(query_durations.clone())?;
        let build = make.gauges("build_info", "Version of the running program", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        make.register(prometheus::process_collector::ProcessCollector::for_self())?;
        let metrics = Self {
            admin_refused: make.counter(
                "admin_connections_refused_total",
                "Connections to the admin listener closed at once, as their address had too many",
            )?,
            aggregator_restarts: make
                .counter("aggregator_restarts_total", "Restarts of the aggregator with empty state")?,
            auth_failures: make.counters(
                "auth_failures_total",
                "Logins that the server or pgtally refused, or that could not be finished, by side and reason",
                &["side", "reason"],
            )?,
            baseline_saves: make.counters(
                "baseline_saves_total",
                "Attempts to write or read the file of baselines, by result",
                &["result"],
            )?,
            cache_bypass: make.counters(
                "cache_bypass_total",
                "Reads that were to be cached and went to PostgreSQL, by reason",
                &["reason"],
            )?,
            cache_bytes: make.gauge("cache_bytes", "Bytes of the kept answers")?,
            cache_capacity: make.gauge("cache_capacity_bytes", "Most bytes that answers may take")?,
            cache_entries: make.gauge("cache_entries", "Kept answers, old ones among them")?,
            cache_evictions: make.counters(
                "cache_evictions_total",
                "Answers given up for want of room, or met when their lifetime was over",
                &["cause"],
            )?,
            cache_fills: make.counters(
                "cache_fills_total",
                "Answers copied for keeping, by what became of them",
                &["result"],
            )?,
            cache_hints_refused: make.counter(
                "cache_hints_refused_total",
                "Words of cache hints that meant nothing or asked for more than is allowed",
            )?,
            cache_invalidations: make.counters(
                "cache_invalidations_total",
                "Orders to forget, losses, and answers met after a write to what they depend on",
                &["cause"],
            )?,
            cache_lookups: make.counters(
                "cache_lookups_total",
                "Answers looked for, by their first tag and result",
                &["tag", "result"],
            )?,
            cache_saved: make.float_counters(
                "cache_saved_seconds_total",
                "Time that PostgreSQL took for the answers that were given again, by their first tag",
                &["tag"],
            )?,
            cancel_requests: make.counters(
                "cancel_requests_total",
                "CancelRequests, by result",
                &["result"],
            )?,
            config_reloads: make.counters(
                "config_reloads_total",
                "Attempts to reload the configuration, by result",
                &["result"],
            )?,
            connections_closed: make.counters(
                "connections_closed_total",
                "Connections ended, by reason",
                &["reason"],
            )?,
            connections_opened: make.counter("connections_opened_total", "Connections accepted")?,
            duplicate_queries: make.counters(
                "duplicate_queries_total",
                "Statements that repeat one of the same request with equal parameters",
                &["route"],
            )?,
            findings: make.counters(
                "findings_total",
                "Occurrences of findings: one per request and finding",
                &["kind", "severity"],
            )?,
            findings_open: make.gauges(
                "findings_open",
                "Findings known at present, each problem once",
                &["kind", "severity", "state"],
            )?,
            label_overflow: make.counters(
                "label_overflow_total",
                "Observations counted as other because all slots of a label were taken",
                &["label"],
            )?,
            late_parts: make.counter(
                "late_parts_total",
                "Parts of requests that came when the request was in the histograms already: missing there only",
            )?,
            observations_dropped: make.counters(
                "observations_dropped_total",
                "Observations given up because of a bound; traffic is never affected",
                &["reason"],
            )?,
            overhead_to_client: overhead.with_label_values(&["to_client"]),
            overhead_to_upstream: overhead.with_label_values(&["to_upstream"]),
            queries: make.counters(
                "queries_total",
                "Statements finished, by database, kind and where the answer came from",
                &["database", "kind", "source"],
            )?,
            queries_per_request: make.histograms(
                "queries_per_request",
                "Statements of one request, or of one unit guessed from the wire (see attribution)",
                &["route", "attribution"],
                &QUERIES_BUCKETS,
            )?,
            query_durations,
            query_errors: make.counters(
                "query_errors_total",
                "Statements that failed, by database and class of the SQLSTATE",
                &["database", "sqlstate_class"],
            )?,
            relay_bytes_to_client: relay_bytes.with_label_values(&["to_client"]),
            relay_bytes_to_upstream: relay_bytes.with_label_values(&["to_upstream"]),
            request_db: make.histograms(
                "request_db_seconds",
                "Time that the statements of a request took, summed",
                &["route"],
                &SECONDS_BUCKETS,
            )?,
            request_duration: make.histograms(
                "request_duration_seconds",
                "Time from a request's first statement to its last answer, as seen on the wire",
                &["route"],
                &SECONDS_BUCKETS,
            )?,
            request_similar: make.histograms(
                "request_similar_queries_max",
                "Executions of the most repeated statement of a request",
                &["route"],
                &SIMILAR_BUCKETS,
            )?,
            requests: make.counters(
                "requests_total",
                "Requests and units finished, by route and by how they were recognised",
                &["route", "attribution"],
            )?,
            route_baseline: make.float_gauges(
                "route_baseline_queries",
                "Statements that a request of the route usually runs",
                &["route"],
            )?,
            route_regression: make.float_gauges(
                "route_regression_ratio",
                "Statements that a request of the route runs now, in multiples of the baseline",
                &["route"],
            )?,
            rows: make.counter("rows_total", "Rows returned or affected")?,
            sessions: make.gauges("sessions", "Client connections, by state", &["state"])?,
            sessions_blind: make.counters(
                "sessions_blind_total",
                "Sessions relayed without observation, by reason",
                &["reason"],
            )?,
            lifted_parses: make.counters(
                "lifted_parses_total",
                "Parse messages from whose texts tags were removed: forwarded without them, or sharing a statement.",
                &["result"],
            )?,
            sessions_refused: make.counters(
                "sessions_refused_total",
                "Sessions refused with SQLSTATE 53300, by the limit that was met",
                &["limit"],
            )?,
            sessions_stalled: make.gauges(
                "sessions_stalled",
                "Sessions with a side that takes nothing at present, for 5 s or longer, while bytes wait for it",
                &["side"],
            )?,
            stalls: make.counters(
                "stalls_total",
                "Times that a side took nothing for 5 s while bytes waited for it",
                &["side"],
            )?,
            slow_queries: make.counters(
                "slow_queries_total",
                "Statements that took longer than the bound for slow statements",
                &["route"],
            )?,
            statement_calls: make.counters(
                "statement_calls_total",
                "Executions of a shape",
                &["fingerprint"],
            )?,
            statement_errors: make.counters(
                "statement_errors_total",
                "Executions of a shape that failed",
                &["fingerprint"],
            )?,
            statement_rows: make.counters("statement_rows_total", "Rows of a shape", &["fingerprint"])?,
            statement_seconds: make.float_counters(
                "statement_seconds_total",
                "Time from sending to completion of a shape's executions",
                &["fingerprint"],
            )?,
            tls_handshakes: make.counters(
                "tls_handshakes_total",
                "TLS handshakes with clients and with the upstream, by result",
                &["side", "result"],
            )?,
            upstream_connect: make.histogram(
                "upstream_connect_seconds",
                "Time to connect to the upstream",
                &SECONDS_BUCKETS,
            )?,
            upstream_up: make.gauge("upstream_up", "Whether the upstream was reached at the last attempt")?,
            upstreams: make.gauges(
                "upstreams",
                "Servers by what the prober has found them to be (only with target_session_attrs)",
                &["role"],
            )?,
            upstream_contacted: AtomicU64::new(0),
            registry: make.registry,
        };
        metrics.begin_series();
        Ok(metrics)
    }

    /// Makes the series of closed label sets that alerts wait for: the first event of a series that begins with it
    /// would be no increase.
    fn begin_series(&self) {
        for reason in Dropped::ALL.map(Dropped::name).into_iter().chain(DROPPED_BY_SHELL) {
            self.observations_dropped.with_label_values(&[reason]);
        }
        for reason in Desync::ALL.map(Desync::name).into_iter().chain(BLIND_BY_SHELL) {
            self.sessions_blind.with_label_values(&[reason]);
        }
        for label in ["database", "fingerprint", "route"] {
            self.label_overflow.with_label_values(&[label]);
        }
        for side in ["client", "upstream"] {
            self.stalls.with_label_values(&[side]);
            self.sessions_stalled.with_label_values(&[side]);
        }
        for limit in Limit::ALL {
            self.sessions_refused.with_label_values(&[limit.name()]);
        }
        for result in ["failed", "locked", "ok", "unreadable"] {
            self.baseline_saves.with_label_values(&[result]);
        }
        for result in ["failed", "forwarded", "refused"] {
            self.cancel_requests.with_label_values(&[result]);
        }
    }

    /// The histogram of what pgtally adds to chunks.
    pub(crate) const fn overhead(&self, heading: Heading) -> &Histogram {
        match heading {
            Heading::ToClient => &self.overhead_to_client,
            Heading::ToUpstream => &self.overhead_to_upstream,
        }
    }

    /// The gauge of sessions in `state`.
    pub(crate) fn session_gauge(&self, state: &str) -> IntGauge {
        self.sessions.with_label_values(&[state])
    }

    /// Records that the upstream was reached, or not.
    pub(crate) fn upstream_contact(&self, is_up: bool, now: Moment) {
        self.upstream_up.set(i64::from(is_up));
        self.upstream_contacted.store(now.0 + 1, Ordering::Relaxed);
    }

    /// Whether the upstream was reached at the last attempt, and how many nanoseconds ago that was.
    pub(crate) fn upstream_state(&self, now: Moment) -> Option<(bool, u64)> {
        let contacted = self.upstream_contacted.load(Ordering::Relaxed).checked_sub(1)?;
        Some((self.upstream_up.get() == 1, now.since(Moment(contacted))))
    }

    /// Counts observations given up.
    pub(crate) fn dropped_because(&self, reason: &str, count: u64) {
        self.observations_dropped.with_label_values(&[reason]).inc_by(count);
    }

    /// Everything given up until now: observations, whole sessions, the aggregator's state.
    pub(crate) fn dropped(&self) -> f64 {
        let families =
            self.observations_dropped.collect().into_iter().chain(self.aggregator_restarts.collect());
        let metrics = families.flat_map(|family| family.get_metric().to_vec());
        let is_of_tap = |label: &LabelPair| label.value() == DROPPED_FROM_TAP;
        let metrics = metrics.filter(|metric| !metric.get_label().iter().any(is_of_tap));
        metrics.map(|metric| metric.get_counter().get_value()).sum()
    }

    /// Why something was given up, with how much: `findings 3, session_blind 1`.
    pub(crate) fn dropped_reasons(&self) -> String {
        let families = self.observations_dropped.collect();
        let metrics = families.iter().flat_map(|family| family.get_metric());
        let mut reasons: Vec<String> = metrics
            .filter(|metric| metric.get_counter().get_value() > 0.0)
            .map(|metric| {
                let reason = metric.get_label().first().map(|label| label.value()).unwrap_or_default();
                format!("{reason} {}", metric.get_counter().get_value())
            })
            .collect();
        reasons.sort();
        if self.aggregator_restarts.get() > 0 {
            reasons.push("the aggregator has started over".into());
        }
        reasons.join(", ")
    }

    /// Removes the series that have `value` for the label `name`.
    pub(crate) fn forget(&self, name: &str, value: &str) {
        let is_forgotten = |label: &LabelPair| label.name() == name && label.value() == value;
        for family in self.registry.gather() {
            for metric in
                family.get_metric().iter().filter(|metric| metric.get_label().iter().any(is_forgotten))
            {
                self.remove(family.name(), metric.get_label());
            }
        }
    }

    fn remove(&self, family: &str, labels: &[LabelPair]) {
        let labels: HashMap<&str, &str> = labels.iter().map(|label| (label.name(), label.value())).collect();
        // A vector that lacks these labels refuses, which is as good as having nothing to remove.
        let _ = match family {
            "pgtally_duplicate_queries_total" => self.duplicate_queries.remove(&labels),
            "pgtally_queries_per_request" => self.queries_per_request.remove(&labels),
            "pgtally_queries_total" => self.queries.remove(&labels),
            "pgtally_query_errors_total" => self.query_errors.remove(&labels),
            "pgtally_request_db_seconds" => self.request_db.remove(&labels),
            "pgtally_request_duration_seconds" => self.request_duration.remove(&labels),
            "pgtally_request_similar_queries_max" => self.request_similar.remove(&labels),
            "pgtally_requests_total" => self.requests.remove(&labels),
            "pgtally_route_baseline_queries" => self.route_baseline.remove(&labels),
            "pgtally_route_regression_ratio" => self.route_regression.remove(&labels),
            "pgtally_slow_queries_total" => self.slow_queries.remove(&labels),
            "pgtally_statement_calls_total" => self.statement_calls.remove(&labels),
            "pgtally_statement_errors_total" => self.statement_errors.remove(&labels),
            "pgtally_statement_rows_total" => self.statement_rows.remove(&labels),
            "pgtally_statement_seconds_total" => self.statement_seconds.remove(&labels),
            _ => Ok(()),
        };
    }

    /// All metrics in Prometheus's text format.
    pub(crate) fn render(&self) -> String {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// Makes metrics with our prefix and registers them.
struct Maker {
    registry: Registry,
}

impl Maker {
    fn register(&self, collector: impl Collector + 'static) -> prometheus::Result<()> {
        self.registry.register(Box::new(collector))
    }

    fn made<C: Collector + Clone + 'static>(&self, collector: C) -> prometheus::Result<C> {
        self.register(collector.clone())?;
        Ok(collector)
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace("pgtally")
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.made(IntCounter::with_opts(Self::opts(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.made(IntCounterVec::new(Self::opts(name, help), labels)?)
    }

    fn float_counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<CounterVec> {
        self.made(CounterVec::new(Self::opts(name, help), labels)?)
    }

    fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        self.made(GaugeVec::new(Self::opts(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.made(IntGauge::with_opts(Self::opts(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.made(IntGaugeVec::new(Self::opts(name, help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::new(name, help).namespace("pgtally").buckets(buckets.to_vec());
        self.made(Histogram::with_opts(opts)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts::new(name, help).namespace("pgtally").buckets(buckets.to_vec());
        self.made(HistogramVec::new(opts, labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_register_and_have_our_prefix() {
        let metrics = Metrics::new().unwrap();
        metrics.session_gauge("observed").inc();
        let text = metrics.render();
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let strangers: Vec<_> =
            names.filter(|name| !name.starts_with("pgtally_") && !name.starts_with("process_")).collect();
        assert!(strangers.is_empty(), "{strangers:?}");
        assert!(text.contains("pgtally_build_info{version=\""), "{text}");
        assert!(text.contains("process_resident_memory_bytes"));
    }

    #[test]
    fn the_series_of_a_lost_label_are_removed() {
        let metrics = Metrics::new().unwrap();
        for route in ["/a", "/b"] {
            metrics.requests.with_label_values(&[route, "trace"]).inc();
            metrics.request_db.with_label_values(&[route]).observe(1.0);
        }
        metrics.forget("route", "/a");
        let text = metrics.render();
        assert!(!text.contains("/a") && text.contains("/b"), "{text}");
    }

    #[test]
    fn two_sets_live_side_by_side() {
        let (one, two) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        one.connections_opened.inc();
        assert_eq!(two.connections_opened.get(), 0);
    }
}
