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
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time::{error::Elapsed, sleep, timeout};

use crate::limits::SUCCESSOR_TIMEOUT;

const ADMIN: &str = "admin";
const CLIENTS: &str = "clients";
const READY: &str = "ready";
const BEFORE: &str = "before";
/// How often is looked whether the processes before this one are gone.
const ELDERS_POLL: Duration = Duration::from_millis(100);
/// The first descriptor that is handed over, as systemd has it.
const FIRST_FD: RawFd = 3;

/// Sockets that were open when the program was started.
#[derive(Debug, Default)]
pub struct Inherited {
    pub(crate) admin: Option<TcpListener>,
    pub(crate) clients: Vec<Socket>,
    /// Where the predecessor waits for our word.
    ready: Option<UnixDatagram>,
    /// Sockets whose other ends are open for as long as the processes before this one live.
    before: Vec<UnixDatagram>,
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
                BEFORE => inherited.before.extend(descriptors.take_unix_datagram(index)?),
                _ => inherited.clients.push(Socket::take(&mut descriptors, index)?),
            }
        }
        Ok(inherited)
    }

    /// The processes before this one, the one that waits for our word among them.
    pub(crate) fn elders(&self) -> io::Result<Elders> {
        let all = self.before.iter().chain(&self.ready);
        Ok(Elders(all.map(UnixDatagram::try_clone).collect::<io::Result<_>>()?))
    }

    /// Splits off where the predecessor waits for our word. The copy for [`Inherited::elders`] stays.
    pub(crate) fn take_predecessor(&mut self) -> Option<Predecessor> {
        let told = self.ready.take()?;
        self.before.extend(told.try_clone());
        Some(Predecessor(told))
    }
}

/// Processes before this one that may still have sessions.
#[derive(Debug)]
pub(crate) struct Elders(Vec<UnixDatagram>);

impl Elders {
    /// Whether there was none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Them, leaving none.
    pub(crate) fn take(&mut self) -> Self {
        Self(std::mem::take(&mut self.0))
    }

    /// Waits until all are gone.
    pub(crate) async fn gone(self) {
        while self.0.iter().any(lives) {
            sleep(ELDERS_POLL).await;
        }
    }
}

/// Whether the other end is open. Nobody reads the empty word there, and a full queue says as much.
fn lives(socket: &UnixDatagram) -> bool {
    match socket.set_nonblocking(true).and_then(|()| socket.send(&[])) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
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

    /// A successor has to know of them as well.
    pub(crate) fn add_elders(&mut self, elders: &Elders) -> io::Result<()> {
        for socket in &elders.0 {
            self.named.push((socket.as_fd().try_clone_to_owned()?, BEFORE));
        }
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

/// A process that serves in the place of this one. To be kept until this process ends: that is how the other one knows.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) process: u32,
    _alive: tokio::net::UnixDatagram,
}

/// Whether the successor says that it serves; it also looks, by empty words, whether this process is there.
async fn is_told(ready: &tokio::net::UnixDatagram) -> bool {
    let mut word = [0; READY.len()];
    loop {
        match ready.recv(&mut word).await {
            Ok(0) => {}
            told => return told.is_ok(),
        }
    }
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

    /// Starts it with `sockets`; answers once it serves, unless `stop` comes first.
    pub(crate) async fn succeed(
        &self,
        sockets: &Sockets,
        stop: impl Future<Output = ()>,
    ) -> Result<Successor, HandoverError> {
        let (mut child, ready) = self.start(sockets).map_err(HandoverError::Start)?;
        let waited = timeout(SUCCESSOR_TIMEOUT, async {
            tokio::select! {
                biased;
                is_ready = is_told(&ready) => Ok(is_ready),
                _ = child.wait() => Ok(false),
                () = stop => Err(HandoverError::Stopped),
            }
        });
        let is_ready = waited.await.map_err(HandoverError::from).flatten().inspect_err(|_| {
            // It may come to its senses, and then there would be two.
            let _ = child.start_kill();
        })?;
        let process = child.id().filter(|_| is_ready).ok_or(HandoverError::Ended)?;
        Ok(Successor { process, _alive: ready })
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
