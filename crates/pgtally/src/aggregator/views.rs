//! Answers to the API's questions, from the aggregator's state.

use std::sync::Arc;

use pgtally_analysis::{
    Confidence, Finding, Regression, Request, RequestPart, RouteStanding, Severity, StatementChange,
};
use pgtally_fingerprint::Fingerprint;

use super::Aggregator;
use crate::api::{
    BaselineView, BaselinesAnswer, ChangeView, FindingView, FindingsAnswer, GrowthView, RegressionView,
    RequestAnswer, RequestView, RequestsAnswer, SCHEMA_VERSION, StatementView, TimelineView, TimesView,
};
use crate::clock::rfc3339;

impl Aggregator {
    pub(super) fn findings_answer(&self) -> FindingsAnswer {
        let findings = self.findings.sorted().into_iter().map(|finding| self.finding_view(finding));
        FindingsAnswer {
            schema_version: SCHEMA_VERSION,
            complete: self.is_complete(),
            findings: findings.collect(),
        }
    }

    pub(super) fn baselines_answer(&self) -> BaselinesAnswer {
        BaselinesAnswer {
            schema_version: SCHEMA_VERSION,
            complete: self.is_complete(),
            baselines: self.baselines.rolling.standings().map(|it| baseline_view(&it)).collect(),
        }
    }

    pub(super) fn finding_view(&self, finding: &Finding) -> FindingView {
        let worst = &finding.worst;
        let parent = worst.parent.as_ref();
        let ends = finding.timeline.iter().map(|entry| entry.offset_ns.saturating_add(entry.duration_ns));
        let request_ns = ends.max().unwrap_or(0);
        FindingView {
            id: worst.id.to_string(),
            kind: worst.kind.name(),
            severity: severity_name(worst.severity),
            confidence: confidence_name(worst.confidence),
            state: finding.state.name(),
            route: worst.route.to_string(),
            attribution: finding.attribution.name(),
            fingerprint: worst.fingerprint.to_string(),
            statement: self.text(worst.fingerprint),
            parent_fingerprint: parent.map(|parent| parent.fingerprint.to_string()),
            parent_statement: parent.and_then(|parent| self.text(parent.fingerprint)),
            linked_column: parent.map(|parent| parent.column.clone()).filter(|column| !column.is_empty()),
            linked_param: worst.linked_parameter,
            repeat: worst.repeat,
            distinct: worst.distinct,
            requests: finding.requests,
            wasted_ms: milliseconds(worst.wasted_ns),
            request_ms: milliseconds(request_ns),
            first_seen: rfc3339(finding.first_seen as f64),
            last_seen: rfc3339(finding.last_seen as f64),
            fix: worst.fix.clone(),
            rewrite: worst.rewrite.clone(),
            reason: finding.reason.as_deref().map(str::to_owned),
            times: TimesView {
                server_ms: milliseconds(worst.times.server_ns),
                transfer_ms: milliseconds(worst.times.transfer_ns),
                client_ms: milliseconds(worst.times.client_ns),
            },
            parallel: worst.is_parallel,
            loop_id: worst.loop_id.map(|id| id.to_string()),
            growth: worst.growth.map(|growth| GrowthView {
                slope: thousandths(growth.slope),
                fit: thousandths(growth.fit),
                requests: growth.requests,
            }),
            columns: worst.columns.clone(),
            rows: worst.rows,
            bytes: worst.bytes,
            source_location: finding.source_location.as_deref().map(str::to_owned),
            background: finding.is_background,
            request: finding.worst_request.key.to_string(),
            regression: worst.regression.as_deref().map(regression_view),
        }
    }

    pub(super) fn requests_answer(
        &self,
        route: Option<&str>,
        limit: usize,
        open: Vec<RequestPart>,
    ) -> RequestsAnswer {
        let mut requests = self.requests.all(open);
        requests.retain(|(request, _)| route.is_none_or(|route| &**request.route() == route));
        requests.sort_by(|(one, _), (two, _)| (two.started(), two.key()).cmp(&(one.started(), one.key())));
        let total = requests.len();
        requests.truncate(limit);
        RequestsAnswer {
            schema_version: SCHEMA_VERSION,
            complete: self.is_complete(),
            total,
            requests: requests.iter().map(|(request, is_open)| self.view(request, *is_open)).collect(),
        }
    }

    pub(super) fn request_answer(&self, key: &str, open: Vec<RequestPart>) -> Option<Box<RequestAnswer>> {
        let requests = self.requests.all(open);
        let named = requests.into_iter().filter(|(request, _)| &**request.key() == key);
        // Several programs may use one id; the last to begin is the one that somebody looks for.
        let (request, is_open) = named.max_by_key(|(request, _)| request.started())?;
        Some(Box::new(RequestAnswer {
            schema_version: SCHEMA_VERSION,
            complete: self.is_complete(),
            request: self.view(&request, is_open),
            timeline: timeline(&request),
        }))
    }

    pub(super) fn view(&self, request: &Arc<Request>, is_open: bool) -> RequestView {
        let statements = request.summaries().into_iter().map(|summary| StatementView {
            fingerprint: summary.fingerprint.to_string(),
            statement: self.text(summary.fingerprint),
            count: summary.count,
            db_ms: milliseconds(summary.database_ns),
            rows: summary.rows,
        });
        RequestView {
            key: request.key().to_string(),
            attribution: request.attribution().name(),
            route: request.route().to_string(),
            open: is_open,
            complete: request.is_complete(),
            queries: request.queries(),
            similar_max: request.similar_max(),
            duplicates: request.duplicates(),
            db_ms: milliseconds(request.database_ns()),
            duration_ms: milliseconds(request.ended().since(request.started())),
            sessions: request.sessions(),
            background: request.is_background(),
            started: rfc3339(self.clock.unix_seconds(request.started())),
            statements: statements.collect(),
        }
    }

    fn text(&self, fingerprint: Fingerprint) -> Option<String> {
        self.shapes.text(fingerprint).map(|text| text.to_string())
    }
}

fn baseline_view(it: &RouteStanding) -> BaselineView {
    let (route, attribution) = &it.key;
    let state = match (&it.regression, it.baseline) {
        (Some(_), _) => "regressed",
        (None, Some(_)) => "healthy",
        (None, None) => "learning",
    };
    BaselineView {
        route: route.to_string(),
        attribution: attribution.name(),
        state,
        baseline_queries: it.baseline.map(thousandths),
        queries: it.current.map(thousandths),
        ratio: it.ratio().map(thousandths),
        requests: it.requests,
        version: Some(it.version.to_string()).filter(|version| !version.is_empty()),
        regression: it.regression.as_deref().map(regression_view),
    }
}

fn regression_view(it: &Regression) -> RegressionView {
    let change = |it: &StatementChange| ChangeView {
        change: it.change.name(),
        fingerprint: it.fingerprint.to_string(),
        statement: Some(it.text.to_string()).filter(|text| !text.is_empty()),
        before: it.before.max,
        after: it.after.max,
        parent_column: it.parent.as_ref().map(|parent| parent.column.clone()),
    };
    RegressionView {
        baseline_queries: thousandths(it.baseline),
        queries: thousandths(it.current),
        ratio: thousandths(it.ratio()),
        since: rfc3339(it.since_ms as f64 / 1e3),
        since_version: it.since_version.as_deref().map(str::to_owned),
        previous_version: it.previous_version.as_deref().map(str::to_owned),
        statements: it.statements.iter().map(change).collect(),
    }
}

fn timeline(request: &Request) -> Vec<TimelineView> {
    let records = request.records().map(|it| TimelineView {
        offset_ms: milliseconds(it.statement.sent.since(request.started())),
        session: it.session,
        fingerprint: it.statement.fingerprint.to_string(),
        kind: it.statement.kind.name(),
        server_ms: milliseconds(it.statement.server.ns()),
        transfer_ms: milliseconds(it.statement.transfer.ns()),
        turnaround_ms: milliseconds(it.statement.turnaround.ns()),
        rows: it.statement.rows.into(),
        bytes: it.statement.bytes.into(),
        round_trip: it.statement.is_round_trip,
        error: it.statement.error.map(|sqlstate| sqlstate.escape_ascii().to_string()),
    });
    records.collect()
}

/// Milliseconds with three decimals: what is shorter than a microsecond is noise.
pub(super) fn milliseconds(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 1e3).round() / 1e3
}

/// Three decimals.
fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// Name of a severity in metrics, API and logs.
pub(super) const fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

const fn confidence_name(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Info => "info",
        Confidence::Medium => "medium",
        Confidence::High => "high",
    }
}
