//! One request: its statements grouped by shape over the time of the request, with the loops and their parents marked.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::findings::{NAME_CHARS, STATEMENT_CHARS};
use super::frame::Frame;
use super::lists::Mark;
use super::text::{milliseconds, moment, number, route_href, short, visible};
use super::{REQUESTS, busy, not_found, page};
use crate::admin::AdminState;
use crate::api::{FindingView, RequestAnswer, StatementView, TimelineView};
use crate::report;

/// Width of the whole request.
const WIDTH: f64 = 1_000.0;
/// Narrowest bar that can be seen.
const BAR_MIN: f64 = 2.0;
/// Executions listed of one shape; all are drawn.
const RUNS_MAX: usize = 100;

#[derive(Template)]
#[template(path = "request.html")]
struct RequestPage {
    frame: Frame,
    key: String,
    route: String,
    route_href: String,
    is_open: bool,
    is_whole: bool,
    duration: String,
    facts: Vec<(&'static str, String)>,
    groups: Vec<Group>,
}

struct Group {
    fingerprint: String,
    statement: String,
    /// Statement and number, for those who hear the page.
    name: String,
    /// `child` or `parent` of an N+1, else empty.
    role: &'static str,
    marks: Vec<Mark>,
    count: String,
    db: String,
    rows: String,
    summary: String,
    bars: Vec<Bar>,
    runs: Vec<Run>,
}

#[derive(Clone)]
struct Bar {
    class: &'static str,
    x: String,
    width: String,
}

struct Run {
    at: String,
    bar: Bar,
    server: String,
    transfer: String,
    client: String,
    rows: String,
    session: u64,
    remarks: String,
}

pub(super) async fn one(State(state): State<AdminState>, Path(key): Path<String>) -> Response {
    let (request, findings) = (state.asker.request(key).await, state.asker.findings().await);
    let Some(request) = request else { return busy(&state) };
    let Some(answer) = request else {
        return not_found(
            &state,
            "There is no such request any more: only the latest 1,000 are remembered.",
            REQUESTS,
        );
    };
    let findings = findings.map(|answer| answer.findings).unwrap_or_default();
    let of_route: Vec<_> = findings.iter().filter(|it| it.route == answer.request.route).collect();
    page(&request_page(&state, &answer, &of_route))
}

fn request_page(state: &AdminState, answer: &RequestAnswer, findings: &[&FindingView]) -> RequestPage {
    let request = &answer.request;
    let ends = answer.timeline.iter().map(|it| it.offset_ms + it.server_ms + it.transfer_ms);
    let whole_ms = ends.fold(request.duration_ms, f64::max).max(0.001);
    let statements = request.statements.iter();
    let groups = statements.map(|statement| group(statement, &answer.timeline, findings, whole_ms));
    let route = short(&request.route, NAME_CHARS);
    RequestPage {
        key: short(&request.key, NAME_CHARS),
        route_href: route_href(&request.route),
        is_open: request.open,
        is_whole: request.complete,
        duration: milliseconds(whole_ms),
        facts: vec![
            ("Queries", number(request.queries)),
            ("Most alike", number(request.similar_max.into())),
            ("Duplicates", number(request.duplicates.into())),
            ("Database", milliseconds(request.db_ms)),
            ("Duration", milliseconds(request.duration_ms)),
            ("Sessions", number(request.sessions as u64)),
            ("Recognised by", request.attribution.to_owned()),
            ("Started", moment(&request.started)),
        ],
        groups: groups.collect(),
        frame: Frame { complete: answer.complete, ..Frame::new(state, "Requests", &route) },
        route,
    }
}

fn group(
    statement: &StatementView,
    timeline: &[TimelineView],
    findings: &[&FindingView],
    whole_ms: f64,
) -> Group {
    let fingerprint = &statement.fingerprint;
    let is_loop = |it: &&&FindingView| it.kind.starts_with("n_plus_one");
    let is_child = findings.iter().filter(is_loop).any(|it| it.fingerprint == *fingerprint);
    let is_parent =
        findings.iter().filter(is_loop).any(|it| it.parent_fingerprint.as_ref() == Some(fingerprint));
    let about = findings.iter().filter(|it| it.fingerprint == *fingerprint);
    let mut marks: Vec<Mark> = about
        .map(|it| Mark { id: it.id.clone(), severity: it.severity, label: report::label(it).to_owned() })
        .collect();
    let children = findings.iter().filter(|it| it.parent_fingerprint.as_ref() == Some(fingerprint));
    marks.extend(children.map(|it| Mark {
        id: it.id.clone(),
        severity: "info",
        label: format!("parent of {}", report::summary(it.statement.as_deref())),
    }));
    let executions: Vec<_> = timeline.iter().filter(|it| it.fingerprint == *fingerprint).collect();
    let listed = executions.len().min(RUNS_MAX);
    let text = statement.statement.as_deref();
    Group {
        fingerprint: fingerprint.clone(),
        statement: text.map_or_else(|| "(text no longer kept)".into(), |text| short(text, STATEMENT_CHARS)),
        name: format!("{}, {} times", visible(&report::summary(text)), statement.count),
        role: if is_child {
            "child"
        } else if is_parent {
            "parent"
        } else {
            ""
        },
        marks,
        count: number(statement.count.into()),
        db: milliseconds(statement.db_ms),
        rows: number(statement.rows),
        summary: match executions.len() {
            1 => "the execution".into(),
            all if all == listed => format!("{all} executions"),
            all => format!("the first {listed} of {} executions", number(all as u64)),
        },
        bars: executions.iter().flat_map(|it| bars(it, whole_ms)).collect(),
        runs: executions.iter().take(RUNS_MAX).map(|it| run(it, whole_ms)).collect(),
    }
}

/// Server time, and behind it, paler, the transfer where that can be seen.
fn bars(it: &TimelineView, whole_ms: f64) -> Vec<Bar> {
    let scale = |ms: f64| ms / whole_ms * WIDTH;
    let bar = |class, from: f64, width: f64| {
        let width = width.max(BAR_MIN);
        Bar { class, x: format!("{:.1}", from.min(WIDTH - width).max(0.0)), width: format!("{width:.1}") }
    };
    let class = if it.error.is_some() { "failed" } else { "run" };
    let mut bars = vec![bar(class, scale(it.offset_ms), scale(it.server_ms))];
    if scale(it.transfer_ms) >= BAR_MIN {
        bars.push(bar("wait", scale(it.offset_ms + it.server_ms), scale(it.transfer_ms)));
    }
    bars
}

fn run(it: &TimelineView, whole_ms: f64) -> Run {
    let whole = TimelineView { server_ms: it.server_ms + it.transfer_ms, transfer_ms: 0.0, ..it.clone() };
    let empty = Bar { class: "run", x: "0".into(), width: "0".into() };
    let error = it.error.as_ref().map(|sqlstate| format!("error {}", visible(sqlstate)));
    let pipelined = (!it.round_trip).then(|| "pipelined".to_owned());
    Run {
        at: milliseconds(it.offset_ms),
        bar: bars(&whole, whole_ms).into_iter().next().unwrap_or(empty),
        server: milliseconds(it.server_ms),
        transfer: milliseconds(it.transfer_ms),
        client: milliseconds(it.turnaround_ms),
        rows: number(it.rows),
        session: it.session,
        remarks: error.into_iter().chain(pipelined).collect::<Vec<_>>().join(", "),
    }
}
