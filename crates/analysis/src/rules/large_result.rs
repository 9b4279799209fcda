//! `unbounded_result`: a read without LIMIT or aggregate that has grown large; and `over_fetch`: a repeated read most of
//! whose bytes are one wide column.

use super::case::{Case, Group, Member, has_list_key_anywhere};
use super::draft::{Draft, Verdict};
use crate::catalog::display;
use crate::finding::{Confidence, FindingKind, Severity};

/// Cursors and portals fetched in pieces are read as they should be; lists of keys bound their result themselves.
pub(super) fn find_unbounded(case: &Case<'_>, group: &Group<'_>) -> Option<Draft> {
    let facts = &group.known.facts;
    if !group.is_read() || group.is_exempt() || facts.has_limit || facts.has_aggregate {
        return None;
    }
    let settings = case.settings;
    let is_large = |member: &&Member<'_>| {
        let it = member.statement;
        let is_many =
            it.rows >= settings.unbounded_rows_min || u64::from(it.bytes) >= settings.unbounded_bytes_min;
        // One row is bounded, however wide.
        is_many && it.rows > 1 && !it.is_fetched_in_pieces
    };
    let members: Vec<Member<'_>> = group.members.iter().filter(is_large).copied().collect();
    if members.is_empty() || has_list_key_anywhere(&members, settings.list_elements_min) {
        return None;
    }
    let verdict = Verdict::plain(FindingKind::UnboundedResult, Confidence::High, &members);
    let mut draft = Draft::whole(case, group, &members, verdict);
    // What was not needed can't be told from here; what it took to transfer can.
    draft.detection.wasted_ns = draft.detection.times.transfer_ns;
    let critical = settings.critical_time.as_ref();
    let is_costly = critical.is_some_and(|it| draft.detection.wasted_ns >= it.wasted_ns);
    draft.severity = Some(if is_costly { Severity::Critical } else { Severity::Warning });
    Some(draft)
}

pub(super) fn find_wide(case: &Case<'_>, group: &Group<'_>) -> Option<Draft> {
    let settings = case.settings;
    let repeat = u32::try_from(group.members.len()).unwrap_or(u32::MAX);
    if !group.is_read() || group.is_exempt() || repeat < settings.wide_repeats_min {
        return None;
    }
    let fingerprint = group.known.shape.fingerprint;
    let wide = case.request.wide_columns().filter(|it| it.fingerprint == fingerprint);
    let wide: Vec<_> = wide.collect();
    let executions = wide.iter().fold(0_u32, |sum, it| sum.saturating_add(it.executions));
    let row_bytes = wide.iter().fold(0_u64, |sum, it| sum.saturating_add(it.row_bytes));
    let all_bytes = group.members.iter().fold(0_u64, |sum, it| sum.saturating_add(it.statement.bytes.into()));
    if executions < settings.wide_repeats_min || row_bytes < settings.wide_bytes_min {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 64 bits")]
    let share = |bytes: u64| bytes as f64 / all_bytes.max(1) as f64;
    let bytes = wide.iter().fold(0_u64, |sum, it| sum.saturating_add(it.column_bytes));
    // Rows beyond the measured ones are like them.
    let measured = share(row_bytes).max(0.05);
    if share(bytes) < settings.wide_share_min * measured {
        return None;
    }
    let verdict = Verdict::plain(FindingKind::OverFetch, Confidence::Medium, &group.members);
    let mut columns: Vec<String> = wide.iter().map(|it| column_name(group, it.position, &it.label)).collect();
    columns.sort_unstable();
    columns.dedup();
    let mut draft = Draft::with_columns(case, group, &group.members, verdict, columns);
    draft.severity = Some(Severity::Info);
    Some(draft)
}

fn column_name(group: &Group<'_>, position: u16, label: &str) -> String {
    let facts = &group.known.facts;
    match facts.outputs.get(usize::from(position)) {
        Some(output) => display(output.table.as_deref(), output.column.as_deref().unwrap_or(label)),
        None => {
            let only = match facts.tables_read.as_slice() {
                [only] => Some(only.name.as_str()),
                _ => None,
            };
            display(only, label)
        }
    }
}
