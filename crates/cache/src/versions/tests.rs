use super::*;

const DATABASE: DatabaseId = DatabaseId(1);

fn writes() -> WriteSet {
    WriteSet::of([TableId(7)])
}

/// How a writer tells the versions. All but the first are known to be wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// Dirty from before the commit is forwarded until its outcome is known.
    Dirty,
    /// The version moves when the statement is sent.
    AtStatement,
    /// The version moves when the outcome is known, and a fill does not look whether it has moved.
    AtAckUnchecked,
    /// The version moves when the outcome is known.
    AtAck,
    /// The version moves before the commit is forwarded.
    AtForward,
}

/// One step of an actor.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Statement,
    Begin,
    Visible,
    Finish,
    Acked,
    /// The upstream died: nobody learns the outcome, until it is proven that it can no longer change.
    Proven,
    Snapshot,
    Read,
    Store,
    Observe,
    Ask,
    Hit,
}

use Step::{Acked, Ask, Begin, Finish, Hit, Observe, Proven, Read, Snapshot, Statement, Store, Visible};

/// The world of one run: a server with one row whose value is the number of commits, one entry, and the actors.
struct World {
    rule: Rule,
    versions: Versions,
    value: u64,
    open: [OpenCommit; 2],
    token: Option<Token>,
    read: Option<u64>,
    entry: Option<(u64, Token)>,
    /// Newest value that anybody has been told of.
    known: u64,
    /// What was known when the hitter asked.
    known_at_ask: u64,
    is_asking: bool,
    violations: u64,
    hits: u64,
}

impl World {
    fn new(rule: Rule, is_warm: bool) -> Self {
        let versions = Versions::with_words(64);
        let token = versions.token(DATABASE, &reads(), true, &[]);
        Self {
            rule,
            versions,
            value: 0,
            open: Default::default(),
            entry: token.filter(|_| is_warm).map(|token| (0, token)),
            token: None,
            read: None,
            known: 0,
            known_at_ask: 0,
            is_asking: false,
            violations: 0,
            hits: 0,
        }
    }

    fn bump_if(&self, rules: &[Rule]) {
        if rules.contains(&self.rule) {
            self.versions.invalidate(DATABASE, &writes());
        }
    }

    fn step(&mut self, actor: usize, step: Step) {
        match step {
            Statement => self.bump_if(&[Rule::AtStatement]),
            Begin if self.rule == Rule::Dirty => {
                self.versions.begin(DATABASE, &writes(), &mut self.open[actor]);
            }
            Begin => self.bump_if(&[Rule::AtForward]),
            Visible => self.value += 1,
            Finish | Proven if self.rule == Rule::Dirty => {
                self.versions.finish(std::mem::take(&mut self.open[actor]));
            }
            Finish | Proven => self.bump_if(&[Rule::AtAck, Rule::AtAckUnchecked]),
            // Commits are visible in some order; whoever is told of one knows of those before it.
            Acked => self.known = self.known.max(self.value),
            Snapshot => self.token = self.versions.token(DATABASE, &reads(), true, &[]),
            Read => self.read = Some(self.value),
            Store => self.store(),
            Observe => self.known = self.known.max(self.value),
            Ask => (self.is_asking, self.known_at_ask) = (true, self.known),
            Hit => self.hit(),
        }
    }

    fn store(&mut self) {
        if self.rule == Rule::AtAckUnchecked {
            self.token = self.versions.token(DATABASE, &reads(), true, &[]);
        }
        if let (Some(read), Some(token)) = (self.read, self.token.take())
            && self.versions.is_current(&token)
        {
            self.entry = Some((read, token));
        }
    }

    fn hit(&mut self) {
        assert!(self.is_asking);
        if let Some((value, token)) = &self.entry
            && self.versions.is_current(token)
        {
            self.hits += 1;
            self.violations += u64::from(*value < self.known_at_ask);
            self.known = self.known.max(*value);
        }
    }
}

fn reads() -> ReadSet {
    ReadSet::of([TableId(7)])
}

/// Runs, hits and violations over all interleavings of the actors' steps.
fn explore(rule: Rule, is_warm: bool, actors: &[&[Step]]) -> (u64, u64, u64) {
    let mut totals = (0, 0, 0);
    interleave(actors, &mut |order| {
        let mut world = World::new(rule, is_warm);
        for &(actor, step) in order {
            world.step(actor, step);
        }
        totals = (totals.0 + 1, totals.1 + world.hits, totals.2 + world.violations);
    });
    totals
}

/// Calls `run` with every order in which the actors can take their steps, each step with its actor.
pub(crate) fn interleave<S: Copy>(actors: &[&[S]], run: &mut impl FnMut(&[(usize, S)])) {
    descend(actors, &mut vec![0; actors.len()], &mut Vec::new(), run);
}

fn descend<S: Copy>(
    actors: &[&[S]],
    taken: &mut Vec<usize>,
    order: &mut Vec<(usize, S)>,
    run: &mut impl FnMut(&[(usize, S)]),
) {
    let mut is_over = true;
    for actor in 0..actors.len() {
        let Some(&step) = actors[actor].get(taken[actor]) else { continue };
        is_over = false;
        taken[actor] += 1;
        order.push((actor, step));
        descend(actors, taken, order, run);
        order.pop();
        taken[actor] -= 1;
    }
    if is_over {
        run(order);
    }
}

const WRITER: &[Step] = &[Statement, Begin, Visible, Finish, Acked];
const FILLER: &[Step] = &[Snapshot, Read, Store];
const OBSERVER: &[Step] = &[Observe];
const HITTER: &[Step] = &[Ask, Hit];

#[test]
fn no_interleaving_serves_what_is_older_than_anybody_knows() {
    for is_warm in [false, true] {
        let (runs, hits, violations) = explore(Rule::Dirty, is_warm, &[WRITER, FILLER, OBSERVER, HITTER]);
        assert_eq!((runs, violations), (27_720, 0));
        assert!(hits > 100, "{hits}: a rule that never hits proves nothing");
    }
}

#[test]
fn two_writers_of_one_table_do_not_hide_each_other() {
    let writer: &[Step] = &[Begin, Visible, Finish];
    let (runs, hits, violations) = explore(Rule::Dirty, true, &[writer, writer, FILLER, HITTER]);
    assert_eq!(violations, 0);
    assert!(runs == 92_400 && hits > 1_000, "{runs} {hits}");
}

#[test]
fn an_outcome_nobody_learns_keeps_its_tables_dirty_until_it_is_proven() {
    // Visible at some time or never, and the proof is given only when it can no longer become visible.
    for writer in [&[Begin, Visible, Proven][..], &[Begin, Proven], &[Begin, Visible], &[Begin]] {
        for is_warm in [false, true] {
            let (_, _, violations) = explore(Rule::Dirty, is_warm, &[writer, FILLER, OBSERVER, HITTER]);
            assert_eq!(violations, 0, "{writer:?}");
        }
    }
}

#[test]
fn every_simpler_rule_is_found_out() {
    for rule in [Rule::AtStatement, Rule::AtAckUnchecked, Rule::AtAck, Rule::AtForward] {
        let violations: u64 = [false, true]
            .map(|is_warm| explore(rule, is_warm, &[WRITER, FILLER, OBSERVER, HITTER]).2)
            .iter()
            .sum();
        assert!(violations > 0, "{rule:?} is wrong, and this test does not see it");
    }
}

#[test]
fn an_outcome_declared_known_too_early_is_found_out() {
    let (_, _, violations) =
        explore(Rule::Dirty, true, &[&[Begin, Proven, Visible], FILLER, OBSERVER, HITTER]);
    assert!(violations > 0);
}

#[test]
fn writes_make_old_what_depends_on_them_and_nothing_else() {
    let versions = Versions::new();
    let other = DatabaseId(2);
    let tags = [Box::from("product:42")];
    let any = ReadSet::anything();
    let table = ReadSet::of([TableId(7), TableId(8)]);
    let elsewhere = ReadSet::of([TableId(9)]);
    // What is made old by: a table, a tag, everything, the catalog.
    let tagged = {
        let mut set = WriteSet::nothing();
        set.add_tag("product:42");
        set
    };
    let sets = [writes(), tagged, WriteSet::everything(), WriteSet::catalog()];
    for (database, reads, is_strict, tags, expected, ordered) in [
        (DATABASE, &table, true, &tags[..0], [true, false, true, true], [true, false, true, true]),
        (DATABASE, &any, true, &tags[..0], [true, false, true, true], [true, false, true, true]),
        (DATABASE, &elsewhere, true, &tags[..], [false, true, true, true], [false, true, true, true]),
        // Answers that only age: writes leave them alone, orders do not.
        (DATABASE, &table, false, &tags[..], [false, true, false, true], [true, true, true, true]),
        (DATABASE, &any, false, &tags[..0], [false, false, false, true], [true, false, true, true]),
        (other, &table, true, &tags[..], [false, false, false, true], [false, false, false, true]),
    ] {
        let take = || versions.token(database, reads, is_strict, tags);
        let old = sets.each_ref().map(|set| {
            let token = take().unwrap();
            let mut open = OpenCommit::default();
            versions.begin(DATABASE, set, &mut open);
            let is_old = !versions.is_current(&token);
            assert_eq!(take().is_none(), is_old);
            versions.finish(open);
            assert_eq!(!versions.is_current(&token), is_old);
            is_old
        });
        assert_eq!(old, expected, "{reads:?} {is_strict} {tags:?}");
        let old = sets.each_ref().map(|set| {
            let token = take().unwrap();
            versions.invalidate(DATABASE, set);
            !versions.is_current(&token)
        });
        assert_eq!(old, ordered, "{reads:?} {is_strict} {tags:?}, ordered");
    }
}
