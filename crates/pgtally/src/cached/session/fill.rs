//! Copies an answer on its way to the client, and decides at its end whether it is kept.
//!
//! An answer is kept only if nothing that it depends on was written since it was asked for, and there is room for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgtally_cache::{Captured, NewEntry, Refused};

use super::{CachedSession, Fill};
use crate::cached::desk::Asked;
use crate::clock::LazyMoment;

impl CachedSession {
    /// Copies the answer that is being fetched, and keeps it once it is complete.
    pub(super) fn copy(&mut self, chunk: &[u8], now: &LazyMoment<'_>) {
        let Some(fill) = &mut self.fill else { return };
        let totals = &self.desk.cache.totals;
        let refused = match fill.capture.feed(chunk) {
            Captured::Partial => return,
            Captured::Complete => None,
            Captured::Refused(Refused::TooLarge) => Some(&totals.fills_too_large),
            Captured::Refused(Refused::Unexpected) => Some(&totals.fills_unexpected),
        };
        let Some(fill) = self.fill.take() else { return };
        match refused {
            Some(total) => drop(total.fetch_add(1, Ordering::Relaxed)),
            None => self.keep(fill, now.get().0),
        }
    }

    fn keep(&self, fill: Fill, now_ns: u64) {
        let cache = &self.desk.cache;
        let Asked::Cache(planned) = &fill.meaning.asked else { return };
        let Some(answer) = fill.capture.into_answer() else { return };
        let quota = cache.quota(&self.place.database);
        let Some(token) = cache.versions.settled(fill.token) else {
            cache.totals.fills_overtaken.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let total = if answer.len() > planned.plan.bytes_max {
            &cache.totals.fills_too_large
        } else if quota.load(Ordering::Relaxed) + answer.len() as u64 > cache.quota_bytes()
            && cache.has_quotas()
        {
            &cache.totals.fills_over_quota
        } else {
            let new = NewEntry {
                answer,
                token,
                mode: planned.plan.mode,
                sent_ns: fill.sent_ns,
                cost: Duration::from_nanos(now_ns.saturating_sub(fill.sent_ns)),
                fingerprint: planned.fingerprint,
                database: Arc::clone(&self.place.database),
                tags: Arc::clone(&planned.tags),
                quota,
            };
            cache.store.keep(fill.key, new);
            &cache.totals.filled
        };
        total.fetch_add(1, Ordering::Relaxed);
    }
}
