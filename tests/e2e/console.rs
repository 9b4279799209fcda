//! The SQL console: who gets in, what it shows, simple and extended; and clients that do not play by the rules.

use std::io::Write;

use support::wire::{Frame, message};
use support::{FakePostgres, Peer, TestProxy, backend, frontend};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

/// Verifier of RFC 7677's example, whose password is `pencil`.
const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
const TOKEN: &str = "0123456789abcdef";

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A proxy that has seen one request, with its sessions still open.
fn busy(settings: &[(&'static str, &str)]) -> (TestProxy, FakePostgres, Peer, Peer) {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::with(fake.address(), settings);
    let (mut client, mut upstream) = fake.session(proxy.address());
    for user in 0..3 {
        let query = frontend::query(&format!(
            "SELECT name FROM users WHERE id = {user} /*request_id='7',route='/orders'*/"
        ));
        client.send(&query);
        upstream.expect(&query);
        upstream.send(&backend::done("SELECT 1"));
        let _ = client.frames_until_ready();
    }
    (proxy, fake, client, upstream)
}

async fn connect(
    proxy: &TestProxy,
    user: &str,
    password: &str,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let config = format!("{} password='{password}'", proxy.connection_string(user, "pgtally"));
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A console opened by hand.
fn raw(proxy: &TestProxy) -> Peer {
    let mut client = Peer::connect(proxy.address());
    client.send(&frontend::startup(&[("user", "ann"), ("database", "pgtally")]));
    let frames = client.frames_until_ready();
    assert_eq!((frames[0].tag, frames[0].body.as_slice()), (b'R', &[0, 0, 0, 0][..]), "{frames:?}");
    client
}

fn error_of(frames: &[Frame]) -> (String, String) {
    let frame = frames.iter().find(|frame| frame.tag == b'E').expect("an error");
    (frame.field(b'C').unwrap(), frame.field(b'M').unwrap())
}

#[test]
fn it_shows_what_the_api_shows() {
    let (proxy, _fake, _client, _upstream) = busy(&[]);
    support::wait_for("the request", || {
        proxy.json("/api/v1/routes")["routes"].as_array().filter(|routes| !routes.is_empty()).cloned()
    });
    block_on(async {
        let client = connect(&proxy, "anybody", "").await.unwrap();
        let row = client.query_one("SHOW ROUTES LIKE '/ord%'", &[]).await.unwrap();
        assert_eq!((row.get::<_, &str>("route"), row.get::<_, i64>("queries")), ("/orders", 3));
        assert!((row.get::<_, f64>("queries_p99") - 3.0).abs() < 1e-9);
        assert!(client.query("SHOW ROUTES LIKE $1", &[&"/x%"]).await.unwrap().is_empty());
        assert_eq!(client.query("SHOW ROUTES LIKE $1", &[&"%rder_"]).await.unwrap().len(), 1);
        let statements = client.query("SHOW STATEMENTS", &[]).await.unwrap();
        assert_eq!(statements[0].get::<_, &str>("statement"), "SELECT name FROM users WHERE id = $1");
        assert_eq!(statements[0].get::<_, i64>("calls"), 3);
        let requests = client.query("SHOW REQUESTS", &[]).await.unwrap();
        assert_eq!(requests[0].get::<_, &str>("key"), "request_id:7");
        let sessions = client.query("SHOW SESSIONS", &[]).await.unwrap();
        assert_eq!(sessions.len(), 1, "a console is no session");
        for subject in ["BASELINES", "CACHE", "CONFIG", "FINDINGS", "STATS", "VERSION"] {
            client.query(&format!("SHOW {subject}"), &[]).await.expect(subject);
        }
        let stats = client.query("SHOW STATS LIKE 'queries_total'", &[]).await.unwrap();
        assert!((stats[0].get::<_, f64>("value") - 3.0).abs() < 1e-9);
        client.batch_execute("BEGIN; RELOAD; COMMIT").await.unwrap();
        let error = client.query("DROP TABLE users", &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::SYNTAX_ERROR));
        assert!(error.as_db_error().unwrap().hint().unwrap().contains("SHOW BASELINES|CACHE"));
    });
    assert!((proxy.metric("pgtally_config_reloads_total{result=\"ok\"}") - 1.0).abs() < 1e-9);
    proxy.wait_for_metric("pgtally_connections_closed_total{reason=\"console\"}", 1.0);
}

#[test]
fn simple_queries_are_answered_one_by_one_up_to_the_first_error() {
    let (proxy, ..) = busy(&[]);
    let mut client = raw(&proxy);
    let tags = |frames: &[Frame]| frames.iter().map(|frame| char::from(frame.tag)).collect::<String>();
    assert_eq!(tags(&client.query("SHOW VERSION; SHOW VERSION")), "TDCTDCZ");
    assert_eq!(tags(&client.query("SHOW VERSION; SHOW NOTHING; SHOW VERSION")), "EZ");
    assert_eq!(tags(&client.query("INVALIDATE TAG a; SHOW VERSION")), "EZ");
    assert_eq!(tags(&client.query(";")), "IZ");
    assert_eq!(tags(&client.query("-- nothing")), "IZ");
    assert_eq!(error_of(&client.query("\u{1b}[2J")).0, "42601");
}

#[test]
fn other_databases_are_the_servers_and_the_name_can_be_changed() {
    let fake = FakePostgres::tcp();
    for (setting, database) in [("off", "pgtally"), ("counts", "pgtally"), ("pgtally", "shop")] {
        let proxy = TestProxy::with(fake.address(), &[("console.database", setting)]);
        let mut client = Peer::connect(proxy.address());
        let startup = frontend::startup(&[("user", "ann"), ("database", database)]);
        client.send(&startup);
        assert_eq!(fake.accept_session().1, startup, "{setting}");
    }
    let proxy = TestProxy::with(fake.address(), &[("console.database", "counts")]);
    let mut client = Peer::connect(proxy.address());
    client.send(&frontend::startup(&[("user", "ann"), ("database", "counts")]));
    assert_eq!(client.frames_until_ready()[0].tag, b'R');
}

#[test]
fn with_a_token_the_token_is_the_password() {
    let (proxy, ..) = busy(&[("admin.token", TOKEN)]);
    block_on(async {
        let client = connect(&proxy, "ann", TOKEN).await.unwrap();
        client.batch_execute("RELOAD").await.unwrap();
        let error = connect(&proxy, "ann", "0123456789abcdeF").await.map(drop).expect_err("a refusal");
        assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD));
    });
}

#[test]
fn those_who_may_only_look_see_no_statements_and_change_nothing() {
    let mut users = tempfile::NamedTempFile::new().unwrap();
    for user in ["ann", "bob", "eve"] {
        writeln!(users, "\"{user}\" \"{VERIFIER}\"").unwrap();
    }
    let settings = [
        ("console.admins", "ann"),
        ("console.viewers", "bob"),
        ("console.auth_file", users.path().to_str().unwrap()),
    ];
    let (proxy, ..) = busy(&settings);
    block_on(async {
        let ann = connect(&proxy, "ann", "pencil").await.unwrap();
        let texts = async |client: &tokio_postgres::Client| {
            let rows = client.query("SHOW STATEMENTS", &[]).await.unwrap();
            rows.iter().filter(|row| row.get::<_, Option<&str>>("statement").is_some()).count()
        };
        assert_eq!(texts(&ann).await, 1);
        let bob = connect(&proxy, "bob", "pencil").await.unwrap();
        assert_eq!(texts(&bob).await, 0);
        for command in ["RELOAD", "INVALIDATE ALL"] {
            let error = bob.batch_execute(command).await.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{command}");
        }
        for (user, password, expected) in [
            ("eve", "pencil", SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
            ("bob", "pen", SqlState::INVALID_PASSWORD),
            ("mallory", "pencil", SqlState::INVALID_PASSWORD),
        ] {
            let error = connect(&proxy, user, password).await.map(drop).expect_err(user);
            assert_eq!(error.code(), Some(&expected), "{user}");
        }
    });
}

#[test]
fn without_an_admin_listener_or_from_elsewhere_nobody_is_let_in() {
    let fake = FakePostgres::tcp();
    let header = b"PROXY TCP4 203.0.113.7 203.0.113.8 1 2\r\n";
    let proxy = TestProxy::with(fake.address(), &[("relay.proxy_protocol", "on")]);
    let mut client = Peer::connect(proxy.address());
    client.send(&[&header[..], &frontend::startup(&[("user", "ann"), ("database", "pgtally")])].concat());
    assert_eq!(client.frame().field(b'C').as_deref(), Some("28000"));
    assert!(client.rest().is_empty());
}

#[test]
fn a_client_that_does_not_play_by_the_rules_costs_only_itself() {
    let (proxy, ..) = busy(&[]);
    let long = "x".repeat(300_000);
    for bytes in [
        frontend::query(&long),
        message(b'Q', b"SHOW VERSION"),
        message(b'?', b"what"),
        message(b'Q', b"\xff\xfe\0"),
        [&b"Q"[..], &0x7fff_ffff_u32.to_be_bytes()].concat(),
        [&b"Q"[..], &0_u32.to_be_bytes()].concat(),
        message(b'B', &[0, 0, 0xff, 0xff]),
    ] {
        let mut client = raw(&proxy);
        client.send_until_stuck(&bytes, std::time::Duration::from_millis(200));
        client.finish();
        // It ends, with whatever last word.
        let _ = client.rest();
    }
    // Too few formats for the columns, a portal that is not there, and more names than anybody needs.
    let mut client = raw(&proxy);
    client.send(&frontend::extended("SHOW VERSION", &[], &[], true));
    assert!(client.frames_until_ready().iter().any(|frame| frame.tag == b'D'));
    client.send(&[frontend::execute("nowhere", 0), frontend::sync()].concat());
    assert_eq!(error_of(&client.frames_until_ready()).1, "Portal not found for name: nowhere");
    for name in 0..300 {
        client.send(&frontend::parse(&format!("s{name}"), "SHOW VERSION", &[]));
    }
    client.send(&frontend::sync());
    assert_eq!(error_of(&client.frames_until_ready()).0, "53400");
    let mut client = raw(&proxy);
    assert_eq!(client.query("SHOW VERSION").len(), 4, "others are served");
}
