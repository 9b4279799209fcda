//! From a rule's verdict to a detection: identity, cost, severity. Verdicts with one identity become one detection.

use std::sync::Arc;

use pgtally_fingerprint::Fingerprint;
use rustc_hash::FxHashMap;

use super::case::{Case, Group, Member};
use crate::finding::{Confidence, Detection, FindingId, FindingKind, Parent, Severity, Times};
use crate::fix::{self, Occasion};
use crate::linkage::Link;
use crate::record::StatementRecord;
use crate::rewrite;

/// A detection whose severity is not decided yet.
pub(super) struct Draft {
    pub(super) detection: Detection,
    /// Database time of the repeats beyond one.
    pub(super) beyond_one_ns: u64,
    /// Decided by the rule itself: the number of repeats says nothing about it.
    pub(super) severity: Option<Severity>,
    /// Places of the first and the last of the repeats.
    span: (usize, usize),
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

impl Verdict {
    /// About `members` as they are: no keys, no parent.
    pub(super) fn plain(kind: FindingKind, confidence: Confidence, members: &[Member<'_>]) -> Self {
        let distinct = u32::try_from(members.len()).unwrap_or(u32::MAX);
        Self { kind, confidence, link: None, distinct, key: None }
    }
}

impl Draft {
    /// `runs` are the repeats; of each run, one execution would have been enough.
    pub(super) fn new(case: &Case<'_>, group: &Group<'_>, runs: &[&[Member<'_>]], verdict: Verdict) -> Self {
        Self::build(case, group, runs, &Cost::of_runs(runs), verdict, Vec::new())
    }

    /// None of `members` would have been needed.
    pub(super) fn whole(
        case: &Case<'_>,
        group: &Group<'_>,
        members: &[Member<'_>],
        verdict: Verdict,
    ) -> Self {
        Self::build(case, group, &[members], &Cost::whole(members), verdict, Vec::new())
    }

    /// As [`Draft::whole`], about some of their columns.
    pub(super) fn with_columns(
        case: &Case<'_>,
        group: &Group<'_>,
        members: &[Member<'_>],
        verdict: Verdict,
        columns: Vec<String>,
    ) -> Self {
        Self::build(case, group, &[members], &Cost::whole(members), verdict, columns)
    }

    fn build(
        case: &Case<'_>,
        group: &Group<'_>,
        runs: &[&[Member<'_>]],
        cost: &Cost,
        verdict: Verdict,
        columns: Vec<String>,
    ) -> Self {
        let rewrite = rewrite::rewrite(verdict.kind, &group.known, verdict.key);
        let column = verdict.link.as_ref().map(|(link, _)| link.column.as_str());
        let fix = fix::advice(&Occasion {
            kind: verdict.kind,
            known: &group.known,
            framework: &case.request.origin().framework,
            column: column.filter(|column| !column.is_empty()),
            note: rewrite.as_ref().and_then(|it| it.note),
            has_rewrite: rewrite.is_some(),
            is_parallel: cost.is_parallel,
            spans_transactions: runs.iter().any(|run| span_transactions(run)),
            columns: &columns,
            rows: cost.rows,
        });
        let mut draft = Self::of_request(case, verdict.kind, group.known.shape.fingerprint, cost.times);
        draft.span = cost.span;
        draft.beyond_one_ns = cost.beyond_one_ns;
        let it = &mut draft.detection;
        let parent = verdict.link.as_ref().map(|(link, _)| link.fingerprint);
        it.id = FindingId::new(verdict.kind, &it.route, parent, it.fingerprint);
        it.confidence = verdict.confidence;
        it.linked_parameter =
            verdict.link.as_ref().map(|(_, parameter)| *parameter).filter(|parameter| *parameter != 0);
        it.parent = verdict.link.map(|(link, _)| Parent {
            fingerprint: link.fingerprint,
            column: link.column,
            rows: link.rows,
            executions: link.executions,
        });
        it.repeat = u32::try_from(cost.count).unwrap_or(u32::MAX);
        it.distinct = verdict.distinct;
        it.wasted_ns = cost.wasted_ns;
        (it.rows, it.bytes) = (cost.rows, cost.bytes);
        it.is_parallel = cost.is_parallel;
        it.columns = columns;
        it.rewrite = rewrite.map(|it| it.text);
        it.fix = fix;
        draft
    }

    /// About the request as a whole, or about one of its statements without looking at its repeats.
    pub(super) fn of_request(
        case: &Case<'_>,
        kind: FindingKind,
        fingerprint: Fingerprint,
        times: Times,
    ) -> Self {
        let route = case.request.route();
        let detection = Detection {
            id: FindingId::new(kind, route, None, fingerprint),
            kind,
            severity: Severity::Info,
            confidence: Confidence::High,
            route: Arc::clone(route),
            fingerprint,
            linked_parameter: None,
            parent: None,
            repeat: 1,
            distinct: 1,
            wasted_ns: 0,
            rows: 0,
            bytes: 0,
            times,
            is_parallel: false,
            loop_id: None,
            growth: None,
            columns: Vec::new(),
            rewrite: None,
            fix: String::new(),
            regression: None,
        };
        Self { detection, beyond_one_ns: 0, severity: None, span: (0, 0) }
    }

    /// The parent per row of which the statement is repeated.
    fn loop_parent(&self) -> Option<Fingerprint> {
        let is_loop = matches!(self.detection.kind, FindingKind::NPlusOne | FindingKind::NPlusOneWrite);
        self.detection.parent.as_ref().filter(|_| is_loop).map(|parent| parent.fingerprint)
    }

    fn absorb(&mut self, other: Self) {
        let (mine, its) = (&mut self.detection, other.detection);
        mine.repeat = mine.repeat.saturating_add(its.repeat);
        mine.distinct = mine.distinct.max(its.distinct);
        mine.confidence = mine.confidence.max(its.confidence);
        mine.wasted_ns = mine.wasted_ns.saturating_add(its.wasted_ns);
        mine.times = Times {
            server_ns: mine.times.server_ns.saturating_add(its.times.server_ns),
            transfer_ns: mine.times.transfer_ns.saturating_add(its.times.transfer_ns),
            client_ns: mine.times.client_ns.saturating_add(its.times.client_ns),
        };
        mine.is_parallel &= its.is_parallel;
        mine.rows = mine.rows.saturating_add(its.rows);
        mine.bytes = mine.bytes.saturating_add(its.bytes);
        self.beyond_one_ns = self.beyond_one_ns.saturating_add(other.beyond_one_ns);
        self.severity = self.severity.max(other.severity);
        self.span = (self.span.0.min(other.span.0), self.span.1.max(other.span.1));
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

    pub(super) fn finish(mut self, case: &Case<'_>) -> Vec<Detection> {
        self.join_loops();
        let judge = |mut draft: Draft| {
            draft.detection.severity = draft.severity.unwrap_or_else(|| severity(case, &draft));
            if is_flat(case, &draft.detection) {
                draft.detection.severity = Severity::Info;
            }
            draft.detection
        };
        self.drafts.into_iter().map(judge).collect()
    }

    /// Statements repeated per row of one parent, in turns, are one loop.
    fn join_loops(&mut self) {
        let in_turns = |one: &Draft, other: &Draft| one.span.0 < other.span.1 && other.span.0 < one.span.1;
        let parent = |it: &Draft| it.loop_parent();
        let mut joined = Vec::new();
        for (index, draft) in self.drafts.iter().enumerate() {
            let Some(of) = parent(draft) else { continue };
            let mut others = self.drafts.iter().enumerate().filter(|(at, _)| *at != index);
            if others.any(|(_, other)| parent(other) == Some(of) && in_turns(draft, other)) {
                joined.push((index, FindingId::of_loop(&draft.detection.route, of)));
            }
        }
        for (index, id) in joined {
            if let Some(draft) = self.drafts.get_mut(index) {
                draft.detection.loop_id = Some(id);
            }
        }
    }
}

/// A few repeats that stay the same whatever the parent returns are look-ups written by hand.
fn is_flat(case: &Case<'_>, it: &Detection) -> bool {
    let settings = &case.settings.growth;
    let growth = it.growth.filter(|_| it.kind == FindingKind::NPlusOne);
    let is_small = it.repeat < settings.flat_repeats_max;
    is_small && growth.is_some_and(|growth| growth.slope.abs() <= settings.flat_slope_max)
}

fn severity(case: &Case<'_>, draft: &Draft) -> Severity {
    let (settings, it) = (case.settings, &draft.detection);
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
    match (it.is_parallel, severity) {
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
    times: Times,
    is_parallel: bool,
    /// Places of the first and the last.
    span: (usize, usize),
}

impl Cost {
    fn of_runs(runs: &[&[Member<'_>]]) -> Self {
        let positions = || runs.iter().flat_map(|run| run.iter()).map(|member| member.position);
        let mut cost = Self {
            is_parallel: runs.iter().all(|run| are_parallel(run)),
            span: (positions().min().unwrap_or(0), positions().max().unwrap_or(0)),
            ..Self::default()
        };
        for run in runs {
            let sum = |of: &dyn Fn(&StatementRecord) -> u64| {
                run.iter().fold(0_u64, |sum, member| sum.saturating_add(of(member.statement)))
            };
            let count = run.len().max(1) as u64;
            let beyond_one = |total: u64| total - total / count;
            let waited_ns = sum(&|it| it.server.ns() + it.turnaround.ns());
            cost.count += count;
            cost.wasted_ns = cost.wasted_ns.saturating_add(beyond_one(waited_ns));
            cost.beyond_one_ns =
                cost.beyond_one_ns.saturating_add(beyond_one(sum(&StatementRecord::duration_ns)));
            cost.rows = cost.rows.saturating_add(sum(&|it| it.rows.into()));
            cost.bytes = cost.bytes.saturating_add(sum(&|it| it.bytes.into()));
            let times = &mut cost.times;
            times.server_ns = times.server_ns.saturating_add(sum(&|it| it.server.ns()));
            times.transfer_ns = times.transfer_ns.saturating_add(sum(&|it| it.transfer.ns()));
            times.client_ns = times.client_ns.saturating_add(sum(&|it| it.turnaround.ns()));
        }
        cost
    }

    /// Of members none of which would have been needed.
    fn whole(members: &[Member<'_>]) -> Self {
        let mut cost = Self::of_runs(&[members]);
        let (server, client) = (cost.times.server_ns, cost.times.client_ns);
        cost.wasted_ns = server.saturating_add(client);
        cost.beyond_one_ns = server.saturating_add(cost.times.transfer_ns);
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
