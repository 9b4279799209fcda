//! `slow_statement`: one statement that takes longer than it may, whatever else the request does.
//!
//! Or several times longer than its own 95th percentile, once that is known, from the warning line on.
//! The time to the first byte is the server's. The time from there to the end is shared by server, network and
//! client, so it counts, but the advice tells the two apart.

use pgtally_fingerprint::{Command, Fingerprint, Kind};
use rustc_hash::FxHashMap;

use super::case::{Case, Member};
use super::draft::Draft;
use crate::finding::{FindingKind, Severity, Times};
use crate::fix;
use crate::record::StatementRecord;
use crate::shape::KnownShape;

pub(super) fn find(case: &Case<'_>) -> Vec<Draft> {
    let settings = case.settings;
    let Some(slow_ns) = settings.slow_ns else { return Vec::new() };
    let unusual_ns = settings.slow_unusual_ns.min(slow_ns);
    let is_slow = |member: &&Member<'_>| {
        let duration_ns = duration_ns(member.statement);
        duration_ns >= slow_ns
            || (duration_ns >= unusual_ns
                && p95_ns(case, member.statement.fingerprint)
                    .is_some_and(|p95| duration_ns > p95.saturating_mul(settings.slow_unusual_factor)))
    };
    let mut slow: Vec<(Fingerprint, Vec<Member<'_>>)> = Vec::new();
    let mut index: FxHashMap<Fingerprint, usize> = FxHashMap::default();
    for member in case.members.iter().filter(is_slow) {
        let fingerprint = member.statement.fingerprint;
        let at = *index.entry(fingerprint).or_insert(slow.len());
        match slow.get_mut(at) {
            Some((_, members)) => members.push(*member),
            None => slow.push((fingerprint, vec![*member])),
        }
    }
    slow.iter().filter_map(|(fingerprint, members)| judge(case, *fingerprint, members)).collect()
}

/// A cursor's or portal's statement lasts as long as the client fetches: only its server time is its own.
fn duration_ns(statement: &StatementRecord) -> u64 {
    if statement.is_fetched_in_pieces { statement.server.ns() } else { statement.duration_ns() }
}

fn judge(case: &Case<'_>, fingerprint: Fingerprint, members: &[Member<'_>]) -> Option<Draft> {
    let worst = members.iter().max_by_key(|member| duration_ns(member.statement))?.statement;
    let known = case.shape(fingerprint);
    if is_exempt(worst.kind, known) {
        return None;
    }
    let times = Times {
        server_ns: worst.server.ns(),
        transfer_ns: worst.transfer.ns(),
        client_ns: worst.turnaround.ns(),
    };
    let mut draft = Draft::of_request(case, FindingKind::SlowStatement, fingerprint, times);
    let it = &mut draft.detection;
    it.repeat = u32::try_from(members.len()).unwrap_or(u32::MAX);
    it.wasted_ns = duration_ns(worst);
    it.rows = members.iter().fold(0, |sum, it| u64::from(it.statement.rows).saturating_add(sum));
    it.bytes = members.iter().fold(0, |sum, it| u64::from(it.statement.bytes).saturating_add(sum));
    it.fix = fix::slow_advice(
        worst.server.ns(),
        worst.transfer.ns(),
        worst.rows.into(),
        p95_ns(case, fingerprint),
    );
    draft.severity = Some(severity(case, it.wasted_ns));
    Some(draft)
}

fn p95_ns(case: &Case<'_>, fingerprint: Fingerprint) -> Option<u64> {
    case.history.p95_ns(fingerprint)
}

/// What is slow only for itself is worth knowing.
fn severity(case: &Case<'_>, duration_ns: u64) -> Severity {
    let settings = case.settings;
    if duration_ns >= settings.slow_critical_ns {
        Severity::Critical
    } else if settings.slow_ns.is_some_and(|slow_ns| duration_ns >= slow_ns) {
        Severity::Warning
    } else {
        Severity::Info
    }
}

/// Bulk work, DDL, maintenance, catalog reads, and waiting for an advisory lock, which is meant to wait.
fn is_exempt(kind: Kind, known: Option<&KnownShape>) -> bool {
    let is_data = match kind {
        Kind::Delete | Kind::Insert | Kind::Merge | Kind::Select | Kind::Update => true,
        Kind::Other => {
            known.is_some_and(|it| matches!(it.shape.command, Command::Call | Command::Do | Command::Execute))
        }
        Kind::Copy | Kind::Ddl | Kind::Tx => false,
    };
    let waits =
        known.is_some_and(|it| it.facts.functions.iter().any(|it| it.name.starts_with("pg_advisory")));
    !is_data || waits || known.is_some_and(|it| it.facts.is_catalog_only)
}
