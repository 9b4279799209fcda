//! A lot at once: storms of connections, thousands of idle sessions, messages as long as they get.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::server::{self, HUGE_BYTES, connect, message, query, send_huge_as, skip_body, until_ready};
use crate::{PATIENCE, Program, addresses, metric, send, serve};

/// Resident bytes of a process.
fn resident_bytes(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Most that a program may grow by while something huge passes.
const GROWTH_MAX: usize = 8 * 1024 * 1024;

#[test]
fn messages_of_a_gibibyte_pass_both_ways_with_flat_memory() {
    let mut program = Program::start(&mut serve(server::start()));
    let mut log = program.log();
    let (address, _) = addresses(&mut log);
    let mut session = connect(address, "secret").unwrap();
    query(&mut session, "SELECT 1 FROM t").unwrap();
    let before = resident_bytes(program.id());

    session.write_all(&message(b'Q', b"COPY files FROM STDIN\0")).unwrap();
    session.read_exact(&mut [0; 8]).unwrap();
    send_huge_as(&mut session, b'd').unwrap();
    session.write_all(&message(b'c', b"")).unwrap();
    until_ready(&mut session).unwrap();

    session.write_all(&message(b'Q', b"SELECT document FROM files\0")).unwrap();
    session.read_exact(&mut [0]).unwrap();
    assert_eq!(skip_body(&mut session), Some(HUGE_BYTES as u64));
    until_ready(&mut session).unwrap();

    let grown = resident_bytes(program.id()).saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    query(&mut session, "SELECT 1 FROM t").unwrap();
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

#[test]
fn connections_that_say_nothing_make_room_for_others() {
    /// As `limits.rs` has it.
    const HALF_OPEN_MAX: usize = 4_096;
    const TOO_MANY: usize = 64;
    let mut child = Program::start(&mut serve(server::start()));
    let mut log = child.log();
    let (address, admin) = addresses(&mut log);
    let mut silent: Vec<_> = (0..HALF_OPEN_MAX + TOO_MANY)
        .map(|_| TcpStream::connect_timeout(&address, PATIENCE).unwrap())
        .collect();
    query(&mut connect(address, "secret").unwrap(), "SELECT 1 FROM t").unwrap();
    // The first ones were closed, and only they.
    for (number, stream) in silent.iter_mut().enumerate().take(TOO_MANY) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{number}");
    }
    let last = silent.last_mut().unwrap();
    last.set_nonblocking(true).unwrap();
    assert_eq!(last.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let line = log.find(|line| line.contains("too many connections that say nothing")).unwrap();
    assert!(line.contains(r#""side":"client""#), "{line}");
    let closed = metric(admin, r#"pgtally_connections_closed_total{reason="half_open_limit"}"#);
    assert!(closed >= TOO_MANY as f64, "{closed}");
}
