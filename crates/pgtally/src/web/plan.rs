//! The plan on a statement's page: a form without a field for SQL, and what PostgreSQL answers.
//!
//! What is asked, and what keeps it harmless, stands in `explain/inspecting.rs`.

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::lists::{NOT_KEPT, statement_page};
use super::login::is_own_form;
use super::text::visible;
use super::{STATEMENTS, bad_form, busy, not_found, not_own_form, page};
use crate::admin::AdminState;
use crate::admin::lists::fingerprint_of;
use crate::explain::inspecting::NoPlan;
use crate::logging::with_causes;
use crate::lookups::StatementAnswer;

/// What is sent: where the statement ran. Which one it is stands in the address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanForm {
    database: String,
}

/// The part of a statement's page that is about its plan.
pub(super) struct Plan {
    /// Whether the settings let it be asked for.
    pub(super) is_on: bool,
    /// Whose rights count, as SQL names it.
    pub(super) user: String,
    /// Where it can be asked for: name, and name as it is shown.
    pub(super) databases: Vec<(String, String)>,
    pub(super) answer: Option<Result<String, NotPlanned>>,
}

/// Why there is no plan, and what helps.
pub(super) struct NotPlanned {
    pub(super) problem: String,
    pub(super) hint: Option<String>,
    status: StatusCode,
}

impl Plan {
    /// Nothing was asked yet.
    pub(super) fn unasked(state: &AdminState, answer: &StatementAnswer) -> Self {
        let setting = state.live.borrow();
        let account = setting.inspect.as_ref().filter(|_| setting.explains);
        Self {
            is_on: account.is_some(),
            user: account.map_or_else(String::new, |account| visible(&account.user)),
            databases: answer.databases.iter().map(|name| (name.clone(), visible(name))).collect(),
            answer: None,
        }
    }
}

impl NotPlanned {
    fn of(problem: &NoPlan, hint: Option<String>) -> Self {
        let status = match problem {
            NoPlan::Busy => StatusCode::TOO_MANY_REQUESTS,
            NoPlan::Cut | NoPlan::Mighty | NoPlan::Off | NoPlan::Refused(_) => StatusCode::CONFLICT,
            NoPlan::Connect(_) => StatusCode::BAD_GATEWAY,
            NoPlan::Late(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        Self { problem: visible(&with_causes(problem)), hint: hint.map(|hint| visible(&hint)), status }
    }
}

/// Asks for the plan of the statement that the address names, and shows its page with it.
pub(super) async fn explain(
    State(state): State<AdminState>,
    Path(fingerprint): Path<String>,
    headers: HeaderMap,
    form: Result<Form<PlanForm>, FormRejection>,
) -> Response {
    if !is_own_form(&headers) {
        return not_own_form(&state);
    }
    let Ok(Form(PlanForm { database })) = form else {
        return bad_form(&state);
    };
    let Some(fingerprint) = fingerprint_of(&fingerprint) else {
        return not_found(&state, NOT_KEPT, STATEMENTS);
    };
    let answer = match state.asker.statement(fingerprint).await {
        Some(Some(answer)) => answer,
        Some(None) => return not_found(&state, NOT_KEPT, STATEMENTS),
        None => return busy(&state),
    };
    // Only where it ran: the form is no way to try names of databases.
    if !answer.databases.contains(&database) {
        return bad_form(&state);
    }
    let Some(text) = &answer.statement.statement else {
        return not_found(&state, NOT_KEPT, STATEMENTS);
    };
    let planned = ask(&state, &database, text).await;
    let status = planned.as_ref().map_or_else(|problem| problem.status, |_| StatusCode::OK);
    let plan = Plan { answer: Some(planned), ..Plan::unasked(&state, &answer) };
    (status, page(&statement_page(&state, &answer, plan))).into_response()
}

async fn ask(state: &AdminState, database: &str, text: &str) -> Result<String, NotPlanned> {
    let setting = state.live.borrow().clone();
    let planned = state.inspecting.plan(&setting, database, text).await;
    planned.map(|plan| visible(&plan)).map_err(|problem| {
        let hint = setting.inspect.as_ref().and_then(|account| problem.hint(account, database));
        NotPlanned::of(&problem, hint)
    })
}
