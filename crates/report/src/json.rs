//! JSON as it stands in files: indented, with a line's end; and the schemas of all documents.

use schemars::{JsonSchema, schema_for};
use serde::Serialize;

use crate::baseline::BaselineFile;
use crate::capture::Capture;
use crate::judge::{Changed, REPORT_VERSION, Report};

/// Differences of two captures.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "pgtally differences")]
pub struct Differences {
    /// Layout of this document: 1.
    pub schema_version: u32,
    /// Routes that differ, regressions first.
    pub changes: Vec<Changed>,
}

impl Differences {
    /// The document of some changes.
    #[must_use]
    pub fn of(changes: Vec<Changed>) -> Self {
        Self { schema_version: REPORT_VERSION, changes }
    }

    /// Its text, with a line's end.
    #[must_use]
    pub fn write(&self) -> String {
        write(self)
    }
}

/// The JSON Schema of a document: `baseline`, `capture`, `differences` or `report`.
#[must_use]
pub fn schema(document: &str) -> Option<String> {
    Some(match document {
        "baseline" => write(&schema_for!(BaselineFile)),
        "capture" => write(&schema_for!(Capture)),
        "differences" => write(&schema_for!(Differences)),
        "report" => write(&schema_for!(Report)),
        _ => return None,
    })
}

/// The text of a document.
pub(crate) fn write(document: &impl Serialize) -> String {
    // Only maps with keys that are no texts could fail, and there are none.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}
