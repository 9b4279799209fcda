//! What a caller may choose about a throwaway server, and the two commands made from it: `initdb` and `postgres`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::server::{Throwaway, tail_of};
use crate::{StartError, server};

/// Ports tried, because another process may take a free port between our look and PostgreSQL's bind.
const PORT_ATTEMPTS: u32 = 5;

/// A machine under load takes many times the usual tenth of a second.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The cluster is thrown away, so nothing needs to survive a crash of the machine.
const FAST_SETTINGS: [(&str, &str); 4] = [
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "64MB"),
];

/// Choices for a [`Throwaway`]; see [`Throwaway::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    binaries: Option<PathBuf>,
    files: Vec<(String, String)>,
    pub(crate) password: Option<String>,
    ready_within: Duration,
    settings: Vec<(String, String)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            binaries: None,
            files: Vec::new(),
            password: None,
            ready_within: READY_WITHIN,
            settings: Vec::new(),
        }
    }
}

impl Builder {
    /// Takes the server binaries from this directory and from nowhere else; `None` looks for them.
    #[must_use]
    pub fn binaries(mut self, directory: Option<PathBuf>) -> Self {
        self.binaries = directory;
        self
    }

    /// Lays a file that only the server can read beside its data: settings such as `hba_file` can name it as `name`,
    /// and those that are relative to the data, such as `ssl_key_file`, as `../name`.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.files.push((name.into(), text.into()));
        self
    }

    /// Demands this password (`scram-sha-256`) on every connection. Without it everyone is trusted.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Gives up when the server is not ready after this time; 60 s by default.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// Sets a server setting such as `log_statement`. Of two values for one name the later wins.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Makes the cluster, starts the server and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// When there are no binaries, or the cluster can't be made or does not get ready; see [`StartError`]. The
    /// cluster's directory is kept when its content can explain the failure.
    pub fn start(self) -> Result<Throwaway, StartError> {
        let account = Account::choose()?;
        let binaries = Binaries::find(self.binaries.as_deref(), account)?;
        // Not TMPDIR: a Unix socket's path has room for 107 bytes, and the account must be able to enter it.
        let directory = tempfile::Builder::new()
            .prefix("pgtally-")
            .tempdir_in("/tmp")
            .map_err(StartError::prepare("/tmp"))?;
        account.own(directory.path()).map_err(StartError::prepare(directory.path()))?;
        for (name, text) in &self.files {
            let path = directory.path().join(name);
            write_private(&path, text, account).map_err(StartError::prepare(&path))?;
        }
        let directory = self.make_cluster(&binaries, account, directory)?;
        self.start_on_free_port(binaries, account, directory, free_port)
    }

    /// Starts `server`, which was stopped, on the port that it had.
    pub(crate) fn start_again(&self, server: &mut Throwaway) -> Result<(), StartError> {
        let command = self.server_command(server, Account::choose()?, server.port())?;
        server.launch(command, server.port(), self.ready_within)
    }

    fn make_cluster(
        &self,
        binaries: &Binaries,
        account: Account,
        directory: TempDir,
    ) -> Result<TempDir, StartError> {
        let program = binaries.program("initdb");
        let mut command = Command::new(&program);
        account.apply(&mut command, directory.path());
        command.arg("--pgdata").arg(server::data_directory(directory.path())).args([
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        match &self.password {
            None => {
                command.arg("--auth=trust");
            }
            Some(password) => {
                let file = directory.path().join("password");
                write_private(&file, password, account).map_err(StartError::prepare(&file))?;
                command.arg("--auth=scram-sha-256").arg("--pwfile").arg(file);
            }
        }
        let output = command.output().map_err(StartError::run(program))?;
        if output.status.success() {
            return Ok(directory);
        }
        let said = [output.stdout, output.stderr].concat();
        Err(StartError::Initdb {
            status: output.status,
            directory: directory.keep(),
            output_tail: tail_of(&String::from_utf8_lossy(&said)),
        })
    }

    fn start_on_free_port(
        &self,
        binaries: Binaries,
        account: Account,
        directory: TempDir,
        mut free_port: impl FnMut() -> io::Result<u16>,
    ) -> Result<Throwaway, StartError> {
        let mut server = Throwaway::new(binaries, directory, self.clone());
        let mut attempt = 0;
        loop {
            attempt += 1;
            let port = free_port().map_err(StartError::prepare("a free port"))?;
            let command = self.server_command(&server, account, port)?;
            match server.launch(command, port, self.ready_within) {
                Err(StartError::NotReady { log_tail, .. })
                    if attempt < PORT_ATTEMPTS
                        && log_tail.contains("could not create any TCP/IP sockets") => {}
                Err(error) => {
                    server.keep();
                    return Err(error);
                }
                Ok(()) => return Ok(server),
            }
        }
    }

    fn server_command(&self, server: &Throwaway, account: Account, port: u16) -> Result<Command, StartError> {
        // A server that is started again goes on with its log.
        let log = File::options().create(true).append(true).open(server.log_path());
        let log = log.map_err(StartError::prepare(server.log_path()))?;
        let also_log = log.try_clone().map_err(StartError::prepare(server.log_path()))?;
        let mut command = Command::new(server.program("postgres"));
        account.apply(&mut command, server.directory());
        command.arg("-D").arg(server::data_directory(server.directory()));
        let mut set = |name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        set("listen_addresses", "127.0.0.1");
        set("unix_socket_directories", &server.directory().to_string_lossy());
        for (name, value) in FAST_SETTINGS {
            set(name, value);
        }
        for (name, value) in &self.settings {
            set(name, value);
        }
        set("port", &port.to_string());
        command.stdin(Stdio::null()).stdout(log).stderr(also_log);
        Ok(command)
    }
}

/// Writes a file that only `account` (and root) can read.
fn write_private(path: &Path, text: &str, account: Account) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    account.own(path)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_taken_meanwhile_is_replaced() -> Result<(), Box<dyn std::error::Error>> {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let taken = other.local_addr()?.port();
        let account = Account::choose()?;
        let binaries = Binaries::find(std::env::var_os("PGTALLY_PG_BIN").as_deref().map(Path::new), account)?;
        let directory = tempfile::Builder::new().prefix("pgtally-").tempdir_in("/tmp")?;
        account.own(directory.path())?;
        let builder = Builder::default();
        let directory = builder.make_cluster(&binaries, account, directory)?;
        let mut ports = vec![free_port()?, taken, taken].into_iter();
        let server = builder.start_on_free_port(binaries, account, directory, || {
            ports.next_back().ok_or_else(|| io::Error::other("more attempts than taken ports"))
        })?;
        assert_ne!(server.port(), taken);
        assert_eq!(ports.len(), 0);
        Ok(())
    }
}
