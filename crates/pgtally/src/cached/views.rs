//! The cache as operators see it: metrics, and answers of the API.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::IntCounterVec;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::Cache;
use super::totals::TagTotals;
use crate::api::SCHEMA_VERSION;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Entries listed, those that saved most first.
const ENTRIES_LISTED_MAX: usize = 100;
/// Tags listed.
const TAGS_LISTED_MAX: usize = 1_000;

/// Answer to `GET /api/v1/cache`.
#[derive(Clone, Debug, Serialize)]
pub struct CacheAnswer {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether the lists hold all there is.
    pub complete: bool,
    /// Whether there is a cache.
    pub enabled: bool,
    /// Bytes of all entries.
    pub bytes: u64,
    /// Most bytes.
    pub capacity_bytes: u64,
    /// Entries, old ones among them that nobody has met yet.
    pub entries: usize,
    /// Tags, most database time saved first.
    pub tags: Vec<TagView>,
    /// Why reads that were to be cached went to PostgreSQL.
    pub bypassed: Vec<ReasonView>,
    /// Kept answers, most database time saved first.
    pub kept: Vec<EntryView>,
    /// Words of hints that meant nothing or asked for more than is allowed.
    pub nonsense: u64,
}

/// What a tag has brought. Answers with several tags count for the first one.
#[derive(Clone, Debug, Serialize)]
pub struct TagView {
    /// The tag, `none` for answers without one.
    pub tag: String,
    /// Answers given.
    pub hits: u64,
    /// Answers given beyond their lifetime, while a new one was fetched.
    pub stale: u64,
    /// Answers that had to be fetched.
    pub misses: u64,
    /// Time that the server took for the answers given, when it gave them.
    pub saved_ms: f64,
    /// Entries with this tag, in whatever place, that are good at present.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A reason with its count.
#[derive(Clone, Debug, Serialize)]
pub struct ReasonView {
    /// The reason.
    pub reason: &'static str,
    /// Reads.
    pub count: u64,
}

/// A kept answer.
#[derive(Clone, Debug, Serialize)]
pub struct EntryView {
    /// Shape of its statement, 16 hexadecimal digits.
    pub fingerprint: String,
    /// Database.
    pub database: String,
    /// Promise.
    pub mode: &'static str,
    /// Tags.
    pub tags: Vec<String>,
    /// Bytes it counts for.
    pub bytes: u64,
    /// Times it was given.
    pub hits: u64,
    /// Seconds since its question was sent.
    pub age_s: f64,
    /// Time that the server took for it.
    pub cost_ms: f64,
    /// Whether nothing was written since to what it depends on.
    pub current: bool,
}

/// What `POST /api/v1/cache/invalidate` is to make old.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Invalidation {
    pub(crate) tags: Vec<String>,
    pub(crate) tables: Vec<String>,
    pub(crate) all: bool,
}

/// What `POST /api/v1/cache/warm` is to ask again.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Warming {
    /// Only answers with one of these; all where there are none.
    pub(crate) tags: Vec<String>,
    /// Questions at most, the hottest.
    pub(crate) max: usize,
}

impl Default for Warming {
    fn default() -> Self {
        Self { tags: Vec::new(), max: 100 }
    }
}

/// Answer to it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InvalidatedAnswer {
    pub(crate) schema_version: u32,
    pub(crate) complete: bool,
    /// Entries that are old now, whatever made them so.
    pub(crate) old_entries: usize,
}

/// The state of a proxy's cache, or of one without.
pub(crate) fn answer(cache: Option<&Cache>, clock: Clock) -> CacheAnswer {
    let Some(cache) = cache else {
        return CacheAnswer {
            schema_version: SCHEMA_VERSION,
            complete: true,
            enabled: false,
            bytes: 0,
            capacity_bytes: 0,
            entries: 0,
            tags: Vec::new(),
            bypassed: Vec::new(),
            kept: Vec::new(),
            nonsense: 0,
        };
    };
    let now_ns = clock.now().0;
    let mut tags: FxHashMap<Arc<str>, TagView> = cache
        .totals
        .tags()
        .into_iter()
        .map(|(tag, totals)| (Arc::clone(&tag), tag_view(&tag, &totals)))
        .collect();
    let mut kept = Vec::new();
    for entry in cache.store.entries() {
        let is_current = cache.versions.is_current(&entry.token);
        for tag in entry.tags.iter().filter(|_| is_current) {
            if let Some(view) = tags.get_mut(&**tag) {
                view.entries += 1;
                view.bytes += entry.weight();
            } else if tags.len() < TAGS_LISTED_MAX {
                let view =
                    TagView { entries: 1, bytes: entry.weight(), ..tag_view(tag, &TagTotals::default()) };
                tags.insert(Arc::from(&**tag), view);
            }
        }
        kept.push(EntryView {
            fingerprint: entry.fingerprint.to_string(),
            database: entry.database.to_string(),
            mode: entry.mode.name(),
            tags: entry.tags.iter().map(ToString::to_string).collect(),
            bytes: entry.weight(),
            hits: entry.hits(),
            age_s: now_ns.saturating_sub(entry.sent_ns) as f64 / 1e9,
            cost_ms: entry.cost.as_secs_f64() * 1e3,
            current: is_current,
        });
    }
    let saved = |view: &EntryView| view.hits as f64 * view.cost_ms;
    kept.sort_by(|one, two| saved(two).total_cmp(&saved(one)));
    let is_complete = kept.len() <= ENTRIES_LISTED_MAX;
    kept.truncate(ENTRIES_LISTED_MAX);
    let mut tags: Vec<TagView> = tags.into_values().collect();
    tags.sort_by(|one, two| two.saved_ms.total_cmp(&one.saved_ms).then_with(|| one.tag.cmp(&two.tag)));
    let bypassed = cache.totals.bypasses().filter(|(_, count)| *count > 0);
    CacheAnswer {
        schema_version: SCHEMA_VERSION,
        complete: is_complete,
        enabled: true,
        bytes: cache.store.bytes(),
        capacity_bytes: cache.store.capacity_bytes(),
        entries: cache.store.len(),
        tags,
        bypassed: bypassed.map(|(reason, count)| ReasonView { reason, count }).collect(),
        kept,
        nonsense: cache.totals.nonsense.load(Ordering::Relaxed),
    }
}

fn tag_view(tag: &str, totals: &TagTotals) -> TagView {
    TagView {
        tag: tag.to_owned(),
        hits: totals.hits.load(Ordering::Relaxed),
        stale: totals.stale.load(Ordering::Relaxed),
        misses: totals.misses.load(Ordering::Relaxed),
        saved_ms: totals.saved_us.load(Ordering::Relaxed) as f64 / 1e3,
        entries: 0,
        bytes: 0,
    }
}

/// Brings the metrics up to what was counted.
pub(crate) fn publish(cache: &Cache, metrics: &Metrics) {
    let totals = &cache.totals;
    for (tag, of_tag) in totals.tags() {
        for (result, count) in [("hit", &of_tag.hits), ("miss", &of_tag.misses), ("stale", &of_tag.stale)] {
            raise(&metrics.cache_lookups, &[&tag, result], count.load(Ordering::Relaxed));
        }
        let saved = metrics.cache_saved.with_label_values(&[&*tag]);
        let seconds = of_tag.saved_us.load(Ordering::Relaxed) as f64 / 1e6;
        saved.inc_by((seconds - saved.get()).max(0.0));
    }
    for (reason, count) in totals.bypasses() {
        raise(&metrics.cache_bypass, &[reason], count);
    }
    for (result, count) in totals.fills() {
        raise(&metrics.cache_fills, &[result], count.load(Ordering::Relaxed));
    }
    for (cause, count) in totals.invalidations() {
        raise(&metrics.cache_invalidations, &[cause], count.load(Ordering::Relaxed));
    }
    raise(&metrics.cache_evictions, &["capacity"], cache.store.evictions());
    raise(&metrics.cache_evictions, &["expired"], totals.met_expired.load(Ordering::Relaxed));
    metrics.cache_bytes.set(signed(cache.store.bytes()));
    metrics.cache_capacity.set(signed(cache.store.capacity_bytes()));
    metrics.cache_entries.set(signed(cache.store.len() as u64));
    let nonsense = totals.nonsense.load(Ordering::Relaxed);
    metrics.cache_hints_refused.inc_by(nonsense.saturating_sub(metrics.cache_hints_refused.get()));
}

fn raise(counters: &IntCounterVec, labels: &[&str], total: u64) {
    let counter = counters.with_label_values(labels);
    counter.inc_by(total.saturating_sub(counter.get()));
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
