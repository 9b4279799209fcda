//! `count_then_select`: the rows of a FROM and WHERE are counted, and read as well.
//!
//! Keys are compared by value. Other parameters of the WHERE (ranges, patterns) are known only together with LIMIT and
//! OFFSET, which a count doesn't have: there the two must follow each other, and the finding is less sure.

use super::case::{Case, Group, Member};
use super::draft::{Draft, Verdict};
use crate::finding::{Confidence, FindingKind};
use crate::linkage::Link;

/// `groups` are all of the request; `count` is the one asked about.
pub(super) fn find(case: &Case<'_>, groups: &[Group<'_>], count: &Group<'_>) -> Option<Draft> {
    let source = count.known.facts.source.filter(|_| count.known.facts.is_count && count.is_read())?;
    if count.is_exempt() || count.known.facts.is_volatile {
        return None;
    }
    let selects = groups.iter().filter(|it| {
        let facts = &it.known.facts;
        facts.source == Some(source) && it.is_read() && !facts.is_count && !facts.has_aggregate
    });
    let tables = &count.known.facts.tables_read;
    let writes = case.writes().iter().filter(|(_, written)| written.touches(tables));
    let writes: Vec<usize> = writes.map(|(position, _)| *position).collect();
    let mut best: Option<(Confidence, &Group<'_>, Vec<Member<'_>>)> = None;
    for select in selects {
        let pairs = count.members.iter().filter_map(|one| {
            let confidence = select.members.iter().filter_map(|it| compare(count, &writes, one, it)).max()?;
            Some((confidence, *one))
        });
        let pairs: Vec<(Confidence, Member<'_>)> = pairs.collect();
        let Some(confidence) = pairs.iter().map(|(confidence, _)| *confidence).max() else { continue };
        if best.as_ref().is_none_or(|(known, ..)| *known < confidence) {
            best = Some((confidence, select, pairs.into_iter().map(|(_, member)| member).collect()));
        }
    }
    let (confidence, select, counts) = best?;
    let link = Link {
        fingerprint: select.known.shape.fingerprint,
        column: String::new(),
        rows: select.members.iter().fold(0, |sum, it| u64::from(it.statement.rows).saturating_add(sum)),
        executions: u32::try_from(select.members.len()).unwrap_or(u32::MAX),
        score: 0,
    };
    let distinct = u32::try_from(counts.len()).unwrap_or(u32::MAX);
    let verdict = Verdict {
        kind: FindingKind::CountThenSelect,
        confidence,
        link: Some((link, 0)),
        distinct,
        key: None,
    };
    Some(Draft::whole(case, count, &counts, verdict))
}

/// How sure it is that both are about the same rows; `None` when they are not. `writes` are places of writes to their
/// tables, in order. Asked for every pair: nothing here may take long.
fn compare(
    group: &Group<'_>,
    writes: &[usize],
    count: &Member<'_>,
    select: &Member<'_>,
) -> Option<Confidence> {
    let (one, other) = (count.statement, select.statement);
    let keys = count.keys.iter().map(|key| key.list_hash);
    if one.environment != other.environment || !keys.eq(select.keys.iter().map(|key| key.list_hash)) {
        return None;
    }
    let between = count.position.min(select.position)..count.position.max(select.position);
    let writes_before = |place: usize| writes.partition_point(|write| *write < place);
    if writes_before(between.start) < writes_before(between.end) {
        return None;
    }
    let parameters = group.known.facts.source.map_or(0, |it| usize::from(it.parameters));
    if parameters == count.keys.len() || one.others_hash == other.others_hash {
        return Some(Confidence::High);
    }
    (between.len() == 1).then_some(Confidence::Medium)
}
