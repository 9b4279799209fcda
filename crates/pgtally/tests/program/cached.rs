//! The cache over an upgrade: two processes know nothing of each other's writes, and yet nobody is told what is old.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use pgtally_throwaway::Throwaway;

use crate::server::{TERMINATE, message};
use crate::{PATIENCE, Program, addresses, send, serve};

const QUESTION: &str = "SELECT n FROM counters /* pgtally:cache ttl=60s tags=counter */";
const HITS: &str = "pgtally_cache_lookups_total{result=\"hit\",tag=\"counter\"}";

const SUSPENDED: &str = "pgtally_cache_bypass_total{reason=\"upgrade\"}";

/// A session of the superuser.
struct Session(TcpStream);

impl Session {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = Self(stream);
        let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        session.0.write_all(&[&length[..], body].concat()).unwrap();
        session.answer();
        session
    }

    /// First cell of the answer's last row.
    fn ask(&mut self, text: &str) -> String {
        self.0.write_all(&message(b'Q', &[text.as_bytes(), b"\0"].concat())).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut cell = String::new();
        loop {
            let mut header = [0; 5];
            self.0.read_exact(&mut header).unwrap();
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
            let mut body = vec![0; length as usize - 4];
            self.0.read_exact(&mut body).unwrap();
            match header[0] {
                b'E' => panic!("{}", String::from_utf8_lossy(&body)),
                b'D' => cell = String::from_utf8_lossy(&body[6..]).into_owned(),
                b'Z' => return cell,
                _ => {}
            }
        }
    }
}

/// Value of a metric's series, 0 when there is none. Asked again where the process that leaves has taken the question.
fn count(admin: SocketAddr, series: &str) -> f64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        if stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200") {
            let value =
                answer.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
            return value.unwrap_or(0.0);
        }
        assert!(Instant::now() < deadline, "nobody answers the admin listener");
    }
}

/// Asks until an answer comes from the cache of the process that answers the admin listener.
fn warm(session: &mut Session, admin: SocketAddr, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    let before = count(admin, HITS);
    while count(admin, HITS) <= before {
        assert_eq!(session.ask(QUESTION), expected);
        assert!(Instant::now() < deadline, "nothing came from the cache");
    }
}

#[test]
fn two_processes_of_an_upgrade_tell_nobody_what_is_old() {
    let server = Throwaway::builder().start().unwrap();
    let database = SocketAddr::from(([127, 0, 0, 1], server.port()));
    Session::connect(database)
        .ask("CREATE TABLE counters AS SELECT 0 AS n; CREATE ROLE inspector LOGIN; SELECT 1");
    let mut command = serve(database);
    command.env("PGTALLY__CACHE__ENABLED", "on").env("PGTALLY__INSPECT__USER", "inspector");
    let mut first = Program::start(command.env("PGTALLY__CACHE__AMBIGUOUS_HOLD", "300ms"));
    let mut log = first.log();
    let (address, admin) = addresses(&mut log);
    let mut old = Session::connect(address);
    warm(&mut old, admin, "0");

    let mut generations = vec![first.id()];
    let mut sessions = vec![old];
    for _ in 0..2 {
        let process = *generations.last().unwrap();
        send("USR2", process);
        let upgraded = log.find(|line| line.contains("upgraded: a new process serves")).unwrap();
        let number = upgraded.split("\"process\":").nth(1).unwrap();
        generations.push(number.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap());
        // Until then the old process may still take one.
        assert!(log.any(|line| line.contains("no new sessions")));
        let mut session = Session::connect(address);
        // From then on the definitions are known, and nothing else stands against keeping the answer.
        let deadline = Instant::now() + PATIENCE;
        while count(admin, SUSPENDED) < 0.5 {
            assert_eq!(session.ask(QUESTION), "0");
            assert!(Instant::now() < deadline, "the successor does not say why it serves nothing");
        }
        sessions.push(session);
    }
    // One session of each process writes, and those of the others see it at once.
    for value in 1..=9 {
        let count = sessions.len();
        sessions[value % count].ask(&format!("UPDATE counters SET n = {value}"));
        for session in &mut sessions {
            for _ in 0..3 {
                assert_eq!(session.ask(QUESTION), value.to_string());
            }
        }
    }
    assert!(count(admin, HITS) < 0.5);

    // The process in the middle ends first: there is still an old one that may write.
    let mut newest = sessions.pop().unwrap();
    let mut middle = sessions.pop().unwrap();
    middle.0.write_all(TERMINATE).unwrap();
    drop(middle);
    // Longer than the hold, which begins with the end of a process.
    std::thread::sleep(Duration::from_millis(800));
    for value in 10..20 {
        sessions[0].ask(&format!("UPDATE counters SET n = {value}"));
        assert_eq!(newest.ask(QUESTION), value.to_string());
        assert_eq!(newest.ask(QUESTION), value.to_string());
    }
    assert!(count(admin, HITS) < 0.5);
    sessions[0].0.write_all(TERMINATE).unwrap();
    drop(sessions);
    assert_eq!(first.wait(), Some(0));
    warm(&mut newest, admin, "19");
    send("TERM", *generations.last().unwrap());
}

#[test]
fn the_command_that_warms_says_what_it_filled_and_no_secrets() {
    let server = Throwaway::builder().start().unwrap();
    let database = SocketAddr::from(([127, 0, 0, 1], server.port()));
    Session::connect(database)
        .ask("CREATE TABLE counters AS SELECT 0 AS n; CREATE ROLE inspector LOGIN; SELECT 1");
    let mut command = serve(database);
    command.env("PGTALLY__CACHE__ENABLED", "on").env("PGTALLY__INSPECT__USER", "inspector");
    let mut program = Program::start(&mut command);
    let (address, admin) = addresses(&mut program.log());
    let mut session = Session::connect(address);
    // Remembered from its second answer on.
    warm(&mut session, admin, "0");
    warm(&mut session, admin, "0");
    let order = |args: &[&str], url: &str| {
        let output = crate::pgtally(args).args(["--url", url, "--token", "s3cr3t-token"]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let url = format!("http://{admin}");
    assert!(order(&["cache", "invalidate", "--all"], &url).0);
    let (is_done, said) = order(&["cache", "warm", "--tag", "counter", "--max", "5"], &url);
    assert_eq!((is_done, said.as_str()), (true, "1 of 1 answers filled; 0 were good already\n"));
    let before = count(admin, HITS);
    assert_eq!(session.ask(QUESTION), "0");
    assert!(count(admin, HITS) > before);
    let (is_done, said) = order(&["cache", "warm"], "http://127.0.0.1:1");
    assert!(!is_done && said.contains("is pgtally running") && !said.contains("s3cr3t"), "{said}");
    assert!(!order(&["cache", "warm", "--max", "0"], &url).0);
}
