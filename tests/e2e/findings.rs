//! Findings from the first byte to the API, with answers that the test made up.

use serde_json::Value as Json;
use support::backend::Column;
use support::wire::Value;
use support::{FakePostgres, Peer, TestProxy, backend, frontend, wait_for};

/// A tag of request number `number` of `route`.
fn tag(route: &str, number: u32) -> String {
    format!("/*route='{route}',traceparent='00-{number:032x}-b7ad6b7169203331-01'*/")
}

struct Application {
    client: Peer,
    upstream: Peer,
    tag: String,
}

impl Application {
    fn new(fake: &FakePostgres, proxy: &TestProxy, route: &str, number: u32) -> Self {
        let (client, upstream) = fake.session(proxy.address());
        Self { client, upstream, tag: tag(route, number) }
    }

    fn run(&mut self, text: &str, answer: &[u8]) {
        let message = frontend::query(&format!("{text} {}", self.tag));
        self.client.send(&message);
        self.upstream.expect(&message);
        self.upstream.send(answer);
        self.client.expect(answer);
    }

    /// A read of posts whose authors are `authors`.
    fn posts(&mut self, authors: &[i32]) {
        let columns = [
            Column { label: "id", type_oid: 23, origin: (16_390, 1) },
            Column { label: "author", type_oid: 23, origin: (16_390, 3) },
        ];
        let rows = authors.iter().enumerate();
        let rows =
            rows.map(|(id, author)| backend::data_row(&[Value::text(1_000 + id), Value::text(author)]));
        let answer = [
            backend::row_description(&columns),
            rows.collect::<Vec<_>>().concat(),
            backend::done(&format!("SELECT {}", authors.len())),
        ];
        self.run("SELECT p.id, p.author_id AS author FROM posts p ORDER BY p.id", &answer.concat());
    }

    fn author(&mut self, id: i32) {
        self.run(&format!("SELECT name FROM authors WHERE id = {id}"), &backend::done("SELECT 1"));
    }
}

fn finding(proxy: &TestProxy, kind: &str) -> Json {
    wait_for(&format!("a finding of kind {kind}"), || {
        proxy.findings().into_iter().find(|finding| finding["kind"] == kind)
    })
}

#[test]
fn an_n_plus_one_is_proven_with_its_parent_column() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut application = Application::new(&fake, &proxy, "/posts", 1);
    application.posts(&[11, 12, 13, 14, 15, 16]);
    (11..=16).for_each(|author| application.author(author));
    let finding = finding(&proxy, "n_plus_one");
    assert_eq!(finding["confidence"], "high", "{finding}");
    assert_eq!(finding["linked_column"], "posts.author_id", "through the alias");
    assert_eq!(finding["linked_param"], 1);
    assert_eq!((&finding["repeat"], &finding["distinct"]), (&Json::from(6), &Json::from(6)));
    assert_eq!(finding["statement"], "SELECT name FROM authors WHERE id = $1");
    assert!(finding["parent_statement"].as_str().is_some_and(|text| text.contains("posts")), "{finding}");
    assert_eq!(finding["route"], "/posts");
    proxy.wait_for_metric(
        "pgtally_findings_open{kind=\"n_plus_one\",severity=\"warning\",state=\"new\"}",
        1.0,
    );
    assert_eq!(proxy.findings().len(), 1);
}

#[test]
fn one_finding_however_often_it_is_found() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    for number in 1..=3 {
        let mut application = Application::new(&fake, &proxy, "/posts", number);
        application.posts(&[11, 12, 13, 14, 15, 16]);
        (11..=16).for_each(|author| application.author(author));
    }
    wait_for("three requests in one finding", || {
        (finding(&proxy, "n_plus_one")["requests"] == 3).then_some(())
    });
    assert_eq!(proxy.findings().len(), 1);
}

#[test]
fn a_request_may_spread_over_sessions() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut first = Application::new(&fake, &proxy, "/posts", 1);
    let mut second = Application::new(&fake, &proxy, "/posts", 1);
    first.posts(&[11, 12, 13, 14, 15, 16]);
    for author in 11..=16 {
        let application = if author % 2 == 0 { &mut first } else { &mut second };
        application.author(author);
    }
    assert_eq!(finding(&proxy, "n_plus_one")["linked_column"], "posts.author_id");
    let requests = proxy.settled_requests(1);
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!((&requests[0]["sessions"], &requests[0]["queries"]), (&Json::from(2), &Json::from(7)));
}

#[test]
fn a_pipeline_is_no_loop_and_a_list_no_finding() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut application = Application::new(&fake, &proxy, "/posts", 1);
    application.posts(&[11, 12, 13, 14, 15, 16]);
    application
        .run("SELECT name FROM authors WHERE id IN (11, 12, 13, 14, 15, 16)", &backend::done("SELECT 6"));
    let tag = application.tag.clone();
    let messages: Vec<_> = (11..=16)
        .map(|id| frontend::query(&format!("SELECT name FROM authors WHERE id = {id} {tag}")))
        .collect();
    application.client.send(&messages.concat());
    application.upstream.expect(&messages.concat());
    let answers = backend::done("SELECT 1").repeat(messages.len());
    application.upstream.send(&answers);
    application.client.expect(&answers);
    let requests = proxy.settled_requests(1);
    assert_eq!(requests[0]["queries"], 8);
    assert!(proxy.findings().is_empty(), "{:?}", proxy.findings());
}

#[test]
fn a_write_per_row_is_found() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut application = Application::new(&fake, &proxy, "/import", 1);
    for id in 0..12 {
        application
            .run(&format!("INSERT INTO contacts (name) VALUES ('c{id}')"), &backend::done("INSERT 0 1"));
    }
    assert_eq!(finding(&proxy, "n_plus_one_write")["repeat"], 12);
}

#[test]
fn a_slow_statement_is_found_at_its_bound() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::with(fake.address(), &[("findings.slow_statement", "1us")]);
    let mut application = Application::new(&fake, &proxy, "/report", 1);
    application.run("SELECT count(*) FROM events", &backend::done("SELECT 1"));
    assert_eq!(finding(&proxy, "slow_statement")["statement"], "SELECT count(*) FROM events");
}

#[test]
fn a_short_loop_is_found_by_its_growth_over_requests() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (client, upstream) = fake.session(proxy.address());
    let mut application = Application { client, upstream, tag: String::new() };
    for number in 0..30 {
        // Two, three or four authors: never enough for the rule about one request.
        application.tag = tag("/posts", number + 1);
        let authors: Vec<i32> = (0..2 + number as i32 % 3).map(|n| 900 + n).collect();
        application.posts(&authors);
        authors.iter().for_each(|author| application.author(*author));
    }
    let finding = finding(&proxy, "n_plus_one");
    assert_eq!(finding["linked_column"], "posts.author_id", "{finding}");
    assert_eq!(finding["growth"]["slope"], 1.0, "{finding}");
    assert_eq!(finding["growth"]["requests"], 30, "{finding}");
}

#[test]
fn acknowledged_findings_say_so_and_routes_have_thresholds() {
    let directory = tempfile::tempdir().unwrap();
    let acks = directory.path().join("acks.toml");
    let text = "[[ack]]\nkind = 'n_plus_one'\nroute = '/po*'\ntable = 'authors'\nreason = 'six authors, no more'\nmax_repeat = 6\n";
    std::fs::write(&acks, text).unwrap();
    let fake = FakePostgres::tcp();
    let settings = [
        ("findings.acknowledgements", acks.to_str().unwrap()),
        ("findings.routes./quiet.n_plus_one_repeats", "9"),
    ];
    let proxy = TestProxy::with(fake.address(), &settings);
    let visit = |route: &str, number: u32, authors: i32| {
        let mut application = Application::new(&fake, &proxy, route, number);
        application.posts(&(11..11 + authors).collect::<Vec<_>>());
        (11..11 + authors).for_each(|author| application.author(author));
    };
    visit("/quiet", 1, 6);
    visit("/posts", 2, 6);
    let finding = finding(&proxy, "n_plus_one");
    assert_eq!((&finding["route"], &finding["state"]), (&Json::from("/posts"), &Json::from("acked")));
    assert_eq!(finding["reason"], "six authors, no more");
    proxy.wait_for_metric(
        "pgtally_findings_open{kind=\"n_plus_one\",severity=\"warning\",state=\"acked\"}",
        1.0,
    );
    assert_eq!(proxy.findings().len(), 1);
    visit("/posts", 3, 7);
    wait_for("what grows beyond is new again", || {
        (proxy.findings().first()?["state"] == "new").then_some(())
    });
}
