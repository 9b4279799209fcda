//! Hostile and huge input: memory stays bounded, what is given up is counted, others go on.
//!
//! Bounds of memory are generous: they tell "bounded" from "grows with the input", nothing finer. The tests of this
//! file run one after the other, since they share the process whose memory they measure.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use support::fake_postgres::answer_queries;
use support::memory::resident_bytes;
use support::{FakePostgres, Peer, TestProxy, backend, frontend, wire};

/// The label of reads.
const SELECTS: &str = "kind=\"select\"";

const MIB: usize = 1024 * 1024;

fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_statement_of_100_mb_passes_with_flat_memory() {
    const TEXT_BYTES: usize = 100 * MIB;
    let _alone = alone();
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    let before = resident_bytes();
    let head = b"SELECT name FROM users WHERE note = '";
    let filler = vec![b'x'; MIB];
    let tail = b"'\0";
    let length = 4 + head.len() + TEXT_BYTES + tail.len();
    let sending = std::thread::spawn(move || {
        client.send(&[b"Q", &u32::try_from(length).unwrap().to_be_bytes()[..], head].concat());
        (0..TEXT_BYTES / MIB).for_each(|_| client.send(&filler));
        client.send(tail);
        client
    });
    upstream.skip(1 + length);
    let mut client = sending.join().unwrap();
    upstream.send(&backend::done("SELECT 0"));
    client.expect(&backend::done("SELECT 0"));
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 24 * MIB, "{} MiB", grown / MIB);
    proxy.wait_for_metric("pgtally_observations_dropped_total{reason=\"text_cut\"}", 1.0);
    let requests = proxy.settled_requests(1);
    assert_eq!(requests[0]["queries"], 1);
    assert_eq!(proxy.json("/api/v1/requests")["complete"], false, "a part of the text was not looked at");
}

#[test]
fn an_answer_of_100_mb_passes_with_flat_memory() {
    const ROW_BYTES: usize = 100 * MIB;
    let _alone = alone();
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    client.send(&frontend::query("SELECT document FROM files"));
    upstream.expect(&frontend::query("SELECT document FROM files"));
    let before = resident_bytes();
    let sending = std::thread::spawn(move || {
        upstream.send(&backend::row_description(&[]));
        let length = u32::try_from(4 + 2 + 4 + ROW_BYTES).unwrap();
        let value_length = u32::try_from(ROW_BYTES).unwrap();
        upstream.send(&[b"D", &length.to_be_bytes()[..], &[0, 1], &value_length.to_be_bytes()].concat());
        let filler = vec![b'x'; MIB];
        (0..ROW_BYTES / MIB).for_each(|_| upstream.send(&filler));
        upstream.send(&backend::done("SELECT 1"));
        upstream
    });
    client.expect(&backend::row_description(&[]));
    client.skip(1 + 4 + 2 + 4 + ROW_BYTES);
    client.expect(&backend::done("SELECT 1"));
    let _upstream = sending.join().unwrap();
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 24 * MIB, "{} MiB", grown / MIB);
}

/// Sends all of `texts` as simple queries, a few hundred in flight, and receives their answers.
fn send_all(client: &mut Peer, texts: impl Iterator<Item = String>) {
    let answer_bytes = backend::done("SELECT 0").len();
    let texts: Vec<_> = texts.collect();
    for batch in texts.chunks(500) {
        client.send(&batch.iter().flat_map(|text| frontend::query(text)).collect::<Vec<_>>());
        client.skip(answer_bytes * batch.len());
    }
}

#[test]
fn a_hundred_thousand_shapes_stay_bounded() {
    const SHAPES: usize = 100_000;
    let _alone = alone();
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, upstream) = fake.session(proxy.address());
    let answering = answer_queries(upstream, |_| backend::done("SELECT 0"));
    let before = resident_bytes();
    send_all(&mut client, (0..SHAPES).map(|number| format!("SELECT c{number} FROM t")));
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 160 * MIB, "{} MiB", grown / MIB);
    proxy.wait_for_sum("pgtally_queries_total", SELECTS, SHAPES as f64);
    let (_, metrics) = proxy.request("GET", "/metrics");
    let labels = metrics.lines().filter(|line| line.starts_with("pgtally_statement_calls_total{")).count();
    assert!((1..=101).contains(&labels), "{labels} labels");
    assert!(metrics.contains("pgtally_statement_calls_total{fingerprint=\"other\"}"));
    client.send(&frontend::terminate());
    assert_eq!(answering.join().unwrap(), SHAPES);
}

#[test]
fn hostile_routes_stay_bounded_and_readable() {
    const ROUTES: usize = 30_000;
    let _alone = alone();
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, upstream) = fake.session(proxy.address());
    let answering = answer_queries(upstream, |_| backend::done("SELECT 0"));
    let before = resident_bytes();
    let long = "x".repeat(10_000);
    // Control characters, quotes and line breaks, as a tag carries them; now and then 10 KB. Each comes three times.
    send_all(
        &mut client,
        (0..ROUTES).map(|number| {
            let filler = if number % 100 == 0 { &*long } else { "%0A%1B%5B2J%22%5C%00%7F" };
            format!("SELECT c FROM t /*request_id='{number}',route='%2F{}{filler}'*/", number / 3)
        }),
    );
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 200 * MIB, "{} MiB", grown / MIB);
    proxy.wait_for_sum("pgtally_queries_total", SELECTS, ROUTES as f64);
    support::wait_for("all requests in the histograms", || {
        let counted = proxy.metric_sum("pgtally_requests_total", "route=");
        let dropped = proxy.metric_sum("pgtally_observations_dropped_total", "reason=");
        (counted + dropped >= ROUTES as f64).then_some(())
    });
    let (_, metrics) = proxy.request("GET", "/metrics");
    let routes = metrics.lines().filter(|line| line.starts_with("pgtally_requests_total{")).count();
    assert!((100..=101).contains(&routes), "{routes} routes");
    assert!(metrics.lines().all(|line| line.len() < 500 && !line.contains(char::is_control)));
    assert!(proxy.metric("pgtally_label_overflow_total{label=\"route\"}") > 0.5);
    let listed = proxy.json("/api/v1/routes?limit=1000");
    assert!(listed["routes"].as_array().is_some_and(|routes| routes.len() <= 500));
    client.send(&frontend::terminate());
    assert_eq!(answering.join().unwrap(), ROUTES);
}

#[test]
fn scrapers_that_never_read_hold_up_no_session() {
    let _alone = alone();
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, upstream) = fake.session(proxy.address());
    let answering = answer_queries(upstream, |_| backend::done("SELECT 0"));
    // 100 routes and 100 fingerprints, each often enough for a slot.
    let of_round = |round: usize| {
        (0..100).map(move |number| {
            format!("SELECT c{number} FROM t /*request_id='{round}-{number}',route='%2F{number}'*/")
        })
    };
    send_all(&mut client, (0..3).flat_map(of_round));
    support::wait_for("series of all routes", || {
        let (_, metrics) = proxy.request("GET", "/metrics");
        (metrics.matches("pgtally_request_db_seconds_count{").count() >= 100).then_some(())
    });
    let scrapers: Vec<_> = (0..8)
        .map(|_| {
            let mut scraper = Peer::connect(&proxy.admin_address());
            scraper.send(&b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20));
            scraper
        })
        .collect();
    send_all(&mut client, (3..23).flat_map(of_round));
    proxy.wait_for_sum("pgtally_queries_total", SELECTS, 2_300.0);
    drop(scrapers);
    client.send(&frontend::terminate());
    assert_eq!(answering.join().unwrap(), 2_300);
}

#[test]
fn ten_thousand_statements_of_one_request_are_all_counted() {
    const STATEMENTS: usize = 10_000;
    let _alone = alone();
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, upstream) = fake.session(proxy.address());
    let answering = answer_queries(upstream, |_| backend::done("SELECT 0"));
    let tag = "/*request_id='r-1'*/";
    send_all(&mut client, (0..STATEMENTS).map(|id| format!("SELECT name FROM users WHERE id = {id} {tag}")));
    let requests = proxy.settled_requests(1);
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0]["queries"], STATEMENTS);
    assert_eq!(requests[0]["complete"], false, "not all of them are recorded");
    proxy.wait_for_metric(
        "pgtally_observations_dropped_total{reason=\"records\"}",
        (STATEMENTS - 2_000) as f64,
    );
    client.send(&frontend::terminate());
    answering.join().unwrap();
}

#[test]
fn a_pipeline_of_ten_thousand_groups_is_followed() {
    const GROUPS: usize = 10_000;
    let _alone = alone();
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    let group =
        frontend::extended("SELECT name FROM users WHERE id = $1", &[23], &[wire::Value::text(7)], false);
    let (group_bytes, mut sender) = (group.len(), client.duplicate());
    let sending = std::thread::spawn(move || sender.send(&group.repeat(GROUPS)));
    upstream.skip(group_bytes * GROUPS);
    sending.join().unwrap();
    let answer = [
        wire::message(b'1', b""),
        wire::message(b'2', b""),
        wire::message(b'n', b""),
        backend::done("SELECT 0"),
    ]
    .concat();
    let (answer_bytes, mut sender) = (answer.len(), upstream.duplicate());
    let sending = std::thread::spawn(move || sender.send(&answer.repeat(GROUPS)));
    client.skip(answer_bytes * GROUPS);
    sending.join().unwrap();
    proxy.wait_for_sum("pgtally_queries_total", SELECTS, GROUPS as f64);
    proxy.wait_for_metric("pgtally_sessions{state=\"idle\"}", 1.0);
}

#[test]
fn a_client_that_never_reads_holds_up_only_itself() {
    const ANSWER_BYTES: usize = 64 * MIB;
    let _alone = alone();
    let fake = FakePostgres::tcp();
    // One worker, so that both sessions share a thread.
    let proxy = TestProxy::with(fake.address(), &[("relay.workers", "1")]);
    let (mut lazy, mut upstream) = fake.session(proxy.address());
    lazy.send(&frontend::query("SELECT document FROM files"));
    upstream.expect(&frontend::query("SELECT document FROM files"));
    let answer = wire::message(b'd', &vec![b'x'; ANSWER_BYTES]);
    let before = resident_bytes();
    let sent = upstream.send_until_stuck(&answer, Duration::from_millis(300));
    assert!(sent < answer.len(), "backpressure reaches the server");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 8 * MIB, "{} MiB", grown / MIB);

    let (mut other, mut other_upstream) = fake.session(proxy.address());
    other.send(&frontend::query("SELECT name FROM users"));
    other_upstream.expect(&frontend::query("SELECT name FROM users"));
    other_upstream.send(&backend::done("SELECT 0"));
    other.expect(&backend::done("SELECT 0"));
    // Once it lasts, an operator can see which side it is.
    proxy.wait_for_metric("pgtally_sessions_stalled{side=\"client\"}", 1.0);
    proxy.wait_for_metric("pgtally_stalls_total{side=\"client\"}", 1.0);

    let rest = answer[sent..].to_vec();
    let sending = std::thread::spawn(move || upstream.send(&rest));
    lazy.expect(&answer);
    sending.join().unwrap();
    proxy.wait_for_metric("pgtally_sessions_stalled{side=\"client\"}", 0.0);
    proxy.wait_for_metric("pgtally_stalls_total{side=\"upstream\"}", 0.0);
}

#[test]
fn a_server_that_takes_nothing_is_named_and_leaves_nothing_behind() {
    let _alone = alone();
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, upstream) = fake.session(proxy.address());
    let copied = wire::message(b'd', &vec![b'x'; 64 * MIB]);
    let before = resident_bytes();
    let sent = client.send_until_stuck(&copied, Duration::from_millis(300));
    assert!(sent < copied.len(), "backpressure reaches the client");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 8 * MIB, "{} MiB", grown / MIB);
    proxy.wait_for_metric("pgtally_sessions_stalled{side=\"upstream\"}", 1.0);
    drop((client, upstream));
    proxy.wait_for_metric("pgtally_sessions_stalled{side=\"upstream\"}", 0.0);
    proxy.wait_for_metric("pgtally_stalls_total{side=\"upstream\"}", 1.0);
}

#[test]
fn more_unanswered_messages_than_are_followed_make_blind() {
    const SYNCS: usize = 200_100;
    let _alone = alone();
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    let mut sender = client.duplicate();
    let sending = std::thread::spawn(move || sender.send(&frontend::sync().repeat(SYNCS)));
    upstream.skip(frontend::sync().len() * SYNCS);
    sending.join().unwrap();
    proxy.wait_for_metric("pgtally_sessions_blind_total{reason=\"pending_overflow\"}", 1.0);
    upstream.send(&backend::ready(b'I'));
    client.expect(&backend::ready(b'I'));
}

#[test]
fn statements_beyond_those_tracked_are_counted_without_a_text() {
    const TRACKED: usize = 4_096;
    let _alone = alone();
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    for number in 0..=TRACKED {
        let parse = frontend::parse(&format!("s{number}"), "SELECT name FROM users", &[]);
        let messages = [parse, frontend::sync()].concat();
        client.send(&messages);
        upstream.expect(&messages);
        upstream.send(&[wire::message(b'1', b""), backend::ready(b'I')].concat());
        client.skip(wire::message(b'1', b"").len() + backend::ready(b'I').len());
    }
    let last = format!("s{TRACKED}");
    let messages =
        [frontend::bind("", &last, &[], false), frontend::execute("", 0), frontend::sync()].concat();
    client.send(&messages);
    upstream.expect(&messages);
    let answer = [wire::message(b'2', b""), backend::done("SELECT 3")].concat();
    upstream.send(&answer);
    client.expect(&answer);
    proxy.wait_for_sum("pgtally_queries_total", "source", 1.0);
    let requests = proxy.settled_requests(1);
    assert_eq!(requests[0]["statements"][0]["rows"], 3, "{requests:?}");
    assert!(proxy.metric("pgtally_observations_dropped_total{reason=\"statements\"}") > 0.5);
    assert!(proxy.metric_sum("pgtally_sessions_blind_total", "") < 0.5);
}
