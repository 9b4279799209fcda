//! TCP, Unix, TLS and lifted streams behind one type, so that a session does not care which it has.
//!
//! An enum, not `Box<dyn …>`: four known cases, no indirect call in the hot loop.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::config::SocketSettings;
use crate::lift::Lifted;
use crate::tls::TlsStream;

/// Where a peer listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host name or address, and port.
    Tcp(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Stream {
    /// An upstream's, boxed for the same reason as TLS.
    Lifted(Box<Lifted>),
    Tcp(TcpStream),
    /// Boxed: it is far bigger than the others, and an idle plain session should own next to nothing.
    Tls(Box<TlsStream>),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to `address`. The caller bounds the time.
    pub(crate) async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host, port) => TcpStream::connect((host.as_str(), *port)).await.map(Self::from),
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::from),
        }
    }

    /// Sets how long the socket waits for its peer. A failure costs patience, not correctness, so it is not an error.
    pub(crate) fn tune(&self, settings: &SocketSettings) {
        let stream = match self {
            Self::Lifted(stream) => return stream.socket().tune(settings),
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => return stream.socket().into_iter().for_each(|socket| socket.tune(settings)),
            Self::Unix(_) => return,
        };
        let socket = SockRef::from(stream);
        if let Some(keepalive) = settings.keepalive {
            let keepalive = TcpKeepalive::new().with_time(keepalive).with_interval(keepalive);
            let _ = socket.set_tcp_keepalive(&keepalive);
        }
        let _ = socket.set_tcp_user_timeout(settings.tcp_user_timeout);
    }

    pub(crate) fn is_tls(&self) -> bool {
        match self {
            Self::Lifted(stream) => stream.socket().is_tls(),
            Self::Tls(_) => true,
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    /// Whether it stays inside the machine, where nobody needs TLS and PostgreSQL has none.
    pub(crate) fn is_unix(&self) -> bool {
        match self {
            Self::Lifted(stream) => stream.socket().is_unix(),
            Self::Tcp(_) => false,
            Self::Tls(stream) => stream.socket().is_some_and(Self::is_unix),
            Self::Unix(_) => true,
        }
    }

    /// Whether bytes have arrived at a plain socket that nobody has read.
    pub(crate) fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = match self {
            Self::Lifted(stream) => return stream.socket().has_unread(),
            Self::Tcp(stream) => SockRef::from(stream).peek(&mut byte),
            Self::Tls(_) => return false,
            Self::Unix(stream) => SockRef::from(stream).peek(&mut byte),
        };
        peeked.is_ok_and(|count| count > 0)
    }

    /// Takes the socket off its runtime. What has arrived and was not read stays in it.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Lifted(stream) => stream.into_socket().detach(),
            Self::Tcp(stream) => stream.into_std().map(Detached::Tcp),
            Self::Tls(mut stream) => {
                let socket = stream.take().ok_or(io::ErrorKind::NotConnected)?;
                Ok(Detached::Tls(stream, Box::new(socket.detach()?)))
            }
            Self::Unix(stream) => stream.into_std().map(Detached::Unix),
        }
    }

    /// Takes over a socket; must run on the runtime that will drive it.
    pub(crate) fn adopt(detached: Detached) -> io::Result<Self> {
        match detached {
            Detached::Tcp(stream) => TcpStream::from_std(stream).map(Self::Tcp),
            Detached::Tls(mut stream, socket) => {
                stream.put(Self::adopt(*socket)?);
                Ok(Self::Tls(stream))
            }
            Detached::Unix(stream) => UnixStream::from_std(stream).map(Self::Unix),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        // Small messages must not wait for acknowledgements. A failure costs latency, not correctness.
        let _ = stream.set_nodelay(true);
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

/// A socket on its way from the control thread to a worker, bound to no runtime.
#[derive(Debug)]
pub(crate) enum Detached {
    Tcp(std::net::TcpStream),
    Tls(Box<TlsStream>, Box<Detached>),
    Unix(std::os::unix::net::UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Lifted(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Lifted(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    // TLS writes the records of a chunk with one call.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Lifted(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Lifted(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            // Sockets have no buffer of ours to flush.
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Lifted(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sockets_wait_as_long_as_they_are_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stream = Stream::from(TcpStream::from_std(socket).unwrap());
        let seconds = Duration::from_secs;
        let settings = SocketSettings {
            connect_timeout: seconds(1),
            keepalive: Some(seconds(70)),
            tcp_user_timeout: Some(seconds(90)),
        };
        stream.tune(&settings);
        let Stream::Tcp(socket) = &stream else { panic!("a TCP stream") };
        let socket = SockRef::from(socket);
        assert!(socket.tcp_nodelay().unwrap(), "small messages do not wait for each other");
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(70));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(70));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(90)));
    }
}
