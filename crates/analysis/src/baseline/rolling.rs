//! Baselines in production: what each route usually runs, learned while it runs, and a regression when it runs more.
//!
//! ```text
//!            requests of a route
//!                    │
//!                    ▼      window over, healthy
//!   learning ───▶ window ───────────────▶ young ──a day──▶ old        baseline = old + young
//!                    │
//!                    │ more than the baseline allows
//!                    ▼
//!               regression ── healthy again, or accepted ──▶ window   (the baseline is frozen meanwhile)
//! ```
//! A regression needs all of: enough requests, a mean above the baseline's by a factor *and* by two statements, and a
//! fifth of the requests above nearly all of the baseline's, so that one odd request is none. Units that are guessed
//! from gaps alone have no baseline: their counts depend on chance.
//!
//! Deliberately absent: clocks (time is milliseconds since 1970, handed in), and the state file.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgtally_fingerprint::Fingerprint;

use super::compare::{Change, CountRange, StatementChange};
use super::{Observed, ParentLink, RouteBaseline, RouteKey, StatementBaseline};
use crate::finding::{Confidence, Detection, FindingId, FindingKind, Severity, Times};
use crate::limits::{
    BASELINE_CHANGES_MAX, BASELINE_PARENTS_MAX, BASELINE_ROUTES_MAX, BASELINE_STATEMENTS_MAX,
    BASELINE_TEXT_BYTES_MAX,
};
use crate::merge::Request;
use crate::part::cut;
use crate::record::Attribution;

/// Milliseconds after which the young half of a baseline becomes the old one: a baseline spans one to two days.
const GENERATION_MS: u64 = 24 * 60 * 60 * 1_000;
/// Requests of one window that are looked at: what lies between them would tell nothing new.
const SAMPLES_PER_WINDOW: u64 = 500;
/// Statements that a request must run beyond the baseline's mean: twice of next to nothing is no regression.
const MORE_MIN: f64 = 2.0;
/// Share of a window's requests that must lie above nearly all of the baseline's.
const ABOVE_SHARE_MIN: f64 = 0.2;
/// "Nearly all".
const USUAL_SHARE: f64 = 0.95;
/// Milliseconds between two detections of the same regression.
const RETELL_MS: u64 = 1_000;
/// Factor from which a regression is critical.
const CRITICAL_RATIO: f64 = 3.0;

/// When a route has regressed.
#[derive(Clone, Debug, PartialEq)]
pub struct RollingSettings {
    /// Milliseconds of a window.
    pub window_ms: u64,
    /// Requests without which a window says nothing.
    pub requests_min: u64,
    /// Mean of a window over that of the baseline from which it is a regression.
    pub ratio: f64,
}

impl Default for RollingSettings {
    fn default() -> Self {
        Self { window_ms: 5 * 60 * 1_000, requests_min: 50, ratio: 1.5 }
    }
}

/// Requests of a route with their number of statements in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// What they ran.
    pub route: RouteBaseline,
    /// Their counted statements in all.
    pub queries: u64,
}

impl Generation {
    /// Counted statements per request; 0 without requests.
    #[must_use]
    pub fn mean(&self) -> f64 {
        share(self.queries, self.route.requests)
    }

    fn absorb(&mut self, other: &Self) {
        self.route.absorb(&other.route);
        self.queries = self.queries.saturating_add(other.queries);
        while self.route.statements.len() > BASELINE_STATEMENTS_MAX
            && self.route.statements.pop_last().is_some()
        {}
    }

    fn note(&mut self, observed: &Observed, text: &dyn Fn(Fingerprint) -> Option<Arc<str>>) {
        self.route.note(observed);
        self.queries = self.queries.saturating_add(observed.queries);
        for summary in &observed.statements {
            if let Some(known) = self.route.statements.get_mut(&summary.fingerprint) {
                known.note(summary);
            } else if self.route.statements.len() < BASELINE_STATEMENTS_MAX {
                let text = text(summary.fingerprint).map(|text| match cut(&text, BASELINE_TEXT_BYTES_MAX) {
                    whole if whole.len() == text.len() => text,
                    beginning => beginning.into(),
                });
                let statement = StatementBaseline::new(summary, text.unwrap_or_default());
                self.route.statements.insert(summary.fingerprint, statement);
            }
        }
    }

    /// Executions of a statement per request of the route.
    fn executions(&self, fingerprint: Fingerprint) -> f64 {
        let executions = self.route.statements.get(&fingerprint).map_or(0, |it| it.executions);
        share(executions, self.route.requests)
    }
}

/// A route that runs more than it used to.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// Statements per request in the baseline.
    pub baseline: f64,
    /// Statements per request now.
    pub current: f64,
    /// Version that runs now, where one is known to have come after the baseline.
    pub since_version: Option<Arc<str>>,
    /// Version before.
    pub previous_version: Option<Arc<str>>,
    /// Milliseconds since 1970 of its discovery.
    pub since_ms: u64,
    /// What was added, the most executions first; counts are those of a usual request.
    pub statements: Vec<StatementChange>,
}

impl Regression {
    /// How many times the baseline.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        ratio(self.current, self.baseline)
    }

    /// What has happened, in one or two sentences.
    fn words(&self, route: &str) -> String {
        let since =
            self.since_version.as_ref().map_or_else(String::new, |it| format!("Since version {it}, "));
        let requests = if since.is_empty() { "Requests" } else { "requests" };
        let added: Vec<String> = self.statements.iter().take(3).map(ToString::to_string).collect();
        let added = if added.is_empty() { String::new() } else { format!(": {}", added.join("; ")) };
        format!(
            "{since}{requests} of {route} run {:.1} statements instead of {:.1}{added}. Roll back or mend it; if it is \
             meant, acknowledge this finding, and the new counts become the baseline.",
            self.current, self.baseline
        )
    }
}

/// A regression that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRegression {
    /// The finding.
    pub id: FindingId,
    /// The statement that was added most often; the default when none stands out.
    pub fingerprint: Fingerprint,
    /// What is known of it.
    pub regression: Arc<Regression>,
    told_ms: u64,
}

impl OpenRegression {
    /// One that was open when its state was written.
    #[must_use]
    pub fn restored(id: FindingId, fingerprint: Fingerprint, regression: Regression) -> Self {
        Self { id, fingerprint, regression: Arc::new(regression), told_ms: 0 }
    }
}

/// Everything known of one route.
#[derive(Clone, Debug, Default)]
struct RouteHistory {
    old: Generation,
    young: Generation,
    young_since_ms: u64,
    window: Generation,
    window_since_ms: u64,
    /// The last window that was judged: what runs now, until the next one says more.
    judged: Option<f64>,
    sampled_ms: u64,
    seen_ms: u64,
    /// Version of the latest requests, and that before it.
    version: Arc<str>,
    previous_version: Arc<str>,
    /// Version that the baseline was learned with last.
    baseline_version: Arc<str>,
    open: Option<OpenRegression>,
    parents: BTreeMap<Fingerprint, ParentLink>,
}

/// What a request has shown.
#[derive(Debug)]
pub enum Judgement {
    /// Nothing new.
    Quiet,
    /// It was not looked at: its route has enough of them, or no baseline.
    Skipped,
    /// The route has a regression, which this request shows. Told at most once in a second.
    Regressed(Box<Detection>),
    /// The regression is over.
    Healed(FindingId),
}

/// One route as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteStanding {
    /// Route and level.
    pub key: RouteKey,
    /// Statements per request in the baseline; `None` while it is being learned.
    pub baseline: Option<f64>,
    /// Statements per request now; `None` until enough requests were seen.
    pub current: Option<f64>,
    /// Requests the baseline was made of.
    pub requests: u64,
    /// The version that runs; may be empty.
    pub version: Arc<str>,
    /// What is wrong.
    pub regression: Option<Arc<Regression>>,
}

impl RouteStanding {
    /// How many times the baseline it runs now.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        Some(ratio(self.current?, self.baseline?))
    }
}

/// What the operator has told of a deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Deploy {
    version: Arc<str>,
    at_ms: u64,
}

/// The baselines of all routes.
#[derive(Debug)]
pub struct RollingBaselines {
    settings: RollingSettings,
    routes: BTreeMap<RouteKey, RouteHistory>,
    deploy: Option<Deploy>,
    dropped: u64,
}

impl RollingBaselines {
    /// Without any route.
    #[must_use]
    pub fn new(settings: RollingSettings) -> Self {
        Self { settings, routes: BTreeMap::new(), deploy: None, dropped: 0 }
    }

    /// Judges by other settings from now on.
    pub fn set(&mut self, settings: RollingSettings) {
        self.settings = settings;
    }

    /// Requests of routes that found no room, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Looks at a finished request. `text` knows the normalized texts of statements.
    pub fn observe(
        &mut self,
        request: &Request,
        now_ms: u64,
        text: &dyn Fn(Fingerprint) -> Option<Arc<str>>,
    ) -> Judgement {
        if matches!(request.attribution(), Attribution::Idle | Attribution::Session) {
            return Judgement::Skipped;
        }
        let key = (Arc::clone(request.route()), request.attribution());
        if !self.make_room(&key) {
            self.dropped += 1;
            return Judgement::Skipped;
        }
        let deploy = self.deploy.as_ref();
        let history = self.routes.entry(key).or_default();
        history.observe(request, now_ms, &self.settings, deploy, text)
    }

    /// Whether the route has a place. A new one may take that of a route which has no baseline yet: a flood of made-up
    /// names must not push out what was learned.
    fn make_room(&mut self, key: &RouteKey) -> bool {
        if self.routes.contains_key(key) || self.routes.len() < BASELINE_ROUTES_MAX {
            return true;
        }
        let learning = self.routes.iter().filter(|(_, history)| history.requests() == 0);
        let oldest = learning.min_by_key(|(_, history)| history.seen_ms).map(|(key, _)| key.clone());
        oldest.is_some_and(|key| self.routes.remove(&key).is_some())
    }

    /// Says whose rows feed a repeated statement.
    pub fn link(
        &mut self,
        route: &Arc<str>,
        attribution: Attribution,
        child: Fingerprint,
        parent: ParentLink,
    ) {
        let Some(history) = self.routes.get_mut(&(Arc::clone(route), attribution)) else { return };
        if history.parents.len() < BASELINE_PARENTS_MAX || history.parents.contains_key(&child) {
            history.parents.insert(child, parent);
        }
    }

    /// A deploy of `version` begins to serve: windows begin anew, so that none mixes both.
    pub fn deploy(&mut self, version: &str, now_ms: u64) {
        self.deploy = Some(Deploy { version: version.into(), at_ms: now_ms });
        for history in self.routes.values_mut() {
            history.end_window(now_ms, &self.settings);
        }
    }

    /// Takes what runs now for the baseline of the route whose regression is `id`. False when none is.
    pub fn accept(&mut self, id: FindingId, now_ms: u64) -> bool {
        let is_it = |history: &&mut RouteHistory| history.open.as_ref().is_some_and(|open| open.id == id);
        let Some(history) = self.routes.values_mut().find(is_it) else { return false };
        let window = std::mem::take(&mut history.window);
        if window.route.requests >= self.settings.requests_min {
            history.begin_with(window, now_ms);
        } else {
            // Too little to judge by: the route is learned anew.
            history.begin_with(Generation::default(), now_ms);
            history.window = window;
        }
        true
    }

    /// The route at the most trusted level at which it is known.
    #[must_use]
    pub fn standing_of(&self, route: &Arc<str>) -> Option<RouteStanding> {
        let first = (Arc::clone(route), Attribution::Trace);
        let (key, history) = self.routes.range(first..).next().filter(|((name, _), _)| name == route)?;
        Some(history.standing(key, &self.settings))
    }

    /// Every route, by name and level.
    pub fn standings(&self) -> impl Iterator<Item = RouteStanding> {
        self.routes.iter().map(|(key, history)| history.standing(key, &self.settings))
    }

    /// Baselines and open regressions, for the state file: what is being learned begins anew after a restart.
    pub fn stored(
        &self,
    ) -> impl Iterator<Item = (&RouteKey, Generation, &Arc<str>, Option<&OpenRegression>)> {
        let has_baseline = |(_, history): &(&RouteKey, &RouteHistory)| history.requests() > 0;
        self.routes
            .iter()
            .filter(has_baseline)
            .map(|(key, history)| (key, history.baseline(), &history.baseline_version, history.open.as_ref()))
    }

    /// Takes over what [`RollingBaselines::stored`] gave, unless more is known already. Beyond the bounds it is dropped
    /// and counted.
    pub fn restore(
        &mut self,
        key: RouteKey,
        baseline: Generation,
        version: Arc<str>,
        open: Option<OpenRegression>,
        now_ms: u64,
    ) {
        if !self.make_room(&key) {
            self.dropped += 1;
            return;
        }
        let history = self.routes.entry(key).or_default();
        if history.requests() > 0 {
            return;
        }
        history.old.absorb(&baseline);
        history.young_since_ms = now_ms;
        history.seen_ms = history.seen_ms.max(now_ms);
        history.baseline_version = version;
        history.open = open.map(|open| OpenRegression { told_ms: 0, ..open });
    }
}

impl RouteHistory {
    fn requests(&self) -> u64 {
        self.old.route.requests + self.young.route.requests
    }

    /// Statements per request of the baseline; 0 without one.
    fn mean(&self) -> f64 {
        share(self.old.queries.saturating_add(self.young.queries), self.requests())
    }

    fn baseline(&self) -> Generation {
        let mut baseline = self.old.clone();
        baseline.absorb(&self.young);
        baseline
    }

    fn observe(
        &mut self,
        request: &Request,
        now_ms: u64,
        settings: &RollingSettings,
        deploy: Option<&Deploy>,
        text: &dyn Fn(Fingerprint) -> Option<Arc<str>>,
    ) -> Judgement {
        self.seen_ms = now_ms;
        self.note_version(request.origin().version(), now_ms, settings);
        let pause = settings.window_ms / SAMPLES_PER_WINDOW;
        if self.window.route.requests > 0 && now_ms.saturating_sub(self.sampled_ms) < pause {
            return Judgement::Skipped;
        }
        self.sampled_ms = now_ms;
        if self.window.route.requests == 0 {
            self.window_since_ms = now_ms;
        }
        self.window.note(&Observed::of(request), text);
        self.judge(request, now_ms, settings, deploy)
    }

    fn judge(
        &mut self,
        request: &Request,
        now_ms: u64,
        settings: &RollingSettings,
        deploy: Option<&Deploy>,
    ) -> Judgement {
        let is_full = self.window.route.requests >= settings.requests_min;
        if is_full && self.requests() > 0 {
            self.judged = Some(self.window.mean());
            if self.has_regressed(settings) {
                self.reopen(now_ms, deploy, request.route());
            }
        }
        let is_over = is_full && now_ms.saturating_sub(self.window_since_ms) >= settings.window_ms;
        if is_over && self.open.is_some() && !self.has_regressed(settings) {
            let healed = self.open.take().map(|open| open.id);
            self.end_window(now_ms, settings);
            return healed.map_or(Judgement::Quiet, Judgement::Healed);
        }
        let told = self.tell(request, now_ms, settings);
        if is_over {
            self.end_window(now_ms, settings);
        }
        told.map_or(Judgement::Quiet, |detection| Judgement::Regressed(Box::new(detection)))
    }

    fn has_regressed(&self, settings: &RollingSettings) -> bool {
        let (current, baseline) = (self.window.mean(), self.mean());
        if current <= baseline * settings.ratio || current - baseline < MORE_MIN {
            return false;
        }
        let of = |it: &Generation| it.route.queries.quantile(USUAL_SHARE);
        let usual = of(&self.old).max(of(&self.young));
        let above = self.window.route.queries.iter().filter(|(count, _)| *count > usual);
        let above = above.map(|(_, requests)| requests).sum();
        share(above, self.window.route.requests) >= ABOVE_SHARE_MIN
    }

    /// Opens the regression, or learns more about the one that is open.
    fn reopen(&mut self, now_ms: u64, deploy: Option<&Deploy>, route: &Arc<str>) {
        let statements = self.changes();
        let (current, baseline) = (self.window.mean(), self.mean());
        if let Some(open) = &mut self.open {
            let known = Arc::make_mut(&mut open.regression);
            (known.current, known.baseline) = (current, baseline);
            if known.statements.is_empty() {
                known.statements = statements;
            }
            return;
        }
        let is_other = !self.version.is_empty() && self.version != self.baseline_version;
        let told =
            deploy.filter(|deploy| deploy.at_ms >= self.young_since_ms).map(|it| Arc::clone(&it.version));
        let since_version = if is_other { Some(Arc::clone(&self.version)) } else { told };
        let previous = Some(Arc::clone(&self.baseline_version)).filter(|version| !version.is_empty());
        let fingerprint = statements.first().map_or(Fingerprint::default(), |it| it.fingerprint);
        let regression = Regression {
            baseline,
            current,
            previous_version: previous.filter(|_| since_version.is_some()),
            since_version,
            since_ms: now_ms,
            statements,
        };
        let id = FindingId::new(FindingKind::QueryCountRegression, route, None, fingerprint);
        self.open = Some(OpenRegression::restored(id, fingerprint, regression));
    }

    /// Statements that a request runs more often than before, on average.
    fn changes(&self) -> Vec<StatementChange> {
        let before = self.baseline();
        let change_of = |(fingerprint, statement): (&Fingerprint, &StatementBaseline)| {
            let (was, is) = (before.executions(*fingerprint), self.window.executions(*fingerprint));
            let (was, is) = (was.round() as u64, is.round() as u64);
            if is <= was {
                return None;
            }
            let old = before.route.statements.get(fingerprint);
            let text = if statement.text.is_empty() {
                old.map_or(&statement.text, |it| &it.text)
            } else {
                &statement.text
            };
            Some(StatementChange {
                change: if old.is_none() { Change::Added } else { Change::More },
                fingerprint: *fingerprint,
                text: Arc::clone(text),
                before: CountRange { min: was, max: was },
                after: CountRange { min: is, max: is },
                parent: self.parents.get(fingerprint).cloned(),
            })
        };
        let mut changes: Vec<_> = self.window.route.statements.iter().filter_map(change_of).collect();
        changes.sort_by_key(|it| (std::cmp::Reverse(it.delta()), it.change, it.fingerprint));
        changes.truncate(BASELINE_CHANGES_MAX);
        changes
    }

    /// The open regression as this request shows it; `None` when it does not, or another one just has.
    fn tell(&mut self, request: &Request, now_ms: u64, settings: &RollingSettings) -> Option<Detection> {
        let open = self.open.as_mut()?;
        let is_early = open.told_ms != 0 && now_ms.saturating_sub(open.told_ms) < RETELL_MS;
        let is_shown = request.queries() as f64 > open.regression.baseline * settings.ratio;
        if is_early || !is_shown {
            return None;
        }
        open.told_ms = now_ms;
        Some(detection(open, request))
    }

    /// Requests with another version: what is known of the window belongs to the one before.
    fn note_version(&mut self, version: Option<&str>, now_ms: u64, settings: &RollingSettings) {
        // Old instances drain beside new ones: a version that was just replaced is no news.
        let is_known = |version: &str| *version == *self.version || *version == *self.previous_version;
        let Some(version) = version.filter(|version| !is_known(version)) else { return };
        let is_first = self.version.is_empty();
        if !is_first {
            self.end_window(now_ms, settings);
        }
        self.previous_version = std::mem::replace(&mut self.version, version.into());
        if is_first && self.baseline_version.is_empty() {
            self.baseline_version = Arc::clone(&self.version);
        }
    }

    /// Begins another window. A healthy one becomes part of the baseline; of a regression, it is forgotten.
    fn end_window(&mut self, now_ms: u64, settings: &RollingSettings) {
        let window = std::mem::take(&mut self.window);
        if self.open.is_some() || window.route.requests < settings.requests_min {
            return;
        }
        if self.requests() == 0 {
            self.begin_with(window, now_ms);
            return;
        }
        if now_ms.saturating_sub(self.young_since_ms) >= GENERATION_MS {
            self.old = std::mem::take(&mut self.young);
            self.young_since_ms = now_ms;
        }
        self.young.absorb(&window);
        self.baseline_version = Arc::clone(&self.version);
        self.previous_version = Arc::default();
    }

    /// Takes `window` for the whole baseline.
    fn begin_with(&mut self, window: Generation, now_ms: u64) {
        self.judged = (window.route.requests > 0).then(|| window.mean());
        (self.old, self.young) = (Generation::default(), window);
        self.young_since_ms = now_ms;
        self.baseline_version = Arc::clone(&self.version);
        self.previous_version = Arc::default();
        self.open = None;
    }

    fn standing(&self, key: &RouteKey, settings: &RollingSettings) -> RouteStanding {
        let is_full = self.window.route.requests >= settings.requests_min;
        RouteStanding {
            key: key.clone(),
            baseline: (self.requests() > 0).then(|| self.mean()),
            current: if is_full { Some(self.window.mean()) } else { self.judged },
            requests: self.requests(),
            version: Arc::clone(&self.version),
            regression: self.open.as_ref().map(|open| Arc::clone(&open.regression)),
        }
    }
}

fn detection(open: &OpenRegression, request: &Request) -> Detection {
    let regression = &open.regression;
    let is_critical = regression.ratio() >= CRITICAL_RATIO;
    Detection {
        id: open.id,
        kind: FindingKind::QueryCountRegression,
        severity: if is_critical { Severity::Critical } else { Severity::Warning },
        confidence: Confidence::High,
        route: Arc::clone(request.route()),
        fingerprint: open.fingerprint,
        parent: None,
        linked_parameter: None,
        repeat: u32::try_from(request.queries()).unwrap_or(u32::MAX),
        distinct: 0,
        wasted_ns: 0,
        rows: 0,
        bytes: 0,
        times: Times::default(),
        is_parallel: false,
        loop_id: None,
        growth: None,
        columns: Vec::new(),
        rewrite: None,
        fix: regression.words(request.route()),
        regression: Some(Arc::clone(regression)),
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn ratio(current: f64, baseline: f64) -> f64 {
    if baseline > 0.0 { current / baseline } else { 0.0 }
}

#[cfg(test)]
mod tests;
