//! The program as operators meet it: signals, upgrades, what it says and what it keeps to itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cached;
mod crowds;
mod faults;
mod logs;
mod secrets;
mod server;
mod signals;
mod upgrade;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with `args`, and nothing of the environment that could change what it does.
fn pgtally(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgtally"));
    command.args(args).env_remove("DATABASE_URL").env_remove("RUST_LOG");
    command
}

/// `pgtally serve` on free ports, with its log as JSON on a pipe.
fn serve(upstream: SocketAddr) -> Command {
    let mut command = pgtally(&["serve", "--upstream", &upstream.to_string(), "--workers", "2"]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A running program. Dropped, it is gone, with all its successors.
struct Program(Child);

impl Program {
    /// Starts it in a process group of its own, which its successors inherit.
    fn start(command: &mut Command) -> Self {
        Self(command.process_group(0).spawn().unwrap())
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its exit code, once it has ended.
    fn wait(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    /// Its log and that of all its successors; ends with the last of them.
    fn log(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stderr.take().unwrap()).lines().map(Result::unwrap)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nobody is left when the test has passed.
        let kill = format!("kill -s KILL -- -{} 2>/dev/null", self.0.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
        let _ = self.0.wait();
    }
}

/// Where clients connect, and where the admin listener is, once both do.
fn addresses(log: &mut impl Iterator<Item = String>) -> (SocketAddr, SocketAddr) {
    let ready = log.find(|line| line.contains("pgtally is ready")).unwrap();
    let admin = field(&ready, "admin").replace("http://", "").replace('/', "");
    (field(&ready, "listen").parse().unwrap(), admin.parse().unwrap())
}

/// Value of a metric's series, 0 when there is none.
fn metric(admin: SocketAddr, series: &str) -> f64 {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let value = answer.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or(0.0)
}

/// Value of a JSON field that is a text without escapes.
fn field(line: &str, name: &str) -> String {
    let start = line.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
    line[start..].split('"').next().unwrap().to_owned()
}

fn send(signal: &str, process: u32) {
    let kill = format!("kill -{signal} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}
