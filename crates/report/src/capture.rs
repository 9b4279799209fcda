//! A capture: everything worth keeping of what a program's requests ran, as versioned JSON.
//!
//! `run` collects one, `report`, `diff` and `baseline` read it. It holds no moment and no parameter value, and its lists
//! are sorted, so that equal runs differ in times only.
//!
//! Read next: `judge.rs`, which says what is wrong with it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use pgtally_analysis::{
    Attribution, Baseline, BaselineLimits, CountDistribution, ParentLink, RouteBaseline, RouteKey,
    StatementBaseline,
};
use pgtally_fingerprint::Fingerprint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of the layout, in `schema_version`.
pub const CAPTURE_VERSION: u32 = 1;

/// What a capture may hold: as many tests as a large project has, with what each of them runs.
pub const CAPTURE_LIMITS: BaselineLimits =
    BaselineLimits { routes: 20_000, statements_per_route: 1_000, statements: 400_000 };

/// What a program's requests ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "pgtally capture")]
pub struct Capture {
    /// Layout of this document: 1.
    pub schema_version: u32,
    /// Version of the pgtally that wrote it.
    pub pgtally: String,
    /// Whether everything that ran is in it.
    pub complete: bool,
    /// Why it is not complete, in words.
    #[serde(default)]
    pub problems: Vec<String>,
    /// What else is worth knowing about it, in words.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Sessions the program opened.
    pub sessions: u64,
    /// Counted statements.
    pub statements: u64,
    /// What the requests of each route ran, by name and level of attribution.
    pub routes: Vec<Route>,
    /// What is wrong with it, most severe first.
    pub findings: Vec<Finding>,
}

/// The requests of one route (or test) at one level of attribution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Its name: a route, or a test's id.
    pub route: String,
    /// How its requests were recognised: `trace`, `tag`, `guc`, `application_name`, or for units guessed from the
    /// wire `marker`, `ping`, `transaction`, `idle`, `session`.
    pub attribution: String,
    /// Requests.
    pub requests: u64,
    /// Requests before them that were left out for warming up.
    #[serde(default)]
    pub warm_up: u64,
    /// Counted statements per request.
    pub queries: Queries,
    /// Executions of the most repeated statement in any request.
    pub repeat_max: u32,
    /// Repeats of statements with equal parameters in any request.
    pub duplicates_max: u32,
    /// Statements that were counted and not told apart: requests with very many record only the first ones.
    #[serde(default)]
    pub unrecorded: u64,
    /// Milliseconds of all statements.
    pub db_ms: f64,
    /// Milliseconds of the statements of the request that took most.
    pub db_ms_max: f64,
    /// Their statements, the most executed first.
    pub statements: Vec<Statement>,
}

/// Counted statements per request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Queries {
    /// Fewest.
    pub min: u64,
    /// The middle one.
    pub median: u64,
    /// Most.
    pub max: u64,
    /// How many requests ran how many; counts above 128 are rounded up to about 3 %.
    pub distribution: BTreeMap<u64, u64>,
}

/// One statement of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Statement {
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
    /// Executions in all.
    pub executions: u64,
    /// Milliseconds in all.
    pub db_ms: f64,
    /// Rows in all.
    pub rows: u64,
    /// The read whose rows feed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// The read whose rows feed a repeated statement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parent {
    /// 16 hexadecimal digits.
    pub fingerprint: String,
    /// `table.column` of the values; may be empty.
    pub column: String,
}

/// One problem, as `/api/v1/findings` shows it, without its moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Finding {
    /// Stable identity, 16 hexadecimal digits.
    pub id: String,
    /// `n_plus_one`, `duplicate`, …
    pub kind: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// `high`, `medium` or `info`.
    pub confidence: String,
    /// `new`, `known` or `acked`.
    pub state: String,
    /// Type of the request.
    pub route: String,
    /// How the request was recognised.
    pub attribution: String,
    /// The repeated or slow statement, 16 hexadecimal digits.
    pub fingerprint: String,
    /// Its normalized text.
    pub statement: Option<String>,
    /// The statement whose rows hold the keys.
    pub parent_fingerprint: Option<String>,
    /// Its normalized text.
    pub parent_statement: Option<String>,
    /// `table.column` of the parent.
    pub linked_column: Option<String>,
    /// 1-based number of the parameter that takes the column's values.
    pub linked_param: Option<u16>,
    /// Executions in the worst request.
    pub repeat: u32,
    /// Distinct keys among them.
    pub distinct: u32,
    /// Requests it was found in.
    pub requests: u64,
    /// Milliseconds wasted in the worst request.
    pub wasted_ms: f64,
    /// What to do.
    pub fix: String,
    /// One statement in place of the repeats.
    pub rewrite: Option<String>,
    /// Why it is acknowledged.
    pub reason: Option<String>,
    /// Whether the repeats ran side by side on several sessions.
    pub parallel: bool,
    /// Common to all statements repeated in turns per row of one parent.
    pub loop_id: Option<String>,
    /// Columns the finding is about.
    pub columns: Vec<String>,
    /// Place in the application's source, as the tags say.
    pub source_location: Option<String>,
    /// Whether a background job ran it.
    pub background: bool,
}

/// Why a text is no capture, or no baseline, that can be read. Says what to do.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// It is not the JSON of one.
    #[error("this is no {0} of pgtally")]
    Malformed(&'static str, #[source] serde_json::Error),
    /// It says that it is something else.
    #[error("this is no {0} of pgtally: it has no schema_version")]
    NoVersion(&'static str),
    /// Its layout is one that this version does not know.
    #[error("this {what} has schema_version {found}, and this pgtally reads {known}: {hint}")]
    Version {
        /// Capture or baseline.
        what: &'static str,
        /// Its version.
        found: u64,
        /// The version that can be read.
        known: u32,
        /// What to do.
        hint: &'static str,
    },
}

/// Reads a document if it is one of version `known`.
pub(crate) fn check_version(
    text: &str,
    what: &'static str,
    known: u32,
    anew: &'static str,
) -> Result<serde_json::Value, CaptureError> {
    let document: serde_json::Value =
        serde_json::from_str(text).map_err(|error| CaptureError::Malformed(what, error))?;
    let found = document.get("schema_version").and_then(serde_json::Value::as_u64);
    let found = found.ok_or(CaptureError::NoVersion(what))?;
    let hint = match found.cmp(&u64::from(known)) {
        Ordering::Equal => return Ok(document),
        Ordering::Greater => "read it with the newer pgtally that wrote it",
        Ordering::Less => anew,
    };
    Err(CaptureError::Version { what, found, known, hint })
}

impl Capture {
    /// Reads a capture's text.
    ///
    /// # Errors
    /// When it is none, or one of another version.
    pub fn read(text: &str) -> Result<Self, CaptureError> {
        let anew = "run the program again to capture it anew";
        let document = check_version(text, "capture", CAPTURE_VERSION, anew)?;
        serde_json::from_value(document).map_err(|error| CaptureError::Malformed("capture", error))
    }

    /// The text of the file, with a line's end.
    #[must_use]
    pub fn write(&self) -> String {
        crate::json::write(self)
    }

    /// What `baseline` knows, and `findings`.
    #[must_use]
    pub fn new(baseline: &Baseline, findings: Vec<Finding>) -> Self {
        let mut problems = Vec::new();
        if baseline.routes_dropped() > 0 {
            let most = CAPTURE_LIMITS.routes;
            problems.push(format!("requests of more than {most} routes were left out"));
        }
        if baseline.statements_dropped() > 0 {
            problems.push("statements of routes with very many different ones were left out".into());
        }
        let routes: Vec<Route> =
            baseline.routes().map(|((name, level), route)| Route::of(name, *level, route)).collect();
        Self {
            schema_version: CAPTURE_VERSION,
            pgtally: env!("CARGO_PKG_VERSION").into(),
            complete: problems.is_empty(),
            problems,
            notes: Vec::new(),
            sessions: 0,
            statements: 0,
            routes,
            findings,
        }
    }

    /// What it says about routes, in the form that comparisons take. Routes whose level has no known name, and
    /// fingerprints that are none, are left out.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        let mut baseline = Baseline::new(CAPTURE_LIMITS);
        for route in &self.routes {
            if let Some(attribution) = Attribution::of_name(&route.attribution) {
                baseline.insert(route.route.as_str().into(), attribution, route.baseline());
            }
        }
        baseline
    }

    /// Adds another capture, such as that of a second test job.
    pub fn absorb(&mut self, other: Self) {
        let mut baseline = self.baseline();
        baseline.absorb(&other.baseline());
        let mut findings = std::mem::take(&mut self.findings);
        for theirs in other.findings {
            match findings.iter_mut().find(|ours| ours.id == theirs.id) {
                Some(ours) if ours.repeat >= theirs.repeat => ours.requests += theirs.requests,
                Some(ours) => *ours = Finding { requests: ours.requests + theirs.requests, ..theirs },
                None => findings.push(theirs),
            }
        }
        let mut warm_ups: BTreeMap<(String, String), u64> = BTreeMap::new();
        for route in self.routes.iter().chain(&other.routes) {
            *warm_ups.entry((route.route.clone(), route.attribution.clone())).or_default() += route.warm_up;
        }
        let mut merged = Self::new(&baseline, findings);
        for route in &mut merged.routes {
            let key = (route.route.clone(), route.attribution.clone());
            route.warm_up = warm_ups.get(&key).copied().unwrap_or(0);
        }
        for problem in self.problems.drain(..).chain(other.problems) {
            if !merged.problems.contains(&problem) {
                merged.problems.push(problem);
            }
        }
        for note in self.notes.drain(..).chain(other.notes) {
            if !merged.notes.contains(&note) {
                merged.notes.push(note);
            }
        }
        merged.complete &= self.complete && other.complete;
        merged.sessions = self.sessions + other.sessions;
        merged.statements = self.statements + other.statements;
        merged.sort();
        *self = merged;
    }

    /// Says of how many requests each route was relieved for warming up. Routes that had no others are told, too.
    pub fn note_warm_up(&mut self, left_out: &BTreeMap<RouteKey, u64>) {
        for ((name, level), requests) in left_out {
            let fits = |it: &&mut Route| it.route == **name && it.attribution == level.name();
            match self.routes.iter_mut().find(fits) {
                Some(route) => route.warm_up = *requests,
                None => self.routes.push(Route {
                    route: name.to_string(),
                    attribution: level.name().into(),
                    warm_up: *requests,
                    ..Route::default()
                }),
            }
        }
        self.routes.sort_by(|one, two| route_rank(one).cmp(&route_rank(two)));
    }

    /// Notes why something is missing.
    pub fn add_problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
        self.complete = false;
    }

    /// Puts lists into the order of reports.
    pub fn sort(&mut self) {
        self.findings.sort_by(|one, two| finding_rank(one).cmp(&finding_rank(two)));
    }

    /// The finding about a statement on a route that says most.
    #[must_use]
    pub fn finding_of(&self, route: &str, fingerprint: &str) -> Option<&Finding> {
        let fits = |it: &&Finding| it.route == route && it.fingerprint == fingerprint;
        self.findings.iter().filter(fits).min_by_key(|it| finding_rank(it))
    }
}

/// The order of routes: by name, then by level.
fn route_rank(it: &Route) -> (&str, Option<Attribution>) {
    (&it.route, Attribution::of_name(&it.attribution))
}

/// Most severe first; then by what does not depend on the machine.
fn finding_rank(it: &Finding) -> (usize, std::cmp::Reverse<u32>, &str, &str) {
    let severity = ["critical", "warning", "info"].iter().position(|name| *name == it.severity);
    (severity.unwrap_or(3), std::cmp::Reverse(it.repeat), &it.route, &it.id)
}

impl Route {
    fn of(name: &str, attribution: Attribution, it: &RouteBaseline) -> Self {
        let mut statements: Vec<_> =
            it.statements.iter().map(|(fingerprint, it)| Statement::of(*fingerprint, it)).collect();
        // Stable: equal ones stay in the order of their fingerprints.
        statements.sort_by_key(|it| std::cmp::Reverse((it.max, it.executions)));
        Self {
            route: name.to_owned(),
            attribution: attribution.name().into(),
            requests: it.requests,
            warm_up: 0,
            queries: Queries {
                min: it.queries.min(),
                median: it.queries.median(),
                max: it.queries.max(),
                distribution: it.queries.iter().collect(),
            },
            repeat_max: it.repeat_max,
            duplicates_max: it.duplicates_max,
            unrecorded: it.unrecorded,
            db_ms: milliseconds(it.database_ns),
            db_ms_max: milliseconds(it.database_ns_max),
            statements,
        }
    }

    fn baseline(&self) -> RouteBaseline {
        let counts = self.queries.distribution.iter().map(|(count, requests)| (*count, *requests));
        RouteBaseline {
            requests: self.requests,
            queries: CountDistribution::of(counts, self.queries.min, self.queries.max),
            repeat_max: self.repeat_max,
            duplicates_max: self.duplicates_max,
            unrecorded: self.unrecorded,
            database_ns: nanoseconds(self.db_ms),
            database_ns_max: nanoseconds(self.db_ms_max),
            statements: self.statements.iter().filter_map(Statement::baseline).collect(),
        }
    }

    /// Whether the application named these requests itself.
    #[must_use]
    pub fn is_named(&self) -> bool {
        Attribution::of_name(&self.attribution).is_some_and(Attribution::is_request)
    }
}

impl Statement {
    fn of(fingerprint: Fingerprint, it: &StatementBaseline) -> Self {
        Self {
            fingerprint: fingerprint.to_string(),
            statement: it.text.to_string(),
            requests: it.requests,
            min: it.count_min,
            max: it.count_max,
            executions: it.executions,
            db_ms: milliseconds(it.database_ns),
            rows: it.rows,
            parent: it.parent.as_ref().map(|parent| Parent {
                fingerprint: parent.fingerprint.to_string(),
                column: parent.column.clone(),
            }),
        }
    }

    fn baseline(&self) -> Option<(Fingerprint, StatementBaseline)> {
        let it = StatementBaseline {
            text: Arc::from(self.statement.as_str()),
            requests: self.requests,
            count_min: self.min,
            count_max: self.max,
            executions: self.executions,
            database_ns: nanoseconds(self.db_ms),
            rows: self.rows,
            parent: self.parent.as_ref().and_then(Parent::link),
        };
        Some((fingerprint(&self.fingerprint)?, it))
    }
}

impl Parent {
    pub(crate) fn link(&self) -> Option<ParentLink> {
        Some(ParentLink { fingerprint: fingerprint(&self.fingerprint)?, column: self.column.clone() })
    }
}

/// Reads 16 hexadecimal digits.
#[must_use]
pub fn fingerprint(text: &str) -> Option<Fingerprint> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Fingerprint)
}

fn milliseconds(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 1e3).round() / 1e3
}

fn nanoseconds(milliseconds: f64) -> u64 {
    (milliseconds * 1e6).round() as u64
}
