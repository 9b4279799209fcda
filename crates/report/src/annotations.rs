//! Workflow commands of GitHub Actions: a line each, which its pages show beside the change.
//!
//! A place in the source is named only where tags told one.

use std::fmt::Write;

use pgtally_analysis::abbreviated;

use crate::judge::{Blame, Report};
use crate::sarif::place;
use crate::text::totals;
use crate::words::{kind, limit_words, plain};

/// Annotations of one run: GitHub shows ten of each level.
const SHOWN_MAX: usize = 10;

/// The report as workflow commands.
#[must_use]
pub fn annotations(report: &Report) -> String {
    let mut out = String::new();
    let mut room = SHOWN_MAX;
    let mut line = |level: &str, place: Option<&str>, title: &str, message: &str| {
        if room > 0 {
            room -= 1;
            // Writing to a string cannot fail.
            let _ = writeln!(out, "::{level} {}title={}::{}", located(place), property(title), data(message));
        }
    };
    for problem in &report.problems {
        line("error", None, "pgtally: incomplete", problem);
    }
    for it in report.over_budget() {
        let limits: Vec<String> = it.over.iter().map(limit_words).collect();
        let message = format!("{}\n{}", limits.join("; "), lines(&it.statements));
        line("error", source(&it.statements), &format!("pgtally: {} is over budget", it.route), &message);
    }
    for it in report.further_regressions() {
        let message = format!("{}\n{}", totals(it), lines(&it.statements));
        line(
            "error",
            source(&it.statements),
            &format!("pgtally: {} runs more than before", it.route),
            &message,
        );
    }
    for it in report.further_findings(usize::MAX) {
        let statement = it.statement.as_deref().map(abbreviated).unwrap_or_default();
        let message = format!("×{} {statement}\nfix: {}", it.repeat, it.fix);
        let title = format!("pgtally: {} on {}", kind(it), it.route);
        line("warning", it.source_location.as_deref(), &title, &message);
    }
    out
}

fn source(statements: &[Blame]) -> Option<&str> {
    statements.iter().find_map(|it| it.source_location.as_deref())
}

fn lines(statements: &[Blame]) -> String {
    let line = |it: &Blame| match &it.fix {
        Some(fix) => format!("{}\n  fix: {fix}", it.line),
        None => it.line.clone(),
    };
    statements.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn located(location: Option<&str>) -> String {
    let Some(place) = location.and_then(place) else { return String::new() };
    let line = place.line.map(|line| format!("line={line},")).unwrap_or_default();
    format!("file={},{line}", property(&place.file))
}

/// A message: a line's end is its only way out.
fn data(text: &str) -> String {
    let lines = text.lines().map(|line| plain(line).replace('%', "%25"));
    lines.collect::<Vec<_>>().join("%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
