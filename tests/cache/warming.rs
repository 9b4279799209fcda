//! Filling the cache on order: answers come back without the client's asking, only by sessions of the same user and
//! settings, and without a client's notice.

use support::wire::Value;
use support::{Peer, TestProxy, frontend, try_wait_for, wait_for};

use crate::address;
use crate::serving::{World, ask, cached, cell};

const SUM: &str = "SELECT sum(price) FROM products";

fn warm(world: &World, order: &str) -> serde_json::Value {
    let (status, body) = world.proxy.post("/api/v1/cache/warm", order);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Asks until the question has been answered from the cache twice: then it is remembered.
fn make_hot(world: &World, client: &mut Peer, question: &[u8]) {
    let mut hits = 0;
    let asked = try_wait_for(|| {
        hits += usize::from(world.is_hit(client, question));
        (hits >= 2).then_some(())
    });
    assert!(
        asked.is_some(),
        "{:?}: {}",
        String::from_utf8_lossy(question),
        world.proxy.json("/api/v1/cache")
    );
}

/// Waits until so many sessions wait for a lock.
fn wait_for_locks(world: &World, count: &str) {
    let mut observer = world.direct();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    wait_for("a session that waits for a lock", || {
        (cell(&ask(&mut observer, &frontend::query(waits))) == count).then_some(())
    });
}

fn flush(world: &World) {
    assert_eq!(world.proxy.post("/api/v1/cache/invalidate", r#"{"all": true}"#).0, 200);
}

#[test]
fn a_flushed_cache_is_filled_by_idle_sessions_and_their_clients_notice_nothing() {
    let world = World::new(&[]);
    let (mut client, mut direct) = (world.client(), world.direct());
    let text = "SELECT name, price FROM products WHERE id = $1 /* pgtally:cache ttl=60s tags=product */";
    let value = [Value::text(7)];
    let named = |is_binary| {
        let bind = frontend::bind("", "s1", &value, is_binary);
        [bind, frontend::execute("", 0), frontend::sync()].concat()
    };
    let questions = [
        cached(SUM),
        cached("SELECT name FROM products WHERE id < 0"),
        frontend::extended(text, &[23], &value, false),
        frontend::extended(text, &[23], &value, true),
        named(false),
        named(true),
    ];
    // Before the definitions are known, any function might change settings: what was prepared then is not cached.
    make_hot(&world, &mut client, &questions[0]);
    for peer in [&mut client, &mut direct] {
        ask(peer, &[frontend::parse("s1", text, &[]), frontend::sync()].concat());
    }
    for question in questions.iter().skip(1) {
        make_hot(&world, &mut client, question);
    }
    // The unnamed statement is the client's: asking again must not touch it.
    let unnamed = frontend::parse("", "SELECT 'still here'", &[]);
    ask(&mut client, &[unnamed, frontend::sync()].concat());
    // Past the proxy: an answer from before would show.
    ask(&mut direct, &frontend::query("UPDATE products SET price = 1000 WHERE id = 7"));
    flush(&world);
    let told = warm(&world, "{}");
    assert_eq!((&told["filled"], &told["asked"]), (&6.into(), &6.into()), "{told}");
    assert_eq!(told["complete"], true);
    let bound = [frontend::bind("", "", &[], false), frontend::execute("", 0), frontend::sync()].concat();
    assert_eq!(cell(&ask(&mut client, &bound)), "still here");
    let runs = world.proxy.metric("pgtally_cache_fills_total{result=\"stored\"}");
    for (number, question) in questions.iter().enumerate() {
        let expected = ask(&mut direct, question);
        let before = world.hits();
        assert_eq!(ask(&mut client, question), expected, "question {number}");
        assert!(world.hits() > before, "question {number} is answered from the cache");
    }
    assert_eq!(world.proxy.metric("pgtally_cache_fills_total{result=\"stored\"}"), runs);
    let again = warm(&world, "{}");
    assert_eq!((&again["asked"], &again["current"]), (&0.into(), &6.into()), "{again}");
}

#[test]
fn only_sessions_of_the_same_user_and_settings_ask_again() {
    let world = World::new(&[]);
    let question = cached(SUM);
    let mut client = world.client();
    make_hot(&world, &mut client, &question);
    // Somebody else who has asked something, and the same user with other settings.
    let mut bob = world.session_of("bob");
    world.warm(&mut bob, &cached("SELECT 1 FROM products WHERE id = 1"));
    ask(&mut client, &frontend::query("SET DateStyle = 'German'"));
    flush(&world);
    let told = warm(&world, r#"{"tags": ["product"]}"#);
    assert_eq!((&told["asked"], &told["without_session"]), (&1.into(), &1.into()), "{told}");
    // Set back, they are the question's own again; inside a transaction the session is not idle.
    ask(&mut client, &frontend::query("RESET DateStyle"));
    ask(&mut client, &frontend::query("BEGIN"));
    assert_eq!(warm(&world, "{}")["without_session"], 1);
    ask(&mut client, &frontend::query("COMMIT"));
    assert_eq!(warm(&world, r#"{"tags": ["other"]}"#)["asked"], 0);
    let told = warm(&world, "{}");
    assert_eq!(told["filled"], 1, "{told}");
    assert!(world.is_hit(&mut client, &question));
    drop(client);
    flush(&world);
    wait_for("the end of the session", || (warm(&world, "{}")["without_session"] == 1).then_some(()));
}

#[test]
fn rights_that_were_taken_away_and_locks_are_told_and_cost_the_client_little() {
    let world = World::new(&[]);
    let (mut client, mut direct) = (world.client(), world.direct());
    let question = cached(SUM);
    make_hot(&world, &mut client, &question);
    flush(&world);
    ask(&mut direct, &frontend::query("REVOKE ALL ON products FROM ann"));
    let told = warm(&world, "{}");
    assert_eq!(told["refused"], serde_json::json!([{"reason": "unexpected", "count": 1}]), "{told}");
    // The session is as before, and its client never saw the error.
    assert_eq!(cell(&ask(&mut client, &frontend::query("SELECT 'well'"))), "well");
    ask(&mut direct, &frontend::query("GRANT ALL ON products TO ann"));
    ask(&mut direct, &frontend::query("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE"));
    ask(&mut client, &frontend::query("SET statement_timeout = '300ms'"));
    let told = warm(&world, "{}");
    assert_eq!(told["refused"], serde_json::json!([{"reason": "unexpected", "count": 1}]), "{told}");
    ask(&mut client, &frontend::query("RESET statement_timeout"));
    // Its next message waits, and is answered after that.
    let waiting = std::thread::scope(|scope| {
        let order = scope.spawn(|| warm(&world, "{}"));
        wait_for_locks(&world, "1");
        client.send(&frontend::query("SELECT 'after'"));
        ask(&mut direct, &frontend::query("COMMIT"));
        assert_eq!(cell(&client.frames_until_ready()), "after");
        order.join().expect("an answer")
    });
    assert_eq!(waiting["filled"], 1, "{waiting}");
    assert_eq!(cell(&ask(&mut client, &frontend::query("SHOW statement_timeout"))), "0");
    assert!(world.is_hit(&mut client, &question));
}

#[test]
fn a_write_while_it_is_asked_again_keeps_the_answer_from_being_kept() {
    let world = World::new(&[]);
    let (mut client, mut writer) = (world.client(), world.client());
    let question = cached(SUM);
    make_hot(&world, &mut client, &question);
    let mut direct = world.direct();
    flush(&world);
    ask(&mut direct, &frontend::query("BEGIN; LOCK TABLE products IN ACCESS EXCLUSIVE MODE"));
    let told = std::thread::scope(|scope| {
        let order = scope.spawn(|| warm(&world, "{}"));
        wait_for_locks(&world, "1");
        writer.send(&frontend::query("UPDATE products SET price = price + 1 WHERE id = 1"));
        wait_for_locks(&world, "2");
        ask(&mut direct, &frontend::query("COMMIT"));
        let _ = writer.frames_until_ready();
        order.join().expect("an answer")
    });
    assert_eq!(told["refused"], serde_json::json!([{"reason": "overtaken", "count": 1}]), "{told}");
    assert_eq!(cell(&ask(&mut client, &question)), "5051");
}

#[test]
fn orders_that_mean_nothing_and_caches_that_are_not_there_are_told() {
    let world = World::new(&[]);
    assert_eq!(warm(&world, "{}")["asked"], 0);
    for order in [r#"{"max": 0}"#, r#"{"max": 1001}"#, r#"{"tag": "x"}"#, r#"{"max": -1}"#, "7"] {
        assert_eq!(world.proxy.post("/api/v1/cache/warm", order).0, 400, "{order}");
    }
    let without = TestProxy::with(&address(&world.server), &[]);
    let (status, said) = without.post("/api/v1/cache/warm", "{}");
    assert!(status == 409 && said.contains("cache.enabled"), "{status} {said}");
}
