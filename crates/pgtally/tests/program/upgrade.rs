//! Upgrades and socket activation of the program: no connection is lost.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use command_fds::{CommandFdExt, FdMapping};

use crate::server::{self, TERMINATE};
use crate::{PATIENCE, Program, addresses, send, serve};

const UPGRADES: usize = 20;
const CLIENTS: usize = 4;

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    server::connect(address, "secret")
}

fn query(stream: &mut TcpStream) -> std::io::Result<()> {
    server::query(stream, "SELECT 1 FROM t")
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

#[test]
fn twenty_upgrades_under_load_lose_no_connection() {
    let directory = tempfile::tempdir().unwrap();
    let notify = directory.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut first = Program::start(serve(server::start()).env("NOTIFY_SOCKET", &notify));
    let mut log = first.log();
    let (address, _) = addresses(&mut log);
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
            let length = loop {
                match manager.recv(&mut state) {
                    // The machine's owner may stop this process for a while.
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    received => break received.unwrap(),
                }
            };
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

    assert!(first.0.try_wait().unwrap().is_none(), "the first process still has its session");
    faithful.write_all(TERMINATE).unwrap();
    drop(faithful);
    assert_eq!(first.wait(), Some(0), "and ends with it");
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
    let mut child = Program::start(serve(server::start()).arg("--config").arg(&file));
    let mut log = child.log();
    let (address, _) = addresses(&mut log);
    std::fs::write(&file, "[relay]\ncolour = 'red'\n").unwrap();
    send("USR2", child.id());
    assert!(log.any(|line| line.contains("not upgraded")));
    let mut session = connect(address).unwrap();
    query(&mut session).unwrap();
    drop(session);
    send("TERM", child.id());
    assert_eq!(child.wait(), Some(0));
}

#[test]
fn a_termination_does_not_wait_for_a_successor() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("acks.toml");
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let mut command = serve(server::start());
    let mut child = Program::start(command.env("PGTALLY__FINDINGS__ACKNOWLEDGEMENTS", &file));
    std::fs::write(&file, "").unwrap();
    let mut log = child.log();
    let _ = addresses(&mut log);
    send("USR2", child.id());
    // Open as soon as the successor reads it, and never at its end.
    let endless = OpenOptions::new().write(true).open(&file).unwrap();
    send("TERM", child.id());
    assert_eq!(child.wait(), Some(0));
    // It ends when the successor has closed it, too.
    let rest: Vec<_> = log.collect();
    assert!(rest.iter().any(|line| line.contains("stopping")), "{rest:?}");
    assert!(!rest.iter().any(|line| line.contains("upgraded")), "{rest:?}");
    drop(endless);
}

#[test]
fn an_upgrade_keeps_the_files_of_unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut child = Program::start(serve(server::start()).arg("--listen").arg(&path));
    let mut log = child.log();
    assert!(log.any(|line| line.contains("pgtally is ready")));
    send("USR2", child.id());
    assert!(log.any(|line| line.contains("upgraded")));
    send("TERM", child.id());
    assert_eq!(child.wait(), Some(0));
    UnixStream::connect(&path).unwrap();
}

#[test]
fn sockets_of_a_service_manager_are_served() {
    let clients = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let (client_address, admin_address) = (clients.local_addr().unwrap(), admin.local_addr().unwrap());
    let mut command = serve(server::start());
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "pgtally.socket:admin");
    let mapping = |parent_fd, child_fd| FdMapping { parent_fd, child_fd };
    command.fd_mappings(vec![mapping(clients.into(), 3), mapping(admin.into(), 4)]).unwrap();
    // Clients may come before the program does.
    let early = thread::spawn(move || query(&mut connect(client_address)?));
    let mut child = Program::start(&mut command);
    drop(command);
    early.join().unwrap().unwrap();
    let mut health = TcpStream::connect(admin_address).unwrap();
    health.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    health.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    send("TERM", child.id());
    assert_eq!(child.wait(), Some(0));
    assert!(TcpStream::connect(client_address).is_err());
}

#[test]
fn an_admin_socket_that_is_open_needs_a_token_too() {
    let admin = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut command = serve(server::start());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "admin");
    command.fd_mappings(vec![FdMapping { parent_fd: admin.into(), child_fd: 3 }]).unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("set admin.token"));
}
