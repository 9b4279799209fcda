//! Comment lifting: a connection to an upstream on which the texts of prepared statements carry no tags.
//!
//! Libraries write the request into every statement's text, so that a driver's cache of prepared statements never
//! hits, and the server prepares each text anew. Here the tags are taken out before the server's Parse
//! ([`pgtally_fingerprint::lift`]), and texts that are equal then share one server-side statement: the second Parse
//! becomes a Close of its own name, whose CloseComplete goes to the client as ParseComplete. Both have one length and
//! fail or are skipped together, so that answers stay in order without being held back.
//!
//! The relay and the observer see what the client says and hears; only the socket behind this type knows better.
//! Switched off (the default), no session has one of these.
//!
//! Read next: `lift/client.rs` and `lift/server.rs` (the two directions), `lift/names.rs` (who runs as whom).

mod client;
mod names;
mod server;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::Metrics;
use crate::socket::Stream;
use client::ClientSide;
use names::Names;
use server::ServerSide;

/// Both directions of one session, apart from any socket.
#[derive(Debug, Default)]
struct Lifting {
    client: ClientSide,
    server: ServerSide,
    names: Names,
}

impl Lifting {
    /// Takes bytes of the client and appends what goes to the server; gives the number of bytes taken, which is not 0
    /// when `out` was empty.
    fn client(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> usize {
        chunk.len() - self.client.take(chunk, &mut self.names, out)
    }

    /// Turns bytes of the server in place into what goes to the client; gives their number.
    fn server(&mut self, chunk: &mut [u8]) -> usize {
        let kept = self.server.take(chunk, &mut self.names);
        if self.server.is_lost() {
            self.client.give_up();
        }
        kept
    }
}

/// A connection to an upstream whose prepared statements are shared.
#[derive(Debug)]
pub(crate) struct Lifted {
    inner: Stream,
    lifting: Lifting,
    /// Taken from the client and not yet written.
    out: Vec<u8>,
    /// Bytes of `out` that are written.
    written: usize,
    /// Waits for answers, as too many are outstanding.
    waiting: Option<Waker>,
    stripped: IntCounter,
    shared: IntCounter,
}

impl Lifted {
    /// `prelude` is what the client was already sent in the server's name.
    pub(crate) fn over(inner: Stream, prelude: &[u8], metrics: &Metrics) -> Self {
        let mut lifting = Lifting::default();
        lifting.server(&mut prelude.to_vec());
        let counter = |result| metrics.lifted_parses.with_label_values(&[result]);
        let (stripped, shared) = (counter("stripped"), counter("shared"));
        Self { inner, lifting, out: Vec::new(), written: 0, waiting: None, stripped, shared }
    }

    pub(crate) const fn socket(&self) -> &Stream {
        &self.inner
    }

    pub(crate) fn into_socket(self) -> Stream {
        self.inner
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.out.clear();
        self.out.shrink_to(OUT_BYTES_KEPT);
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn count(&mut self) {
        let (stripped, shared) = self.lifting.names.take_counts();
        if stripped + shared > 0 {
            self.stripped.inc_by(stripped);
            self.shared.inc_by(shared);
        }
    }
}

/// Capacity an idle session keeps for its next message.
const OUT_BYTES_KEPT: usize = 4 * 1024;

impl AsyncRead for Lifted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let fresh = buf.filled_mut().get_mut(before..).unwrap_or_default();
            if fresh.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let kept = this.lifting.server(fresh);
            buf.set_filled(before + kept);
            if let Some(waiting) = this.waiting.take() {
                waiting.wake();
            }
            // No bytes would mean the end of the stream.
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Lifted {
    /// Takes `buf`, as far as it becomes no more than is good, and writes what it becomes as far as the socket goes; [`Self::poll_flush`] writes the rest.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        if this.lifting.names.is_full() {
            this.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = this.lifting.client(buf, &mut this.out);
        this.count();
        match this.poll_out(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    /// What was held back of an unfinished message goes first: it is the client's, whole or not.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.lifting.client.end(&mut this.out);
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
