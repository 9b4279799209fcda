//! What the sessions of one worker thread share.

use std::sync::Arc;

use crate::counters::{Counters, Dropped};
use crate::record::RequestPart;
use crate::shape::Shape;
use crate::tagset::TagSets;
use crate::tap::{Tap, TappedBatch};
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
            tap: None,
            settings,
        }
    }

    /// Parts of requests that are complete, idle or old.
    #[must_use]
    pub fn take_parts(&mut self) -> Vec<RequestPart> {
        std::mem::take(&mut self.parts)
    }

    /// How many parts wait to be taken.
    #[must_use]
    pub const fn parts_waiting(&self) -> usize {
        self.parts.len()
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

    /// Begins or ends to keep a copy of every statement for [`Worker::take_tapped`].
    pub fn set_tapped(&mut self, is_tapped: bool) {
        if is_tapped != self.tap.is_some() {
            self.tap = is_tapped.then(Box::default);
        }
    }

    /// What was tapped since the last take.
    #[must_use]
    pub fn take_tapped(&mut self) -> TappedBatch {
        self.tap.as_mut().map(|tap| tap.take()).unwrap_or_default()
    }
}
