//! One question at a time: who asks for an answer that is already being fetched waits for it.
//!
//! The first to miss an answer *leads*; its [`Lead`] is dropped when the answer is kept or given up, however that
//! comes about, and those who wait are woken and look again. What they find then is judged as any hit is. How long
//! somebody waits is the shell's affair: there is no clock here. All interleavings are explored in `flight/model.rs`.

use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use rustc_hash::FxHashMap;

use crate::key::Key;

/// Answers on their way, of all sessions of a process; beyond it every miss goes its own way.
pub const FLIGHTS_MAX: usize = 10_000;
/// Sessions that wait for one answer; more go to the server.
pub const FOLLOWERS_MAX: usize = 1_000;

/// All answers on their way.
#[derive(Debug, Default)]
pub struct Flights(Mutex<FxHashMap<Key, Vec<Waker>>>);

/// The duty to wake those who wait. Dropping it does.
#[derive(Debug)]
pub struct Lead {
    flights: Arc<Flights>,
    key: Key,
}

impl Flights {
    fn table(&self) -> std::sync::MutexGuard<'_, FxHashMap<Key, Vec<Waker>>> {
        // Nothing panics while it is held; the table is sound in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leads the flight to `key`; `None` while somebody else does, or where there are too many.
    #[must_use]
    pub fn lead(self: &Arc<Self>, key: &Key) -> Option<Lead> {
        let mut table = self.table();
        if table.len() >= FLIGHTS_MAX {
            return None;
        }
        match table.entry(key.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => {
                place.insert(Vec::new());
                Some(Lead { flights: Arc::clone(self), key: key.clone() })
            }
        }
    }

    /// Whether somebody leads the flight to `key`.
    #[must_use]
    pub fn is_flying(&self, key: &Key) -> bool {
        self.table().contains_key(key)
    }

    /// Wakes `waker` when the flight to `key` is over; false where there is none, or too many wait for it.
    #[must_use]
    pub fn follow(&self, key: &Key, waker: &Waker) -> bool {
        let mut table = self.table();
        let Some(followers) = table.get_mut(key) else { return false };
        if followers.iter().any(|follower| follower.will_wake(waker)) {
            return true;
        }
        let has_room = followers.len() < FOLLOWERS_MAX;
        if has_room {
            followers.push(waker.clone());
        }
        has_room
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Woken outside the lock: whoever wakes looks for the key at once.
        let followers = self.flights.table().remove(&self.key);
        followers.into_iter().flatten().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::key::{Environment, KeyRef};

    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_follows_is_woken_however_the_flight_ends() {
        let environment = Arc::new(Environment::new(b""));
        let [key, other] = [b"a", b"b"].map(|bytes| KeyRef { environment: &environment, bytes }.to_key());
        let flights = Arc::new(Flights::default());
        let bell = Arc::new(Bell(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&bell));
        assert!(!flights.follow(&key, &waker));
        let lead = flights.lead(&key).unwrap();
        assert!(flights.lead(&key).is_none());
        assert!(flights.lead(&other).is_some());
        assert!(flights.follow(&key, &waker) && flights.follow(&key, &waker));
        assert!(flights.is_flying(&key) && !flights.is_flying(&other));
        drop(lead);
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        assert!(flights.lead(&key).is_some());
    }

    #[test]
    fn followers_and_flights_are_bounded() {
        let environment = Arc::new(Environment::new(b""));
        let flights = Arc::new(Flights::default());
        let mut leads = Vec::new();
        for n in 0..FLIGHTS_MAX + 1 {
            let key = KeyRef { environment: &environment, bytes: &n.to_le_bytes() }.to_key();
            leads.extend(flights.lead(&key));
        }
        assert_eq!(leads.len(), FLIGHTS_MAX);
        let bells = (0..=FOLLOWERS_MAX).map(|_| Waker::from(Arc::new(Bell(AtomicUsize::new(0)))));
        let followers = bells.filter(|waker| flights.follow(&leads[0].key, waker)).count();
        assert_eq!(followers, FOLLOWERS_MAX);
    }
}
