//! Many sessions at once: storms of connections, thousands that are idle.

use std::fs;
use std::net::TcpStream;
use std::thread;

use crate::server::{self, connect, query};
use crate::{Program, addresses, send, serve};

/// Resident bytes of a process.
fn resident_bytes(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn five_thousand_idle_sessions_are_cheap_and_others_quick() {
    const SESSIONS: usize = 5_000;
    /// Generous: a session that has run a statement keeps some 9 KiB.
    const SESSION_BYTES_MAX: usize = 24 * 1024;
    let mut child = Program::start(&mut serve(server::start()));
    let mut log = child.log();
    let (address, _) = addresses(&mut log);
    let log = thread::spawn(move || log.count());
    let mut warm = connect(address, "secret").unwrap();
    query(&mut warm, "SELECT 1 FROM t").unwrap();
    let before = resident_bytes(child.id());
    // A storm: all threads connect as fast as they can.
    let open = |count: usize| -> Vec<TcpStream> {
        let one = || {
            let mut stream = connect(address, "secret").unwrap();
            query(&mut stream, "SELECT name FROM users WHERE id = 7").unwrap();
            stream
        };
        (0..count).map(|_| one()).collect()
    };
    let sessions: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| open(SESSIONS / 8))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(sessions.len(), SESSIONS);
    let grown = resident_bytes(child.id()).saturating_sub(before) / SESSIONS;
    assert!(grown < SESSION_BYTES_MAX, "{grown} bytes for each session");
    query(&mut warm, "SELECT 1 FROM t").unwrap();
    drop(sessions);
    drop(warm);
    send("TERM", child.id());
    assert_eq!(child.wait(), Some(0));
    log.join().unwrap();
}
