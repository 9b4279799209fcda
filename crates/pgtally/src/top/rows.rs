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
    let text = |name: &str| short(it.get(name).and_then(Value::as_str).unwrap_or_default(), CELL_CHARS);
    let count = |name: &str| number(it.get(name).and_then(Value::as_u64).unwrap_or_default());
    let float = |name: &str| it.get(name).and_then(Value::as_f64).unwrap_or_default();
    let inner = |group: &str, name: &str| {
        it.get(group).and_then(|group| group.get(name)).and_then(Value::as_f64).unwrap_or_default()
    };
    let mean_ms = float("db_ms") / float("calls").max(1.0);
    let cells = match view {
        View::Findings => vec![
            what(it),
            format!("×{}", count("repeat")),
            milliseconds(float("wasted_ms")),
            count("requests"),
            text("route"),
            concerned(it),
        ],
        View::Routes => vec![
            text("route"),
            count("requests"),
            format!("{:.0}", inner("queries_per_request", "p50")),
            format!("{:.0}", inner("queries_per_request", "p95")),
            count("similar_max"),
            milliseconds(inner("db_time", "p95")),
            milliseconds(inner("duration", "p95")),
            count("errors"),
            count("findings"),
        ],
        View::Statements => vec![
            format!("{:.1} %", float("share")),
            count("calls"),
            milliseconds(mean_ms),
            milliseconds(inner("time", "p95")),
            milliseconds(inner("time", "max")),
            count("errors"),
            moment(&text("last_seen")).get(11..).unwrap_or_default().to_owned(),
            text("statement"),
        ],
        View::Sessions => vec![
            count("session"),
            text("state"),
            text("client"),
            text("database"),
            text("user"),
            text("application"),
            count("queries"),
            text("route"),
        ],
        View::Tap => vec![
            text("at").get(11..23).unwrap_or_default().to_owned(),
            milliseconds(float("duration_ms")),
            count("rows"),
            marks(it),
            text("route"),
            count("session"),
            text("statement"),
        ],
    };
    Row {
        cells,
        duration_ms: float("duration_ms"),
        severity: severity(it),
        detail: detail(it),
        copy: copied(it),
        statement: whole(it, "text").or_else(|| whole(it, "statement")),
        values: values(it),
        database: whole(it, "database"),
    }
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
