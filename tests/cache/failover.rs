//! Servers that restart, fall behind and take over, under a cache that is in use.

use std::fs;

use pgtally::Address;
use pgtally_cache::Fault;
use pgtally_throwaway::Throwaway;
use support::{TestProxy, frontend, wait_for};

use crate::checker::{proxy, server};
use crate::client::Client;
use crate::nemesis::brittle_leg;
use crate::trouble::{ACCOUNTS, REGISTER, number};
use crate::{address, execute, session};

fn connect(proxy: &TestProxy) -> Client {
    wait_for("a session", || Client::connect(proxy.address(), "postgres", "client").ok())
}

fn hits(proxy: &TestProxy) -> f64 {
    proxy.metric_sum("pgtally_cache_lookups_total", "result=\"hit\"")
}

/// Asks `text` until the answer comes from the cache; all answers have to be `expected`.
#[track_caller]
fn warm(proxy: &TestProxy, client: &mut Client, text: &str, expected: i64) {
    let before = hits(proxy);
    wait_for("an answer from the cache", || {
        assert_eq!(number(client, text), expected);
        (hits(proxy) > before).then_some(())
    });
}

/// A server with data of its own that is in recovery, as a standby that has fallen behind.
fn standby() -> Throwaway {
    let mut server = server();
    server.stop_fast().expect("a stop in order");
    fs::write(server.directory().join("data/standby.signal"), "").expect("a signal");
    server.start_again().expect("a standby");
    server
}

/// A proxy whose sessions go to the primary among these.
fn proxy_of_primary(servers: [&Address; 2]) -> TestProxy {
    let both = servers.map(ToString::to_string).join(",");
    let settings = [
        ("relay.upstream", both.as_str()),
        ("relay.target_session_attrs", "primary"),
        ("probe.user", "postgres"),
        ("probe.interval", "50ms"),
    ];
    proxy(servers[1], &settings, Fault::None)
}

#[test]
fn a_server_that_was_restarted_in_order_is_asked_again() {
    let mut server = server();
    let proxy = proxy(&address(&server), &[], Fault::None);
    warm(&proxy, &mut connect(&proxy), ACCOUNTS, 1_000);
    server.stop_fast().expect("a stop in order");
    server.start_again().expect("the same server");
    // Past the proxy, as whatever happened to the data while nobody could look.
    execute(&mut session(&address(&server), "postgres"), "UPDATE accounts SET balance = 5 WHERE id = 0");
    warm(&proxy, &mut connect(&proxy), ACCOUNTS, 905);
}

#[test]
fn another_server_behind_the_proxy_gets_questions_of_its_own() {
    let (mut first, second) = (server(), server());
    execute(&mut session(&address(&second), "postgres"), "UPDATE accounts SET balance = 5 WHERE id = 0");
    let both = format!("{},{}", address(&first), address(&second));
    let proxy = proxy(&address(&first), &[("relay.upstream", &both)], Fault::None);
    let connect = || Client::connect(proxy.address(), "postgres", "client").ok();
    let mut client = wait_for("a session", connect);
    let hits = || proxy.metric_sum("pgtally_cache_lookups_total", "result=\"hit\"");
    wait_for("an answer from the cache", || {
        assert_eq!(number(&mut client, ACCOUNTS), 1_000);
        (hits() > 0.0).then_some(())
    });
    first.stop_fast().expect("a stop in order");
    let mut client = wait_for("a session on the other server", connect);
    let before = hits();
    wait_for("an answer from the cache", || {
        assert_eq!(number(&mut client, ACCOUNTS), 905);
        (hits() > before).then_some(())
    });
}

#[test]
fn definitions_are_those_of_the_primary_and_who_takes_over_is_asked_anew() {
    let (standby, mut primary) = (standby(), server());
    // What the standby has not heard of: a write to sources is one to accounts.
    let define = "CREATE FUNCTION pay() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN \
        UPDATE accounts SET balance = NEW.version WHERE id = 0; RETURN NULL; END $f$; \
        CREATE TRIGGER pay AFTER UPDATE ON sources FOR EACH ROW EXECUTE FUNCTION pay()";
    execute(&mut session(&address(&primary), "postgres"), define);
    let proxy = proxy_of_primary([&address(&standby), &address(&primary)]);
    let (mut reader, mut writer) = (connect(&proxy), connect(&proxy));
    warm(&proxy, &mut reader, ACCOUNTS, 1_000);
    writer.query("UPDATE sources SET version = 5 WHERE id = 1").expect("an answer");
    warm(&proxy, &mut reader, ACCOUNTS, 905);
    primary.stop_fast().expect("a stop in order");
    execute(&mut session(&address(&standby), "postgres"), "SELECT pg_promote()");
    // The new primary never had the trigger, and what it says counts now.
    warm(&proxy, &mut connect(&proxy), ACCOUNTS, 1_000);
}

#[test]
fn a_commit_in_doubt_is_asked_of_the_server_that_has_it() {
    let (standby, primary) = (standby(), server());
    let leg = brittle_leg(&address(&primary));
    let proxy = proxy_of_primary([&address(&standby), &leg.address]);
    let (mut reader, mut writer) = (connect(&proxy), connect(&proxy));
    warm(&proxy, &mut reader, REGISTER, 0);
    // The backend does not notice that nobody listens any more: it goes on, and commits.
    let write = "UPDATE items SET version = 7 WHERE id = 1; SELECT pg_sleep(3)";
    writer.send(&frontend::query(write)).expect("a server that listens");
    let mut direct = Client::connect(&address(&primary), "postgres", "direct").expect("a session");
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_for("the write", || (number(&mut direct, asleep) == 1).then_some(()));
    leg.cut();
    wait_for("the doubt", || {
        (proxy.metric("pgtally_cache_invalidations_total{cause=\"ambiguous_commit\"}") > 0.0).then_some(())
    });
    let mut reader = connect(&proxy);
    let mut is_over = false;
    while !is_over {
        is_over = number(&mut direct, asleep) == 0;
        let known = number(&mut direct, REGISTER);
        let told = number(&mut reader, REGISTER);
        assert!(told >= known, "{told} after {known}");
    }
    // Another text: one that was missed so often is refused for a while.
    let again = "SELECT max(version) FROM registers WHERE id IN (1) /* pgtally:cache ttl=60s */";
    warm(&proxy, &mut reader, again, 7);
}
