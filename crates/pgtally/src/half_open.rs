//! Connections that have not said yet what they want: how many there may be.
//!
//! Each holds a descriptor until `relay.startup_timeout`, and costs whoever opens it nothing. A well-behaved client
//! says what it wants at once, so when there are too many the one that has been silent longest makes room: newcomers
//! get in however many others are silent. What comes later is bounded by the limits of sessions (`admission.rs`) and
//! by the upstream's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tracing::warn;

/// Those that wait.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    waiting: Mutex<Waiting>,
    most: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By number, which grows: the first has waited longest.
    connections: BTreeMap<u64, Arc<Notify>>,
    has_told: bool,
}

impl HalfOpen {
    /// Room for `most` connections.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), most })
    }

    /// Takes in the connection of this number until the answer is dropped.
    pub(crate) fn enter(self: &Arc<Self>, number: u64) -> Place {
        let is_displaced = Arc::new(Notify::new());
        let mut waiting = self.waiting();
        waiting.connections.insert(number, Arc::clone(&is_displaced));
        if waiting.connections.len() > self.most {
            if let Some((_, oldest)) = waiting.connections.pop_first() {
                oldest.notify_one();
            }
            if !std::mem::replace(&mut waiting.has_told, true) {
                warn!(
                    side = "client",
                    most = self.most,
                    "too many connections that say nothing: the oldest of them are closed"
                );
            }
        }
        Place { room: Arc::clone(self), number, is_displaced }
    }

    fn leave(&self, number: u64) {
        let mut waiting = self.waiting();
        waiting.connections.remove(&number);
        if waiting.connections.len() <= self.most / 2 {
            waiting.has_told = false;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics half way through.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is among them.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<HalfOpen>,
    number: u64,
    is_displaced: Arc<Notify>,
}

impl Place {
    /// Returns when the connection has to make room for another.
    pub(crate) async fn displaced(&self) {
        self.is_displaced.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_displaced(place: &Place) -> bool {
        pin!(place.displaced()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_one_that_waits_longest_makes_room() {
        let room = HalfOpen::new(3);
        let mut places: Vec<_> = (0..3).map(|number| room.enter(number)).collect();
        drop(places.remove(1));
        let third = room.enter(3);
        assert!(!places.iter().any(is_displaced), "there is room");
        let fourth = room.enter(4);
        assert!(is_displaced(&places[0]));
        assert!(![&places[1], &third, &fourth].into_iter().any(is_displaced));
        drop((places, third, fourth));
        assert!(room.waiting().connections.is_empty());
    }
}
