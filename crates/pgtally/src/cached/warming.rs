//! Filling the cache on order: the hottest questions whose answers are gone or old are asked again by idle sessions, each
//! on its own connection, for those environments only that are its own. Nothing widens what anybody may read.
//!
//! An order is a [`Run`]: a list from which sessions take one question at a time (`session/warming.rs`). It ends with
//! its last question, when no session is left that could ask one, or after [`RUN_MAX`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use pgtally_cache::{Environment, HotQuestion};
use rustc_hash::FxHashMap;
use serde::Serialize;
use tokio::sync::Notify;

use super::Cache;
use super::views::ReasonView;
use crate::api::SCHEMA_VERSION;
use crate::catalog::database_id;
use crate::clock::Clock;

/// Time that an order may take; what was not asked by then is told. Less than `pgtally cache warm` waits.
pub(crate) const RUN_MAX: Duration = Duration::from_secs(30);
/// Time that the definitions of the databases may take before.
const DEFINITIONS_MAX: Duration = Duration::from_secs(5);
/// Outcome of a question whose answer is kept.
pub(super) const STORED: &str = "stored";

/// Answer to `POST /api/v1/cache/warm`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WarmedAnswer {
    pub(crate) schema_version: u32,
    /// Whether every question was taken up by a session or is known to have none.
    pub(crate) complete: bool,
    /// Hot questions whose answers were good already.
    pub(crate) current: usize,
    /// Questions to be asked.
    pub(crate) asked: usize,
    /// Answers that are kept now.
    pub(crate) filled: usize,
    /// Why others are not.
    pub(crate) refused: Vec<ReasonView>,
    /// Questions for which no idle session has user, role and settings.
    pub(crate) without_session: usize,
}

/// All sessions that may be asked to help.
#[derive(Debug, Default)]
pub(super) struct Warmers {
    slots: Mutex<FxHashMap<u64, Arc<Slot>>>,
    last: AtomicU64,
    is_running: AtomicBool,
}

/// Where a session finds an order.
#[derive(Debug)]
struct Slot {
    has_order: AtomicBool,
    order: Mutex<Option<Part>>,
    waker: Waker,
}

/// A session's place among the [`Warmers`], until it is dropped.
pub(super) struct Enrolled {
    cache: Arc<Cache>,
    slot: Arc<Slot>,
    number: u64,
}

impl Enrolled {
    /// Enrols a session whose task `waker` wakes.
    pub(super) fn new(cache: &Arc<Cache>, waker: &Waker) -> Self {
        let slot = Arc::new(Slot {
            has_order: AtomicBool::new(false),
            order: Mutex::default(),
            waker: waker.clone(),
        });
        let number = cache.warmers.last.fetch_add(1, Ordering::Relaxed);
        locked(&cache.warmers.slots).insert(number, Arc::clone(&slot));
        Self { cache: Arc::clone(cache), slot, number }
    }

    /// The order that has come, once.
    pub(super) fn take_order(&self) -> Option<Part> {
        if !self.slot.has_order.load(Ordering::Acquire) {
            return None;
        }
        self.slot.has_order.store(false, Ordering::Relaxed);
        locked(&self.slot.order).take()
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        locked(&self.cache.warmers.slots).remove(&self.number);
    }
}

/// One order.
#[derive(Debug)]
struct Run {
    jobs: Mutex<Vec<Job>>,
    /// Jobs without an outcome.
    open: AtomicUsize,
    parts: AtomicUsize,
    is_over: AtomicBool,
    ended: Notify,
}

#[derive(Debug)]
struct Job {
    hot: HotQuestion,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Done(&'static str),
    Taken,
    Waiting,
}

/// A session's share in a run, which lasts until nobody has one.
#[derive(Debug)]
pub(super) struct Part(Arc<Run>);

impl Part {
    fn of(jobs: Vec<Job>) -> Self {
        let open = AtomicUsize::new(jobs.len());
        let parts = AtomicUsize::new(1);
        let (is_over, ended) = (AtomicBool::new(false), Notify::new());
        Self(Arc::new(Run { jobs: Mutex::new(jobs), open, parts, is_over, ended }))
    }

    fn share(&self) -> Self {
        self.0.parts.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }

    /// Whether a question of one of these environments waits.
    pub(super) fn wants<'a>(&self, mut environments: impl Iterator<Item = &'a Arc<Environment>>) -> bool {
        let jobs = locked(&self.0.jobs);
        let is_over = self.0.is_over.load(Ordering::Relaxed);
        !is_over && environments.any(|it| jobs.iter().any(|job| job.is_for(it)))
    }

    /// The next question of this environment, with its number; it has to be [`Part::finish`]ed.
    pub(super) fn claim(&self, environment: &Arc<Environment>) -> Option<(usize, HotQuestion)> {
        if self.0.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let mut jobs = locked(&self.0.jobs);
        let (number, job) = jobs.iter_mut().enumerate().find(|(_, job)| job.is_for(environment))?;
        job.state = State::Taken;
        Some((number, job.hot.clone()))
    }

    /// What became of a question that was claimed.
    pub(super) fn finish(&self, number: usize, outcome: &'static str) {
        if let Some(job) = locked(&self.0.jobs).get_mut(number) {
            job.state = State::Done(outcome);
        }
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_one();
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.0.parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_one();
        }
    }
}

impl Job {
    fn is_for(&self, environment: &Arc<Environment>) -> bool {
        self.state == State::Waiting && self.hot.key.as_ref().environment == environment
    }
}

/// The run of whoever has ordered it: it takes nothing up any more once that one is gone.
struct Order<'a> {
    run: Arc<Run>,
    warmers: &'a Warmers,
}

impl Drop for Order<'_> {
    fn drop(&mut self) {
        self.run.is_over.store(true, Ordering::Relaxed);
        self.warmers.is_running.store(false, Ordering::Release);
    }
}

impl Cache {
    /// Has the hottest `max` questions asked again whose answers are not good any more, of those with one of `tags`
    /// where there are any. `None` while another order is carried out.
    pub(crate) async fn warm(&self, clock: Clock, tags: &[String], max: usize) -> Option<WarmedAnswer> {
        if self.warmers.is_running.swap(true, Ordering::AcqRel) {
            return None;
        }
        let (current, jobs) = self.jobs(clock, tags, max);
        let own = Part::of(jobs);
        let order = Order { run: Arc::clone(&own.0), warmers: &self.warmers };
        if order.run.open.load(Ordering::Relaxed) > 0 {
            self.read_definitions().await;
            self.warmers.spread(&own);
            drop(own);
            // Too late is an outcome as well.
            let _ = tokio::time::timeout(RUN_MAX, order.run.ended.notified()).await;
        }
        Some(order.run.answer(current))
    }

    /// Waits for the definitions of the databases with answers: an invalidation of all may have made them old, and nothing
    /// is kept without them.
    async fn read_definitions(&self) {
        let databases: Vec<Arc<str>> = locked(&self.quotas).keys().cloned().collect();
        let all = async {
            for database in databases {
                // Without them, each question tells why it is refused.
                let _ = self.catalogs.wait(database_id(&database), &database, DEFINITIONS_MAX).await;
            }
        };
        let _ = tokio::time::timeout(DEFINITIONS_MAX, all).await;
    }

    /// The number of hot questions whose answers are good, and the others up to `max`.
    fn jobs(&self, clock: Clock, tags: &[String], max: usize) -> (usize, Vec<Job>) {
        let now_ns = clock.now().0;
        let has_tag = |hot: &HotQuestion| {
            tags.is_empty() || hot.tags.iter().any(|tag| tags.iter().any(|wanted| **wanted == **tag))
        };
        let is_good = |hot: &HotQuestion| {
            self.store.find(hot.key.as_ref()).is_some_and(|entry| {
                let age = Duration::from_nanos(now_ns.saturating_sub(entry.sent_ns));
                age <= hot.ttl && self.versions.is_current(&entry.token)
            })
        };
        let hottest = self.hot.hottest().into_iter().filter(has_tag);
        let (good, others): (Vec<_>, Vec<_>) = hottest.partition(is_good);
        let jobs = others.into_iter().take(max).map(|hot| Job { hot, state: State::Waiting });
        (good.len(), jobs.collect())
    }
}

impl Warmers {
    /// Gives every session a part, and wakes it.
    fn spread(&self, part: &Part) {
        let slots: Vec<_> = locked(&self.slots).values().cloned().collect();
        for slot in slots {
            // An order that nobody has taken up is dropped outside the lock.
            let before = locked(&slot.order).replace(part.share());
            drop(before);
            slot.has_order.store(true, Ordering::Release);
            slot.waker.wake_by_ref();
        }
    }
}

impl Run {
    fn answer(&self, current: usize) -> WarmedAnswer {
        let jobs = locked(&self.jobs);
        let mut reasons = BTreeMap::new();
        let (mut filled, mut without_session) = (0, 0);
        for job in jobs.iter() {
            match job.state {
                State::Done(STORED) => filled += 1,
                State::Done(reason) => *reasons.entry(reason).or_insert(0) += 1,
                State::Taken => *reasons.entry("too_late").or_insert(0) += 1,
                State::Waiting => without_session += 1,
            }
        }
        WarmedAnswer {
            schema_version: SCHEMA_VERSION,
            complete: self.parts.load(Ordering::Acquire) == 0 || self.open.load(Ordering::Acquire) == 0,
            current,
            asked: jobs.len(),
            filled,
            refused: reasons.into_iter().map(|(reason, count)| ReasonView { reason, count }).collect(),
            without_session,
        }
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held; what they hold is sound in any case.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
