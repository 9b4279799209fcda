//! Sessions that miss the same answer at once, beside a writer, over all interleavings: who waits is woken, gets
//! nothing older than anybody knew when it asked, and without writes one question does for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;
use crate::facts::{ReadSet, TableId, WriteSet};
use crate::key::{Environment, KeyRef};
use crate::versions::tests::interleave;
use crate::versions::{DatabaseId, OpenCommit, Token, Versions};

const DATABASE: DatabaseId = DatabaseId(1);

/// What becomes of those who wait. All but the first are known to be wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// Woken when the answer is kept or given up, they look again.
    LookAgain,
    /// They get the leader's answer, whatever was written since they asked.
    HandedOver,
    /// They are woken before the answer is kept.
    WokenFirst,
    /// The leader says nothing when it gives up.
    LeftAsleep,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Begin,
    Visible,
    Finish,
    Ask,
    Look,
    Fetch,
    /// The leader's answer is complete; a follower goes on once it is woken.
    Land,
    /// As `Land`, but a leader loses its server.
    Lost,
}

use Step::{Ask, Begin, Fetch, Finish, Land, Look, Lost, Visible};

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One session that asks.
#[derive(Default)]
struct Asker {
    known_at_ask: u64,
    lead: Option<Lead>,
    token: Option<Token>,
    read: Option<u64>,
    bell: Arc<Bell>,
    is_waiting: bool,
    is_served: bool,
}

/// What one run, or all of them, came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    runs: u64,
    /// Answers that were older than what was known when they were asked for.
    violations: u64,
    /// Sessions that waited for ever.
    asleep: u64,
    /// Questions to the server; of all runs, how many had more than one.
    questions: u64,
    /// Sessions that waited, and were served from the cache.
    shared: u64,
}

/// A server with one row whose value is the number of commits, one answer, and those who ask for it.
struct World {
    rule: Rule,
    versions: Versions,
    flights: Arc<Flights>,
    key: Key,
    value: u64,
    open: OpenCommit,
    entry: Option<(u64, Token)>,
    /// Newest value that anybody has been told of.
    known: u64,
    /// What the last leader read.
    landed: u64,
    askers: Vec<Asker>,
    totals: Totals,
}

impl World {
    fn new(rule: Rule, askers: usize) -> Self {
        let environment = Arc::new(Environment::new(b""));
        Self {
            rule,
            versions: Versions::with_words(64),
            flights: Arc::default(),
            key: KeyRef { environment: &environment, bytes: b"key" }.to_key(),
            value: 0,
            open: OpenCommit::default(),
            entry: None,
            known: 0,
            landed: 0,
            askers: (0..askers).map(|_| Asker::default()).collect(),
            totals: Totals::default(),
        }
    }

    fn step(&mut self, actor: usize, step: Step) {
        match step {
            Begin => self.versions.begin(DATABASE, &WriteSet::of([TableId(7)]), &mut self.open),
            Visible => self.value += 1,
            Finish => {
                self.versions.finish(std::mem::take(&mut self.open));
                self.known = self.value;
            }
            Ask => self.askers[actor].known_at_ask = self.known,
            Look => self.look(actor),
            Fetch => self.fetch(actor),
            Land => self.land(actor, false),
            Lost => self.land(actor, true),
        }
    }

    /// A hit, the lead, or a place among those who wait.
    fn look(&mut self, actor: usize) {
        if self.hit(actor) {
            return;
        }
        let lead = self.flights.lead(&self.key);
        let waker = Waker::from(Arc::clone(&self.askers[actor].bell));
        let is_waiting = lead.is_none() && self.flights.follow(&self.key, &waker);
        let token = self.versions.token(DATABASE, &ReadSet::of([TableId(7)]), true, &[]);
        let asker = &mut self.askers[actor];
        (asker.lead, asker.is_waiting, asker.token) = (lead, is_waiting, token);
    }

    fn hit(&mut self, actor: usize) -> bool {
        let current = self.entry.as_ref().filter(|(_, token)| self.versions.is_current(token));
        let value = current.map(|(value, _)| *value);
        if let Some(value) = value {
            self.serve(actor, value);
        }
        value.is_some()
    }

    fn serve(&mut self, actor: usize, value: u64) {
        let asker = &mut self.askers[actor];
        asker.is_served = true;
        self.totals.violations += u64::from(value < asker.known_at_ask);
        self.known = self.known.max(value);
    }

    fn fetch(&mut self, actor: usize) {
        let asker = &mut self.askers[actor];
        if !asker.is_served && !asker.is_waiting {
            asker.read = Some(self.value);
            self.totals.questions += 1;
        }
    }

    fn land(&mut self, actor: usize, is_lost: bool) {
        if self.askers[actor].is_waiting {
            self.go_on(actor);
            return;
        }
        let asker = &mut self.askers[actor];
        let (Some(read), token) = (asker.read.take(), asker.token.take()) else { return };
        let mut lead = asker.lead.take();
        if is_lost {
            if self.rule == Rule::LeftAsleep {
                std::mem::forget(lead);
            }
            return;
        }
        if self.rule == Rule::WokenFirst {
            drop(lead.take());
            self.wake_all();
        }
        if let Some(token) = token.and_then(|token| self.versions.settled(token)) {
            self.entry = Some((read, token));
        }
        self.landed = read;
        drop(lead);
        self.serve(actor, read);
    }

    /// Those who were woken run at once.
    fn wake_all(&mut self) {
        (0..self.askers.len()).for_each(|actor| self.go_on(actor));
    }

    /// Does nothing before it is woken.
    fn go_on(&mut self, actor: usize) {
        let asker = &mut self.askers[actor];
        if !asker.is_waiting || asker.bell.0.load(Ordering::Relaxed) == 0 {
            return;
        }
        asker.is_waiting = false;
        if self.rule == Rule::HandedOver {
            self.serve(actor, self.landed);
        } else if self.hit(actor) {
            self.totals.shared += 1;
        } else {
            self.totals.questions += 1;
            self.serve(actor, self.value);
        }
    }

    fn finish(mut self) -> Totals {
        self.wake_all();
        self.totals.asleep = self.askers.iter().filter(|asker| asker.is_waiting).count() as u64;
        self.totals
    }
}

/// Totals over all interleavings.
fn explore(rule: Rule, actors: &[&[Step]]) -> Totals {
    let mut sum = Totals::default();
    interleave(actors, &mut |order| {
        let mut world = World::new(rule, actors.len());
        for &(actor, step) in order {
            world.step(actor, step);
        }
        let one = world.finish();
        sum.runs += 1;
        sum.violations += one.violations;
        sum.asleep += one.asleep;
        sum.questions += u64::from(one.questions > 1);
        sum.shared += one.shared;
    });
    sum
}

const ASKER: &[Step] = &[Ask, Look, Fetch, Land];
const UNLUCKY: &[Step] = &[Ask, Look, Fetch, Lost];
const WRITER: &[Step] = &[Begin, Visible, Finish];

#[test]
fn who_waits_is_woken_and_gets_nothing_older_than_it_may() {
    let found = explore(Rule::LookAgain, &[ASKER, ASKER, WRITER]);
    assert_eq!((found.runs, found.violations, found.asleep), (11_550, 0, 0));
    assert!(found.shared > 100, "{found:?}: nobody shares, which proves nothing");
}

#[test]
fn without_writes_one_question_does_for_all() {
    let found = explore(Rule::LookAgain, &[ASKER, ASKER, ASKER]);
    assert_eq!((found.runs, found.violations, found.asleep, found.questions), (34_650, 0, 0, 0));
}

#[test]
fn a_leader_that_loses_its_server_leaves_nobody_waiting() {
    let found = explore(Rule::LookAgain, &[UNLUCKY, ASKER, WRITER]);
    assert_eq!((found.violations, found.asleep), (0, 0));
}

#[test]
fn every_simpler_rule_is_found_out() {
    let handed = explore(Rule::HandedOver, &[ASKER, ASKER, WRITER]);
    assert!(handed.violations > 0, "{handed:?}");
    let woken = explore(Rule::WokenFirst, &[ASKER, ASKER]);
    assert!(woken.questions > 0, "{woken:?}");
    let asleep = explore(Rule::LeftAsleep, &[UNLUCKY, ASKER]);
    assert!(asleep.asleep > 0, "{asleep:?}");
}
