//! Faults of either peer, as operators meet them: each has a counter and a line in the log that name side and cause, and
//! the session beside it goes on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::server::{self, connect, message, query, until_ready};
use crate::{PATIENCE, Program, addresses, metric, serve};

/// A row that announces more than follows.
const HALF_A_ROW: &[u8] = b"D\0\0\x01\0\0\x01\0\0\0\xf5half";

/// A server that does one thing to every connection.
fn server_that(does: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| does(stream.unwrap())));
    address
}

/// Lets a client in.
fn let_in(stream: &mut TcpStream) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    stream.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize - 4]).unwrap();
    stream.write_all(&message(b'R', &3_u32.to_be_bytes())).unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    stream.write_all(&[message(b'R', &0_u32.to_be_bytes()), message(b'Z', b"I")].concat()).unwrap();
}

/// Breaks a connection, as a crash does.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Runs `session` on a program in front of `upstream` with `settings`; then a line of the log has all of `words`, the end
/// is counted and logged under `side` and `reason`, and what `session` answers with still works.
fn check(
    upstream: SocketAddr,
    settings: &[(&str, &str)],
    session: impl FnOnce(SocketAddr, SocketAddr) -> Option<TcpStream>,
    (side, reason): (&str, &str),
    words: &[&str],
) {
    let mut command = serve(upstream);
    command.env("PGTALLY__LOG__LEVEL", "debug").envs(settings.iter().copied());
    let mut child = Program::start(&mut command);
    let mut log = child.log();
    let (address, admin) = addresses(&mut log);
    let beside = session(address, admin);
    if !words.is_empty() {
        assert!(log.any(|line| words.iter().all(|word| line.contains(word))), "no line with {words:?}");
    }
    let end = ["session ended", reason, side];
    assert!(log.any(|line| end.iter().all(|word| line.contains(word))), "no line with {end:?}");
    let closed = metric(admin, &format!("pgtally_connections_closed_total{{reason=\"{reason}\"}}"));
    assert!((closed - 1.0).abs() < f64::EPSILON, "{closed} closed because of {reason}");
    if let Some(mut beside) = beside {
        query(&mut beside, "SELECT 1 FROM t").unwrap();
    }
}

#[test]
fn an_upstream_that_breaks_off_in_a_message_is_named() {
    let upstream = server_that(|mut stream| {
        let_in(&mut stream);
        let mut tag = [0];
        stream.read_exact(&mut tag).unwrap();
        stream.write_all(HALF_A_ROW).unwrap();
        // A reset overtakes what the receiver has not read; it is to be on its way to the client first.
        stream.read_exact(&mut [0; 4]).unwrap();
        thread::sleep(Duration::from_millis(50));
        reset(stream);
    });
    let session = |address, _| {
        let mut client = connect(address, "secret").unwrap();
        client.write_all(&message(b'Q', b"SELECT 1\0")).unwrap();
        let mut heard = Vec::new();
        let _ = client.read_to_end(&mut heard);
        assert_eq!(heard, HALF_A_ROW, "what it said arrives, and nothing is invented");
        None
    };
    check(
        upstream,
        &[],
        session,
        ("upstream", "upstream_lost"),
        &[r#""side":"upstream""#, "connection lost", "reset"],
    );
}

#[test]
fn a_client_that_breaks_off_in_a_message_is_named() {
    let session = |address, _| {
        let beside = connect(address, "secret").unwrap();
        let mut client = connect(address, "secret").unwrap();
        client.write_all(b"Q\0\0\x01\0SELECT").unwrap();
        reset(client);
        Some(beside)
    };
    let words = [r#""side":"client""#, "connection lost"];
    check(server::start(), &[], session, ("client", "client_lost"), &words);
}

#[test]
fn an_upstream_that_refuses_is_named() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let session = |address, _| {
        let error = connect(address, "secret").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        None
    };
    let words = [r#""side":"upstream""#, "cannot reach the upstream", "refused"];
    check(nobody, &[], session, ("upstream", "upstream_unreachable"), &words);
}

#[test]
fn an_upstream_that_stands_still_before_the_login_is_named() {
    // As a stopped postmaster: the system takes its connections, and nobody answers.
    let stopped = TcpListener::bind("127.0.0.1:0").unwrap();
    let session = |address, _| {
        let mut client = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"\0\0\0\x12\0\x03\0\0user\0ann\0\0").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(answer.windows(6).any(|field| field == b"C08001"), "{answer:?}");
        None
    };
    let words = [r#""side":"upstream""#, "cannot reach the upstream", "timed out"];
    let settings = [("PGTALLY__TLS__UPSTREAM_TLS", "require"), ("PGTALLY__RELAY__CONNECT_TIMEOUT", "200ms")];
    check(stopped.local_addr().unwrap(), &settings, session, ("upstream", "upstream_unreachable"), &words);
}

#[test]
fn a_client_that_stands_still_in_its_startup_is_named() {
    let session = |address, _| {
        let beside = connect(address, "secret").unwrap();
        let mut client = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"\0\0\0\x12\0\x03").unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        Some(beside)
    };
    let settings = [("PGTALLY__RELAY__STARTUP_TIMEOUT", "2s")];
    check(server::start(), &settings, session, ("client", "startup_timeout"), &[]);
}

/// More than the buffers of all sockets on the way hold.
const MEGABYTES: usize = 64 * 1024 * 1024;

/// Waits until this side is counted as one that takes nothing.
fn until_stalled(admin: SocketAddr, side: &str) {
    let gauge = format!("pgtally_sessions_stalled{{side=\"{side}\"}}");
    let deadline = Instant::now() + PATIENCE;
    while metric(admin, &gauge) < 0.5 {
        assert!(Instant::now() < deadline, "{side} takes nothing, and nobody says so");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_client_that_takes_nothing_is_named() {
    let upstream = server_that(|mut stream| {
        let_in(&mut stream);
        // A session of its own: the one beside it is served meanwhile.
        thread::spawn(move || {
            while let Ok(()) = stream.read_exact(&mut [0; 6]) {
                let mut text = Vec::new();
                while text.last() != Some(&0) {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    text.push(byte[0]);
                }
                let rows = if text.starts_with(b"ELECT big") { MEGABYTES } else { 0 };
                // Whoever takes nothing breaks off in the end.
                let _ = stream.write_all(&message(b'd', &vec![b'x'; rows]));
                let _ = stream.write_all(&[message(b'C', b"SELECT 0\0"), message(b'Z', b"I")].concat());
            }
        });
    });
    let session = |address, admin| {
        let beside = connect(address, "secret").unwrap();
        let mut client = connect(address, "secret").unwrap();
        client.write_all(&message(b'Q', b"SELECT big\0")).unwrap();
        until_stalled(admin, "client");
        reset(client);
        Some(beside)
    };
    let words = [r#""side":"client""#, "takes nothing"];
    check(upstream, &[], session, ("client", "client_lost"), &words);
}

#[test]
fn an_upstream_that_takes_nothing_is_named() {
    let (end, ends) = mpsc::channel::<()>();
    let ends = Mutex::new(ends);
    let upstream = server_that(move |mut stream| {
        let_in(&mut stream);
        let _ = ends.lock().unwrap().recv();
        reset(stream);
    });
    let session = |address, admin| {
        let mut client = connect(address, "secret").unwrap();
        thread::spawn(move || drop(client.write_all(&message(b'd', &vec![b'x'; MEGABYTES]))));
        until_stalled(admin, "upstream");
        end.send(()).unwrap();
        None
    };
    let words = [r#""side":"upstream""#, "takes nothing"];
    check(upstream, &[], session, ("upstream", "upstream_closed"), &words);
}

#[test]
fn a_refused_login_is_named() {
    let upstream = server_that(|mut stream| {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        stream.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize - 4]).unwrap();
        stream.write_all(&message(b'E', b"SFATAL\0VFATAL\0C28P01\0Mno\0\0")).unwrap();
    });
    let session = |address, _| {
        assert!(connect(address, "secret").is_err());
        None
    };
    let words = [r#""side":"upstream""#, "refused a login", "wrong_password"];
    check(upstream, &[], session, ("upstream", "upstream_closed"), &words);
}

#[test]
fn a_server_that_ends_in_good_order_is_named() {
    let upstream = server_that(|mut stream| {
        let_in(&mut stream);
        stream.write_all(&message(b'E', b"SFATAL\0VFATAL\0C57P01\0Mgone\0\0")).unwrap();
    });
    let session = |address, _| {
        let mut client = connect(address, "secret").unwrap();
        assert!(until_ready(&mut client).is_err());
        None
    };
    check(upstream, &[], session, ("upstream", "upstream_closed"), &[]);
}
