//! `n_plus_one`: one read repeated with the values of another's column (proven, high), or with many distinct keys
//! from anywhere (medium).
//!
//! Where the number of executions grows with the rows of an earlier read over many requests, it is a loop however few
//! they are in this one.
//!
//! Statements that differ in anything but keys (a LIMIT, an OFFSET, a range) are judged apart: pages and periods never
//! add up to a loop, the same loop for two periods does.

use super::case::{
    Case, Group, KeyList, Member, are_round_trips, distinct_keys, has_list_key, is_polling, varying_keys,
};
use super::draft::{Draft, Verdict};
use crate::finding::{Confidence, FindingKind};
use crate::linkage::Link;
use pgtally_fingerprint::Fingerprint;
use rustc_hash::FxHashMap;

pub(super) fn find(case: &Case<'_>, group: &Group<'_>) -> Vec<Draft> {
    let mut drafts = by_request(case, group);
    for draft in &mut drafts {
        let it = &mut draft.detection;
        let parent = it.parent.as_ref().map(|parent| parent.fingerprint);
        it.growth = case.growth(parent, it.fingerprint);
    }
    drafts
}

fn by_request(case: &Case<'_>, group: &Group<'_>) -> Vec<Draft> {
    if !group.is_read() || group.is_exempt() || group.known.facts.is_volatile {
        return Vec::new();
    }
    let fingerprint = group.known.shape.fingerprint;
    let growing = case.history.grows_with(case.request, fingerprint, &case.settings.growth);
    let growing = growing.map(|(parent, _)| parent);
    let loops = by_other_parameters(&group.members);
    loops.iter().filter_map(|members| judge(case, group, growing, members)).collect()
}

/// Members with equal parameters apart from the keys, in order of first use.
fn by_other_parameters<'a>(members: &[Member<'a>]) -> Vec<Vec<Member<'a>>> {
    let mut index: FxHashMap<u32, usize> = FxHashMap::default();
    let mut lists: Vec<Vec<Member<'a>>> = Vec::new();
    for member in members {
        let at = *index.entry(member.statement.others_hash).or_insert_with(|| {
            lists.push(Vec::new());
            lists.len() - 1
        });
        if let Some(list) = lists.get_mut(at) {
            list.push(*member);
        }
    }
    lists
}

/// `growing` is the statement with whose rows the executions grow over many requests, if any is known.
fn judge(
    case: &Case<'_>,
    group: &Group<'_>,
    growing: Option<Fingerprint>,
    members: &[Member<'_>],
) -> Option<Draft> {
    let settings = case.settings;
    let repeat = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let fewest = settings.linked_repeats_min.min(settings.unlinked_repeats_min);
    let fewest = if growing.is_some() { 2 } else { fewest };
    if repeat < fewest || !are_round_trips(members, 2) {
        return None;
    }
    let keys = varying_keys(members, settings.list_elements_min);
    if keys.is_empty() || has_list_key(&keys) || case.is_claimed_work(members) {
        return None;
    }
    let distinct = distinct_keys(members);
    if (repeat >= settings.linked_repeats_min || growing.is_some())
        && let Some((link, parameter)) = link(case, group, members, &keys)
    {
        let verdict = Verdict {
            kind: FindingKind::NPlusOne,
            confidence: Confidence::High,
            link: Some((link, parameter)),
            distinct,
            key: only(&keys),
        };
        return Some(Draft::new(case, group, &[members], verdict));
    }
    if let Some(parent) = growing {
        let link = Link { fingerprint: parent, ..case.list_of(parent) };
        let verdict = Verdict {
            kind: FindingKind::NPlusOne,
            confidence: Confidence::Medium,
            link: Some((link, 0)),
            distinct,
            key: only(&keys),
        };
        return Some(Draft::new(case, group, &[members], verdict));
    }
    let is_varied = f64::from(distinct) >= settings.unlinked_distinct_min * f64::from(repeat);
    let is_candidate = keys.len() == 1 && repeat >= settings.unlinked_repeats_min && is_varied;
    (is_candidate && !is_polling(members, settings)).then(|| {
        let confidence = Confidence::Medium;
        let key = only(&keys);
        let verdict = Verdict { kind: FindingKind::NPlusOne, confidence, link: None, distinct, key };
        Draft::new(case, group, &[members], verdict)
    })
}

/// The best link, when every varying key has one. Keys of nested loops may come from several parents.
pub(super) fn link(
    case: &Case<'_>,
    group: &Group<'_>,
    members: &[Member<'_>],
    keys: &[KeyList],
) -> Option<(Link, u16)> {
    let links: Option<Vec<(Link, &KeyList)>> =
        keys.iter().map(|key| Some((case.link(group, members, key)?, key))).collect();
    // The key that varies most belongs to the innermost loop; of equals the first, as people read.
    let best = links?.into_iter().rev().max_by_key(|(link, key)| (key.distinct.len(), link.score))?;
    Some((best.0, best.1.parameter))
}

/// The parameter to make a list of: with several varying keys no single list replaces them.
pub(super) fn only(keys: &[KeyList]) -> Option<u16> {
    match keys {
        [key] => Some(key.parameter),
        _ => None,
    }
}
