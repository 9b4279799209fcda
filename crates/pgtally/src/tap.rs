//! The live tap's plumbing: who listens, and the stream of server-sent events each listener reads.
//!
//! While nobody listens the switch is off, workers copy nothing and the aggregator has nothing to show. A listener
//! that reads too slowly loses events, which are counted and told to it; nobody ever waits for a listener.

pub(crate) mod command;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use pgtally_analysis::Moment;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, interval_at};

use crate::filter::Filter;
use crate::limits::{
    TAP_BATCHES_MAX, TAP_EVENTS_MAX, TAP_EVENTS_PER_SECOND, TAP_HEARTBEAT, TAP_LISTENERS_MAX,
};

/// Whether anybody listens; clones are the same switch.
#[derive(Clone, Debug, Default)]
pub(crate) struct TapSwitch(Arc<AtomicUsize>);

/// Keeps the switch on.
#[derive(Debug)]
struct Listening(TapSwitch);

/// The aggregator's side of one listener.
pub(crate) struct Listener {
    pub(crate) filter: Filter,
    /// Whether transaction control, settings and pings are wanted too.
    pub(crate) wants_all: bool,
    /// Server-sent events, some at a time.
    pub(crate) chunks: mpsc::Sender<Vec<u8>>,
    /// Events lost since the listener was told last.
    pub(crate) dropped: u64,
    pub(crate) allowance: Allowance,
}

/// How many events a listener may still have: [`TAP_EVENTS_MAX`] at first, and as time goes by again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) events: u64,
    since: Moment,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { events: TAP_EVENTS_MAX, since: Moment(0) }
    }
}

impl Allowance {
    /// Adds what the time up to `now` allows.
    pub(crate) fn refill(&mut self, now: Moment) {
        const EVENT_NS: u64 = 1_000_000_000 / TAP_EVENTS_PER_SECOND;
        let events = now.since(self.since) / EVENT_NS;
        if self.events.saturating_add(events) >= TAP_EVENTS_MAX {
            *self = Self { events: TAP_EVENTS_MAX, since: now };
        } else {
            // What is left of the time counts the next time.
            self.events += events;
            self.since = Moment(self.since.0 + events * EVENT_NS);
        }
    }
}

/// The HTTP side of one listener.
pub(crate) struct TapStream {
    chunks: mpsc::Receiver<Vec<u8>>,
    /// Finds out that nobody is there any more although nothing happens.
    heartbeat: Interval,
    _listening: Listening,
}

/// One statement as listeners see it.
#[derive(Debug, Serialize)]
pub(crate) struct TapView<'a> {
    /// RFC 3339: when it was sent.
    pub(crate) at: String,
    pub(crate) session: u64,
    /// Key of its request; empty outside of one.
    pub(crate) request: &'a str,
    pub(crate) route: &'a str,
    pub(crate) attribution: &'static str,
    pub(crate) database: &'a str,
    pub(crate) application: &'a str,
    /// Its first word, in lower case.
    pub(crate) op: &'a str,
    pub(crate) kind: &'static str,
    /// 16 hexadecimal digits.
    pub(crate) fingerprint: &'a str,
    /// Normalized text, cut where it is long; null when it is not kept.
    pub(crate) statement: Option<&'a str>,
    /// As it was sent, where the operator lets values be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) values: Option<&'a [Option<String>]>,
    /// For psql, with those values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) psql: Option<String>,
    pub(crate) duration_ms: f64,
    /// Last byte sent to first byte of the answer.
    pub(crate) server_ms: f64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// How often this statement has run in its request while somebody listened, this time included.
    pub(crate) repeat: u32,
    /// Whether it waited for the answer to the one before.
    pub(crate) round_trip: bool,
    /// Whether it counts as a query of its request.
    pub(crate) counted: bool,
    /// Whether it is the repeated statement of a known N+1 of its route.
    pub(crate) n_plus_one: bool,
    pub(crate) slow: bool,
    /// SQLSTATE when it failed.
    pub(crate) error: Option<&'a str>,
}

impl TapSwitch {
    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// A pair of ends; `None` when too many listen already.
    pub(crate) fn listen(&self, filter: Filter, wants_all: bool) -> Option<(Listener, TapStream)> {
        let room = |count: usize| (count < TAP_LISTENERS_MAX).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        let listening = Listening(self.clone());
        let (sender, chunks) = mpsc::channel(TAP_BATCHES_MAX);
        // Tells at once that the stream has begun.
        let _ = sender.try_send(b": listening\n\n".to_vec());
        let heartbeat = interval_at(Instant::now() + TAP_HEARTBEAT, TAP_HEARTBEAT);
        let wants_all = wants_all || filter.names_operations();
        let allowance = Allowance::default();
        let listener = Listener { filter, wants_all, chunks: sender, dropped: 0, allowance };
        Some((listener, TapStream { chunks, heartbeat, _listening: listening }))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stream for TapStream {
    type Item = Result<Vec<u8>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(chunk) = self.chunks.poll_recv(context) {
            return Poll::Ready(chunk.map(Ok));
        }
        self.heartbeat.poll_tick(context).map(|_| Some(Ok(b": nothing new\n\n".to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_shown_whole_and_then_only_so_many_a_second() {
        let mut allowance = Allowance { events: 0, ..Allowance::default() };
        let second = |tenths: u64| Moment(tenths * 100_000_000);
        allowance.refill(second(1_000));
        assert_eq!(allowance.events, TAP_EVENTS_MAX);
        // In tenths of a second, and in pieces too short for one event.
        allowance.events = 0;
        for tenth in 1..=5 {
            allowance.refill(second(1_000 + tenth));
        }
        assert_eq!(allowance.events, TAP_EVENTS_PER_SECOND / 2);
        for microsecond in 1..=1_000 {
            allowance.refill(Moment(second(1_005).0 + microsecond * 10_000));
        }
        assert_eq!(allowance.events, TAP_EVENTS_PER_SECOND / 2 + TAP_EVENTS_PER_SECOND / 100);
        // A clock that stands still, or goes back, gives nothing.
        allowance.refill(Moment(0));
        assert_eq!(allowance.events, TAP_EVENTS_PER_SECOND / 2 + TAP_EVENTS_PER_SECOND / 100);
    }

    #[tokio::test]
    async fn the_switch_is_on_while_somebody_listens_and_their_number_is_bounded() {
        let switch = TapSwitch::default();
        assert!(!switch.is_on());
        let mut ends: Vec<_> =
            (0..TAP_LISTENERS_MAX).map(|_| switch.listen(Filter::default(), false).expect("room")).collect();
        assert!(switch.listen(Filter::default(), false).is_none());
        ends.pop();
        assert!(switch.listen(Filter::default(), false).is_some());
        drop(ends);
        assert!(!switch.is_on());
    }
}
