//! Baselines: what the requests of each route usually run, and what has changed against it.
//!
//! A [`Baseline`] is fed with requests one by one and keeps, per route and attribution, the distribution of counts and
//! the multiset of statements with the range of each one's count and the parent whose rows feed it. It is what a test
//! run captures, what a file in git holds, and what the proxy remembers in production. `compare.rs` says what was
//! added between two of them.
//!
//! Deliberately absent: which requests are healthy, warm-up, and files.

mod compare;
mod counts;
mod rolling;

use std::collections::BTreeMap;
use std::sync::Arc;

use pgtally_fingerprint::Fingerprint;

pub use self::compare::{
    Change, Comparison, CountRange, RouteChange, StatementChange, Tolerance, abbreviated, compare,
};
pub use self::counts::CountDistribution;
pub use self::rolling::{
    Generation, Judgement, OpenRegression, Regression, RollingBaselines, RollingSettings, RouteStanding,
};
use crate::merge::{Request, StatementSummary};
use crate::record::Attribution;

/// Route and level of attribution: levels are never mixed.
pub type RouteKey = (Arc<str>, Attribution);

/// What routes usually run.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    routes: BTreeMap<RouteKey, RouteBaseline>,
    limits: BaselineLimits,
    statements: usize,
    routes_dropped: u64,
    statements_dropped: u64,
}

/// How much a baseline may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaselineLimits {
    /// Routes.
    pub routes: usize,
    /// Statements of one route.
    pub statements_per_route: usize,
    /// Statements of all routes.
    pub statements: usize,
}

/// One request as a baseline sees it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its type.
    pub route: Arc<str>,
    /// How it was recognised.
    pub attribution: Attribution,
    /// Counted statements, told apart in `statements` or not.
    pub queries: u64,
    /// Statements that repeat an earlier one with equal parameters.
    pub duplicates: u32,
    /// Nanoseconds of its statements, summed.
    pub database_ns: u64,
    /// What each shape cost it.
    pub statements: Vec<StatementSummary>,
}

/// What the requests of one route run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteBaseline {
    /// Requests it was made of.
    pub requests: u64,
    /// How many of them ran how many statements.
    pub queries: CountDistribution,
    /// Executions of the most repeated statement in any of them.
    pub repeat_max: u32,
    /// Repeats of equal statements in any of them.
    pub duplicates_max: u32,
    /// Statements that were counted and not told apart: requests with very many record only the first ones.
    pub unrecorded: u64,
    /// Nanoseconds of all their statements.
    pub database_ns: u64,
    /// Nanoseconds of the statements of the one that took most.
    pub database_ns_max: u64,
    /// Their statements.
    pub statements: BTreeMap<Fingerprint, StatementBaseline>,
}

/// One statement of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementBaseline {
    /// Normalized text; empty where it was no longer kept.
    pub text: Arc<str>,
    /// Requests that ran it.
    pub requests: u64,
    /// Fewest executions in those requests.
    pub count_min: u32,
    /// Most executions in one request.
    pub count_max: u32,
    /// Executions in all.
    pub executions: u64,
    /// Nanoseconds in all.
    pub database_ns: u64,
    /// Rows in all.
    pub rows: u64,
    /// Where its keys come from, when that was proven.
    pub parent: Option<ParentLink>,
}

/// The read whose rows feed a repeated statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParentLink {
    /// Its shape.
    pub fingerprint: Fingerprint,
    /// `table.column` of its values; may be empty.
    pub column: String,
}

impl Observed {
    /// A finished request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        Self {
            route: Arc::clone(request.route()),
            attribution: request.attribution(),
            queries: request.queries(),
            duplicates: request.duplicates(),
            database_ns: request.database_ns(),
            statements: request.summaries(),
        }
    }
}

impl Baseline {
    /// An empty one.
    #[must_use]
    pub fn new(limits: BaselineLimits) -> Self {
        Self { routes: BTreeMap::new(), limits, statements: 0, routes_dropped: 0, statements_dropped: 0 }
    }

    /// Adds a request. `text` knows the normalized texts of statements.
    pub fn observe(&mut self, observed: &Observed, text: &dyn Fn(Fingerprint) -> Option<Arc<str>>) {
        let Some(mut room) = self.room_of(&observed.route, observed.attribution) else { return };
        let key = (Arc::clone(&observed.route), observed.attribution);
        let route = self.routes.entry(key).or_default();
        route.note(observed);
        for summary in &observed.statements {
            if let Some(known) = route.statements.get_mut(&summary.fingerprint) {
                known.note(summary);
            } else if room == 0 {
                self.statements_dropped += 1;
            } else {
                let text = text(summary.fingerprint).unwrap_or_default();
                route.statements.insert(summary.fingerprint, StatementBaseline::new(summary, text));
                self.statements += 1;
                room -= 1;
            }
        }
    }

    /// Statements that may be added to a route, or nothing when there is no room for the route itself.
    fn room_of(&mut self, route: &Arc<str>, attribution: Attribution) -> Option<usize> {
        let known = self.routes.get(&(Arc::clone(route), attribution));
        if known.is_none() && self.routes.len() >= self.limits.routes {
            self.routes_dropped += 1;
            return None;
        }
        let used = known.map_or(0, |route| route.statements.len());
        let own = self.limits.statements_per_route.saturating_sub(used);
        Some(own.min(self.limits.statements.saturating_sub(self.statements)))
    }

    /// Puts a route in place, whatever was known of it, as when a file is read. Beyond the limits it is dropped and
    /// counted.
    pub fn insert(&mut self, route: Arc<str>, attribution: Attribution, mut baseline: RouteBaseline) {
        self.remove(&route, attribution);
        let Some(room) = self.room_of(&route, attribution) else { return };
        while baseline.statements.len() > room && baseline.statements.pop_last().is_some() {
            self.statements_dropped += 1;
        }
        self.statements += baseline.statements.len();
        self.routes.insert((route, attribution), baseline);
    }

    /// Takes a route out.
    pub fn remove(&mut self, route: &Arc<str>, attribution: Attribution) -> Option<RouteBaseline> {
        let removed = self.routes.remove(&(Arc::clone(route), attribution))?;
        self.statements -= removed.statements.len();
        Some(removed)
    }

    /// Says where the keys of a statement come from.
    pub fn link(
        &mut self,
        route: &Arc<str>,
        attribution: Attribution,
        child: Fingerprint,
        parent: ParentLink,
    ) {
        let route = self.routes.get_mut(&(Arc::clone(route), attribution));
        if let Some(statement) = route.and_then(|route| route.statements.get_mut(&child)) {
            statement.parent = Some(parent);
        }
    }

    /// Adds what another one knows, such as that of another test worker.
    pub fn absorb(&mut self, other: &Baseline) {
        self.routes_dropped += other.routes_dropped;
        self.statements_dropped += other.statements_dropped;
        for ((route, attribution), theirs) in &other.routes {
            let mut merged = self.remove(route, *attribution).unwrap_or_default();
            merged.absorb(theirs);
            self.insert(Arc::clone(route), *attribution, merged);
        }
    }

    /// What is known of a route.
    #[must_use]
    pub fn route(&self, route: &Arc<str>, attribution: Attribution) -> Option<&RouteBaseline> {
        self.routes.get(&(Arc::clone(route), attribution))
    }

    /// All routes, by name and level.
    pub fn routes(&self) -> impl Iterator<Item = (&RouteKey, &RouteBaseline)> {
        self.routes.iter()
    }

    /// Number of routes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Requests whose route found no room.
    #[must_use]
    pub fn routes_dropped(&self) -> u64 {
        self.routes_dropped
    }

    /// Statements that found no room.
    #[must_use]
    pub fn statements_dropped(&self) -> u64 {
        self.statements_dropped
    }
}

impl RouteBaseline {
    fn note(&mut self, observed: &Observed) {
        let repeats = observed.statements.iter().map(|it| it.count).max().unwrap_or(0);
        let recorded = observed.statements.iter().map(|it| u64::from(it.count)).sum();
        self.requests += 1;
        self.queries.add(observed.queries, 1);
        self.unrecorded += observed.queries.saturating_sub(recorded);
        self.repeat_max = self.repeat_max.max(repeats);
        self.duplicates_max = self.duplicates_max.max(observed.duplicates);
        self.database_ns = self.database_ns.saturating_add(observed.database_ns);
        self.database_ns_max = self.database_ns_max.max(observed.database_ns);
    }

    fn absorb(&mut self, other: &RouteBaseline) {
        self.requests += other.requests;
        self.queries.absorb(&other.queries);
        self.unrecorded += other.unrecorded;
        self.repeat_max = self.repeat_max.max(other.repeat_max);
        self.duplicates_max = self.duplicates_max.max(other.duplicates_max);
        self.database_ns = self.database_ns.saturating_add(other.database_ns);
        self.database_ns_max = self.database_ns_max.max(other.database_ns_max);
        for (fingerprint, theirs) in &other.statements {
            self.statements
                .entry(*fingerprint)
                .and_modify(|ours| ours.absorb(theirs))
                .or_insert_with(|| theirs.clone());
        }
    }

    /// How often a request runs a statement; from 0 when not every one does.
    #[must_use]
    pub fn range_of(&self, fingerprint: Fingerprint) -> CountRange {
        match self.statements.get(&fingerprint) {
            Some(it) => {
                let min = if it.requests < self.requests { 0 } else { it.count_min };
                CountRange { min: min.into(), max: it.count_max.into() }
            }
            None => CountRange::default(),
        }
    }
}

impl StatementBaseline {
    fn new(summary: &StatementSummary, text: Arc<str>) -> Self {
        Self {
            text,
            requests: 1,
            count_min: summary.count,
            count_max: summary.count,
            executions: summary.count.into(),
            database_ns: summary.database_ns,
            rows: summary.rows,
            parent: None,
        }
    }

    fn note(&mut self, summary: &StatementSummary) {
        self.absorb(&Self::new(summary, Arc::default()));
    }

    fn absorb(&mut self, other: &StatementBaseline) {
        self.requests += other.requests;
        self.count_min = self.count_min.min(other.count_min);
        self.count_max = self.count_max.max(other.count_max);
        self.executions = self.executions.saturating_add(other.executions);
        self.database_ns = self.database_ns.saturating_add(other.database_ns);
        self.rows = self.rows.saturating_add(other.rows);
        if self.text.is_empty() {
            self.text = Arc::clone(&other.text);
        }
        // The smaller of two, so that the order of captures does not matter.
        self.parent = match (self.parent.take(), &other.parent) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs.clone())),
            (ours, theirs) => ours.or_else(|| theirs.clone()),
        };
    }
}

#[cfg(test)]
mod tests;
