//! `slow_statement`: one statement that takes longer than it may, whatever else the request does.
//!
//! The time to the first byte is the server's. The time from there to the end is shared by server, network and
//! client, so it counts, but the advice tells the two apart.

use pgtally_fingerprint::{Command, Fingerprint, Kind};
use rustc_hash::FxHashMap;

use super::case::{Case, Member};
use super::draft::Draft;
use crate::finding::{Confidence, Detection, FindingId, FindingKind, Severity};
use crate::fix;
use crate::record::StatementRecord;
use crate::shape::KnownShape;

pub(super) fn find(case: &Case<'_>) -> Vec<Draft> {
    let Some(slow_ns) = case.settings.slow_ns else { return Vec::new() };
    let mut slow: Vec<(Fingerprint, Vec<Member<'_>>)> = Vec::new();
    let mut index: FxHashMap<Fingerprint, usize> = FxHashMap::default();
    for member in case.members.iter().filter(|member| duration_ns(member.statement) >= slow_ns) {
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
    if statement.is_fetched_in_pieces { statement.server_ns } else { statement.duration_ns() }
}

fn judge(case: &Case<'_>, fingerprint: Fingerprint, members: &[Member<'_>]) -> Option<Draft> {
    let worst = members.iter().max_by_key(|member| duration_ns(member.statement))?.statement;
    let known = case.shape(fingerprint);
    if is_exempt(worst.kind, known.as_ref()) {
        return None;
    }
    let kind = FindingKind::SlowStatement;
    let route = case.request.route();
    let detection = Detection {
        id: FindingId::new(kind, route, None, fingerprint),
        kind,
        severity: Severity::Warning,
        confidence: Confidence::High,
        route: route.clone(),
        fingerprint,
        parent: None,
        linked_parameter: None,
        repeat: u32::try_from(members.len()).unwrap_or(u32::MAX),
        distinct: 1,
        wasted_ns: duration_ns(worst),
        rows: members.iter().fold(0, |sum, it| it.statement.rows.saturating_add(sum)),
        bytes: members.iter().fold(0, |sum, it| it.statement.bytes.saturating_add(sum)),
        rewrite: None,
        fix: fix::slow_advice(worst.server_ns, worst.transfer_ns, worst.rows),
    };
    Some(Draft { detection, beyond_one_ns: 0, is_parallel: false })
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
