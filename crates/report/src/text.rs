//! A report for people, on one screen: what failed, the statement that did it, and what to do.
//!
//! Every text that comes from the program or the database is made harmless for a terminal before it is shown.

use std::fmt::Write;

use crate::capture::Finding;
use crate::judge::{Blame, Changed, Judged, Report};
use crate::words::{count, kind, limit_words, plain, shorten};

/// Budgets, changes and findings shown of each; the rest is counted.
const SHOWN_MAX: usize = 5;
/// Characters of a fix or a statement that stands in the place of others.
const WIDE: usize = 160;

/// The report as text.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "pgtally: {}", headline(report));
    for problem in &report.problems {
        for (index, line) in problem.lines().enumerate() {
            let label = if index == 0 { "INCOMPLETE  " } else { "" };
            let _ = writeln!(out, "{label}{}", plain(line));
        }
    }
    let over: Vec<&Judged> = report.over_budget().collect();
    section(&mut out, &over, over_budget);
    let changed: Vec<&Changed> = report.further_regressions().collect();
    section(&mut out, &changed, |out, it| regression(out, it));
    let findings: Vec<&Finding> = report.further_findings(STATEMENTS_MAX).collect();
    section(&mut out, &findings, finding);
    for note in &report.notes {
        let _ = writeln!(out, "note: {}", plain(note));
    }
    what_to_do(&mut out, report);
    out
}

/// Differences of two captures.
#[must_use]
pub fn changes(changes: &[Changed], is_growth: bool) -> String {
    let mut out = String::new();
    if changes.is_empty() {
        out.push_str(if is_growth { "no count grows with the data\n" } else { "no differences\n" });
    }
    for change in changes {
        if is_growth {
            let _ = writeln!(out, "GROWS  {}: {}", name(&change.route), totals(change));
            statements(&mut out, &change.statements);
        } else {
            regression(&mut out, change);
        }
    }
    out
}

fn section<T>(out: &mut String, all: &[T], mut show: impl FnMut(&mut String, &T)) {
    for it in all.iter().take(SHOWN_MAX) {
        out.push('\n');
        show(out, it);
    }
    if let Some(more) = all.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        let _ = writeln!(out, "\n… and {more} more");
    }
}

/// What came out, in a line.
pub(crate) fn headline(report: &Report) -> String {
    let over = report.over_budget().count();
    let worse = report.regressions().count();
    let findings = report.failing.len();
    let mut parts = Vec::new();
    if !report.complete {
        parts.push("the capture is incomplete".to_owned());
    }
    if over > 0 {
        parts.push(format!("{} over budget", count(over as u64, "route")));
    }
    if worse > 0 {
        parts.push(format!("{} worse than the baseline", count(worse as u64, "route")));
    }
    if findings > 0 {
        parts.push(count(findings as u64, "new finding"));
    }
    if parts.is_empty() {
        parts.push("fine".into());
    }
    let traffic = [
        count(report.requests, "request"),
        count(report.statements, "statement"),
        count(report.sessions, "session"),
    ];
    format!("{} ({})", parts.join(", "), traffic.join(", "))
}

fn name(route: &str) -> String {
    shorten(&plain(route), 100)
}

fn over_budget(out: &mut String, it: &&Judged) {
    let limits: Vec<String> = it.over.iter().map(limit_words).collect();
    let _ = writeln!(out, "OVER BUDGET  {}: {}", name(&it.route), limits.join("; "));
    statements(out, &it.statements);
}

fn regression(out: &mut String, it: &Changed) {
    let label = match (it.regression, it.before.is_some(), it.after.is_some()) {
        (true, ..) => "MORE THAN BEFORE",
        (_, false, _) => "NEW ROUTE",
        (_, _, false) => "NOT SEEN",
        _ => "CHANGED",
    };
    let _ = writeln!(out, "{label}  {}: {}", name(&it.route), totals(it));
    statements(out, &it.statements);
}

pub(crate) fn totals(it: &Changed) -> String {
    let show = |range: Option<crate::judge::Range>| match range {
        None => "none".to_owned(),
        Some(range) if range.min == range.max => range.max.to_string(),
        Some(range) => format!("{}–{}", range.min, range.max),
    };
    format!("{} → {} statements per request", show(it.before), show(it.after))
}

/// Statements shown of one route.
const STATEMENTS_MAX: usize = 4;

fn statements(out: &mut String, statements: &[Blame]) {
    for it in statements.iter().take(STATEMENTS_MAX) {
        let added = if it.change == "added" { "   (new)" } else { "" };
        let _ = writeln!(out, "  {}{added}", plain(&it.line));
        advice(out, it.source_location.as_deref(), it.fix.as_deref(), it.rewrite.as_deref());
    }
    if let Some(more) = statements.len().checked_sub(STATEMENTS_MAX).filter(|more| *more > 0) {
        let _ = writeln!(out, "  … and {more} more");
    }
}

fn advice(out: &mut String, place: Option<&str>, fix: Option<&str>, rewrite: Option<&str>) {
    if let Some(place) = place {
        let _ = writeln!(out, "      at {}", shorten(&plain(place), WIDE));
    }
    if let Some(fix) = fix {
        let _ = writeln!(out, "      fix: {}", shorten(&plain(fix), WIDE));
    }
    if let Some(rewrite) = rewrite {
        let _ = writeln!(out, "      instead: {}", shorten(&plain(rewrite), WIDE));
    }
}

fn finding(out: &mut String, it: &&Finding) {
    let _ = writeln!(
        out,
        "NEW FINDING  {} {} ×{}  on {}   id {}",
        it.severity,
        kind(it),
        it.repeat,
        name(&it.route),
        it.id
    );
    let column = it.linked_column.as_deref().map(|column| format!(", parent {column}")).unwrap_or_default();
    if let Some(statement) = &it.statement {
        let statement = pgtally_analysis::abbreviated(statement);
        let _ = writeln!(out, "  {}{}", plain(&statement), plain(&column));
    }
    advice(
        out,
        it.source_location.as_deref(),
        Some(it.fix.as_str()).filter(|fix| !fix.is_empty()),
        it.rewrite.as_deref(),
    );
}

/// The next step, where there is one.
fn what_to_do(out: &mut String, report: &Report) {
    let states = |state: &str| report.findings.iter().filter(|it| it.state == state).count() as u64;
    let (known, acked) = (states("known"), states("acked"));
    if known + acked > 0 {
        let _ = writeln!(out, "not counted: {known} known and {acked} acknowledged findings");
    }
    let has_named = report.routes.iter().any(|route| route.is_named());
    if report.statements > 0 && !has_named {
        let _ = writeln!(
            out,
            "hint: no request was named, so budgets and baselines have nothing to hold on to: let each test or \
             request set pgtally.request (snippets for test frameworks: deploy/ci)"
        );
    }
    if report.exit_code == crate::judge::EXIT_OVER {
        out.push_str("\nas it should be?");
        if report.over_budget().next().is_some() {
            out.push_str("  budgets: --update-budgets");
        }
        if !report.failing.is_empty() || report.regressions().next().is_some() {
            out.push_str("  all of it: --update-baseline");
        }
        if let Some(id) = report.failing.first() {
            let _ = write!(out, "  one finding: pgtally ack {id} --reason TEXT");
        }
        out.push('\n');
    }
}
