//! Cancelled, terminated, refused: what PostgreSQL says arrives, and nothing else.

use pgtally::Address;
use support::wire::{Frame, tags};
use support::{Peer, TestProxy, frontend, wait_for};

use crate::{address, session, with_each_server};

/// Starts a statement that takes for ever, and waits until the server runs it. Returns the client and its key.
fn asleep(through: &Address, direct: &Address) -> (Peer, Vec<u8>) {
    let (mut client, key) = session(through);
    client.send(&frontend::query("SELECT pg_sleep(3600)"));
    let (mut observer, _) = session(direct);
    let text = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {} AND wait_event = 'PgSleep'", pid(&key));
    wait_for("the statement to run", || tags(&observer.query(&text)).contains('D').then_some(()));
    (client, key)
}

fn pid(key: &[u8]) -> u32 {
    u32::from_be_bytes([key[0], key[1], key[2], key[3]])
}

#[test]
fn a_cancel_through_the_proxy_cancels() {
    with_each_server(|server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        let (mut client, key) = asleep(proxy.address(), &direct);
        let mut canceller = Peer::connect(proxy.address());
        canceller.send(&frontend::cancel_request(&key));
        assert!(canceller.rest().is_empty());
        let frames = client.frames_until_ready();
        let error = frames.iter().find(|frame| frame.tag == b'E').expect("an error");
        assert_eq!(error.field(b'C').as_deref(), Some("57014"));
        assert_eq!(tags(&client.query("SELECT 1")), "TDCZ", "the session goes on");
        proxy.wait_for_sum("pgtally_query_errors_total", "sqlstate_class=\"57\"", 1.0);
    });
}

/// What a client hears whose backend is terminated, until the end.
fn terminated(through: &Address, direct: &Address) -> Vec<u8> {
    let (mut client, key) = asleep(through, direct);
    session(direct).0.query(&format!("SELECT pg_terminate_backend({})", pid(&key)));
    client.rest()
}

#[test]
fn a_terminated_backend_says_the_same_last_words() {
    with_each_server(|server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        let expected = terminated(&direct, &direct);
        assert!(String::from_utf8_lossy(&expected).contains("57P01"));
        assert_eq!(terminated(proxy.address(), &direct), expected);
    });
}

#[test]
fn a_backend_terminated_in_an_answer_leaves_whole_messages() {
    with_each_server(|server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        let (mut client, key) = session(proxy.address());
        client.send(&frontend::query("SELECT repeat('x', 10000) FROM generate_series(1, 100000)"));
        let first: Vec<Frame> = (0..10).map(|_| client.frame()).collect();
        assert_eq!(tags(&first), "TDDDDDDDDD");
        session(&direct).0.query(&format!("SELECT pg_terminate_backend({})", pid(&key)));
        let rest = client.rest();
        assert!(rest.len() < 1_000_000_000, "it did not go on to the end");
        proxy.wait_for_metric("pgtally_sessions{state=\"active\"}", 0.0);
        assert_eq!(tags(&session(proxy.address()).0.query("SELECT 1")), "TDCZ", "others go on");
    });
}

#[test]
fn a_server_that_stops_is_reported_and_missed() {
    with_each_server(|mut server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        let (mut client, _) = session(proxy.address());
        server.stop_fast().unwrap();
        assert!(String::from_utf8_lossy(&client.rest()).contains("57P01"));
        let error = Peer::begin(proxy.address()).frame();
        assert!(error.field(b'C').is_some_and(|sqlstate| sqlstate.starts_with("08")), "{error:?}");
    });
}
