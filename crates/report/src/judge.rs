//! Judges a capture: budgets first, then what was added against the baseline, then new findings.
//!
//! The result is a [`Report`]: everything that the formats show, in their order, with the exit code. A finding whose
//! statement already stands among the reasons of a budget or change gives them its fix.

use std::collections::BTreeSet;

use pgtally_analysis::{
    Change, Comparison, CountRange, RouteChange, StatementChange, Tolerance, abbreviated, compare,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::baseline::BaselineFile;
use crate::budgets::{Budget, Budgets};
use crate::capture::{Capture, Finding, Parent, Route, Statement};

/// Version of the report's layout, in `schema_version`.
pub const REPORT_VERSION: u32 = 1;
/// Exit code for what is over budget, worse than the baseline, or a new finding.
pub const EXIT_OVER: u8 = 10;
/// Exit code for a capture that does not hold everything.
pub const EXIT_INCOMPLETE: u8 = 11;
/// Statements named as the reason for one budget.
const BLAMED_MAX: usize = 3;

/// What a capture is judged by.
#[derive(Clone, Debug, Default)]
pub struct Judging {
    /// The file of budgets.
    pub budgets: Option<Budgets>,
    /// The file of the baseline.
    pub baseline: Option<BaselineFile>,
    /// Severity from which a new finding is a failure.
    pub fail_on: FailOn,
}

/// Severity from which a new finding is a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailOn {
    /// Any.
    #[default]
    Info,
    /// Warnings and critical ones.
    Warning,
    /// Critical ones.
    Critical,
    /// None.
    Never,
}

impl FailOn {
    fn includes(self, severity: &str) -> bool {
        match self {
            Self::Info => true,
            Self::Warning => severity != "info",
            Self::Critical => severity == "critical",
            Self::Never => false,
        }
    }
}

/// A judged capture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "pgtally report")]
pub struct Report {
    /// Layout of this document: 1.
    pub schema_version: u32,
    /// 0 fine, 10 over budget or new finding, 11 incomplete.
    pub exit_code: u8,
    /// Whether everything that ran was captured.
    pub complete: bool,
    /// Why not, in words.
    pub problems: Vec<String>,
    /// What else is worth knowing, in words.
    pub notes: Vec<String>,
    /// Sessions the program opened.
    pub sessions: u64,
    /// Requests, units included.
    pub requests: u64,
    /// Counted statements.
    pub statements: u64,
    /// Whether there was a baseline to compare with.
    pub has_baseline: bool,
    /// Every budget that was looked at.
    pub budgets: Vec<Judged>,
    /// Routes that run something else than the baseline says, regressions first.
    pub changes: Vec<Changed>,
    /// Findings, new ones first.
    pub findings: Vec<Finding>,
    /// Ids of the findings that make it fail.
    pub failing: BTreeSet<String>,
    /// What the requests of each route ran.
    pub routes: Vec<Route>,
}

/// A route against its budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// The route or test.
    pub route: String,
    /// How its requests were recognised.
    pub attribution: String,
    /// Name of the budget in the file: the route, or a pattern; empty for the defaults.
    pub budget: String,
    /// Its limits that were exceeded; none when all is well.
    pub over: Vec<Over>,
    /// The statements to look at.
    pub statements: Vec<Blame>,
}

/// A limit that was exceeded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Over {
    /// `max_queries`, `max_repeat` or `max_db_ms`.
    pub limit: String,
    /// What the file allows, without its tolerance.
    pub allowed: f64,
    /// The worst request.
    pub measured: f64,
}

/// A route that has changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The route or test.
    pub route: String,
    /// How its requests were recognised.
    pub attribution: String,
    /// Whether it was there before and runs more now.
    pub regression: bool,
    /// Counted statements per request before; null when it was not there.
    pub before: Option<Range>,
    /// Counted statements per request after; null when it is not there.
    pub after: Option<Range>,
    /// Its statements, the added ones first.
    pub statements: Vec<Blame>,
}

/// Fewest and most in one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// Fewest.
    pub min: u64,
    /// Most.
    pub max: u64,
}

/// A statement to look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Blame {
    /// `added`, `more`, `fewer` or `removed`; `repeated` or `slow` where nothing is known of before.
    pub change: String,
    /// Executions more than before in the worst request; all of them where nothing is known of before.
    pub delta: i64,
    /// Executions per request before.
    pub before: Option<Range>,
    /// Executions per request.
    pub after: Range,
    /// In a line: `+20 × SELECT … FROM users WHERE id = $1, parent posts.author_id`.
    pub line: String,
    /// 16 hexadecimal digits.
    pub fingerprint: String,
    /// Normalized text.
    pub statement: String,
    /// The read whose rows feed it.
    pub parent: Option<Parent>,
    /// Id of the finding that tells of it.
    pub finding: Option<String>,
    /// What to do.
    pub fix: Option<String>,
    /// One statement in place of the repeats.
    pub rewrite: Option<String>,
    /// Place in the application's source, as the tags say.
    pub source_location: Option<String>,
}

/// Judges `capture`.
#[must_use]
pub fn judge(capture: &Capture, judging: &Judging) -> Report {
    let mut findings = capture.findings.clone();
    let known = judging.baseline.as_ref().map(|baseline| &baseline.known);
    for finding in findings.iter_mut().filter(|it| it.state == "new") {
        if known.is_some_and(|known| known.contains(&finding.id)) {
            finding.state = "known".into();
        }
    }
    // Stable: within a state they stay as they are.
    findings.sort_by_key(|it| ["new", "known", "acked"].iter().position(|state| *state == it.state));
    let fails = |it: &&Finding| it.state == "new" && judging.fail_on.includes(&it.severity);
    let failing = findings.iter().filter(fails).map(|it| it.id.clone()).collect();
    let comparison = judging.baseline.as_ref().map(|baseline| {
        let tolerance = judging.budgets.as_ref().and_then(|budgets| budgets.defaults.tolerance);
        compare(&baseline.baseline(), &BaselineFile::of(capture).baseline(), &tolerance.unwrap_or_default())
    });
    let mut report = Report {
        schema_version: REPORT_VERSION,
        complete: capture.complete,
        problems: capture.problems.clone(),
        notes: capture.notes.clone(),
        sessions: capture.sessions,
        requests: capture.routes.iter().map(|route| route.requests + route.warm_up).sum(),
        statements: capture.statements,
        has_baseline: judging.baseline.is_some(),
        findings,
        failing,
        routes: capture.routes.clone(),
        ..Report::default()
    };
    if let Some(budgets) = &judging.budgets {
        report.judge_budgets(capture, budgets, comparison.as_ref());
    }
    if let Some(comparison) = &comparison {
        report.changes = comparison.routes.iter().map(|change| changed(change, capture)).collect();
    }
    report.exit_code = report.verdict();
    report
}

/// What has changed between two captures, as a report shows it.
#[must_use]
pub fn changes(before: &Capture, after: &Capture, tolerance: &Tolerance) -> Vec<Changed> {
    let comparison = compare(&before.baseline(), &after.baseline(), tolerance);
    comparison.routes.iter().map(|change| changed(change, after)).collect()
}

/// What grows from a capture with little data to one with much: N+1 patterns whatever their number.
#[must_use]
pub fn growth(small: &Capture, large: &Capture) -> Vec<Changed> {
    let comparison = compare(&small.baseline(), &large.baseline(), &Tolerance::default());
    comparison.growth().iter().map(|change| changed(change, large)).collect()
}

impl Report {
    /// The text of the report as JSON, with a line's end.
    #[must_use]
    pub fn write(&self) -> String {
        crate::json::write(self)
    }

    fn verdict(&self) -> u8 {
        if !self.complete {
            EXIT_INCOMPLETE
        } else if self.over_budget().next().is_some()
            || self.regressions().next().is_some()
            || !self.failing.is_empty()
        {
            EXIT_OVER
        } else {
            0
        }
    }

    /// Budgets that were exceeded.
    pub fn over_budget(&self) -> impl Iterator<Item = &Judged> {
        self.budgets.iter().filter(|it| !it.over.is_empty())
    }

    /// Routes that run more than the baseline says.
    pub fn regressions(&self) -> impl Iterator<Item = &Changed> {
        self.changes.iter().filter(|it| it.regression)
    }

    /// Findings that make it fail.
    pub fn failing_findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|it| self.failing.contains(&it.id))
    }

    /// Regressions of routes that are not over budget: those are told with their budgets.
    pub fn further_regressions(&self) -> impl Iterator<Item = &Changed> {
        let is_told = |it: &&Changed| {
            self.over_budget().any(|over| over.route == it.route && over.attribution == it.attribution)
        };
        self.regressions().filter(move |it| !is_told(it))
    }

    /// Findings that make it fail and are not told among the first `statements_max` statements of a budget or
    /// regression.
    pub fn further_findings(&self, statements_max: usize) -> impl Iterator<Item = &Finding> {
        let budgets = self.over_budget().map(|it| &it.statements);
        let blamed = budgets.chain(self.further_regressions().map(|it| &it.statements));
        let told: BTreeSet<&str> = blamed
            .flat_map(|statements| statements.iter().take(statements_max))
            .filter_map(|it| it.finding.as_deref())
            .collect();
        self.failing_findings().filter(move |it| !told.contains(it.id.as_str()))
    }

    /// Leaves only what is asked for, and decides anew.
    pub fn retain(
        &mut self,
        route: impl Fn(&Route) -> bool,
        change: impl Fn(&Changed) -> bool,
        finding: impl Fn(&Finding) -> bool,
    ) {
        self.routes.retain(route);
        let routes = &self.routes;
        self.budgets.retain(|it| {
            routes.iter().any(|route| route.route == it.route && route.attribution == it.attribution)
        });
        self.changes.retain(change);
        self.findings.retain(finding);
        let findings = &self.findings;
        self.failing.retain(|id| findings.iter().any(|it| it.id == *id));
        self.exit_code = self.verdict();
    }

    fn judge_budgets(&mut self, capture: &Capture, budgets: &Budgets, comparison: Option<&Comparison>) {
        for route in capture.routes.iter().filter(|route| route.requests > 0) {
            let budget = budgets.of(&route.route, route.is_named()).filter(Budget::is_limiting);
            let Some(budget) = budget else { continue };
            let over = exceeded(route, &budget);
            if route.unrecorded > 0 && budget.max_repeat.is_some() {
                self.complete = false;
                self.problems.push(format!(
                    "{}: {} statements were counted but not told apart, so max_repeat cannot be judged",
                    route.route, route.unrecorded
                ));
            }
            let statements =
                if over.is_empty() { Vec::new() } else { reasons(route, &over, capture, comparison) };
            self.budgets.push(Judged {
                route: route.route.clone(),
                attribution: route.attribution.clone(),
                budget: if budgets.budgets.iter().any(|it| it.name == budget.name) {
                    budget.name
                } else {
                    String::new()
                },
                over,
                statements,
            });
        }
        // The worst first, then by name.
        self.budgets.sort_by(|one, two| excess(two).total_cmp(&excess(one)).then(one.route.cmp(&two.route)));
    }
}

/// How many times its limit a route is.
fn excess(judged: &Judged) -> f64 {
    let times = judged.over.iter().map(|over| over.measured / over.allowed.max(1.0));
    times.fold(0.0, f64::max)
}

fn exceeded(route: &Route, budget: &Budget) -> Vec<Over> {
    let tolerance = budget.tolerance.unwrap_or_default();
    let mut over = Vec::new();
    let mut note = |limit: &str, allowed: f64, measured: f64| {
        over.push(Over { limit: limit.into(), allowed, measured });
    };
    let counts = [
        ("max_queries", budget.max_queries, route.queries.max),
        ("max_repeat", budget.max_repeat, route.repeat_max.into()),
    ];
    for (limit, allowed, measured) in counts {
        if let Some(allowed) = allowed.filter(|allowed| measured > tolerance.upper(*allowed)) {
            note(limit, allowed as f64, measured as f64);
        }
    }
    if let Some(allowed) = budget.max_db_ms.filter(|it| route.db_ms_max > it * (1.0 + tolerance.share)) {
        note("max_db_ms", allowed, route.db_ms_max);
    }
    over
}

/// The statements to look at: those added since the baseline, else the most repeated, or the slowest.
fn reasons(route: &Route, over: &[Over], capture: &Capture, comparison: Option<&Comparison>) -> Vec<Blame> {
    let is_about_counts = over.iter().any(|it| it.limit != "max_db_ms");
    let change = comparison.and_then(|comparison| {
        let is_same =
            |it: &&RouteChange| *it.route == *route.route && it.attribution.name() == route.attribution;
        comparison.routes.iter().find(is_same)
    });
    let worse: Vec<Blame> = change
        .into_iter()
        .flat_map(|change| &change.statements)
        .filter(|it| it.change.is_worse())
        .map(|it| blame(it, &route.route, capture))
        .take(BLAMED_MAX)
        .collect();
    if !worse.is_empty() && is_about_counts {
        return worse;
    }
    let mut statements: Vec<&Statement> = route.statements.iter().collect();
    if !is_about_counts {
        statements.sort_by(|one, two| two.db_ms.total_cmp(&one.db_ms));
    }
    let change = if is_about_counts { "repeated" } else { "slow" };
    statements.into_iter().take(BLAMED_MAX).map(|it| measured(it, change, &route.route, capture)).collect()
}

/// A statement of which nothing is known of before.
fn measured(it: &Statement, change: &str, route: &str, capture: &Capture) -> Blame {
    let text = if it.statement.is_empty() { it.fingerprint.clone() } else { abbreviated(&it.statement) };
    let column = it.parent.as_ref().map(|parent| parent.column.as_str()).filter(|column| !column.is_empty());
    let parent = column.map(|column| format!(", parent {column}")).unwrap_or_default();
    let line = match change {
        "slow" => format!("{:.1} ms × {text}{parent}", it.db_ms / it.executions.max(1) as f64),
        _ => format!("{} × {text}{parent}", it.max),
    };
    let blame = Blame {
        change: change.into(),
        delta: it.max.into(),
        before: None,
        after: Range { min: it.min.into(), max: it.max.into() },
        line,
        fingerprint: it.fingerprint.clone(),
        statement: it.statement.clone(),
        parent: it.parent.clone(),
        ..Blame::default()
    };
    with_finding(blame, route, capture)
}

fn blame(it: &StatementChange, route: &str, capture: &Capture) -> Blame {
    let blame = Blame {
        change: it.change.name().into(),
        delta: it.delta(),
        before: Some(range(it.before)),
        after: range(it.after),
        line: it.to_string(),
        fingerprint: it.fingerprint.to_string(),
        statement: it.text.to_string(),
        parent: it.parent.as_ref().map(|parent| Parent {
            fingerprint: parent.fingerprint.to_string(),
            column: parent.column.clone(),
        }),
        ..Blame::default()
    };
    if matches!(it.change, Change::Added | Change::More) {
        with_finding(blame, route, capture)
    } else {
        blame
    }
}

fn with_finding(blame: Blame, route: &str, capture: &Capture) -> Blame {
    let Some(finding) = capture.finding_of(route, &blame.fingerprint) else { return blame };
    Blame {
        finding: Some(finding.id.clone()),
        fix: Some(finding.fix.clone()).filter(|fix| !fix.is_empty()),
        rewrite: finding.rewrite.clone(),
        source_location: finding.source_location.clone(),
        ..blame
    }
}

fn changed(it: &RouteChange, capture: &Capture) -> Changed {
    Changed {
        route: it.route.to_string(),
        attribution: it.attribution.name().into(),
        regression: it.is_regression(),
        before: it.before.map(range),
        after: it.after.map(range),
        statements: it.statements.iter().map(|statement| blame(statement, &it.route, capture)).collect(),
    }
}

fn range(it: CountRange) -> Range {
    Range { min: it.min, max: it.max }
}
