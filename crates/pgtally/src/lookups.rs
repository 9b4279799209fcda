//! Lists that pages and programs look through: what they ask for, and the answers as types.
//!
//! As in `api.rs`, field names are part of the public contract. The answers are made in `aggregator/lookups.rs`.

use pgtally_analysis::RequestPart;
use pgtally_fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::api::{FindingView, RequestView, RequestsAnswer};
use crate::filter::Filter;
use crate::limits::ROWS_DEFAULT;
use crate::totals::{RoutesAnswer, StatementTotals, StatementsAnswer};

/// A part of a list.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) filter: Filter,
    /// Only of this route; for lists of requests.
    pub(crate) route: Option<String>,
    /// `None` is the list's own order.
    pub(crate) order: Option<Order>,
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}

impl Default for Listing {
    fn default() -> Self {
        Self { filter: Filter::default(), route: None, order: None, offset: 0, limit: ROWS_DEFAULT }
    }
}

/// What a list is sorted by, most first. A list that has no such column keeps its own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    Calls,
    Duration,
    Errors,
    Latest,
    Mean,
    P95,
    Queries,
    Requests,
    Rows,
    Severity,
    Similar,
    Total,
    Wasted,
}

impl Order {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Duration => "duration",
            Self::Errors => "errors",
            Self::Latest => "latest",
            Self::Mean => "mean",
            Self::P95 => "p95",
            Self::Queries => "queries",
            Self::Requests => "requests",
            Self::Rows => "rows",
            Self::Severity => "severity",
            Self::Similar => "similar",
            Self::Total => "total",
            Self::Wasted => "wasted",
        }
    }
}

/// A question about a list, for the aggregator.
pub(crate) enum Lookup {
    Requests {
        listing: Listing,
        /// Only requests with this statement.
        fingerprint: Option<Fingerprint>,
        open: Vec<RequestPart>,
        reply: oneshot::Sender<RequestsAnswer>,
    },
    Routes {
        listing: Listing,
        reply: oneshot::Sender<RoutesAnswer>,
    },
    Statement {
        fingerprint: Fingerprint,
        reply: oneshot::Sender<Option<Box<StatementAnswer>>>,
    },
    Statements {
        listing: Listing,
        reply: oneshot::Sender<StatementsAnswer>,
    },
}

/// Answer to `GET /api/v1/statements/{fingerprint}`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StatementAnswer {
    pub(crate) schema_version: u32,
    pub(crate) complete: bool,
    pub(crate) statement: StatementTotals,
    /// Where it ran: the first database, and those of the requests that are remembered; at most
    /// [`DATABASES_PER_STATEMENT_MAX`](crate::limits::DATABASES_PER_STATEMENT_MAX).
    pub(crate) databases: Vec<String>,
    /// Tables it reads.
    pub(crate) reads: Vec<String>,
    /// Tables it writes.
    pub(crate) writes: Vec<String>,
    /// Durations of the recorded executions.
    pub(crate) histogram: Vec<HistogramBar>,
    /// Findings it is the repeated or slow statement, or the parent of.
    pub(crate) findings: Vec<FindingView>,
    /// The latest requests with it.
    pub(crate) samples: Vec<RequestView>,
}

/// Executions that took at most this long, and longer than the bar before.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HistogramBar {
    /// `None` has no upper bound.
    pub(crate) up_to_ms: Option<f64>,
    pub(crate) count: u64,
}

/// Answer to `GET /api/v1/sessions`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SessionsAnswer {
    pub(crate) schema_version: u32,
    pub(crate) complete: bool,
    pub(crate) total: usize,
    /// In the order in which they were opened.
    pub(crate) sessions: Vec<SessionRow>,
}

/// One session that is being relayed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SessionRow {
    pub(crate) session: u64,
    /// `active`, `blind`, `idle` or `in_transaction`.
    pub(crate) state: &'static str,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) application: String,
    /// Address of the client; null on a Unix socket.
    pub(crate) client: Option<String>,
    /// RFC 3339.
    pub(crate) opened: String,
    /// Key of the request it works for; null when it has been idle.
    pub(crate) request: Option<String>,
    pub(crate) route: Option<String>,
    /// Queries of that request on this session.
    pub(crate) queries: u32,
    /// Milliseconds since the answer to its last query of that request.
    pub(crate) quiet_ms: Option<f64>,
    /// Fingerprint of its last query of that request.
    pub(crate) fingerprint: Option<String>,
}
