//! The live tap and the lists of the API: filters, orders, bounds, and what nobody who listens costs.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value as Json;
use support::{FakePostgres, Peer, TestProxy, backend, frontend, wait_for};

const TAG: &str =
    "/*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',route='%2Forders'*/";

/// A statement with its answer.
fn run(client: &mut Peer, upstream: &mut Peer, text: &str, answer: &[u8]) {
    client.send(&frontend::query(text));
    upstream.expect(&frontend::query(text));
    upstream.send(answer);
    client.expect(answer);
}

fn tagged(client: &mut Peer, upstream: &mut Peer, text: &str) {
    run(client, upstream, &format!("{text} {TAG}"), &backend::done("SELECT 1"));
}

/// Reads a tap until `count` statements have come; answers with them.
struct Tap(BufReader<ureq::BodyReader<'static>>);

impl Tap {
    fn open(proxy: &TestProxy, query: &str) -> Self {
        let mut tap = Self(BufReader::new(proxy.stream(&format!("/api/v1/tap?{query}"))));
        // The stream begins when every worker knows that somebody listens.
        assert_eq!(tap.line(), ": listening");
        tap
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an event");
        line.trim_end().to_owned()
    }

    fn statement(&mut self) -> Json {
        loop {
            let line = self.line();
            if let Some(json) = line.strip_prefix("data: ") {
                return serde_json::from_str(json).expect("JSON");
            }
        }
    }
}

#[test]
fn the_tap_shows_statements_as_they_end_and_only_those_asked_for() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    tagged(&mut client, &mut upstream, "SELECT 'before anybody listens' FROM a");
    let mut all = Tap::open(&proxy, "all=true");
    let mut counted = Tap::open(&proxy, "");
    let mut errors = Tap::open(&proxy, "filter=error%20sqlstate:42");
    run(&mut client, &mut upstream, "BEGIN", &backend::done("BEGIN"));
    for _ in 0..2 {
        tagged(&mut client, &mut upstream, "SELECT name FROM users WHERE id = 7");
    }
    let error = [backend::report(b'E', "ERROR", "42P01", "no such table"), backend::ready(b'I')].concat();
    run(&mut client, &mut upstream, "SELECT * FROM missing", &error);

    let begin = all.statement();
    assert_eq!((&begin["op"], &begin["counted"]), (&"begin".into(), &false.into()), "{begin}");
    let first = counted.statement();
    assert_eq!(first["statement"], "SELECT name FROM users WHERE id = $1", "{first}");
    assert_eq!(first["route"], "/orders");
    assert_eq!(first["request"], "trace:0af7651916cd43dd8448eb211c80319c");
    assert_eq!((&first["repeat"], &first["op"]), (&1.into(), &"select".into()));
    let second = counted.statement();
    assert_eq!(second["repeat"], 2, "{second}");
    let failed = errors.statement();
    assert_eq!((&failed["error"], &failed["statement"]), (&"42P01".into(), &"SELECT * FROM missing".into()));
    let rest: Vec<_> = (0..3).map(|_| all.statement()["op"].clone()).collect();
    assert_eq!(rest, ["select", "select", "select"]);
}

#[test]
fn a_flood_is_cut_and_the_loss_is_told_and_counted() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    let mut tap = Tap::open(&proxy, "");
    // In one piece, more statements than are shown at once.
    let queries = frontend::query("SELECT x FROM y").repeat(2_000);
    client.send(&queries);
    upstream.expect(&queries);
    let answers = backend::done("SELECT 1").repeat(2_000);
    upstream.send(&answers);
    client.expect(&answers);
    let mut shown = 0;
    let dropped = loop {
        let event = tap.statement();
        match event["dropped"].as_u64() {
            Some(dropped) => break dropped,
            None => shown += 1,
        }
    };
    assert!(shown > 0 && shown + dropped <= 2_000, "{shown} and {dropped}");
    assert_eq!(proxy.metric("pgtally_observations_dropped_total{reason=\"tap\"}"), dropped as f64);
    // Whoever listens too slowly misses something; the counts do not.
    assert_eq!(proxy.json("/api/v1/findings")["complete"], true);
}

#[test]
fn a_tap_ends_with_its_reader_and_their_number_is_bounded() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let taps: Vec<_> = (0..16).map(|_| Tap::open(&proxy, "")).collect();
    assert_eq!(proxy.request("GET", "/api/v1/tap").0, 503);
    drop(taps);
    let (mut client, mut upstream) = fake.session(proxy.address());
    let again = wait_for("room for another", || {
        // What is written to a reader that is gone tells that it is.
        tagged(&mut client, &mut upstream, "SELECT 1 FROM x");
        proxy.try_stream("/api/v1/tap").ok()
    });
    drop(again);
}

#[test]
fn a_tap_that_is_switched_off_is_gone_from_api_and_pages() {
    let fake = FakePostgres::tcp();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgtally.toml");
    let write = |tap: &str| {
        let text = format!("[relay]\nupstream = \"{}\"\n[admin]\ntap = \"{tap}\"\n", fake.address());
        std::fs::write(&file, text).unwrap();
    };
    write("on");
    let proxy = TestProxy::of_file(&file);
    let (mut client, mut upstream) = fake.session(proxy.address());
    let mut tap = Tap::open(&proxy, "");
    assert!(proxy.request("GET", "/").1.contains("href=\"/tap\""));
    write("off");
    assert_eq!(proxy.request("POST", "/api/v1/reload").0, 200);
    tagged(&mut client, &mut upstream, "SELECT 1 FROM x");
    // What was open ends without another event.
    let mut rest = String::new();
    tap.0.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("data:"), "{rest}");
    let (status, body) = proxy.request("GET", "/api/v1/tap");
    assert!(status == 403 && body.contains("admin.tap"), "{status} {body}");
    assert_eq!(proxy.request("GET", "/tap").0, 403);
    assert!(!proxy.request("GET", "/").1.contains("href=\"/tap\""));
}

#[test]
fn lists_are_filtered_sorted_and_cut() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    for _ in 0..6 {
        tagged(&mut client, &mut upstream, "SELECT name FROM users WHERE id = 7");
    }
    tagged(&mut client, &mut upstream, "SELECT * FROM carts");
    proxy.wait_for_sum("pgtally_queries_per_request_count", "attribution=\"trace\"", 1.0);

    let statements = proxy.json("/api/v1/statements?sort=calls&limit=1");
    assert_eq!((&statements["total"], &statements["complete"]), (&2.into(), &true.into()), "{statements}");
    let users = &statements["statements"][0];
    assert_eq!((&users["calls"], &users["kind"]), (&6.into(), &"select".into()));
    assert_eq!(users["routes"][0]["route"], "/orders");
    let carts = proxy.json("/api/v1/statements?filter=carts%20-users");
    assert_eq!(carts["total"], 1, "{carts}");

    let fingerprint = users["fingerprint"].as_str().unwrap();
    let one = proxy.json(&format!("/api/v1/statements/{fingerprint}"));
    let bars = one["histogram"].as_array().unwrap();
    assert_eq!(bars.iter().map(|bar| bar["count"].as_u64().unwrap()).sum::<u64>(), 6, "{one}");
    assert_eq!(one["samples"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["reads"], serde_json::json!(["users"]));

    let routes = proxy.json("/api/v1/routes?filter=route:/orders");
    let route = &routes["routes"][0];
    assert_eq!(
        (&route["requests"], &route["queries_per_request"]["p95"], &route["similar_max"]),
        (&1.into(), &7.0.into(), &6.into())
    );
    assert_eq!(proxy.json("/api/v1/routes?filter=route:/nowhere")["total"], 0);

    let requests = proxy.json("/api/v1/requests?filter=n%3E5&sort=queries");
    assert_eq!(requests["requests"].as_array().map(Vec::len), Some(1), "{requests}");
    assert_eq!(proxy.json("/api/v1/requests?filter=n%3E50")["requests"], serde_json::json!([]));

    let sessions = proxy.json("/api/v1/sessions");
    assert_eq!(sessions["total"], 1, "{sessions}");
    assert!(sessions["sessions"][0]["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(proxy.json("/api/v1/sessions?filter=state:blind")["total"], 0);
}

#[test]
fn what_cannot_be_listed_is_said() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    for (path, status, problem) in [
        ("/api/v1/findings?filter=d%3Efast", 400, "character 1 of the filter"),
        ("/api/v1/tap?filter=%22", 400, "the quote is not closed"),
        ("/api/v1/requests?filter=color:red", 400, "no property"),
        ("/api/v1/statements?sort=color", 400, "sort"),
        ("/api/v1/statements/nosuch", 404, "16 hexadecimal digits"),
        ("/api/v1/statements/00000000000000aa", 404, "no such statement"),
    ] {
        let (got, body) = proxy.request("GET", path);
        assert_eq!(got, status, "{path}: {body}");
        assert!(body.contains(problem), "{path}: {body}");
    }
}
