//! Answers of the HTTP API as types, and the way to get them: workers hand over first, then the aggregator is asked.
//!
//! Field names are part of the public contract; [`SCHEMA_VERSION`] changes when one changes its meaning.

use std::sync::Arc;
use std::time::Duration;

use pgtally_analysis::RequestPart;
use pgtally_fingerprint::Fingerprint;
use pgtally_report::Capture;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::aggregator::{Message, Question, WarmUp};
use crate::cached::{Cache, views};
use crate::clock::Clock;
use crate::filter::{Filter, Subject};
use crate::limits::{ANSWER_TIMEOUT, FLUSH_TIMEOUT};
use crate::lookups::{Listing, Lookup, SessionRow, SessionsAnswer, StatementAnswer};
use crate::metrics::Metrics;
use crate::tap::{TapStream, TapSwitch};
use crate::totals::{RoutesAnswer, StatementsAnswer};
use crate::worker::{Command, WorkerHandle};

/// Version of every answer's layout.
pub const SCHEMA_VERSION: u32 = 1;

/// Answer to `GET /api/v1/findings`.
#[derive(Clone, Debug, Serialize)]
pub struct FindingsAnswer {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether nothing was dropped since the last reset.
    pub complete: bool,
    /// Most severe first.
    pub findings: Vec<FindingView>,
}

/// One finding.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FindingView {
    /// Stable identity, 16 hexadecimal digits.
    pub id: String,
    /// `n_plus_one`, `duplicate`, …
    pub kind: &'static str,
    /// `info`, `warning` or `critical`.
    pub severity: &'static str,
    /// `high`, `medium` or `info`.
    pub confidence: &'static str,
    /// `new`, `known` or `acked`.
    pub state: &'static str,
    /// Type of the request.
    pub route: String,
    /// How the request was recognised.
    pub attribution: &'static str,
    /// The repeated or slow statement, 16 hexadecimal digits.
    pub fingerprint: String,
    /// Its normalized text; null when it is no longer kept.
    pub statement: Option<String>,
    /// The statement whose rows hold the keys.
    pub parent_fingerprint: Option<String>,
    /// Its normalized text.
    pub parent_statement: Option<String>,
    /// `table.column` of the parent.
    pub linked_column: Option<String>,
    /// 1-based number of the parameter that takes the column's values.
    pub linked_param: Option<u16>,
    /// Executions in the worst request.
    pub repeat: u32,
    /// Distinct keys among them.
    pub distinct: u32,
    /// Requests it was found in.
    pub requests: u64,
    /// Milliseconds wasted in the worst request.
    pub wasted_ms: f64,
    /// Milliseconds from the worst request's first statement to its last answer, as far as its timeline is kept.
    pub request_ms: f64,
    /// RFC 3339.
    pub first_seen: String,
    /// RFC 3339.
    pub last_seen: String,
    /// What to do.
    pub fix: String,
    /// One statement in place of the repeats.
    pub rewrite: Option<String>,
    /// Why it is acknowledged.
    pub reason: Option<String>,
    /// Where the time of the repeats went; of a slow statement, of the slowest.
    pub times: TimesView,
    /// Whether the repeats ran side by side on several sessions.
    pub parallel: bool,
    /// Common to all statements repeated in turns per row of one parent.
    pub loop_id: Option<String>,
    /// How the executions grow with the parent's rows over the route's requests, once that is known.
    pub growth: Option<GrowthView>,
    /// Columns the finding is about, such as wide ones.
    pub columns: Vec<String>,
    /// Rows of the repeats in the worst request.
    pub rows: u64,
    /// Bytes of those rows.
    pub bytes: u64,
    /// Place in the application's source, as the tags say.
    pub source_location: Option<String>,
    /// Whether a background job ran it.
    pub background: bool,
    /// Key of the worst request, for `/api/v1/requests/{key}`.
    pub request: String,
    /// Of a `query_count_regression`: what has become more.
    pub regression: Option<RegressionView>,
}

/// Answer to `GET /api/v1/baselines`.
#[derive(Clone, Debug, Serialize)]
pub struct BaselinesAnswer {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether nothing was dropped since the last reset.
    pub complete: bool,
    /// By route.
    pub baselines: Vec<BaselineView>,
}

/// What a route usually runs, and what it runs now.
#[derive(Clone, Debug, Serialize)]
pub struct BaselineView {
    /// Type of the requests.
    pub route: String,
    /// How they were recognised.
    pub attribution: &'static str,
    /// `learning`, `healthy` or `regressed`.
    pub state: &'static str,
    /// Statements per request in the baseline; null while it is learned.
    pub baseline_queries: Option<f64>,
    /// Statements per request now; null until enough requests were seen.
    pub queries: Option<f64>,
    /// The second over the first.
    pub ratio: Option<f64>,
    /// Requests that the baseline was made of.
    pub requests: u64,
    /// Version that runs, as tags or `application_name` say.
    pub version: Option<String>,
    /// What is wrong.
    pub regression: Option<RegressionView>,
}

/// What has become more on a route.
#[derive(Clone, Debug, Serialize)]
pub struct RegressionView {
    /// Statements per request in the baseline.
    pub baseline_queries: f64,
    /// Statements per request now.
    pub queries: f64,
    /// The second over the first.
    pub ratio: f64,
    /// RFC 3339: when it was noticed.
    pub since: String,
    /// Version that runs now, where one is known to have come after the baseline.
    pub since_version: Option<String>,
    /// Version before that.
    pub previous_version: Option<String>,
    /// What was added, the most executions first.
    pub statements: Vec<ChangeView>,
}

/// A statement that runs more often.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeView {
    /// `added` or `more`.
    pub change: &'static str,
    /// 16 hexadecimal digits.
    pub fingerprint: String,
    /// Normalized text, cut; null where it is not known.
    pub statement: Option<String>,
    /// Executions in a usual request before.
    pub before: u64,
    /// Executions in a usual request now.
    pub after: u64,
    /// `table.column` whose values feed it.
    pub parent_column: Option<String>,
}

impl FindingView {
    /// What a filter may ask about it.
    pub(crate) fn subject(&self) -> Subject<'_> {
        let texts = [&self.statement, &self.parent_statement, &self.linked_column, &self.source_location];
        let texts = texts.into_iter().filter_map(|text| text.as_deref());
        Subject {
            texts: texts.chain([&*self.route, &*self.fix, self.kind, &*self.id]).collect(),
            routes: vec![&self.route],
            duration_ns: Some((self.wasted_ms * 1e6) as u64),
            count: Some(self.repeat.into()),
            rows: Some(self.rows),
            tags: self.source_location.as_deref().into_iter().chain([self.attribution]).collect(),
            kind: Some(self.kind),
            severity: Some(self.severity),
            state: Some(self.state),
            request: Some(&self.request),
            fingerprints: [Some(&self.fingerprint), self.parent_fingerprint.as_deref()],
            is_duplicate: self.kind == "duplicate",
            is_n_plus_one: self.kind.starts_with("n_plus_one"),
            is_open: self.state != "acked",
            is_slow: self.kind == "slow_statement",
            ..Subject::default()
        }
    }
}

/// Where time went, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TimesView {
    /// Last byte sent to first byte of the answer: the server's.
    pub server_ms: f64,
    /// First byte of the answer to its end: server, network and client.
    pub transfer_ms: f64,
    /// The answer before to the sending: the client's.
    pub client_ms: f64,
}

/// A regression line over requests.
#[derive(Clone, Debug, Serialize)]
pub struct GrowthView {
    /// Executions per row of the parent.
    pub slope: f64,
    /// Share of the variance that the rows explain.
    pub fit: f64,
    /// Requests it is drawn through.
    pub requests: u32,
}

/// Answer to `GET /api/v1/requests`.
#[derive(Clone, Debug, Serialize)]
pub struct RequestsAnswer {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether nothing was dropped since the last reset.
    pub complete: bool,
    /// Requests that fit, listed or not.
    pub total: usize,
    /// Latest first unless asked otherwise.
    pub requests: Vec<RequestView>,
}

/// One request or unit.
#[derive(Clone, Debug, Serialize)]
pub struct RequestView {
    /// Identity.
    pub key: String,
    /// How it was recognised.
    pub attribution: &'static str,
    /// Its type.
    pub route: String,
    /// Whether more may come.
    pub open: bool,
    /// Whether every statement was recorded.
    pub complete: bool,
    /// Counted statements.
    pub queries: u64,
    /// Executions of the most repeated statement.
    pub similar_max: u32,
    /// Statements that repeat an earlier one with equal parameters.
    pub duplicates: u32,
    /// Time of its statements, summed.
    pub db_ms: f64,
    /// From the first statement to the last answer.
    pub duration_ms: f64,
    /// Sessions it ran on.
    pub sessions: usize,
    /// Whether a background job ran it.
    pub background: bool,
    /// RFC 3339.
    pub started: String,
    /// What it ran, in order of first use.
    pub statements: Vec<StatementView>,
}

/// What one shape cost a request.
#[derive(Clone, Debug, Serialize)]
pub struct StatementView {
    /// 16 hexadecimal digits.
    pub fingerprint: String,
    /// Normalized text; null when it is no longer kept.
    pub statement: Option<String>,
    /// Executions.
    pub count: u32,
    /// Time, summed.
    pub db_ms: f64,
    /// Rows, summed.
    pub rows: u64,
}

/// Answer to `GET /api/v1/requests/{key}`.
#[derive(Clone, Debug, Serialize)]
pub struct RequestAnswer {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether nothing was dropped since the last reset.
    pub complete: bool,
    /// The request.
    pub request: RequestView,
    /// Its statements in the order in which they were sent.
    pub timeline: Vec<TimelineView>,
}

/// One executed statement.
#[derive(Clone, Debug, Serialize)]
pub struct TimelineView {
    /// Milliseconds from the request's beginning.
    pub offset_ms: f64,
    /// Session it ran on.
    pub session: u64,
    /// 16 hexadecimal digits.
    pub fingerprint: String,
    /// Its label in metrics.
    pub kind: &'static str,
    /// Last byte sent to first byte of the answer.
    pub server_ms: f64,
    /// First byte of the answer to its end.
    pub transfer_ms: f64,
    /// What the client took since the previous answer.
    pub turnaround_ms: f64,
    /// Rows returned or affected.
    pub rows: u64,
    /// Bytes of its rows.
    pub bytes: u64,
    /// Whether it waited for the answer to the one before.
    pub round_trip: bool,
    /// SQLSTATE when it failed.
    pub error: Option<String>,
}

/// Asks a running proxy.
#[derive(Clone)]
pub(crate) struct Asker {
    /// `None` without a cache.
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) sink: mpsc::Sender<Message>,
    pub(crate) taps: TapSwitch,
    pub(crate) workers: Vec<WorkerHandle>,
}

impl Asker {
    pub(crate) async fn baselines(&self) -> Option<BaselinesAnswer> {
        self.flush().await;
        self.ask(Question::Baselines).await
    }

    /// Tells of a deploy.
    pub(crate) async fn deploy(&self, version: String) -> Option<()> {
        self.flush().await;
        self.ask(|reply| Question::Deploy(version, reply)).await
    }

    /// Has the aggregator give up what a successor needs. Without room in its queue the successor tries again.
    pub(crate) fn release(&self) {
        let _ = self.sink.try_send(Message::Release);
    }

    pub(crate) async fn findings(&self) -> Option<FindingsAnswer> {
        self.flush().await;
        self.ask(Question::Findings).await
    }

    pub(crate) async fn requests(&self, route: Option<String>, limit: usize) -> Option<RequestsAnswer> {
        let open = self.flush().await;
        self.ask(|reply| Question::Requests { route, limit, open, reply }).await
    }

    /// Requests that a filter lets through, or those with one statement.
    pub(crate) async fn list_requests(
        &self,
        listing: Listing,
        fingerprint: Option<Fingerprint>,
    ) -> Option<RequestsAnswer> {
        let open = self.flush().await;
        self.ask(|reply| Question::LookUp(Lookup::Requests { listing, fingerprint, open, reply })).await
    }

    pub(crate) async fn routes(&self, listing: Listing) -> Option<RoutesAnswer> {
        self.flush().await;
        self.ask(|reply| Question::LookUp(Lookup::Routes { listing, reply })).await
    }

    pub(crate) async fn statements(&self, listing: Listing) -> Option<StatementsAnswer> {
        self.flush().await;
        self.ask(|reply| Question::LookUp(Lookup::Statements { listing, reply })).await
    }

    /// `Some(None)` when there is no such statement.
    pub(crate) async fn statement(&self, fingerprint: Fingerprint) -> Option<Option<StatementAnswer>> {
        self.flush().await;
        let answer = self.ask(|reply| Question::LookUp(Lookup::Statement { fingerprint, reply })).await;
        answer.map(|answer| answer.map(|boxed| *boxed))
    }

    /// Sessions of all workers that answer in time.
    pub(crate) async fn sessions(&self, listing: &Listing) -> SessionsAnswer {
        self.flush().await;
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (reply, answer) = oneshot::channel();
            if worker.commands.try_send(Command::Sessions(reply)).is_ok() {
                answers.push(answer);
            }
        }
        let mut sessions: Vec<SessionRow> = Vec::new();
        let mut answered = 0;
        let collected = async {
            for answer in answers {
                sessions.extend(answer.await.unwrap_or_default());
                answered += 1;
            }
        };
        let _ = timeout(FLUSH_TIMEOUT, collected).await;
        sessions.retain(|session| listing.filter.lets_through(&session.subject()));
        sessions.sort_by_key(|session| session.session);
        let total = sessions.len();
        SessionsAnswer {
            schema_version: SCHEMA_VERSION,
            complete: answered == self.workers.len(),
            total,
            sessions: sessions.into_iter().skip(listing.offset).take(listing.limit).collect(),
        }
    }

    /// Everything the filter lets through from now on; `Some(None)` when too many listen already.
    pub(crate) async fn tap(&self, filter: Filter, wants_all: bool) -> Option<Option<TapStream>> {
        let Some((listener, stream)) = self.taps.listen(filter, wants_all) else { return Some(None) };
        timeout(ANSWER_TIMEOUT, self.sink.send(Message::Tap(Box::new(listener)))).await.ok()?.ok()?;
        // Workers look at the switch with their next tick, and this is one.
        self.flush().await;
        Some(Some(stream))
    }

    /// `Some(None)` when there is no such request.
    pub(crate) async fn request(&self, key: String) -> Option<Option<RequestAnswer>> {
        let open = self.flush().await;
        self.ask(|reply| Question::Request { key, open, reply })
            .await
            .map(|answer| answer.map(|boxed| *boxed))
    }

    /// Begins to collect requests for [`Asker::capture`].
    pub(crate) async fn collect(&self, warm_up: WarmUp) -> Option<()> {
        self.sink.send(Message::Collect(warm_up)).await.ok()?;
        self.ask(Question::Settle).await
    }

    /// Everything collected until now. What goes on is taken as far as it has come.
    pub(crate) async fn capture(&self) -> Option<Capture> {
        let open = self.flush().await;
        self.ask(|reply| Question::Capture { open, reply }).await
    }

    pub(crate) async fn reset(&self) -> Option<()> {
        self.flush().await;
        self.ask(Question::Reset).await
    }

    /// The metrics, of everything that has happened until now. A busy aggregator makes them older, not absent.
    pub(crate) async fn metrics(&self) -> String {
        self.flush().await;
        let _ = timeout(Duration::from_secs(1), self.ask(Question::Settle)).await;
        if let Some(cache) = &self.cache {
            views::publish(cache, &self.metrics);
        }
        self.metrics.render()
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.sink.send(Message::Ask(question(reply))).await.ok()?;
            answer.await.ok()
        };
        timeout(ANSWER_TIMEOUT, asked).await.ok().flatten()
    }

    /// Lets all workers hand over what they have; answers with copies of what is open. A worker that is too busy to
    /// answer in time is passed over: its numbers follow with its next tick.
    async fn flush(&self) -> Vec<RequestPart> {
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (reply, answer) = oneshot::channel();
            if worker.commands.try_send(Command::Flush(reply)).is_ok() {
                answers.push(answer);
            }
        }
        let mut open = Vec::new();
        let collected = async {
            for answer in answers {
                open.extend(answer.await.unwrap_or_default());
            }
        };
        let _ = timeout(FLUSH_TIMEOUT, collected).await;
        open
    }
}
