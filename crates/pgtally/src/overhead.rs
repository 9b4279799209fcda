//! What pgtally adds to a chunk on its way: measured on some chunks, as a clock read for each would add to what it measures.
//!
//! Measured is the time from the beginning of the read, when the bytes are there, to the end of the write: reading,
//! decrypting, deciding whether the cache has the answer, encrypting, writing. Not measured is how long the bytes waited
//! before, in the kernel, for this thread's turn.

use std::cell::Cell;

use pgtally_analysis::Moment;

use crate::clock::Clock;
use crate::metrics::Metrics;

/// One chunk in so many is measured. Odd, so that the two directions of a conversation take turns.
const MEASURED_EVERY: u32 = 61;

/// Where a chunk goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heading {
    ToClient,
    ToUpstream,
}

/// Chooses which chunks of one worker are measured.
#[derive(Debug, Default)]
pub(crate) struct Overhead {
    /// Chunks until the next one that is measured.
    left: Cell<u32>,
}

impl Overhead {
    /// To be called before each read: when it begins, if it is to be measured.
    pub(crate) fn begin(&self, clock: &Clock) -> Option<Moment> {
        (self.left.get() == 0).then(|| clock.now())
    }

    /// To be called after each chunk, with what [`Overhead::begin`] said and when the chunk had been forwarded.
    pub(crate) fn end(&self, began: Option<Moment>, heading: Heading, now: Moment, metrics: &Metrics) {
        match began {
            None => self.left.set(self.left.get().saturating_sub(1)),
            Some(began) => {
                self.left.set(MEASURED_EVERY - 1);
                metrics.overhead(heading).observe(now.since(began) as f64 / 1e9);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_of_a_conversation_are_measured_and_most_chunks_are_not() {
        let (clock, metrics, overhead) = (Clock::start(), Metrics::new().unwrap(), Overhead::default());
        for _ in 0..MEASURED_EVERY {
            for heading in [Heading::ToUpstream, Heading::ToClient] {
                // A read that finds nothing is not measured, and does not count.
                let _ = overhead.begin(&clock);
                let began = overhead.begin(&clock);
                overhead.end(began, heading, clock.now(), &metrics);
            }
        }
        for heading in [Heading::ToUpstream, Heading::ToClient] {
            assert_eq!(metrics.overhead(heading).get_sample_count(), 1, "{heading:?}");
        }
    }
}
