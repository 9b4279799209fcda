//! `sequential_independent`: reads one after another, each waiting for the one before, though none needs a value of
//! another's rows.
//!
//! The test for a dependency is linkage the other way round: a key that stands in a row of the run, and in no key
//! before, may come from there. Equal small integers make a dependency where there is none, which costs a finding and
//! never makes a wrong one. Loops are left to their own rules: a run has different statements.

use pgtally_fingerprint::{Fingerprint, Kind};
use rustc_hash::{FxHashMap, FxHashSet};

use super::case::{Case, Member};
use super::draft::{Draft, Verdict};
use crate::finding::{Confidence, FindingKind, Severity};

pub(super) fn find(case: &Case<'_>) -> Option<Draft> {
    let times = case.settings.times.as_ref()?;
    let fewest = case.settings.sequential_reads_min as usize;
    // Nobody waits for a background job.
    if case.members.len() < fewest || !case.request.is_complete() || case.request.is_background() {
        return None;
    }
    let sessions = sessions(case).into_iter().filter(|members| may_hold_run(members, fewest));
    let runs = sessions.flat_map(|members| runs(case, &members));
    let runs = runs.filter(|run| run.len() >= fewest && spent_ns(run) >= times.sequential_ns);
    let longest = runs.max_by_key(|run| (spent_ns(run), run.len()))?;
    let first = longest.first()?;
    let group = case.group_of(first.statement.fingerprint)?;
    let verdict = Verdict::plain(FindingKind::SequentialIndependent, Confidence::Medium, &longest);
    let mut draft = Draft::whole(case, &group, &longest, verdict);
    // Sent together they would still run one by one; what is saved is the waiting in between.
    let waits = longest.iter().skip(1).map(|it| it.statement.turnaround.ns());
    draft.detection.wasted_ns = waits.fold(0, u64::saturating_add);
    draft.severity = Some(Severity::Info);
    Some(draft)
}

fn sessions<'a>(case: &Case<'a>) -> Vec<Vec<Member<'a>>> {
    let mut lists: Vec<(u64, Vec<Member<'a>>)> = Vec::new();
    for member in &case.members {
        match lists.iter_mut().find(|(session, _)| *session == member.session) {
            Some((_, list)) => list.push(*member),
            None => lists.push((member.session, vec![*member])),
        }
    }
    lists.into_iter().map(|(_, list)| list).collect()
}

/// Whether `fewest` different statements ever follow one another: most requests end the search here.
fn may_hold_run(members: &[Member<'_>], fewest: usize) -> bool {
    let is_repeated = |window: &[Member<'_>], at: usize| {
        let (before, rest) = window.split_at(at);
        rest.first().is_some_and(|it| {
            before.iter().any(|other| other.statement.fingerprint == it.statement.fingerprint)
        })
    };
    members.windows(fewest).any(|window| !(1..window.len()).any(|at| is_repeated(window, at)))
}

/// Runs of independent reads, greedily from the first on.
fn runs<'a>(case: &Case<'a>, members: &[Member<'a>]) -> Vec<Vec<Member<'a>>> {
    let mut done: Vec<Vec<Member<'a>>> = Vec::new();
    let mut run = Run::default();
    let mut known_keys: FxHashSet<u32> = FxHashSet::default();
    for member in members {
        let is_fit = is_plain_read(case, member);
        if !is_fit || !run.takes(member, &known_keys) {
            done.push(std::mem::take(&mut run).members);
        }
        if is_fit {
            run.add(case, member);
        }
        known_keys.extend(member.keys.iter().map(|key| key.value));
    }
    done.push(run.members);
    done
}

#[derive(Default)]
struct Run<'a> {
    members: Vec<Member<'a>>,
    shapes: FxHashSet<Fingerprint>,
    /// Values of the run's rows.
    values: FxHashSet<u32>,
}

impl<'a> Run<'a> {
    fn takes(&self, member: &Member<'a>, known_keys: &FxHashSet<u32>) -> bool {
        let Some(last) = self.members.last() else { return true };
        let needs = |value: u32| self.values.contains(&value) && !known_keys.contains(&value);
        member.statement.is_round_trip
            && last.statement.transaction == member.statement.transaction
            && last.statement.environment == member.statement.environment
            && !self.shapes.contains(&member.statement.fingerprint)
            && !member.keys.iter().any(|key| key.value != 0 && needs(key.value))
            && !member.keys.iter().any(|key| key.elements != 1)
    }

    fn add(&mut self, case: &Case<'a>, member: &Member<'a>) {
        self.shapes.insert(member.statement.fingerprint);
        self.values.extend(case.request.cells(member.position).iter().filter(|value| **value != 0));
        self.values.extend(case.sampled_values(member.statement.fingerprint));
        self.members.push(*member);
    }
}

/// A list of keys comes from somewhere: a prefetch needs the rows it is for.
fn is_plain_read(case: &Case<'_>, member: &Member<'_>) -> bool {
    let it = member.statement;
    it.kind == Kind::Select
        && it.error.is_none()
        && case.shape(it.fingerprint).is_some_and(|known| {
            let facts = &known.facts;
            let has_tables = facts.has_from && !facts.tables_read.is_empty();
            let is_free = !facts.is_volatile && !facts.has_locking && facts.tables_written.is_empty();
            facts.is_parsed && has_tables && is_free && !facts.is_catalog_only
        })
}

fn spent_ns(run: &[Member<'_>]) -> u64 {
    run.iter().fold(0, |sum, it| {
        sum.saturating_add(it.statement.duration_ns()).saturating_add(it.statement.turnaround.ns())
    })
}

/// Values of all sampled rows of a request by shape.
pub(super) type SampledValues = FxHashMap<Fingerprint, FxHashSet<u32>>;
