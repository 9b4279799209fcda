//! What the sessions of one worker thread share.

use std::sync::Arc;

use crate::counters::{Counters, Dropped};
use crate::limits::{BUSY_STATEMENTS, BUSY_WINDOW_NS};
use crate::record::{Moment, RequestPart};
use crate::shape::Shape;
use crate::tagset::TagSets;
use crate::tap::{Tap, Tapped, TappedBatch};
use crate::texts::Texts;

/// How sessions are observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObserverSettings {
    /// Nanoseconds without a statement, outside a transaction, that end a unit.
    pub idle_gap_ns: u64,
    /// Names of id tags, most trusted first.
    pub id_tags: Vec<String>,
}

impl Default for ObserverSettings {
    fn default() -> Self {
        Self {
            idle_gap_ns: 100_000_000,
            id_tags: ["request_id", "correlation_id", "trace_id", "job_id"].map(str::to_owned).to_vec(),
        }
    }
}

/// Shapes, texts, counters and finished parts of one worker thread. Never shared between threads.
pub struct Worker {
    pub(crate) settings: ObserverSettings,
    pub(crate) texts: Texts,
    pub(crate) tag_sets: TagSets,
    pub(crate) counters: Counters,
    pub(crate) parts: Vec<RequestPart>,
    pub(crate) has_counts: bool,
    pub(crate) load: Load,
    /// `None` while nobody listens.
    pub(crate) tap: Option<Box<Tap>>,
}

impl Worker {
    /// A worker that has seen nothing.
    #[must_use]
    pub fn new(settings: ObserverSettings) -> Self {
        Self {
            texts: Texts::new(),
            tag_sets: TagSets::new(settings.id_tags.clone()),
            counters: Counters::default(),
            parts: Vec::new(),
            has_counts: false,
            load: Load::default(),
            tap: None,
            settings,
        }
    }

    /// Parts of requests that are complete, idle or old.
    #[must_use]
    pub fn take_parts(&mut self) -> Vec<RequestPart> {
        std::mem::take(&mut self.parts)
    }

    /// Shapes first met since the last take.
    #[must_use]
    pub fn take_new_shapes(&mut self) -> Vec<Arc<Shape>> {
        self.texts.take_new_shapes()
    }

    /// Everything counted since the last take; `None` when nothing was.
    #[must_use]
    pub fn take_counters(&mut self) -> Option<Counters> {
        if !self.has_counts {
            return None;
        }
        self.has_counts = false;
        let dropped_shapes = self.texts.take_dropped_shapes();
        self.counters.count_dropped(Dropped::Shapes, dropped_shapes);
        let mut counters = self.counters.take();
        counters.shapes = self.texts.take_counters();
        Some(counters)
    }

    /// Whether anything waits to be taken.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.has_counts || !self.parts.is_empty()
    }

    /// Counts statements as the cache's until the answer is dropped, by a panic too.
    pub(crate) fn serving(&mut self) -> Serving<'_> {
        self.counters.exchange_sources();
        Serving(self)
    }

    /// Begins or ends to keep a copy of every statement for [`Worker::take_tapped`].
    pub fn set_tapped(&mut self, is_tapped: bool) {
        if is_tapped != self.tap.is_some() {
            self.tap = is_tapped.then(Box::default);
        }
    }

    /// What was tapped since the last take, to be completed.
    pub fn tapped_mut(&mut self) -> &mut [Tapped] {
        self.tap.as_mut().map(|tap| tap.statements_mut()).unwrap_or_default()
    }

    /// What was tapped since the last take.
    #[must_use]
    pub fn take_tapped(&mut self) -> TappedBatch {
        self.tap.as_mut().map(|tap| tap.take()).unwrap_or_default()
    }
}

/// See [`Worker::serving`].
pub(crate) struct Serving<'a>(pub(crate) &'a mut Worker);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.counters.exchange_sources();
    }
}

/// Whether the sessions of a worker send more statements than are worth recording each.
#[derive(Debug, Default)]
pub(crate) struct Load {
    window: Moment,
    /// Statements in this window that came after one of another session.
    turns: u32,
    last_session: u64,
    is_busy: bool,
}

impl Load {
    /// Counts a statement of `session`; whether the worker is busy, as this window or the one before it tells.
    pub(crate) fn is_busy(&mut self, session: u64, now: Moment) -> bool {
        self.turns += u32::from(std::mem::replace(&mut self.last_session, session) != session);
        self.is_busy |= self.turns >= BUSY_STATEMENTS;
        if now.since(self.window) >= BUSY_WINDOW_NS {
            self.is_busy = self.turns >= BUSY_STATEMENTS && now.since(self.window) < 2 * BUSY_WINDOW_NS;
            (self.window, self.turns) = (now, 0);
        }
        self.is_busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_statements_of_several_sessions_make_a_worker_busy() {
        let mut load = Load::default();
        let mut busy_of = |statements: u64, sessions: u64, step_ns: u64| {
            let start = load.window.0 + 1_000_000_000;
            let mut is_busy = |n: &u64| load.is_busy(n % sessions, Moment(start + n * step_ns));
            (0..statements).filter(|n| is_busy(n)).count()
        };
        assert_eq!(busy_of(20_000, 1, 10_000), 0, "one session alone");
        assert_eq!(busy_of(4_900, 8, 210_000), 0, "fewer than 5,000 a second");
        assert!(busy_of(20_000, 8, 50_000) > 19_000, "20,000 a second");
        assert_eq!(busy_of(1_000, 8, 1_000_000), 0, "over");
    }
}
