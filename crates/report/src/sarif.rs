//! A report as SARIF 2.1.0, for code scanning: findings whose place in the source the tags told.
//!
//! What has no place is left out, as code scanning could only pin it to a made-up one; it is in the other formats.

use std::collections::BTreeSet;

use pgtally_analysis::abbreviated;
use serde::Serialize;

use crate::capture::Finding;
use crate::judge::Report;
use crate::words::{kind, plain};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
struct Run {
    tool: Tool,
    results: Vec<Outcome>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Rule {
    id: String,
    #[serde(rename = "shortDescription")]
    short_description: Message,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    rule_id: String,
    level: &'static str,
    message: Message,
    locations: [Location; 1],
    partial_fingerprints: Fingerprints,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<Suppression>,
}

#[derive(Serialize)]
struct Fingerprints {
    #[serde(rename = "pgtallyFindingId/v1")]
    id: String,
}

#[derive(Serialize)]
struct Suppression {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    justification: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
}

/// The report as SARIF.
#[must_use]
pub fn sarif(report: &Report) -> String {
    let located: Vec<(&Finding, Place)> = report
        .findings
        .iter()
        .filter_map(|it| Some((it, it.source_location.as_deref().and_then(place)?)))
        .collect();
    let kinds: BTreeSet<(&str, &str)> = located.iter().map(|(it, _)| (it.kind.as_str(), kind(it))).collect();
    let mut rules: Vec<Rule> = Vec::new();
    for (id, name) in kinds {
        // Proven or not, it is one rule.
        if rules.last().is_none_or(|rule| rule.id != id) {
            let short_description = Message { text: name.to_owned() };
            rules.push(Rule { id: id.to_owned(), short_description });
        }
    }
    let driver = Driver { name: "pgtally", version: env!("CARGO_PKG_VERSION"), rules };
    let results = located.into_iter().map(|(it, place)| outcome(it, place)).collect();
    let run = Run { tool: Tool { driver }, results };
    crate::json::write(&Log { schema: SCHEMA, version: "2.1.0", runs: [run] })
}

fn outcome(it: &Finding, place: Place) -> Outcome {
    let statement = it.statement.as_deref().map(abbreviated).unwrap_or_default();
    let column = it.linked_column.as_deref().map(|column| format!(", parent {column}")).unwrap_or_default();
    let text = format!("{} ×{} on {}: {statement}{column}. {}", kind(it), it.repeat, it.route, it.fix);
    Outcome {
        rule_id: it.kind.clone(),
        level: match it.severity.as_str() {
            "critical" => "error",
            "warning" => "warning",
            _ => "note",
        },
        message: Message { text: plain(&text) },
        locations: [Location {
            physical_location: PhysicalLocation {
                artifact_location: ArtifactLocation { uri: uri(&place.file) },
                region: place.line.map(|start_line| Region { start_line }),
            },
        }],
        partial_fingerprints: Fingerprints { id: it.id.clone() },
        suppressions: match it.state.as_str() {
            "new" => Vec::new(),
            _ => vec![Suppression { kind: "external", justification: it.reason.clone() }],
        },
    }
}

/// A place in the application's source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    /// 1-based.
    pub(crate) line: Option<u32>,
}

/// Reads `app/views.py:42`, also with a column or ``:in `index'`` behind.
pub(crate) fn place(text: &str) -> Option<Place> {
    let text = text.trim();
    let mut parts = text.splitn(2, ':');
    let file = parts.next().filter(|file| !file.is_empty() && !file.contains('\0'))?;
    let digits: String = parts.next().unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    let line = digits.parse().ok().filter(|line| *line > 0);
    Some(Place { file: plain(file), line })
}

/// A path as a relative reference.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_in_the_forms_of_the_tags() {
        let check = |text: &str, file: &str, line: Option<u32>| {
            assert_eq!(place(text), Some(Place { file: file.into(), line }), "{text}");
        };
        check("app/views.py:42", "app/views.py", Some(42));
        check("app/models/post.rb:12:in `index'", "app/models/post.rb", Some(12));
        check("src/a.ts:3:14", "src/a.ts", Some(3));
        check("main.go", "main.go", None);
        check("x:0", "x", None);
        assert_eq!(place(":5"), None);
        assert_eq!(uri("./a b/c%.py"), "a%20b/c%25.py");
    }
}
