//! Copies an answer on its way to the client, and decides at its end whether it is kept.
//!
//! An answer is kept only if nothing that it depends on was written since it was asked for, and there is room for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgtally_cache::{Captured, NewEntry, Refused};

use super::{CachedSession, Fill};
use crate::cached::desk::Asked;
use crate::cached::warming::STORED;
use crate::clock::LazyMoment;

impl CachedSession {
    /// Copies the answer that is being fetched, and keeps it once it is complete.
    pub(super) fn copy(&mut self, chunk: &[u8], now: &LazyMoment<'_>) {
        let Some(fill) = &mut self.fill else { return };
        let refused = match fill.capture.feed(chunk) {
            Captured::Partial => return,
            Captured::Complete => None,
            Captured::Refused(refused) => Some(refused),
        };
        let Some(fill) = self.fill.take() else { return };
        match refused {
            Some(refused) => self.desk.cache.totals.count_refused(refused),
            None => self.keep(fill, now.get().0),
        };
    }

    /// Keeps a complete answer, or says why not: [`STORED`], or the result that is counted.
    pub(super) fn keep(&self, fill: Fill, now_ns: u64) -> &'static str {
        let cache = &self.desk.cache;
        let (Asked::Cache(planned), Some(answer)) = (&fill.meaning.asked, fill.capture.into_answer()) else {
            return cache.totals.count_refused(Refused::Unexpected);
        };
        let quota = cache.quota(&self.place.database);
        let Some(token) = cache.versions.settled(fill.token) else {
            cache.totals.fills_overtaken.fetch_add(1, Ordering::Relaxed);
            return "overtaken";
        };
        let (total, result) = if answer.len() > planned.plan.bytes_max {
            (&cache.totals.fills_too_large, "too_large")
        } else if quota.load(Ordering::Relaxed) + answer.len() as u64 > cache.quota_bytes()
            && cache.has_quotas()
        {
            (&cache.totals.fills_over_quota, "quota")
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
            (&cache.totals.filled, STORED)
        };
        total.fetch_add(1, Ordering::Relaxed);
        result
    }
}
