//! What SHOW shows: columns, and rows out of the same answers that the HTTP API gives. Totals, not averages.
//!
//! Statement texts are for those who may do everything; whoever may only look gets numbers, names and fingerprints.

use super::commands::Subject;
use crate::admin::AdminState;
use crate::api::{FindingView, RequestView};
use crate::cached::views;
use crate::limits::{CONSOLE_REQUESTS_MAX, ROWS_MAX};
use crate::lookups::{Listing, SessionRow};
use crate::totals::{Percentiles, RouteTotals, StatementTotals};

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Float,
    Int,
    Text,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Bool(bool),
    Float(Option<f64>),
    Int(i64),
    Text(Option<String>),
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Float(Some(value))
    }
}

impl From<Option<f64>> for Cell {
    fn from(value: Option<f64>) -> Self {
        Self::Float(value)
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.into()))
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Cell {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

/// Rows, in the order of [`columns`].
pub(super) type Rows = Vec<Vec<Cell>>;

/// A column's name and type.
type Column = (&'static str, Kind);

/// Names and types of what is shown.
pub(super) const fn columns(subject: Subject) -> &'static [Column] {
    match subject {
        Subject::Baselines => BASELINES,
        Subject::Cache => CACHE,
        Subject::Config => CONFIG,
        Subject::Findings => FINDINGS,
        Subject::Requests => REQUESTS,
        Subject::Routes => ROUTES,
        Subject::Sessions => SESSIONS,
        Subject::Statements => STATEMENTS,
        Subject::Stats => STATS,
        Subject::Version => VERSION,
    }
}

const BASELINES: &[Column] = &[
    ("route", Kind::Text),
    ("attribution", Kind::Text),
    ("state", Kind::Text),
    ("baseline_queries", Kind::Float),
    ("queries", Kind::Float),
    ("ratio", Kind::Float),
    ("requests", Kind::Int),
    ("version", Kind::Text),
    ("since_version", Kind::Text),
    ("added", Kind::Text),
];
const CACHE: &[Column] = &[
    ("tag", Kind::Text),
    ("hits", Kind::Int),
    ("stale", Kind::Int),
    ("misses", Kind::Int),
    ("saved_ms", Kind::Float),
    ("entries", Kind::Int),
    ("bytes", Kind::Int),
];
const CONFIG: &[Column] = &[("setting", Kind::Text), ("value", Kind::Text), ("origin", Kind::Text)];
const FINDINGS: &[Column] = &[
    ("id", Kind::Text),
    ("kind", Kind::Text),
    ("severity", Kind::Text),
    ("confidence", Kind::Text),
    ("state", Kind::Text),
    ("route", Kind::Text),
    ("attribution", Kind::Text),
    ("requests", Kind::Int),
    ("repeat", Kind::Int),
    ("distinct", Kind::Int),
    ("wasted_ms", Kind::Float),
    ("first_seen", Kind::Text),
    ("last_seen", Kind::Text),
    ("fingerprint", Kind::Text),
    ("linked_column", Kind::Text),
    ("statement", Kind::Text),
    ("fix", Kind::Text),
];
const REQUESTS: &[Column] = &[
    ("key", Kind::Text),
    ("attribution", Kind::Text),
    ("route", Kind::Text),
    ("open", Kind::Bool),
    ("queries", Kind::Int),
    ("similar_max", Kind::Int),
    ("duplicates", Kind::Int),
    ("db_ms", Kind::Float),
    ("duration_ms", Kind::Float),
    ("sessions", Kind::Int),
    ("started", Kind::Text),
];
const ROUTES: &[Column] = &[
    ("route", Kind::Text),
    ("attribution", Kind::Text),
    ("requests", Kind::Int),
    ("queries", Kind::Int),
    ("duplicates", Kind::Int),
    ("slow_queries", Kind::Int),
    ("errors", Kind::Int),
    ("db_ms", Kind::Float),
    ("duration_ms", Kind::Float),
    ("queries_p50", Kind::Float),
    ("queries_p95", Kind::Float),
    ("queries_p99", Kind::Float),
    ("queries_max", Kind::Float),
    ("duration_p50_ms", Kind::Float),
    ("duration_p95_ms", Kind::Float),
    ("duration_p99_ms", Kind::Float),
    ("duration_max_ms", Kind::Float),
];
const SESSIONS: &[Column] = &[
    ("session", Kind::Int),
    ("state", Kind::Text),
    ("user", Kind::Text),
    ("database", Kind::Text),
    ("application", Kind::Text),
    ("client", Kind::Text),
    ("opened", Kind::Text),
    ("request", Kind::Text),
    ("route", Kind::Text),
    ("queries", Kind::Int),
];
const STATEMENTS: &[Column] = &[
    ("fingerprint", Kind::Text),
    ("kind", Kind::Text),
    ("calls", Kind::Int),
    ("errors", Kind::Int),
    ("rows", Kind::Int),
    ("db_ms", Kind::Float),
    ("p50_ms", Kind::Float),
    ("p95_ms", Kind::Float),
    ("p99_ms", Kind::Float),
    ("max_ms", Kind::Float),
    ("statement", Kind::Text),
];
const STATS: &[Column] = &[("name", Kind::Text), ("value", Kind::Float)];
const VERSION: &[Column] = &[("version", Kind::Text)];

/// The rows; `None` when the aggregator is too busy. With `has_texts` statements are written out.
pub(super) async fn rows(subject: Subject, state: &AdminState, has_texts: bool) -> Option<Rows> {
    let asker = &state.asker;
    let all = || Listing { limit: ROWS_MAX, ..Listing::default() };
    Some(match subject {
        Subject::Baselines => baselines(asker.baselines().await?, has_texts),
        Subject::Cache => {
            views::answer(asker.cache.as_deref(), asker.clock).tags.into_iter().map(tag).collect()
        }
        Subject::Config => {
            let config = state.reloading.config();
            let row = |it: &crate::config::Effective| {
                vec![it.path.clone().into(), it.shown().into(), it.origin.clone().into()]
            };
            config.effective().into_iter().map(row).collect()
        }
        Subject::Findings => {
            asker.findings().await?.findings.into_iter().map(|it| finding(it, has_texts)).collect()
        }
        Subject::Requests => {
            asker.requests(None, CONSOLE_REQUESTS_MAX).await?.requests.into_iter().map(request).collect()
        }
        Subject::Routes => asker.routes(all()).await?.routes.into_iter().map(route).collect(),
        Subject::Sessions => asker.sessions(&all()).await.sessions.into_iter().map(session).collect(),
        Subject::Statements => {
            let answer = asker.statements(all()).await?;
            answer.statements.into_iter().map(|it| statement(it, has_texts)).collect()
        }
        Subject::Stats => sums(&asker.metrics().await),
        Subject::Version => vec![vec![concat!("pgtally ", env!("CARGO_PKG_VERSION")).into()]],
    })
}

fn baselines(answer: crate::api::BaselinesAnswer, has_texts: bool) -> Rows {
    let row = |it: crate::api::BaselineView| {
        let added = it.regression.as_ref().filter(|_| has_texts).map(|regression| {
            let line = |it: &crate::api::ChangeView| {
                let text = it.statement.as_deref().unwrap_or(&it.fingerprint);
                format!("+{} × {text}", it.after.saturating_sub(it.before))
            };
            regression.statements.iter().map(line).collect::<Vec<_>>().join("; ")
        });
        vec![
            it.route.into(),
            it.attribution.into(),
            it.state.into(),
            it.baseline_queries.into(),
            it.queries.into(),
            it.ratio.into(),
            it.requests.into(),
            it.version.into(),
            it.regression.and_then(|regression| regression.since_version).into(),
            added.into(),
        ]
    };
    answer.baselines.into_iter().map(row).collect()
}

fn finding(it: FindingView, has_texts: bool) -> Vec<Cell> {
    vec![
        it.id.into(),
        it.kind.into(),
        it.severity.into(),
        it.confidence.into(),
        it.state.into(),
        it.route.into(),
        it.attribution.into(),
        it.requests.into(),
        it.repeat.into(),
        it.distinct.into(),
        it.wasted_ms.into(),
        it.first_seen.into(),
        it.last_seen.into(),
        it.fingerprint.into(),
        it.linked_column.filter(|_| has_texts).into(),
        it.statement.filter(|_| has_texts).into(),
        Some(it.fix).filter(|_| has_texts).into(),
    ]
}

fn request(it: RequestView) -> Vec<Cell> {
    vec![
        it.key.into(),
        it.attribution.into(),
        it.route.into(),
        it.open.into(),
        it.queries.into(),
        it.similar_max.into(),
        it.duplicates.into(),
        it.db_ms.into(),
        it.duration_ms.into(),
        it.sessions.into(),
        it.started.into(),
    ]
}

fn route(it: RouteTotals) -> Vec<Cell> {
    let totals = [
        it.route.into(),
        it.attribution.into(),
        it.requests.into(),
        it.queries.into(),
        it.duplicates.into(),
        it.slow_queries.into(),
        it.errors.into(),
        it.db_ms.into(),
        it.duration_ms.into(),
    ];
    totals.into_iter().chain(percentiles(it.queries_per_request)).chain(percentiles(it.duration)).collect()
}

fn session(it: SessionRow) -> Vec<Cell> {
    vec![
        it.session.into(),
        it.state.into(),
        it.user.into(),
        it.database.into(),
        it.application.into(),
        it.client.into(),
        it.opened.into(),
        it.request.into(),
        it.route.into(),
        it.queries.into(),
    ]
}

fn statement(it: StatementTotals, has_texts: bool) -> Vec<Cell> {
    let totals = [
        it.fingerprint.into(),
        it.kind.into(),
        it.calls.into(),
        it.errors.into(),
        it.rows.into(),
        it.db_ms.into(),
    ];
    let text = it.statement.filter(|_| has_texts).into();
    totals.into_iter().chain(percentiles(it.time)).chain([text]).collect()
}

fn tag(it: views::TagView) -> Vec<Cell> {
    vec![
        it.tag.into(),
        it.hits.into(),
        it.stale.into(),
        it.misses.into(),
        it.saved_ms.into(),
        it.entries.into(),
        it.bytes.into(),
    ]
}

fn percentiles(it: Percentiles) -> [Cell; 4] {
    [it.p50, it.p95, it.p99, it.max].map(Cell::from)
}

/// Every family of our own, summed over its labels; of histograms count and sum.
fn sums(exposition: &str) -> Rows {
    let mut sums: Vec<(String, f64)> = Vec::new();
    for line in exposition.lines().filter(|line| line.starts_with("pgtally_")) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let name = series.split('{').next().unwrap_or(series);
        let Ok(value) = value.parse::<f64>() else { continue };
        if name.ends_with("_bucket") || name == "pgtally_build_info" {
            continue;
        }
        match sums.last_mut().filter(|(last, _)| last == name) {
            Some((_, sum)) => *sum += value,
            None => sums.push((name.into(), value)),
        }
    }
    let short = |name: &str| name.strip_prefix("pgtally_").unwrap_or(name).to_owned();
    sums.into_iter().map(|(name, value)| vec![short(&name).into(), value.into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_sums_over_labels() {
        let text = "# HELP x\npgtally_a_total{x=\"1\"} 2\npgtally_a_total{x=\"2\"} 3\npgtally_b_bucket{le=\"1\"} 9\n\
                    pgtally_b_sum 1.5\nprocess_cpu 7\n";
        let expected: Rows =
            [("a_total", 5.0), ("b_sum", 1.5)].map(|(name, value)| vec![name.into(), value.into()]).into();
        assert_eq!(sums(text), expected);
    }
}
