//! Findings as text for people: a line or two each, at most a screenful.

use std::fmt::Write;

use crate::api::FindingView;

/// Findings shown before the rest is only counted.
const FINDINGS_SHOWN: usize = 12;
/// Characters of a statement in a report.
const STATEMENT_CHARS: usize = 64;
/// Characters of a fix in a report.
const FIX_CHARS: usize = 100;

/// The report of `findings`, most severe first.
///
/// ```text
///  1  N+1        GET /orders        SELECT customers     ×50   parent orders.customer_id   48 of 61 ms
///     fix: …
/// ```
#[must_use]
pub fn text(findings: &[FindingView]) -> String {
    let mut report = String::from("FINDINGS\n");
    if findings.is_empty() {
        report.push_str(" none\n");
    }
    let shown = findings.iter().take(FINDINGS_SHOWN);
    let routes = shown.clone().map(|finding| finding.route.chars().count()).max().unwrap_or(0).min(32);
    let statements: Vec<_> = shown.clone().map(statement).collect();
    let widest = statements.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    for (index, (finding, statement)) in shown.zip(&statements).enumerate() {
        let column = finding.linked_column.as_deref().map(|column| format!("  parent {column}"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            report,
            "{:2}  {:13} {:routes$}  {statement:widest$}  {:5}{}  {}",
            index + 1,
            label(finding),
            shorten(&finding.route, 32),
            format!("×{}", finding.repeat),
            column.unwrap_or_default(),
            cost(finding),
        );
        let first_sentence = finding.fix.split_inclusive(". ").next().unwrap_or_default().trim_end();
        let _ = writeln!(report, "    {}", shorten(first_sentence, FIX_CHARS));
    }
    if let Some(more) = findings.len().checked_sub(FINDINGS_SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(report, " and {more} more: /api/v1/findings has all of them");
    }
    report
}

/// What users call it: an N+1 only when it is proven.
pub(crate) fn label(finding: &FindingView) -> &'static str {
    match (finding.kind, finding.confidence) {
        ("chatty_request", _) => "chatty",
        ("count_then_select", _) => "count+select",
        ("duplicate", _) => "duplicate",
        ("idle_in_transaction", _) => "idle in tx",
        ("n_plus_one", "high") => "N+1",
        ("n_plus_one", _) => "N+1 candidate",
        ("n_plus_one_write", _) => "N+1 write",
        ("over_fetch", _) => "wide columns",
        ("query_count_regression", _) => "regression",
        ("reread_after_write", _) => "read again",
        ("sequential_independent", _) => "one by one",
        ("slow_statement", _) => "slow",
        ("unbounded_result", _) => "unbounded",
        (other, _) => other,
    }
}

fn cost(finding: &FindingView) -> String {
    if finding.kind == "slow_statement" {
        return format!("{:.0} ms", finding.wasted_ms);
    }
    let digits = if finding.wasted_ms < 10.0 { 1 } else { 0 };
    format!("{:.digits$} of {:.digits$} ms", finding.wasted_ms, finding.request_ms)
}

/// The statement in short; what concerns no statement alone has none.
fn statement(finding: &FindingView) -> String {
    if is_of_request(finding.kind) { OF_REQUEST.into() } else { summary(finding.statement.as_deref()) }
}

/// In the place of a statement, where a finding is about all of a request.
pub(crate) const OF_REQUEST: &str = "the whole request";

/// Whether a kind of finding is about no statement alone.
pub(crate) fn is_of_request(kind: &str) -> bool {
    matches!(kind, "chatty_request" | "query_count_regression")
}

/// Verb and first table of a statement: `SELECT customers`.
pub(crate) fn summary(statement: Option<&str>) -> String {
    let Some(statement) = statement else { return "(text no longer kept)".into() };
    let words: Vec<&str> = statement.split_whitespace().collect();
    let verb = words.first().copied().unwrap_or_default();
    let before_table =
        |word: &&str| ["FROM", "INTO", "UPDATE"].iter().any(|it| it.eq_ignore_ascii_case(word));
    let table = words.iter().position(before_table).and_then(|at| words.get(at + 1));
    match table {
        Some(table) => {
            let table = table.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
            shorten(&format!("{} {}", verb.to_uppercase(), table.replace('"', "")), 32)
        }
        None => shorten(statement, STATEMENT_CHARS),
    }
}

/// `text` cut to `characters`, with a mark where something is missing.
pub(crate) fn shorten(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: &'static str, route: &str, statement: &str) -> FindingView {
        FindingView {
            id: "00000000000000ff".into(),
            kind,
            severity: "warning",
            confidence: "high",
            state: "new",
            route: route.into(),
            attribution: "trace",
            fingerprint: "0000000000000001".into(),
            statement: Some(statement.into()),
            parent_fingerprint: None,
            parent_statement: None,
            linked_column: (kind == "n_plus_one").then(|| "orders.customer_id".into()),
            linked_param: Some(1),
            repeat: 50,
            distinct: 50,
            requests: 3,
            wasted_ms: 48.2,
            request_ms: 61.0,
            first_seen: String::new(),
            last_seen: String::new(),
            fix: "load them at once".into(),
            rewrite: None,
            request: "trace:1".into(),
            ..FindingView::default()
        }
    }

    #[test]
    fn a_report_has_two_lines_per_finding() {
        let findings = [
            finding("n_plus_one", "GET /orders", "SELECT * FROM \"customers\" WHERE id = $1"),
            finding("slow_statement", "GET /report", "SELECT count(*) FROM lines"),
        ];
        let expected = "\
FINDINGS
 1  N+1           GET /orders  SELECT customers  ×50    parent orders.customer_id  48 of 61 ms
    load them at once
 2  slow          GET /report  SELECT lines      ×50    48 ms
    load them at once
";
        assert_eq!(text(&findings), expected);
    }

    #[test]
    fn a_report_is_at_most_a_screenful() {
        let findings = vec![finding("duplicate", "GET /a", "SELECT 1"); 100];
        let report = text(&findings);
        assert!(report.lines().count() <= 2 * FINDINGS_SHOWN + 2, "{report}");
        assert!(report.contains("88 more"), "{report}");
    }
}
