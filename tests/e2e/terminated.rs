//! Terminated authentication with clients that do not play by the rules: each ends its own session, with PostgreSQL's
//! code, and nobody reaches the server.

use std::io::Write;

use pgtally_protocol::sasl;
use support::wire::{Frame, Value, message};
use support::{FakePostgres, Nobody, Peer, TestProxy, backend, frontend};
use tempfile::TempPath;

/// Verifier of RFC 7677's example, whose password is `pencil`.
const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

struct Bench {
    users: TempPath,
    fake: FakePostgres,
    proxy: TestProxy,
}

impl Bench {
    fn new() -> Self {
        let mut users = tempfile::NamedTempFile::new().unwrap();
        writeln!(users, "\"ann\" \"{VERIFIER}\"").unwrap();
        let users = users.into_temp_path();
        let fake = FakePostgres::tcp();
        let settings = [("auth.mode", "terminate"), ("auth.auth_file", users.to_str().unwrap())];
        let proxy = TestProxy::with(fake.address(), &settings);
        Self { users, fake, proxy }
    }

    /// A client of `ann` that has been offered SCRAM.
    fn offered(&self) -> Peer {
        let mut client = Peer::begin(self.proxy.address());
        client.expect(&sasl::authentication_sasl([sasl::SCRAM_SHA_256.as_bytes()]));
        client
    }
}

#[track_caller]
fn check(mut client: Peer, sqlstate: &str) {
    let frame: Frame = client.frame();
    assert_eq!((frame.tag, frame.field(b'C').as_deref()), (b'E', Some(sqlstate)), "{frame:?}");
    assert_eq!(frame.field(b'S').as_deref(), Some("FATAL"));
    assert!(client.rest().is_empty());
}

#[test]
fn malformed_answers_end_their_own_session_with_postgresqls_code() {
    let bench = Bench::new();
    let first = sasl::initial_response(sasl::SCRAM_SHA_256, "n,,n=,r=abc");
    for answer in [
        frontend::query("SELECT 1"),
        message(b'p', b""),
        message(b'p', &[0xff; 900]),
        sasl::initial_response("PLAIN", "secret"),
        sasl::initial_response(sasl::SCRAM_SHA_256_PLUS, "p=tls-server-end-point,,n=,r=abc"),
        sasl::initial_response(sasl::SCRAM_SHA_256, "n,a=root,n=,r=abc"),
        // Announced to be longer than any such message, and not waited for.
        [&b"p"[..], &0x3fff_ffff_u32.to_be_bytes()].concat(),
        [&b"p"[..], &0_u32.to_be_bytes()].concat(),
    ] {
        let mut client = bench.offered();
        client.send(&answer);
        check(client, "08P01");
    }
    for (answer, sqlstate) in
        [("", "08P01"), ("c=biws,r=abc,p=AAAA", "08P01"), ("c=eSws,r=abc,p=AAAA", "28000")]
    {
        let mut client = bench.offered();
        client.send(&first);
        assert_eq!(client.frame().tag, b'R');
        client.send(&sasl::response(answer));
        check(client, sqlstate);
    }
    // One that leaves in the middle.
    drop(bench.offered());
    let mut client = Peer::connect(bench.proxy.address());
    client.send(&frontend::startup(&[("database", "shop")]));
    check(client, "28000");
    let mut client = Peer::connect(bench.proxy.address());
    client.send(&frontend::startup_version(0x2_0000, &[("user", "ann")]));
    check(client, "0A000");
    assert!(bench.proxy.metric("pgtally_upstream_connect_seconds_count") < 0.5, "nobody was reached");
}

/// The challenge of `user`.
fn challenge(proxy: &TestProxy, user: &str) -> String {
    let mut client = Peer::connect(proxy.address());
    client.send(&frontend::startup(&[("user", user)]));
    client.expect(&sasl::authentication_sasl([sasl::SCRAM_SHA_256.as_bytes()]));
    client.send(&sasl::initial_response(sasl::SCRAM_SHA_256, "n,,n=,r=abc"));
    let frame = client.frame();
    let Ok(sasl::Authentication::SaslContinue(text)) = sasl::authentication(&frame.body) else {
        panic!("{frame:?}")
    };
    String::from_utf8(text.to_vec()).unwrap()
}

/// Salt and number of rounds of a challenge.
fn salt(challenge: &str) -> String {
    challenge.split_once(",s=").unwrap().1.to_owned()
}

#[test]
fn replicas_challenge_users_who_do_not_exist_alike() {
    let (one, other) = (Bench::new(), Bench::new());
    let nobody = salt(&challenge(&one.proxy, "nobody"));
    assert_eq!(nobody, salt(&challenge(&other.proxy, "nobody")), "of the same file");
    let with_secret = |verifiers: &str| {
        std::fs::write(&one.users, verifiers).unwrap();
        let settings = [
            ("auth.mode", "terminate"),
            ("auth.auth_file", one.users.to_str().unwrap()),
            ("auth.mock_secret", "correct horse battery"),
        ];
        salt(&challenge(&TestProxy::with(one.fake.address(), &settings), "nobody"))
    };
    let configured = with_secret(&format!("\"ann\" \"{VERIFIER}\"\n"));
    assert_ne!(configured, nobody);
    assert_eq!(configured, with_secret(&format!("\"bob\" \"{VERIFIER}\"\n")), "whatever the file says");
}

#[test]
fn whoever_has_shown_no_password_takes_no_place_of_a_user() {
    let bench = Bench::new();
    let settings = [
        ("auth.mode", "terminate"),
        ("auth.auth_file", bench.users.to_str().unwrap()),
        ("limits.max_sessions_per_user", "1"),
    ];
    let proxy = TestProxy::with(bench.fake.address(), &settings);
    let stranger = || {
        let mut client = Peer::begin(proxy.address());
        client.expect(&sasl::authentication_sasl([sasl::SCRAM_SHA_256.as_bytes()]));
        client
    };
    let _first = stranger();
    let mut second = stranger();
    second.send(&sasl::response("not even a mechanism"));
    check(second, "08P01");
    assert!(proxy.metric_sum("pgtally_sessions_refused_total", "") < 0.5);
}

#[test]
fn users_who_do_not_exist_are_challenged_like_others() {
    let bench = Bench::new();
    let challenge = |user: &str| {
        let text = challenge(&bench.proxy, user);
        (text.len(), salt(&text))
    };
    let (ann, nobody) = (challenge("ann"), challenge("nobody"));
    assert_eq!(ann.0, nobody.0, "the same shape");
    assert!(nobody.1.ends_with(",i=4096"));
    assert_eq!(nobody, challenge("nobody"), "the same salt each time");
    assert_ne!(nobody.1, challenge("somebody").1);
    assert_eq!(ann.1, challenge("ann").1);
}

#[test]
fn a_reload_takes_over_new_verifiers_and_keeps_the_old_ones_on_error() {
    let bench = Bench::new();
    let salt_of = |user: &str| salt(&challenge(&bench.proxy, user));
    let (ann, bob) = (salt_of("ann"), salt_of("bob"));
    assert_ne!(ann, bob);
    std::fs::write(&bench.users, "\"bob\" \"plain text\"\n").unwrap();
    let (status, answer) = bench.proxy.request("POST", "/api/v1/reload");
    assert!(status >= 400 && answer.contains("auth.auth_file"), "{status} {answer}");
    assert!(!answer.contains("plain text"), "{answer}");
    assert_eq!((salt_of("ann"), salt_of("bob")), (ann.clone(), bob.clone()));
    std::fs::write(&bench.users, format!("\"bob\" \"{VERIFIER}\"\n")).unwrap();
    assert_eq!(bench.proxy.request("POST", "/api/v1/reload").0, 200);
    assert_eq!(salt_of("bob"), ann, "bob has the verifier now");
    assert_ne!(salt_of("ann"), ann);
}

#[test]
fn a_server_that_trusts_pgtally_is_a_server() {
    let bench = Bench::new();
    let address = bench.proxy.connection_string("ann", "shop");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fake = &bench.fake;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut upstream, _) = fake.accept_session();
            upstream.send(&backend::greeting());
            let _ = upstream.rest();
        });
        runtime.block_on(async {
            let connect = |password: &str| {
                let config = format!("{address} password={password}");
                async move { tokio_postgres::connect(&config, tokio_postgres::NoTls).await }
            };
            let error = connect("pen").await.err().expect("a refusal");
            assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD));
            let (client, connection) = connect("pencil").await.expect("a session");
            drop(client);
            let _ = connection.await;
        });
    });
}

/// What a client with the right password hears when the server says `words` after its startup packet.
fn with_a_server_that_says(bench: &Bench, words: &[u8]) -> String {
    let config = format!("{} password=pencil", bench.proxy.connection_string("ann", "shop"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut upstream, _) = bench.fake.accept_session();
            upstream.send(words);
            let _ = upstream.rest();
        });
        let connected = runtime.block_on(tokio_postgres::connect(&config, tokio_postgres::NoTls));
        let error = connected.err().expect("a refusal");
        error.code().map(|code| code.code().to_owned()).unwrap_or_default()
    })
}

#[test]
fn a_server_whose_login_cannot_be_followed_is_left() {
    let bench = Bench::new();
    let failures = |reason: &str, count: f64| {
        let series = format!("pgtally_auth_failures_total{{reason=\"{reason}\",side=\"upstream\"}}");
        bench.proxy.wait_for_metric(&series, count);
    };
    // MD5, a list without SCRAM, and the mechanism that nobody can offer without TLS.
    let md5 = message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]);
    let oauth = sasl::authentication_sasl([&b"OAUTHBEARER"[..]]);
    for words in [&md5, &oauth] {
        assert_eq!(with_a_server_that_says(&bench, words), "28P01");
    }
    let plus =
        sasl::authentication_sasl([sasl::SCRAM_SHA_256_PLUS.as_bytes(), sasl::SCRAM_SHA_256.as_bytes()]);
    assert_eq!(with_a_server_that_says(&bench, &plus), "28P01");
    // A message that belongs elsewhere.
    assert_eq!(with_a_server_that_says(&bench, &sasl::authentication_final("v=AAAA")), "28P01");
    failures("unsupported_method", 2.0);
    failures("malformed", 2.0);
    // Messages without end: they are passed on, and who gives up first, pgtally or the client, is a race.
    let endless = backend::parameter_status("a", "b").repeat(1_000);
    let _ = with_a_server_that_says(&bench, &endless);
    // One that announces more than a login has.
    let huge = [&b"R"[..], &0x3fff_ffff_u32.to_be_bytes()].concat();
    assert_eq!(with_a_server_that_says(&bench, &huge), "08006");
    let refusal = backend::report(b'E', "FATAL", "3D000", "database \"shop\" does not exist");
    assert_eq!(with_a_server_that_says(&bench, &refusal), "3D000");
    failures("refused", 1.0);
}

/// A proxy that asks the servers at `upstreams` for verifiers.
fn asking(upstreams: &str) -> TestProxy {
    let settings = [
        ("relay.upstream", upstreams),
        ("auth.mode", "terminate"),
        ("auth.auth_query", "SELECT verifier($1)"),
        ("auth.query_user", "pgtally"),
    ];
    TestProxy::with(Nobody::tcp().address(), &settings)
}

/// Rounds in the challenge of `user`, for whom the server has `verifier`.
fn rounds(proxy: &TestProxy, fake: &FakePostgres, user: &str, verifier: Option<&str>) -> String {
    let mut client = Peer::connect(proxy.address());
    client.send(&frontend::startup(&[("user", user)]));
    let (mut upstream, _) = fake.accept_session();
    upstream.send(&backend::greeting());
    let row = verifier.map(|verifier| backend::data_row(&[Value::text(verifier)]));
    upstream.send(&[row.unwrap_or_default(), backend::done("SELECT 1")].concat());
    client.expect(&sasl::authentication_sasl([sasl::SCRAM_SHA_256.as_bytes()]));
    client.send(&sasl::initial_response(sasl::SCRAM_SHA_256, "n,,n=,r=abc"));
    String::from_utf8_lossy(&client.frame().body).rsplit_once(",i=").unwrap().1.to_owned()
}

#[test]
fn a_server_that_cannot_be_asked_for_verifiers_is_passed_over() {
    let fake = FakePostgres::tcp();
    let nobody = Nobody::tcp();
    let proxy = asking(&format!("{},{}", nobody.address(), fake.address()));
    assert_eq!(rounds(&proxy, &fake, "ann", Some(VERIFIER)), "4096");
}

#[test]
fn users_who_do_not_exist_have_as_many_rounds_as_others() {
    let fake = FakePostgres::tcp();
    let proxy = asking(&fake.address().to_string());
    assert_eq!(rounds(&proxy, &fake, "nobody", None), "4096");
    let costly = VERIFIER.replace("$4096:", "$10000:");
    assert_eq!(rounds(&proxy, &fake, "ann", Some(&costly)), "10000");
    assert_eq!(rounds(&proxy, &fake, "nobody", None), "10000");
    // Someone whose password is older does not lower it: it would tell who is who.
    assert_eq!(rounds(&proxy, &fake, "bob", Some(VERIFIER)), "4096");
    assert_eq!(rounds(&proxy, &fake, "nobody", None), "10000");
}
