//! The program as operators meet it: what it does with signals, and what it says about its configuration.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn pgtally(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgtally"));
    command.args(args).env_remove("DATABASE_URL").env_remove("RUST_LOG");
    command
}

/// Starts `pgtally serve` on ports of its own, with its log as JSON on standard error.
fn serve(adapt: impl FnOnce(&mut Command) -> &mut Command) -> (Child, impl Iterator<Item = String>) {
    let mut command =
        pgtally(&["serve", "--upstream", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--admin", "off"]);
    command.args(["--log-format", "json"]).stderr(Stdio::piped());
    adapt(&mut command);
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    (child, lines)
}

fn send(signal: &str, child: &Child) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[test]
fn a_hang_up_reloads_and_a_termination_ends_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgtally.toml");
    std::fs::write(&file, "").unwrap();
    let (mut child, mut log) = serve(|command| command.arg("--config").arg(&file));
    assert!(log.any(|line| line.contains("pgtally is ready")));

    std::fs::write(&file, "[log]\nlevel = 'debug'\n[relay]\nworkers = 3\n").unwrap();
    send("HUP", &child);
    let line = log.find(|line| line.contains("configuration reloaded")).unwrap();
    assert!(line.contains(r#""changed":"log.level""#), "{line}");
    assert!(line.contains(r#""restart_needed":"relay.workers""#), "{line}");

    std::fs::write(&file, "[log]\nlevel = 'loud'\ncolour = 'red'\n").unwrap();
    send("HUP", &child);
    let line = log.find(|line| line.contains("not reloaded")).unwrap();
    assert!(line.contains("log.level") && line.contains("log.colour"), "all errors at once: {line}");

    send("TERM", &child);
    assert!(log.any(|line| line.contains("stopping")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// States that arrive at a service manager's socket, one datagram each.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(socket)
    }

    fn hear(&self) -> String {
        let mut buffer = [0; 1_024];
        let length = self.0.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

#[test]
fn a_service_manager_is_told_how_far_we_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = Manager::at(&path);
    let (mut child, _log) = serve(|command| command.env("NOTIFY_SOCKET", &path));
    assert_eq!(manager.hear(), "READY=1\n");
    send("HUP", &child);
    let reloading = manager.hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.hear(), "READY=1\n");
    send("TERM", &child);
    assert_eq!(manager.hear(), "STOPPING=1\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_configuration_is_checked_with_every_error_at_once() {
    let checked = pgtally(&["check-config", "--workers", "none", "--log-format", "xml"]).output().unwrap();
    assert_eq!(checked.status.code(), Some(64));
    let errors = String::from_utf8(checked.stderr).unwrap();
    assert!(errors.contains("relay.workers") && errors.contains("log.format"), "{errors}");
    assert!(checked.stdout.is_empty());
}

#[test]
fn what_takes_effect_is_printed_and_could_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgtally.toml");
    let check = |args: &[&str]| {
        let checked = pgtally(args).env("PGTALLY__RELAY__KEEPALIVE", "5s").output().unwrap();
        assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
        String::from_utf8(checked.stdout).unwrap()
    };
    let printed = check(&["check-config", "--upstream", "postgres://ann:hunter2@db/shop"]);
    assert!(printed.contains("relay.keepalive = \"5s\"  # PGTALLY__RELAY__KEEPALIVE\n"), "{printed}");
    assert!(printed.contains("relay.upstream = \"postgres://ann:***@db/shop\"  # the command line\n"));
    std::fs::write(&file, &printed).unwrap();
    let again = check(&["check-config", "--config", file.to_str().unwrap()]);
    let values = |text: &str| text.lines().map(|line| line.split("  #").next().unwrap().to_owned()).collect();
    let (first, second): (Vec<String>, Vec<String>) = (values(&printed), values(&again));
    assert_eq!(first, second);
}
