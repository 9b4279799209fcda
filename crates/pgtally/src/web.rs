//! The web page: what the API tells, for people. Rendered here, so that it works without JavaScript except where
//! something is live; statements are other people's text and only ever leave through the templates' escaping.
//!
//! Read `frame.rs` for what all pages share. `login.rs` guards the pages where a token is demanded.

mod assets;
mod cache;
mod findings;
mod frame;
mod health;
mod lists;
pub(crate) mod login;
mod plan;
mod requests;
pub(crate) mod text;

use askama::Template;
use axum::Router;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use tracing::error;

use self::frame::Frame;
pub(crate) use self::health::health_answer;
use crate::admin::AdminState;
use crate::admin::lists::ListQuery;

/// All pages.
pub(crate) fn router(state: &AdminState) -> Router<AdminState> {
    let pages = Router::new()
        .route("/", get(findings::list))
        .route("/findings/{id}", get(findings::one).post(findings::acknowledge))
        .route("/routes", get(lists::routes))
        .route("/requests", get(lists::requests))
        .route("/requests/{key}", get(requests::one))
        .route("/statements", get(lists::statements))
        .route("/statements/{fingerprint}", get(lists::statement).post(plan::explain))
        .route("/tap", get(health::tap))
        .route("/cache", get(cache::show).post(cache::forget))
        .route("/health", get(health::health))
        .layer(middleware::from_fn_with_state(state.clone(), login::admit_page));
    Router::new()
        .merge(pages)
        .route("/login", get(login::form).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/assets/{name}", get(assets::asset))
}

/// What a page was asked for.
type Asked = Result<Query<ListQuery>, QueryRejection>;

/// A page as an answer.
fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(problem) => {
            error!(error = %problem, "cannot render a page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    frame: Frame,
    problem: &'a str,
    way_out: WayOut,
}

/// A list that leads on from where there is nothing: its address and its name.
type WayOut = (&'static str, &'static str);

const FINDINGS: WayOut = ("/", "findings");
const REQUESTS: WayOut = ("/requests", "requests");
const STATEMENTS: WayOut = ("/statements", "statements");

/// A page that says why there is no page.
fn problem(state: &AdminState, status: StatusCode, title: &str, problem: &str) -> Response {
    problem_with_way_out(state, (status, title), problem, FINDINGS)
}

fn problem_with_way_out(
    state: &AdminState,
    (status, title): (StatusCode, &str),
    problem: &str,
    way_out: WayOut,
) -> Response {
    let frame = Frame::new(state, "", title);
    (status, page(&Problem { frame, problem, way_out })).into_response()
}

fn not_found(state: &AdminState, what: &str, way_out: WayOut) -> Response {
    problem_with_way_out(state, (StatusCode::NOT_FOUND, "Not here"), what, way_out)
}

fn not_own_form(state: &AdminState) -> Response {
    problem(state, StatusCode::FORBIDDEN, "Not from here", "The form must be sent by its own page.")
}

fn bad_form(state: &AdminState) -> Response {
    problem(state, StatusCode::BAD_REQUEST, "Not understood", "This is not what the form sends.")
}

fn busy(state: &AdminState) -> Response {
    let words = "pgtally is too busy to answer; load the page again.";
    problem(state, StatusCode::SERVICE_UNAVAILABLE, "Busy", words)
}
