//! A report as Markdown, for a CI's summary page or a comment on a change. Statements stand in code spans that cannot
//! be left; everything else is escaped.

use std::fmt::Write;

use pgtally_analysis::abbreviated;

use crate::capture::Finding;
use crate::judge::{Blame, Changed, Report};
use crate::text::{headline, totals};
use crate::words::{kind, limit_words, plain, shorten};

/// Entries of each kind; CI systems cut long summaries in the middle.
const SHOWN_MAX: usize = 20;
/// Statements of one entry.
const STATEMENTS_MAX: usize = 8;
/// Routes in the table.
const ROUTES_MAX: usize = 50;
const WIDE: usize = 400;

/// The report as Markdown.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    let mark = if report.exit_code == 0 { "✅" } else { "❌" };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "### {mark} pgtally: {}\n", escaped(&headline(report)));
    for problem in &report.problems {
        let _ = writeln!(out, "- **incomplete**: {}", escaped(problem));
    }
    for note in &report.notes {
        let _ = writeln!(out, "- {}", escaped(note));
    }
    let over: Vec<_> = report.over_budget().collect();
    section(&mut out, "Over budget", &over, |out, it| {
        let limits: Vec<String> = it.over.iter().map(limit_words).collect();
        let _ = writeln!(out, "- {}: **{}**", code(&it.route), limits.join("; "));
        statements(out, &it.statements);
    });
    let worse: Vec<_> = report.further_regressions().collect();
    section(&mut out, "More than before", &worse, change);
    let failing: Vec<_> = report.further_findings(STATEMENTS_MAX).collect();
    section(&mut out, "New findings", &failing, finding);
    routes(&mut out, report);
    out
}

/// Differences of two captures as Markdown.
#[must_use]
pub fn changes(changes: &[Changed], is_growth: bool) -> String {
    let mut out = String::new();
    let title = if is_growth { "Counts that grow with the data" } else { "Differences" };
    if changes.is_empty() {
        let _ = writeln!(out, "### {title}\n\nnone");
    }
    section(&mut out, title, &changes.iter().collect::<Vec<_>>(), change);
    out
}

fn section<T>(out: &mut String, title: &str, all: &[&T], show: impl Fn(&mut String, &T)) {
    if all.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n### {title}\n");
    for it in all.iter().take(SHOWN_MAX) {
        show(out, it);
    }
    if let Some(more) = all.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        let _ = writeln!(out, "- … and {more} more");
    }
}

fn change(out: &mut String, it: &Changed) {
    let _ = writeln!(out, "- {}: **{}**", code(&it.route), totals(it));
    statements(out, &it.statements);
}

fn statements(out: &mut String, statements: &[Blame]) {
    for it in statements.iter().take(STATEMENTS_MAX) {
        let _ = writeln!(out, "  - {} {}", it.change, code(&it.line));
        advice(out, it.source_location.as_deref(), it.fix.as_deref(), it.rewrite.as_deref());
    }
    if let Some(more) = statements.len().checked_sub(STATEMENTS_MAX).filter(|more| *more > 0) {
        let _ = writeln!(out, "  - … and {more} more");
    }
}

fn advice(out: &mut String, place: Option<&str>, fix: Option<&str>, rewrite: Option<&str>) {
    if let Some(place) = place {
        let _ = writeln!(out, "    - at {}", code(place));
    }
    if let Some(fix) = fix {
        let _ = writeln!(out, "    - fix: {}", escaped(&shorten(fix, WIDE)));
    }
    if let Some(rewrite) = rewrite {
        let _ = writeln!(out, "    - instead: {}", code(&shorten(rewrite, WIDE)));
    }
}

fn finding(out: &mut String, it: &Finding) {
    let _ = writeln!(
        out,
        "- **{}** ×{} on {} ({}, `{}`)",
        escaped(kind(it)),
        it.repeat,
        code(&it.route),
        escaped(&it.severity),
        it.id
    );
    if let Some(statement) = &it.statement {
        let column =
            it.linked_column.as_deref().map(|column| format!(", parent {column}")).unwrap_or_default();
        let _ = writeln!(out, "  - {}", code(&format!("{}{column}", abbreviated(statement))));
    }
    let fix = Some(it.fix.as_str()).filter(|fix| !fix.is_empty());
    advice(out, it.source_location.as_deref(), fix, it.rewrite.as_deref());
}

fn routes(out: &mut String, report: &Report) {
    if report.routes.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n<details><summary>Statements per request</summary>\n");
    let _ = writeln!(out, "| route | requests | median | most | one statement | level |");
    let _ = writeln!(out, "| --- | ---: | ---: | ---: | ---: | --- |");
    let mut routes: Vec<_> = report.routes.iter().collect();
    routes.sort_by_key(|it| std::cmp::Reverse(it.queries.max));
    for it in routes.iter().take(ROUTES_MAX) {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | ×{} | {} |",
            escaped(&it.route),
            it.requests,
            it.queries.median,
            it.queries.max,
            it.repeat_max,
            it.attribution
        );
    }
    if let Some(more) = routes.len().checked_sub(ROUTES_MAX).filter(|more| *more > 0) {
        let _ = writeln!(out, "\n… and {more} more");
    }
    let _ = writeln!(out, "\n</details>");
}

/// A code span that its own text cannot end.
fn code(text: &str) -> String {
    let text = shorten(&plain(text), WIDE);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // Blanks keep backticks of the text apart from the fence; they are not shown.
    if longest == 0 { format!("{fence}{text}{fence}") } else { format!("{fence} {text} {fence}") }
}

/// Text without any markup of its own.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in plain(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // An address needs no brackets to become a link, and a name no more than this to be called.
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}
