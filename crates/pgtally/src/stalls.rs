//! Peers that take nothing while bytes wait for them: slow readers, counted and told by side.
//!
//! That a peer does not take everything at once is everyday life and costs its own direction alone. One that takes
//! nothing for [`STALLED_AFTER`] holds up its session, and an operator who asks why a statement "hangs" should read
//! which side it is. Nothing is looked at on the path of a message: a session enters when its direction stops, and the
//! worker's tick finds who has been there too long.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use pgtally_analysis::Moment;
use tracing::info;

use crate::limits::STALLED_AFTER;
use crate::metrics::Metrics;
use crate::relay::Direction;
use crate::worker::Local;

/// Who does not take what waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Client,
    Upstream,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        }
    }
}

/// The directions of one worker that stand still: two per session at most.
#[derive(Debug, Default)]
pub(crate) struct Stalls(RefCell<BTreeMap<(u64, Side), Stall>>);

#[derive(Debug)]
struct Stall {
    since: Moment,
    is_told: bool,
}

impl Stalls {
    /// Tells of those that have lasted too long; true while others may come to that.
    pub(crate) fn tick(&self, now: Moment, metrics: &Metrics) -> bool {
        let mut has_more = false;
        for ((session, side), stall) in self.0.borrow_mut().iter_mut().filter(|(_, stall)| !stall.is_told) {
            if Duration::from_nanos(now.since(stall.since)) < STALLED_AFTER {
                has_more = true;
                continue;
            }
            stall.is_told = true;
            let side = side.name();
            metrics.stalls.with_label_values(&[side]).inc();
            metrics.sessions_stalled.with_label_values(&[side]).inc();
            info!(session, side, "takes nothing for {STALLED_AFTER:?} while bytes wait for it");
        }
        has_more
    }

    fn begin(&self, session: u64, side: Side, now: Moment) {
        self.0.borrow_mut().insert((session, side), Stall { since: now, is_told: false });
    }

    /// Forgets one; when it was told, how long it took.
    fn end(&self, session: u64, side: Side, now: Moment, metrics: &Metrics) -> Option<Duration> {
        let stall = self.0.borrow_mut().remove(&(session, side)).filter(|stall| stall.is_told)?;
        metrics.sessions_stalled.with_label_values(&[side.name()]).dec();
        Some(Duration::from_nanos(now.since(stall.since)))
    }
}

/// One session's directions, which enter and leave [`Stalls`].
pub(crate) struct StallWatch<'a> {
    local: &'a Local,
    session: u64,
    is_client_stalled: bool,
    is_upstream_stalled: bool,
}

impl<'a> StallWatch<'a> {
    pub(crate) fn of(session: u64, local: &'a Local) -> Self {
        Self { local, session, is_client_stalled: false, is_upstream_stalled: false }
    }

    /// To be called once the directions have moved what they could.
    pub(crate) fn look(&mut self, to_upstream: &Direction, to_client: &Direction) {
        let (client, upstream) = (to_client.is_stalled(), to_upstream.is_stalled());
        if self.is_client_stalled != client {
            self.is_client_stalled = client;
            self.change(Side::Client, client);
        }
        if self.is_upstream_stalled != upstream {
            self.is_upstream_stalled = upstream;
            self.change(Side::Upstream, upstream);
        }
    }

    #[cold]
    fn change(&self, side: Side, is_stalled: bool) {
        let Local { clock, metrics, observatory, stalls, .. } = self.local;
        let session = self.session;
        if is_stalled {
            stalls.begin(session, side, clock.now());
            observatory.want_tick();
        } else if let Some(lasted) = stalls.end(session, side, clock.now(), metrics) {
            info!(session, side = side.name(), seconds = lasted.as_secs(), "takes bytes again");
        }
    }
}

impl Drop for StallWatch<'_> {
    fn drop(&mut self) {
        let Local { clock, metrics, stalls, .. } = self.local;
        let sides = [(Side::Client, self.is_client_stalled), (Side::Upstream, self.is_upstream_stalled)];
        for (side, _) in sides.into_iter().filter(|(_, is_stalled)| *is_stalled) {
            if let Some(lasted) = stalls.end(self.session, side, clock.now(), metrics) {
                let (session, side, seconds) = (self.session, side.name(), lasted.as_secs());
                info!(session, side, seconds, "the session ends with bytes that were not taken");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_told_and_only_once() {
        let (stalls, metrics) = (Stalls::default(), Metrics::new().unwrap());
        let told = || ["client", "upstream"].map(|side| metrics.stalls.with_label_values(&[side]).get());
        let now =
            || ["client", "upstream"].map(|side| metrics.sessions_stalled.with_label_values(&[side]).get());
        let at = |seconds: u64| Moment(seconds * 1_000_000_000);
        let after = STALLED_AFTER.as_secs();
        stalls.begin(1, Side::Client, at(0));
        stalls.begin(1, Side::Upstream, at(1));
        stalls.begin(2, Side::Client, at(0));
        assert_eq!(stalls.end(2, Side::Client, at(1), &metrics), None, "everyday life");
        assert!(stalls.tick(at(after), &metrics), "one may come to it");
        assert_eq!((told(), now()), ([1, 0], [1, 0]));
        assert!(!stalls.tick(at(after + 1), &metrics));
        assert_eq!((told(), now()), ([1, 1], [1, 1]));
        assert_eq!(
            stalls.end(1, Side::Client, at(after + 2), &metrics),
            Some(Duration::from_secs(after + 2))
        );
        assert_eq!((told(), now()), ([1, 1], [0, 1]));
        stalls.begin(1, Side::Client, at(90));
        assert!(stalls.tick(at(91), &metrics), "it begins anew");
    }
}
