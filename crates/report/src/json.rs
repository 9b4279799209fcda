//! JSON as it stands in files: indented, with a line's end.

use serde::Serialize;

/// The text of a document.
pub(crate) fn write(document: &impl Serialize) -> String {
    // Only maps with keys that are no texts could fail, and there are none.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}
