//! A capture made of what a running pgtally answers: its findings and latest requests.

use pgtally_analysis::{Attribution, Baseline, FindingKind, Observed, StatementSummary};
use pgtally_fingerprint::Kind;
use serde::Deserialize;

use crate::capture::{CAPTURE_LIMITS, Capture, CaptureError, Finding, check_version, fingerprint};

/// Version of the API's answers that can be read.
const API_VERSION: u32 = 1;

#[derive(Deserialize)]
struct Findings {
    complete: bool,
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Requests {
    complete: bool,
    requests: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    route: String,
    attribution: String,
    queries: u64,
    duplicates: u32,
    db_ms: f64,
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    fingerprint: String,
    statement: Option<String>,
    count: u32,
    db_ms: f64,
    rows: u64,
}

impl Capture {
    /// The capture of a running instance, of its answers to `/api/v1/findings` and `/api/v1/requests`. `limit` is the
    /// number of requests that were asked for.
    ///
    /// # Errors
    /// When one of the texts is no such answer.
    pub fn from_api(findings: &str, requests: &str, limit: usize) -> Result<Self, CaptureError> {
        let newer = "read it with the pgtally that is running";
        let malformed = |error| CaptureError::Malformed("answer", error);
        let findings = check_version(findings, "answer", API_VERSION, newer)?;
        let requests = check_version(requests, "answer", API_VERSION, newer)?;
        let findings: Findings = serde_json::from_value(findings).map_err(malformed)?;
        let requests: Requests = serde_json::from_value(requests).map_err(malformed)?;
        let mut baseline = Baseline::new(CAPTURE_LIMITS);
        for request in &requests.requests {
            request.observe(&mut baseline);
        }
        let mut capture = Self::new(&baseline, Vec::new());
        for finding in &findings.findings {
            capture.link(finding);
        }
        capture.findings = findings.findings;
        capture.statements = requests.requests.iter().map(|request| request.queries).sum();
        if !findings.complete || !requests.complete {
            capture.add_problem("the running pgtally has lost observations");
        }
        if requests.requests.len() >= limit {
            capture.notes.push(format!("only the latest {limit} requests are in it"));
        }
        capture.sort();
        Ok(capture)
    }

    fn link(&mut self, finding: &Finding) {
        let kind = FindingKind::of_name(&finding.kind);
        let is_loop = matches!(kind, Some(FindingKind::NPlusOne | FindingKind::NPlusOneWrite));
        let Some(parent) = finding.parent_fingerprint.as_ref().filter(|_| is_loop) else { return };
        let routes = self
            .routes
            .iter_mut()
            .filter(|it| it.route == finding.route && it.attribution == finding.attribution);
        let statements = routes.flat_map(|route| &mut route.statements);
        for statement in statements.filter(|it| it.fingerprint == finding.fingerprint) {
            let column = finding.linked_column.clone().unwrap_or_default();
            statement.parent = Some(crate::capture::Parent { fingerprint: parent.clone(), column });
        }
    }
}

impl Request {
    fn observe(&self, baseline: &mut Baseline) {
        let Some(attribution) = Attribution::of_name(&self.attribution) else { return };
        let nanoseconds = |milliseconds: f64| (milliseconds * 1e6).round() as u64;
        let summary = |it: &Statement| {
            Some(StatementSummary {
                fingerprint: fingerprint(&it.fingerprint)?,
                kind: Kind::Other,
                count: it.count,
                database_ns: nanoseconds(it.db_ms),
                rows: it.rows,
            })
        };
        let observed = Observed {
            route: self.route.as_str().into(),
            attribution,
            queries: self.queries,
            duplicates: self.duplicates,
            database_ns: nanoseconds(self.db_ms),
            statements: self.statements.iter().filter_map(summary).collect(),
        };
        baseline.observe(&observed, &|wanted| {
            let known = self.statements.iter().find(|it| fingerprint(&it.fingerprint) == Some(wanted))?;
            known.statement.as_deref().map(Into::into)
        });
    }
}
