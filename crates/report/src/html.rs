//! A report as one HTML file: nothing is loaded, nothing runs, every text is escaped by the template.

use askama::Template;

use crate::judge::{Blame, Over, Report};
use crate::text::{headline, totals};
use crate::words::{kind, limit_words, lines, plain};

/// Routes shown, the ones with most statements first.
const ROUTES_MAX: usize = 500;
/// Statements shown of each.
const STATEMENTS_MAX: usize = 50;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'r> {
    headline: String,
    report: &'r Report,
    over: Vec<Entry<'r>>,
    worse: Vec<Entry<'r>>,
    findings: Vec<FindingEntry<'r>>,
    routes: Vec<RouteEntry<'r>>,
    routes_left_out: usize,
}

/// A route with what is wrong with it.
struct Entry<'r> {
    route: String,
    words: String,
    statements: &'r [Blame],
}

struct FindingEntry<'r> {
    it: &'r crate::capture::Finding,
    kind: &'r str,
    is_failing: bool,
    route: String,
}

struct RouteEntry<'r> {
    it: &'r crate::capture::Route,
    name: String,
    statements: Vec<&'r crate::capture::Statement>,
    left_out: usize,
}

/// The report as HTML.
#[must_use]
pub fn html(report: &Report) -> String {
    let words = |over: &[Over]| over.iter().map(limit_words).collect::<Vec<_>>().join("; ");
    let mut routes: Vec<_> = report.routes.iter().collect();
    routes.sort_by_key(|it| std::cmp::Reverse(it.queries.max));
    let page = Page {
        headline: headline(report),
        report,
        over: report
            .over_budget()
            .map(|it| Entry { route: plain(&it.route), words: words(&it.over), statements: &it.statements })
            .collect(),
        worse: report
            .further_regressions()
            .map(|it| Entry { route: plain(&it.route), words: totals(it), statements: &it.statements })
            .collect(),
        findings: report
            .findings
            .iter()
            .map(|it| FindingEntry {
                it,
                kind: kind(it),
                is_failing: report.failing.contains(&it.id),
                route: plain(&it.route),
            })
            .collect(),
        routes_left_out: routes.len().saturating_sub(ROUTES_MAX),
        routes: routes
            .into_iter()
            .take(ROUTES_MAX)
            .map(|it| RouteEntry {
                it,
                name: plain(&it.route),
                statements: it.statements.iter().take(STATEMENTS_MAX).collect(),
                left_out: it.statements.len().saturating_sub(STATEMENTS_MAX),
            })
            .collect(),
    };
    // Rendering into a string fails only where a value's own formatting does.
    page.render().unwrap_or_default()
}
