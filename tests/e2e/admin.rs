//! The admin listener: health, metric names, the JSON API's fields, and what is not there.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use support::{FakePostgres, Peer, TestProxy, backend, frontend};

/// The label of reads.
const SELECTS: &str = "kind=\"select\"";

/// The families that this version must have.
const FAMILIES: [&str; 27] = [
    "build_info",
    "cancel_requests_total",
    "connections_closed_total",
    "connections_opened_total",
    "duplicate_queries_total",
    "findings_open",
    "findings_total",
    "label_overflow_total",
    "observations_dropped_total",
    "queries_per_request",
    "queries_total",
    "query_duration_seconds",
    "query_errors_total",
    "relay_bytes_total",
    "request_db_seconds",
    "request_duration_seconds",
    "request_similar_queries_max",
    "rows_total",
    "sessions",
    "sessions_blind_total",
    "slow_queries_total",
    "statement_calls_total",
    "statement_errors_total",
    "statement_rows_total",
    "statement_seconds_total",
    "upstream_connect_seconds",
    "upstream_up",
];

const TAG: &str =
    "/*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',route='%2Forders'*/";

/// A statement of a tagged request, with its answer.
fn run(client: &mut Peer, upstream: &mut Peer, text: &str, answer: &[u8]) {
    client.send(&frontend::query(&format!("{text} {TAG}")));
    upstream.expect(&frontend::query(&format!("{text} {TAG}")));
    upstream.send(answer);
    client.expect(answer);
}

/// A proxy that has seen one request with everything in it: repeats, duplicates, an error, a slow statement.
fn busy_proxy(fake: &FakePostgres) -> (TestProxy, Peer, Peer) {
    let proxy = TestProxy::with(fake.address(), &[("findings.slow_statement", "1us")]);
    let (mut client, mut upstream) = fake.session(proxy.address());
    for _ in 0..4 {
        run(&mut client, &mut upstream, "SELECT name FROM users WHERE id = 7", &backend::done("SELECT 1"));
    }
    let error = [backend::report(b'E', "ERROR", "42P01", "no such table"), backend::ready(b'I')].concat();
    run(&mut client, &mut upstream, "SELECT name FROM missing", &error);
    let requests = proxy.settled_requests(1);
    assert_eq!(requests.len(), 1, "{requests:?}");
    (proxy, client, upstream)
}

#[test]
fn health_is_told() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    assert_eq!(proxy.request("GET", "/livez"), (200, "ok\n".into()));
    assert_eq!(proxy.request("GET", "/readyz").0, 200);
    assert_eq!(proxy.request("GET", "/nowhere").0, 404);
    assert_eq!(proxy.request("GET", "/api/v1/nowhere").0, 404);
    assert_eq!(proxy.request("GET", "/api/v1/requests/nosuch").0, 404);
    assert_eq!(proxy.request("GET", "/api/v1/reset").0, 405);
}

#[test]
fn every_metric_has_its_name_and_a_help() {
    let fake = FakePostgres::tcp();
    let (proxy, ..) = busy_proxy(&fake);
    // The histograms of requests wait for late parts.
    proxy.wait_for_sum("pgtally_queries_per_request_count", "attribution=\"trace\"", 1.0);
    let _ = proxy.request("GET", "/readyz");
    let (_, text) = proxy.request("GET", "/metrics");
    let names = |mark: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(mark)?.split(' ').next());
        lines.map(str::to_owned).collect()
    };
    let (helped, typed) = (names("# HELP "), names("# TYPE "));
    assert_eq!(helped, typed);
    // What counts only trouble has no series before there is any, unless its labels are known beforehand.
    let quiet = [
        "label_overflow_total",
        "observations_dropped_total",
        "cancel_requests_total",
        "sessions_blind_total",
    ];
    for family in FAMILIES.iter().filter(|family| !quiet.contains(family)) {
        assert!(helped.contains(&format!("pgtally_{family}")), "{family} is missing in\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(helped.contains(name) || helped.contains(family), "{line}");
        assert!(name.starts_with("pgtally_") || name.starts_with("process_"), "{line}");
        assert!(!line.contains("SELECT") && !line.contains("127.0.0.1"), "{line}");
    }
}

fn fields(value: &Json) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[track_caller]
fn check_fields(value: &Json, expected: &str) {
    let missing: Vec<_> = expected.split(", ").filter(|field| !fields(value).contains(field)).collect();
    assert!(missing.is_empty(), "{missing:?} not in {value}");
}

#[test]
fn findings_have_their_fields() {
    let fake = FakePostgres::tcp();
    let (proxy, ..) = busy_proxy(&fake);
    let answer = proxy.json("/api/v1/findings");
    check_fields(&answer, "schema_version, complete, findings");
    assert_eq!(answer["complete"], true);
    let duplicate =
        proxy.findings().into_iter().find(|finding| finding["kind"] == "duplicate").expect("a duplicate");
    check_fields(
        &duplicate,
        "id, kind, severity, confidence, state, route, attribution, fingerprint, statement, parent_fingerprint, \
         parent_statement, linked_column, linked_param, repeat, distinct, requests, wasted_ms, first_seen, last_seen, \
         fix",
    );
    assert_eq!(duplicate["route"], "/orders");
    assert_eq!(duplicate["attribution"], "trace");
    assert_eq!(duplicate["state"], "new");
    assert_eq!(duplicate["repeat"], 4);
    assert_eq!(duplicate["statement"], "SELECT name FROM users WHERE id = $1");
    let is_hex = |value: &Json| {
        value
            .as_str()
            .is_some_and(|text| text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    assert!(is_hex(&duplicate["id"]) && is_hex(&duplicate["fingerprint"]), "{duplicate}");
}

#[test]
fn requests_have_their_fields_and_can_be_asked_for() {
    let fake = FakePostgres::tcp();
    let (proxy, ..) = busy_proxy(&fake);
    let request = proxy.requests().remove(0);
    check_fields(
        &request,
        "key, attribution, route, queries, similar_max, duplicates, db_ms, duration_ms, sessions, started, open, \
         statements",
    );
    assert_eq!(request["key"], "trace:0af7651916cd43dd8448eb211c80319c");
    assert_eq!(request["queries"], 5);
    assert_eq!(request["similar_max"], 4);
    assert_eq!(request["sessions"], 1);
    check_fields(&request["statements"][0], "fingerprint, statement, count, db_ms, rows");
    assert_eq!(request["statements"][0]["rows"], 4);
    let one = proxy.json("/api/v1/requests/trace:0af7651916cd43dd8448eb211c80319c");
    assert_eq!(one["timeline"].as_array().map(Vec::len), Some(5), "{one}");
    let of_route = |path: &str| proxy.json(path)["requests"].as_array().map(Vec::len);
    assert_eq!(of_route("/api/v1/requests?route=/orders&limit=5"), Some(1));
    assert_eq!(of_route("/api/v1/requests?route=/other"), Some(0));
    assert_eq!(of_route("/api/v1/requests?limit=0"), Some(0));
    assert_eq!(proxy.request("GET", "/api/v1/requests?limit=many").0, 400);
}

#[test]
fn totals_add_up_by_route_and_by_statement() {
    let fake = FakePostgres::tcp();
    let (proxy, _client, _upstream) = busy_proxy(&fake);
    proxy.wait_for_metric("pgtally_requests_total{attribution=\"trace\",route=\"other\"}", 1.0);
    let routes = proxy.json("/api/v1/routes");
    check_fields(&routes, "complete, routes, schema_version");
    let route = &routes["routes"][0];
    check_fields(
        route,
        "attribution, db_ms, db_time, duplicates, duration, duration_ms, queries, queries_per_request, requests, route, \
         slow_queries",
    );
    check_fields(&route["duration"], "max, p50, p95, p99");
    assert_eq!((&route["route"], &route["attribution"]), (&Json::from("/orders"), &Json::from("trace")));
    let counts =
        ["requests", "queries", "duplicates", "slow_queries"].map(|name| route[name].as_u64().unwrap());
    assert_eq!(counts, [1, 5, 3, 5]);
    assert_eq!(
        (&route["queries_per_request"]["p50"], &route["queries_per_request"]["max"]),
        (&5.0.into(), &5.0.into())
    );
    let statements = proxy.json("/api/v1/statements");
    check_fields(&statements, "complete, schema_version, statements");
    let text = "SELECT name FROM users WHERE id = $1";
    let all = statements["statements"].as_array().unwrap();
    let statement = all.iter().find(|it| it["statement"] == text).unwrap();
    check_fields(statement, "calls, db_ms, errors, fingerprint, rows, statement, time");
    assert_eq!(
        (&statement["calls"], &statement["rows"], &statement["errors"]),
        (&4.into(), &4.into(), &0.into())
    );
    let (p50, max) = (statement["time"]["p50"].as_f64().unwrap(), statement["time"]["max"].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= max && max <= statement["db_ms"].as_f64().unwrap() * 1.01, "{statement}");
    // A reset forgets requests, not what they have cost.
    assert_eq!(proxy.request("POST", "/api/v1/reset").0, 200);
    assert_eq!(proxy.json("/api/v1/routes")["routes"][0]["requests"], 1);
}

#[test]
fn open_requests_are_shown() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    let begun = [backend::command_complete("BEGIN"), backend::ready(b'T')].concat();
    run(&mut client, &mut upstream, "BEGIN", &begun);
    let answer = [backend::command_complete("SELECT 0"), backend::ready(b'T')].concat();
    run(&mut client, &mut upstream, "SELECT name FROM users", &answer);
    let request = support::wait_for("the request", || proxy.requests().pop());
    assert_eq!((&request["open"], &request["queries"]), (&Json::Bool(true), &Json::from(1)), "{request}");
}

#[test]
fn reset_forgets_findings_and_requests_but_no_counter() {
    let fake = FakePostgres::tcp();
    let (proxy, ..) = busy_proxy(&fake);
    assert!(!proxy.findings().is_empty());
    assert_eq!(proxy.request("POST", "/api/v1/reset").0, 200);
    assert!(proxy.findings().is_empty());
    assert!(proxy.requests().is_empty());
    assert!((proxy.metric_sum("pgtally_queries_total", SELECTS) - 5.0).abs() < 0.5);
}

#[test]
fn a_token_guards_what_shows_statements_and_nothing_else() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::with(fake.address(), &[("admin.token", "0123456789abcdef")]);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(proxy.request("GET", path).0, 200, "{path}");
    }
    for path in ["/api/v1/findings", "/api/v1/requests", "/api/v1/requests/x"] {
        assert_eq!(proxy.request("GET", path).0, 401, "{path}");
        let wrong = [("Authorization", "Bearer 0123456789abcdeF")];
        assert_eq!(proxy.request_with_headers("GET", path, &wrong).0, 401, "{path}");
    }
    assert_eq!(proxy.request("POST", "/api/v1/reset").0, 401);
    let right = [("Authorization", "Bearer 0123456789abcdef")];
    assert_eq!(proxy.request_with_headers("GET", "/api/v1/findings", &right).0, 200);
    assert_eq!(proxy.request_with_headers("POST", "/api/v1/reset", &right).0, 200);
}

#[test]
fn no_web_page_reaches_the_api_through_a_name_of_its_own() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let rebound = [("Host", "rebound.example")];
    assert_eq!(proxy.request_with_headers("GET", "/api/v1/findings", &rebound).0, 403);
    assert_eq!(proxy.request_with_headers("POST", "/api/v1/reset", &rebound).0, 403);
}
