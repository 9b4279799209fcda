//! Transactions whose end changes what a read finds: one that is rolled back takes its writes with it, and until it
//! ends, other sessions of the request don't see them.
//!
//! A COMMIT is not recorded, so a transaction is over where its session next runs something outside. In doubt a table
//! counts as changed: that costs a finding, the opposite would invent one.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Case, Member, Written};
use crate::merge::Request;
use crate::record::Moment;

/// Shapes of one transaction whose writes are told apart by table; one with more may have written anything.
const SHAPES_MAX: usize = 16;
/// Statements of other sessions beside one transaction whose writes are told apart by table, likewise.
const OTHERS_MAX: usize = 64;

/// Session and ordinal of a transaction.
type Transaction = (u64, u32);

/// Rollbacks of a request, by transaction.
#[derive(Default)]
pub(super) struct Rollbacks(FxHashMap<Transaction, Vec<Moment>>);

impl Rollbacks {
    pub(super) fn of(request: &Request) -> Self {
        let mut all: FxHashMap<Transaction, Vec<Moment>> = FxHashMap::default();
        for (session, rollback) in request.rollbacks() {
            all.entry((session, rollback.transaction)).or_default().push(rollback.sent);
        }
        all.values_mut().for_each(|moments| moments.sort_unstable());
        Self(all)
    }

    /// The first rollback of the statement's transaction behind it.
    pub(super) fn behind(&self, member: &Member<'_>) -> Option<Moment> {
        let moments = self.0.get(&transaction(member)?)?;
        moments.iter().find(|moment| **moment >= member.statement.sent).copied()
    }
}

/// The explicit transaction that a statement ran in.
fn transaction(member: &Member<'_>) -> Option<Transaction> {
    let transaction = member.statement.transaction;
    (transaction != 0).then_some((member.session, transaction))
}

/// What a transaction has written, and from where on.
struct Writes {
    first: usize,
    shapes: FxHashSet<u64>,
    written: Written,
}

impl Writes {
    fn add(&mut self, fingerprint: u64, written: &Written) {
        if self.shapes.contains(&fingerprint) {
            return;
        }
        let before = std::mem::replace(&mut self.written, Written::Anything);
        if self.shapes.len() < SHAPES_MAX {
            self.shapes.insert(fingerprint);
            self.written = before.and(written.clone());
        }
    }
}

/// Adds the places of the ends to `writes`, the places of the writes.
pub(super) fn add_ends(case: &Case<'_>, writes: &mut Vec<(usize, Written)>) {
    let is_shared = case.request.sessions() > 1;
    if !is_shared && case.rollbacks().0.is_empty() {
        return;
    }
    let mut all: FxHashMap<Transaction, Writes> = FxHashMap::default();
    for (position, written) in writes.iter() {
        let Some(member) = case.members.get(*position) else { continue };
        let Some(place) = transaction(member) else { continue };
        let new = || Writes { first: *position, shapes: FxHashSet::default(), written: Written::Nothing };
        all.entry(place).or_insert_with(new).add(member.statement.fingerprint.0, written);
    }
    for (place, it) in all {
        add_rollbacks(case, place, &it, writes);
        if is_shared {
            add_hidden(case, place, it, writes);
        }
    }
}

/// Behind a rollback everything is as it was before.
fn add_rollbacks(case: &Case<'_>, place: Transaction, it: &Writes, ends: &mut Vec<(usize, Written)>) {
    for moment in case.rollbacks().0.get(&place).into_iter().flatten() {
        let sent_before = case.members.partition_point(|member| member.statement.sent <= *moment);
        if sent_before > it.first {
            ends.push((sent_before - 1, it.written.clone()));
        }
    }
}

/// Somewhere between the writes and the session's next transaction the others begin to see what was written.
fn add_hidden(case: &Case<'_>, place: Transaction, it: Writes, ends: &mut Vec<(usize, Written)>) {
    let behind = case.members.iter().skip(it.first + 1);
    let open: Vec<&Member<'_>> = behind
        .take_while(|member| member.session != place.0 || member.statement.transaction == place.1)
        .collect();
    let others = || open.iter().filter(|member| member.session != place.0);
    let written = if others().count() > OTHERS_MAX { Written::Anything } else { it.written };
    // A change at a place shows to the statements behind it.
    ends.extend(others().map(|member| (member.position - 1, written.clone())));
    ends.push((it.first + open.len(), written));
}
