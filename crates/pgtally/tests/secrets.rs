//! No password, key or literal leaves the program: not in its log at its most talkative, not in metrics, not in the
//! API, not in what it says about its configuration.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Stands wherever something secret can stand.
const SECRET: &str = "hunter2";
const TOKEN: &str = "hunter2hunter2hunter2";
const PATIENCE: Duration = Duration::from_secs(60);

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
    "ALTER USER ann PASSWORD 'hunter2",
];

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

/// A server that asks for a password, lets everybody in, and answers every Query and Sync.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || answer_all(stream));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream) {
    let mut length = [0; 4];
    if stream.read_exact(&mut length).is_err() {
        return;
    }
    let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut startup).unwrap();
    stream.write_all(&message(b'R', &3_u32.to_be_bytes())).unwrap();
    let ready = message(b'Z', b"I");
    loop {
        let mut head = [0; 5];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
        stream.read_exact(&mut body).unwrap();
        let answer = match head[0] {
            b'p' => [message(b'R', &0_u32.to_be_bytes()), ready.clone()].concat(),
            b'Q' if body.ends_with(b"'hunter2\0") => [
                message(b'E', b"SERROR\0C42601\0Munterminated quoted string at 'hunter2'\0\0"),
                ready.clone(),
            ]
            .concat(),
            b'Q' => [message(b'C', b"SELECT 0\0"), ready.clone()].concat(),
            b'P' => message(b'1', b""),
            b'B' => message(b'2', b""),
            b'E' => message(b'C', b"SELECT 0\0"),
            b'S' => ready.clone(),
            _ => Vec::new(),
        };
        stream.write_all(&answer).unwrap();
    }
}

/// Reads messages up to ReadyForQuery.
fn until_ready(stream: &mut TcpStream) {
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
        stream.read_exact(&mut body).unwrap();
        if head[0] == b'Z' {
            return;
        }
    }
}

fn use_secrets(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let startup = b"\0\x03\0\0user\0ann\0options\0-c app.key=hunter2\0\0";
    let length = u32::try_from(startup.len() + 4).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], startup].concat()).unwrap();
    let mut request = [0; 9];
    stream.read_exact(&mut request).unwrap();
    stream.write_all(&message(b'p', b"hunter2\0")).unwrap();
    until_ready(&mut stream);
    for statement in STATEMENTS {
        for _ in 0..12 {
            stream.write_all(&message(b'Q', format!("{statement}\0").as_bytes())).unwrap();
            until_ready(&mut stream);
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
        until_ready(&mut stream);
    }
    // Not a message at all: the session goes blind, which is worth a line in the log.
    stream.write_all(b"hunter2hunter2").unwrap();
}

fn get(admin: &str, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    write!(stream, "{head}Authorization: Bearer {TOKEN}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn field(line: &str, name: &str) -> String {
    let start = line.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
    line[start..].split('"').next().unwrap().to_owned()
}

#[track_caller]
fn check(what: &str, text: &str) {
    assert!(!text.contains(SECRET), "{what} tells a secret:\n{text}");
}

#[test]
fn nothing_secret_is_ever_told() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgtally"))
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"])
        .env_remove("DATABASE_URL")
        .env(
            "PGTALLY__RELAY__UPSTREAM",
            format!("postgres://ann:{SECRET}@{}/shop?password={SECRET}", upstream()),
        )
        .env("PGTALLY__ADMIN__TOKEN", TOKEN)
        .env("PGTALLY__PROBE__USER", "watcher")
        .env("PGTALLY__PROBE__PASSWORD", SECRET)
        .env("RUST_LOG", "trace")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let ready = log.by_ref().find(|line| line.contains("pgtally is ready")).unwrap();
    check("the first line", &ready);
    let rest = thread::spawn(move || log.collect::<Vec<_>>().join("\n"));
    let admin = field(&ready, "admin").replace("http://", "").replace('/', "");
    use_secrets(field(&ready, "listen").parse().unwrap());

    let deadline = Instant::now() + PATIENCE;
    let findings = loop {
        let findings = get(&admin, "GET", "/api/v1/findings");
        if findings.contains("\"kind\"") || Instant::now() > deadline {
            break findings;
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!(findings.contains("\"kind\""), "the statements are worth a finding: {findings}");
    check("findings", &findings);
    for path in ["/api/v1/requests", "/api/v1/config", "/metrics", "/readyz", "/", "/nowhere"] {
        let answer = get(&admin, "GET", path);
        check(path, &answer);
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{path}: {answer}");
        assert!(!answer.contains("access-control-"), "{path}: {answer}");
    }
    let requests = get(&admin, "GET", "/api/v1/requests");
    assert!(requests.contains("ALTER USER"), "normalized statements are there: {requests}");
    let key = field(&requests, "key");
    check("a request", &get(&admin, "GET", &format!("/api/v1/requests/{key}")));
    check("a reload", &get(&admin, "POST", "/api/v1/reload"));

    let kill = format!("kill -TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let log = rest.join().unwrap();
    assert!(log.contains("session ended"), "the log is at its most talkative");
    check("the log", &log);
}
