//! From a rule's verdict to a detection: identity, cost, severity. Verdicts with one identity become one detection.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::case::{Case, Group, Member};
use crate::finding::{Confidence, Detection, FindingId, FindingKind, Parent, Severity};
use crate::fix::{self, Occasion};
use crate::linkage::Link;
use crate::record::StatementRecord;
use crate::rewrite;

/// A detection whose severity is not decided yet.
pub(super) struct Draft {
    pub(super) detection: Detection,
    /// Database time of the repeats beyond one.
    pub(super) beyond_one_ns: u64,
    /// The repeats ran at the same time on several sessions.
    pub(super) is_parallel: bool,
}

/// What a rule decided.
pub(super) struct Verdict {
    pub(super) kind: FindingKind,
    pub(super) confidence: Confidence,
    /// The proven parent and the parameter whose values are linked.
    pub(super) link: Option<(Link, u16)>,
    pub(super) distinct: u32,
    /// The parameter to make a list of in the rewrite.
    pub(super) key: Option<u16>,
}

impl Draft {
    /// `runs` are the repeats; of each run, one execution would have been enough.
    pub(super) fn new(case: &Case<'_>, group: &Group<'_>, runs: &[&[Member<'_>]], verdict: Verdict) -> Self {
        let cost = Cost::of_runs(runs);
        let shape = &group.known.shape;
        let route = case.request.route();
        let parent = verdict.link.as_ref().map(|(link, _)| link.fingerprint);
        let is_parallel = runs.iter().all(|run| are_parallel(run));
        let rewrite = rewrite::rewrite(verdict.kind, &group.known, verdict.key);
        let fix = fix::advice(&Occasion {
            kind: verdict.kind,
            known: &group.known,
            framework: &case.request.origin().framework,
            column: verdict.link.as_ref().map(|(link, _)| link.column.as_str()),
            note: rewrite.as_ref().and_then(|it| it.note),
            has_rewrite: rewrite.is_some(),
            is_parallel,
            spans_transactions: runs.iter().any(|run| span_transactions(run)),
        });
        let detection = Detection {
            id: FindingId::new(verdict.kind, route, parent, shape.fingerprint),
            kind: verdict.kind,
            severity: Severity::Info,
            confidence: verdict.confidence,
            route: Arc::clone(route),
            fingerprint: shape.fingerprint,
            linked_parameter: verdict.link.as_ref().map(|(_, parameter)| *parameter),
            parent: verdict.link.map(|(link, _)| Parent {
                fingerprint: link.fingerprint,
                column: link.column,
                rows: link.rows,
                executions: link.executions,
            }),
            repeat: u32::try_from(cost.count).unwrap_or(u32::MAX),
            distinct: verdict.distinct,
            wasted_ns: cost.wasted_ns,
            rows: cost.rows,
            bytes: cost.bytes,
            rewrite: rewrite.map(|it| it.text),
            fix,
        };
        Self { detection, beyond_one_ns: cost.beyond_one_ns, is_parallel }
    }

    fn absorb(&mut self, other: Self) {
        let (mine, its) = (&mut self.detection, other.detection);
        mine.repeat = mine.repeat.saturating_add(its.repeat);
        mine.distinct = mine.distinct.max(its.distinct);
        mine.confidence = mine.confidence.max(its.confidence);
        mine.wasted_ns = mine.wasted_ns.saturating_add(its.wasted_ns);
        mine.rows = mine.rows.saturating_add(its.rows);
        mine.bytes = mine.bytes.saturating_add(its.bytes);
        self.beyond_one_ns = self.beyond_one_ns.saturating_add(other.beyond_one_ns);
        self.is_parallel &= other.is_parallel;
    }
}

/// Verdicts in order, one per identity.
#[derive(Default)]
pub(super) struct Drafts {
    drafts: Vec<Draft>,
    index: FxHashMap<FindingId, usize>,
}

impl Drafts {
    pub(super) fn extend(&mut self, drafts: impl IntoIterator<Item = Draft>) {
        for draft in drafts {
            let at = *self.index.entry(draft.detection.id).or_insert(self.drafts.len());
            match self.drafts.get_mut(at) {
                Some(known) => known.absorb(draft),
                None => self.drafts.push(draft),
            }
        }
    }

    pub(super) fn finish(self, case: &Case<'_>) -> Vec<Detection> {
        let judge = |mut draft: Draft| {
            draft.detection.severity = severity(case, &draft);
            draft.detection
        };
        self.drafts.into_iter().map(judge).collect()
    }
}

fn severity(case: &Case<'_>, draft: &Draft) -> Severity {
    let (settings, it) = (case.settings, &draft.detection);
    if it.kind == FindingKind::SlowStatement {
        let is_critical = it.wasted_ns >= settings.slow_critical_ns;
        return if is_critical { Severity::Critical } else { Severity::Warning };
    }
    let is_costly = settings.critical_time.as_ref().is_some_and(|time| {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no 64 bits")]
        let share = draft.beyond_one_ns as f64 / case.request.database_ns().max(1) as f64;
        it.wasted_ns >= time.wasted_ns || (share >= time.share && draft.beyond_one_ns >= time.share_floor_ns)
    });
    let severity = if is_costly || it.repeat >= settings.critical_repeats_min {
        Severity::Critical
    } else if it.repeat >= settings.warning_repeats_min {
        Severity::Warning
    } else {
        Severity::Info
    };
    // Side by side they cost the database as much, but the client waits for the longest only.
    match (draft.is_parallel, severity) {
        (true, Severity::Critical) => Severity::Warning,
        (true, _) => Severity::Info,
        (false, severity) => severity,
    }
}

/// What the repeats cost.
#[derive(Default)]
struct Cost {
    count: u64,
    /// Server time and the client's turnaround, beyond one execution per run.
    wasted_ns: u64,
    /// Database time beyond one execution per run.
    beyond_one_ns: u64,
    rows: u64,
    bytes: u64,
}

impl Cost {
    fn of_runs(runs: &[&[Member<'_>]]) -> Self {
        let mut cost = Self::default();
        for run in runs {
            let sum = |of: &dyn Fn(&StatementRecord) -> u64| {
                run.iter().fold(0_u64, |sum, member| sum.saturating_add(of(member.statement)))
            };
            let count = run.len().max(1) as u64;
            let beyond_one = |total: u64| total - total / count;
            let waited_ns = sum(&|it| it.server_ns.saturating_add(it.turnaround_ns));
            cost.count += count;
            cost.wasted_ns = cost.wasted_ns.saturating_add(beyond_one(waited_ns));
            cost.beyond_one_ns =
                cost.beyond_one_ns.saturating_add(beyond_one(sum(&StatementRecord::duration_ns)));
            cost.rows = cost.rows.saturating_add(sum(&|it| it.rows));
            cost.bytes = cost.bytes.saturating_add(sum(&|it| it.bytes));
        }
        cost
    }
}

/// Whether at least half of the members began before another session's had ended.
fn are_parallel(members: &[Member<'_>]) -> bool {
    let mut busy_until = [(0, 0_u64); 2];
    let mut overlapping = 0;
    for Member { session, statement, .. } in members {
        let ends = statement.sent.0.saturating_add(statement.duration_ns());
        overlapping += usize::from(
            busy_until.iter().any(|(other, until)| other != session && *until > statement.sent.0),
        );
        // The two sessions that are busy longest are enough to see whether another one is.
        match busy_until.iter_mut().find(|(other, _)| other == session) {
            Some(slot) => slot.1 = slot.1.max(ends),
            None => {
                if let Some(slot) = busy_until.iter_mut().min_by_key(|(_, until)| *until) {
                    *slot = (*session, ends);
                }
            }
        }
    }
    members.len() >= 2 && overlapping * 2 >= members.len()
}

fn span_transactions(members: &[Member<'_>]) -> bool {
    let mut transactions = members.iter().map(|member| (member.session, member.statement.transaction));
    let first = transactions.next();
    transactions.any(|it| Some(it) != first)
}
