//! Lists of routes, requests and statements, and one statement.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::findings::{NAME_CHARS, STATEMENT_CHARS};
use super::frame::Frame;
use super::health::Samples;
use super::plan::Plan;
use super::text::{href, milliseconds, moment, number, psql, request_href, route_href, short, visible};
use super::{Asked, STATEMENTS, busy, not_found, page};
use crate::admin::AdminState;
use crate::admin::lists::fingerprint_of;
use crate::api::{FindingView, RequestView};
use crate::lookups::{HistogramBar, Order, StatementAnswer};
use crate::report;
use crate::totals::{RouteTotals, StatementTotals};

/// Width of the widest bar.
const BAR_WIDTH: f64 = 1_000.0;
/// Times its baseline from which a route's count stands out, as in the alert rules.
const REGRESSION_RATIO: f64 = 1.5;

#[derive(Template)]
#[template(path = "routes.html")]
struct Routes {
    frame: Frame,
    rows: Vec<RouteRow>,
}

struct RouteRow {
    href: String,
    route: String,
    attribution: &'static str,
    requests: String,
    queries_p50: String,
    queries_p95: String,
    baseline: Option<String>,
    is_regression: bool,
    similar_max: String,
    duplicates: String,
    db_p95: String,
    duration_p95: String,
    errors: String,
    findings: usize,
    findings_href: String,
}

impl RouteRow {
    fn of(it: &RouteTotals, samples: &Samples) -> Self {
        let baseline = samples.value("pgtally_route_baseline_queries", &[("route", &it.route)]);
        let mean = it.queries as f64 / it.requests.max(1) as f64;
        let filter = format!("-state:acked route:\"{}\"", it.route.replace(['\\', '"'], ""));
        Self {
            href: route_href(&it.route),
            route: short(&it.route, NAME_CHARS),
            attribution: it.attribution,
            requests: number(it.requests),
            queries_p50: number(it.queries_per_request.p50 as u64),
            queries_p95: number(it.queries_per_request.p95 as u64),
            is_regression: baseline
                .is_some_and(|baseline| baseline > 0.0 && mean > REGRESSION_RATIO * baseline),
            baseline: baseline.map(|baseline| format!("{baseline:.1}")),
            similar_max: number(it.similar_max.into()),
            duplicates: number(it.duplicates),
            db_p95: milliseconds(it.db_time.p95),
            duration_p95: milliseconds(it.duration.p95),
            errors: number(it.errors),
            findings: it.findings,
            findings_href: href("/", &[("filter", filter)]),
        }
    }
}

pub(super) async fn routes(State(state): State<AdminState>, asked: Asked) -> Response {
    let (mut frame, mut listing, _) = Frame::of_list(&state, "Routes", asked);
    // People look for what makes many queries, the API's programs for what costs most.
    let order = listing.order.unwrap_or(Order::Queries);
    (listing.order, frame.order) = (Some(order), order.name());
    let Some(answer) = state.asker.routes(listing).await else { return busy(&state) };
    let samples = Samples::of(&state).await;
    page(&Routes {
        rows: answer.routes.iter().map(|it| RouteRow::of(it, &samples)).collect(),
        frame: Frame { complete: answer.complete, total: answer.total, ..frame },
    })
}

#[derive(Template)]
#[template(path = "requests.html")]
struct Requests {
    frame: Frame,
    route: Option<String>,
    rows: Vec<RequestRow>,
}

struct RequestRow {
    href: String,
    key: String,
    route: String,
    is_open: bool,
    queries: String,
    similar: String,
    duplicates: String,
    db: String,
    duration: String,
    started: String,
    started_at: String,
}

impl RequestRow {
    fn of(it: &RequestView) -> Self {
        Self {
            href: request_href(&it.key),
            key: short(&it.key, NAME_CHARS),
            route: short(&it.route, NAME_CHARS),
            is_open: it.open,
            queries: number(it.queries),
            similar: number(it.similar_max.into()),
            duplicates: number(it.duplicates.into()),
            db: milliseconds(it.db_ms),
            duration: milliseconds(it.duration_ms),
            started: moment(&it.started),
            started_at: it.started.clone(),
        }
    }
}

pub(super) async fn requests(State(state): State<AdminState>, asked: Asked) -> Response {
    let (mut frame, mut listing, query) = Frame::of_list(&state, "Requests", asked);
    let route = query.route.filter(|route| !route.is_empty());
    if frame.order.is_empty() {
        frame.order = Order::Latest.name();
    }
    frame.extra.extend(route.iter().map(|route| ("route", route.clone())));
    listing.route.clone_from(&route);
    let Some(answer) = state.asker.list_requests(listing, None).await else { return busy(&state) };
    page(&Requests {
        route: route.map(|route| short(&route, NAME_CHARS)),
        rows: answer.requests.iter().map(RequestRow::of).collect(),
        frame: Frame { complete: answer.complete, total: answer.total, ..frame },
    })
}

#[derive(Template)]
#[template(path = "statements.html")]
struct Statements {
    frame: Frame,
    rows: Vec<StatementRow>,
    connect: String,
}

struct StatementRow {
    fingerprint: String,
    statement: String,
    routes: String,
    is_n_plus_one: bool,
    is_slow: bool,
    share: String,
    calls: String,
    mean: String,
    p95: String,
    rows: String,
    errors: String,
}

impl StatementRow {
    fn of(it: &StatementTotals) -> Self {
        let routes: Vec<&str> = it.routes.iter().take(3).map(|it| &*it.route).collect();
        Self {
            fingerprint: it.fingerprint.clone(),
            statement: text(it).map_or_else(|| NO_TEXT.into(), |text| short(text, STATEMENT_CHARS)),
            routes: short(&routes.join(", "), NAME_CHARS),
            is_n_plus_one: it.n_plus_one,
            is_slow: it.slow,
            share: format!("{:.1} %", it.share),
            calls: number(it.calls),
            mean: milliseconds(it.db_ms / it.calls.max(1) as f64),
            p95: milliseconds(it.time.p95),
            rows: format!("{:.1}", it.rows as f64 / it.calls.max(1) as f64),
            errors: number(it.errors),
        }
    }
}

const NO_TEXT: &str = "(text no longer kept)";

fn text(it: &StatementTotals) -> Option<&str> {
    it.statement.as_deref()
}

pub(super) async fn statements(State(state): State<AdminState>, asked: Asked) -> Response {
    let (mut frame, listing, _) = Frame::of_list(&state, "Statements", asked);
    if frame.order.is_empty() {
        frame.order = Order::Total.name();
    }
    let Some(answer) = state.asker.statements(listing).await else { return busy(&state) };
    page(&Statements {
        rows: answer.statements.iter().map(StatementRow::of).collect(),
        connect: format!("postgres://USER@{}/DATABASE", state.listen),
        frame: Frame { complete: answer.complete, total: answer.total, ..frame },
    })
}

#[derive(Template)]
#[template(path = "statement.html")]
struct Statement {
    frame: Frame,
    title: String,
    fingerprint: String,
    statement: String,
    marks: Vec<Mark>,
    facts: Vec<(&'static str, String)>,
    bars: Vec<Bar>,
    routes: Vec<Route>,
    samples: Vec<Sample>,
    psql: String,
    plan: Plan,
}

/// A finding beside what it is about.
pub(super) struct Mark {
    pub(super) id: String,
    pub(super) severity: &'static str,
    pub(super) label: String,
}

impl Mark {
    fn of(it: &FindingView) -> Self {
        let label = format!("{} on {}", report::label(it), short(&it.route, NAME_CHARS));
        Self { id: it.id.clone(), severity: it.severity, label }
    }
}

struct Bar {
    up_to: String,
    width: String,
    count: String,
}

struct Route {
    href: String,
    name: String,
    calls: String,
}

struct Sample {
    href: String,
    route: String,
    started: String,
    queries: String,
    db: String,
}

/// Said of a fingerprint that nothing is known of.
pub(super) const NOT_KEPT: &str =
    "There is no such statement, or it is no longer kept: those that take most time stay longest.";

pub(super) async fn statement(State(state): State<AdminState>, Path(fingerprint): Path<String>) -> Response {
    let Some(fingerprint) = fingerprint_of(&fingerprint) else {
        return not_found(&state, "A fingerprint has 16 hexadecimal digits.", STATEMENTS);
    };
    match state.asker.statement(fingerprint).await {
        Some(Some(answer)) => page(&statement_page(&state, &answer, Plan::unasked(&state, &answer))),
        Some(None) => not_found(&state, NOT_KEPT, STATEMENTS),
        None => busy(&state),
    }
}

pub(super) fn statement_page(state: &AdminState, answer: &StatementAnswer, plan: Plan) -> impl Template {
    let it = &answer.statement;
    let title = report::summary(text(it));
    let routes = it.routes.iter().map(|it| Route {
        href: route_href(&it.route),
        name: short(&it.route, NAME_CHARS),
        calls: number(it.calls),
    });
    let samples = answer.samples.iter().map(|it| Sample {
        href: request_href(&it.key),
        route: short(&it.route, NAME_CHARS),
        started: moment(&it.started),
        queries: number(it.queries),
        db: milliseconds(it.db_ms),
    });
    Statement {
        fingerprint: it.fingerprint.clone(),
        statement: text(it).map_or_else(|| NO_TEXT.into(), visible),
        marks: answer.findings.iter().map(Mark::of).collect(),
        facts: statement_facts(answer),
        bars: bars(&answer.histogram),
        routes: routes.collect(),
        samples: samples.collect(),
        psql: psql(&state.listen, text(it).unwrap_or_default()),
        plan,
        frame: Frame { complete: answer.complete, ..Frame::new(state, "Statements", &visible(&title)) },
        title: visible(&title),
    }
}

fn statement_facts(answer: &StatementAnswer) -> Vec<(&'static str, String)> {
    let it = &answer.statement;
    let mut facts = vec![
        ("Share of database time", format!("{:.1} %", it.share)),
        ("Calls", number(it.calls)),
        ("Total", milliseconds(it.db_ms)),
        ("Mean", milliseconds(it.db_ms / it.calls.max(1) as f64)),
        ("p50", milliseconds(it.time.p50)),
        ("p95", milliseconds(it.time.p95)),
        ("Max", milliseconds(it.time.max)),
        ("Rows", number(it.rows)),
        ("Errors", number(it.errors)),
        ("Kind", it.kind.to_owned()),
        ("First seen", moment(&it.first_seen)),
        ("Last seen", moment(&it.last_seen)),
        ("Fingerprint", it.fingerprint.clone()),
    ];
    for (name, tables) in [("Reads", &answer.reads), ("Writes", &answer.writes)] {
        if !tables.is_empty() {
            facts.push((name, visible(&tables.join(", "))));
        }
    }
    facts
}

/// The bars from the first that has something to the last.
fn bars(histogram: &[HistogramBar]) -> Vec<Bar> {
    let is_used = |bar: &HistogramBar| bar.count > 0;
    let (Some(first), Some(last)) = (histogram.iter().position(is_used), histogram.iter().rposition(is_used))
    else {
        return Vec::new();
    };
    let used = histogram.get(first..=last).unwrap_or_default();
    let most = used.iter().map(|bar| bar.count).max().unwrap_or(1).max(1);
    let bars = used.iter().map(|bar| Bar {
        up_to: bar.up_to_ms.map_or_else(|| "more".into(), milliseconds),
        width: format!("{:.0}", (bar.count as f64 / most as f64 * BAR_WIDTH).ceil()),
        count: number(bar.count),
    });
    bars.collect()
}
