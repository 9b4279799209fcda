//! The differential test: the same bytes sent directly and through pgtally get the same messages back, and pgtally
//! counts what was run.

use pgtally::Address;
use support::wire::{Frame, Value};
use support::{Peer, TestProxy, frontend, wait_for};

use crate::{address, session, with_each_server};

const SETUP: &str = "CREATE TABLE users (id int PRIMARY KEY, name text); \
    INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 100) n";

/// What a client sends in one go.
struct Script {
    name: &'static str,
    bytes: Vec<u8>,
    /// ReadyForQuery messages of the answer.
    ready: usize,
    /// Statements that count as queries.
    counted: u64,
}

fn script(name: &'static str, ready: usize, counted: u64, messages: &[Vec<u8>]) -> Script {
    Script { name, bytes: messages.concat(), ready, counted }
}

fn q(text: &str) -> Vec<u8> {
    frontend::query(text)
}

fn simple_scripts() -> Vec<Script> {
    vec![
        script(
            "several statements",
            1,
            2,
            &[q("BEGIN; SELECT name FROM users WHERE id = 7; SELECT 2 FROM users; COMMIT")],
        ),
        script(
            "an error among several",
            1,
            2,
            &[q("SELECT id FROM users; SELECT 1/0 FROM users; SELECT 3 FROM users")],
        ),
        script("empty ones", 3, 0, &[q(""), q(";"), q("-- ping")]),
        script("no SQL", 1, 0, &[q("SELEKT")]),
        script(
            "settings",
            3,
            1,
            &[q("SET timezone = 'UTC'"), q("SHOW timezone"), q("SELECT id FROM users WHERE id = 1")],
        ),
        script("a notice", 1, 1, &[q("DO $$ BEGIN RAISE NOTICE 'look'; END $$")]),
        script("an own notification", 2, 1, &[q("LISTEN mail"), q("NOTIFY mail, 'one'")]),
        script(
            "COPY out",
            1,
            1,
            &[q("COPY (SELECT id, name FROM users WHERE id < 4 ORDER BY id) TO STDOUT")],
        ),
        script(
            "COPY in, sent ahead",
            3,
            3,
            &[
                q("CREATE TEMP TABLE t (id int)"),
                q("COPY t FROM STDIN"),
                frontend::copy_data(b"1\n2\n"),
                frontend::copy_done(),
                q("SELECT count(*) FROM t"),
            ],
        ),
        script(
            "COPY in that fails",
            3,
            3,
            &[
                q("CREATE TEMP TABLE t (id int)"),
                q("COPY t FROM STDIN"),
                frontend::copy_data(b"one\n"),
                frontend::copy_data(b"2\n"),
                frontend::copy_done(),
                q("SELECT count(*) FROM t"),
            ],
        ),
        script(
            "a cursor",
            5,
            2,
            &[
                q("BEGIN"),
                q("DECLARE c CURSOR FOR SELECT id FROM users ORDER BY id"),
                q("FETCH 3 FROM c; FETCH 3 FROM c; MOVE 1 FROM c"),
                q("SELECT name FROM users WHERE id = 2"),
                q("CLOSE c; COMMIT"),
            ],
        ),
        script(
            "a function call",
            2,
            1,
            &[frontend::function_call(1_610), q("SELECT id FROM users WHERE id = 1")],
        ),
        script("a function that is none", 1, 0, &[frontend::function_call(1)]),
        script(
            "COPY out that fails late",
            2,
            2,
            &[
                q("COPY (SELECT 1 / (9000 - n) FROM generate_series(1, 10000) n) TO STDOUT"),
                q("SELECT 1 FROM users"),
            ],
        ),
        script(
            "text that is not UTF-8",
            4,
            3,
            &[
                frontend::query_bytes(b"SELECT '\xff\xfe' FROM users"),
                q("SET client_encoding = 'LATIN1'"),
                frontend::query_bytes(b"SELECT 'caf\xe9' FROM users WHERE id = 1"),
                q("SELECT 1 FROM users WHERE id = 2"),
            ],
        ),
        large_object(),
    ]
}

/// A large object by function calls, as libpq's `lo_…` functions make them.
fn large_object() -> Script {
    const OBJECT: u32 = 424_242;
    let int = |value: u32| value.to_be_bytes().to_vec();
    let call = |oid, arguments: &[Vec<u8>]| frontend::function_call_with(oid, arguments);
    script(
        "a large object",
        10,
        0,
        &[
            q("BEGIN"),
            call(715, &[int(OBJECT)]),
            call(952, &[int(OBJECT), int(0x6_0000)]),
            call(955, &[int(0), vec![7; 100_000]]),
            call(956, &[int(0), int(0), int(0)]),
            call(954, &[int(0), int(60_000)]),
            call(953, &[int(0)]),
            q("SAVEPOINT s"),
            call(964, &[int(OBJECT)]),
            q("COMMIT"),
        ],
    )
}

fn extended_scripts() -> Vec<Script> {
    let by_id = "SELECT name FROM users WHERE id = $1";
    let insert = "INSERT INTO users (id, name) VALUES ($1, 'x') RETURNING id";
    vec![
        script("text", 1, 1, &[frontend::extended(by_id, &[], &[Value::text(5)], false)]),
        script("binary", 1, 1, &[frontend::extended(by_id, &[23], &[Value::Binary(vec![0, 0, 0, 5])], true)]),
        script(
            "pipeline with an error",
            4,
            3,
            &[
                frontend::extended(by_id, &[], &[Value::text(1)], false),
                frontend::parse("", by_id, &[]),
                frontend::bind("", "", &[Value::text("none")], false),
                frontend::execute("", 0),
                frontend::parse("", "SELECT 1 FROM skipped", &[]),
                frontend::sync(),
                frontend::parse("", insert, &[]),
                frontend::bind("", "", &[Value::text(1)], false),
                frontend::execute("", 0),
                frontend::bind("", "", &[Value::text(2)], false),
                frontend::execute("", 0),
                frontend::sync(),
                q("SELECT count(*) FROM users"),
            ],
        ),
        script(
            "a portal in pieces",
            4,
            1,
            &[
                q("BEGIN"),
                frontend::parse("s", "SELECT id FROM users ORDER BY id LIMIT 5", &[]),
                frontend::bind("p", "s", &[], false),
                frontend::describe(b'P', "p"),
                frontend::execute("p", 2),
                frontend::sync(),
                frontend::execute("p", 2),
                frontend::flush(),
                frontend::execute("p", 2),
                frontend::close(b'P', "p"),
                frontend::sync(),
                q("COMMIT"),
            ],
        ),
        script(
            "statements defined anew",
            3,
            2,
            &[
                frontend::parse("s", by_id, &[]),
                frontend::describe(b'S', "s"),
                frontend::close(b'S', "s"),
                frontend::close(b'S', "never defined"),
                frontend::parse("s", "SELECT 7 FROM users WHERE id = $1", &[]),
                frontend::bind("", "s", &[Value::text(1)], false),
                frontend::execute("", 0),
                frontend::sync(),
                frontend::parse("s", by_id, &[]),
                frontend::sync(),
                frontend::bind("", "s", &[Value::text(1)], false),
                frontend::execute("", 0),
                frontend::sync(),
            ],
        ),
        script(
            "COPY in with Syncs on the way",
            2,
            2,
            &[
                q("CREATE TEMP TABLE t (id int)"),
                frontend::parse("", "COPY t FROM STDIN", &[]),
                frontend::bind("", "", &[], false),
                frontend::execute("", 0),
                frontend::copy_data(b"1\n"),
                frontend::sync(),
                frontend::flush(),
                frontend::copy_done(),
                frontend::sync(),
            ],
        ),
        script("an empty statement", 1, 0, &[frontend::extended("", &[], &[], false)]),
    ]
}

/// Everything that comes back, from the login on.
fn play(address: &Address, script: &Script) -> Vec<Frame> {
    let mut peer = Peer::connect(address);
    peer.send(&frontend::startup(&[
        ("user", "postgres"),
        ("database", "postgres"),
        ("application_name", "script"),
    ]));
    let mut frames = peer.frames_until_ready();
    peer.send(&script.bytes);
    for _ in 0..script.ready {
        frames.extend(peer.frames_until_ready());
    }
    peer.send(&frontend::terminate());
    assert!(peer.rest().is_empty(), "{}: something came behind the last ReadyForQuery", script.name);
    frames.iter_mut().for_each(mask);
    frames
}

/// Keys and process ids differ from session to session.
fn mask(frame: &mut Frame) {
    match frame.tag {
        b'K' => frame.body.fill(0),
        b'A' => frame.body[..4].fill(0),
        _ => {}
    }
}

#[test]
fn a_client_cannot_tell_that_pgtally_is_there() {
    with_each_server(|server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        session(&direct).0.query(SETUP);
        let scripts: Vec<_> = simple_scripts().into_iter().chain(extended_scripts()).collect();
        let mut counted = 0;
        for script in &scripts {
            // Twice: the server's caches must not be what makes a difference.
            for _ in 0..2 {
                let expected = play(&direct, script);
                assert_eq!(play(proxy.address(), script), expected, "{}", script.name);
                counted += script.counted;
                wait_for(script.name, || (queries(&proxy) >= counted).then_some(()));
                assert_eq!(queries(&proxy), counted, "counted after {}", script.name);
            }
        }
        assert_eq!(proxy.json("/api/v1/requests")["complete"], true);
        assert!(proxy.metric_sum("pgtally_sessions_blind_total", "") < 0.5);
    });
}

/// Queries of all requests, open ones too.
fn queries(proxy: &TestProxy) -> u64 {
    proxy.requests().iter().filter_map(|request| request["queries"].as_u64()).sum()
}

#[test]
fn notifications_reach_an_idle_client() {
    with_each_server(|server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        let (mut listener, _) = session(proxy.address());
        listener.query("LISTEN mail");
        session(&direct).0.query("NOTIFY mail, 'hello'");
        let frame = listener.frame();
        assert_eq!((frame.tag, &frame.body[4..]), (b'A', &b"mail\0hello\0"[..]));
    });
}

#[test]
fn unix_sockets_work_on_both_sides() {
    with_each_server(|server| {
        let directory = tempfile::tempdir().unwrap();
        let listen = directory.path().join("clients");
        let path = server.socket_directory().join(format!(".s.PGSQL.{}", server.port()));
        let proxy = TestProxy::with(&Address::Unix(path), &[("relay.listen", listen.to_str().unwrap())]);
        let (mut client, _) = session(proxy.address());
        let frames = client.query("SELECT inet_client_addr() IS NULL");
        assert_eq!(frames[1].body.last(), Some(&b't'), "{frames:?}");
    });
}

#[test]
fn protocol_3_2_is_the_servers_to_negotiate() {
    with_each_server(|server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        let begin = |address: &Address| {
            let mut peer = Peer::connect(address);
            let parameters = [("user", "postgres"), ("database", "postgres")];
            peer.send(&frontend::startup_version(0x3_0002, &parameters));
            let frames = peer.frames_until_ready();
            (peer, frames)
        };
        let masked = |mut frames: Vec<Frame>| {
            frames.iter_mut().for_each(mask);
            frames
        };
        let (_, expected) = begin(&direct);
        let (mut client, greeting) = begin(proxy.address());
        let key = greeting.iter().find(|frame| frame.tag == b'K').expect("a key").body.clone();
        assert_eq!(masked(greeting), masked(expected));
        // Keys of PostgreSQL 18 have 32 bytes.
        client.send(&q("SELECT pg_sleep(3600)"));
        let (mut observer, _) = session(&direct);
        let asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        wait_for("the statement to run", || {
            observer.query(asleep).iter().any(|frame| frame.tag == b'D').then_some(())
        });
        let mut canceller = Peer::connect(proxy.address());
        canceller.send(&frontend::cancel_request(&key));
        assert!(canceller.rest().is_empty());
        let frames = client.frames_until_ready();
        let error = frames.iter().find(|frame| frame.tag == b'E').expect("an error");
        assert_eq!(error.field(b'C').as_deref(), Some("57014"));
    });
}
