//! Terminated authentication: pgtally checks passwords with verifiers, and the server checks what clients have proved.

use std::io::Write;

use pgtally::Address;
use support::{Attempt, Authority, Libpq, TestProxy};
use tempfile::{NamedTempFile, TempPath};

use crate::address;
use crate::tls::{PASSWORD, SERVER_TLS, assert_refused, connected, conninfo, server_builder, text};

/// How libpq reaches the server itself.
fn direct(server: &Address) -> String {
    let Address::Tcp(host, port) = server else { panic!("a TCP address") };
    format!("host={host} port={port} user=postgres dbname=postgres password='{PASSWORD}'")
}

/// A file with the server's own verifier of `postgres`.
pub(crate) fn auth_file(server: &Address, libpq: &mut Libpq) -> TempPath {
    let question = "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'";
    let Attempt::Connected { values, .. } = libpq.connect(&direct(server), &[question]) else { panic!() };
    file(&format!("\"postgres\" \"{}\"\n", values[0]))
}

fn file(text: &str) -> TempPath {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.into_temp_path()
}

const FAILURES: &str = "pgtally_auth_failures_total";

#[test]
fn wrong_passwords_and_unknown_users_look_alike() {
    let authority = Authority::new();
    let server = server_builder(&authority.sign("here", &["127.0.0.1"])).start().unwrap();
    let mut libpq = Libpq::start();
    let users = auth_file(&address(&server), &mut libpq);
    let settings = [("auth.mode", "terminate"), ("auth.auth_file", text(&users))];
    let proxy = TestProxy::with(&address(&server), &settings);
    for user in ["postgres", "nobody"] {
        let conninfo = format!("{} password=wrong", proxy.connection_string(user, "postgres"));
        let attempt = libpq.connect(&conninfo, &["SELECT 1"]);
        assert_refused(&attempt, &format!("FATAL:  password authentication failed for user \"{user}\""));
    }
    proxy.wait_for_metric(&format!("{FAILURES}{{reason=\"wrong_password\",side=\"client\"}}"), 2.0);
    // None of them has reached the server.
    assert!(proxy.metric("pgtally_upstream_connect_seconds_count") < 0.5);
    let attempt = libpq.connect(&conninfo(&proxy, ""), &["SELECT current_user"]);
    assert_eq!(attempt, connected(false, &["postgres"]));
    // What was not relayed is not missing from what is observed.
    proxy.wait_for_sum("pgtally_queries_total", "kind=\"select\"", 1.0);
    assert!(proxy.metric_sum("pgtally_sessions_blind_total", "") < 0.5);
    let attempt = libpq.connect(&conninfo(&proxy, "dbname=missing"), &[]);
    assert_refused(&attempt, "database \"missing\" does not exist");
}

#[test]
fn a_verifier_out_of_date_is_refused_and_named() {
    let authority = Authority::new();
    let server = server_builder(&authority.sign("here", &["127.0.0.1"])).start().unwrap();
    let mut libpq = Libpq::start();
    let users = auth_file(&address(&server), &mut libpq);
    let change = format!("ALTER ROLE postgres PASSWORD '{PASSWORD}'");
    libpq.connect(&direct(&address(&server)), &[&change]);
    let settings = [("auth.mode", "terminate"), ("auth.auth_file", text(&users))];
    let proxy = TestProxy::with(&address(&server), &settings);
    let attempt = libpq.connect(&conninfo(&proxy, ""), &[]);
    assert_refused(&attempt, "password authentication failed for user \"postgres\"");
    proxy.wait_for_metric(&format!("{FAILURES}{{reason=\"verifier_mismatch\",side=\"upstream\"}}"), 1.0);
}

#[test]
fn verifiers_can_be_asked_for() {
    let authority = Authority::new();
    let identity = authority.sign("here", &["127.0.0.1"]);
    let server = server_builder(&identity).start().unwrap();
    let mut libpq = Libpq::start();
    let roles = [
        "CREATE ROLE ann LOGIN PASSWORD 'secret'",
        "CREATE ROLE late LOGIN PASSWORD 'secret' VALID UNTIL '2001-01-01'",
        "CREATE ROLE none LOGIN",
    ];
    libpq.connect(&direct(&address(&server)), &roles);
    let (ca, password) = (authority.certificate(), file(PASSWORD));
    let query = "SELECT rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin";
    let settings = [
        ("tls.client_tls", "require"),
        ("tls.certificate", text(&identity.certificate)),
        ("tls.key", text(&identity.key)),
        ("tls.upstream_tls", "verify-full"),
        ("tls.upstream_ca", text(&ca)),
        ("auth.mode", "terminate"),
        ("auth.auth_query", query),
        ("auth.query_user", "postgres"),
        ("auth.query_password_file", text(&password)),
    ];
    let proxy = TestProxy::with(&address(&server), &settings);
    let mut attempt = |user: &str, password: &str| {
        let base = proxy.connection_string(user, "postgres");
        let options = "options='-c search_path=attacker' sslmode=require channel_binding=require";
        libpq.connect(&format!("{base} password='{password}' {options}"), &[SERVER_TLS])
    };
    assert_eq!(attempt("ann", "secret"), connected(true, &["t"]));
    for (user, password) in
        [("ann", "wrong"), ("nobody", "secret"), ("none", ""), ("o'neil", "secret"), ("late", "secret")]
    {
        let refused = format!("password authentication failed for user \"{user}\"");
        let attempt = attempt(user, if password.is_empty() { "x" } else { password });
        assert_refused(&attempt, &refused);
    }
    let wrong =
        TestProxy::with(&address(&server), &[&settings[..8], &[("auth.query_password", "wrong")]].concat());
    let refused = libpq.connect(&conninfo(&wrong, "sslmode=require"), &[]);
    assert_refused(&refused, "pgtally cannot check passwords at the moment");
    wrong.wait_for_metric(&format!("{FAILURES}{{reason=\"verifier_unavailable\",side=\"upstream\"}}"), 1.0);
}

#[test]
fn clients_of_newer_protocols_learn_what_the_server_speaks() {
    let authority = Authority::new();
    let server = server_builder(&authority.sign("here", &["127.0.0.1"])).start().unwrap();
    let mut libpq = Libpq::start();
    let users = auth_file(&address(&server), &mut libpq);
    let settings = [("auth.mode", "terminate"), ("auth.auth_file", text(&users))];
    let proxy = TestProxy::with(&address(&server), &settings);
    let attempt = libpq.connect(&conninfo(&proxy, "max_protocol_version=latest"), &["SELECT current_user"]);
    assert_eq!(attempt, connected(false, &["postgres"]));
}
