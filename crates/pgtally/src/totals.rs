//! Totals per statement and per route since the start, as the API and the SQL console show them.
//!
//! Sums are exact; percentiles come from histograms with one or two significant digits. Deliberately absent: how they are
//! kept (`aggregator/totals.rs`), and anything that fades.

use serde::Serialize;

/// Answer to `GET /api/v1/statements`.
#[derive(Clone, Debug, Serialize)]
pub struct StatementsAnswer {
    /// See [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether nothing was dropped since the last reset.
    pub complete: bool,
    /// Statements that fit, listed or not.
    pub total: usize,
    /// Most database time first unless asked otherwise.
    pub statements: Vec<StatementTotals>,
}

/// Everything one shape has cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StatementTotals {
    /// 16 hexadecimal digits.
    pub fingerprint: String,
    /// Normalized text; null when it is no longer kept.
    pub statement: Option<String>,
    /// Executions.
    pub calls: u64,
    /// Executions that failed.
    pub errors: u64,
    /// Rows returned or affected.
    pub rows: u64,
    /// Time from sending to completion, summed.
    pub db_ms: f64,
    /// Percentiles of that time, over the executions that were recorded; at most 7 % too high.
    pub time: Percentiles,
    /// Its label in metrics.
    pub kind: &'static str,
    /// Percent of the database time of all statements listed here.
    pub share: f64,
    /// RFC 3339.
    pub first_seen: String,
    /// RFC 3339.
    pub last_seen: String,
    /// Whether an N+1 repeats it somewhere.
    pub n_plus_one: bool,
    /// Whether its 95th percentile or its mean is over the bound for slow statements.
    pub slow: bool,
    /// Routes that issue it, most calls first; of many, the first ones seen.
    pub routes: Vec<RouteCalls>,
}

/// Calls of a statement by one route, as far as its requests were recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RouteCalls {
    /// Type of the requests.
    pub route: String,
    /// Executions.
    pub calls: u64,
}

/// Answer to `GET /api/v1/routes`.
#[derive(Clone, Debug, Serialize)]
pub struct RoutesAnswer {
    /// See [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether nothing was dropped since the last reset.
    pub complete: bool,
    /// Routes that fit, listed or not.
    pub total: usize,
    /// Most database time first unless asked otherwise.
    pub routes: Vec<RouteTotals>,
}

/// Everything the requests of one route have cost. Requests and units guessed from the wire are never mixed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RouteTotals {
    /// Type of the requests.
    pub route: String,
    /// How they were recognised.
    pub attribution: &'static str,
    /// Requests finished.
    pub requests: u64,
    /// Counted statements.
    pub queries: u64,
    /// Statements that repeat one of the same request with equal parameters.
    pub duplicates: u64,
    /// Statements over the bound for slow ones.
    pub slow_queries: u64,
    /// Time of the statements, summed.
    pub db_ms: f64,
    /// Time from first statement to last answer, summed.
    pub duration_ms: f64,
    /// Statements per request.
    pub queries_per_request: Percentiles,
    /// Milliseconds of database time per request.
    pub db_time: Percentiles,
    /// Milliseconds from first statement to last answer.
    pub duration: Percentiles,
    /// Most executions of one statement in a request.
    pub similar_max: u32,
    /// Statements that failed.
    pub errors: u64,
    /// Findings of the route that nobody has acknowledged.
    pub findings: usize,
    /// RFC 3339.
    pub last_seen: String,
}

/// Percentiles of a distribution, each at most 1 % too high unless said otherwise. Zero where nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: f64,
    /// 95 of 100 are below.
    pub p95: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// The highest.
    pub max: f64,
}
