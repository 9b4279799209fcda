//! What is remembered of earlier requests: how long each shape takes, and how its executions grow with the rows of
//! another.
//!
//! Five numbers per (route, parent, child) are enough for a regression line, and a few hundred bytes per shape for a
//! percentile: nothing here grows with the traffic. Old requests fade, so that a repaired page is believed at last.
//!
//! Deliberately absent: any verdict. The rules ask for [`Growth`] and percentiles and judge themselves.

mod growth;
mod latency;

use std::sync::Arc;

use pgtally_fingerprint::{Fingerprint, Kind};
use rustc_hash::FxHashMap;

use self::growth::Pair;
use self::latency::Latency;
use crate::finding::Growth;
use crate::limits::{GROWTH_PAIRS_MAX, GROWTH_ROUTES_MAX, LATENCIES_MAX};
use crate::merge::Request;
use crate::settings::GrowthSettings;
use crate::shape::KnownShape;

/// Memory over the requests of this process. Bounded; what was unused longest makes room.
#[derive(Debug, Default)]
pub struct History {
    latencies: FxHashMap<Fingerprint, Latency>,
    routes: FxHashMap<Arc<str>, Route>,
    /// Requests observed: the clock by which things are old.
    observed: u64,
}

#[derive(Debug, Default)]
struct Route {
    pairs: Vec<Pair>,
    used: u64,
}

/// What one request says about a shape.
struct Seen {
    fingerprint: Fingerprint,
    executions: u32,
    rows: u64,
    first: usize,
    is_read: bool,
    has_key: bool,
}

impl History {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a request that is over; each request once.
    pub fn observe(&mut self, request: &Request, shapes: &dyn Fn(Fingerprint) -> Option<KnownShape>) {
        self.observed += 1;
        for it in request.records().filter(|it| it.statement.error.is_none()) {
            self.observe_latency(it.statement.fingerprint, it.statement.duration_ns());
        }
        if request.is_complete() {
            self.observe_growth(request, shapes);
        }
    }

    /// Whether a statement of the request is known to grow since just this request.
    #[must_use]
    pub fn has_grown(&self, request: &Request, settings: &GrowthSettings) -> bool {
        let pairs = self.routes.get(request.route()).map_or(&[][..], |route| &route.pairs);
        pairs.iter().any(|pair| pair.used() == self.observed && pair.is_just_known(settings))
    }

    /// 95th percentile of a shape's durations in nanoseconds, once enough of them are known.
    #[must_use]
    pub fn p95_ns(&self, fingerprint: Fingerprint) -> Option<u64> {
        self.latencies.get(&fingerprint)?.p95_ns()
    }

    /// The statement whose rows the executions of `child` grow with most clearly, among those the request has run.
    #[must_use]
    pub fn grows_with(
        &self,
        request: &Request,
        child: Fingerprint,
        settings: &GrowthSettings,
    ) -> Option<(Fingerprint, Growth)> {
        let pairs = self.known(request.route(), child, settings);
        let has_run = |parent| request.records().any(|it| it.statement.fingerprint == parent);
        let growing = pairs.filter(|(parent, it)| {
            it.slope >= settings.slope_min && it.fit >= settings.fit_min && has_run(*parent)
        });
        growing.max_by(|(_, one), (_, two)| one.fit.total_cmp(&two.fit))
    }

    /// How the executions of `child` depend on the rows of `parent`; of any parent that is known when none is given:
    /// then that on which they depend most.
    #[must_use]
    pub fn growth(
        &self,
        route: &str,
        parent: Option<Fingerprint>,
        child: Fingerprint,
        settings: &GrowthSettings,
    ) -> Option<Growth> {
        let pairs = self.known(route, child, settings);
        let of_parent = pairs.filter(|(it, _)| parent.is_none_or(|parent| parent == *it)).map(|(_, it)| it);
        of_parent.max_by(|one, two| one.slope.total_cmp(&two.slope))
    }

    fn known<'h>(
        &'h self,
        route: &str,
        child: Fingerprint,
        settings: &'h GrowthSettings,
    ) -> impl Iterator<Item = (Fingerprint, Growth)> + 'h {
        let pairs = self.routes.get(route).map_or(&[][..], |route| &route.pairs);
        let of_child = pairs.iter().filter(move |pair| pair.child == child);
        of_child.filter_map(|pair| Some((pair.parent, pair.growth(settings)?)))
    }

    fn observe_latency(&mut self, fingerprint: Fingerprint, duration_ns: u64) {
        if !self.latencies.contains_key(&fingerprint) && self.latencies.len() >= LATENCIES_MAX {
            let oldest = self.latencies.iter().min_by_key(|(_, latency)| latency.used());
            if let Some(fingerprint) = oldest.map(|(fingerprint, _)| *fingerprint) {
                self.latencies.remove(&fingerprint);
            }
        }
        self.latencies.entry(fingerprint).or_default().observe(duration_ns, self.observed);
    }

    fn observe_growth(&mut self, request: &Request, shapes: &dyn Fn(Fingerprint) -> Option<KnownShape>) {
        let seen = seen(request, shapes);
        let loops = |it: &&Seen| it.executions >= 2 && it.is_read && it.has_key;
        let is_known = self.routes.contains_key(request.route());
        if !is_known && !seen.iter().any(|it| loops(&it)) {
            return;
        }
        if !is_known && self.routes.len() >= GROWTH_ROUTES_MAX {
            let oldest = self.routes.iter().min_by_key(|(_, route)| route.used);
            if let Some(name) = oldest.map(|(name, _)| Arc::clone(name)) {
                self.routes.remove(&name);
            }
        }
        let route = self.routes.entry(Arc::clone(request.route())).or_default();
        route.used = self.observed;
        for child in seen.iter().filter(loops) {
            // A statement that runs once gives the list; a repeated one is a loop of its own.
            let is_list = |it: &&Seen| it.executions == 1 && it.is_read && it.first < child.first;
            // More would only push one another out.
            for parent in seen.iter().filter(is_list).take(GROWTH_PAIRS_MAX) {
                route.add(parent.fingerprint, child.fingerprint);
            }
        }
        for pair in &mut route.pairs {
            let Some(parent) = seen.iter().find(|it| it.fingerprint == pair.parent) else { continue };
            let child = seen.iter().find(|it| it.fingerprint == pair.child);
            pair.observe(parent.rows, child.map_or(0, |it| it.executions), self.observed);
        }
    }
}

impl Route {
    fn add(&mut self, parent: Fingerprint, child: Fingerprint) {
        if self.pairs.iter().any(|pair| pair.parent == parent && pair.child == child) {
            return;
        }
        if self.pairs.len() >= GROWTH_PAIRS_MAX {
            let oldest = self.pairs.iter().enumerate().min_by_key(|(_, pair)| pair.used());
            if let Some(index) = oldest.map(|(index, _)| index) {
                self.pairs.swap_remove(index);
            }
        }
        self.pairs.push(Pair::new(parent, child));
    }
}

/// The shapes of a request in order of first use. Failed statements don't count: they will be retried, or nothing is
/// right about the request.
fn seen(request: &Request, shapes: &dyn Fn(Fingerprint) -> Option<KnownShape>) -> Vec<Seen> {
    // One statement for each tenant is no loop, as in the rules.
    let mut index: FxHashMap<(Fingerprint, u32), usize> = FxHashMap::default();
    let mut seen: Vec<Seen> = Vec::new();
    for (position, it) in request.records().enumerate() {
        let statement = it.statement;
        if statement.error.is_some() || statement.is_retried {
            continue;
        }
        let at = *index.entry((statement.fingerprint, statement.environment)).or_insert_with(|| {
            let facts = shapes(statement.fingerprint).map(|known| known.facts);
            let is_read = statement.kind == Kind::Select
                && facts
                    .is_some_and(|it| it.is_parsed && it.has_from && !it.is_catalog_only && !it.is_volatile);
            seen.push(Seen {
                fingerprint: statement.fingerprint,
                executions: 0,
                rows: 0,
                first: position,
                is_read,
                has_key: it.keys.iter().any(|key| key.elements == 1),
            });
            seen.len() - 1
        });
        if let Some(seen) = seen.get_mut(at) {
            seen.executions += 1;
            seen.rows = seen.rows.saturating_add(statement.rows.into());
            seen.has_key &= it.keys.iter().any(|key| key.elements == 1);
        }
    }
    seen
}

#[cfg(test)]
mod tests;
