//! What stands in the state file: JSON with a version. An older version is read, a newer one is not.
//!
//! Reading is strict, as a file with one wrong number would be a wrong baseline; but it takes any number of routes and
//! statements, as bounds are the reader's ([`RollingBaselines::restore`]).

use std::sync::Arc;

use pgtally_analysis::{
    Attribution, Change, CountDistribution, CountRange, FindingId, Generation, OpenRegression, ParentLink,
    Regression, RollingBaselines, RouteBaseline, StatementBaseline, StatementChange,
};
use pgtally_fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};

/// Version that is written.
const VERSION: u32 = 1;
/// What tells our file from others.
const FORMAT: &str = "pgtally-baselines";

#[derive(Deserialize, Serialize)]
struct State {
    format: String,
    version: u32,
    routes: Vec<StoredRoute>,
}

/// One route as it is stored.
#[derive(Deserialize, Serialize)]
pub(crate) struct StoredRoute {
    route: String,
    attribution: String,
    /// Version of the application that it was learned with last.
    application_version: String,
    requests: u64,
    queries: u64,
    /// Pairs of a count and the number of requests that ran so many statements.
    counts: Vec<(u64, u64)>,
    repeat_max: u32,
    duplicates_max: u32,
    database_ns: u64,
    database_ns_max: u64,
    unrecorded: u64,
    statements: Vec<StoredStatement>,
    regression: Option<StoredRegression>,
}

#[derive(Deserialize, Serialize)]
struct StoredStatement {
    fingerprint: String,
    text: String,
    requests: u64,
    count_min: u32,
    count_max: u32,
    executions: u64,
    database_ns: u64,
    rows: u64,
}

#[derive(Deserialize, Serialize)]
struct StoredRegression {
    id: String,
    fingerprint: String,
    baseline: f64,
    current: f64,
    since_version: Option<String>,
    previous_version: Option<String>,
    since_ms: u64,
    added: Vec<StoredChange>,
}

#[derive(Deserialize, Serialize)]
struct StoredChange {
    is_new: bool,
    fingerprint: String,
    text: String,
    before: u64,
    after: u64,
    parent: Option<(String, String)>,
}

/// The text of the state file.
pub(crate) fn write(baselines: &RollingBaselines) -> Vec<u8> {
    let routes = baselines.stored().map(|((route, attribution), generation, version, open)| {
        let known = &generation.route;
        StoredRoute {
            route: route.to_string(),
            attribution: attribution.name().to_owned(),
            application_version: version.to_string(),
            requests: known.requests,
            queries: generation.queries,
            counts: known.queries.iter().collect(),
            repeat_max: known.repeat_max,
            duplicates_max: known.duplicates_max,
            database_ns: known.database_ns,
            database_ns_max: known.database_ns_max,
            unrecorded: known.unrecorded,
            statements: known.statements.iter().map(stored_statement).collect(),
            regression: open.map(stored_regression),
        }
    });
    let state = State { format: FORMAT.into(), version: VERSION, routes: routes.collect() };
    // Numbers and texts: nothing that JSON could not hold.
    serde_json::to_vec(&state).unwrap_or_default()
}

fn stored_statement((fingerprint, it): (&Fingerprint, &StatementBaseline)) -> StoredStatement {
    StoredStatement {
        fingerprint: fingerprint.to_string(),
        text: it.text.to_string(),
        requests: it.requests,
        count_min: it.count_min,
        count_max: it.count_max,
        executions: it.executions,
        database_ns: it.database_ns,
        rows: it.rows,
    }
}

fn stored_regression(open: &OpenRegression) -> StoredRegression {
    let it = &*open.regression;
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let parent = |it: &ParentLink| (it.fingerprint.to_string(), it.column.clone());
    let change = |it: &StatementChange| StoredChange {
        is_new: it.change == Change::Added,
        fingerprint: it.fingerprint.to_string(),
        text: it.text.to_string(),
        before: it.before.max,
        after: it.after.max,
        parent: it.parent.as_ref().map(parent),
    };
    StoredRegression {
        id: open.id.to_string(),
        fingerprint: open.fingerprint.to_string(),
        baseline: it.baseline,
        current: it.current,
        since_version: text(&it.since_version),
        previous_version: text(&it.previous_version),
        since_ms: it.since_ms,
        added: it.statements.iter().map(change).collect(),
    }
}

/// Reads the text of a state file.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn read(state: &[u8]) -> Result<Vec<StoredRoute>, String> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u32,
    }
    let malformed = |error: serde_json::Error| format!("it is damaged: {error}");
    let head: Head = serde_json::from_slice(state).map_err(malformed)?;
    if head.format != FORMAT {
        return Err("it is no file of baselines".into());
    }
    if head.version > VERSION {
        return Err(format!("it has version {}, and this pgtally knows {VERSION}", head.version));
    }
    let state: State = serde_json::from_slice(state).map_err(malformed)?;
    if state.routes.iter().any(|route| route.attribution().is_none() || !route.is_sound()) {
        return Err("it is damaged: numbers that cannot be".into());
    }
    Ok(state.routes)
}

impl StoredRoute {
    fn attribution(&self) -> Option<Attribution> {
        let all = [
            Attribution::Trace,
            Attribution::Tag,
            Attribution::Guc,
            Attribution::ApplicationName,
            Attribution::Marker,
            Attribution::Ping,
            Attribution::Transaction,
            Attribution::Idle,
            Attribution::Session,
        ];
        all.into_iter().find(|it| it.name() == self.attribution)
    }

    fn is_sound(&self) -> bool {
        let requests = self.counts.iter().try_fold(0_u64, |sum, (_, requests)| sum.checked_add(*requests));
        let ids = self.statements.iter().map(|it| &it.fingerprint);
        let open = self.regression.iter().flat_map(|it| [&it.id, &it.fingerprint]);
        requests == Some(self.requests) && ids.chain(open).all(|id| hexadecimal(id).is_some())
    }

    /// Gives the route to `baselines`.
    pub(crate) fn restore_to(self, baselines: &mut RollingBaselines, now_ms: u64) {
        let Some(attribution) = self.attribution() else { return };
        let mut queries = CountDistribution::default();
        for (count, requests) in self.counts {
            queries.add(count, requests);
        }
        let route = RouteBaseline {
            requests: self.requests,
            queries,
            repeat_max: self.repeat_max,
            duplicates_max: self.duplicates_max,
            database_ns: self.database_ns,
            database_ns_max: self.database_ns_max,
            unrecorded: self.unrecorded,
            statements: self.statements.into_iter().map(restored_statement).collect(),
        };
        let generation = Generation { route, queries: self.queries };
        let open = self.regression.map(restored_regression);
        let key = (self.route.into(), attribution);
        baselines.restore(key, generation, self.application_version.into(), open, now_ms);
    }
}

fn restored_statement(it: StoredStatement) -> (Fingerprint, StatementBaseline) {
    let statement = StatementBaseline {
        text: it.text.into(),
        requests: it.requests,
        count_min: it.count_min,
        count_max: it.count_max,
        executions: it.executions,
        database_ns: it.database_ns,
        rows: it.rows,
        parent: None,
    };
    (fingerprint(&it.fingerprint), statement)
}

fn restored_regression(it: StoredRegression) -> OpenRegression {
    let change = |it: StoredChange| StatementChange {
        change: if it.is_new { Change::Added } else { Change::More },
        fingerprint: fingerprint(&it.fingerprint),
        text: it.text.into(),
        before: CountRange { min: it.before, max: it.before },
        after: CountRange { min: it.after, max: it.after },
        parent: it.parent.map(|(parent, column)| ParentLink { fingerprint: fingerprint(&parent), column }),
    };
    let regression = Regression {
        baseline: it.baseline,
        current: it.current,
        since_version: it.since_version.map(Arc::from),
        previous_version: it.previous_version.map(Arc::from),
        since_ms: it.since_ms,
        statements: it.added.into_iter().map(change).collect(),
    };
    let id = FindingId(hexadecimal(&it.id).unwrap_or_default());
    OpenRegression::restored(id, fingerprint(&it.fingerprint), regression)
}

fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint(hexadecimal(text).unwrap_or_default())
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16)
}
