//! Collects every request of a program for a capture (`pgtally run`), in bounded room.
//!
//! A request is taken when it is over, so that one that pauses in the middle is still one. What a capture cannot hold,
//! and what was lost on the way, is in its `problems`.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgtally_analysis::{
    Baseline, FindingKind, FindingStore, Observed, ParentLink, Request, RequestPart, RouteKey,
};
use pgtally_report::{Budgets, CAPTURE_LIMITS, Capture, Finding};

use super::{Aggregator, Shapes};
use crate::api::FindingView;

/// Findings kept while a capture is made: every test is a route and has its own.
const FINDINGS_MAX: usize = 10_000;

/// Requests at the beginning of a route that are not looked at: they fill caches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WarmUp {
    /// Of every route of which the budgets say nothing.
    pub(crate) requests: u64,
    /// What the budgets say.
    pub(crate) budgets: Budgets,
}

impl WarmUp {
    fn of(&self, route: &str, is_named: bool) -> u64 {
        let own = self.budgets.of(route, is_named).and_then(|budget| budget.warm_up);
        own.unwrap_or(self.requests)
    }
}

/// What a capture is made of.
pub(super) struct Collector {
    baseline: Baseline,
    warm_up: WarmUp,
    /// Requests left out so far.
    left_out: BTreeMap<RouteKey, u64>,
    statements: u64,
}

impl Collector {
    fn new(warm_up: WarmUp) -> Self {
        let baseline = Baseline::new(CAPTURE_LIMITS);
        Self { baseline, warm_up, left_out: BTreeMap::new(), statements: 0 }
    }

    fn take(&mut self, request: &Request, shapes: &Shapes) {
        self.statements += request.queries();
        if !self.is_warming_up(request) {
            self.baseline.observe(&Observed::of(request), &|fingerprint| shapes.text(fingerprint));
        }
    }

    fn is_warming_up(&mut self, request: &Request) -> bool {
        let route = request.route();
        let wanted = self.warm_up.of(route, request.attribution().is_request());
        let key = (Arc::clone(route), request.attribution());
        let is_full = self.left_out.len() >= CAPTURE_LIMITS.routes && !self.left_out.contains_key(&key);
        if wanted == 0 || is_full {
            return false;
        }
        let left_out = self.left_out.entry(key).or_default();
        let is_warming_up = *left_out < wanted;
        *left_out += u64::from(is_warming_up);
        is_warming_up
    }

    /// Tells each repeated statement its parent, where one was proven.
    fn link_parents(&mut self, findings: &FindingStore) {
        for finding in findings.sorted() {
            let worst = &finding.worst;
            let is_loop = matches!(worst.kind, FindingKind::NPlusOne | FindingKind::NPlusOneWrite);
            if let Some(parent) = worst.parent.as_ref().filter(|_| is_loop) {
                let link = ParentLink { fingerprint: parent.fingerprint, column: parent.column.clone() };
                self.baseline.link(&worst.route, finding.attribution, worst.fingerprint, link);
            }
        }
    }
}

impl Aggregator {
    pub(super) fn collect(&mut self, warm_up: WarmUp) {
        self.collector = Some(Collector::new(warm_up));
        self.go_on_collecting();
    }

    /// Makes the rest of the state do its part; again after it was made anew.
    pub(super) fn go_on_collecting(&mut self) {
        if self.collector.is_some() {
            self.requests.collect_closed();
            self.findings = FindingStore::with_room(FINDINGS_MAX);
        }
    }

    /// Takes what has become over.
    pub(super) fn collect_closed(&mut self) {
        if let Some(collector) = &mut self.collector {
            for request in self.requests.take_closed() {
                collector.take(&request, &self.shapes);
            }
        }
    }

    pub(super) fn capture(&mut self, open: Vec<RequestPart>) -> Capture {
        let now = self.clock.now();
        for part in open {
            for (request, step) in self.requests.absorb(part, now) {
                self.take_step(&request, step, now);
            }
        }
        for (request, step) in self.requests.close_all() {
            self.take_step(&request, step, now);
        }
        self.collect_closed();
        self.judge(None);
        let findings = self.findings_answer().findings.into_iter().map(captured).collect();
        let Some(collector) = &mut self.collector else {
            return Capture::new(&Baseline::new(CAPTURE_LIMITS), findings);
        };
        collector.link_parents(&self.findings);
        let mut capture = Capture::new(&collector.baseline, findings);
        capture.note_warm_up(&collector.left_out);
        capture.statements = collector.statements;
        if !self.is_complete() {
            capture.add_problem(format!("observations were lost: {}", self.metrics.dropped_reasons()));
        }
        capture.sort();
        capture
    }
}

/// A finding without its moments.
fn captured(view: FindingView) -> Finding {
    Finding {
        id: view.id,
        kind: view.kind.into(),
        severity: view.severity.into(),
        confidence: view.confidence.into(),
        state: view.state.into(),
        route: view.route,
        attribution: view.attribution.into(),
        fingerprint: view.fingerprint,
        statement: view.statement,
        parent_fingerprint: view.parent_fingerprint,
        parent_statement: view.parent_statement,
        linked_column: view.linked_column,
        linked_param: view.linked_param,
        repeat: view.repeat,
        distinct: view.distinct,
        requests: view.requests,
        wasted_ms: view.wasted_ms,
        fix: view.fix,
        rewrite: view.rewrite,
        reason: view.reason,
        parallel: view.parallel,
        loop_id: view.loop_id,
        columns: view.columns,
        source_location: view.source_location,
        background: view.background,
    }
}
