//! The admin listener's connections: so many at once, and none for longer than it is written something.
//!
//! Whoever says nothing, or half a request, or takes no answer, is closed after [`ADMIN_IDLE`], so that nobody can keep
//! scrapers and probes out. Beyond [`ADMIN_CONNECTIONS_MAX`] connections wait in the listener's queue; nothing is lost. An
//! address that has [`ADMIN_CONNECTIONS_PER_SOURCE_MAX`] already gets no more: they are closed at once, and counted.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

use crate::admission::{Admission, Admitted};
use crate::config::SessionLimits;
use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_CONNECTIONS_PER_SOURCE_MAX, ADMIN_IDLE};
use crate::metrics::Metrics;

/// A listener that takes no more connections than are served.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    idle: Duration,
    sources: Arc<Admission>,
    per_source: SessionLimits,
    metrics: Arc<Metrics>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, metrics: Arc<Metrics>) -> Self {
        let bounds = (ADMIN_CONNECTIONS_MAX, ADMIN_CONNECTIONS_PER_SOURCE_MAX);
        Self::with(listener, bounds, ADMIN_IDLE, metrics)
    }

    fn with(
        listener: TcpListener,
        (connections_max, per_source): (usize, u32),
        idle: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let per_source = SessionLimits { per_source: Some(per_source), ..SessionLimits::default() };
        let places = Arc::new(Semaphore::new(connections_max));
        Self { listener, places, idle, sources: Arc::default(), per_source, metrics }
    }

    /// The next connection from an address that may have one more.
    async fn accept_admitted(&mut self) -> (TcpStream, SocketAddr, Admitted) {
        loop {
            // It waits a moment after an error such as the lack of descriptors.
            let (stream, address) = Listener::accept(&mut self.listener).await;
            match self.sources.admit(&self.per_source, Some(address.ip().to_canonical())) {
                Ok(admitted) => return (stream, address, admitted),
                Err(_) => {
                    self.metrics.admin_refused.inc();
                    debug!(side = "client", "too many connections of one address to the admin listener");
                }
            }
        }
    }
}

impl Listener for Bounded {
    type Io = Connection<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // Never closed, so a place always comes.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address, admitted) = self.accept_admitted().await;
        let end = Box::pin(sleep(self.idle));
        (Connection { stream, idle: self.idle, end, _place: place, _admitted: admitted }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing was written to it for too long.
pub(super) struct Connection<S> {
    stream: S,
    idle: Duration,
    end: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
    _admitted: Admitted,
}

impl<S> Connection<S> {
    /// An error once the time is over, in the place of waiting on.
    fn waiting<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn put_off(&mut self) {
        let end = Instant::now() + self.idle;
        self.end.as_mut().reset(end);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.waiting(cx),
            read @ Poll::Ready(_) => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => self.waiting(cx),
            written @ Poll::Ready(_) => {
                self.put_off();
                written
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn silent_connections_give_their_places_to_those_who_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let metrics = Arc::new(Metrics::new().unwrap());
            let mut bounded = Bounded::with(listener, (1, 9), Duration::from_millis(50), metrics);
            let mut clients = Vec::new();
            for _ in 0..3 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            let (mut first, _) = bounded.accept().await;
            let early = tokio::time::timeout(Duration::from_millis(5), bounded.accept()).await;
            assert!(early.is_err(), "there is one place");
            first.write_all(b"put off").await.unwrap();
            // Half a request does not put it off.
            clients[0].write_all(b"GET").await.unwrap();
            let mut buf = [0; 16];
            assert_eq!(first.read(&mut buf).await.unwrap(), 3);
            let error = first.read(&mut buf).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(first);
            let _second = bounded.accept().await;
        });
    }

    #[test]
    fn one_address_cannot_have_all_places() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let metrics = Arc::new(Metrics::new().unwrap());
            let mut bounded = Bounded::with(listener, (9, 2), Duration::from_secs(60), Arc::clone(&metrics));
            let mut greedy = Vec::new();
            for _ in 0..3 {
                greedy.push(TcpStream::connect(address).await.unwrap());
            }
            let mut taken = vec![bounded.accept().await, bounded.accept().await];
            let other = tokio::net::TcpSocket::new_v4().unwrap();
            other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let _other = other.connect(address).await.unwrap();
            let (_, from) = bounded.accept().await;
            assert_eq!(from.ip().to_string(), "127.0.0.2");
            assert_eq!(greedy[2].read(&mut [0]).await.unwrap(), 0, "the third is closed");
            assert_eq!(metrics.admin_refused.get(), 1);
            taken.pop();
            let _again = TcpStream::connect(address).await.unwrap();
            let (_, from) = bounded.accept().await;
            assert_eq!(from.ip().to_string(), "127.0.0.1");
        });
    }
}
