//! What the log says by default: text on a terminal and JSON elsewhere, a line for each finding, none for statements.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::{PATIENCE, Program, addresses, field, metric, pgtally, send, server};

/// Requests with the same fault.
const REQUESTS: usize = 30;
/// Statements of each.
const STATEMENTS: usize = 12;

#[test]
fn a_fault_of_many_requests_is_one_line_and_statements_are_none() {
    let mut command = pgtally(&["serve", "--upstream", &server::start().to_string()]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).stderr(Stdio::piped());
    let mut child = Program::start(&mut command);
    let mut log = child.log();
    let (address, admin) = addresses(&mut log);
    let rest = thread::spawn(move || log.collect::<Vec<_>>());
    let mut stream = server::connect(address, "secret").unwrap();
    for request in 0..REQUESTS {
        for _ in 0..STATEMENTS {
            let statement =
                format!("SELECT name FROM users WHERE id = 7 /*request_id='{request}',route='/a'*/");
            server::query(&mut stream, &statement).unwrap();
        }
    }
    drop(stream);
    let deadline = Instant::now() + PATIENCE;
    let of_severity = |severity| {
        metric(admin, &format!("pgtally_findings_total{{kind=\"duplicate\",severity=\"{severity}\"}}"))
            as usize
    };
    let seen = || ["critical", "info", "warning"].map(of_severity).iter().sum::<usize>();
    while seen() < REQUESTS {
        assert!(Instant::now() < deadline, "{} of {REQUESTS} requests have the finding", seen());
        thread::sleep(Duration::from_millis(20));
    }
    send("TERM", child.id());
    assert_eq!(child.wait(), Some(0));
    let lines = rest.join().unwrap();
    assert!(lines.iter().all(|line| line.starts_with("{\"timestamp\":") && line.ends_with('}')), "{lines:?}");
    let findings: Vec<_> = lines.iter().filter(|line| line.contains("\"new finding\"")).collect();
    let duplicates: Vec<_> = findings.iter().filter(|line| field(line, "kind") == "duplicate").collect();
    assert_eq!(duplicates.len(), 1, "{findings:?}");
    assert_eq!(field(duplicates[0], "route"), "/a");
    assert!(
        lines.len() < findings.len() + 10,
        "{} statements, and these lines: {lines:?}",
        REQUESTS * STATEMENTS
    );
}

#[test]
fn people_get_text() {
    let program = env!("CARGO_BIN_EXE_pgtally");
    let serve = format!("{program} serve --upstream 127.0.0.1:1 --listen 127.0.0.1:0 --admin 127.0.0.1:0");
    // It gives the program a terminal.
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &serve, "/dev/null"]).env_remove("RUST_LOG");
    let mut child = Program::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let output = BufReader::new(child.0.stdout.take().unwrap());
    let ready = output.lines().map(Result::unwrap).find(|line| line.contains("pgtally is ready")).unwrap();
    assert!(!ready.starts_with('{') && ready.contains("INFO"), "{ready}");
}
