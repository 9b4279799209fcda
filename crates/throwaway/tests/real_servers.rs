//! Starts real servers from the binaries on this machine and looks at them from outside, through `psql`.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pgtally_throwaway::{Builder, StartError, Throwaway};

/// Set for the child process that [`a_killed_process_leaves_no_server`] kills.
const HOLD_VARIABLE: &str = "PGTALLY_THROWAWAY_TEST_HOLD";

/// A matrix of versions sets the variable.
fn builder() -> Builder {
    Throwaway::builder().binaries(std::env::var_os("PGTALLY_PG_BIN").map(PathBuf::from))
}

fn psql(server: &Throwaway, url: &str, sql: &str) -> Result<String, Box<dyn Error>> {
    let psql = server.binary("psql").ok_or("no psql beside the server")?;
    let output = Command::new(psql).args(["-XAtw", "-c", sql, url]).current_dir("/").output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn settings_log_and_both_sockets_work_and_nothing_remains() -> Result<(), Box<dyn Error>> {
    let server = builder()
        .setting("log_statement", "none")
        .setting("log_statement", "all")
        .setting("log_line_prefix", "%p <%a> ")
        .start()?;
    let over_tcp =
        psql(&server, &server.url("postgres"), "SELECT 'over tcp', current_setting('server_version')")?;
    assert_eq!(over_tcp.split_whitespace().next(), Some("over"));
    assert!(over_tcp.contains(server.version()), "{over_tcp} is not {}", server.version());
    let socket = format!("host={} port={} user=postgres", server.socket_directory().display(), server.port());
    assert_eq!(psql(&server, &socket, "SHOW server_encoding")?, "UTF8");
    let log = fs::read_to_string(server.log_path())?;
    assert!(log.contains("<psql> LOG:  statement: SHOW server_encoding"), "{log}");
    let (directory, pid, port) = (server.directory().to_owned(), server.pid(), server.port());
    assert!(is_alive(pid));
    drop(server);
    assert!(!is_alive(pid));
    assert!(!directory.exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    Ok(())
}

#[test]
fn a_password_is_demanded_with_scram() -> Result<(), Box<dyn Error>> {
    let server = builder().password("s:e/c@r%t'").start()?;
    let sql = "SELECT left(rolpassword, 14) FROM pg_authid WHERE rolname = current_user";
    assert_eq!(psql(&server, &server.url("postgres"), sql)?, "SCRAM-SHA-256$");
    let without = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port());
    let refused = psql(&server, &without, "SELECT 1").expect_err("no password was given");
    assert!(refused.to_string().contains("no password supplied"), "{refused}");
    Ok(())
}

#[test]
fn a_fast_stop_completes_the_log_and_keeps_the_files() -> Result<(), Box<dyn Error>> {
    let mut server = builder().start()?;
    server.stop_fast()?;
    server.stop_fast()?;
    assert!(fs::read_to_string(server.log_path())?.contains("database system is shut down"));
    assert!(!is_alive(server.pid()));
    Ok(())
}

#[test]
fn servers_run_beside_each_other() -> Result<(), Box<dyn Error>> {
    let starts = [(); 3].map(|()| thread::spawn(|| builder().start()));
    let mut ports = Vec::new();
    let mut servers = Vec::new();
    for start in starts {
        let server = start.join().map_err(|_| "a start panicked")??;
        ports.push(server.port());
        servers.push(server);
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), servers.len());
    Ok(())
}

#[test]
fn a_bad_setting_is_explained_by_the_log() {
    let error = builder().setting("work_mem", "plenty").start().expect_err("a bad setting");
    let text = error.to_string();
    let StartError::NotReady { directory, .. } = error else { panic!("another error: {text}") };
    assert!(text.contains("invalid value for parameter \"work_mem\""), "{text}");
    assert!(directory.join("log").is_file(), "kept for a look");
    fs::remove_dir_all(directory).expect("ours to remove");
}

#[test]
fn a_server_that_is_late_is_given_up_and_stopped() -> Result<(), Box<dyn Error>> {
    let error = builder().ready_within(Duration::ZERO).start().expect_err("no server is that fast");
    let text = error.to_string();
    let StartError::NotReady { directory, .. } = error else { panic!("another error: {text}") };
    assert!(text.contains("was not ready after 0ns"), "{text}");
    assert!(!directory.join("data/postmaster.pid").exists(), "it still runs");
    fs::remove_dir_all(directory)?;
    Ok(())
}

#[test]
fn a_directory_without_binaries_is_an_error_with_a_remedy() {
    let error =
        Throwaway::builder().binaries(Some(PathBuf::from("/usr/share"))).start().expect_err("no binaries");
    let text = error.to_string();
    assert!(text.contains("/usr/share (no initdb and postgres in it)"), "{text}");
    assert!(text.contains("install Debian's `postgresql` package"), "{text}");
}

#[test]
fn a_panic_keeps_the_directory() -> Result<(), Box<dyn Error>> {
    let server = builder().start()?;
    let (directory, pid) = (server.directory().to_owned(), server.pid());
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        let _held = server;
        panic!("on purpose");
    }));
    assert!(outcome.is_err());
    assert!(!is_alive(pid));
    assert!(directory.join("log").is_file());
    fs::remove_dir_all(directory)?;
    Ok(())
}

/// The body of the process that the next test kills; does nothing otherwise.
#[test]
fn hold_a_server_when_told_to() -> Result<(), Box<dyn Error>> {
    if std::env::var_os(HOLD_VARIABLE).is_some() {
        let server = builder().start()?;
        println!("\nholding {} {}", server.pid(), server.directory().display());
        thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}

#[test]
fn a_killed_process_leaves_no_server() -> Result<(), Box<dyn Error>> {
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["--exact", "hold_a_server_when_told_to", "--nocapture"])
        .env(HOLD_VARIABLE, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(holder.stdout.take().ok_or("no pipe")?);
    let line = output.lines().map_while(Result::ok).find(|line| line.starts_with("holding "));
    holder.kill()?;
    holder.wait()?;
    let line = line.ok_or("the holder did not start a server")?;
    let mut words = line.split_whitespace().skip(1);
    let pid: u32 = words.next().ok_or("no pid")?.parse()?;
    let directory = Path::new(words.next().ok_or("no directory")?);
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_alive(pid) || directory.exists() {
        assert!(Instant::now() < deadline, "server {pid} or {} outlived its starter", directory.display());
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn a_server_that_was_stopped_starts_again_with_its_data() -> Result<(), Box<dyn Error>> {
    let mut server = builder().setting("log_statement", "all").start()?;
    let (port, pid) = (server.port(), server.pid());
    psql(&server, &server.url("postgres"), "CREATE TABLE kept AS SELECT 7 AS n")?;
    server.start_again()?;
    assert_eq!(server.pid(), pid, "it was running");
    server.stop_fast()?;
    server.start_again()?;
    assert!(!is_alive(pid) && is_alive(server.pid()) && server.port() == port);
    assert_eq!(psql(&server, &server.url("postgres"), "SELECT n FROM kept")?, "7");
    let log = fs::read_to_string(server.log_path())?;
    assert!(log.contains("CREATE TABLE kept") && log.contains("SELECT n FROM kept"), "{log}");
    Ok(())
}
