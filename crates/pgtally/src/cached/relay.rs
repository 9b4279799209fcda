//! The relay of a session with the cache: as `relay.rs`, but each of the client's chunks is looked at *before* it is
//! forwarded, because a commit has to be known before it can happen, and an answer may be at hand.
//!
//! A chunk can be held for a moment: while the session's environment is asked for, on its own connection, or while
//! another session fetches the answer. Meanwhile nothing is read from the client, and what the server says goes on.
//! An answer from the cache is served only while nothing is owed to the client, so that no slow reader makes memory
//! grow.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pgtally_analysis::Moment;
use pgtally_cache::Key;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::session::{CachedSession, Step};
use crate::clock::LazyMoment;
use crate::limits::{CHUNKS_PER_POLL_MAX, TO_UPSTREAM_BYTES_PER_POLL};
use crate::observe::Observation;
use crate::overhead::Heading;
use crate::relay::{Broken, Direction, RelayEnd, discard_unread, poll_later};
use crate::socket::Stream;
use crate::stalls::StallWatch;
use crate::worker::Local;

/// Relays bytes both ways until the session is over, and serves what it can.
pub(crate) async fn relay(
    client: &mut Stream,
    upstream: &mut Stream,
    session: &mut CachedSession,
    observation: &mut Observation,
    local: &Local,
) -> RelayEnd {
    let (to_upstream, to_client) = (Direction::default(), Direction::default());
    let mut stalls = StallWatch::of(observation.session(), local);
    let mut relay =
        Relay { client, upstream, session, observation, local, to_upstream, to_client, held: None };
    let end = poll_fn(|cx| {
        let polled = relay.poll(cx);
        stalls.look(&relay.to_upstream, &relay.to_client);
        polled
    })
    .await;
    if matches!(end, RelayEnd::UpstreamClosed | RelayEnd::UpstreamLost(_)) {
        relay.session.upstream_ended();
    }
    end
}

struct Relay<'a> {
    client: &'a mut Stream,
    upstream: &'a mut Stream,
    session: &'a mut CachedSession,
    observation: &'a mut Observation,
    local: &'a Local,
    to_upstream: Direction,
    to_client: Direction,
    held: Option<Held>,
}

/// A chunk of the client's that waits to be decided on again.
struct Held {
    chunk: Vec<u8>,
    /// When it came.
    since: Moment,
    wait: Wait,
}

/// How a chunk has come.
struct Arrival {
    /// When, if it has waited.
    since: Option<Moment>,
    /// When its read began, if what pgtally adds to it is measured.
    began: Option<Moment>,
    /// Whether it may wait for another session's answer.
    may_wait: bool,
}

enum Wait {
    /// For the answer to a question of ours.
    Answer,
    /// For another session's answer, until then.
    Flight { key: Key, until_ns: u64 },
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let local = self.local;
        // Borrowed only inside this poll: the thread's sessions share one buffer.
        let scratch = &mut *local.scratch.borrow_mut();
        loop {
            if !self.to_upstream.is_over {
                match self.poll_client(scratch, cx) {
                    Poll::Pending => {}
                    Poll::Ready(Err(Broken::Read(error))) => return Poll::Ready(RelayEnd::ClientLost(error)),
                    // An upstream that takes no more may still have an answer to deliver, such as why.
                    Poll::Ready(Ok(()) | Err(Broken::Write(_))) => {
                        self.held = None;
                        self.to_upstream.end();
                    }
                }
            }
            let was_warming = self.session.is_warming();
            let moved = self.poll_upstream(scratch, cx);
            let is_free_again = was_warming && !self.session.is_warming();
            if moved.is_pending() && (self.is_answered() || is_free_again) {
                continue;
            }
            if moved.is_pending() {
                self.warm(cx);
            }
            return Poll::Ready(match ready!(moved) {
                Ok(()) if self.to_upstream.is_read_to_end => RelayEnd::ClientClosed,
                Ok(()) => {
                    discard_unread(self.client, scratch, cx);
                    RelayEnd::UpstreamClosed
                }
                Err(Broken::Read(error)) => RelayEnd::UpstreamLost(error),
                Err(Broken::Write(error)) => RelayEnd::ClientLost(error),
            });
        }
    }

    /// Whether a chunk is held for an answer that has come.
    fn is_answered(&self) -> bool {
        let is_held = self.held.as_ref().is_some_and(|held| matches!(held.wait, Wait::Answer));
        is_held && !self.session.is_asking()
    }

    /// Lets the session fill the cache while neither side waits for anything.
    fn warm(&mut self, cx: &mut Context<'_>) {
        let is_waiting = self.to_upstream.is_over
            || self.to_upstream.is_read_to_end
            || self.to_upstream.is_owing()
            || self.to_client.is_owing()
            || self.held.is_some()
            || self.session.is_warming();
        if is_waiting || !self.session.has_order(cx.waker()) {
            return;
        }
        let Some(question) = self.session.warm(&LazyMoment::of(&self.local.clock)) else { return };
        // An upstream that takes no more may still have an answer to deliver, such as why.
        if self.to_upstream.forward(self.upstream, &question, cx).is_err() {
            self.to_upstream.end();
        }
    }

    fn poll_client(&mut self, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut moved = 0;
        for _ in 0..CHUNKS_PER_POLL_MAX {
            ready!(self.to_upstream.poll_pay(self.upstream, cx)).map_err(Broken::Write)?;
            if moved >= TO_UPSTREAM_BYTES_PER_POLL {
                break;
            }
            if self.session.is_warming() {
                return Poll::Pending;
            }
            if let Some(held) = self.held.take() {
                let since = held.since;
                let Some((chunk, may_wait)) = self.poll_held(held, cx) else { return Poll::Pending };
                self.take(&chunk, Arrival { since: Some(since), began: None, may_wait }, cx)?;
                continue;
            }
            if self.to_upstream.is_read_to_end {
                // A peer that is gone already needs no farewell.
                let _ = ready!(Pin::new(&mut *self.upstream).poll_shutdown(cx));
                return Poll::Ready(Ok(()));
            }
            let began = self.local.overhead.begin(&self.local.clock);
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.client).poll_read(cx, &mut buf)).map_err(Broken::Read)?;
            let chunk = buf.filled();
            if chunk.is_empty() {
                self.to_upstream.is_read_to_end = true;
                continue;
            }
            moved += chunk.len();
            self.take(chunk, Arrival { since: None, began, may_wait: true }, cx)?;
        }
        poll_later(cx);
        Poll::Pending
    }

    /// The held chunk once it need not wait any more, and whether it may wait again.
    fn poll_held(&mut self, held: Held, cx: &mut Context<'_>) -> Option<(Vec<u8>, bool)> {
        let (is_over, may_wait) = match &held.wait {
            Wait::Answer => (!self.session.is_asking(), true),
            Wait::Flight { key, until_ns } => {
                let is_late = self.local.clock.now().0 >= *until_ns;
                (is_late || !self.session.follow(key, cx.waker()), false)
            }
        };
        if is_over {
            return Some((held.chunk, may_wait));
        }
        self.held = Some(held);
        None
    }

    /// Does with a chunk of the client's what is to be done.
    fn take(&mut self, chunk: &[u8], arrival: Arrival, cx: &mut Context<'_>) -> Result<(), Broken> {
        let local = self.local;
        let now = LazyMoment::of(&local.clock);
        let since = || arrival.since.unwrap_or_else(|| now.get());
        let step = if self.to_client.is_owing() {
            Step::Forward
        } else {
            self.session.decide(chunk, &now, arrival.may_wait)
        };
        match step {
            Step::Ask => {
                let question = self.session.ask();
                self.held = Some(Held { chunk: chunk.to_vec(), since: since(), wait: Wait::Answer });
                self.to_upstream.forward(self.upstream, &question, cx).map_err(Broken::Write)
            }
            Step::Forward => self.forward(chunk, &now, arrival.began, cx),
            Step::Serve(served) => {
                let since = since();
                let sent = self.to_client.forward(self.client, served.bytes(), cx);
                let sent_at = self.local.clock.now();
                self.local.overhead.end(arrival.began, Heading::ToClient, sent_at, &self.local.metrics);
                self.observation.served((chunk, since), (served.bytes(), sent_at));
                sent.map_err(Broken::Read)
            }
            Step::Wait(key) => {
                let until_ns = self.session.wait_until(now.get().0, cx.waker());
                self.held = Some(Held {
                    chunk: chunk.to_vec(),
                    since: since(),
                    wait: Wait::Flight { key, until_ns },
                });
                Ok(())
            }
        }
    }

    fn forward(
        &mut self,
        chunk: &[u8],
        before: &LazyMoment<'_>,
        began: Option<Moment>,
        cx: &mut Context<'_>,
    ) -> Result<(), Broken> {
        let restore = self.session.sent(chunk, before);
        let forwarded = match restore {
            None => self.to_upstream.forward(self.upstream, chunk, cx),
            Some(mut both) => {
                both.extend_from_slice(chunk);
                self.to_upstream.forward(self.upstream, &both, cx)
            }
        };
        // Read after the write: "sent" is the moment the last byte went out.
        let now = self.local.clock.now();
        self.session.reached_upstream(now.0);
        self.local.overhead.end(began, Heading::ToUpstream, now, &self.local.metrics);
        self.observation.frontend(chunk, now);
        forwarded.map_err(Broken::Write)
    }

    fn poll_upstream(&mut self, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        for _ in 0..CHUNKS_PER_POLL_MAX {
            ready!(self.to_client.poll_pay(self.client, cx)).map_err(Broken::Write)?;
            if self.to_client.is_read_to_end {
                let _ = ready!(Pin::new(&mut *self.client).poll_shutdown(cx));
                return Poll::Ready(Ok(()));
            }
            let began = self.local.overhead.begin(&self.local.clock);
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.upstream).poll_read(cx, &mut buf)).map_err(Broken::Read)?;
            let chunk = buf.filled();
            if chunk.is_empty() {
                self.to_client.is_read_to_end = true;
                continue;
            }
            let local = self.local;
            let now = LazyMoment::of(&local.clock);
            let sifted = self.session.sift(chunk, &now);
            let chunk = sifted.as_deref().unwrap_or(chunk);
            if chunk.is_empty() {
                continue;
            }
            // Whatever has got its outcome by this is finished before the client learns of it.
            self.session.heard(chunk, &now);
            let forwarded = self.to_client.forward(self.client, chunk, cx);
            let now = self.local.clock.now();
            self.local.overhead.end(began, Heading::ToClient, now, &self.local.metrics);
            self.observation.backend(chunk, now);
            forwarded.map_err(Broken::Write)?;
        }
        poll_later(cx);
        Poll::Pending
    }
}
