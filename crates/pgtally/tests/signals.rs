//! The program as operators meet it: what it does with signals.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Starts `pgtally serve` on ports of its own, with its log as JSON on standard error.
fn serve() -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgtally"))
        .args(["serve", "--upstream", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--admin", "off"])
        .args(["--log-format", "json"])
        .env_remove("DATABASE_URL")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    (child, lines)
}

fn send(signal: &str, child: &Child) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[test]
fn a_hang_up_is_survived_and_a_termination_ends_in_good_order() {
    let (mut child, mut log) = serve();
    assert!(log.any(|line| line.contains("pgtally is ready")));
    send("HUP", &child);
    assert!(log.any(|line| line.contains("cannot reload")));
    send("TERM", &child);
    assert!(log.any(|line| line.contains("stopping")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
