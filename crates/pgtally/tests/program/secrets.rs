//! No password, key or literal leaves the program: not in its log at its most talkative, not in metrics, not in the
//! API, not in what it says about its configuration.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{self, message, until_ready};
use crate::{PATIENCE, Program, addresses, field, pgtally, send};

/// Stands wherever something secret can stand.
const SECRET: &str = "hunter2";
const TOKEN: &str = "hunter2hunter2hunter2";

/// Statements with a secret in them, each of which makes findings when it comes often.
const STATEMENTS: [&str; 12] = [
    "ALTER USER ann PASSWORD 'hunter2'",
    "ALTER USER ann WITH ENCRYPTED PASSWORD E'hunter2\\n'",
    "CREATE ROLE bob LOGIN PASSWORD 'SCRAM-SHA-256$4096:hunter2$hunter2:hunter2'",
    "CREATE USER MAPPING FOR ann SERVER far OPTIONS (user 'ann', password 'hunter2')",
    "ALTER SERVER far OPTIONS (SET host 'hunter2.example', SET dbname 'hunter2')",
    "CREATE SUBSCRIPTION s CONNECTION 'host=far password=hunter2' PUBLICATION p",
    "SELECT * FROM dblink('dbname=far password=hunter2', $q$SELECT 'hunter2'$q$) AS t(a text)",
    "SELECT name FROM users WHERE token = U&'hunter2' AND mail = 'hunter2@example.com'",
    "INSERT INTO keys (k) VALUES ('hunter2'), (B'0101'), (X'1F'), ($tag$hunter2$tag$)",
    "DO $$ BEGIN PERFORM set_config('app.key', 'hunter2', true); END $$",
    "SET app.key = 'hunter2'; SELECT name FROM users WHERE key = 'hunter2'",
    "ALTER USER ann PASSWORD 'hunter2' VALID UNTIL 'unterminated",
];

fn use_secrets(address: SocketAddr) {
    let mut stream = server::connect(address, SECRET).unwrap();
    for statement in STATEMENTS {
        for _ in 0..12 {
            server::query(&mut stream, statement).unwrap();
        }
    }
    for number in 0..12 {
        let value = format!("{SECRET}{number}");
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        let bind = [b"\0\0\0\0\0\x01", &length[..], value.as_bytes(), b"\0\0"].concat();
        let group = [
            message(b'P', b"\0SELECT name FROM users WHERE token = $1\0\0\0"),
            message(b'B', &bind),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ];
        stream.write_all(&group.concat()).unwrap();
        until_ready(&mut stream).unwrap();
    }
    // Not a message at all: the session goes blind, which is worth a line in the log.
    stream.write_all(b"hunter2hunter2").unwrap();
}

fn get(admin: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    write!(stream, "{head}Authorization: Bearer {TOKEN}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[track_caller]
fn check(what: &str, text: &str) {
    assert!(!text.contains(SECRET), "{what} tells a secret:\n{text}");
}

#[test]
fn nothing_secret_is_ever_told() {
    let upstream = format!("postgres://ann:{SECRET}@{}/shop?password={SECRET}", server::start());
    let mut command = pgtally(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command
        .args(["--log-format", "json"])
        .env("PGTALLY__RELAY__UPSTREAM", upstream)
        .env("PGTALLY__ADMIN__TOKEN", TOKEN)
        .env("PGTALLY__PROBE__USER", "watcher")
        .env("PGTALLY__PROBE__PASSWORD", SECRET)
        .env("RUST_LOG", "trace")
        .stderr(Stdio::piped());
    let mut child = Program::start(&mut command);
    let mut log = child.log().inspect(|line| check("the log", line));
    let (address, admin) = addresses(&mut log);
    let rest = thread::spawn(move || log.collect::<Vec<_>>().join("\n"));
    use_secrets(address);

    let deadline = Instant::now() + PATIENCE;
    let findings = loop {
        let findings = get(admin, "GET", "/api/v1/findings");
        if findings.contains("\"kind\"") || Instant::now() > deadline {
            break findings;
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!(findings.contains("\"kind\""), "the statements are worth a finding: {findings}");
    check("findings", &findings);
    for path in ["/api/v1/requests", "/api/v1/config", "/metrics", "/readyz", "/", "/nowhere"] {
        let answer = get(admin, "GET", path);
        check(path, &answer);
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{path}: {answer}");
        assert!(!answer.contains("access-control-"), "{path}: {answer}");
    }
    let requests = get(admin, "GET", "/api/v1/requests");
    assert!(requests.contains("ALTER USER"), "normalized statements are there: {requests}");
    let key = field(&requests, "key");
    check("a request", &get(admin, "GET", &format!("/api/v1/requests/{key}")));
    check("a reload", &get(admin, "POST", "/api/v1/reload"));

    send("TERM", child.id());
    assert_eq!(child.wait(), Some(0));
    let log = rest.join().unwrap();
    assert!(log.contains("session ended"), "the log is at its most talkative");
}
