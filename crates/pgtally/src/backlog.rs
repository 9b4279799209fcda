//! Chunks that have been forwarded and wait to be observed.
//!
//! Observing each at once would run the kernel's, the relay's and the analysis' code in turns, each pushing the
//! others out of the processor's caches. So chunks are observed many at a time: when enough wait, when a session
//! ends, and at each tick. Their moments were taken when they went out, so nothing but the time of the looking
//! changes. Chunks of all sessions wait in one line: each session's stay in their order.

use std::ops::Range;
use std::rc::Rc;

use pgtally_analysis::Moment;

use crate::limits::{BACKLOG_BYTES_MAX, BACKLOG_CHUNKS_MAX};
use crate::observe::Slot;

/// Who sent a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// Ours: an answer in the upstream's place.
    Cache,
    Client,
    Upstream,
}

/// A chunk that waits.
pub(crate) struct Waiting {
    pub(crate) slot: Rc<Slot>,
    pub(crate) side: Side,
    /// When it had been forwarded.
    pub(crate) moment: Moment,
    range: Range<usize>,
}

/// The waiting chunks of one worker.
#[derive(Default)]
pub(crate) struct Backlog {
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
}

impl Backlog {
    /// Whether a chunk can wait; a long one is not worth copying.
    pub(crate) fn has_room(&self, chunk: &[u8]) -> bool {
        self.waiting.len() < BACKLOG_CHUNKS_MAX && self.bytes.len() + chunk.len() <= BACKLOG_BYTES_MAX
    }

    pub(crate) fn push(&mut self, slot: &Rc<Slot>, side: Side, chunk: &[u8], moment: Moment) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(chunk);
        self.waiting.push(Waiting { slot: Rc::clone(slot), side, moment, range: start..self.bytes.len() });
    }

    /// Takes all chunks out, in their order.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(&Waiting, &[u8])) {
        for waiting in self.waiting.drain(..) {
            each(&waiting, self.bytes.get(waiting.range.clone()).unwrap_or_default());
        }
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Slot;
    use crate::sessions::About;

    #[test]
    fn chunks_come_out_in_their_order_and_their_number_is_bounded() {
        let slots = [1, 2].map(|session| Rc::new(Slot::blind(session, About::default())));
        let mut backlog = Backlog::default();
        for _ in 0..2 {
            let mut pushed = Vec::new();
            for (moment, slot) in (0..).zip(slots.iter().cycle()) {
                let chunk = vec![b'x'; usize::try_from(moment).unwrap() % 300];
                if !backlog.has_room(&chunk) {
                    break;
                }
                backlog.push(slot, Side::Client, &chunk, Moment(moment));
                pushed.push((slot.session(), Moment(moment), chunk));
            }
            assert!(pushed.len() == BACKLOG_CHUNKS_MAX || backlog.bytes.len() + 300 > BACKLOG_BYTES_MAX);
            let mut taken = Vec::new();
            backlog.drain(|it, chunk| taken.push((it.slot.session(), it.moment, chunk.to_vec())));
            assert_eq!(taken, pushed);
        }
        assert!(!backlog.has_room(&[0; BACKLOG_BYTES_MAX + 1]));
    }
}
