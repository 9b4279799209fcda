//! The file of a baseline: what routes ran when all was well, and the findings that were there, in git.
//!
//! It holds no times, so that it changes when counts change.

use std::collections::BTreeSet;

use pgtally_analysis::Baseline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capture::{Capture, CaptureError, Parent, Queries, Route, Statement, check_version};

/// Version of the layout, in `schema_version`.
pub const BASELINE_VERSION: u32 = 1;

/// What routes ran when all was well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "pgtally baseline")]
pub struct BaselineFile {
    /// Layout of this document: 1.
    pub schema_version: u32,
    /// Ids of the findings that were there: known, not dealt with.
    pub known: BTreeSet<String>,
    /// What the requests of each route ran, by name and level of attribution.
    pub routes: Vec<BaselineRoute>,
}

/// The requests of one route (or test) at one level of attribution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineRoute {
    /// Its name.
    pub route: String,
    /// How its requests were recognised.
    pub attribution: String,
    /// Requests it was made of.
    pub requests: u64,
    /// Counted statements per request.
    pub queries: Queries,
    /// Its statements, the most executed first.
    pub statements: Vec<BaselineStatement>,
}

/// One statement of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineStatement {
    /// 16 hexadecimal digits.
    pub fingerprint: String,
    /// Normalized text.
    pub statement: String,
    /// Requests that ran it.
    pub requests: u64,
    /// Fewest executions in those.
    pub min: u32,
    /// Most executions in one.
    pub max: u32,
    /// The read whose rows feed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

impl BaselineFile {
    /// The baseline that a capture makes: requests that the application named itself, and all findings.
    #[must_use]
    pub fn of(capture: &Capture) -> Self {
        let named = capture.routes.iter().filter(|route| route.is_named() && route.requests > 0);
        Self {
            schema_version: BASELINE_VERSION,
            known: capture.findings.iter().filter(|it| it.state != "acked").map(|it| it.id.clone()).collect(),
            routes: named.map(BaselineRoute::of).collect(),
        }
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// When it is none, or one of another version.
    pub fn read(text: &str) -> Result<Self, CaptureError> {
        let document = check_version(text, "baseline", BASELINE_VERSION, "save it anew")?;
        serde_json::from_value(document).map_err(|error| CaptureError::Malformed("baseline", error))
    }

    /// The text of the file, with a line's end.
    #[must_use]
    pub fn write(&self) -> String {
        crate::json::write(self)
    }

    /// In the form that comparisons take.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        let routes = self.routes.iter().map(BaselineRoute::route).collect();
        Capture { routes, ..Capture::default() }.baseline()
    }
}

impl BaselineRoute {
    fn of(route: &Route) -> Self {
        let statement = |it: &Statement| BaselineStatement {
            fingerprint: it.fingerprint.clone(),
            statement: it.statement.clone(),
            requests: it.requests,
            min: it.min,
            max: it.max,
            parent: it.parent.clone(),
        };
        Self {
            route: route.route.clone(),
            attribution: route.attribution.clone(),
            requests: route.requests,
            queries: route.queries.clone(),
            statements: route.statements.iter().map(statement).collect(),
        }
    }

    fn route(&self) -> Route {
        let statement = |it: &BaselineStatement| Statement {
            fingerprint: it.fingerprint.clone(),
            statement: it.statement.clone(),
            requests: it.requests,
            min: it.min,
            max: it.max,
            parent: it.parent.clone(),
            ..Statement::default()
        };
        Route {
            route: self.route.clone(),
            attribution: self.attribution.clone(),
            requests: self.requests,
            queries: self.queries.clone(),
            statements: self.statements.iter().map(statement).collect(),
            ..Route::default()
        }
    }
}
