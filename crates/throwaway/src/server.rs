//! One throwaway server: its process, its directory, and how both end.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::binaries::Binaries;
use crate::watchdog::Watchdog;
use crate::{Builder, StartError};

/// Between two looks at whether the server is ready or gone.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// An immediate stop takes milliseconds, a fast one the checkpoint.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Lines of a log that fit an error message and still hold the cause.
const TAIL_LINES: usize = 15;

/// A running throwaway PostgreSQL with the superuser `postgres`.
///
/// ```no_run
/// let server = pgtally_throwaway::Throwaway::builder().setting("log_statement", "all").start()?;
/// println!("PostgreSQL {} at {}", server.version(), server.url("postgres"));
/// # Ok::<(), pgtally_throwaway::StartError>(())
/// ```
#[derive(Debug)]
pub struct Throwaway {
    binaries: Binaries,
    // `None` once kept.
    temporary: Option<TempDir>,
    directory: PathBuf,
    builder: Builder,
    port: u16,
    process: Option<Child>,
    pid: u32,
    // Dropped after the server has been stopped.
    watchdog: Option<Watchdog>,
}

impl Throwaway {
    /// Starts to describe a server.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(binaries: Binaries, temporary: TempDir, builder: Builder) -> Self {
        let directory = temporary.path().to_owned();
        Self {
            binaries,
            temporary: Some(temporary),
            directory,
            builder,
            port: 0,
            process: None,
            pid: 0,
            watchdog: None,
        }
    }

    /// Starts the process and waits until it accepts connections on `port`.
    pub(crate) fn launch(
        &mut self,
        mut command: Command,
        port: u16,
        ready_within: Duration,
    ) -> Result<(), StartError> {
        // A Ctrl-C in the terminal must reach us, not the server behind our back.
        let child = command.process_group(0).spawn().map_err(StartError::run(self.program("postgres")))?;
        self.pid = child.id();
        self.port = port;
        self.process = Some(child);
        let watchdog = Watchdog::start(self.pid, &self.directory).map_err(StartError::run("/bin/sh"))?;
        self.watchdog = Some(watchdog);
        let deadline = Instant::now() + ready_within;
        while !self.is_ready() {
            if let Some(Ok(Some(status))) = self.process.as_mut().map(Child::try_wait) {
                self.process = None;
                return Err(self.not_ready(format!("ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(format!("was not ready after {ready_within:?}")));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Directory of the Unix socket, to be used as a host name in connection strings.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// Directory with everything of this server.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The server's log: its standard error, readable while it runs.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Version of the server, such as `15.20`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// Process id of the postmaster, also after it has been stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Connection URL of a database, over TCP as the superuser, with the password if there is one.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = self
            .builder
            .password
            .as_deref()
            .map(|text| format!(":{}", percent_encoded(text)))
            .unwrap_or_default();
        format!("postgres://postgres{password}@127.0.0.1:{}/{}", self.port, percent_encoded(database))
    }

    /// Path of a program of the same version, such as `psql` or `pgbench`, if it is installed.
    #[must_use]
    pub fn binary(&self, name: &str) -> Option<PathBuf> {
        Some(self.program(name)).filter(|path| path.is_file())
    }

    /// Keeps the directory when the value is dropped. For callers whose failures are values, not panics.
    pub fn keep(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // The returned path is the one in `directory`.
            drop(temporary.keep());
        }
    }

    /// Stops the server as `pg_ctl stop -m fast` does: sessions are ended, the log is complete afterwards. The
    /// directory stays until the value is dropped.
    ///
    /// # Errors
    ///
    /// When the server does not end within 20 s; it is then killed.
    pub fn stop_fast(&mut self) -> io::Result<()> {
        self.stop(Signal::INT)
    }

    /// Starts the server again after [`Throwaway::stop_fast`], on the same port and data, which may have been changed
    /// meanwhile. Does nothing while it runs.
    ///
    /// # Errors
    ///
    /// When it does not get ready; see [`StartError`].
    pub fn start_again(&mut self) -> Result<(), StartError> {
        if self.process.is_some() {
            return Ok(());
        }
        self.builder.clone().start_again(self)
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.binaries.program(name)
    }

    /// The last line of `postmaster.pid` is the server's own word; the connection proves that the port is ours to use.
    fn is_ready(&self) -> bool {
        let status =
            fs::read_to_string(data_directory(&self.directory).join("postmaster.pid")).unwrap_or_default();
        let is_ready = status.lines().nth(7).is_some_and(|line| line.trim() == "ready");
        is_ready && TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }

    fn not_ready(&mut self, what: String) -> StartError {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let log_tail = tail_of(&String::from_utf8_lossy(&log));
        StartError::NotReady { what, directory: self.directory.clone(), log_tail }
    }

    fn stop(&mut self, signal: Signal) -> io::Result<()> {
        let Some(mut child) = self.process.take() else { return Ok(()) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // The child is not reaped yet, so its id can't belong to anyone else.
            kill_process(pid, signal)?;
        }
        let deadline = Instant::now() + STOP_WITHIN;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "PostgreSQL did not stop and was killed",
                ));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        // Nothing more can be done here; the watchdog's end below does not depend on it.
        let _ = self.stop(Signal::QUIT);
        if thread::panicking() && self.temporary.is_some() {
            self.keep();
            eprintln!("the throwaway PostgreSQL's directory is kept: {}", self.directory.display());
        }
    }
}

pub(crate) fn data_directory(directory: &Path) -> PathBuf {
    directory.join("data")
}

pub(crate) fn tail_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}

/// Encodes whatever could mean something else in a URL.
fn percent_encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use super::{TAIL_LINES, percent_encoded, tail_of};

    #[test]
    fn what_a_url_can_not_hold_is_encoded() {
        assert_eq!(percent_encoded("aZ0").to_string(), "aZ0");
        assert_eq!(percent_encoded("p@s/ä:%").to_string(), "p%40s%2F%C3%A4%3A%25");
    }

    #[test]
    fn a_tail_has_the_last_lines_only() {
        let log: String = (0..40).map(|number| format!("line {number}\n")).collect();
        let tail = tail_of(&log);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 39"));
        assert_eq!(tail_of(""), "");
    }
}
