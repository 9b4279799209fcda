//! A TLS connection whose socket can be taken out and put back, because a session changes threads once.
//!
//! rustls says `UnexpectedEof` when a peer closes without `close_notify`. PostgreSQL's messages carry their lengths, so
//! a cut cannot pass for an end, and drivers close like that every day: here it is an ordinary end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Stream;

/// The encrypted connection with its state.
#[derive(Debug)]
pub(crate) struct TlsStream(tokio_rustls::TlsStream<Transport>);

impl TlsStream {
    pub(super) fn new(inner: impl Into<tokio_rustls::TlsStream<Transport>>) -> Self {
        Self(inner.into())
    }

    /// Takes the socket out. Until [`TlsStream::put`] the connection can only be moved or dropped.
    pub(crate) fn take(&mut self) -> Option<Stream> {
        self.0.get_mut().0.socket.take()
    }

    /// Puts the socket back.
    pub(crate) fn put(&mut self, socket: Stream) {
        self.0.get_mut().0.socket = Some(socket);
    }

    pub(crate) fn socket(&self) -> Option<&Stream> {
        self.0.get_ref().0.socket.as_ref()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.get_mut().0).poll_read(cx, buf) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => read,
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// What lies below TLS: a plain socket, and bytes read from it that TLS has not taken yet.
///
/// rustls asks for 4 KiB at a time, four system calls for one record. While as much as that arrives at once, more is
/// read ahead; a quiet connection holds nothing.
#[derive(Debug)]
pub(super) struct Transport {
    /// Absent only while the session changes threads.
    socket: Option<Stream>,
    /// `ahead.len() - taken` ≤ [`AHEAD_BYTES`]; has no capacity when all is taken.
    ahead: Vec<u8>,
    taken: usize,
    /// Whether the last read could have been longer.
    is_bulk: bool,
}

/// Bytes of one read ahead: two records.
const AHEAD_BYTES: usize = 32 * 1024;

impl Transport {
    /// Over `socket`, from which `head` was read before TLS was recognised.
    pub(super) fn new(socket: Stream, head: &[u8]) -> Self {
        Self { socket: Some(socket), ahead: head.to_vec(), taken: 0, is_bulk: false }
    }

    fn socket(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.socket.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Hands out what was read ahead; false when there is nothing.
    fn take_ahead(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = self.ahead.get(self.taken..).unwrap_or_default();
        let part = rest.get(..buf.remaining()).unwrap_or(rest);
        if part.is_empty() {
            return false;
        }
        buf.put_slice(part);
        self.taken += part.len();
        if self.taken == self.ahead.len() {
            self.ahead = Vec::new();
            self.taken = 0;
        }
        true
    }

    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ahead = vec![0; AHEAD_BYTES];
        let mut buf = ReadBuf::new(&mut ahead);
        ready!(self.socket()?.poll_read(cx, &mut buf))?;
        let count = buf.filled().len();
        ahead.truncate(count);
        self.is_bulk = count > BULK_BYTES;
        self.ahead = ahead;
        Poll::Ready(Ok(()))
    }
}

/// A read of at least this much makes the next one longer.
const BULK_BYTES: usize = 4_000;

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.take_ahead(buf) {
            return Poll::Ready(Ok(()));
        }
        if this.is_bulk {
            ready!(this.poll_read_ahead(cx))?;
            this.take_ahead(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(this.socket()?.poll_read(cx, buf))?;
        this.is_bulk = buf.filled().len() - before >= BULK_BYTES;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().socket()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().socket()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket()?.poll_shutdown(cx)
    }
}
