//! Comments and ids as nobody should write them: the counts stay right or their loss is counted, and nothing is found
//! that isn't there.

use serde_json::Value as Json;
use support::fake_postgres::answer_queries;
use support::{FakePostgres, Peer, TestProxy, backend, frontend};

/// What is seen of `texts`, sent one after the other on one session: requests with key and number of statements.
fn requests_of(texts: &[Vec<u8>], count: usize) -> Vec<(String, u64)> {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    for text in texts {
        run(&mut client, &mut upstream, text);
    }
    let requests = proxy.settled_requests(count);
    assert_eq!(proxy.findings(), Vec::<Json>::new());
    assert!(proxy.metric_sum("pgtally_sessions_blind_total", "") < 0.5);
    let seen =
        |request: &Json| (request["key"].as_str().unwrap().to_owned(), request["queries"].as_u64().unwrap());
    let mut seen: Vec<_> = requests.iter().map(seen).collect();
    seen.sort();
    seen
}

fn run(client: &mut Peer, upstream: &mut Peer, text: &[u8]) {
    let query = frontend::query_bytes(text);
    client.send(&query);
    upstream.expect(&query);
    upstream.send(&backend::done("SELECT 1"));
    client.expect(&backend::done("SELECT 1"));
}

#[test]
fn ids_in_broken_encodings_name_requests_of_their_own() {
    let text = |id: &[u8]| [b"SELECT name FROM users WHERE id = 7 /*request_id='", id, b"'*/"].concat();
    let texts = [text(b"caf\xe9"), text(b"caf\xe8"), text(b"caf\xe9"), text(b"%ff%fe"), text(b"%ff%fd")];
    let expected = ["request_id:%FF%FD", "request_id:%FF%FE", "request_id:caf%E8", "request_id:caf%E9"];
    let seen = requests_of(&texts, expected.len());
    assert_eq!(seen.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(seen.iter().map(|(_, queries)| queries).sum::<u64>(), texts.len() as u64);
}

#[test]
fn ten_thousand_tags_and_comments_cost_the_later_ones() {
    let tags: String = (0..10_000).map(|number| format!("k{number}='{number}',")).collect();
    let comments: String = (0..10_000).map(|number| format!("/*k{number}='{number}'*/")).collect();
    let texts = [
        format!("SELECT name FROM users WHERE id = 1 /*request_id='first',{tags}a='b'*/"),
        format!("SELECT name FROM users WHERE id = 2 /*request_id='first'*/ {comments}"),
        format!("SELECT name FROM users WHERE id = 3 /*{tags}request_id='last'*/"),
        format!("SELECT name FROM users WHERE id = 4 {comments} /*request_id='last'*/"),
    ];
    // What is not read names no request: those statements inherit, as ones without a comment do, or make a unit.
    let seen = requests_of(&texts.map(String::into_bytes), 1);
    assert_eq!(seen.iter().map(|(_, queries)| queries).sum::<u64>(), 4);
    assert!(seen.iter().all(|(key, _)| !key.contains("last")), "{seen:?}");
    assert!(seen.iter().any(|(key, queries)| key == "request_id:first" && *queries >= 2), "{seen:?}");
}

#[test]
fn tags_in_literals_names_and_hints_are_none() {
    let tag = "/*request_id='r-1'*/";
    let quoted = tag.replace('\'', "''");
    let texts = [
        format!("SELECT name FROM users WHERE note = '{quoted}'"),
        format!("SELECT name FROM people WHERE note = 'it''s -- {quoted}'"),
        format!("SELECT name FROM staff WHERE note = E'\\' {quoted}'"),
        format!("SELECT name FROM guests WHERE note = U&'{quoted}'"),
        format!("SELECT name FROM owners WHERE note = $${tag}$$"),
        format!("SELECT name FROM clients WHERE note = $a$ $$ {tag} $a$"),
        format!("SELECT \"{tag}\" FROM admins"),
        "SELECT /*+ IndexScan(robots) request_id='r-1' */ name FROM robots".to_owned(),
        "SELECT name FROM bots -- 'x' request_id='r-1' is prose".to_owned(),
    ];
    let count = texts.len() as u64;
    let seen = requests_of(&texts.map(String::into_bytes), 1);
    assert_eq!(seen.iter().map(|(_, queries)| queries).sum::<u64>(), count);
    assert!(seen.iter().all(|(key, _)| !key.contains("r-1")), "{seen:?}");
}

#[test]
fn texts_that_never_end_name_nothing_and_are_no_statements() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    let texts = [
        "SELECT name FROM users WHERE note = 'open /*request_id=1*/",
        "SELECT name FROM users WHERE note = $x$ open /*request_id='r-1'*/",
        "SELECT \"open /*request_id='r-1'*/ FROM users",
        "SELECT name FROM users /* open /* request_id='r-1' */",
        "SELECT name FROM users WHERE note = E'open\\",
    ];
    let mut refusal = backend::report(b'E', "ERROR", "42601", "unterminated");
    refusal.extend(backend::ready(b'I'));
    for text in texts {
        let query = frontend::query(text);
        client.send(&query);
        upstream.expect(&query);
        upstream.send(&refusal);
        client.expect(&refusal);
    }
    run(&mut client, &mut upstream, b"SELECT name FROM users");
    let requests = proxy.settled_requests(1);
    assert_eq!((requests.len(), &requests[0]["queries"]), (1, &1.into()), "{requests:?}");
    assert_eq!(requests[0]["attribution"], "session");
    proxy.wait_for_sum("pgtally_query_errors_total", "42", texts.len() as f64);
}

/// A session of a program called `application_name`.
fn session_of(fake: &FakePostgres, proxy: &TestProxy, application_name: &str) -> (Peer, Peer) {
    let mut client = Peer::connect(proxy.address());
    let parameters = [("user", "ann"), ("database", "shop"), ("application_name", application_name)];
    client.send(&frontend::startup(&parameters));
    let (mut upstream, _) = fake.accept_session();
    upstream.send(&backend::greeting());
    let _ = client.frames_until_ready();
    (client, upstream)
}

#[test]
fn an_id_that_two_services_use_makes_no_loop_of_their_statements() {
    for tag in ["request_id='1'", "traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'"] {
        let fake = FakePostgres::tcp();
        let proxy = TestProxy::to(fake.address());
        let mut services = ["shop", "billing"].map(|name| session_of(&fake, &proxy, name));
        for number in 0..4 {
            for (client, upstream) in &mut services {
                // Four times for each, eight times in all: a finding from three on if they were equal, five if not.
                let id = if number < 2 { 7 } else { 100 + number };
                run(client, upstream, format!("SELECT v FROM settings WHERE k = {id} /*{tag}*/").as_bytes());
            }
        }
        let requests = proxy.settled_requests(2);
        let queries: Vec<_> = requests.iter().map(|request| &request["queries"]).collect();
        assert_eq!(queries, [4, 4], "{requests:?}");
        proxy.wait_for_sum("pgtally_requests_total", "", 2.0);
        assert_eq!(proxy.findings(), Vec::<Json>::new());
    }
}

#[test]
fn a_trace_of_a_million_statements_is_counted_to_the_last() {
    const STATEMENTS: usize = 1_000_000;
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, upstream) = fake.session(proxy.address());
    let answering = answer_queries(upstream, |_| backend::done("SELECT 1"));
    let query = frontend::query("SELECT name FROM users WHERE id = 7 /*request_id='r-1'*/");
    let answer_bytes = backend::done("SELECT 1").len();
    for _ in 0..STATEMENTS / 1_000 {
        client.send(&query.repeat(1_000));
        client.skip(1_000 * answer_bytes);
    }
    client.send(&frontend::terminate());
    assert_eq!(answering.join().unwrap(), STATEMENTS);
    let requests = proxy.settled_requests(1);
    assert_eq!((requests.len(), &requests[0]["queries"]), (1, &STATEMENTS.into()));
    let dropped = proxy.metric("pgtally_observations_dropped_total{reason=\"records\"}");
    assert!(dropped > (STATEMENTS - 2_001) as f64 && dropped < STATEMENTS as f64, "{dropped}");
}
