//! Signals, and what is said about the configuration.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::{PATIENCE, Program, addresses, pgtally, send, serve, server};

/// No upstream is needed.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

#[test]
fn a_hang_up_reloads_and_a_termination_ends_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgtally.toml");
    std::fs::write(&file, "").unwrap();
    let mut child = Program::start(serve(nowhere()).arg("--config").arg(&file));
    let mut log = child.log();
    assert!(log.any(|line| line.contains("pgtally is ready")));

    std::fs::write(&file, "[log]\nlevel = 'debug'\n[requests]\nidle_gap = '1s'\n").unwrap();
    send("HUP", child.id());
    let line = log.find(|line| line.contains("configuration reloaded")).unwrap();
    assert!(line.contains(r#""changed":"log.level""#), "{line}");
    assert!(line.contains(r#""restart_needed":"requests.idle_gap""#), "{line}");

    std::fs::write(&file, "[log]\nlevel = 'loud'\ncolour = 'red'\n").unwrap();
    send("HUP", child.id());
    let line = log.find(|line| line.contains("not reloaded")).unwrap();
    assert!(line.contains("log.level") && line.contains("log.colour"), "all errors at once: {line}");

    send("TERM", child.id());
    assert!(log.any(|line| line.contains("stopping")));
    assert_eq!(child.wait(), Some(0));
}

#[test]
fn the_doctor_asks_the_program_and_no_proxy_of_the_environment() {
    let mut child = Program::start(&mut serve(server::start()));
    let (_, admin) = addresses(&mut child.log());
    let mut doctor = pgtally(&["doctor", "--running", "--admin", &admin.to_string()]);
    for name in ["ALL_PROXY", "HTTP_PROXY", "http_proxy"] {
        doctor.env(name, "http://127.0.0.1:1");
    }
    let output = doctor.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// States that arrive at a service manager's socket, one datagram each.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn hear(&self) -> String {
        let mut buffer = [0; 1_024];
        let length = loop {
            match self.0.recv(&mut buffer) {
                // The machine's owner may stop this process for a while.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

#[test]
fn a_service_manager_is_told_how_far_we_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = Manager::at(&path);
    let mut child = Program::start(serve(nowhere()).env("NOTIFY_SOCKET", &path));
    let _log = child.log();
    assert_eq!(manager.hear(), "READY=1\n");
    send("HUP", child.id());
    let reloading = manager.hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.hear(), "READY=1\n");
    send("TERM", child.id());
    assert_eq!(manager.hear(), "STOPPING=1\n");
    assert_eq!(child.wait(), Some(0));
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
