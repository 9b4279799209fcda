//! What operators do to a running proxy: limits, reloads, several upstreams, load balancers in front.

use std::path::Path;

use pgtally_protocol::startup::{Packet, parse};
use support::wire::{Frame, tags};
use support::{FakePostgres, Nobody, Peer, TestProxy, backend, frontend};

/// A session of `user` through `proxy` to `fake`: its client and its upstream.
fn session_of(user: &str, proxy: &TestProxy, fake: &FakePostgres) -> (Peer, Peer) {
    let mut client = Peer::connect(proxy.address());
    client.send(&frontend::startup(&[("user", user), ("database", "shop")]));
    let (mut upstream, _) = fake.accept_session();
    upstream.send(&backend::greeting());
    assert_eq!(tags(&client.frames_until_ready()), "RSSKZ");
    (client, upstream)
}

/// What a client of `user` hears that is refused.
fn refused(user: &str, proxy: &TestProxy) -> Frame {
    let mut client = Peer::connect(proxy.address());
    client.send(&frontend::startup(&[("user", user), ("database", "shop")]));
    let frame = client.frame();
    assert!(client.rest().is_empty());
    frame
}

#[track_caller]
fn check_refusal(frame: &Frame, message: &str) {
    assert_eq!(frame.tag, b'E');
    assert_eq!(frame.field(b'S').as_deref(), Some("FATAL"));
    assert_eq!(frame.field(b'C').as_deref(), Some("53300"));
    assert_eq!(frame.field(b'M').as_deref(), Some(message));
}

#[test]
fn more_sessions_than_allowed_are_refused_as_postgresql_does() {
    let fake = FakePostgres::tcp();
    let limits = [("limits.max_sessions", "2"), ("limits.max_sessions_per_user", "1")];
    let proxy = TestProxy::with(fake.address(), &limits);
    let (mut first, mut first_upstream) = session_of("ann", &proxy, &fake);
    check_refusal(&refused("ann", &proxy), "too many connections for role \"ann\"");
    let _second = session_of("bob", &proxy, &fake);
    check_refusal(&refused("cid", &proxy), "sorry, too many clients already");
    assert!(proxy.metric("pgtally_sessions_refused_total{limit=\"max_sessions_per_user\"}") > 0.5);
    assert!(proxy.metric("pgtally_sessions_refused_total{limit=\"max_sessions\"}") > 0.5);

    // A cancel request is no session.
    let mut cancel = Peer::connect(proxy.address());
    cancel.send(&frontend::cancel_request(&[0; 8]));
    drop(fake.accept());
    assert!(cancel.rest().is_empty());

    first.send(&frontend::terminate());
    drop(first);
    // Closing with this unread would be a reset.
    first_upstream.expect(&frontend::terminate());
    drop(first_upstream);
    proxy.wait_for_metric("pgtally_connections_closed_total{reason=\"client_closed\"}", 1.0);
    let _third = session_of("ann", &proxy, &fake);
}

#[test]
fn an_address_has_its_own_limit() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::with(fake.address(), &[("limits.max_sessions_per_source", "1")]);
    let _first = session_of("ann", &proxy, &fake);
    check_refusal(&refused("bob", &proxy), "too many connections from this address");
}

#[test]
fn a_client_that_says_nothing_is_not_waited_for() {
    let fake = FakePostgres::tcp();
    let settings = [("relay.startup_timeout", "50ms"), ("relay.proxy_protocol", "on")];
    for settings in [&settings[..1], &settings[..]] {
        let proxy = TestProxy::with(fake.address(), settings);
        assert!(Peer::connect(proxy.address()).rest().is_empty());
        proxy.wait_for_metric("pgtally_connections_closed_total{reason=\"startup_timeout\"}", 1.0);
    }
}

/// A proxy whose settings stand in `file`, and may be reloaded.
fn proxy_of(file: &Path, text: &str) -> TestProxy {
    std::fs::write(file, text).unwrap();
    TestProxy::of_file(file)
}

#[test]
fn a_reload_counts_for_new_sessions_and_leaves_the_old_ones_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgtally.toml");
    let (old, new) = (FakePostgres::tcp(), FakePostgres::tcp());
    let upstream =
        |fake: &FakePostgres, more: &str| format!("[relay]\nupstream = '{}'\n{more}", fake.address());
    let proxy = proxy_of(&file, &upstream(&old, ""));
    let (mut client, mut old_upstream) = session_of("ann", &proxy, &old);

    std::fs::write(&file, upstream(&new, "workers = 7\n[limits]\nmax_sessions = 2\n")).unwrap();
    let (status, answer) = proxy.request("POST", "/api/v1/reload");
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("\"limits.max_sessions\"") && answer.contains("\"relay.upstream\""), "{answer}");
    assert!(answer.contains("\"restart_needed\":[\"relay.workers\"]"), "{answer}");

    client.send(&frontend::query("SELECT 1 FROM t"));
    old_upstream.expect(&frontend::query("SELECT 1 FROM t"));
    let _second = session_of("ann", &proxy, &new);
    check_refusal(&refused("ann", &proxy), "sorry, too many clients already");
    assert!(proxy.metric("pgtally_config_reloads_total{result=\"ok\"}") > 0.5);
}

#[test]
fn a_configuration_that_is_wrong_anywhere_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgtally.toml");
    let (old, new) = (FakePostgres::tcp(), FakePostgres::tcp());
    let proxy = proxy_of(&file, &format!("[relay]\nupstream = '{}'\n", old.address()));
    let wrong = format!("[relay]\nupstream = '{}'\nkeepalive = '1'\ncolour = 'red'\n", new.address());
    std::fs::write(&file, wrong).unwrap();
    let (status, answer) = proxy.request("POST", "/api/v1/reload");
    assert_eq!(status, 422, "{answer}");
    assert!(answer.contains("relay.keepalive") && answer.contains("relay.colour"), "{answer}");
    let _session = session_of("ann", &proxy, &old);
    assert!(proxy.metric("pgtally_config_reloads_total{result=\"failed\"}") > 0.5);
    assert!(proxy.metric("pgtally_config_reloads_total{result=\"ok\"}") < 0.5);
}

#[test]
fn a_reload_that_hangs_on_a_file_holds_up_nothing_but_reloads() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgtally.toml");
    let fake = FakePostgres::tcp();
    let text = format!("[relay]\nupstream = '{}'\n", fake.address());
    let proxy = proxy_of(&file, &text);
    // Nobody writes to it: whoever opens it for reading waits.
    let hanging = directory.path().join("users.txt");
    assert!(std::process::Command::new("mkfifo").arg(&hanging).status().unwrap().success());
    let console = format!("[console]\nadmins = ['ann']\nauth_file = '{}'\n", hanging.display());
    std::fs::write(&file, format!("{text}{console}")).unwrap();
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| proxy.request("POST", "/api/v1/reload"));
        while !reload.is_finished() {
            let asked = std::time::Instant::now();
            assert_eq!(proxy.request("GET", "/api/v1/config").0, 200);
            let _session = session_of("ann", &proxy, &fake);
            assert!(asked.elapsed() < std::time::Duration::from_secs(3));
        }
        let (status, answer) = reload.join().unwrap();
        assert_eq!(status, 504, "{answer}");
    });
    // Now and then somebody writes to it, so that whoever hangs goes on.
    std::fs::write(&file, format!("{text}[limits]\nmax_sessions = 1\n")).unwrap();
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| proxy.request("POST", "/api/v1/reload"));
        while !reload.is_finished() {
            drop(std::fs::File::options().read(true).write(true).open(&hanging).unwrap());
        }
        assert_eq!(reload.join().unwrap().0, 200);
    });
    assert!(proxy.metric("pgtally_config_reloads_total{result=\"failed\"}") > 0.5);
}

#[test]
fn thresholds_can_be_reloaded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgtally.toml");
    let fake = FakePostgres::tcp();
    let text = format!("[relay]\nupstream = '{}'\n", fake.address());
    let proxy = proxy_of(&file, &text);
    let (mut client, mut upstream) = session_of("ann", &proxy, &fake);
    let mut twice = |request: &str| {
        for _ in 0..2 {
            let statement =
                frontend::query(&format!("SELECT name FROM users WHERE id = 7 /*request_id='{request}'*/"));
            client.send(&statement);
            upstream.expect(&statement);
            upstream.send(&backend::done("SELECT 1"));
            client.expect(&backend::done("SELECT 1"));
        }
    };
    twice("before");
    assert_eq!(proxy.settled_requests(1).len(), 1);
    assert!(proxy.findings().is_empty());
    std::fs::write(&file, format!("{text}[findings]\nduplicate_repeats = 2\n")).unwrap();
    assert_eq!(proxy.request("POST", "/api/v1/reload").0, 200);
    twice("after");
    support::wait_for("the finding", || (proxy.findings().len() == 1).then_some(()));
    let config = proxy.json("/api/v1/config").to_string();
    assert!(config.contains("findings.duplicate_repeats"), "{config}");
}

#[test]
fn an_upstream_that_cannot_be_reached_is_passed_over() {
    let fake = FakePostgres::tcp();
    let nobody = Nobody::tcp();
    let both = format!("{},{}", nobody.address(), fake.address());
    let proxy = TestProxy::with(nobody.address(), &[("relay.upstream", &both)]);
    let _first = session_of("ann", &proxy, &fake);
    let _second = session_of("ann", &proxy, &fake);
    proxy.wait_for_metric("pgtally_upstream_up", 1.0);
    assert_eq!(proxy.request("GET", "/readyz").0, 200);

    // Whose key it is nobody remembers: both are told.
    let mut cancel = Peer::connect(proxy.address());
    cancel.send(&frontend::cancel_request(&[7; 8]));
    let mut told = fake.accept();
    told.expect(&frontend::cancel_request(&[7; 8]));
    drop(told);
    assert!(cancel.rest().is_empty());
    proxy.wait_for_metric("pgtally_cancel_requests_total{result=\"forwarded\"}", 1.0);
}

/// The startup packet that arrives at the upstream when `header` stands in front of the client's.
fn startup_behind(header: &[u8], settings: &[(&'static str, &str)]) -> Vec<u8> {
    let fake = FakePostgres::tcp();
    let settings: Vec<_> = [("relay.proxy_protocol", "on")].iter().chain(settings).copied().collect();
    let proxy = TestProxy::with(fake.address(), &settings);
    let mut client = Peer::connect(proxy.address());
    client.send(&[header, &frontend::startup(&[("user", "ann")])].concat());
    let (mut upstream, packet) = fake.accept_session();
    upstream.send(&backend::greeting());
    assert_eq!(tags(&client.frames_until_ready()), "RSSKZ");
    packet
}

#[test]
fn a_load_balancer_names_its_client_and_the_server_hears_it() {
    let plain = frontend::startup(&[("user", "ann")]);
    let v1 = b"PROXY TCP4 10.0.0.7 10.0.0.1 51234 5432\r\n";
    assert_eq!(startup_behind(v1, &[]), plain, "unasked, the packet is left alone");
    let told = frontend::startup(&[
        ("user", "ann"),
        ("application_name", "10.0.0.7:51234"),
        ("pgtally.client_addr", "10.0.0.7"),
    ]);
    assert_eq!(startup_behind(v1, &[("relay.client_addr", "both")]), told);
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x07\x0a\0\0\x01\xc8\x22\x15\x38";
    assert_eq!(startup_behind(v2, &[("relay.client_addr", "both")]), told);
    let told = frontend::startup(&[("user", "ann"), ("pgtally.client_addr", "127.0.0.1")]);
    assert_eq!(startup_behind(b"PROXY UNKNOWN\r\n", &[("relay.client_addr", "setting")]), told);
}

#[test]
fn what_the_server_hears_of_the_client_is_no_part_of_the_application_s_name() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::with(fake.address(), &[("relay.client_addr", "application_name")]);
    // Longer than PostgreSQL keeps with an address behind it.
    let name = "shop of many things, long enough that an end of it is cut";
    let mut sessions = Vec::new();
    for number in 0..2 {
        let mut client = Peer::connect(proxy.address());
        client.send(&frontend::startup(&[("user", "ann"), ("application_name", name)]));
        let (mut upstream, packet) = fake.accept_session();
        let Ok(Packet::Startup(startup)) = parse(&packet) else { panic!("{packet:?}") };
        let told = String::from_utf8(startup.parameter("application_name").unwrap().to_vec()).unwrap();
        assert!(told.contains(" - 127.0.0.1:") && !told.starts_with(name), "{told}");
        let reported = backend::parameter_status("application_name", &told);
        upstream.send(&[backend::authentication_ok(), reported, backend::ready(b'I')].concat());
        assert_eq!(tags(&client.frames_until_ready()), "RSZ");
        let query = frontend::query(&format!("SELECT {number} FROM t /*request_id='7'*/"));
        client.send(&query);
        upstream.expect(&query);
        upstream.send(&backend::done("SELECT 1"));
        client.expect(&backend::done("SELECT 1"));
        sessions.push((client, upstream));
    }
    let requests = proxy.settled_requests(1);
    assert_eq!((&requests[0]["route"], &requests[0]["queries"]), (&name.into(), &2.into()), "{requests:?}");
    assert_eq!(requests.len(), 1, "one request of one application, whatever addresses its sessions have");
}

#[test]
fn a_malformed_header_ends_only_its_own_connection() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::with(fake.address(), &[("relay.proxy_protocol", "on")]);
    let garbage = [&b"GET / HTTP/1.1\r\n\r\n"[..], &frontend::startup(&[("user", "ann")]), &[b'P'; 5_000]];
    for bytes in garbage {
        let mut client = Peer::connect(proxy.address());
        client.send(bytes);
        assert!(client.rest().is_empty());
    }
    let mut client = Peer::connect(proxy.address());
    client.send(&[&b"PROXY UNKNOWN\r\n"[..], &frontend::startup(&[("user", "ann")])].concat());
    let (mut upstream, _) = fake.accept_session();
    upstream.send(&backend::greeting());
    assert_eq!(tags(&client.frames_until_ready()), "RSSKZ");
    proxy.wait_for_metric("pgtally_connections_closed_total{reason=\"proxy_header_invalid\"}", 3.0);
}

#[test]
fn strangers_may_not_name_a_client() {
    let fake = FakePostgres::tcp();
    let settings = [("relay.proxy_protocol", "on"), ("relay.proxy_protocol_from", "10.0.0.0/8, ::1")];
    let proxy = TestProxy::with(fake.address(), &settings);
    let mut client = Peer::connect(proxy.address());
    client.send(b"PROXY TCP4 10.0.0.7 10.0.0.1 51234 5432\r\n");
    assert!(client.rest().is_empty());
    proxy.wait_for_metric("pgtally_connections_closed_total{reason=\"proxy_header_invalid\"}", 1.0);
}
