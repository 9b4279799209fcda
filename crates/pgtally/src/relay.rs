//! The hot loop: **start here**.
//!
//! One future per session drives both directions. Each direction is the same four steps: write what is owed, read one
//! chunk into the thread's scratch buffer, write it on at once, and only then note it for the observer. A
//! direction that owes bytes does not read, so a slow peer stops its own direction and no other, and a session holds
//! at most one chunk per direction; an idle one holds nothing.
//!
//! `poll_read` and `poll_write` of tokio forget a socket's readiness after a short read or write, so one query costs
//! two reads, two writes and two waits, and no call that answers EAGAIN. Deliberately absent: locks, channels,
//! timers, allocation in the steady state, and any knowledge of PostgreSQL (see `observe.rs`).

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use pgtally_analysis::Moment;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use crate::limits::{CHUNKS_PER_POLL_MAX, TO_UPSTREAM_BYTES_PER_POLL};
use crate::observe::Observation;
use crate::overhead::Heading;
use crate::socket::Stream;
use crate::stalls::StallWatch;
use crate::worker::Local;

/// Which peer ended a session, and how.
#[derive(Debug)]
pub(crate) enum RelayEnd {
    /// The client closed in good order and the upstream followed.
    ClientClosed,
    /// The client vanished.
    ClientLost(io::Error),
    /// The upstream closed; all it had said was delivered.
    UpstreamClosed,
    /// The upstream's connection broke; all it had said was delivered.
    UpstreamLost(io::Error),
}

/// Relays bytes both ways until the session is over.
pub(crate) async fn relay(
    client: &mut Stream,
    upstream: &mut Stream,
    observation: &mut Observation,
    local: &Local,
) -> RelayEnd {
    let mut relay = Relay { to_upstream: Direction::default(), to_client: Direction::default() };
    let mut stalls = StallWatch::of(observation.session(), local);
    poll_fn(|cx| {
        let polled = relay.poll(client, upstream, observation, local, cx);
        stalls.look(&relay.to_upstream, &relay.to_client);
        polled
    })
    .await
}

struct Relay {
    to_upstream: Direction,
    to_client: Direction,
}

impl Relay {
    fn poll(
        &mut self,
        client: &mut Stream,
        upstream: &mut Stream,
        observation: &mut Observation,
        local: &Local,
        cx: &mut Context<'_>,
    ) -> Poll<RelayEnd> {
        // Borrowed only inside this poll: the thread's sessions share one buffer.
        let scratch = &mut *local.scratch.borrow_mut();
        if !self.to_upstream.is_over {
            let bytes_max = TO_UPSTREAM_BYTES_PER_POLL;
            let moved =
                self.to_upstream.poll((client, upstream), scratch, cx, local, bytes_max, |chunk, began| {
                    // Read after the write: "sent" is the moment the last byte went out.
                    let now = local.clock.now();
                    local.overhead.end(began, Heading::ToUpstream, now, &local.metrics);
                    observation.frontend(chunk, now);
                });
            match moved {
                Poll::Pending => {}
                Poll::Ready(Err(Broken::Read(error))) => return Poll::Ready(RelayEnd::ClientLost(error)),
                // An upstream that takes no more may still have an answer to deliver, such as why.
                Poll::Ready(Ok(()) | Err(Broken::Write(_))) => self.to_upstream.end(),
            }
        }
        let bytes_max = usize::MAX;
        let moved = self.to_client.poll((upstream, client), scratch, cx, local, bytes_max, |chunk, began| {
            let now = local.clock.now();
            local.overhead.end(began, Heading::ToClient, now, &local.metrics);
            observation.backend(chunk, now);
        });
        match ready!(moved) {
            Ok(()) if self.to_upstream.is_read_to_end => Poll::Ready(RelayEnd::ClientClosed),
            Ok(()) => {
                discard_unread(client, scratch, cx);
                Poll::Ready(RelayEnd::UpstreamClosed)
            }
            Err(Broken::Read(error)) => Poll::Ready(RelayEnd::UpstreamLost(error)),
            Err(Broken::Write(error)) => Poll::Ready(RelayEnd::ClientLost(error)),
        }
    }
}

/// The socket that failed: the one read from, or the one written to.
pub(crate) enum Broken {
    Read(io::Error),
    Write(io::Error),
}

/// One direction of a session.
///
/// `owed.len() - paid` ≤ the scratch buffer's size: nothing is read while bytes are owed.
#[derive(Default)]
pub(crate) struct Direction {
    /// Bytes read and not yet taken by the writer's socket. Has no capacity while nothing is owed.
    owed: Vec<u8>,
    /// How many of them have been written.
    paid: usize,
    /// Whether the writer took less than there was when it was last asked.
    is_stalled: bool,
    pub(crate) is_read_to_end: bool,
    pub(crate) is_over: bool,
}

impl Direction {
    /// Moves chunks until a socket makes it wait, the reader's end has been passed on, or a socket breaks.
    fn poll(
        &mut self,
        (reader, writer): (&mut Stream, &mut Stream),
        scratch: &mut [u8],
        cx: &mut Context<'_>,
        local: &Local,
        bytes_max: usize,
        mut observe: impl FnMut(&[u8], Option<Moment>),
    ) -> Poll<Result<(), Broken>> {
        let mut moved = 0;
        for _ in 0..CHUNKS_PER_POLL_MAX {
            ready!(self.poll_pay(writer, cx)).map_err(Broken::Write)?;
            if moved >= bytes_max {
                break;
            }
            if self.is_read_to_end {
                // A peer that is gone already needs no farewell.
                let _ = ready!(Pin::new(&mut *writer).poll_shutdown(cx));
                return Poll::Ready(Ok(()));
            }
            let began = local.overhead.begin(&local.clock);
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *reader).poll_read(cx, &mut buf)).map_err(Broken::Read)?;
            let chunk = buf.filled();
            if chunk.is_empty() {
                self.is_read_to_end = true;
                continue;
            }
            let forwarded = self.forward(writer, chunk, cx);
            observe(chunk, began);
            moved += chunk.len();
            forwarded.map_err(Broken::Write)?;
        }
        poll_later(cx);
        Poll::Pending
    }

    /// Writes `chunk` with one call and keeps what the socket did not take.
    pub(crate) fn forward(
        &mut self,
        writer: &mut Stream,
        chunk: &[u8],
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let written = match Pin::new(writer).poll_write(cx, chunk) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        if let Some(rest) = chunk.get(written..) {
            self.owed.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Writes what is owed, and what TLS still holds: it takes more than its socket does.
    pub(crate) fn poll_pay(&mut self, writer: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let paid = self.poll_write_owed(writer, cx);
        self.is_stalled = paid.is_pending();
        paid
    }

    fn poll_write_owed(&mut self, writer: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.owed.get(self.paid..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.paid += written;
        }
        if self.paid > 0 {
            self.owed = Vec::new();
            self.paid = 0;
        }
        Pin::new(writer).poll_flush(cx)
    }

    /// Whether bytes wait for the writer's socket.
    pub(crate) fn is_owing(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Whether the writer's socket makes this direction wait.
    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    pub(crate) fn end(&mut self) {
        self.is_over = true;
        self.is_stalled = false;
        self.owed = Vec::new();
        self.paid = 0;
    }
}

/// Goes on when the others of this thread have had their turn, and the runtime has looked at all sockets: what has
/// come from the other side meanwhile is seen then.
pub(crate) fn poll_later(cx: &mut Context<'_>) {
    // A waker that is woken at once is asked for some sixty times before the runtime looks at the sockets. This
    // future's first poll leaves it to be woken after that look; nothing else is wanted of it.
    let _ = pin!(yield_now()).poll(cx);
}

/// Closing a socket with unread bytes resets the connection, and some systems then throw away what was delivered but
/// not yet read, such as the upstream's last FATAL.
pub(crate) fn discard_unread(client: &mut Stream, scratch: &mut [u8], cx: &mut Context<'_>) {
    for _ in 0..CHUNKS_PER_POLL_MAX {
        let mut buf = ReadBuf::new(scratch);
        match Pin::new(&mut *client).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
            _ => return,
        }
    }
}
