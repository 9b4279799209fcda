//! `reread_after_write`: a read, by its key, of a row that this request has just inserted, updated or been given back
//! by RETURNING.
//!
//! Only keys count: a row's own id, not its references, as `WHERE order_id = $1` after an INSERT of an item asks for
//! all items. And only reads of the written table alone: a join asks for more than the row.

use pgtally_fingerprint::{Fingerprint, Kind};
use rustc_hash::{FxHashMap, FxHashSet};

use super::case::{Case, Group, Member, is_polling};
use super::draft::{Draft, Verdict};
use crate::affinity::is_own_key;
use crate::finding::{Confidence, FindingKind};
use crate::linkage::Link;
use crate::merge::Request;
use crate::record::Moment;

/// Keys of rows that the request has written, by canonical value.
#[derive(Default)]
pub(super) struct WrittenKeys {
    by_value: FxHashMap<u32, Vec<WrittenKey>>,
}

#[derive(Clone)]
struct WrittenKey {
    table: Box<str>,
    column: Box<str>,
    at: Moment,
    /// When it was taken back.
    undone: Option<Moment>,
    environment: Option<u32>,
    fingerprint: Fingerprint,
}

/// Writes remembered per value: small integers are keys of many tables.
const WRITES_PER_VALUE_MAX: usize = 8;

impl WrittenKeys {
    pub(super) fn of(case: &Case<'_>, request: &Request) -> Self {
        let mut keys = Self::default();
        let failed = failed_transactions(case);
        let is_failed = |it: &&Member<'_>| {
            let place = (it.session, it.statement.transaction);
            it.statement.error.is_some() || it.statement.is_retried || failed.contains(&place)
        };
        // What affects no row writes none: ON CONFLICT DO NOTHING, or somebody else was first.
        for member in case.members.iter().filter(|it| !is_failed(it) && it.statement.rows > 0) {
            keys.note_parameters(case, member);
        }
        let failed = case.members.iter().filter(is_failed);
        let failed: FxHashSet<Fingerprint> = failed.map(|it| it.statement.fingerprint).collect();
        let undone = first_undone(case);
        let samples = request.samples().filter(|(_, sample)| !failed.contains(&sample.fingerprint));
        for (sent, sample) in samples {
            let Some(known) = case.shape(sample.fingerprint) else { continue };
            let Some(table) =
                known.facts.tables_written.first().filter(|_| known.facts.tables_written.len() == 1)
            else {
                continue;
            };
            let width = sample.columns.len().max(1);
            for (offset, column) in sample.columns.iter().enumerate() {
                let name = case.column_name(known, column).column;
                for value in sample.values.iter().skip(offset).step_by(width) {
                    let key = WrittenKey {
                        table: table.name.as_str().into(),
                        column: name.clone(),
                        at: sent,
                        undone: undone.get(&sample.fingerprint).copied(),
                        environment: None,
                        fingerprint: sample.fingerprint,
                    };
                    keys.note(*value, key);
                }
            }
        }
        keys
    }

    /// What an INSERT's values and the WHERE of an UPDATE tell. A deleted row is gone.
    fn note_parameters(&mut self, case: &Case<'_>, member: &Member<'_>) {
        if !matches!(member.statement.kind, Kind::Insert | Kind::Update) {
            return;
        }
        let Some(known) = case.shape(member.statement.fingerprint) else { return };
        let Some(table) = known.facts.tables_written.first() else { return };
        let columns =
            if member.statement.kind == Kind::Insert { &known.facts.inserted } else { &known.facts.compared };
        for key in member.keys.iter().filter(|key| key.elements == 1) {
            let Some(column) = columns.iter().find(|it| it.parameter == key.parameter) else { continue };
            if column.table.as_ref().is_some_and(|it| *it != table.name) {
                continue;
            }
            let written = WrittenKey {
                table: table.name.as_str().into(),
                column: column.column.as_str().into(),
                at: member.statement.sent,
                undone: case.undone(member),
                environment: Some(member.statement.environment),
                fingerprint: member.statement.fingerprint,
            };
            self.note(key.value, written);
        }
    }

    fn note(&mut self, value: u32, key: WrittenKey) {
        if value == 0 || !is_own_key(&key.table, &key.column) {
            return;
        }
        let writes = self.by_value.entry(value).or_default();
        if writes.len() < WRITES_PER_VALUE_MAX {
            writes.push(key);
        }
    }

    fn find(&self, member: &Member<'_>, value: u32, table: &str, column: &str) -> Option<&WrittenKey> {
        let statement = member.statement;
        self.by_value.get(&value)?.iter().find(|it| {
            *it.table == *table
                && *it.column == *column
                && it.at < statement.sent
                && it.undone.is_none_or(|undone| statement.sent < undone)
                && it.environment.is_none_or(|environment| environment == statement.environment)
        })
    }
}

/// When writes of each shape were first taken back: a sample doesn't tell which execution a row is of.
fn first_undone(case: &Case<'_>) -> FxHashMap<Fingerprint, Moment> {
    let mut first: FxHashMap<Fingerprint, Moment> = FxHashMap::default();
    for member in &case.members {
        if let Some(undone) = case.undone(member) {
            let known = first.entry(member.statement.fingerprint).or_insert(undone);
            *known = undone.min(*known);
        }
    }
    first
}

/// Transactions, with their sessions, in which something failed. Whether a savepoint has saved the rest nobody knows.
fn failed_transactions(case: &Case<'_>) -> FxHashSet<(u64, u32)> {
    let failed = case.members.iter().filter(|it| it.statement.error.is_some());
    failed
        .map(|it| (it.session, it.statement.transaction))
        .filter(|(_, transaction)| *transaction != 0)
        .collect()
}

/// Reads of written rows; those of one shape after one write are one finding.
pub(super) fn find(case: &Case<'_>, group: &Group<'_>) -> Option<Draft> {
    let facts = &group.known.facts;
    let ([table], []) = (facts.tables_read.as_slice(), facts.tables_written.as_slice()) else { return None };
    let asks_more = facts.has_aggregate || facts.has_locking || facts.is_volatile || facts.is_count;
    let is_written =
        |(_, written): &(usize, super::case::Written)| written.touches(std::slice::from_ref(table));
    if !group.is_read() || group.is_exempt() || asks_more || !case.writes().iter().any(is_written) {
        return None;
    }
    let mut rereads: Vec<(Member<'_>, &WrittenKey, u16)> = Vec::new();
    for member in &group.members {
        let mut compared = facts.compared.iter().filter(|it| is_own_key(&table.name, &it.column));
        let written = compared.find_map(|it| {
            let key = member.keys.iter().find(|key| key.parameter == it.parameter && key.elements == 1)?;
            Some((case.written_keys().find(member, key.value, &table.name, &it.column)?, it.parameter))
        });
        if let Some((written, parameter)) = written {
            rereads.push((*member, written, parameter));
        }
    }
    let (_, written, parameter) = *rereads.first()?;
    let members: Vec<Member<'_>> = rereads.iter().map(|(member, ..)| *member).collect();
    if members.iter().all(|it| !it.statement.is_round_trip) || is_polling(&members, case.settings) {
        return None;
    }
    let link = Link {
        fingerprint: written.fingerprint,
        column: format!("{}.{}", written.table, written.column),
        rows: members.len() as u64,
        executions: u32::try_from(members.len()).unwrap_or(u32::MAX),
        score: 0,
    };
    let verdict = Verdict {
        kind: FindingKind::RereadAfterWrite,
        confidence: Confidence::High,
        link: Some((link, parameter)),
        distinct: u32::try_from(members.len()).unwrap_or(u32::MAX),
        key: None,
    };
    Some(Draft::whole(case, group, &members, verdict))
}
