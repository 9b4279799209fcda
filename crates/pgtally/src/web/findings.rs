//! The list of findings, and one finding with its evidence and what to do.

use askama::Template;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pgtally_report::NewAck;
use serde::Deserialize;

use super::frame::Frame;
use super::login::is_own_form;
use super::text::{milliseconds, moment, number, psql, request_href, route_href, short, visible};
use super::{Asked, FINDINGS, bad_form, busy, not_found, not_own_form, page};
use crate::admin::AdminState;
use crate::api::FindingView;
use crate::lookups::{Listing, Order};
use crate::report;

/// Characters of a statement in a list.
pub(super) const STATEMENT_CHARS: usize = 240;
/// Characters of a name in a list.
pub(super) const NAME_CHARS: usize = 120;

#[derive(Template)]
#[template(path = "findings.html")]
struct Findings {
    frame: Frame,
    rows: Vec<Row>,
    summary: String,
    has_traffic: bool,
    connect: String,
}

struct Row {
    id: String,
    label: &'static str,
    severity: &'static str,
    state: &'static str,
    route: String,
    route_href: String,
    statement: String,
    evidence: String,
    repeat: String,
    wasted: String,
    requests: String,
    last_seen: String,
    last_seen_at: String,
}

impl Row {
    fn of(it: &FindingView) -> Self {
        let parent = it.parent_statement.as_deref().map(|text| short(text, NAME_CHARS));
        let evidence = match (&it.linked_column, parent) {
            (Some(column), _) => format!("keys are values of {}", short(column, NAME_CHARS)),
            (None, Some(parent)) => format!("with the rows of {parent}"),
            (None, None) => it.source_location.as_deref().map(|at| short(at, NAME_CHARS)).unwrap_or_default(),
        };
        Self {
            id: it.id.clone(),
            label: report::label(it),
            severity: it.severity,
            state: it.state,
            route: short(&it.route, NAME_CHARS),
            route_href: route_href(&it.route),
            statement: match it.statement.as_deref() {
                Some(text) => short(text, STATEMENT_CHARS),
                None if report::is_of_request(it.kind) => report::OF_REQUEST.into(),
                None => "(text no longer kept)".into(),
            },
            evidence,
            repeat: format!("×{}", number(it.repeat.into())),
            wasted: milliseconds(it.wasted_ms),
            requests: number(it.requests),
            last_seen: moment(&it.last_seen),
            last_seen_at: it.last_seen.clone(),
        }
    }
}

pub(super) async fn list(State(state): State<AdminState>, asked: Asked) -> Response {
    let (frame, listing, _) = Frame::of_list(&state, "Findings", asked);
    let Some(answer) = state.asker.findings().await else { return busy(&state) };
    let mut findings = answer.findings;
    let open = findings.iter().filter(|it| it.state != "acked").count();
    let new = findings.iter().filter(|it| it.state == "new").count();
    findings.retain(|it| listing.filter.lets_through(&it.subject()));
    match listing.order {
        Some(Order::Wasted) => findings.sort_by(|one, two| two.wasted_ms.total_cmp(&one.wasted_ms)),
        Some(Order::Latest) => findings.sort_by(|one, two| two.last_seen.cmp(&one.last_seen)),
        Some(Order::Requests) => findings.sort_by_key(|it| std::cmp::Reverse(it.requests)),
        // Acknowledged ones at the end, else as they come: most severe first.
        _ => findings.sort_by_key(|it| it.state == "acked"),
    }
    let shown = findings.iter().skip(listing.offset).take(listing.limit);
    page(&Findings {
        rows: shown.map(Row::of).collect(),
        summary: format!("{open} open, {new} of them new"),
        has_traffic: has_traffic(&state).await,
        connect: format!("postgres://USER@{}/DATABASE", state.listen),
        frame: Frame { complete: answer.complete, total: findings.len(), ..frame },
    })
}

async fn has_traffic(state: &AdminState) -> bool {
    let listing = Listing { limit: 0, ..Listing::default() };
    state.asker.statements(listing).await.is_some_and(|answer| answer.total > 0)
}

#[derive(Template)]
#[template(path = "finding.html")]
struct Finding {
    frame: Frame,
    row: Row,
    reason: Option<String>,
    fix: String,
    facts: Vec<(&'static str, String)>,
    fingerprint: String,
    request_href: String,
    parent: Option<String>,
    column: Option<String>,
    /// Nothing where the finding is about all of a request.
    statement: Option<String>,
    /// It has one, whose text is no longer kept.
    is_gone: bool,
    rewrite: Option<String>,
    psql: Option<String>,
    state_is_open: bool,
    ack: String,
    /// Whether there is a file that this page can write to.
    has_file: bool,
    form: AckForm,
    problem: Option<String>,
}

/// The form that acknowledges a finding, as it was filled in.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct AckForm {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    expires: String,
    #[serde(default)]
    max_repeat: String,
}

impl AckForm {
    fn entry(&self, id: String) -> Result<NewAck, String> {
        let max_repeat = match self.max_repeat.trim() {
            "" => None,
            text => Some(text.parse().map_err(|_| format!("{} is no number of repeats", short(text, 20)))?),
        };
        let expires = Some(self.expires.trim().to_owned()).filter(|text| !text.is_empty());
        let reason = self.reason.trim().to_owned();
        Ok(NewAck { id: Some(id), reason, expires, max_repeat, ..NewAck::default() })
    }
}

pub(super) async fn one(State(state): State<AdminState>, Path(id): Path<String>) -> Response {
    show(&state, &id, AckForm::default(), None).await
}

/// Acknowledges a finding.
pub(super) async fn acknowledge(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Result<Form<AckForm>, FormRejection>,
) -> Response {
    if !is_own_form(&headers) {
        return not_own_form(&state);
    }
    let Ok(Form(form)) = form else {
        return bad_form(&state);
    };
    let added = match form.entry(id.clone()) {
        Ok(entry) => state.reloading.acknowledge(entry).await.map_err(|error| error.to_string()),
        Err(problem) => Err(problem),
    };
    match added {
        Ok(_) => {
            Redirect::to(&format!("/findings/{}", utf8_percent_encode(&id, NON_ALPHANUMERIC))).into_response()
        }
        Err(problem) => {
            let shown = show(&state, &id, form, Some(problem)).await;
            if shown.status() == StatusCode::OK {
                (StatusCode::BAD_REQUEST, shown).into_response()
            } else {
                shown
            }
        }
    }
}

async fn show(state: &AdminState, id: &str, form: AckForm, problem: Option<String>) -> Response {
    let Some(answer) = state.asker.findings().await else { return busy(state) };
    let Some(it) = answer.findings.iter().find(|it| it.id == id) else {
        return not_found(state, "There is no such finding, or it was forgotten by a reset.", FINDINGS);
    };
    let row = Row::of(it);
    let title = format!("{} on {}", row.label, row.route);
    let statement = it.statement.as_deref();
    let is_gone = statement.is_none() && !report::is_of_request(it.kind);
    page(&Finding {
        reason: it.reason.as_deref().map(visible),
        fix: visible(&it.fix),
        facts: facts(it),
        fingerprint: it.fingerprint.clone(),
        request_href: request_href(&it.request),
        parent: it.parent_statement.as_deref().map(visible),
        column: it.linked_column.as_deref().map(visible),
        psql: it.rewrite.as_deref().or(statement).map(|text| psql(&state.listen, text)),
        statement: statement.map(visible),
        is_gone,
        rewrite: it.rewrite.as_deref().map(visible),
        state_is_open: it.state != "acked",
        ack: acknowledgement(it),
        has_file: state.reloading.config().acknowledgements_file().is_some(),
        form,
        problem,
        row,
        frame: Frame { complete: answer.complete, ..Frame::new(state, "Findings", &title) },
    })
}

fn facts(it: &FindingView) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Repeats in the worst request", number(it.repeat.into())),
        ("Distinct keys", number(it.distinct.into())),
        ("Time wasted there", milliseconds(it.wasted_ms)),
        ("Time of the request", milliseconds(it.request_ms)),
        ("Server", milliseconds(it.times.server_ms)),
        ("Transfer", milliseconds(it.times.transfer_ms)),
        ("Client between", milliseconds(it.times.client_ms)),
        ("Requests", number(it.requests)),
        ("Rows", number(it.rows)),
        ("Confidence", it.confidence.to_owned()),
        ("Recognised by", it.attribution.to_owned()),
        ("First seen", moment(&it.first_seen)),
        ("Last seen", moment(&it.last_seen)),
    ];
    if let Some(growth) = &it.growth {
        let words = format!("{:.2} per row of the parent, over {} requests", growth.slope, growth.requests);
        facts.push(("Grows", words));
    }
    if let Some(at) = &it.source_location {
        facts.push(("Source", visible(at)));
    }
    if !it.columns.is_empty() {
        facts.push(("Columns", visible(&it.columns.join(", "))));
    }
    facts
}

/// An entry of the file of acknowledgements.
fn acknowledgement(it: &FindingView) -> String {
    format!(
        "[[ack]]\nid = \"{}\"\nreason = \"…\"                    # why it is as it should be\n\
         # max_repeat = {:<16}# more is new again\n# expires = 2027-01-31          # through that day\n",
        it.id, it.repeat
    )
}
