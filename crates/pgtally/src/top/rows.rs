//! Rows of answers. Every text is made visible first: a terminal obeys what it is sent.

use serde_json::Value;

use super::model::View;
use crate::report::{OF_REQUEST, is_of_request};
use crate::web::text::{milliseconds, moment, number, short, visible};

/// Characters of a text in a list; the terminal cuts it to its width.
const CELL_CHARS: usize = 300;

/// One line of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    /// Of a statement that has ended.
    pub(super) duration_ms: f64,
    /// How bad it is, for colours: `critical`, `warning`, or nothing.
    pub(super) severity: &'static str,
    /// All that is known, name by name.
    pub(super) detail: Vec<(String, String)>,
    /// What `c` copies.
    pub(super) copy: String,
    /// The statement as the server reads it, not made visible.
    pub(super) statement: Option<String>,
    /// Its values, where pgtally tells them.
    pub(super) values: Option<Vec<Option<String>>>,
    /// Where it ran.
    pub(super) database: Option<String>,
}

/// Headings of a view with the width of each; 0 takes what is left.
pub(super) const fn columns(view: View) -> &'static [(&'static str, u16)] {
    match view {
        View::Findings => {
            &[("WHAT", 17), ("N", 6), ("WASTED", 8), ("REQ", 6), ("ROUTE", 24), ("STATEMENT", 0)]
        }
        View::Routes => &[
            ("ROUTE", 0),
            ("REQ", 8),
            ("Q P50", 6),
            ("Q P95", 6),
            ("SIMILAR", 7),
            ("DB P95", 8),
            ("P95", 8),
            ("ERRORS", 6),
            ("FINDINGS", 8),
        ],
        View::Statements => &[
            ("SHARE", 7),
            ("CALLS", 9),
            ("MEAN", 8),
            ("P95", 8),
            ("MAX", 8),
            ("ERRORS", 6),
            ("LAST", 8),
            ("STATEMENT", 0),
        ],
        View::Sessions => &[
            ("SESSION", 8),
            ("STATE", 14),
            ("CLIENT", 21),
            ("DATABASE", 12),
            ("USER", 12),
            ("APPLICATION", 16),
            ("Q", 5),
            ("WORKS FOR", 0),
        ],
        View::Tap => &[
            ("SENT", 12),
            ("TOOK", 8),
            ("ROWS", 6),
            ("MARKS", 14),
            ("ROUTE", 24),
            ("SESSION", 8),
            ("STATEMENT", 0),
        ],
    }
}

/// The rows of an answer; what is not there is shown as nothing.
pub(super) fn rows(view: View, answer: &Value) -> Vec<Row> {
    let list = answer.get(view.name()).and_then(Value::as_array);
    list.into_iter().flatten().map(|it| row(view, it)).collect()
}

/// A statement of the live stream.
pub(super) fn tapped(it: &Value) -> Row {
    row(View::Tap, it)
}

fn row(view: View, it: &Value) -> Row {
    let cells = match view {
        View::Findings => of_finding(it),
        View::Routes => of_route(it),
        View::Statements => of_statement(it),
        View::Sessions => of_session(it),
        View::Tap => of_tapped(it),
    };
    Row {
        cells,
        duration_ms: float(it, "duration_ms"),
        severity: severity(it),
        detail: detail(it),
        copy: copied(it),
        statement: whole(it, "text").or_else(|| whole(it, "statement")),
        values: values(it),
        database: whole(it, "database"),
    }
}

fn text(it: &Value, name: &str) -> String {
    short(it.get(name).and_then(Value::as_str).unwrap_or_default(), CELL_CHARS)
}

fn count(it: &Value, name: &str) -> String {
    number(it.get(name).and_then(Value::as_u64).unwrap_or_default())
}

fn float(it: &Value, name: &str) -> f64 {
    it.get(name).and_then(Value::as_f64).unwrap_or_default()
}

/// A number of one group of numbers.
fn inner(it: &Value, group: &str, name: &str) -> f64 {
    it.get(group).map_or(0.0, |group| float(group, name))
}

fn of_finding(it: &Value) -> Vec<String> {
    vec![
        what(it),
        format!("×{}", count(it, "repeat")),
        milliseconds(float(it, "wasted_ms")),
        count(it, "requests"),
        text(it, "route"),
        concerned(it),
    ]
}

fn of_route(it: &Value) -> Vec<String> {
    vec![
        text(it, "route"),
        count(it, "requests"),
        format!("{:.0}", inner(it, "queries_per_request", "p50")),
        format!("{:.0}", inner(it, "queries_per_request", "p95")),
        count(it, "similar_max"),
        milliseconds(inner(it, "db_time", "p95")),
        milliseconds(inner(it, "duration", "p95")),
        count(it, "errors"),
        count(it, "findings"),
    ]
}

fn of_statement(it: &Value) -> Vec<String> {
    vec![
        format!("{:.1} %", float(it, "share")),
        count(it, "calls"),
        milliseconds(float(it, "db_ms") / float(it, "calls").max(1.0)),
        milliseconds(inner(it, "time", "p95")),
        milliseconds(inner(it, "time", "max")),
        count(it, "errors"),
        moment(&text(it, "last_seen")).get(11..).unwrap_or_default().to_owned(),
        text(it, "statement"),
    ]
}

fn of_session(it: &Value) -> Vec<String> {
    vec![
        count(it, "session"),
        text(it, "state"),
        text(it, "client"),
        text(it, "database"),
        text(it, "user"),
        text(it, "application"),
        count(it, "queries"),
        text(it, "route"),
    ]
}

fn of_tapped(it: &Value) -> Vec<String> {
    vec![
        text(it, "at").get(11..23).unwrap_or_default().to_owned(),
        milliseconds(float(it, "duration_ms")),
        count(it, "rows"),
        marks(it),
        text(it, "route"),
        count(it, "session"),
        text(it, "statement"),
    ]
}

/// The statement of a finding, or what it is about instead.
fn concerned(it: &Value) -> String {
    let text = |name: &str| it.get(name).and_then(Value::as_str);
    match text("statement") {
        Some(statement) => short(statement, CELL_CHARS),
        None if text("kind").is_some_and(is_of_request) => OF_REQUEST.into(),
        None => String::new(),
    }
}

/// What users call a finding.
fn what(it: &Value) -> String {
    let text = |name: &str| it.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = match (text("kind"), text("confidence")) {
        ("n_plus_one", "high") => "N+1".to_owned(),
        ("n_plus_one", _) => "N+1 candidate".to_owned(),
        ("n_plus_one_write", _) => "N+1 write".to_owned(),
        (kind, _) => short(&kind.replace('_', " "), CELL_CHARS),
    };
    if text("state") == "acked" { format!("({name})") } else { name }
}

/// What is to be said about a statement that has ended.
fn marks(it: &Value) -> String {
    let is = |name: &str| it.get(name).and_then(Value::as_bool).unwrap_or_default();
    let repeat = it.get("repeat").and_then(Value::as_u64).unwrap_or_default();
    let error = it.get("error").and_then(Value::as_str).map(|sqlstate| short(sqlstate, 5));
    let repeat = (repeat > 1).then(|| format!("×{repeat}"));
    let flags = [("n_plus_one", "N+1"), ("slow", "slow")];
    let flags = flags.into_iter().filter(|(name, _)| is(name)).map(|(_, mark)| mark.to_owned());
    error.into_iter().chain(repeat).chain(flags).collect::<Vec<_>>().join(" ")
}

fn severity(it: &Value) -> &'static str {
    let is = |name: &str| it.get(name).and_then(Value::as_bool).unwrap_or_default();
    match it.get("severity").and_then(Value::as_str) {
        Some("critical") => "critical",
        Some("warning") => "warning",
        _ if it.get("error").is_some_and(Value::is_string) => "critical",
        _ if is("n_plus_one") || is("slow") => "warning",
        _ => "",
    }
}

/// Everything, the texts that say most first.
fn detail(it: &Value) -> Vec<(String, String)> {
    let first = ["fix", "statement", "parent_statement", "linked_column", "rewrite", "route"];
    let Some(fields) = it.as_object() else { return Vec::new() };
    let leading = first.iter().filter_map(|name| fields.get_key_value(*name));
    let others = fields.iter().filter(|(name, _)| !first.contains(&name.as_str()));
    let lines = leading.chain(others).filter(|(_, value)| !value.is_null());
    lines
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.replace('_', " "), visible(&text))
        })
        .collect()
}

/// Bound values, where they are told.
fn values(it: &Value) -> Option<Vec<Option<String>>> {
    let values = it.get("values")?.as_array()?;
    Some(values.iter().map(|value| value.as_str().map(str::to_owned)).collect())
}

/// A text as it is, where there is one.
fn whole(it: &Value, name: &str) -> Option<String> {
    it.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn copied(it: &Value) -> String {
    let text = |name: &str| it.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let found = ["statement", "route", "request", "client"].into_iter().find_map(text);
    visible(found.unwrap_or_default())
}
