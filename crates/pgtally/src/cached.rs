//! The cache of tagged reads in the shell: what all workers share of it.
//!
//! A session of a proxy with `cache.enabled` is relayed by `cached/relay.rs` in the place of `relay.rs`: it looks at
//! the client's bytes *before* they are forwarded, as a commit has to be known before it can happen. What is served,
//! and what has become old, is decided in `crates/cache`; here are the sockets, the clock and the counters.
//!
//! Read next: `cached/session.rs` (what becomes of a chunk), `cached/desk.rs` (what a text means).

mod alarm;
pub(crate) mod command;
mod desk;
mod doubts;
mod environment;
mod locks;
mod relay;
mod session;
mod totals;
pub(crate) mod views;
pub(crate) mod warming;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use pgtally_cache::{Flights, Hot, Policy, Store, Versions, WriteSet};
use rustc_hash::FxHashMap;
use tracing::info;

use self::alarm::Alarm;
pub(crate) use self::desk::Desk;
use self::doubts::{Doubt, Doubts};
pub(crate) use self::relay::relay;
pub(crate) use self::session::CachedSession;
pub(crate) use self::totals::Totals;
use self::warming::Warmers;
use crate::catalog::{Catalogs, database_id};
use crate::config::CacheSettings;
use crate::live::Live;

/// Databases with a quota of their own; those beyond share one.
const QUOTAS_MAX: usize = 256;

/// The cache of one proxy.
pub(crate) struct Cache {
    settings: CacheSettings,
    /// Replaced by a reload; whoever keeps something derived from it keeps its number as well.
    policy: RwLock<Arc<Policy>>,
    policy_number: AtomicU64,
    pub(crate) versions: Arc<Versions>,
    catalogs: Arc<Catalogs>,
    store: Store,
    flights: Arc<Flights>,
    /// What is asked most, and the sessions that may ask it again.
    hot: Hot,
    warmers: Warmers,
    quotas: Mutex<FxHashMap<Arc<str>, Arc<AtomicU64>>>,
    pub(crate) totals: Totals,
    alarm: Alarm,
    doubts: Doubts,
    /// Reasons for which nothing is served at present; see [`Cache::suspend`].
    suspensions: AtomicUsize,
}

impl Cache {
    /// An empty cache; `None` where the configuration wants none.
    pub(crate) fn new(settings: &CacheSettings, catalogs: Arc<Catalogs>) -> Option<Arc<Self>> {
        if !settings.is_on {
            return None;
        }
        Some(Arc::new(Self {
            policy: RwLock::new(Arc::new(settings.policy.clone())),
            policy_number: AtomicU64::new(1),
            versions: catalogs.versions(),
            catalogs,
            store: Store::new(settings.capacity_bytes),
            flights: Arc::default(),
            hot: Hot::new(settings.capacity_bytes),
            warmers: Warmers::default(),
            quotas: Mutex::default(),
            totals: Totals::default(),
            alarm: Alarm::start(),
            doubts: Doubts::default(),
            suspensions: AtomicUsize::new(0),
            settings: settings.clone(),
        }))
    }

    /// Rules and limits that count from now on.
    pub(crate) fn reload(&self, settings: &CacheSettings) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings.policy.clone());
        self.policy_number.fetch_add(1, Ordering::SeqCst);
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts the bytes of a database's answers.
    fn quota(&self, database: &Arc<str>) -> Arc<AtomicU64> {
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if quotas.len() < QUOTAS_MAX { Arc::clone(database) } else { Arc::from("") };
        Arc::clone(quotas.entry(name).or_default())
    }

    /// Whether one database may have less than all.
    fn has_quotas(&self) -> bool {
        self.settings.database_share < 100
    }

    fn quota_bytes(&self) -> u64 {
        self.store.capacity_bytes() / 100 * u64::from(self.settings.database_share)
    }

    /// Keeps what a commit of unknown outcome may have changed from being served, until the server has surely done
    /// or undone it.
    fn hold(&self, doubt: Doubt) {
        if doubt.open.is_empty() {
            return;
        }
        self.totals.ambiguous.fetch_add(1, Ordering::Relaxed);
        self.doubts.add(doubt, self.settings.ambiguous_hold);
    }

    /// Whether every write of which answers know passes through this process.
    fn is_serving(&self) -> bool {
        self.suspensions.load(Ordering::SeqCst) == 0
    }

    /// Serves nothing from here on: another process may write from now on.
    pub(crate) fn suspend(&self) {
        self.suspensions.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends one [`Cache::suspend`], some time after the other process is gone: what it has sent last may still be at
    /// work in the server then. Nothing from before is served.
    pub(crate) async fn resume(&self) {
        tokio::time::sleep(self.settings.ambiguous_hold).await;
        self.versions.forget_prepared();
        self.flush();
        self.suspensions.fetch_sub(1, Ordering::SeqCst);
        info!("no other process writes any more; answers come from the cache again");
    }

    /// Ends doubts about commits, until the proxy does.
    pub(crate) async fn settle_forever(self: Arc<Self>, live: Live) {
        self.doubts.settle_forever(&self.versions, live).await;
    }

    /// Makes answers with these tags old, those that read these tables, or all. Answers with the entries that are
    /// old now.
    pub(crate) fn invalidate(&self, tags: &[String], tables: &[String], is_all: bool) -> usize {
        let mut databases: Vec<Arc<str>> =
            self.quotas.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        databases.push(Arc::from(""));
        for database in &databases {
            let id = database_id(database);
            let snapshot = self.catalogs.current(id, database);
            let mut writes = match &snapshot {
                _ if tables.is_empty() => WriteSet::nothing(),
                // Without the catalog a name may be any table.
                None => WriteSet::everything(),
                Some(snapshot) => WriteSet::of(tables.iter().flat_map(|table| {
                    let (schema, name) = match table.split_once('.') {
                        Some((schema, name)) => (Some(schema), name),
                        None => (None, table.as_str()),
                    };
                    snapshot.catalog.tables(schema, name).collect::<Vec<_>>()
                })),
            };
            tags.iter().for_each(|tag| writes.add_tag(tag));
            self.versions.invalidate(id, &writes);
        }
        let cause = if is_all { &self.totals.invalidated_all } else { &self.totals.invalidated_by_order };
        cause.fetch_add(1, Ordering::Relaxed);
        let old =
            self.store.entries().filter(|entry| is_all || !self.versions.is_current(&entry.token)).count();
        if is_all {
            self.flush();
        }
        old
    }

    /// Makes every answer old, and gives back their room.
    fn flush(&self) {
        self.versions.invalidate_all();
        self.store.clear();
    }

    /// The server may have lost what it had acknowledged.
    fn flush_after_loss(&self) {
        self.totals.invalidated_by_loss.fetch_add(1, Ordering::Relaxed);
        self.flush();
    }
}
