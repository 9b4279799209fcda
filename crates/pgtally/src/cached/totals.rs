//! What the cache counts, as atomics that any worker adds to. `metrics.rs` shows them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pgtally_cache::{BypassReason, Refused};
use rustc_hash::FxHashMap;

/// Tags counted apart; those beyond are counted together.
const TAGS_MAX: usize = 100;
/// Label of the tags beyond [`TAGS_MAX`].
const OTHER: &str = "other";
/// Label of answers without a tag.
const UNTAGGED: &str = "none";

/// Lookups of answers by their first tag.
#[derive(Debug, Default)]
pub(crate) struct TagTotals {
    pub(crate) hits: AtomicU64,
    /// Hits with an answer beyond its lifetime, while a new one was fetched.
    pub(crate) stale: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) saved_us: AtomicU64,
}

impl TagTotals {
    pub(super) fn count_hit(&self, is_stale: bool, saved: Duration) {
        let hits = if is_stale { &self.stale } else { &self.hits };
        hits.fetch_add(1, Ordering::Relaxed);
        let saved_us = u64::try_from(saved.as_micros()).unwrap_or(u64::MAX);
        self.saved_us.fetch_add(saved_us, Ordering::Relaxed);
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    bypasses: [AtomicU64; BypassReason::ALL.len()],
    tags: Mutex<FxHashMap<Arc<str>, Arc<TagTotals>>>,
    pub(crate) filled: AtomicU64,
    pub(crate) fills_too_large: AtomicU64,
    pub(crate) fills_unexpected: AtomicU64,
    /// Something was written meanwhile.
    pub(crate) fills_overtaken: AtomicU64,
    pub(crate) fills_over_quota: AtomicU64,
    /// Sessions that ended before their answer was complete.
    pub(crate) fills_aborted: AtomicU64,
    pub(crate) invalidated_by_order: AtomicU64,
    pub(crate) invalidated_all: AtomicU64,
    pub(crate) invalidated_by_loss: AtomicU64,
    /// Entries met when they were old, because of a write or of their age.
    pub(crate) met_overwritten: AtomicU64,
    pub(crate) met_expired: AtomicU64,
    pub(crate) ambiguous: AtomicU64,
    /// Words of hints that meant nothing or asked for more than is allowed.
    pub(crate) nonsense: AtomicU64,
}

impl Totals {
    pub(super) fn count_bypass(&self, reason: BypassReason) {
        if let Some(total) = self.bypasses.get(reason as usize) {
            total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an answer that cannot be kept. Answers with the reason.
    pub(super) fn count_refused(&self, refused: Refused) -> &'static str {
        let (total, reason) = match refused {
            Refused::TooLarge => (&self.fills_too_large, "too_large"),
            Refused::Unexpected => (&self.fills_unexpected, "unexpected"),
        };
        total.fetch_add(1, Ordering::Relaxed);
        reason
    }

    /// Reasons with their counts.
    pub(crate) fn bypasses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.bypasses.iter().map(|count| count.load(Ordering::Relaxed));
        BypassReason::ALL.into_iter().map(BypassReason::name).zip(counts)
    }

    /// The counters of the answers whose first tag this is.
    pub(super) fn of_tag(&self, tags: &[Box<str>]) -> Arc<TagTotals> {
        let name = tags.first().map_or(UNTAGGED, |tag| tag);
        let mut known = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = known.len() >= TAGS_MAX && !known.contains_key(name);
        let name = if is_full { OTHER } else { name };
        Arc::clone(known.entry(name.into()).or_default())
    }

    /// All counted tags.
    pub(crate) fn tags(&self) -> Vec<(Arc<str>, Arc<TagTotals>)> {
        let known = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(name, totals)| (Arc::clone(name), Arc::clone(totals))).collect()
    }

    /// Results of fills with their counts.
    pub(crate) fn fills(&self) -> [(&'static str, &AtomicU64); 6] {
        [
            ("aborted", &self.fills_aborted),
            ("overtaken", &self.fills_overtaken),
            ("quota", &self.fills_over_quota),
            ("stored", &self.filled),
            ("too_large", &self.fills_too_large),
            ("unexpected", &self.fills_unexpected),
        ]
    }

    /// Causes of invalidations with their counts.
    pub(crate) fn invalidations(&self) -> [(&'static str, &AtomicU64); 5] {
        [
            ("all", &self.invalidated_all),
            ("ambiguous_commit", &self.ambiguous),
            ("order", &self.invalidated_by_order),
            ("upstream_lost", &self.invalidated_by_loss),
            ("write", &self.met_overwritten),
        ]
    }
}
