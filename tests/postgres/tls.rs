//! TLS on both legs, with libpq and a PostgreSQL that has TLS: what is checked, what is refused, what passes.

use std::path::Path;

use pgtally_throwaway::{Builder, Throwaway};
use support::{Attempt, Authority, Identity, Libpq, TestProxy};

use crate::address;

/// The superuser's password.
pub(crate) const PASSWORD: &str = "correct horse";
/// Whether the server's own leg is encrypted.
pub(crate) const SERVER_TLS: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// A builder of servers with this certificate. Always the system's PostgreSQL: not every package has TLS.
pub(crate) fn server_builder(identity: &Identity) -> Builder {
    let directory = std::env::var_os("PGTALLY_TEST_TLS_PG_BIN").map(Into::into);
    let (certificate, key) = identity.pem();
    Throwaway::builder()
        .binaries(directory)
        .password(PASSWORD)
        .file("server.crt", certificate)
        .file("server.key", key)
        .setting("ssl", "on")
        .setting("ssl_cert_file", "../server.crt")
        .setting("ssl_key_file", "../server.key")
}

/// How libpq reaches `proxy` as `postgres`.
pub(crate) fn conninfo(proxy: &TestProxy, more: &str) -> String {
    let base = proxy.connection_string("postgres", "postgres");
    format!("{base} password='{PASSWORD}' connect_timeout=30 {more}")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test")
}

pub(crate) fn connected(is_tls: bool, values: &[&str]) -> Attempt {
    Attempt::Connected { is_tls, values: values.iter().map(|value| (*value).to_owned()).collect() }
}

#[track_caller]
pub(crate) fn assert_refused(attempt: &Attempt, words: &str) {
    match attempt {
        Attempt::Refused(error) if error.contains(words) => {}
        other => panic!("{words:?} was expected: {other:?}"),
    }
}

#[test]
fn upstream_certificates_are_checked_as_libpq_does() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = server_builder(&authority.sign("elsewhere", &["elsewhere.example"])).start().unwrap();
    let mut libpq = Libpq::start();
    let (ours, theirs) = (authority.certificate(), stranger.certificate());
    let mut check = |mode: &str, ca: Option<&Path>, expected: Option<&str>| {
        let mut settings = vec![("tls.upstream_tls", mode)];
        settings.extend(ca.map(|ca| ("tls.upstream_ca", text(ca))));
        let proxy = TestProxy::with(&address(&server), &settings);
        let attempt = libpq.connect(&conninfo(&proxy, "sslmode=disable"), &[SERVER_TLS]);
        match expected {
            Some(is_tls) => assert_eq!(attempt, connected(false, &[is_tls]), "{mode}"),
            None => {
                assert_refused(&attempt, "pgtally cannot establish TLS with the database server");
                proxy.wait_for_metric(
                    "pgtally_tls_handshakes_total{result=\"failed\",side=\"upstream\"}",
                    1.0,
                );
            }
        }
    };
    check("disable", None, Some("f"));
    check("prefer", None, Some("t"));
    check("require", None, Some("t"));
    check("require", Some(&ours), Some("t"));
    check("require", Some(&theirs), None);
    check("prefer", Some(&theirs), None);
    check("verify-ca", Some(&ours), Some("t"));
    check("verify-ca", Some(&theirs), None);
    // The certificate is for another name than 127.0.0.1.
    check("verify-full", Some(&ours), None);
    check("verify-full", Some(&theirs), None);
}

#[test]
fn a_verified_name_gets_through() {
    let authority = Authority::new();
    let server = server_builder(&authority.sign("here", &["127.0.0.1", "localhost"])).start().unwrap();
    let ca = authority.certificate();
    let settings = [("tls.upstream_tls", "verify-full"), ("tls.upstream_ca", text(&ca))];
    let mut libpq = Libpq::start();
    for host in ["127.0.0.1", "localhost"] {
        let upstream = pgtally::Address::Tcp(host.into(), server.port());
        let proxy = TestProxy::with(&upstream, &settings);
        let attempt = libpq.connect(&conninfo(&proxy, "sslmode=disable"), &[SERVER_TLS]);
        assert_eq!(attempt, connected(false, &["t"]), "{host}");
        proxy.wait_for_metric("pgtally_tls_handshakes_total{result=\"ok\",side=\"upstream\"}", 1.0);
    }
}

/// A certificate among the fixtures.
fn fixture(name: &str) -> Identity {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/certificates");
    let path = |ending: &str| folder.join(format!("{name}.{ending}"));
    Identity { certificate: path("crt"), key: path("key") }
}

#[test]
fn certificates_as_postgresqls_documentation_makes_them_are_accepted() {
    let mut libpq = Libpq::start();
    let stranger = Authority::new();
    for (name, authority) in [("version1", "authority"), ("selfsigned", "selfsigned")] {
        let (identity, authority) = (fixture(name), fixture(authority).certificate);
        let server = server_builder(&identity).start().unwrap();
        let theirs = stranger.certificate();
        for (mode, ca, host, expected) in [
            ("require", None, "127.0.0.1", true),
            ("verify-ca", Some(&authority), "127.0.0.1", true),
            ("verify-full", Some(&authority), "localhost", true),
            ("verify-full", Some(&authority), "127.0.0.1", false),
            ("verify-ca", Some(&theirs), "127.0.0.1", false),
        ] {
            let mut settings = vec![("tls.upstream_tls", mode)];
            settings.extend(ca.map(|ca| ("tls.upstream_ca", text(ca))));
            let upstream = pgtally::Address::Tcp(host.into(), server.port());
            let proxy = TestProxy::with(&upstream, &settings);
            let attempt = libpq.connect(&conninfo(&proxy, "sslmode=disable"), &[SERVER_TLS]);
            match expected {
                true => assert_eq!(attempt, connected(false, &["t"]), "{name} {mode} {host}"),
                false => assert_refused(&attempt, "cannot establish TLS"),
            }
        }
        // Shown to clients it is the server's own.
        let settings = [
            ("tls.client_tls", "require"),
            ("tls.certificate", text(&identity.certificate)),
            ("tls.key", text(&identity.key)),
            ("tls.upstream_tls", "require"),
        ];
        let proxy = TestProxy::with(&address(&server), &settings);
        let attempt =
            libpq.connect(&conninfo(&proxy, "sslmode=require channel_binding=require"), &[SERVER_TLS]);
        assert_eq!(attempt, connected(true, &["t"]), "{name}");
    }
}

#[test]
fn other_certificates_than_the_servers_are_found_before_clients_find_them() {
    let authority = Authority::new();
    let own = authority.sign("here", &["127.0.0.1"]);
    let other = authority.sign("other", &["127.0.0.1"]);
    let server = server_builder(&own).start().unwrap();
    let found = |identity: &Identity, upstream_tls: &str, port: u16| {
        let flags = [
            ("relay.upstream", format!("127.0.0.1:{port}")),
            ("tls.certificate", text(&identity.certificate).to_owned()),
            ("tls.key", text(&identity.key).to_owned()),
            ("tls.upstream_tls", upstream_tls.to_owned()),
        ];
        let flags = flags.into_iter().map(|(path, value)| (path, vec![value]));
        let config = pgtally::Config::load(None, [], flags).unwrap();
        pgtally::check_certificates(&config)
    };
    let error = found(&other, "require", server.port()).expect("an error");
    for remedy in ["tls.certificate", "auth.mode", "tls.client_tls", "channel_binding=disable"] {
        assert!(error.hint.contains(remedy), "{error:?}");
    }
    assert_eq!(found(&own, "require", server.port()), None);
    assert_eq!(found(&other, "disable", server.port()), None);
    assert_eq!(found(&other, "require", 1), None, "a server that cannot be reached is no finding");
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let server = Throwaway::builder().password(PASSWORD).start().unwrap();
    let mut libpq = Libpq::start();
    for (mode, expected) in [("prefer", Some("f")), ("require", None)] {
        let proxy = TestProxy::with(&address(&server), &[("tls.upstream_tls", mode)]);
        let attempt = libpq.connect(&conninfo(&proxy, "sslmode=disable"), &[SERVER_TLS]);
        match expected {
            Some(value) => assert_eq!(attempt, connected(false, &[value])),
            None => assert_refused(&attempt, "cannot establish TLS"),
        }
    }
}

#[test]
fn clients_are_encrypted_as_the_setting_wants() {
    let authority = Authority::new();
    let identity = authority.sign("here", &["127.0.0.1"]);
    let server = server_builder(&identity).start().unwrap();
    let mut libpq = Libpq::start();
    for mode in ["disable", "allow", "require"] {
        let settings = [
            ("tls.client_tls", mode),
            ("tls.certificate", text(&identity.certificate)),
            ("tls.key", text(&identity.key)),
        ];
        let proxy = TestProxy::with(&address(&server), &settings);
        let ca = authority.certificate();
        let verified = format!("sslmode=verify-full sslrootcert={}", text(&ca));
        let direct = format!("{verified} sslnegotiation=direct");
        for sslmode in [verified.as_str(), &direct] {
            let attempt = libpq.connect(&conninfo(&proxy, sslmode), &[SERVER_TLS]);
            match mode {
                "disable" => assert!(matches!(attempt, Attempt::Refused(_)), "{attempt:?}"),
                _ => assert_eq!(attempt, connected(true, &["f"]), "{mode} {sslmode}"),
            }
        }
        let attempt = libpq.connect(&conninfo(&proxy, "sslmode=disable"), &[SERVER_TLS]);
        match mode {
            "require" => {
                assert_refused(&attempt, "pgtally accepts no connection without TLS here");
                proxy.wait_for_metric("pgtally_connections_closed_total{reason=\"tls_missing\"}", 1.0);
            }
            _ => assert_eq!(attempt, connected(false, &["f"])),
        }
    }
}

#[test]
fn a_client_certificate_is_shown_to_the_server() {
    let authority = Authority::new();
    let server = server_builder(&authority.sign("here", &["127.0.0.1"]))
        .file("ca.crt", std::fs::read_to_string(authority.certificate()).unwrap())
        .file("hba.conf", "hostssl all all 127.0.0.1/32 cert\n")
        .setting("ssl_ca_file", "../ca.crt")
        .setting("hba_file", "hba.conf")
        .start()
        .unwrap();
    let ours = authority.sign("postgres", &[]);
    let (mut libpq, ca) = (Libpq::start(), authority.certificate());
    let plain = [("tls.upstream_tls", "verify-full"), ("tls.upstream_ca", text(&ca))];
    let proxy = TestProxy::with(&address(&server), &plain);
    let attempt = libpq.connect(&conninfo(&proxy, "sslmode=disable"), &[SERVER_TLS]);
    assert_refused(&attempt, "connection requires a valid client certificate");
    let mut shown = plain.to_vec();
    shown.push(("tls.upstream_certificate", text(&ours.certificate)));
    shown.push(("tls.upstream_key", text(&ours.key)));
    let proxy = TestProxy::with(&address(&server), &shown);
    let attempt = libpq.connect(&conninfo(&proxy, "sslmode=disable"), &[SERVER_TLS]);
    assert_eq!(attempt, connected(false, &["t"]));
}

#[test]
fn big_results_and_statements_pass_through_tls() {
    let authority = Authority::new();
    let identity = authority.sign("here", &["127.0.0.1"]);
    let server = server_builder(&identity).start().unwrap();
    let settings = [
        ("tls.client_tls", "require"),
        ("tls.certificate", text(&identity.certificate)),
        ("tls.key", text(&identity.key)),
        ("tls.upstream_tls", "require"),
    ];
    let proxy = TestProxy::with(&address(&server), &settings);
    let big = "x".repeat(5_000_000);
    let statements = [
        "SELECT length(string_agg(repeat(md5(n::text), 100), '')) FROM generate_series(1, 2000) n",
        "SELECT repeat('0123456789', 2000000)",
        &format!("SELECT md5('{big}')"),
        "SELECT md5(repeat('x', 5000000))",
    ];
    let attempt = Libpq::start().connect(&conninfo(&proxy, "sslmode=require"), &statements);
    let Attempt::Connected { is_tls: true, values } = attempt else { panic!("{attempt:?}") };
    assert_eq!(values[0], "6400000");
    assert!(values[1] == "0123456789".repeat(2_000_000), "{} bytes", values[1].len());
    assert_eq!(values[2], values[3]);
    // Encryption does not make pgtally blind.
    proxy.wait_for_sum("pgtally_queries_total", "kind=\"select\"", 4.0);
}

#[test]
fn clients_of_tls_1_2_bind_too() {
    let authority = Authority::new();
    let identity = authority.sign("here", &["127.0.0.1"]);
    let server = server_builder(&identity).setting("ssl_max_protocol_version", "TLSv1.2").start().unwrap();
    let settings = [
        ("tls.client_tls", "require"),
        ("tls.certificate", text(&identity.certificate)),
        ("tls.key", text(&identity.key)),
        ("tls.upstream_tls", "require"),
    ];
    let proxy = TestProxy::with(&address(&server), &settings);
    let mode = "sslmode=require ssl_max_protocol_version=TLSv1.2 channel_binding=require";
    let statement = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let attempt = Libpq::start().connect(&conninfo(&proxy, mode), &[statement]);
    assert_eq!(attempt, connected(true, &["TLSv1.2"]));
}

#[test]
fn cancel_requests_arrive_with_and_without_tls() {
    let authority = Authority::new();
    let identity = authority.sign("here", &["127.0.0.1"]);
    let server = server_builder(&identity).start().unwrap();
    let mut libpq = Libpq::start();
    let mut count = 0.0;
    let settings = [
        ("tls.client_tls", "allow"),
        ("tls.certificate", text(&identity.certificate)),
        ("tls.key", text(&identity.key)),
        ("tls.upstream_tls", "require"),
    ];
    let proxy = TestProxy::with(&address(&server), &settings);
    // libpq 18 cancels the way it has connected.
    for mode in ["sslmode=require", "sslmode=require sslnegotiation=direct", "sslmode=disable"] {
        let attempt = libpq.connect_and_cancel(&conninfo(&proxy, mode), &["SELECT pg_sleep(60)"]);
        assert_eq!(attempt, connected(!mode.contains("disable"), &["!57014", "cancelled"]), "{mode}");
        count += 1.0;
        proxy.wait_for_metric("pgtally_cancel_requests_total{result=\"forwarded\"}", count);
    }
}

#[test]
fn direct_tls_works_on_both_legs() {
    let authority = Authority::new();
    let identity = authority.sign("here", &["127.0.0.1"]);
    let server = server_builder(&identity).start().unwrap();
    let is_direct =
        server.version().split('.').next().is_some_and(|major| major.parse::<u32>().unwrap() >= 17);
    let ca = authority.certificate();
    let client_leg = [
        ("tls.client_tls", "require"),
        ("tls.certificate", text(&identity.certificate)),
        ("tls.key", text(&identity.key)),
    ];
    // An older server gets a second proxy in front, which knows direct TLS.
    let inner = TestProxy::with(&address(&server), &client_leg);
    let target = if is_direct { address(&server) } else { inner.address().clone() };
    let mut settings = client_leg.to_vec();
    settings.extend([
        ("tls.upstream_tls", "verify-full"),
        ("tls.upstream_ca", text(&ca)),
        ("tls.upstream_negotiation", "direct"),
    ]);
    let proxy = TestProxy::with(&target, &settings);
    let mode = format!("sslmode=verify-full sslrootcert={} sslnegotiation=direct", text(&ca));
    // Both legs have the same certificate.
    let attempt = Libpq::start().connect(&conninfo(&proxy, &mode), &["SELECT 1"]);
    assert!(matches!(attempt, Attempt::Connected { is_tls: true, .. }), "{attempt:?}");
    if is_direct {
        let attempt = Libpq::start()
            .connect(&conninfo(&proxy, &format!("{mode} channel_binding=require")), &[SERVER_TLS]);
        assert_eq!(attempt, connected(true, &["t"]));
    }
    // A server that does not know it is refused in words.
    if !is_direct {
        let proxy = TestProxy::with(&address(&server), &settings);
        let attempt = Libpq::start().connect(&conninfo(&proxy, &mode), &[SERVER_TLS]);
        assert_refused(&attempt, "cannot establish TLS");
    }
}
