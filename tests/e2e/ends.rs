//! How sessions end: whoever goes first, the other side gets everything that was said, and then the end.

use std::time::Duration;

use support::{FakePostgres, Peer, TestProxy, backend, frontend};

const CLOSED: &str = "pgtally_connections_closed_total";

#[test]
fn a_server_that_dies_in_an_answer_leaves_what_it_said() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    client.send(&frontend::query("SELECT id FROM events"));
    upstream.expect(&frontend::query("SELECT id FROM events"));
    let said = [backend::row_description(&[]), backend::data_row(&[]), backend::data_row(&[])[..3].to_vec()]
        .concat();
    upstream.send(&said);
    drop(upstream);
    assert_eq!(client.rest(), said);
    proxy.wait_for_metric(&format!("{CLOSED}{{reason=\"upstream_closed\"}}"), 1.0);
}

#[test]
fn a_fatal_error_is_the_last_word() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    let fatal =
        backend::report(b'E', "FATAL", "57P01", "terminating connection due to administrator command");
    upstream.send(&fatal);
    drop(upstream);
    assert_eq!(client.rest(), fatal, "and nothing of ours behind it");
}

#[test]
fn what_a_server_said_before_its_connection_broke_arrives() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    upstream.send(&backend::parameter_status("TimeZone", "UTC"));
    client.expect(&backend::parameter_status("TimeZone", "UTC"));
    upstream.reset();
    assert!(client.rest().is_empty());
}

#[test]
fn a_client_that_leaves_takes_its_upstream_with_it() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    client.send(&frontend::terminate());
    drop(client);
    assert_eq!(upstream.rest(), frontend::terminate());
    drop(upstream);
    proxy.wait_for_metric(&format!("{CLOSED}{{reason=\"client_closed\"}}"), 1.0);
}

#[test]
fn a_client_that_crashes_takes_its_upstream_with_it() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    client.send(&frontend::query("SELECT pg_sleep(3600)"));
    upstream.expect(&frontend::query("SELECT pg_sleep(3600)"));
    client.reset();
    assert!(upstream.rest().is_empty());
    drop(upstream);
    proxy.wait_for_metric(&format!("{CLOSED}{{reason=\"client_lost\"}}"), 1.0);
}

#[test]
fn a_client_may_say_its_last_word_and_still_listen() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    client.send(&frontend::query("SELECT id FROM events"));
    client.finish();
    assert_eq!(upstream.rest(), frontend::query("SELECT id FROM events"));
    upstream.send(&backend::done("SELECT 0"));
    drop(upstream);
    assert_eq!(client.rest(), backend::done("SELECT 0"));
}

#[test]
fn a_proxy_that_stops_lets_sessions_finish() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let address = proxy.address().clone();
    let (mut client, mut upstream) = fake.session(&address);
    let stopping = std::thread::spawn(move || proxy.shutdown(Duration::from_secs(20)));
    client.send(&frontend::query("SELECT id FROM events"));
    upstream.expect(&frontend::query("SELECT id FROM events"));
    upstream.send(&backend::done("SELECT 0"));
    client.expect(&backend::done("SELECT 0"));
    client.send(&frontend::terminate());
    drop(client);
    assert_eq!(upstream.rest(), frontend::terminate());
    drop(upstream);
    stopping.join().unwrap();
}

#[test]
fn a_proxy_that_must_stop_closes_both_sides() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream): (Peer, Peer) = fake.session(proxy.address());
    proxy.shutdown(Duration::from_millis(1));
    assert!(client.rest().is_empty());
    assert!(upstream.rest().is_empty());
}
