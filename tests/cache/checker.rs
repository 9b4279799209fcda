//! Writers by every route and readers of every form at once, through the cache; then every read is judged.
//!
//! Runs of a million reads (899,721 and 899,679 of registers, the others of sums and as a visitor) in modes `ttl` and
//! `session`, with 111,129 and 111,098 writes, had no violation, in 371 s and 575 s of a busy machine of two cores; nor had
//! one in mode `commit` (899,653 of registers, 111,138 writes, 60,523 hits), a debug build with the lowest priority,
//! interrupted for a while, in 1,814 s.
//!
//! Seconds in an ordinary run. `PGTALLY_CACHE_READS=1000000` makes it that many reads, with a tenth of writes, and
//! `PGTALLY_CACHE_SECONDS` that long. What it finds is shown by `seeded.rs`: proxies with mistakes made on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pgtally::Address;
use pgtally_cache::Fault;
use pgtally_throwaway::Throwaway;
use support::TestProxy;

use crate::actors::{Reader, Transferrer, Writer};
use crate::history::{Clock, History, Promise};
use crate::nemesis::{kill_writers, slow_leg};
use crate::routes::SCHEMA;
use crate::{address, execute, session};

/// Registers, each with a writer of its own.
pub(crate) const WRITERS: usize = 3;
/// Sessions that only read.
const READERS: usize = 6;
/// Reads for each write. Both sides wait for each other, so that this holds however fast either is.
const READS_PER_WRITE: usize = 9;
/// Writes by which one side may be ahead.
const LEAD: usize = 20;
/// Least share of reads that have to come from the cache for the run to mean anything.
const HIT_SHARE_MIN: f64 = 0.05;
/// Bytes of the store.
const CAPACITY_BYTES: f64 = 1024.0 * 1024.0;
/// Lifetime in the modes that promise no more than one.
const TTL: Duration = Duration::from_millis(300);
/// And beyond it, in mode `ttl`.
const STALE: Duration = Duration::from_millis(200);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A server with the registers, and one more role.
pub(crate) fn server() -> Throwaway {
    let builder = crate::builder().setting("max_prepared_transactions", "20");
    let server = builder.start().expect("a throwaway PostgreSQL");
    execute(&mut session(&address(&server), "postgres"), SCHEMA);
    server
}

/// A proxy with a cache, whose definitions are known.
pub(crate) fn proxy(upstream: &Address, settings: &[(&'static str, &str)], fault: Fault) -> TestProxy {
    let mut all = vec![("cache.enabled", "on"), ("cache.hints", "on"), ("inspect.user", "postgres")];
    all.extend(settings.iter().copied());
    let proxy = TestProxy::altered(upstream, &all, |config| config.cache.fault = fault);
    let known = proxy.json("/api/v1/cache/explain?database=postgres&sql=SELECT+1");
    assert_eq!(known["complete"], true, "{known}");
    proxy
}

/// What all threads of a run share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) hint: String,
    /// A session sees at least what it has written itself.
    pub(crate) sees_own_writes: bool,
    is_over: AtomicBool,
    reads: AtomicUsize,
    writes: AtomicUsize,
}

impl Shared {
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// One more read; waits while there were too few writes.
    pub(crate) fn count_read(&self) {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        self.wait_while(|| reads > (self.writes.load(Ordering::Relaxed) + LEAD) * READS_PER_WRITE);
    }

    /// One more write; waits while there were too few reads.
    pub(crate) fn count_write(&self) {
        let writes = self.writes.fetch_add(1, Ordering::Relaxed);
        self.wait_while(|| {
            writes * READS_PER_WRITE > self.reads.load(Ordering::Relaxed) + LEAD * READS_PER_WRITE
        });
    }

    fn wait_while(&self, is_ahead: impl Fn() -> bool) {
        while is_ahead() && !self.is_over() {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// One run.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// Mode in every read's hint.
    pub(crate) mode: &'static str,
    pub(crate) with_nemesis: bool,
    pub(crate) asks_locks: bool,
    pub(crate) fault: Fault,
}

/// What is promised, held, and watched for in most runs.
pub(crate) const COMMIT: Run =
    Run { mode: "commit", with_nemesis: false, asks_locks: false, fault: Fault::None };

impl Run {
    fn promise(&self) -> Promise {
        match self.mode {
            "commit" => Promise::Commit,
            "session" => Promise::Ttl(TTL),
            _ => Promise::Ttl(TTL + STALE),
        }
    }

    fn hint(&self) -> String {
        let ttl = if self.mode == "commit" { Duration::from_secs(60) } else { TTL };
        format!("/* pgtally:cache ttl={}ms mode={} tags=registers */", ttl.as_millis(), self.mode)
    }

    fn settings(&self) -> Vec<(&'static str, &'static str)> {
        let mut settings = vec![("cache.mode", self.mode), ("cache.capacity", "1MiB")];
        if self.mode == "ttl" {
            settings.push(("cache.stale_while_revalidate", "200ms"));
        }
        if self.with_nemesis {
            settings.push(("cache.ambiguous_hold", "200ms"));
        }
        if self.asks_locks {
            settings.push(("cache.ask_locks", "on"));
        }
        settings
    }

    /// Fails where the promise was broken.
    fn check(&self) {
        let server = server();
        let direct = address(&server);
        let upstream = if self.with_nemesis { slow_leg(&direct) } else { direct.clone() };
        let proxy = proxy(&upstream, &self.settings(), self.fault);
        let started = Instant::now();
        let history = self.record(proxy.address(), &direct, |_| false);
        let violations = history.violations(self.promise());
        let hits = proxy.metric_sum("pgtally_cache_lookups_total", "result=\"hit\"");
        let bytes = proxy.metric_sum("pgtally_cache_bytes", "");
        let (writes, reads) = (history.writes.len(), history.reads.len());
        println!("{}: {reads} reads, {writes} writes, {hits} hits in {:?}", self.mode, started.elapsed());
        assert!(violations.is_empty(), "{} violations\n{}", violations.len(), first(&violations));
        assert!(hits >= reads as f64 * HIT_SHARE_MIN, "only {hits} hits");
        assert!(self.with_nemesis || writes * 10 >= reads, "{writes} writes are less than a tenth");
        assert!(bytes <= CAPACITY_BYTES * 1.05, "I8: {bytes} bytes");
        if let Promise::Ttl(lifetime) = self.promise() {
            // What was kept before the last write may be shown until then.
            thread::sleep(lifetime);
        }
        history.at_rest(proxy.address(), &direct, &self.hint());
    }

    /// The first violation that a proxy with a mistake commits, if any within `patience`.
    pub(crate) fn find(&self, patience: Duration) -> Option<String> {
        let server = server();
        let direct = address(&server);
        // Late answers give the mistake time to show.
        let proxy = proxy(&slow_leg(&direct), &self.settings(), self.fault);
        let started = Instant::now();
        let mut found = None;
        while found.is_none() && started.elapsed() < patience {
            let history = self.record(proxy.address(), &direct, |elapsed| elapsed > Duration::from_secs(1));
            found = history.violations(self.promise()).into_iter().next();
            execute(&mut session(&direct, "postgres"), RESET);
            assert_eq!(proxy.post("/api/v1/cache/invalidate", r#"{"all": true}"#).0, 200);
        }
        found
    }

    fn record(&self, proxy: &Address, direct: &Address, is_enough: impl Fn(Duration) -> bool) -> History {
        let shared = Shared {
            clock: Clock::start(),
            hint: self.hint(),
            sees_own_writes: self.mode != "ttl",
            is_over: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
        };
        let shared = &shared;
        let mut history = History::default();
        thread::scope(|scope| {
            let mut actors = vec![scope.spawn(move || Transferrer { shared, address: proxy }.transfer())];
            for register in 0..WRITERS {
                actors.push(scope.spawn(move || Writer { register, shared, address: proxy }.write()));
            }
            for number in 0..READERS {
                actors.push(scope.spawn(move || Reader { number, shared, address: proxy }.read()));
            }
            let is_over = Arc::new(AtomicBool::new(false));
            let nemesis = self.with_nemesis.then(|| {
                let is_over = Arc::clone(&is_over);
                scope.spawn(move || kill_writers(direct, &is_over))
            });
            let started = Instant::now();
            while !is_enough(started.elapsed()) && !is_long_enough(shared, started.elapsed()) {
                thread::sleep(Duration::from_millis(20));
            }
            shared.is_over.store(true, Ordering::Relaxed);
            is_over.store(true, Ordering::Relaxed);
            for actor in actors {
                history.add(actor.join().expect("an actor without a fault"));
            }
            if let Some(nemesis) = nemesis {
                println!("{} backends ended", nemesis.join().expect("a nemesis"));
            }
        });
        history
    }
}

fn is_long_enough(shared: &Shared, elapsed: Duration) -> bool {
    match number("PGTALLY_CACHE_READS") {
        Some(reads) => shared.reads.load(Ordering::Relaxed) as u64 >= reads,
        None => elapsed >= Duration::from_secs(number("PGTALLY_CACHE_SECONDS").unwrap_or(4)),
    }
}

/// Registers as before their first write.
const RESET: &str = "DELETE FROM items; INSERT INTO items SELECT id, 0 FROM generate_series(0, 99) AS id; \
    UPDATE copies SET version = 0; UPDATE sources SET version = 0; UPDATE parents SET version = 0";

fn first(violations: &[String]) -> String {
    violations.iter().take(5).cloned().collect::<Vec<_>>().join("\n")
}

#[test]
fn commit_mode_is_never_stale() {
    COMMIT.check();
}

#[test]
fn commit_mode_is_never_stale_while_backends_die_and_answers_are_late() {
    Run { with_nemesis: true, ..COMMIT }.check();
}

#[test]
fn commit_mode_is_never_stale_when_the_server_is_asked_what_it_has_locked() {
    Run { asks_locks: true, ..COMMIT }.check();
}

#[test]
fn session_mode_shows_a_session_its_own_writes() {
    Run { mode: "session", ..COMMIT }.check();
}

#[test]
fn ttl_mode_is_never_older_than_its_lifetime() {
    Run { mode: "ttl", ..COMMIT }.check();
}
