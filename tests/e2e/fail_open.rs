//! Trouble in observing never disturbs traffic: the session becomes blind, is counted, and its bytes go on.

use support::{FakePostgres, Peer, TestProxy, backend, frontend, wire};

/// The label of reads.
const SELECTS: &str = "kind=\"select\"";

const BLIND: &str = "pgtally_sessions_blind_total";

fn exchange(client: &mut Peer, upstream: &mut Peer) {
    client.send(&frontend::query("SELECT name FROM users"));
    upstream.expect(&frontend::query("SELECT name FROM users"));
    upstream.send(&backend::done("SELECT 0"));
    client.expect(&backend::done("SELECT 0"));
}

/// After `client_bytes` and `upstream_bytes` the session is blind because of `reason`, and works.
fn check(client_bytes: &[u8], upstream_bytes: &[u8], reason: &str) {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (mut client, mut upstream) = fake.session(proxy.address());
    exchange(&mut client, &mut upstream);
    client.send(client_bytes);
    upstream.expect(client_bytes);
    upstream.send(upstream_bytes);
    client.expect(upstream_bytes);
    exchange(&mut client, &mut upstream);
    proxy.wait_for_metric(&format!("{BLIND}{{reason=\"{reason}\"}}"), 1.0);
    proxy.wait_for_metric("pgtally_sessions{state=\"blind\"}", 1.0);
    let counted = proxy.metric_sum("pgtally_queries_total", SELECTS);
    assert!((counted - 1.0).abs() < 0.5, "what was seen before stays: {counted}");

    let (mut other, mut other_upstream) = fake.session(proxy.address());
    exchange(&mut other, &mut other_upstream);
    proxy.wait_for_metric("pgtally_sessions{state=\"idle\"}", 1.0);
}

#[test]
fn an_unexpected_answer_makes_blind() {
    check(b"", &backend::data_row(&[]), "unexpected_answer");
}

#[test]
fn an_impossible_length_makes_blind() {
    check(b"Q\0\0\0\x03", b"", "message_length");
}

#[test]
fn a_malformed_body_makes_blind() {
    check(&wire::message(b'B', b"\0"), b"", "malformed_body");
}

#[test]
fn copy_both_makes_blind() {
    check(b"", &backend::copy_response(b'W', 0), "copy_both");
}

#[test]
fn without_analysis_everything_passes_and_nothing_is_counted() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::with(fake.address(), &[("relay.analysis", "off")]);
    let (mut client, mut upstream) = fake.session(proxy.address());
    exchange(&mut client, &mut upstream);
    proxy.wait_for_metric(&format!("{BLIND}{{reason=\"analysis_off\"}}"), 1.0);
    assert!(proxy.requests().is_empty());
}
