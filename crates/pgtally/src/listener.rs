//! Listening sockets, and the acceptor that chooses for each connection the worker with the fewest sessions.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::spawn;
use tokio::time::sleep;
use tracing::warn;

use crate::console::Host;
use crate::handover::{Socket, Sockets};
use crate::live::Live;
use crate::session::{self, Ending};
use crate::socket::{Address, Stream};
use crate::worker::WorkerHandle;

/// Connections the kernel keeps while the acceptor is busy. The default of 128 is short for a pool that starts.
const BACKLOG: i32 = 1_024;
/// Pause after a failed accept: it fails for lack of files or memory, which takes a moment to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket, not yet on any runtime.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(std::net::TcpListener),
    Unix(StdUnixListener, SocketFile),
}

/// Removes a Unix socket's file when its listener is gone, unless the file belongs to another process.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    is_ours: Arc<AtomicBool>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours.load(Ordering::Relaxed) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Bound {
    /// Where clients reach it, with the port the system chose.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => {
                let address = listener.local_addr()?;
                Ok(Address::Tcp(address.ip().to_string(), address.port()))
            }
            Self::Unix(_, file) => Ok(Address::Unix(file.path.clone())),
        }
    }

    /// A socket that another process has bound; the file of a Unix socket stays that process's.
    pub(crate) fn inherited(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let path = listener.local_addr()?.as_pathname().map(Path::to_path_buf).unwrap_or_default();
                Ok(Self::Unix(listener, SocketFile { path, is_ours: Arc::default() }))
            }
        }
    }

    /// Adds a duplicate to `sockets`.
    pub(crate) fn share(&self, sockets: &mut Sockets) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => sockets.add_clients(listener),
            Self::Unix(listener, _) => sockets.add_clients(listener),
        }
    }
}

/// Binds `address`; a name with several addresses gives several sockets. Files are removed while `is_ours` holds.
pub(crate) fn bind(address: &Address, is_ours: &Arc<AtomicBool>) -> io::Result<Vec<Bound>> {
    match address {
        Address::Tcp(host, port) => {
            let host = if host == "*" { "0.0.0.0" } else { host };
            let mut addresses: Vec<_> = (host, *port).to_socket_addrs()?.collect();
            if *port == 0 {
                // Each would get a port of its own, and callers ask for one.
                addresses.truncate(1);
            }
            addresses.into_iter().map(|address| bind_tcp(address).map(Bound::Tcp)).collect()
        }
        Address::Unix(path) => bind_unix(path, is_ours).map(|bound| vec![bound]),
    }
}

/// Binds one TCP address.
pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds a Unix socket, in place of the socket of a listener that is gone. Any other file stays, and is an error.
///
/// Permissions are the umask's: whoever may connect is, for `peer` authentication, this process's user.
fn bind_unix(path: &Path, is_ours: &Arc<AtomicBool>) -> io::Result<Bound> {
    // Connecting to an ordinary file is refused too.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let is_refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && StdUnixStream::connect(path).is_err_and(is_refused) {
        std::fs::remove_file(path)?;
    }
    let listener = StdUnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(Bound::Unix(listener, SocketFile { path: path.to_path_buf(), is_ours: Arc::clone(is_ours) }))
}

/// Begins a session for each accepted connection.
pub(crate) struct Dispatcher {
    pub(crate) workers: Vec<WorkerHandle>,
    pub(crate) numbers: AtomicU64,
    pub(crate) live: Live,
    pub(crate) host: Arc<Host>,
}

impl Dispatcher {
    /// Accepts until dropped.
    pub(crate) async fn accept_forever(&self, bound: Bound) -> io::Result<()> {
        match bound {
            Bound::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    self.dispatch(listener.accept().await.map(|(stream, peer)| (stream.into(), Some(peer))))
                        .await;
                }
            }
            Bound::Unix(listener, _file) => {
                let listener = UnixListener::from_std(listener)?;
                loop {
                    self.dispatch(listener.accept().await.map(|(stream, _)| (stream.into(), None))).await;
                }
            }
        }
    }

    async fn dispatch(&self, accepted: io::Result<(Stream, Option<SocketAddr>)>) {
        match accepted {
            Ok((client, peer)) => {
                let alive = self.workers.iter().filter(|worker| !worker.commands.is_closed());
                let Some(worker) = alive.min_by_key(|worker| worker.sessions.load(Ordering::Relaxed)) else {
                    warn!("no worker is left; a connection was closed");
                    return;
                };
                let number = self.numbers.fetch_add(1, Ordering::Relaxed);
                let setting = Arc::clone(&self.live.borrow());
                // Counted before the task's first turn: a drain must know of it.
                let ending = Ending::of(number, worker.count(), &setting.metrics);
                spawn(session::begin(
                    ending,
                    client,
                    peer,
                    worker.commands.clone(),
                    setting,
                    Arc::clone(&self.host),
                ));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_socket_of_a_listener_that_is_gone_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(StdUnixListener::bind(&path).unwrap());
        let is_ours = Arc::new(AtomicBool::new(true));
        let bound = bind_unix(&path, &is_ours).expect("a stale socket is replaced");
        assert!(bind_unix(&path, &is_ours).is_err(), "a live one is not");
        drop(bound);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(bind_unix(&path, &is_ours).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
