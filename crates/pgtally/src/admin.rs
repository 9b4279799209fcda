//! The admin listener: metrics, health, JSON API.
//!
//! On loopback everything is open to the machine's users. With a token, `/api` demands it; metrics and health hold no
//! SQL text and stay open for scrapers and probes. Without one, requests must name the listener by address or as
//! `localhost`, so that no web page can reach it through a name of its own (DNS rebinding), and browsers' requests on
//! behalf of other pages are refused.

pub(crate) mod acks;
mod connections;
pub(crate) mod lists;
mod warming;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::error;

use self::connections::Bounded;
use crate::api::{Asker, SCHEMA_VERSION};
use crate::cached::views::{self, InvalidatedAnswer, Invalidation};
use crate::catalog::{Catalogs, explain};
use crate::config::{ConfigErrors, Reloaded};
use crate::explain::inspecting::Inspecting;
use crate::filter::Filter;
use crate::limits::{
    API_REQUESTS_DEFAULT, API_REQUESTS_MAX, UPSTREAM_CHECK_AGE, UPSTREAM_CHECK_TIMEOUT, VERSION_BYTES_MAX,
};
use crate::live::{Live, StartupSetting};
use crate::lookups::{Listing, Order};
use crate::reload::{ReloadError, Reloading};
use crate::socket::Stream;
use crate::web;
use crate::web::login::{CookieKey, has_cookie};

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct AdminState {
    pub(crate) asker: Asker,
    pub(crate) catalogs: Arc<Catalogs>,
    /// `None` when the system has no randomness: then nobody can log in.
    pub(crate) cookie_key: Option<Arc<CookieKey>>,
    pub(crate) inspecting: Arc<Inspecting>,
    pub(crate) is_draining: Arc<AtomicBool>,
    /// Where clients connect, as they would write it.
    pub(crate) listen: Arc<str>,
    pub(crate) live: Live,
    pub(crate) reloading: Arc<Reloading>,
}

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: std::net::TcpListener, state: AdminState) {
    let api = Router::new()
        .route("/acks", post(acks::add))
        .route("/baselines", get(baselines))
        .route("/deploys", post(deploys))
        .route("/findings", get(lists::findings))
        .route("/health", get(web::health_answer))
        .route("/requests", get(requests))
        .route("/requests/{key}", get(request))
        .route("/cache/explain", get(explain))
        .route("/cache", get(cache))
        .route("/cache/invalidate", post(invalidate))
        .route("/cache/warm", post(warming::warm))
        .route("/config", get(config))
        .route("/reload", post(reload))
        .route("/reset", post(reset))
        .route("/routes", get(lists::routes))
        .route("/sessions", get(lists::sessions))
        .route("/statements", get(lists::statements))
        .route("/statements/{fingerprint}", get(lists::statement))
        .route("/tap", get(lists::tap))
        .fallback(async || failure(StatusCode::NOT_FOUND, "no such resource; GET /api lists all"))
        .layer(middleware::from_fn_with_state(state.clone(), admit));
    let counted = Arc::clone(&state.asker.metrics);
    let routes = Router::new()
        .route("/api", get(async || INDEX))
        .route("/livez", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .route("/readyz", get(ready))
        .nest("/api/v1", api)
        .merge(web::router(&state))
        .layer(middleware::map_response(async |mut response: Response| {
            response.headers_mut().extend(safe_headers());
            response
        }))
        .with_state(state);
    let served = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(Bounded::new(listener, counted), routes).await
    };
    if let Err(error) = served.await {
        error!(%error, "the admin listener has failed; traffic goes on");
    }
}

/// What browsers are told with every answer: run nothing from elsewhere, show this nowhere else, keep nothing. There
/// is no CORS header, so that no other origin can read an answer.
fn safe_headers() -> [(header::HeaderName, HeaderValue); 4] {
    [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}

/// No inline scripts or styles either: statements are other people's text.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

const INDEX: &str = "pgtally

GET  /                               the web page
GET  /metrics                        Prometheus metrics
GET  /livez                          the process lives
GET  /readyz                         ready for sessions
GET  /api/v1/findings?filter=        what is wrong, most severe first
GET  /api/v1/requests?route=&limit=  requests and units, latest first; also filter= and sort=
GET  /api/v1/requests/{key}          one request with its timeline
GET  /api/v1/routes?filter=&sort=    queries per request by route
GET  /api/v1/sessions?filter=        sessions being relayed
GET  /api/v1/statements?filter=      statements, most database time first; also sort=, offset=, limit=
GET  /api/v1/statements/{fp}         one statement with its histogram and latest requests
GET  /api/v1/tap?filter=&all=        statements as they end, as server-sent events
GET  /api/v1/baselines               what each route usually runs, and what it runs now
GET  /api/v1/cache/explain?database=&sql=  what a statement reads and writes, and why it is not cached
GET  /api/v1/cache                   what the cache holds, what it saved, why reads were not cached
POST /api/v1/acks                    acknowledge, as in {\"id\": \"63951378593f76e9\", \"reason\": \"one look-up per shop\"}
POST /api/v1/cache/invalidate        forget answers, as in {\"tags\": [\"product:42\"], \"tables\": [], \"all\": false}
POST /api/v1/cache/warm              ask the hottest questions again, as in {\"tags\": [\"product\"], \"max\": 100}
GET  /api/v1/health                  sessions and statements, in numbers
GET  /api/v1/config                  every setting with value and origin, no secrets
POST /api/v1/deploys                 a version begins to serve, as in {\"version\": \"1.4.2\"}
POST /api/v1/reload                  read the configuration anew
POST /api/v1/reset                   forget findings and requests, keep counters
";

/// Lets API calls through, or not.
async fn admit(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let token = state.live.borrow().admin_token.clone();
    let refusal = match &token {
        Some(token) => (!has_token(headers, token.reveal())
            && (!has_cookie(&state, headers, token.reveal()) || is_of_other_page(headers)))
        .then_some((StatusCode::UNAUTHORIZED, "this needs the admin token: Authorization: Bearer …")),
        None if !is_local_name(headers) => {
            Some((StatusCode::FORBIDDEN, "address the admin listener by its IP address or as localhost"))
        }
        None => is_of_other_page(headers)
            .then_some((StatusCode::FORBIDDEN, "pages of other origins may not use the API without a token")),
    };
    match refusal {
        Some((status, problem)) => failure(status, problem),
        None => next.run(request).await,
    }
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given =
        headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let Some(given) = given.filter(|given| given.len() == token.len()) else { return false };
    // Looks at every byte whatever the first ones are, so that timing tells nothing about them.
    given.iter().zip(token.as_bytes()).fold(0, |differences, (one, two)| differences | (one ^ two)) == 0
}

pub(crate) fn is_local_name(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Whether a browser asks for a page that did not come from here. Programs send no `Origin`.
pub(crate) fn is_of_other_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let name = origin.as_bytes();
    // Something in front may speak TLS to the browser.
    name.strip_prefix(b"http://").or_else(|| name.strip_prefix(b"https://")) != host
}

async fn baselines(State(state): State<AdminState>) -> Response {
    answer(state.asker.baselines().await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deploy {
    version: String,
}

async fn deploys(State(state): State<AdminState>, deploy: Result<Json<Deploy>, JsonRejection>) -> Response {
    #[derive(Serialize)]
    struct Noted {
        schema_version: u32,
        complete: bool,
        version: String,
    }
    let version = match deploy {
        Ok(Json(Deploy { version })) => version,
        Err(rejection) => return failure(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    if version.is_empty() || version.len() > VERSION_BYTES_MAX || version.chars().any(char::is_control) {
        return failure(StatusCode::BAD_REQUEST, "version is empty, longer than 128 bytes, or not printable");
    }
    let noted = Noted { schema_version: SCHEMA_VERSION, complete: true, version: version.clone() };
    answer(state.asker.deploy(version).await.map(|()| noted))
}

#[derive(Deserialize)]
struct RequestsQuery {
    route: Option<String>,
    #[serde(default)]
    filter: String,
    sort: Option<Order>,
    limit: Option<usize>,
}

async fn requests(
    State(state): State<AdminState>,
    query: Result<Query<RequestsQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return failure(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let limit = query.limit.unwrap_or(API_REQUESTS_DEFAULT).min(API_REQUESTS_MAX);
    let route = query.route.filter(|route| !route.is_empty());
    if query.filter.is_empty() && query.sort.is_none() {
        return answer(state.asker.requests(route, limit).await);
    }
    let filter = match Filter::parse(&query.filter) {
        Ok(filter) => filter,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let listing = Listing { filter, route, order: query.sort, offset: 0, limit };
    answer(state.asker.list_requests(listing, None).await)
}

#[derive(Deserialize)]
struct ExplainQuery {
    database: String,
    sql: String,
}

async fn explain(
    State(state): State<AdminState>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => {
            Json(explain::explain(&state.catalogs, &query.database, &query.sql).await).into_response()
        }
        Err(rejection) => failure(StatusCode::BAD_REQUEST, &rejection.body_text()),
    }
}

async fn request(State(state): State<AdminState>, Path(key): Path<String>) -> Response {
    match state.asker.request(key).await {
        Some(None) => failure(StatusCode::NOT_FOUND, "no such request; only the latest are kept"),
        found => answer(found.flatten()),
    }
}

async fn reset(State(state): State<AdminState>) -> Response {
    #[derive(Serialize)]
    struct Reset {
        schema_version: u32,
        complete: bool,
    }
    answer(state.asker.reset().await.map(|()| Reset { schema_version: SCHEMA_VERSION, complete: true }))
}

async fn cache(State(state): State<AdminState>) -> Response {
    answer(Some(views::answer(state.asker.cache.as_deref(), state.asker.clock)))
}

async fn invalidate(
    State(state): State<AdminState>,
    order: Result<Json<Invalidation>, JsonRejection>,
) -> Response {
    let Json(order) = match order {
        Ok(order) => order,
        Err(rejection) => return failure(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    if order.tags.is_empty() && order.tables.is_empty() && !order.all {
        return failure(StatusCode::BAD_REQUEST, "name tags or tables, or say all");
    }
    let Some(cache) = &state.asker.cache else {
        return failure(StatusCode::CONFLICT, "there is no cache: cache.enabled is off");
    };
    let old_entries = cache.invalidate(&order.tags, &order.tables, order.all);
    let done = InvalidatedAnswer { schema_version: SCHEMA_VERSION, complete: true, old_entries };
    answer(Some(done))
}

async fn config(State(state): State<AdminState>) -> Response {
    #[derive(Serialize)]
    struct Setting<'a> {
        path: &'a str,
        value: Option<String>,
        origin: &'a str,
    }
    #[derive(Serialize)]
    struct Settings<'a> {
        schema_version: u32,
        complete: bool,
        settings: Vec<Setting<'a>>,
    }
    let config = state.reloading.config();
    let effective = config.effective();
    let settings = effective.iter().map(|setting| Setting {
        path: &setting.path,
        value: setting.shown(),
        origin: &setting.origin,
    });
    let settings = settings.collect();
    answer(Some(Settings { schema_version: SCHEMA_VERSION, complete: true, settings }))
}

async fn reload(State(state): State<AdminState>) -> Response {
    #[derive(Serialize)]
    struct Answer {
        schema_version: u32,
        complete: bool,
        #[serde(flatten)]
        reloaded: Reloaded,
    }
    #[derive(Serialize)]
    struct Refusal {
        schema_version: u32,
        error: &'static str,
        #[serde(flatten)]
        errors: ConfigErrors,
    }
    match state.reloading.reload().await {
        Ok(reloaded) => answer(Some(Answer { schema_version: SCHEMA_VERSION, complete: true, reloaded })),
        Err(ReloadError::Config(errors)) => {
            let error = "the configuration is not usable, and the old one stays";
            let refusal = Refusal { schema_version: SCHEMA_VERSION, error, errors };
            (StatusCode::UNPROCESSABLE_ENTITY, Json(refusal)).into_response()
        }
        Err(ReloadError::Slow) => failure(
            StatusCode::GATEWAY_TIMEOUT,
            "a file of the configuration cannot be read in time; the old configuration stays",
        ),
        Err(ReloadError::Stopping) => failure(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping"),
    }
}

async fn metrics(State(state): State<AdminState>) -> Response {
    check_upstream(&state).await;
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], state.asker.metrics().await).into_response()
}

async fn ready(State(state): State<AdminState>) -> Response {
    if state.is_draining.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    if check_upstream(&state).await {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the upstream cannot be reached\n").into_response()
    }
}

/// Whether the upstream could be reached lately. Asks it only when no session has done so within
/// [`UPSTREAM_CHECK_AGE`], so that an idle proxy that nobody probes does nothing.
async fn check_upstream(state: &AdminState) -> bool {
    let asker = &state.asker;
    match asker.metrics.upstream_state(asker.clock.now()) {
        Some((true, age_ns)) if u128::from(age_ns) < UPSTREAM_CHECK_AGE.as_nanos() => true,
        _ => {
            let setting = Arc::clone(&state.live.borrow());
            let is_up = timeout(UPSTREAM_CHECK_TIMEOUT, can_reach_any(&setting)).await.unwrap_or(false);
            asker.metrics.upstream_contact(is_up, asker.clock.now());
            is_up
        }
    }
}

async fn can_reach_any(setting: &StartupSetting) -> bool {
    for server in setting.upstreams.candidates(setting.clock.now(), UPSTREAM_CHECK_TIMEOUT).await {
        // PostgreSQL does not log a connection that closes without a byte.
        if Stream::connect(&server.address).await.is_ok() {
            return true;
        }
    }
    false
}

fn answer<T: Serialize>(answer: Option<T>) -> Response {
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => failure(StatusCode::SERVICE_UNAVAILABLE, "the aggregator is too busy to answer; try again"),
    }
}

fn failure(status: StatusCode, problem: &str) -> Response {
    #[derive(Serialize)]
    struct Failure<'a> {
        schema_version: u32,
        error: &'a str,
    }
    (status, Json(Failure { schema_version: SCHEMA_VERSION, error: problem })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_the_exact_token_is_let_in() {
        let check = |value: &'static str, expected: bool| {
            assert_eq!(
                has_token(&headers(header::AUTHORIZATION, value), "0123456789abcdef"),
                expected,
                "{value}"
            );
        };
        check("Bearer 0123456789abcdef", true);
        check("Bearer 0123456789abcdeF", false);
        check("Bearer 0123456789abcde", false);
        check("Basic 0123456789abcdef", false);
        assert!(!has_token(&HeaderMap::new(), "0123456789abcdef"));
    }

    #[test]
    fn names_other_than_localhost_are_refused() {
        let check = |value: &'static str, expected: bool| {
            assert_eq!(is_local_name(&headers(header::HOST, value)), expected, "{value}");
        };
        check("127.0.0.1:9187", true);
        check("[::1]:9187", true);
        check("localhost", true);
        check("evil.example:9187", false);
        assert!(!is_local_name(&HeaderMap::new()));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let check = |origin: &'static str, expected: bool| {
            let mut headers = headers(header::HOST, "127.0.0.1:9187");
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            assert_eq!(is_of_other_page(&headers), expected, "{origin}");
        };
        check("http://127.0.0.1:9187", false);
        check("http://127.0.0.1:8000", true);
        check("https://evil.example", true);
        check("null", true);
        assert!(!is_of_other_page(&headers(header::HOST, "127.0.0.1:9187")));
    }
}
