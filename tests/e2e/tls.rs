//! TLS seen from outside, with scripted peers on both sides: what must be refused, what must not matter, and reloads.

use std::time::Duration;

use support::{
    Authority, Begin, FakePostgres, Identity, Peer, TestProxy, TlsPeer, backend, frontend, wait_for,
};

const HANDSHAKES: &str = "pgtally_tls_handshakes_total";

/// Settings with which clients may use TLS.
fn settings<'a>(mode: &'a str, identity: &'a Identity) -> Vec<(&'static str, &'a str)> {
    let text = |path: &'a std::path::PathBuf| path.to_str().expect("a path of the test");
    vec![
        ("tls.client_tls", mode),
        ("tls.certificate", text(&identity.certificate)),
        ("tls.key", text(&identity.key)),
    ]
}

struct Bench {
    authority: Authority,
    identity: Identity,
    fake: FakePostgres,
    proxy: TestProxy,
}

impl Bench {
    fn new(mode: &str) -> Self {
        let authority = Authority::new();
        let identity = authority.sign("proxy", &["127.0.0.1"]);
        let fake = FakePostgres::tcp();
        let proxy = TestProxy::with(fake.address(), &settings(mode, &identity));
        Self { authority, identity, fake, proxy }
    }

    fn client(&self, begin: Begin) -> std::io::Result<TlsPeer> {
        TlsPeer::connect(self.proxy.address(), &self.authority.certificate(), begin)
    }

    /// A session over TLS that is ready for its first query.
    fn session(&self, begin: Begin) -> (TlsPeer, Peer) {
        let mut client = self.client(begin).expect("TLS");
        let packet = frontend::startup(&[("user", "ann"), ("database", "shop")]);
        client.send(&packet);
        let (mut upstream, received) = self.fake.accept_session();
        assert_eq!(received, packet);
        upstream.send(&backend::greeting());
        assert_eq!(client.frames_until_ready().len(), 5);
        (client, upstream)
    }

    fn closed_because(&self, reason: &str, count: f64) {
        let series = format!("pgtally_connections_closed_total{{reason=\"{reason}\"}}");
        self.proxy.wait_for_metric(&series, count);
    }
}

#[test]
fn sessions_over_tls_are_relayed_and_observed() {
    let bench = Bench::new("require");
    for begin in [Begin::SslRequest, Begin::Direct] {
        let (mut client, mut upstream) = bench.session(begin);
        let query = frontend::query("SELECT id FROM events");
        client.send(&query);
        upstream.expect(&query);
        upstream.send(&backend::done("SELECT 0"));
        assert_eq!(client.frames_until_ready().len(), 2);
        client.send(&frontend::terminate());
        upstream.expect(&frontend::terminate());
        drop(upstream);
        assert!(client.rest().expect("TLS ends with its own farewell").is_empty());
    }
    bench.proxy.wait_for_sum("pgtally_queries_total", "kind=\"select\"", 2.0);
    bench.proxy.wait_for_metric(&format!("{HANDSHAKES}{{result=\"ok\",side=\"client\"}}"), 2.0);
}

#[test]
fn unencrypted_bytes_behind_an_ssl_request_are_refused() {
    let bench = Bench::new("allow");
    let mut client = Peer::connect(bench.proxy.address());
    client.send(&[frontend::ssl_request(), frontend::startup(&[("user", "mallory")])].concat());
    let frame = client.frame();
    assert_eq!(frame.field(b'C').as_deref(), Some("08P01"), "{frame:?}");
    assert!(client.rest().is_empty());
    bench.closed_because("startup_invalid", 1.0);
    assert!(bench.proxy.metric("pgtally_upstream_connect_seconds_count") < 0.5, "nobody was reached");
}

#[test]
fn direct_tls_must_name_the_protocol() {
    let bench = Bench::new("allow");
    let mut client = bench.client(Begin::DirectWithoutAlpn).expect("the handshake itself is fine");
    assert!(client.rest().map_or(true, |rest| rest.is_empty()));
    let _session = bench.session(Begin::Direct);
    bench.closed_because("tls_failed", 1.0);
    bench.proxy.wait_for_metric(&format!("{HANDSHAKES}{{result=\"failed\",side=\"client\"}}"), 1.0);
}

#[test]
fn garbage_in_the_place_of_a_handshake_ends_its_own_session_only() {
    let bench = Bench::new("allow");
    let (mut other, mut upstream) = bench.session(Begin::Direct);
    for garbage in [&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3][..], &[0x16; 600], &[0x16, 3, 1, 0, 0]] {
        let mut client = Peer::connect(bench.proxy.address());
        client.send(garbage);
        client.finish();
        // An alert, or nothing.
        let rest = client.rest();
        assert!(rest.is_empty() || rest[0] == 0x15, "{rest:?}");
    }
    bench.closed_because("tls_failed", 3.0);
    let query = frontend::query("SELECT 1 FROM t");
    other.send(&query);
    upstream.expect(&query);
}

#[test]
fn a_handshake_that_does_not_go_on_is_not_waited_for() {
    let authority = Authority::new();
    let identity = authority.sign("proxy", &["127.0.0.1"]);
    let fake = FakePostgres::tcp();
    let mut settings = settings("require", &identity);
    settings.push(("relay.startup_timeout", "100ms"));
    let proxy = TestProxy::with(fake.address(), &settings);
    let mut client = Peer::connect(proxy.address());
    client.send(&frontend::ssl_request());
    client.expect(b"S");
    assert!(client.rest().is_empty());
    let mut direct = Peer::connect(proxy.address());
    direct.send(&[0x16, 3, 1, 2, 0, 1]);
    assert!(direct.rest().is_empty());
    proxy.wait_for_metric(&format!("{HANDSHAKES}{{result=\"timed_out\",side=\"client\"}}"), 2.0);
    proxy.wait_for_metric("pgtally_connections_closed_total{reason=\"startup_timeout\"}", 2.0);
}

#[test]
fn a_server_that_stops_in_its_handshake_is_not_waited_for() {
    let fake = FakePostgres::tcp();
    let settings = [("tls.upstream_tls", "require"), ("relay.connect_timeout", "100ms")];
    let proxy = TestProxy::with(fake.address(), &settings);
    let mut client = Peer::begin(proxy.address());
    let (mut upstream, _) = fake.accept_session();
    upstream.send(b"S");
    assert_eq!(client.frame().field(b'C').as_deref(), Some("08001"));
    assert!(client.rest().is_empty());
}

#[test]
fn unix_sockets_have_no_tls_and_need_none() {
    let authority = Authority::new();
    let identity = authority.sign("proxy", &["127.0.0.1"]);
    let fake = FakePostgres::tcp();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut settings = settings("require", &identity);
    settings.push(("relay.listen", path.to_str().unwrap()));
    let proxy = TestProxy::with(fake.address(), &settings);
    let mut client = Peer::connect(proxy.address());
    client.send(&frontend::ssl_request());
    client.expect(b"N");
    let packet = frontend::startup(&[("user", "ann")]);
    client.send(&packet);
    assert_eq!(fake.accept_session().1, packet);
}

#[test]
fn tls_inside_tls_is_refused() {
    let bench = Bench::new("allow");
    for request in [frontend::ssl_request(), frontend::gssenc_request()] {
        let mut client = bench.client(Begin::SslRequest).unwrap();
        client.send(&request);
        assert_eq!(client.frame().field(b'C').as_deref(), Some("0A000"));
        assert!(client.rest().expect("a farewell").is_empty());
    }
}

#[test]
fn an_end_without_farewell_is_an_ordinary_end() {
    let bench = Bench::new("allow");
    let (client, mut upstream) = bench.session(Begin::SslRequest);
    client.close_abruptly();
    assert!(upstream.rest().is_empty());
    drop(upstream);
    bench.closed_because("client_closed", 1.0);
}

#[test]
fn a_plain_cancel_request_gets_in_where_tls_is_required() {
    let bench = Bench::new("require");
    let cancel = frontend::cancel_request(&[7; 8]);
    let mut client = Peer::connect(bench.proxy.address());
    client.send(&cancel);
    assert_eq!(bench.fake.accept_session().1, cancel);
    assert!(client.rest().is_empty());
    let mut client = Peer::begin(bench.proxy.address());
    assert_eq!(client.frame().field(b'C').as_deref(), Some("28000"));
    assert!(client.rest().is_empty());
}

#[test]
fn a_slow_reader_over_tls_stops_its_upstream_and_loses_nothing() {
    let bench = Bench::new("require");
    let (mut client, mut upstream) = bench.session(Begin::Direct);
    let row = backend::data_row(&[support::wire::Value::text("x".repeat(1_000))]);
    let answer = row.repeat(60_000);
    let sent = upstream.send_until_stuck(&answer, Duration::from_millis(300));
    assert!(sent < answer.len(), "{sent} bytes were taken from a client that does not read");
    let rest = answer[sent..].to_vec();
    let sender = std::thread::spawn(move || {
        upstream.send(&rest);
        upstream
    });
    assert!(client.receive(answer.len()) == answer);
    drop(sender.join().unwrap());
}

#[test]
fn a_direction_that_is_stuck_does_not_stop_the_other_over_tls() {
    let bench = Bench::new("require");
    let (mut client, mut upstream) = bench.session(Begin::SslRequest);
    let answer = backend::data_row(&[support::wire::Value::text("x".repeat(1_000))]).repeat(30_000);
    let sent = upstream.send_until_stuck(&answer, Duration::from_millis(300));
    let statement = frontend::query(&"y".repeat(20_000_000));
    let (mut reader, count) = (upstream.duplicate(), statement.len());
    let reading = std::thread::spawn(move || reader.receive(count));
    client.send(&statement);
    assert!(reading.join().unwrap() == statement);
    let rest = answer[sent..].to_vec();
    let sending = std::thread::spawn(move || upstream.send(&rest));
    assert!(client.receive(answer.len()) == answer);
    sending.join().unwrap();
}

#[test]
fn what_was_said_before_an_end_is_delivered_through_tls() {
    let bench = Bench::new("require");
    let (mut client, mut upstream) = bench.session(Begin::Direct);
    let answer = backend::data_row(&[support::wire::Value::text("x".repeat(1_000))]).repeat(20_000);
    let expected = answer.clone();
    let sending = std::thread::spawn(move || upstream.send(&answer));
    // A slow reader: most of it is still on its way when the server closes.
    std::thread::sleep(Duration::from_millis(200));
    assert!(client.rest().expect("TLS's own farewell") == expected);
    sending.join().unwrap();
    let (mut client, mut upstream) = bench.session(Begin::Direct);
    let statement = frontend::query(&"y".repeat(20_000_000));
    let expected = statement.clone();
    let sending = std::thread::spawn(move || {
        client.send(&statement);
        client.close_abruptly();
    });
    std::thread::sleep(Duration::from_millis(200));
    assert!(upstream.rest() == expected);
    sending.join().unwrap();
}

#[test]
fn a_reload_changes_the_certificate_and_a_bad_file_changes_nothing() {
    let bench = Bench::new("require");
    let (mut old_client, mut old_upstream) = bench.session(Begin::Direct);
    let shown = || bench.client(Begin::Direct).expect("TLS").certificate();
    let before = shown();
    let new = bench.authority.sign("proxy", &["127.0.0.1"]);
    std::fs::copy(&new.certificate, &bench.identity.certificate).unwrap();
    let (status, answer) = bench.proxy.request("POST", "/api/v1/reload");
    assert!(status >= 400, "the key does not fit: {answer}");
    assert!(answer.contains("tls.key"), "{answer}");
    assert_eq!(shown(), before);
    std::fs::copy(&new.key, &bench.identity.key).unwrap();
    assert_eq!(bench.proxy.request("POST", "/api/v1/reload").0, 200);
    wait_for("the new certificate", || (shown() != before).then_some(()));
    let query = frontend::query("SELECT 1 FROM t");
    old_client.send(&query);
    old_upstream.expect(&query);
}

/// What a plain client hears when the upstream answers our request for TLS with `answer`.
fn upstream_answers(mode: &str, answer: &[u8]) -> (Vec<u8>, TestProxy) {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::with(fake.address(), &[("tls.upstream_tls", mode)]);
    let mut client = Peer::begin(proxy.address());
    let (mut upstream, received) = fake.accept_session();
    assert_eq!(received, frontend::ssl_request());
    upstream.send(answer);
    (client.rest(), proxy)
}

#[test]
fn answers_to_a_request_for_tls_are_not_trusted() {
    let error = backend::report(b'E', "FATAL", "53300", "words of a stranger");
    let is_own = |rest: &[u8]| String::from_utf8_lossy(rest).contains("pgtally cannot establish TLS");
    for mode in ["prefer", "require"] {
        // Somebody injects bytes behind the answer (CVE-2021-23222).
        for answer in [&b"SE"[..], b"X", b"S\x15\x03\x03\0\x02\x02\x28"] {
            let (rest, proxy) = upstream_answers(mode, answer);
            assert!(is_own(&rest), "{mode} {answer:?}: {rest:?}");
            proxy.wait_for_metric(&format!("{HANDSHAKES}{{result=\"failed\",side=\"upstream\"}}"), 1.0);
        }
        let (rest, _proxy) = upstream_answers(mode, &error);
        match mode {
            "prefer" => assert_eq!(rest, error, "as without us"),
            _ => assert!(is_own(&rest), "{rest:?}"),
        }
    }
    let (rest, proxy) = upstream_answers("require", b"N");
    assert!(is_own(&rest), "{rest:?}");
    proxy.wait_for_metric(&format!("{HANDSHAKES}{{result=\"declined\",side=\"upstream\"}}"), 1.0);
}

#[test]
fn prefer_goes_on_in_plain_when_the_server_declines() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::with(fake.address(), &[("tls.upstream_tls", "prefer")]);
    let packet = frontend::startup(&[("user", "ann"), ("database", "shop")]);
    let mut client = Peer::begin(proxy.address());
    let (mut upstream, _) = fake.accept_session();
    upstream.send(b"N");
    upstream.expect(&packet);
    upstream.send(&backend::greeting());
    client.expect(&backend::greeting());
}
