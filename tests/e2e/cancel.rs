//! CancelRequests reach the upstream as they are, on a connection of their own.

use support::{FakePostgres, Nobody, Peer, TestProxy, backend, frontend};

#[test]
fn a_cancel_request_is_forwarded_verbatim_and_closes_after_the_upstream() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    client.send(&frontend::query("SELECT pg_sleep(3600)"));
    upstream.expect(&frontend::query("SELECT pg_sleep(3600)"));

    let mut canceller = Peer::connect(proxy.address());
    let packet = frontend::cancel_request(&[0, 0, 0x12, 0x67, 1, 2, 3, 4]);
    canceller.send(&packet);
    let (server_side, received) = fake.accept_session();
    assert_eq!(received, packet);
    drop(server_side);
    assert!(canceller.rest().is_empty(), "closed without a word");

    let answer =
        [backend::report(b'E', "ERROR", "57014", "canceling statement"), backend::ready(b'I')].concat();
    upstream.send(&answer);
    client.expect(&answer);
    proxy.wait_for_metric("pgtally_cancel_requests_total{result=\"forwarded\"}", 1.0);
    proxy.wait_for_sum("pgtally_query_errors_total", "sqlstate_class=\"57\"", 1.0);
}

#[test]
fn a_cancel_request_that_cannot_be_delivered_closes() {
    let nobody = Nobody::tcp();
    let proxy = TestProxy::to(nobody.address());
    let mut canceller = Peer::connect(proxy.address());
    canceller.send(&frontend::cancel_request(&[0; 8]));
    assert!(canceller.rest().is_empty());
    proxy.wait_for_metric("pgtally_cancel_requests_total{result=\"failed\"}", 1.0);
}

#[test]
fn a_cancel_request_after_declined_encryption_is_one() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let mut canceller = Peer::connect(proxy.address());
    canceller.send(&frontend::ssl_request());
    canceller.expect(b"N");
    let packet = frontend::cancel_request(&[9; 8]);
    canceller.send(&packet);
    assert_eq!(fake.accept_session().1, packet);
}

#[test]
fn a_server_that_is_most_likely_down_holds_up_no_cancel() {
    let (sick, well) = (FakePostgres::tcp(), FakePostgres::tcp());
    let both = format!("{},{}", sick.address(), well.address());
    let proxy = TestProxy::with(well.address(), &[("relay.upstream", &both), ("tls.upstream_tls", "prefer")]);
    let accept = |server: &FakePostgres, answer: &[u8]| {
        let mut upstream = server.accept();
        upstream.expect(&frontend::ssl_request());
        upstream.send(answer);
        upstream
    };
    // A session finds out.
    let _client = Peer::begin(proxy.address());
    drop(accept(&sick, b"?"));
    let _upstream = accept(&well, b"N");

    let packet = frontend::cancel_request(&[7; 8]);
    let mut canceller = Peer::connect(proxy.address());
    canceller.send(&packet);
    assert_eq!(accept(&well, b"N").receive(packet.len()), packet);
    assert!(canceller.rest().is_empty(), "delivered where it matters");
    // Nobody waited for the other, and it is told all the same.
    assert_eq!(accept(&sick, b"N").receive(packet.len()), packet);
    proxy.wait_for_metric("pgtally_cancel_requests_total{result=\"forwarded\"}", 1.0);
}

#[test]
fn cancel_requests_of_one_address_are_bounded() {
    const MOST: usize = 128;
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let send = || {
        let mut canceller = Peer::connect(proxy.address());
        canceller.send(&frontend::cancel_request(&[7; 8]));
        canceller
    };
    let under_way: Vec<_> = (0..MOST).map(|_| (send(), fake.accept_session())).collect();
    assert!(send().rest().is_empty(), "one more is not forwarded");
    proxy.wait_for_metric("pgtally_cancel_requests_total{result=\"refused\"}", 1.0);
    drop(under_way);
    proxy.wait_for_metric("pgtally_cancel_requests_total{result=\"forwarded\"}", MOST as f64);
    // There is room again: this one fails for want of a server.
    drop(fake);
    assert!(send().rest().is_empty());
    proxy.wait_for_metric("pgtally_cancel_requests_total{result=\"failed\"}", 1.0);
}
