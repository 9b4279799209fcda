//! Health, and the frame of the live tap: what the metrics say, for people.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};

use super::findings::NAME_CHARS;
use super::frame::Frame;
use super::text::{bytes, href, milliseconds, moment, number, request_href, short, visible};
use super::{Asked, page, problem};
use crate::admin::AdminState;
use crate::api::SCHEMA_VERSION;
use crate::filter::Filter;
use crate::lookups::SessionRow;

/// The metrics, read back from their text form: pages show what Prometheus sees, whoever counts it.
pub(super) struct Samples(Vec<Sample>);

struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Samples {
    pub(super) async fn of(state: &AdminState) -> Self {
        Self::read(&state.asker.metrics().await)
    }

    fn read(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(read_sample).collect())
    }

    fn of_family<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    fn sum(&self, name: &str) -> f64 {
        self.of_family(name).map(|sample| sample.value).sum()
    }

    /// Value of the series with these labels among others.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| labels.iter().all(|(name, value)| sample.label(name) == Some(value));
        self.of_family(name).find(fits).map(|sample| sample.value)
    }

    /// Sums by the values of one label, those that count something.
    fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.of_family(name).filter(|sample| sample.value > 0.0) {
            *sums.entry(sample.label(label).unwrap_or_default().to_owned()).or_default() += sample.value;
        }
        sums
    }
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// `name{label="value",…} number`
fn read_sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some(Sample { name: series.to_owned(), labels: Vec::new(), value });
    };
    let mut found = Vec::new();
    let mut rest = labels.strip_suffix('}')?;
    while let Some((label, quoted)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (_, '\\') => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    other => text.push(other),
                },
                (at, '"') => break at,
                (_, other) => text.push(other),
            }
        };
        found.push((label.to_owned(), text));
        rest = quoted.get(end + 1..)?.trim_start_matches(',');
    }
    Some(Sample { name: name.to_owned(), labels: found, value })
}

/// Names with numbers.
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) label: &'static str,
    pub(super) nothing: &'static str,
    pub(super) rows: Vec<(String, String)>,
}

impl Table {
    pub(super) fn of(
        samples: &Samples,
        family: &str,
        title: &'static str,
        label: &'static str,
        nothing: &'static str,
    ) -> Self {
        let name = label.to_lowercase();
        let mut rows: Vec<_> = samples.by(family, &name).into_iter().collect();
        rows.sort_by(|(_, one), (_, two)| two.total_cmp(one));
        let rows = rows.into_iter().map(|(name, count)| (short(&name, NAME_CHARS), number(count as u64)));
        Self { title, label, nothing, rows: rows.collect() }
    }
}

#[derive(Template)]
#[template(path = "health.html")]
struct Health {
    frame: Frame,
    verdict: &'static str,
    pill: &'static str,
    facts: Vec<(&'static str, String)>,
    tables: Vec<Table>,
    sessions: Vec<Session>,
    settings: Vec<(String, String, String)>,
}

struct Session {
    session: u64,
    state: &'static str,
    client: String,
    database: String,
    user: String,
    application: String,
    href: Option<String>,
    route: String,
    queries: String,
    opened: String,
}

impl Session {
    fn of(it: &SessionRow) -> Self {
        Self {
            session: it.session,
            state: it.state,
            client: it.client.clone().unwrap_or_else(|| "Unix socket".into()),
            database: short(&it.database, NAME_CHARS),
            user: short(&it.user, NAME_CHARS),
            application: short(&it.application, NAME_CHARS),
            href: it.request.as_deref().map(request_href),
            route: short(it.route.as_deref().unwrap_or_default(), NAME_CHARS),
            queries: number(it.queries.into()),
            opened: moment(&it.opened),
        }
    }
}

pub(super) async fn health(State(state): State<AdminState>, asked: Asked) -> Response {
    let (frame, listing, _) = Frame::of_list(&state, "Health", asked);
    let samples = Samples::of(&state).await;
    let sessions = state.asker.sessions(&listing).await;
    let config = state.reloading.config();
    let settings = config
        .effective()
        .into_iter()
        .filter_map(|it| Some((it.path.clone(), visible(&it.shown()?), visible(&it.origin))));
    let is_up = samples.sum("pgtally_upstream_up") > 0.0;
    let blind = samples.sum("pgtally_sessions_blind_total");
    let (verdict, pill) = match (is_up, blind > 0.0) {
        (false, _) => ("the upstream cannot be reached", "critical"),
        (true, true) => ("some sessions are not observed", "warning"),
        (true, false) => ("all is well", "good"),
    };
    page(&Health {
        verdict,
        pill,
        facts: health_facts(&samples),
        tables: vec![
            Table::of(
                &samples,
                "pgtally_sessions_blind_total",
                "Sessions not observed",
                "Reason",
                "Every session is observed.",
            ),
            Table::of(
                &samples,
                "pgtally_observations_dropped_total",
                "Observations dropped",
                "Reason",
                "Nothing was dropped.",
            ),
            Table::of(
                &samples,
                "pgtally_connections_closed_total",
                "Connections closed",
                "Reason",
                "None yet.",
            ),
        ],
        sessions: sessions.sessions.iter().map(Session::of).collect(),
        settings: settings.collect(),
        frame: Frame { total: sessions.total, ..frame },
    })
}

fn health_facts(samples: &Samples) -> Vec<(&'static str, String)> {
    let connects = samples.sum("pgtally_upstream_connect_seconds_count").max(1.0);
    let connect_ms = samples.sum("pgtally_upstream_connect_seconds_sum") / connects * 1e3;
    let relayed = |direction| {
        samples.value("pgtally_relay_bytes_total", &[("direction", direction)]).unwrap_or_default()
    };
    vec![
        ("Statements", number(samples.sum("pgtally_queries_total") as u64)),
        ("Sessions", number(samples.sum("pgtally_sessions") as u64)),
        ("Connections so far", number(samples.sum("pgtally_connections_opened_total") as u64)),
        ("To the upstream", bytes(relayed("to_upstream"))),
        ("To clients", bytes(relayed("to_client"))),
        ("Connecting, mean", milliseconds(connect_ms)),
        ("Memory", bytes(samples.sum("process_resident_memory_bytes"))),
        ("CPU time", format!("{:.1} s", samples.sum("process_cpu_seconds_total"))),
        ("Refused", number(samples.sum("pgtally_sessions_refused_total") as u64)),
    ]
}

/// `GET /api/v1/health`: what the chart draws.
pub(crate) async fn health_answer(State(state): State<AdminState>) -> Response {
    #[derive(Serialize)]
    struct Answer {
        schema_version: u32,
        complete: bool,
        /// Statements finished since the start.
        queries: f64,
        sessions: Sessions,
        upstream_up: bool,
    }
    #[derive(Serialize)]
    struct Sessions {
        active: f64,
        blind: f64,
        idle: f64,
        in_transaction: f64,
    }
    let samples = Samples::of(&state).await;
    let sessions = |state| samples.value("pgtally_sessions", &[("state", state)]).unwrap_or_default();
    Json(Answer {
        schema_version: SCHEMA_VERSION,
        complete: true,
        queries: samples.sum("pgtally_queries_total"),
        sessions: Sessions {
            active: sessions("active"),
            blind: sessions("blind"),
            idle: sessions("idle"),
            in_transaction: sessions("in_transaction"),
        },
        upstream_up: samples.sum("pgtally_upstream_up") > 0.0,
    })
    .into_response()
}

#[derive(Deserialize)]
pub(super) struct TapQuery {
    #[serde(default)]
    filter: String,
    #[serde(default)]
    all: Option<String>,
}

#[derive(Template)]
#[template(path = "tap.html")]
struct TapPage {
    frame: Frame,
    wants_all: bool,
    source: String,
}

pub(super) async fn tap(
    State(state): State<AdminState>,
    query: Result<Query<TapQuery>, QueryRejection>,
) -> Response {
    if !state.live.borrow().has_tap {
        let words = "The live tap is switched off by admin.tap.";
        return problem(&state, StatusCode::FORBIDDEN, "Switched off", words);
    }
    let (filter, all) = query.map(|Query(it)| (it.filter, it.all)).unwrap_or_default();
    let wants_all = all.as_deref() == Some("true");
    let problem = Filter::parse(&filter).err().map(|error| error.to_string());
    let mut pairs = vec![("filter", filter.clone())];
    if wants_all {
        pairs.push(("all", "true".into()));
    }
    let source = href("/api/v1/tap", &pairs);
    page(&TapPage {
        wants_all,
        source,
        frame: Frame { filter, problem, ..Frame::new(&state, "Tap", "Live tap") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_back() {
        let text = "# HELP a b\na 1\nb{x=\"y\",z=\"q\\\"}\\n,=\"} 2.5\nb{x=\"w\",z=\"\"} 3\nc{broken 1\n";
        let samples = Samples::read(text);
        assert_eq!(samples.sum("a"), 1.0);
        assert_eq!(samples.sum("b"), 5.5);
        assert_eq!(samples.value("b", &[("z", "q\"}\n,=")]), Some(2.5));
        assert_eq!(samples.value("b", &[("x", "nosuch")]), None);
        assert_eq!(samples.by("b", "x").into_keys().collect::<Vec<_>>(), ["w", "y"]);
        assert_eq!(samples.sum("c"), 0.0);
    }
}
