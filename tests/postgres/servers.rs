//! Several servers behind one listener: which one a session gets, by what the prober finds out.

use std::time::Duration;

use pgtally_throwaway::Throwaway;
use support::wire::tags;
use support::{Peer, TestProxy, frontend, try_wait_for, wait_for};

use crate::{address, session};

fn start(settings: &[(&str, &str)]) -> Throwaway {
    let builder = Throwaway::builder().password("correct horse");
    let builder = settings.iter().fold(builder, |builder, (name, value)| builder.setting(*name, *value));
    builder.binaries(std::env::var_os("PGTALLY_PG_BIN").map(Into::into)).start().expect("a server")
}

/// A proxy in front of all `servers`, whose sessions want `attrs`.
fn proxy(servers: &[&Throwaway], attrs: &str) -> TestProxy {
    let all: Vec<_> = servers.iter().map(|server| address(server).to_string()).collect();
    let settings = [
        ("relay.upstream", all.join(",")),
        ("relay.target_session_attrs", attrs.to_owned()),
        ("probe.user", "postgres".to_owned()),
        ("probe.password", "correct horse".to_owned()),
        ("probe.interval", "50ms".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    TestProxy::with(&address(servers[0]), &settings)
}

/// Port of the server that answers at `proxy`; `None` when nobody does.
fn port_behind(proxy: &TestProxy) -> Option<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = format!("{} password='correct horse'", proxy.connection_string("postgres", "postgres"));
        let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.ok()?;
        let connection = tokio::spawn(connection);
        let row = client.query_one("SELECT current_setting('port')::int", &[]).await.ok()?;
        drop(client);
        connection.await.unwrap().unwrap();
        u16::try_from(row.get::<_, i32>(0)).ok()
    })
}

#[test]
fn sessions_get_a_server_that_is_what_they_want() {
    let writable = start(&[]);
    let read_only = start(&[("default_transaction_read_only", "on")]);
    let servers = [&read_only, &writable];
    let check = |attrs: &str, expected: &Throwaway| {
        let proxy = proxy(&servers, attrs);
        assert_eq!(port_behind(&proxy), Some(expected.port()), "{attrs}");
    };
    check("read-write", &writable);
    check("read-only", &read_only);
    check("primary", &read_only);
    check("prefer-standby", &read_only);

    let proxy = proxy(&servers, "standby");
    let mut client = Peer::begin(proxy.address());
    let refusal = client.frame();
    assert_eq!(refusal.field(b'C').as_deref(), Some("08001"), "there is none: {refusal:?}");
    assert!(proxy.metric("pgtally_upstreams{role=\"primary\"}") > 0.5);
    assert!(proxy.metric("pgtally_upstreams{role=\"read_only_primary\"}") > 0.5);
}

#[test]
fn a_change_of_roles_is_followed() {
    let (one, mut other) = (start(&[]), start(&[("default_transaction_read_only", "on")]));
    let proxy = proxy(&[&one, &other], "read-only");
    assert_eq!(port_behind(&proxy), Some(other.port()));
    other.stop_fast().unwrap();
    let is_refused = || (port_behind(&proxy).is_none()).then_some(());
    wait_for("the stopped server to be missed", is_refused);
    proxy.wait_for_metric("pgtally_upstreams{role=\"down\"}", 1.0);
    // What fails over in real life: the setting stands for a promotion.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&one.url("postgres"), tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
    });
    let moved = try_wait_for(|| (port_behind(&proxy) == Some(one.port())).then_some(()));
    assert!(moved.is_some(), "sessions go where the role went");
}

#[test]
fn without_attributes_the_first_that_answers_serves() {
    let (mut first, second) = (Throwaway::builder().start().unwrap(), Throwaway::builder().start().unwrap());
    let both = format!("{},{}", address(&first), address(&second));
    let proxy = TestProxy::with(&address(&first), &[("relay.upstream", &both)]);
    let port = |peer: &mut Peer| {
        let frames = peer.query("SHOW port");
        String::from_utf8(frames[1].body[6..].to_vec()).unwrap()
    };
    let (mut client, _) = session(proxy.address());
    assert_eq!(port(&mut client), first.port().to_string());
    first.stop_fast().unwrap();
    let _ = client.rest();
    let (mut client, _) = session(proxy.address());
    assert_eq!(port(&mut client), second.port().to_string());
    assert_eq!(tags(&client.query("SELECT 1")), "TDCZ");
    client.send(&frontend::terminate());
    proxy.shutdown(Duration::from_secs(5));
}
