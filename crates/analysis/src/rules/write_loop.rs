//! `n_plus_one_write`: single-row INSERT, UPDATE or DELETE of one shape, one round trip each.

use pgtally_fingerprint::Kind;
use rustc_hash::FxHashSet;

use super::case::{
    Case, Group, Member, are_round_trips, distinct_keys, has_list_key, is_polling, varying_keys,
};
use super::draft::{Draft, Verdict};
use super::n_plus_one;
use crate::finding::{Confidence, FindingKind};

pub(super) fn find(case: &Case<'_>, group: &Group<'_>) -> Option<Draft> {
    if group.is_exempt() || !is_single_row_write(group) {
        return None;
    }
    let settings = case.settings;
    let members: Vec<Member<'_>> =
        group.members.iter().filter(|it| it.statement.rows <= 1).copied().collect();
    let keys = varying_keys(&members, settings.list_elements_min);
    let is_loop = are_round_trips(&members, settings.write_round_trips_min as usize)
        && members.len() * 2 >= group.members.len()
        && !has_list_key(&keys)
        && !is_polling(&members, settings)
        && !case.is_claimed_work(&members);
    if !is_loop {
        return None;
    }
    // Of a row's values only one is the reference to the parent; of a WHERE every key must come from somewhere.
    let link = if group.kind == Kind::Insert {
        let one_by_one = keys.chunks(1).filter_map(|key| n_plus_one::link(case, group, &members, key));
        one_by_one.max_by_key(|(link, _)| link.score)
    } else {
        n_plus_one::link(case, group, &members, &keys)
    };
    let confidence = if link.is_some() { Confidence::High } else { Confidence::Medium };
    // Different values for each row can't be written by one list of keys.
    let key = n_plus_one::only(&keys).filter(|_| has_equal_values(&members));
    let distinct = if keys.is_empty() { distinct_parameters(&members) } else { distinct_keys(&members) };
    let verdict = Verdict { kind: FindingKind::NPlusOneWrite, confidence, link, distinct, key };
    Some(Draft::new(case, group, &[&members], verdict))
}

fn is_single_row_write(group: &Group<'_>) -> bool {
    let facts = &group.known.facts;
    match group.kind {
        Kind::Delete | Kind::Update => facts.has_key,
        Kind::Insert => !facts.is_multi_row_insert,
        _ => false,
    }
}

fn has_equal_values(members: &[Member<'_>]) -> bool {
    let mut others = members.iter().map(|member| member.statement.others_hash);
    let first = others.next();
    others.all(|it| Some(it) == first)
}

fn distinct_parameters(members: &[Member<'_>]) -> u32 {
    let hashes: FxHashSet<u64> = members.iter().map(|member| member.statement.parameters_hash).collect();
    u32::try_from(hashes.len()).unwrap_or(u32::MAX)
}
