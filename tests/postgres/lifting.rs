//! Comment lifting (`relay.lift_comments`): a client can't tell, and the server prepares each text once.

use support::wire::{Frame, Value, tags};
use support::{Peer, TestProxy, frontend};

use crate::{address, session, with_each_server};

const SETUP: &str = "CREATE TABLE users (id int PRIMARY KEY, name text); \
    INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 20) n";
const TEXTS: [&str; 4] = [
    "SELECT name FROM users WHERE id = $1",
    "/*+ SeqScan(users) */ SELECT id, name FROM users WHERE id > $1 ORDER BY id LIMIT 3",
    "SELECT 10 / $1::int",
    "INSERT INTO users (id, name) VALUES ($1, 'new') RETURNING id",
];

/// A text as the libraries send it for one request.
fn tagged(text: &str, request: usize) -> String {
    format!("{text} /*route='%2Fusers',traceparent='00-{:032x}-b7ad6b7169203331-01'*/", request + 1)
}

fn lifting(upstream: &pgtally::Address) -> TestProxy {
    TestProxy::with(upstream, &[("relay.lift_comments", "on")])
}

fn run(name: &str, value: usize) -> Vec<u8> {
    [
        frontend::bind("", name, &[Value::text(value)], false),
        frontend::describe(b'P', ""),
        frontend::execute("", 0),
    ]
    .concat()
}

/// Statements that the server has prepared on this session.
fn prepared(peer: &mut Peer) -> String {
    let frames = peer.query("SELECT count(*) FROM pg_prepared_statements");
    String::from_utf8_lossy(&frames[1].body[6..]).into_owned()
}

#[test]
fn one_statement_of_the_server_serves_all_requests() {
    with_each_server(|server| {
        let proxy = lifting(&address(&server));
        let (mut client, _) = session(proxy.address());
        client.query(SETUP);
        for request in 0..12 {
            let name = format!("stmtcache_{request}");
            let text = tagged(TEXTS[0], request);
            client.send(
                &[frontend::parse(&name, &text, &[]), frontend::describe(b'S', &name), frontend::sync()]
                    .concat(),
            );
            assert_eq!(tags(&client.frames_until_ready()), "1tTZ");
            client.send(&[run(&name, request + 1), frontend::sync()].concat());
            let frames = client.frames_until_ready();
            assert_eq!(tags(&frames), "2TDCZ");
            assert!(frames[2].body.ends_with(format!("user {}", request + 1).as_bytes()));
        }
        assert_eq!(prepared(&mut client), "1");
        // Each request still has its own name and its count.
        let requests = proxy.settled_requests(12);
        let is_own = |it: &&serde_json::Value| {
            let first = &it["statements"][0];
            let is_tagged = it["attribution"] == "trace" && it["route"] == "/users";
            is_tagged && first["statement"] == TEXTS[0] && first["count"] == 1
        };
        assert_eq!(requests.iter().filter(is_own).count(), 12, "{requests:?}");
        assert!(proxy.metric("pgtally_lifted_parses_total{result=\"shared\"}") == 11.0);
    });
}

#[test]
fn switched_off_every_text_is_a_statement() {
    with_each_server(|server| {
        let proxy = TestProxy::to(&address(&server));
        let (mut client, _) = session(proxy.address());
        client.query(SETUP);
        for request in 0..3 {
            let text = tagged(TEXTS[0], request);
            client.send(&[frontend::parse(&format!("s{request}"), &text, &[]), frontend::sync()].concat());
            assert_eq!(tags(&client.frames_until_ready()), "1Z");
        }
        assert_eq!(prepared(&mut client), "3");
        let frames = client.query("SELECT statement FROM pg_prepared_statements WHERE name = 's2'");
        assert!(frames[1].body.ends_with(tagged(TEXTS[0], 2).as_bytes()));
    });
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).expect("small")
    }
}

/// What a client sends at once, and how many ReadyForQuery it gets.
///
/// Names are given once, and what is closed or discarded is not used again in the same flight.
fn flight(dice: &mut Dice, number: usize) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let mut groups = 0;
    let old = |dice: &mut Dice| format!("s{}.{}", number.saturating_sub(1 + dice.roll(3)), dice.roll(4));
    let mut closed = Vec::new();
    let mut is_discarded = false;
    for group in 0..=dice.roll(3) {
        let new = format!("s{number}.{group}");
        let mut is_new = false;
        for _ in 0..=dice.roll(4) {
            let name = if is_new && dice.roll(2) == 0 { new.clone() } else { old(dice) };
            let text = tagged(TEXTS[dice.roll(TEXTS.len())], number);
            let step = match dice.roll(10) {
                0..4 if !is_new => {
                    is_new = true;
                    frontend::parse(&new, &text, &[])
                }
                8 => {
                    closed.push(name.clone());
                    frontend::close(b'S', &name)
                }
                9 => [frontend::parse("", &text, &[]), run("", dice.roll(25))].concat(),
                _ if closed.contains(&name) || (is_discarded && name != new) => Vec::new(),
                7 => frontend::describe(b'S', &name),
                _ => run(&name, dice.roll(25)),
            };
            bytes.extend(step);
        }
        groups += 1;
        bytes.extend(match dice.roll(32) {
            0 => {
                is_discarded = true;
                [frontend::sync(), frontend::query("DISCARD ALL")].concat()
            }
            1 => [frontend::sync(), frontend::query(&format!("DEALLOCATE \"{}\"", old(dice)))].concat(),
            2 => [frontend::sync(), frontend::query(&format!("EXECUTE \"{}\"(3)", old(dice)))].concat(),
            3 => [frontend::sync(), frontend::query("BEGIN")].concat(),
            4 => [frontend::sync(), frontend::query("ROLLBACK")].concat(),
            5 => [frontend::sync(), frontend::query("COMMIT")].concat(),
            _ => {
                groups -= 1;
                frontend::sync()
            }
        });
        groups += 1;
    }
    (bytes, groups)
}

/// Answers as a client compares them: where in the text an error is, and what else its text says of names, may differ
/// only in what is documented.
fn answers(peer: &mut Peer, groups: usize) -> Vec<String> {
    let frames = (0..groups).flat_map(|_| peer.frames_until_ready());
    frames.map(|frame| if frame.tag == b'E' { error(&frame) } else { format!("{frame:?}") }).collect()
}

fn error(frame: &Frame) -> String {
    format!("E {:?} {:?}", frame.field(b'C'), frame.field(b'M'))
}

#[test]
fn a_client_gets_the_same_answers_with_and_without_lifting() {
    with_each_server(|server| {
        let upstream = address(&server);
        let proxy = lifting(&upstream);
        session(&upstream).0.query(SETUP);
        let (mut direct, _) = session(&upstream);
        let (mut lifted, _) = session(proxy.address());
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for number in 0..250 {
            let (bytes, groups) = flight(&mut dice, number);
            direct.send(&bytes);
            let expected = answers(&mut direct, groups);
            // What one has inserted the other must not find.
            direct.query("ROLLBACK; TRUNCATE users; INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 20) n");
            // In pieces of any size.
            let size = 1 + dice.roll(bytes.len());
            bytes.chunks(size.max(bytes.len() / 8)).for_each(|piece| lifted.send(piece));
            let found = answers(&mut lifted, groups);
            assert_eq!(found, expected, "flight {number}: {}", bytes.escape_ascii());
            lifted.query("ROLLBACK; TRUNCATE users; INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 20) n");
        }
        let shared = proxy.metric("pgtally_lifted_parses_total{result=\"shared\"}");
        assert!(shared > 25.0, "too few to show anything: {shared}");
    });
}

#[test]
fn drivers_that_flush_and_copy_work() {
    with_each_server(|server| {
        let proxy = lifting(&address(&server));
        let (mut client, _) = session(proxy.address());
        client.query(SETUP);
        for request in 0..3 {
            let name = format!("__asyncpg_stmt_{request}__");
            let text = tagged(TEXTS[0], request);
            let flight =
                [frontend::parse(&name, &text, &[]), frontend::describe(b'S', &name), frontend::flush()];
            client.send(&flight.concat());
            let answers: Vec<Frame> = (0..3).map(|_| client.frame()).collect();
            assert_eq!(tags(&answers), "1tT");
            client.send(&[run(&name, 7), frontend::sync()].concat());
            assert_eq!(tags(&client.frames_until_ready()), "2TDCZ");
        }
        let copy = tagged("COPY users FROM STDIN", 1);
        client.send(&[frontend::parse("", &copy, &[]), frontend::bind("", "", &[], false)].concat());
        client.send(&[frontend::execute("", 0), frontend::sync()].concat());
        let begun: Vec<Frame> = (0..3).map(|_| client.frame()).collect();
        assert_eq!(tags(&begun), "12G");
        client.send(&[frontend::copy_data(b"77\tnew\n"), frontend::copy_done(), frontend::sync()].concat());
        assert_eq!(tags(&client.frames_until_ready()), "CZ");
        client.send(
            &[frontend::parse("late", &tagged(TEXTS[0], 9), &[]), run("late", 77), frontend::sync()].concat(),
        );
        assert_eq!(tags(&client.frames_until_ready()), "12TDCZ");
        assert_eq!(prepared(&mut client), "1");
    });
}

#[test]
fn a_driver_with_a_cache_works() {
    with_each_server(|server| {
        let proxy = lifting(&address(&server));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let config = proxy.connection_string("postgres", "postgres");
            let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            client.batch_execute(SETUP).await.unwrap();
            let mut cache = Vec::new();
            for request in 0..8 {
                let statement = client.prepare(&tagged(TEXTS[0], request)).await.unwrap();
                let rows = client.query(&statement, &[&3_i32]).await.unwrap();
                assert_eq!(rows[0].get::<_, String>(0), "user 3");
                cache.push(statement);
            }
            // The statement that all share is closed first.
            for (gone, statement) in cache.iter().enumerate().skip(1) {
                let rows = client.query(statement, &[&4_i32]).await.unwrap();
                assert_eq!(rows.len(), 1, "{gone}");
            }
            drop(cache.remove(0));
            let last = cache.pop().unwrap();
            drop(cache);
            assert_eq!(client.query(&last, &[&5_i32]).await.unwrap().len(), 1);
            assert_eq!(client.query(&last, &[&6_i32]).await.unwrap().len(), 1);
            drop(client);
            drop(last);
            connection.await.unwrap().unwrap();
        });
    });
}
