//! What happened, in the order of one clock, and the invariants it has to satisfy.
//!
//! A register's versions only grow, and one writer writes each register, so that checking is exact: every version has
//! one moment at which its write was sent, and one at which its outcome was known.
//!
//! * I1: no read returns less than what was acknowledged before it was sent.
//! * I2: no read returns what nobody had begun to write, or what was rolled back.
//! * I3: what one read returned is never followed by a read, sent later, that returns less. With a writer whose outcome
//!   nobody knows this is I9: the old value does not reappear.
//!
//! What an actor sees to be wrong by itself (I4: the sum of accounts changes; I5: rows for who may not see them; I6: an
//! answer that a direct session would not get) comes as a fault.

use std::fmt;
use std::time::{Duration, Instant};

use pgtally::Address;

use crate::actors::ask;
use crate::client::Client;

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    RolledBack,
    /// The connection ended first.
    Unknown,
}

/// A write of one version.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) register: usize,
    pub(crate) version: i64,
    pub(crate) route: &'static str,
    pub(crate) sent: Duration,
    pub(crate) known: Duration,
    pub(crate) outcome: Outcome,
}

/// A read that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) register: usize,
    pub(crate) version: i64,
    pub(crate) form: &'static str,
    pub(crate) sent: Duration,
    pub(crate) got: Duration,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { register, version, route, sent, known, outcome } = self;
        write!(f, "{outcome:?} write of {version} to {register} by {route}, {sent:?} to {known:?}")
    }
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { register, version, form, sent, got } = self;
        write!(f, "{form} read of {version} from {register}, {sent:?} to {got:?}")
    }
}

/// One clock for all threads.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Everything that happened.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) writes: Vec<Write>,
    pub(crate) reads: Vec<Read>,
    pub(crate) faults: Vec<String>,
}

/// How far behind a read may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Promise {
    /// Not at all.
    Commit,
    /// This long, and no monotonic order between sessions.
    Ttl(Duration),
}

impl History {
    /// Adds what another actor has seen.
    pub(crate) fn add(&mut self, other: Self) {
        self.writes.extend(other.writes);
        self.reads.extend(other.reads);
        self.faults.extend(other.faults);
    }

    /// All violations, in words.
    pub(crate) fn violations(&self, promise: Promise) -> Vec<String> {
        let registers = self.writes.iter().map(|it| it.register + 1).max().unwrap_or(0);
        let of_registers = (0..registers).flat_map(|register| self.violations_of(register, promise));
        self.faults.iter().cloned().chain(of_registers).collect()
    }

    /// I6: nobody writes any more, so each answer, from the cache or not, is that of a direct session, byte for byte.
    pub(crate) fn at_rest(&self, proxy: &Address, direct: &Address, hint: &str) {
        let [mut cached, mut direct] =
            [proxy, direct].map(|address| Client::connect(address, "postgres", "rest").expect("a session"));
        for setting in ["RESET ALL", "SET TimeZone = 'Asia/Tokyo'", "SET client_encoding = 'LATIN1'"] {
            for client in [&mut cached, &mut direct] {
                client.query(setting).expect("an answer");
            }
            for (form, register) in ["simple", "unnamed", "described"].into_iter().zip(0..) {
                let expected = ask(&mut direct, form, register, hint).expect("an answer").frames;
                for _ in 0..3 {
                    let found = ask(&mut cached, form, register, hint).expect("an answer").frames;
                    assert_eq!(found, expected, "I6: {form}");
                }
            }
        }
    }

    fn violations_of(&self, register: usize, promise: Promise) -> Vec<String> {
        let mut writes: Vec<&Write> = self.writes.iter().filter(|it| it.register == register).collect();
        writes.sort_by_key(|it| it.version);
        let mut reads: Vec<&Read> = self.reads.iter().filter(|it| it.register == register).collect();
        reads.sort_by_key(|it| it.sent);
        let mut found = Vec::new();
        for read in &reads {
            found.extend(stale(&writes, read, promise));
            found.extend(invented(&writes, read));
        }
        if matches!(promise, Promise::Commit) {
            found.extend(went_back(&reads));
        }
        found
    }
}

/// I1. Writes are in the order of versions and, as one writer made them, of time.
fn stale(writes: &[&Write], read: &Read, promise: Promise) -> Option<String> {
    let grace = match promise {
        Promise::Commit => Duration::ZERO,
        Promise::Ttl(ttl) => ttl,
    };
    let before = read.sent.checked_sub(grace)?;
    let newest = writes.iter().rev().find(|it| it.outcome == Outcome::Committed && it.known < before)?;
    (read.version < newest.version)
        .then(|| format!("I1: {read} is older than {newest}, acknowledged before it was sent"))
}

/// I2.
fn invented(writes: &[&Write], read: &Read) -> Option<String> {
    if read.version == 0 {
        return None;
    }
    match writes.binary_search_by_key(&read.version, |it| it.version).ok().and_then(|at| writes.get(at)) {
        None => Some(format!("I2: {read} returns what nobody wrote")),
        Some(write) if write.sent > read.got => Some(format!("I2: {read} is before {write} began")),
        Some(write) if write.outcome == Outcome::RolledBack => Some(format!("I2: {read} saw {write}")),
        Some(_) => None,
    }
}

/// I3, by a sweep: reads in the order they were sent, against the greatest version that had arrived until then.
fn went_back(reads: &[&Read]) -> Vec<String> {
    let mut by_arrival: Vec<&Read> = reads.to_vec();
    by_arrival.sort_by_key(|it| it.got);
    let mut arrived = by_arrival.into_iter().peekable();
    let mut newest: Option<&Read> = None;
    let mut found = Vec::new();
    for read in reads {
        while let Some(earlier) = arrived.next_if(|it| it.got < read.sent) {
            newest = newest.filter(|it| it.version >= earlier.version).or(Some(earlier));
        }
        if let Some(newer) = newest.filter(|it| it.version > read.version) {
            found.push(format!("I3: {read} was sent after {newer} had arrived"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn write(version: i64, sent: u64, known: u64, outcome: Outcome) -> Write {
        Write { register: 0, version, route: "test", sent: at(sent), known: at(known), outcome }
    }

    fn read(version: i64, sent: u64, got: u64) -> Read {
        Read { register: 0, version, form: "test", sent: at(sent), got: at(got) }
    }

    #[track_caller]
    fn check(reads: Vec<Read>, expected: &[&str]) {
        let writes = vec![
            write(1, 0, 10, Outcome::Committed),
            write(2, 20, 30, Outcome::RolledBack),
            write(3, 40, 50, Outcome::Committed),
            write(4, 60, 70, Outcome::Unknown),
        ];
        let found = History { writes, reads, ..History::default() }.violations(Promise::Commit);
        let kinds: Vec<&str> = found.iter().map(|it| it.split(':').next().expect("a kind")).collect();
        assert_eq!(kinds, expected, "{found:?}");
    }

    #[test]
    fn a_history_without_faults_has_no_violation() {
        check(vec![read(0, 5, 6), read(1, 5, 6), read(1, 41, 60), read(3, 42, 49), read(4, 65, 90)], &[]);
    }

    #[test]
    fn each_kind_of_fault_is_found() {
        check(vec![read(0, 11, 12)], &["I1"]);
        check(vec![read(1, 51, 52)], &["I1"]);
        check(vec![read(2, 25, 26)], &["I2"]);
        check(vec![read(9, 25, 26)], &["I2"]);
        check(vec![read(3, 21, 39)], &["I2"]);
        check(vec![read(3, 41, 43), read(1, 44, 45)], &["I3"]);
        check(vec![read(4, 61, 62), read(3, 75, 80)], &["I3"]);
    }

    #[test]
    fn a_lifetime_excuses_what_is_younger() {
        let history = History {
            writes: vec![write(1, 0, 10, Outcome::Committed)],
            reads: vec![read(0, 40, 41)],
            ..History::default()
        };
        assert!(history.violations(Promise::Ttl(at(35))).is_empty());
        assert_eq!(history.violations(Promise::Ttl(at(20))).len(), 1);
    }
}
