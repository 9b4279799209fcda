//! The aggregator: one thread on which everything meets that no session can know alone.
//!
//! It keeps the shapes with what libpg_query says about them, merges the parts of requests that ran on several
//! sessions, has them evaluated once they are quiet, keeps the findings, and writes the labelled metrics. Workers
//! send it batches through a bounded queue and never wait for it; API calls come through the same queue, so that an
//! answer holds everything handed over before the question.
//!
//! A panic here costs requests and findings, not the proxy: it is counted, and the thread goes on without them.

mod baselines;
mod capturing;
mod evaluations;
mod lookups;
mod requests;
mod shapes;
mod taps;
mod totals;
mod views;

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pgtally_analysis::{
    Catalog, Counters, Detection, Dropped, FindingId, FindingSettings, FindingState, FindingStore, History,
    Moment, Request, RequestPart, Shape, TappedBatch, evaluate,
};
use pgtally_fingerprint::Kind;
use pgtally_report::Capture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{error, info};

use self::baselines::Baselines;
use self::capturing::Collector;
pub(crate) use self::capturing::WarmUp;
use self::evaluations::Evaluations;
use self::requests::{Requests, Step};
use self::shapes::Shapes;
use self::taps::{Surroundings, Taps};
use self::totals::Totals;
use self::views::severity_name;
use crate::api::{BaselinesAnswer, FindingsAnswer, RequestAnswer, RequestsAnswer};
use crate::clock::Clock;
use crate::config::{BaselineSettings, Config};
use crate::labels::Labels;
use crate::lookups::Lookup;
use crate::metrics::Metrics;
use crate::report::shorten;
use crate::tap::Listener;

/// What a worker has observed since its last batch.
pub(crate) struct Batch {
    pub(crate) shapes: Vec<Arc<Shape>>,
    pub(crate) parts: Vec<RequestPart>,
    /// Nothing while nobody listens.
    pub(crate) tapped: TappedBatch,
    /// `None` when nothing was counted.
    pub(crate) counters: Option<Counters>,
}

/// A question of the API.
pub(crate) enum Question {
    Baselines(oneshot::Sender<BaselinesAnswer>),
    /// A deploy of this version begins to serve.
    Deploy(String, oneshot::Sender<()>),
    /// Everything collected since [`Message::Collect`], with what is still open: as if all requests were over.
    Capture {
        open: Vec<RequestPart>,
        reply: oneshot::Sender<Capture>,
    },
    Findings(oneshot::Sender<FindingsAnswer>),
    LookUp(Lookup),
    Request {
        key: String,
        open: Vec<RequestPart>,
        reply: oneshot::Sender<Option<Box<RequestAnswer>>>,
    },
    Requests {
        route: Option<String>,
        limit: usize,
        open: Vec<RequestPart>,
        reply: oneshot::Sender<RequestsAnswer>,
    },
    Reset(oneshot::Sender<()>),
    /// Answered when everything before it has been counted.
    Settle(oneshot::Sender<()>),
}

/// What arrives at the aggregator.
pub(crate) enum Message {
    Ask(Question),
    Batch(Box<Batch>),
    /// Another process takes over: give it what only one may have.
    Release,
    /// Collect every request from here on, for a capture.
    Collect(WarmUp),
    /// Thresholds for what is evaluated from now on.
    Settings(Box<FindingSettings>, Box<BaselineSettings>),
    /// Somebody wants to see statements as they end.
    Tap(Box<Listener>),
}

/// Starts the aggregator's thread. It ends when all senders are gone.
pub(crate) fn start(
    clock: Clock,
    metrics: Arc<Metrics>,
    config: &Config,
    messages: mpsc::Receiver<Message>,
) -> io::Result<thread::JoinHandle<()>> {
    let settings = config.findings.clone();
    let baselines = Baselines::start(&config.baselines, &metrics, clock)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    thread::Builder::new().name("aggregator".into()).spawn(move || {
        let aggregator = Aggregator::new(clock, metrics, settings, baselines);
        runtime.block_on(run(aggregator, messages));
    })
}

async fn run(mut aggregator: Aggregator, mut messages: mpsc::Receiver<Message>) {
    loop {
        let message = match aggregator.next_due() {
            None => messages.recv().await.map(Some),
            Some(due) => {
                let wait = Duration::from_nanos(due.since(aggregator.clock.now()));
                // The time is up: no message, and no end either.
                timeout(wait, messages.recv()).await.map_or(Some(None), |message| message.map(Some))
            }
        };
        let Some(message) = message else { return aggregator.baselines.finish() };
        let handled = catch_unwind(AssertUnwindSafe(|| {
            if let Some(message) = message {
                aggregator.handle(message);
            }
            aggregator.advance();
            aggregator.show_changed_findings();
        }));
        if handled.is_err() {
            error!("the aggregator has panicked and starts over; findings and requests are lost");
            aggregator.metrics.aggregator_restarts.inc();
            aggregator.start_over();
        }
    }
}

/// The state of the thread.
struct Aggregator {
    clock: Clock,
    metrics: Arc<Metrics>,
    settings: FindingSettings,
    shapes: Shapes,
    requests: Requests,
    catalog: Catalog,
    evaluations: Evaluations,
    findings: FindingStore,
    taps: Taps,
    /// What the rules remember of earlier requests.
    history: History,
    /// What a capture is made of, when one was asked for.
    collector: Option<Collector>,
    labels: Labels,
    totals: Totals,
    baselines: Baselines,
    /// What had been dropped at the last reset.
    dropped_before: f64,
    /// Findings were taken in that the metrics don't show yet.
    has_changed_findings: bool,
}

impl Aggregator {
    fn new(clock: Clock, metrics: Arc<Metrics>, settings: FindingSettings, baselines: Baselines) -> Self {
        Self {
            clock,
            labels: Labels::new(Arc::clone(&metrics)),
            metrics,
            settings,
            shapes: Shapes::default(),
            requests: Requests::default(),
            catalog: Catalog::new(),
            evaluations: Evaluations::default(),
            findings: FindingStore::new(),
            taps: Taps::default(),
            history: History::new(),
            collector: None,
            totals: Totals::new(),
            baselines,
            dropped_before: 0.0,
            has_changed_findings: false,
        }
    }

    /// Goes on empty after a panic. Shapes stay, as workers tell of each only once; and labels, as their series are
    /// in the metrics already and new slots would come on top of them.
    fn start_over(&mut self) {
        self.requests = Requests::default();
        self.catalog = Catalog::new();
        self.findings = FindingStore::new();
        self.go_on_collecting();
        self.history = History::new();
        self.dropped_before = 0.0;
        self.show_open_findings();
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Ask(question) => self.answer(question),
            Message::Batch(batch) => self.take_in(*batch),
            Message::Release => self.baselines.release(),
            Message::Collect(warm_up) => self.collect(warm_up),
            Message::Tap(listener) => self.taps.add(*listener),
            Message::Settings(settings, baselines) => {
                self.settings = *settings;
                self.baselines.set(&baselines);
                self.judge(None);
                self.settle_regressions(self.clock.now());
                self.show_open_findings();
            }
        }
    }

    fn answer(&mut self, question: Question) {
        // A caller that stopped waiting is no error.
        let _ = match question {
            Question::Baselines(reply) => reply.send(self.baselines_answer()).is_ok(),
            Question::Deploy(version, reply) => {
                self.note_deploy(&version);
                reply.send(()).is_ok()
            }
            Question::Capture { open, reply } => reply.send(self.capture(open)).is_ok(),
            Question::Findings(reply) => {
                self.judge(None);
                reply.send(self.findings_answer()).is_ok()
            }
            Question::LookUp(lookup) => {
                self.judge(None);
                self.look_up(lookup);
                true
            }
            Question::Request { key, open, reply } => reply.send(self.request_answer(&key, open)).is_ok(),
            Question::Requests { route, limit, open, reply } => {
                reply.send(self.requests_answer(route.as_deref(), limit, open)).is_ok()
            }
            Question::Reset(reply) => {
                self.reset();
                reply.send(()).is_ok()
            }
            Question::Settle(reply) => reply.send(()).is_ok(),
        };
    }

    fn reset(&mut self) {
        self.findings.reset();
        let now = self.clock.now();
        for (request, step) in self.requests.forget(now) {
            self.take_step(&request, step, now);
        }
        self.dropped_before = self.metrics.dropped();
        self.show_open_findings();
    }

    fn is_complete(&self) -> bool {
        self.metrics.dropped() <= self.dropped_before
    }

    fn take_in(&mut self, batch: Batch) {
        let now = self.clock.now();
        for shape in batch.shapes {
            let evicted = self.shapes.insert(shape);
            if evicted > 0 {
                self.metrics.dropped_because("shapes", evicted);
            }
        }
        if let Some(counters) = &batch.counters {
            self.count(counters, now);
        }
        if !batch.tapped.is_empty() {
            self.show(batch.tapped);
        }
        for part in batch.parts {
            for (request, step) in self.requests.absorb(part, now) {
                self.take_step(&request, step, now);
            }
        }
    }

    /// Shows statements to those who listen.
    fn show(&mut self, tapped: TappedBatch) {
        let around = Surroundings {
            clock: &self.clock,
            findings: &self.findings,
            metrics: &self.metrics,
            shapes: &self.shapes,
            slow_ns: self.settings.slow_ns.unwrap_or(u64::MAX),
        };
        self.taps.show(tapped, &around);
    }

    /// When something is to be done next.
    fn next_due(&self) -> Option<Moment> {
        self.requests.next_due().into_iter().chain(self.baselines.next_due()).min()
    }

    /// Does what has become due.
    fn advance(&mut self) {
        let now = self.clock.now();
        self.baselines.advance(now, self.clock);
        while let Some((request, step)) = self.requests.take_due(now) {
            self.take_step(&request, step, now);
        }
        self.collect_closed();
    }

    fn take_step(&mut self, request: &Arc<Request>, step: Step, now: Moment) {
        match step {
            Step::Evaluate => self.evaluate(request, now),
            Step::Late => self.metrics.late_parts.inc(),
            Step::Record => {
                self.record(request, now);
                self.remember(request, now);
            }
        }
    }

    /// Lets the rules remember a request. What only the last of many shows, such as growth, shows at once.
    fn remember(&mut self, request: &Arc<Request>, now: Moment) {
        let shapes = &self.shapes;
        self.history.observe(request, &|fingerprint| shapes.known(fingerprint));
        let settings = self.settings.of(request.route());
        if self.history.has_grown(request, &settings.growth) {
            self.evaluate(request, now);
        }
    }

    /// Has the rules look at a request, and takes in what they say.
    fn evaluate(&mut self, request: &Request, now: Moment) {
        if self.requests.is_forgotten(request) || !self.is_to_be_judged(request, now) {
            return;
        }
        let shapes = &self.shapes;
        let known = |fingerprint| shapes.known(fingerprint);
        self.catalog.learn_request(request, &known);
        let detections = evaluate(request, &known, &self.catalog, &self.settings, &self.history);
        self.link_parents(request, &detections);
        self.take_in_detections(request, detections, now);
    }

    /// A program that is captured has all its requests judged; of a production's many, enough.
    fn is_to_be_judged(&mut self, request: &Request, now: Moment) -> bool {
        let slow_ns = self.settings.of(request.route()).slow_ns.unwrap_or(u64::MAX);
        let is_judged = self.collector.is_some() || self.evaluations.admit(request, slow_ns, now);
        if !is_judged {
            self.metrics.dropped_because("evaluations", 1);
        }
        is_judged
    }

    /// Has the store take in what a request has shown, and tells what is new.
    fn take_in_detections(&mut self, request: &Request, detections: Vec<Detection>, now: Moment) {
        if detections.is_empty() {
            return;
        }
        let evicted = self.findings.evicted();
        let absorbed = self.findings.absorb(request, detections, self.clock.unix_seconds(now) as u64);
        self.metrics.dropped_because("findings", self.findings.evicted() - evicted);
        self.judge(Some(&absorbed.counted));
        for finding in absorbed.counted.iter().filter_map(|id| self.findings.find(*id)) {
            let labels = [finding.worst.kind.name(), severity_name(finding.worst.severity)];
            self.metrics.findings.with_label_values(&labels).inc();
        }
        let opened = absorbed.opened.iter().filter_map(|id| self.findings.find(*id));
        for finding in opened.filter(|finding| finding.state == FindingState::New) {
            self.log(&finding.worst);
        }
        self.has_changed_findings = true;
    }

    /// Once for all requests of a batch: counting what is open takes longer than judging a small request.
    fn show_changed_findings(&mut self) {
        if std::mem::take(&mut self.has_changed_findings) {
            self.show_open_findings();
        }
    }

    /// Looks up what the acknowledgements say of every finding, or of some: they expire, and findings grow.
    fn judge(&mut self, some: Option<&[FindingId]>) {
        let (acks, shapes) = (&self.settings.acks, &self.shapes);
        let now = self.clock.unix_seconds(self.clock.now()) as u64;
        self.findings.judge(some, |finding| {
            let known = shapes.known(finding.worst.fingerprint);
            let facts =
                known.iter().flat_map(|it| it.facts.tables_read.iter().chain(&it.facts.tables_written));
            let tables: Vec<&str> = facts.map(|table| table.name.as_str()).collect();
            acks.state(&finding.worst, finding.repeat_max, &tables, now)
        });
    }

    /// One line per new finding: the log is for noticing, the API for reading.
    fn log(&self, detection: &Detection) {
        let text = self.shapes.text(detection.fingerprint);
        info!(
            id = %detection.id,
            kind = detection.kind.name(),
            severity = severity_name(detection.severity),
            route = &*detection.route,
            statement = text.as_deref().map(|text| shorten(text, LOG_TEXT_CHARS)),
            fingerprint = %detection.fingerprint,
            repeat = detection.repeat,
            column = detection.parent.as_ref().map(|parent| parent.column.as_str()),
            what = detection.regression.as_ref().map(|_| detection.fix.as_str()),
            "new finding"
        );
    }

    fn show_open_findings(&self) {
        let mut counts: BTreeMap<[&str; 3], i64> = BTreeMap::new();
        for finding in self.findings.iter() {
            let worst = &finding.worst;
            let labels = [worst.kind.name(), severity_name(worst.severity), finding.state.name()];
            *counts.entry(labels).or_default() += 1;
        }
        self.metrics.findings_open.reset();
        for (labels, count) in counts {
            self.metrics.findings_open.with_label_values(&labels).set(count);
        }
    }

    /// Adds a worker's counts to the metrics.
    fn count(&mut self, counters: &Counters, now: Moment) {
        for database in &counters.databases {
            let queries: u64 = database.queries.iter().chain(&database.served).sum();
            if queries == 0 && database.errors.is_empty() {
                continue;
            }
            let label = self.labels.database(&database.name, queries, now);
            for (source, counts) in [("upstream", database.queries), ("cache", database.served)] {
                for (kind, count) in Kind::ALL.iter().zip(counts).filter(|(_, count)| *count > 0) {
                    self.metrics.queries.with_label_values(&[&*label, kind.name(), source]).inc_by(count);
                }
            }
            for (class, count) in &database.errors {
                let class = Labels::sqlstate_class(*class);
                self.metrics.query_errors.with_label_values(&[&*label, class]).inc_by(*count);
            }
        }
        self.metrics.query_durations.add(counters);
        self.metrics.rows.inc_by(counters.rows);
        for (reason, count) in Dropped::ALL.iter().zip(counters.dropped).filter(|(_, count)| *count > 0) {
            self.metrics.dropped_because(reason.name(), count);
        }
        for shape in &counters.shapes {
            self.shapes.touch(shape.fingerprint);
            let label = self.labels.fingerprint(shape.fingerprint, shape.calls, now);
            let label = &[&*label];
            self.metrics.statement_calls.with_label_values(label).inc_by(shape.calls);
            self.metrics.statement_errors.with_label_values(label).inc_by(shape.errors);
            self.metrics.statement_rows.with_label_values(label).inc_by(shape.rows);
            self.metrics.statement_seconds.with_label_values(label).inc_by(shape.duration_ns as f64 / 1e9);
            let evicted = self.totals.count(shape, now);
            self.metrics.dropped_because("totals", evicted);
        }
    }

    /// Enters a request into the histograms, once.
    fn record(&mut self, request: &Arc<Request>, now: Moment) {
        let label = self.labels.route(request.route(), now);
        let (route, attribution) = (&*label, request.attribution().name());
        let metrics = &self.metrics;
        metrics.requests.with_label_values(&[route, attribution]).inc();
        metrics
            .queries_per_request
            .with_label_values(&[route, attribution])
            .observe(request.queries() as f64);
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        metrics.request_db.with_label_values(&[route]).observe(seconds(request.database_ns()));
        let duration = request.ended().since(request.started());
        metrics.request_duration.with_label_values(&[route]).observe(seconds(duration));
        metrics.request_similar.with_label_values(&[route]).observe(f64::from(request.similar_max()));
        let duplicates = u64::from(request.duplicates());
        metrics.duplicate_queries.with_label_values(&[route]).inc_by(duplicates);
        // In test runs nothing is a finding for being slow; the metric keeps the production bound.
        let bound = self.settings.slow_ns.or(FindingSettings::default().slow_ns).unwrap_or(u64::MAX);
        let slow = request.records().filter(|it| it.statement.duration_ns() >= bound).count();
        metrics.slow_queries.with_label_values(&[route]).inc_by(slow as u64);
        let evicted = self.totals.record(request, slow as u64, duplicates);
        metrics.dropped_because("totals", evicted);
        self.learn(request, &label, now);
    }
}

/// Characters of a statement in the log.
const LOG_TEXT_CHARS: usize = 200;
