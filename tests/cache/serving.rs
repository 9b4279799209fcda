//! What the cache serves, what makes it stop, and that a client cannot tell: frames equal those of a direct session.

use std::time::{Duration, Instant};

use pgtally_throwaway::Throwaway;
use support::wire::{Frame, Value};
use support::{Peer, TestProxy, frontend, wait_for};

use crate::{address, execute, session};

const SCHEMA: &str = "CREATE TABLE products (id int PRIMARY KEY, name text, price int); \
    INSERT INTO products SELECT n, 'product ' || n, n FROM generate_series(1, 100) n; \
    CREATE TABLE orders (id int); CREATE ROLE pgtally_inspect LOGIN; CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; \
    GRANT ALL ON products, orders TO ann, bob";

/// A server with products, and a proxy with the cache in front of it.
pub(crate) struct World {
    pub(crate) server: Throwaway,
    pub(crate) proxy: TestProxy,
}

impl World {
    pub(crate) fn new(settings: &[(&'static str, &str)]) -> Self {
        let server = crate::builder().start().expect("a throwaway PostgreSQL");
        execute(&mut session(&address(&server), "postgres"), SCHEMA);
        let base = [("cache.enabled", "on"), ("inspect.user", "pgtally_inspect")];
        let settings: Vec<_> = base.iter().chain(settings).copied().collect();
        let proxy = TestProxy::with(&address(&server), &settings);
        Self { server, proxy }
    }

    pub(crate) fn client(&self) -> Peer {
        session(self.proxy.address(), "ann")
    }

    pub(crate) fn session_of(&self, user: &str) -> Peer {
        session(self.proxy.address(), user)
    }

    pub(crate) fn direct(&self) -> Peer {
        session(&address(&self.server), "postgres")
    }

    /// Answers given from the cache so far.
    pub(crate) fn hits(&self) -> f64 {
        let cache = self.proxy.json("/api/v1/cache");
        let tags = cache["tags"].as_array().expect("tags");
        tags.iter().map(|tag| tag["hits"].as_f64().unwrap() + tag["stale"].as_f64().unwrap()).sum()
    }

    fn bypassed(&self, reason: &str) -> u64 {
        let cache = self.proxy.json("/api/v1/cache");
        let reasons = cache["bypassed"].as_array().expect("reasons");
        let found = reasons.iter().find(|it| it["reason"] == reason);
        found.map_or(0, |it| it["count"].as_u64().unwrap())
    }

    /// Whether the question is answered from the cache now.
    pub(crate) fn is_hit(&self, client: &mut Peer, question: &[u8]) -> bool {
        let before = self.hits();
        ask(client, question);
        self.hits() > before
    }

    /// Asks until the answer comes from the cache: the definitions have to be read first.
    pub(crate) fn warm(&self, client: &mut Peer, question: &[u8]) {
        wait_for("an answer from the cache", || self.is_hit(client, question).then_some(()));
    }
}

pub(crate) fn ask(client: &mut Peer, question: &[u8]) -> Vec<Frame> {
    client.send(question);
    client.frames_until_ready()
}

/// The first cell of the first row, as text.
pub(crate) fn cell(frames: &[Frame]) -> String {
    let row = frames.iter().find(|frame| frame.tag == b'D').unwrap_or_else(|| panic!("no row: {frames:?}"));
    String::from_utf8_lossy(&row.body[6..]).into_owned()
}

pub(crate) fn cached(text: &str) -> Vec<u8> {
    frontend::query(&format!("{text} /* pgtally:cache ttl=60s tags=product */"))
}

const COUNT: &str = "SELECT count(*) FROM products";

#[test]
fn every_form_of_a_question_gets_the_frames_that_the_server_would_send() {
    let world = World::new(&[]);
    let text = "SELECT name, price FROM products WHERE id = $1 /* pgtally:cache */";
    let value = [Value::text(7)];
    let bound = |is_binary| frontend::bind("", "s1", &value, is_binary);
    let group = |parts: &[Vec<u8>]| [parts.concat(), frontend::execute("", 0), frontend::sync()].concat();
    let describe = frontend::describe(b'P', "");
    let questions = [
        frontend::query("SELECT name, price FROM products WHERE id = 7 /* pgtally:cache */"),
        frontend::extended(text, &[23], &value, false),
        frontend::extended(text, &[23], &value, true),
        group(&[frontend::parse("", text, &[]), frontend::bind("", "", &value, true)]),
        group(&[bound(false), describe.clone()]),
        group(&[bound(true), describe]),
        group(&[bound(false)]),
        frontend::query("SELECT name FROM products WHERE id = -1 /* pgtally:cache */"),
    ];
    let define = [frontend::parse("s1", text, &[]), frontend::sync()].concat();
    let (mut client, mut direct) = (world.client(), world.direct());
    for peer in [&mut client, &mut direct] {
        ask(peer, &define);
    }
    for (number, question) in questions.iter().enumerate() {
        let expected = ask(&mut direct, question);
        assert_eq!(ask(&mut client, question), expected, "question {number}, cold");
        world.warm(&mut client, question);
        assert_eq!(ask(&mut client, question), expected, "question {number}, warm");
        // Another session of the same user gets it as well, once its statement is defined.
        let mut other = world.client();
        ask(&mut other, &define);
        assert!(world.is_hit(&mut other, question), "question {number}, another session");
    }
    assert!(world.proxy.metric("pgtally_cache_entries") >= 8.0);
    assert!(world.proxy.metric("pgtally_cache_lookups_total{result=\"hit\",tag=\"none\"}") >= 16.0);
}

#[test]
fn writes_by_every_route_are_seen_at_once() {
    let world = World::new(&[]);
    let (mut reader, mut writer) = (world.client(), world.client());
    let question = cached("SELECT sum(price) FROM products");
    let mut expected = 5_050;
    let update = "UPDATE products SET price = price + 1 WHERE id = 1";
    let autocommit = |writer: &mut Peer| drop(ask(writer, &frontend::query(update)));
    let extended = |writer: &mut Peer| drop(ask(writer, &frontend::extended(update, &[], &[], false)));
    let transaction = |writer: &mut Peer| {
        for text in ["BEGIN", update, "COMMIT"] {
            ask(writer, &frontend::query(text));
        }
    };
    let one_message =
        |writer: &mut Peer| drop(ask(writer, &frontend::query(&format!("BEGIN; {update}; COMMIT"))));
    let pipeline = |writer: &mut Peer| {
        let groups: Vec<u8> = ["BEGIN", update, "COMMIT"]
            .iter()
            .flat_map(|text| frontend::extended(text, &[], &[], false))
            .collect();
        writer.send(&groups);
        (0..3).for_each(|_| drop(writer.frames_until_ready()));
    };
    let block = |writer: &mut Peer| {
        ask(writer, &frontend::query(&format!("DO $$ BEGIN {update}; END $$")));
    };
    let routes: [&dyn Fn(&mut Peer); 6] =
        [&autocommit, &extended, &transaction, &one_message, &pipeline, &block];
    for (number, write) in routes.iter().enumerate() {
        world.warm(&mut reader, &question);
        write(&mut writer);
        expected += 1;
        assert_eq!(cell(&ask(&mut reader, &question)), expected.to_string(), "route {number}");
    }
    // Writes to other tables, and what is rolled back, leave the answer alone.
    world.warm(&mut reader, &question);
    for text in ["INSERT INTO orders VALUES (1)", "BEGIN", update, "ROLLBACK", "SELECT 1"] {
        ask(&mut writer, &frontend::query(text));
    }
    assert!(world.is_hit(&mut reader, &question));
    // An open transaction shows nobody anything before it commits.
    ask(&mut writer, &frontend::query("BEGIN"));
    ask(&mut writer, &frontend::query(update));
    assert!(world.is_hit(&mut reader, &question));
    ask(&mut writer, &frontend::query("COMMIT"));
    assert_eq!(cell(&ask(&mut reader, &question)), (expected + 1).to_string());
}

#[test]
fn in_mode_ttl_only_age_and_tags_make_answers_old() {
    let world = World::new(&[("cache.mode", "ttl"), ("cache.ttl", "1500ms")]);
    let mut client = world.client();
    let question = frontend::query(&format!("{COUNT} /* pgtally:cache tags=product:1,catalog */"));
    world.warm(&mut client, &question);
    let insert = "INSERT INTO products VALUES (101, 'new', 1)";
    ask(&mut client, &frontend::query(insert));
    let sent = Instant::now();
    let seen = wait_for("the new row", || {
        let count = cell(&ask(&mut client, &question));
        (count == "101").then(|| sent.elapsed())
    });
    assert!(seen < Duration::from_secs(10), "{seen:?}");
    world.warm(&mut client, &question);
    ask(
        &mut client,
        &frontend::query("DELETE FROM products WHERE id = 101 /* pgtally:invalidate tags=catalog */"),
    );
    assert_eq!(cell(&ask(&mut client, &question)), "100");
}

#[test]
fn operators_make_answers_old_by_tag_table_or_all() {
    let world = World::new(&[("cache.mode", "ttl")]);
    let (mut client, mut direct) = (world.client(), world.direct());
    let question = frontend::query(&format!("{COUNT} /*pgtally_cache='tags%3Dproduct%3A42'*/"));
    let orders = [
        r#"{"tags": ["product:42"]}"#,
        r#"{"all": true}"#,
        r#"{"tags": ["x", "product:42"]}"#,
        r#"{"tables": ["public.products"]}"#,
    ];
    for (number, order) in orders.iter().enumerate() {
        world.warm(&mut client, &question);
        // Past the proxy: nothing but the order tells.
        ask(&mut direct, &frontend::query(&format!("INSERT INTO products VALUES ({})", 101 + number)));
        let stale = cell(&ask(&mut client, &question));
        assert_eq!(stale, (100 + number).to_string());
        let (status, answer) = world.proxy.post("/api/v1/cache/invalidate", order);
        assert_eq!(status, 200, "{answer}");
        assert_eq!(cell(&ask(&mut client, &question)), (101 + number).to_string(), "{order}");
    }
    for (order, expected) in [("{}", 400), ("{\"tag\": [\"x\"]}", 400), (r#"{"tags": ["unknown"]}"#, 200)] {
        assert_eq!(world.proxy.post("/api/v1/cache/invalidate", order).0, expected, "{order}");
    }
}

#[test]
fn the_console_shows_the_cache_and_makes_answers_old() {
    let world = World::new(&[]);
    let (mut client, mut direct) = (world.client(), world.direct());
    let mut console = Peer::connect(world.proxy.address());
    console.send(&frontend::startup(&[("user", "ann"), ("database", "pgtally")]));
    let _ = console.frames_until_ready();
    let question = frontend::query(&format!("{COUNT} /* pgtally:cache tags=product */"));
    for (number, command) in ["INVALIDATE TAG product", "INVALIDATE TABLE public.products", "INVALIDATE ALL"]
        .into_iter()
        .enumerate()
    {
        world.warm(&mut client, &question);
        ask(&mut direct, &frontend::query(&format!("INSERT INTO products VALUES ({})", 101 + number)));
        assert_eq!(cell(&ask(&mut client, &question)), (100 + number).to_string());
        assert!(cell(&console.query("SHOW CACHE LIKE 'prod%'")).starts_with("product\0"), "{command}");
        let done = console.query(command);
        assert!(done[0].tag == b'C' && done[0].body.starts_with(b"INVALIDATE "), "{done:?}");
        assert_eq!(cell(&ask(&mut client, &question)), (101 + number).to_string(), "{command}");
    }
    assert_eq!(console.query("INVALIDATE TAG").first().map(|frame| frame.tag), Some(b'E'));
}

#[test]
fn answers_of_the_cache_are_counted_and_timed_apart() {
    let world = World::new(&[]);
    let mut client = world.client();
    let question = cached(COUNT);
    world.warm(&mut client, &question);
    for _ in 0..20 {
        ask(&mut client, &question);
    }
    let hits = world.hits();
    let served = |family: &str| world.proxy.metric_sum(family, "source=\"cache\"");
    assert!((served("pgtally_queries_total") - hits).abs() < 0.5, "{hits}");
    assert!((served("pgtally_query_duration_seconds_count") - hits).abs() < 0.5, "{hits}");
    let seconds = served("pgtally_query_duration_seconds_sum");
    assert!(seconds > 0.0 && seconds < 5.0, "{seconds}");
    assert!(world.proxy.metric_sum("pgtally_queries_total", "source=\"upstream\"") > 0.5);
    // One chunk in 61 is measured, and the first.
    assert!(world.proxy.metric_sum("pgtally_proxy_overhead_seconds_count", "direction=") > 0.5);
}

#[test]
fn a_session_sees_its_own_writes_in_mode_session() {
    let world = World::new(&[("cache.mode", "session")]);
    let (mut client, mut other) = (world.client(), world.client());
    let question = cached(COUNT);
    world.warm(&mut client, &question);
    world.warm(&mut other, &question);
    ask(&mut client, &frontend::query("INSERT INTO products VALUES (101)"));
    assert_eq!(cell(&ask(&mut client, &question)), "101");
}

#[test]
fn a_swallowed_parse_is_there_when_it_is_bound() {
    let world = World::new(&[]);
    let (mut client, mut direct) = (world.client(), world.direct());
    let text = "SELECT name FROM products WHERE id = $1 /* pgtally:cache */";
    let value = |id: &str| [Value::text(id)];
    let question = frontend::extended(text, &[23], &value("1"), false);
    world.warm(&mut client, &question);
    let uncached = frontend::extended("SELECT 'another statement'", &[], &[], false);
    let bind = |id: &str| {
        [frontend::bind("", "", &value(id), false), frontend::execute("", 0), frontend::sync()].concat()
    };
    let describe = [frontend::describe(b'S', ""), frontend::sync()].concat();
    let simple = frontend::query("SELECT name FROM products WHERE id = 3 /* pgtally:cache */");
    world.warm(&mut client, &simple);
    let script: [(&str, Vec<u8>); 9] = [
        ("served", question.clone()),
        ("bound again", bind("2")),
        ("another", uncached),
        ("served over another", question.clone()),
        ("described", describe),
        ("bound after all", bind("4")),
        ("served simple", simple),
        ("gone", bind("5")),
        ("defined again", question.clone()),
    ];
    for (name, question) in script {
        assert_eq!(ask(&mut client, &question), ask(&mut direct, &question), "{name}");
    }
    // Both forms twice, and once more before what nobody has defined may have written anything.
    assert!(world.hits() >= 5.0, "{}", world.hits());
}

#[test]
fn what_changes_an_answer_parts_sessions() {
    let world = World::new(&[("cache.mode", "ttl")]);
    let question = cached("SELECT '2020-02-03'::date, name FROM products WHERE id = 1");
    let mut client = world.client();
    world.warm(&mut client, &question);
    assert!(cell(&ask(&mut client, &question)).starts_with("2020-02-03"));
    ask(&mut client, &frontend::query("SET DateStyle = 'German'"));
    assert!(cell(&ask(&mut client, &question)).starts_with("03.02.2020"));
    ask(&mut client, &frontend::query("BEGIN"));
    ask(&mut client, &frontend::query("SET LOCAL DateStyle = 'ISO'"));
    assert!(cell(&ask(&mut client, &question)).starts_with("2020-02-03"));
    ask(&mut client, &frontend::query("ROLLBACK"));
    assert!(cell(&ask(&mut client, &question)).starts_with("03.02.2020"));
    // Another user's rows are another key, and so are a role's.
    let mut bob = session(world.proxy.address(), "bob");
    let misses =
        |world: &World| world.proxy.metric("pgtally_cache_lookups_total{result=\"miss\",tag=\"product\"}");
    let before = misses(&world);
    ask(&mut bob, &question);
    assert_eq!(misses(&world), before + 1.0);
    ask(&mut world.direct(), &frontend::query("REVOKE SELECT ON products FROM bob"));
    assert!(world.proxy.post("/api/v1/cache/invalidate", r#"{"all": true}"#).0 == 200);
    assert!(ask(&mut bob, &question).iter().any(|frame| frame.tag == b'E'));
}

#[test]
fn a_temporary_table_keeps_its_session_out() {
    let world = World::new(&[]);
    let (mut client, mut other) = (world.client(), world.client());
    let question = cached(COUNT);
    world.warm(&mut client, &question);
    ask(&mut client, &frontend::query("CREATE TEMP TABLE products (id int)"));
    assert_eq!(cell(&ask(&mut client, &question)), "0");
    assert_eq!(cell(&ask(&mut other, &question)), "100");
    world.warm(&mut other, &question);
    assert_eq!(cell(&ask(&mut client, &question)), "0");
}

#[test]
fn reasons_say_why_a_read_was_not_cached() {
    let world = World::new(&[("cache.entry_max", "1KiB")]);
    let mut client = world.client();
    world.warm(&mut client, &cached(COUNT));
    for (text, reason) in [
        ("SELECT random() FROM products", "function"),
        ("SELECT id FROM products FOR UPDATE", "locking"),
        ("SELECT relname FROM pg_class LIMIT 1", "system_catalog"),
        ("SELECT 1; SELECT 2", "several_statements"),
        ("UPDATE products SET id = id", "not_read"),
        ("SELECT id FROM products /* pgtally:nocache */", "hint"),
    ] {
        let before = world.bypassed(reason);
        ask(&mut client, &cached(text));
        assert_eq!(world.bypassed(reason), before + 1, "{text}");
    }
    ask(&mut client, &frontend::query("BEGIN"));
    ask(&mut client, &cached(COUNT));
    ask(&mut client, &frontend::query("COMMIT"));
    assert_eq!(world.bypassed("in_transaction"), 1);
    let long = cached("SELECT repeat(name, 100) FROM products");
    ask(&mut client, &long);
    ask(&mut client, &long);
    assert!(world.proxy.metric("pgtally_cache_fills_total{result=\"too_large\"}") >= 2.0);
    // Nonsense is counted and ignored.
    ask(&mut client, &frontend::query(&format!("{COUNT} /* pgtally:cache ttl=never mode=ttl colour=red */")));
    assert_eq!(world.proxy.json("/api/v1/cache")["nonsense"], 3);
}

#[test]
fn one_session_asks_and_the_others_wait() {
    let world = World::new(&[("cache.wait", "20s")]);
    let mut clients: Vec<Peer> = (0..6).map(|_| world.client()).collect();
    let warming = cached(COUNT);
    clients.iter_mut().for_each(|client| world.warm(client, &warming));
    let filled = || world.proxy.metric("pgtally_cache_fills_total{result=\"stored\"}");
    let (before, hits) = (filled(), world.hits());
    let slow = cached(
        "SELECT count(*) FROM products a, products b, products c, products d WHERE a.id + b.id = c.id",
    );
    clients.iter_mut().for_each(|client| client.send(&slow));
    let answers: Vec<_> = clients.iter_mut().map(Peer::frames_until_ready).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!((filled() - before, world.hits() - hits), (1.0, 5.0));
}

#[test]
fn an_answer_beyond_its_lifetime_serves_while_a_new_one_is_fetched() {
    let world = World::new(&[
        ("cache.mode", "ttl"),
        ("cache.ttl", "1s"),
        ("cache.stale_while_revalidate", "1h"),
        ("cache.wait", "off"),
    ]);
    let (mut first, mut second, mut direct) = (world.client(), world.client(), world.direct());
    let question = cached(COUNT);
    world.warm(&mut first, &question);
    world.warm(&mut second, &question);
    // Its lifetime has to pass.
    std::thread::sleep(Duration::from_millis(1_100));
    for text in ["BEGIN", "INSERT INTO products VALUES (101)", "LOCK TABLE products"] {
        ask(&mut direct, &frontend::query(text));
    }
    first.send(&question);
    let waiting = frontend::query("SELECT 1 FROM pg_locks WHERE NOT granted");
    let mut watcher = world.direct();
    wait_for("the question at the server", || {
        ask(&mut watcher, &waiting).iter().any(|frame| frame.tag == b'D').then_some(())
    });
    assert_eq!(cell(&ask(&mut second, &question)), "100");
    ask(&mut direct, &frontend::query("COMMIT"));
    assert_eq!(cell(&first.frames_until_ready()), "101");
    assert_eq!(cell(&ask(&mut second, &question)), "101");
    assert_eq!(world.proxy.json("/api/v1/cache")["tags"][0]["stale"], 1);
}

#[test]
fn the_server_hears_from_a_session_now_and_then() {
    let world = World::new(&[("cache.keep_alive", "1s")]);
    let mut client = world.client();
    let question = cached(COUNT);
    world.warm(&mut client, &question);
    wait_for("a real question", || {
        ask(&mut client, &question);
        (world.bypassed("keep_alive") > 0).then_some(())
    });
}

#[test]
fn a_crash_of_the_server_empties_the_cache() {
    let world = World::new(&[]);
    let mut client = world.client();
    world.warm(&mut client, &cached(COUNT));
    let mut victim = world.client();
    let pid = cell(&ask(&mut victim, &frontend::query("SELECT pg_backend_pid()")));
    let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    assert!(killed.success());
    wait_for("an empty cache", || (world.proxy.metric("pgtally_cache_entries") == 0.0).then_some(()));
    assert!(world.proxy.metric("pgtally_cache_invalidations_total{cause=\"upstream_lost\"}") >= 1.0);
}
