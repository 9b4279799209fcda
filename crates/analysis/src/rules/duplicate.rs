//! `duplicate`: the same read with the same parameters again, and nothing written to its tables in between.

use rustc_hash::FxHashMap;

use super::case::{Case, Group, Member, are_round_trips, has_only_list_keys, is_polling};
use super::draft::{Draft, Verdict};
use crate::finding::{Confidence, FindingKind};

/// Equal reads, one run per set of parameters and stretch without writes; runs of one shape are one finding.
pub(super) fn find(case: &Case<'_>, group: &Group<'_>) -> Option<Draft> {
    if !group.is_read() || group.is_exempt() || group.known.facts.is_volatile || !knows_writes(case) {
        return None;
    }
    let all = runs(case, group);
    let runs: Vec<&[Member<'_>]> =
        all.iter().map(Vec::as_slice).filter(|run| is_duplicate(case, run)).collect();
    let distinct = u32::try_from(runs.len()).unwrap_or(u32::MAX);
    let kind = FindingKind::Duplicate;
    let verdict = Verdict { kind, confidence: Confidence::High, link: None, distinct, key: None };
    (!runs.is_empty()).then(|| Draft::new(case, group, &runs, verdict))
}

/// Whether no write between recorded statements can be missing: a session's records end where its room does, but those
/// of several sessions overlap.
fn knows_writes(case: &Case<'_>) -> bool {
    case.request.is_complete() || case.request.sessions() == 1
}

fn is_duplicate(case: &Case<'_>, run: &[Member<'_>]) -> bool {
    let settings = case.settings;
    run.len() >= settings.duplicate_repeats_min as usize
        && are_round_trips(run, 2)
        && !has_only_list_keys(run, settings.list_elements_min)
        && !is_polling(run, settings)
}

fn runs<'a>(case: &Case<'a>, group: &Group<'a>) -> Vec<Vec<Member<'a>>> {
    if !has_equal_members(group) {
        return Vec::new();
    }
    let tables = &group.known.facts.tables_read;
    let mut writes = case.writes().iter().filter(|(_, written)| written.touches(tables)).peekable();
    let mut open: FxHashMap<u64, Vec<Member<'a>>> = FxHashMap::default();
    let mut done: Vec<Vec<Member<'a>>> = Vec::new();
    for member in &group.members {
        let mut is_changed = false;
        while writes.next_if(|(position, _)| *position < member.position).is_some() {
            is_changed = true;
        }
        if is_changed {
            done.extend(open.drain().map(|(_, run)| run));
        }
        open.entry(member.statement.parameters_hash).or_default().push(*member);
    }
    done.extend(open.into_values());
    done.sort_by_key(|run| run.first().map_or(0, |member| member.position));
    done
}

/// Spares groups of all different parameters the look at the writes.
fn has_equal_members(group: &Group<'_>) -> bool {
    let mut hashes: Vec<u64> = group.members.iter().map(|it| it.statement.parameters_hash).collect();
    hashes.sort_unstable();
    hashes.windows(2).any(|pair| pair.first() == pair.last())
}
