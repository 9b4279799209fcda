//! Listening sockets from another process: systemd's socket activation, and the upgrade of a running pgtally.
//!
//! An upgrade starts the program anew, with the listening sockets as its descriptors from 3 on, and waits for its word
//! that it serves. Both then hold the same sockets with the same queues of connections, so that the old process can
//! stop accepting without losing one, and its sessions go on to their ends. The environment is systemd's: `LISTEN_FDS`
//! and `LISTEN_FDNAMES`, where `admin` names the admin listener and `ready` the socket for the successor's word.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::Stdio;

use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time::{error::Elapsed, timeout};

use crate::limits::SUCCESSOR_TIMEOUT;

const ADMIN: &str = "admin";
const CLIENTS: &str = "clients";
const READY: &str = "ready";
/// The first descriptor that is handed over, as systemd has it.
const FIRST_FD: RawFd = 3;

/// Sockets that were open when the program was started.
#[derive(Debug, Default)]
pub struct Inherited {
    pub(crate) admin: Option<TcpListener>,
    pub(crate) clients: Vec<Socket>,
    /// Where the predecessor waits for our word.
    ready: Option<UnixDatagram>,
}

/// The process that this one takes over from.
pub(crate) struct Predecessor(UnixDatagram);

impl Predecessor {
    /// Tells it that this process serves. From here on it takes no connection.
    pub(crate) fn relieve(self) {
        // A predecessor that is gone needs no word.
        let _ = self.0.send(READY.as_bytes());
    }
}

/// A listening socket for clients.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Inherited {
    /// Takes what the environment says was handed over; nothing in most cases. For the program's start.
    ///
    /// # Errors
    /// When a descriptor is not what its name says.
    pub fn take() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<_> = names.split(':').collect();
        let mut descriptors = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..descriptors.len() {
            match names.get(index).copied().unwrap_or_default() {
                ADMIN => inherited.admin = descriptors.take_tcp_listener(index)?,
                READY => inherited.ready = descriptors.take_unix_datagram(index)?,
                _ => inherited.clients.push(Socket::take(&mut descriptors, index)?),
            }
        }
        Ok(inherited)
    }

    /// Splits off where the predecessor waits for our word.
    pub(crate) fn take_predecessor(&mut self) -> Option<Predecessor> {
        self.ready.take().map(Predecessor)
    }
}

impl Socket {
    fn take(descriptors: &mut ListenFd, index: usize) -> io::Result<Self> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        // A refused attempt leaves the descriptor where it is.
        match descriptors.take_tcp_listener(index) {
            Ok(listener) => listener.map(Self::Tcp).ok_or_else(gone),
            Err(_) => descriptors.take_unix_listener(index)?.map(Self::Unix).ok_or_else(gone),
        }
    }
}

/// Duplicates of a proxy's listening sockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Descriptors with their names.
    named: Vec<(OwnedFd, &'static str)>,
}

impl Sockets {
    pub(crate) fn add_clients(&mut self, socket: &impl AsFd) -> io::Result<()> {
        self.named.push((socket.as_fd().try_clone_to_owned()?, CLIENTS));
        Ok(())
    }

    pub(crate) fn add_admin(&mut self, socket: &impl AsFd) -> io::Result<()> {
        self.named.push((socket.as_fd().try_clone_to_owned()?, ADMIN));
        Ok(())
    }

    fn duplicate(&self) -> io::Result<Vec<(OwnedFd, &'static str)>> {
        self.named.iter().map(|(socket, name)| Ok((socket.try_clone()?, *name))).collect()
    }
}

/// Why there is no successor. The old process goes on as before.
#[derive(Debug, Error)]
pub(crate) enum HandoverError {
    #[error("the program cannot be started")]
    Start(#[source] io::Error),
    #[error("the successor has ended before it was ready")]
    Ended,
    #[error("the successor did not get ready in time")]
    Late(#[from] Elapsed),
    #[error("this process is to end before the successor was ready")]
    Stopped,
}

/// How this program was started, kept from its start: an upgrade replaces the file.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This process's own.
    pub(crate) fn current() -> io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, arguments: std::env::args_os().skip(1).collect() })
    }

    /// Starts it with `sockets`; answers with its process id once it serves, unless `stop` comes first.
    pub(crate) async fn succeed(
        &self,
        sockets: &Sockets,
        stop: impl Future<Output = ()>,
    ) -> Result<u32, HandoverError> {
        let (mut child, ready) = self.start(sockets).map_err(HandoverError::Start)?;
        let mut word = [0; READY.len()];
        let waited = timeout(SUCCESSOR_TIMEOUT, async {
            tokio::select! {
                biased;
                received = ready.recv(&mut word) => Ok(received.is_ok()),
                _ = child.wait() => Ok(false),
                () = stop => Err(HandoverError::Stopped),
            }
        });
        let is_ready = waited.await.map_err(HandoverError::from).flatten().inspect_err(|_| {
            // It may come to its senses, and then there would be two.
            let _ = child.start_kill();
        })?;
        child.id().filter(|_| is_ready).ok_or(HandoverError::Ended)
    }

    fn start(&self, sockets: &Sockets) -> io::Result<(Child, tokio::net::UnixDatagram)> {
        let (ours, theirs) = UnixDatagram::pair()?;
        ours.set_nonblocking(true)?;
        let mut named = sockets.duplicate()?;
        named.push((theirs.into(), READY));
        let names: Vec<_> = named.iter().map(|(_, name)| *name).collect();
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env("LISTEN_FDS", named.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env_remove("LISTEN_PID")
            .stdin(Stdio::null());
        let mappings = named.into_iter().zip(FIRST_FD..);
        let mappings = mappings.map(|((parent_fd, _), child_fd)| FdMapping { parent_fd, child_fd });
        command.as_std_mut().fd_mappings(mappings.collect()).map_err(io::Error::other)?;
        Ok((command.spawn()?, tokio::net::UnixDatagram::from_std(ours)?))
    }
}
