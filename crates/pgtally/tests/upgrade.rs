//! Upgrades and socket activation of the program: no connection is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

const UPGRADES: usize = 20;
const CLIENTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);
/// AuthenticationOk, BackendKeyData and ReadyForQuery.
const GREETING: &[u8] = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x07\0\0\0\x07Z\0\0\0\x05I";
/// CommandComplete and ReadyForQuery.
const ANSWER: &[u8] = b"C\0\0\0\x0dSELECT 0\0Z\0\0\0\x05I";
const QUERY: &[u8] = b"Q\0\0\0\x14SELECT 1 FROM t\0";
const TERMINATE: &[u8] = b"X\0\0\0\x04";
const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0ann\0\0";

/// A server that answers every query with nothing.
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
    let mut startup = [0; STARTUP.len()];
    if stream.read_exact(&mut startup).is_err() || stream.write_all(GREETING).is_err() {
        return;
    }
    let mut query = [0; QUERY.len()];
    while stream.read_exact(&mut query).is_ok() && stream.write_all(ANSWER).is_ok() {}
}

/// A session that has been let in.
fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(STARTUP)?;
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting)?;
    Ok(stream)
}

fn query(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(QUERY)?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, ANSWER);
    Ok(())
}

/// Connects, asks and leaves until told to stop; answers with how often.
fn load(address: SocketAddr, is_over: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let is_over = Arc::clone(is_over);
    thread::spawn(move || {
        let mut sessions = 0;
        while !is_over.load(Ordering::Relaxed) {
            let visit = || {
                let mut stream = connect(address)?;
                query(&mut stream)?;
                query(&mut stream)?;
                stream.write_all(TERMINATE)
            };
            visit().unwrap_or_else(|error| panic!("session {sessions}: {error}"));
            sessions += 1;
        }
        sessions
    })
}

fn send(signal: &str, process: u32) {
    let kill = format!("kill -{signal} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

fn serve(upstream: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgtally"));
    command
        .args([
            "serve",
            "--upstream",
            &upstream.to_string(),
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ])
        .args(["--log-format", "json", "--workers", "2"])
        .env_remove("DATABASE_URL")
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped());
    command
}

/// The log of the first process and of all its successors; ends with the last of them.
fn log_of(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap)
}

/// Value of a field that is a text without escapes.
fn field(line: &str, name: &str) -> String {
    let start = line.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
    line[start..].split('"').next().unwrap().to_owned()
}

#[test]
fn twenty_upgrades_under_load_lose_no_connection() {
    let directory = tempfile::tempdir().unwrap();
    let notify = directory.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut first = serve(upstream()).env("NOTIFY_SOCKET", &notify).spawn().unwrap();
    let mut log = log_of(&mut first);
    let ready = log.find(|line| line.contains("pgtally is ready")).unwrap();
    let address = field(&ready, "listen").parse().unwrap();
    // Read all the time, or the program would wait for room in the pipe.
    let rest = thread::spawn(move || log.collect::<Vec<_>>());
    let mut faithful = connect(address).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS).map(|_| load(address, &is_over)).collect();

    let mut process = first.id();
    for _ in 0..UPGRADES {
        send("USR2", process);
        let successor = loop {
            let mut state = [0; 256];
            let length = manager.recv(&mut state).unwrap();
            let state = String::from_utf8_lossy(&state[..length]).into_owned();
            if let Some(successor) = state.strip_prefix("MAINPID=") {
                break successor.trim().parse().unwrap();
            }
        };
        assert_ne!(successor, process);
        process = successor;
        query(&mut faithful).expect("a session outlives upgrades");
    }
    is_over.store(true, Ordering::Relaxed);
    let sessions: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(sessions > UPGRADES, "only {sessions} sessions: no load");

    assert!(first.try_wait().unwrap().is_none(), "the first process still has its session");
    faithful.write_all(TERMINATE).unwrap();
    drop(faithful);
    assert_eq!(first.wait().unwrap().code(), Some(0), "and ends with it");
    send("TERM", process);
    // It ends when the last process has closed it.
    let rest = rest.join().unwrap();
    assert_eq!(rest.iter().filter(|line| line.contains("upgraded")).count(), UPGRADES);
    assert!(
        !rest.iter().any(|line| line.contains("\"ERROR\"") || line.contains("ending the sessions")),
        "{rest:?}"
    );
}

#[test]
fn a_successor_that_cannot_start_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgtally.toml");
    std::fs::write(&file, "").unwrap();
    let mut child = serve(upstream()).arg("--config").arg(&file).spawn().unwrap();
    let mut log = log_of(&mut child);
    let ready = log.find(|line| line.contains("pgtally is ready")).unwrap();
    std::fs::write(&file, "[relay]\ncolour = 'red'\n").unwrap();
    send("USR2", child.id());
    assert!(log.any(|line| line.contains("not upgraded")));
    let mut session = connect(field(&ready, "listen").parse().unwrap()).unwrap();
    query(&mut session).unwrap();
    drop(session);
    send("TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn sockets_of_a_service_manager_are_served() {
    let clients = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let (client_address, admin_address) = (clients.local_addr().unwrap(), admin.local_addr().unwrap());
    let mut command = serve(upstream());
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "pgtally.socket:admin");
    let mapping = |parent_fd, child_fd| FdMapping { parent_fd, child_fd };
    command.fd_mappings(vec![mapping(clients.into(), 3), mapping(admin.into(), 4)]).unwrap();
    // Clients may come before the program does.
    let early = thread::spawn(move || query(&mut connect(client_address)?));
    let mut child = command.spawn().unwrap();
    drop(command);
    early.join().unwrap().unwrap();
    let mut health = TcpStream::connect(admin_address).unwrap();
    health.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    health.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    send("TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(client_address).is_err());
}

#[test]
fn an_admin_socket_that_is_open_needs_a_token_too() {
    let admin = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut command = serve(upstream());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "admin");
    command.fd_mappings(vec![FdMapping { parent_fd: admin.into(), child_fd: 3 }]).unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("set admin.token"));
}
