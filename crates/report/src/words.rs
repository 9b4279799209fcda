//! Words that all formats share, and texts made harmless.

use crate::capture::Finding;
use crate::judge::Over;

/// What users call a finding: an N+1 only when it is proven.
pub(crate) fn kind(finding: &Finding) -> &str {
    match (finding.kind.as_str(), finding.confidence.as_str()) {
        ("chatty_request", _) => "chatty request",
        ("count_then_select", _) => "count, then select",
        ("duplicate", _) => "duplicate",
        ("idle_in_transaction", _) => "idle in transaction",
        ("n_plus_one", "high") => "N+1",
        ("n_plus_one", _) => "N+1 candidate",
        ("n_plus_one_write", _) => "N+1 write",
        ("over_fetch", _) => "wide columns",
        ("query_count_regression", _) => "more queries than before",
        ("reread_after_write", _) => "read after write",
        ("sequential_independent", _) => "one by one",
        ("slow_statement", _) => "slow statement",
        ("unbounded_result", _) => "unbounded result",
        (other, _) => other,
    }
}

/// `24 statements, 4 allowed`.
pub(crate) fn limit_words(over: &Over) -> String {
    match over.limit.as_str() {
        "max_queries" => format!("{} statements, {} allowed", over.measured, over.allowed),
        "max_repeat" => {
            format!("one statement {} times, {} allowed", over.measured, over.allowed)
        }
        _ => format!("{:.1} ms in the database, {} allowed", over.measured, over.allowed),
    }
}

/// `1 route`, `2 routes`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// `text` in one line without anything that a terminal, or the order of reading, would follow.
pub(crate) fn plain(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() || is_invisible(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// As [`plain`], with its lines kept.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// Marks that change the direction of a text, join lines, or cannot be seen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `text` cut to `characters`, with a mark where something is missing.
pub(crate) fn shorten(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text.to_owned(),
    }
}
