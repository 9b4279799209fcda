//! Before a session begins: encryption requests, packets of every shape, an upstream that is not there.

use pgtally::Address;
use support::{FakePostgres, Nobody, Peer, TestProxy, backend, frontend, wire};

const BLIND: &str = "pgtally_sessions_blind_total";

/// What a client gets that begins with `bytes` and then says no more.
fn answer_to(bytes: &[u8]) -> Vec<u8> {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut client = Peer::connect(proxy.address());
    client.send(bytes);
    client.finish();
    client.rest()
}

#[test]
fn encryption_requests_are_declined_and_startup_goes_on() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut client = Peer::connect(proxy.address());
    for request in [frontend::gssenc_request(), frontend::ssl_request()] {
        client.send(&request);
        client.expect(b"N");
    }
    let packet = frontend::startup(&[("user", "ann"), ("_pq_.unheard_of", "1"), ("options", "-c geqo=off")]);
    client.send(&packet);
    let (mut upstream, received) = fake.accept_session();
    assert_eq!(received, packet, "forwarded verbatim, unknown parameters too");
    upstream.send(&backend::greeting());
    client.expect(&backend::greeting());
}

#[test]
fn a_startup_packet_may_arrive_byte_by_byte() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut client = Peer::connect(proxy.address());
    let packet = frontend::startup(&[("user", "ann"), ("database", "shop")]);
    packet.chunks(1).for_each(|byte| client.send(byte));
    assert_eq!(fake.accept_session().1, packet);
}

#[test]
fn bytes_behind_an_encryption_request_are_the_next_packet() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut client = Peer::connect(proxy.address());
    let packet = frontend::startup(&[("user", "ann")]);
    client.send(&[frontend::ssl_request(), packet.clone()].concat());
    client.expect(b"N");
    assert_eq!(fake.accept_session().1, packet);
}

#[test]
fn bytes_behind_the_startup_packet_are_relayed_and_observed() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut client = Peer::connect(proxy.address());
    let packet = frontend::startup(&[("user", "ann")]);
    let query = frontend::query("SELECT id FROM events");
    client.send(&[packet.clone(), query.clone()].concat());
    let (mut upstream, received) = fake.accept_session();
    assert_eq!(received, packet);
    upstream.expect(&query);
    let answer = [
        backend::authentication_ok(),
        backend::ready(b'I'),
        backend::command_complete("SELECT 0"),
        backend::ready(b'I'),
    ]
    .concat();
    upstream.send(&answer);
    client.expect(&answer);
    proxy.wait_for_sum("pgtally_queries_total", "kind=\"select\"", 1.0);
    assert!(proxy.metric_sum(BLIND, "") < 0.5);
}

#[test]
fn lengths_that_postgresql_refuses_close_silently() {
    for first in [[0, 0, 0, 0], [0, 0, 0, 7], [0, 0, 0x27, 0x15], [0xff; 4], *b"GET "] {
        assert!(answer_to(&[&first[..], b" / HTTP/1.1\r\n\r\n"].concat()).is_empty(), "{first:?}");
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_packet_reaches_nobody() {
    let packet = frontend::startup(&[("user", "ann"), ("database", "shop")]);
    for length in [0, 1, 4, 9, packet.len() - 1] {
        assert!(answer_to(&packet[..length]).is_empty(), "{length}");
    }
}

#[test]
fn a_second_encryption_request_of_a_kind_is_refused() {
    let answer = answer_to(&[frontend::ssl_request(), frontend::ssl_request()].concat());
    assert_eq!(answer.first(), Some(&b'N'));
    assert_eq!(answer.get(1), Some(&b'E'), "{answer:?}");
}

#[test]
fn what_cannot_be_understood_is_for_postgresql_to_answer() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let old = frontend::startup_version(0x2_0000, &[("user", "ann")]);
    let unterminated = wire::untagged(&[&0x3_0000_u32.to_be_bytes()[..], b"user\0ann"].concat());
    for (count, packet) in [old, unterminated].into_iter().enumerate() {
        let mut client = Peer::connect(proxy.address());
        client.send(&packet);
        let (mut upstream, received) = fake.accept_session();
        assert_eq!(received, packet);
        let refusal = backend::report(b'E', "FATAL", "0A000", "unsupported frontend protocol");
        upstream.send(&refusal);
        drop(upstream);
        assert_eq!(client.rest(), refusal);
        proxy.wait_for_metric(&format!("{BLIND}{{reason=\"startup_unknown\"}}"), (count + 1) as f64);
    }
}

#[test]
fn replication_connections_pass_blind() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut client = Peer::connect(proxy.address());
    client.send(&frontend::startup(&[("user", "ann"), ("replication", "database")]));
    let (mut upstream, _) = fake.accept_session();
    upstream.send(&[backend::greeting(), backend::copy_response(b'W', 0)].concat());
    client.expect(&[backend::greeting(), backend::copy_response(b'W', 0)].concat());
    client.send(&frontend::copy_data(b"r"));
    upstream.expect(&frontend::copy_data(b"r"));
    proxy.wait_for_metric(&format!("{BLIND}{{reason=\"replication\"}}"), 1.0);
}

#[test]
fn protocol_3_2_and_its_long_keys_pass_verbatim() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut client = Peer::connect(proxy.address());
    let packet = frontend::startup_version(0x3_0002, &[("user", "ann"), ("database", "shop")]);
    client.send(&packet);
    let (mut upstream, received) = fake.accept_session();
    assert_eq!(received, packet);
    let key: Vec<u8> = (0..=255).collect();
    let greeting = [
        backend::negotiate(2),
        backend::authentication_ok(),
        backend::backend_key_data(7, &key),
        backend::ready(b'I'),
    ];
    upstream.send(&greeting.concat());
    client.expect(&greeting.concat());
    let cancel = frontend::cancel_request(&[&7_u32.to_be_bytes()[..], &key].concat());
    let mut canceller = Peer::connect(proxy.address());
    canceller.send(&cancel);
    assert_eq!(fake.accept_session().1, cancel);
}

#[test]
fn a_minor_version_that_nobody_knows_is_relayed_blind() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut client = Peer::connect(proxy.address());
    let packet = frontend::startup_version(0x3_0007, &[("user", "ann"), ("database", "shop")]);
    client.send(&packet);
    let (mut upstream, received) = fake.accept_session();
    assert_eq!(received, packet);
    // A server of a later time may agree to it, and say what we have never heard of.
    let greeting = [backend::negotiate(7), backend::authentication_ok(), backend::ready(b'I')].concat();
    upstream.send(&greeting);
    client.expect(&greeting);
    for new in [&b"~\0\0\0\x08what"[..], b"\0\xff no frame at all"] {
        client.send(new);
        upstream.expect(new);
        upstream.send(new);
        client.expect(new);
    }
    proxy.wait_for_metric(&format!("{BLIND}{{reason=\"unknown_version\"}}"), 1.0);
}

#[test]
fn without_an_upstream_the_client_is_told_in_postgresqls_way() {
    let nobody = Nobody::tcp();
    let proxy = TestProxy::to(nobody.address());
    let mut client = Peer::begin(proxy.address());
    let frame = client.frame();
    assert_eq!(frame.tag, b'E');
    assert_eq!(frame.field(b'S').as_deref(), Some("FATAL"));
    assert!(frame.field(b'C').is_some_and(|sqlstate| sqlstate.starts_with("08")), "{frame:?}");
    let Address::Tcp(_, port) = nobody.address() else { panic!("a TCP address") };
    let words = String::from_utf8_lossy(&frame.body).into_owned();
    assert!(!words.contains(&port.to_string()), "no internal address: {words}");
    assert!(client.rest().is_empty());
    assert_eq!(proxy.request("GET", "/readyz").0, 503);
    proxy.wait_for_metric("pgtally_connections_closed_total{reason=\"upstream_unreachable\"}", 1.0);
    proxy.wait_for_metric("pgtally_upstream_up", 0.0);
}
