//! A TLS connection whose socket can be taken out and put back, because a session changes threads once.
//!
//! rustls says `UnexpectedEof` when a peer closes without `close_notify`. PostgreSQL's messages carry their lengths, so
//! a cut cannot pass for an end, and drivers close like that every day: here it is an ordinary end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

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
        let read = Pin::new(&mut self.get_mut().0).poll_read(cx, buf);
        read.map_err_or_end()
    }
}

/// Turns the missing `close_notify` into an end.
trait OrEnd {
    fn map_err_or_end(self) -> Self;
}

impl OrEnd for Poll<io::Result<()>> {
    fn map_err_or_end(self) -> Self {
        match self {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            other => other,
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

/// What lies below TLS: a plain socket, with bytes in front that were read before TLS was recognised.
#[derive(Debug)]
pub(super) struct Transport {
    /// Absent only while the session changes threads.
    socket: Option<Stream>,
    /// At most the few bytes that told TLS from a startup packet.
    head: Vec<u8>,
}

impl Transport {
    pub(super) fn new(socket: Stream, head: &[u8]) -> Self {
        Self { socket: Some(socket), head: head.to_vec() }
    }

    fn socket(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.socket.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.head.is_empty() {
            let count = this.head.len().min(buf.remaining());
            buf.put_slice(&this.head.drain(..count).collect::<Vec<_>>());
            return Poll::Ready(Ok(()));
        }
        this.socket()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().socket()?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket()?.poll_shutdown(cx)
    }
}
