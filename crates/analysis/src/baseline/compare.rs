//! What has changed between two baselines: first the statements, then the totals.
//!
//! A route is compared with itself at the same level of attribution. A statement has changed when its count leaves
//! the range it had before; that it runs less often is told, too, but is no regression.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use pgtally_fingerprint::Fingerprint;

use super::{Baseline, ParentLink, RouteBaseline};
use crate::record::Attribution;

/// Characters of a statement in a line.
const LINE_CHARS: usize = 120;
/// Characters from which a list of columns is left out of a line.
const COLUMNS_CHARS: usize = 24;

/// Fewest and most executions in one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountRange {
    /// Fewest.
    pub min: u64,
    /// Most.
    pub max: u64,
}

impl fmt::Display for CountRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.max)
        } else {
            write!(f, "{}–{}", self.min, self.max)
        }
    }
}

/// How far above its range a count may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tolerance {
    /// Executions.
    pub count: u64,
    /// Share of the most there were.
    pub share: f64,
}

impl Tolerance {
    /// The most that counts as no more than `max`.
    #[must_use]
    pub fn upper(&self, max: u64) -> u64 {
        max.saturating_add(self.count.max((max as f64 * self.share) as u64))
    }
}

/// How a statement's count has changed. The order is that of importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was not there.
    Added,
    /// It runs more often.
    More,
    /// It runs less often.
    Fewer,
    /// It is gone.
    Removed,
}

impl Change {
    /// Name in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Fewer => "fewer",
            Self::More => "more",
            Self::Removed => "removed",
        }
    }

    /// Whether it costs more than before.
    #[must_use]
    pub const fn is_worse(self) -> bool {
        matches!(self, Self::Added | Self::More)
    }
}

/// A statement whose count has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementChange {
    /// How.
    pub change: Change,
    /// Its shape.
    pub fingerprint: Fingerprint,
    /// Normalized text; empty where it is not known.
    pub text: Arc<str>,
    /// Executions per request before.
    pub before: CountRange,
    /// Executions per request after.
    pub after: CountRange,
    /// Where its keys come from.
    pub parent: Option<ParentLink>,
}

impl StatementChange {
    /// Executions more in the worst request; less than 0 when there are fewer.
    #[must_use]
    pub fn delta(&self) -> i64 {
        let clamp = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        clamp(self.after.max).saturating_sub(clamp(self.before.max))
    }
}

/// `+20 × SELECT … FROM users WHERE id = $1, parent posts.author_id`
impl fmt::Display for StatementChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delta = self.delta();
        let sign = if delta < 0 { '−' } else { '+' };
        let text = if self.text.is_empty() { self.fingerprint.to_string() } else { abbreviated(&self.text) };
        write!(f, "{sign}{} × {text}", delta.unsigned_abs())?;
        match &self.parent {
            Some(parent) if !parent.column.is_empty() => write!(f, ", parent {}", parent.column),
            _ => Ok(()),
        }
    }
}

/// What has changed on one route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteChange {
    /// The route.
    pub route: Arc<str>,
    /// Level of its requests.
    pub attribution: Attribution,
    /// Counted statements per request before; `None` when it was not there.
    pub before: Option<CountRange>,
    /// Counted statements per request after; `None` when it is not there.
    pub after: Option<CountRange>,
    /// Its statements, the added ones first, then by how much they differ.
    pub statements: Vec<StatementChange>,
}

impl RouteChange {
    /// Whether a route known before runs more than it did.
    #[must_use]
    pub fn is_regression(&self) -> bool {
        self.before.is_some() && self.after.is_some() && self.is_worse()
    }

    fn is_worse(&self) -> bool {
        self.delta() > 0 || self.statements.iter().any(|it| it.change.is_worse())
    }

    /// Statements more in the worst request; less than 0 when there are fewer.
    #[must_use]
    pub fn delta(&self) -> i64 {
        let max =
            |range: Option<CountRange>| range.map_or(0, |range| i64::try_from(range.max).unwrap_or(i64::MAX));
        max(self.after).saturating_sub(max(self.before))
    }
}

/// What has changed, regressions first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Routes that differ.
    pub routes: Vec<RouteChange>,
    /// Routes that do not.
    pub unchanged: usize,
}

impl Comparison {
    /// Routes known before that run more than they did.
    pub fn regressions(&self) -> impl Iterator<Item = &RouteChange> {
        self.routes.iter().filter(|route| route.is_regression())
    }

    /// What depends on the size of the data, when `self` compares a small set with a large one: statements that run
    /// more often, and more than once, on routes of both. These are N+1 patterns whatever their number.
    #[must_use]
    pub fn growth(&self) -> Vec<RouteChange> {
        let grown = |route: &RouteChange| {
            let mut route = route.clone();
            route.statements.retain(|it| it.change.is_worse() && it.after.max > 1);
            route
        };
        let routes = self.regressions().map(grown);
        routes.filter(|route| !route.statements.is_empty()).collect()
    }
}

/// Compares `after` with `before`. The result does not depend on the order in which requests came.
#[must_use]
pub fn compare(before: &Baseline, after: &Baseline, tolerance: &Tolerance) -> Comparison {
    let keys: BTreeSet<_> = before.routes.keys().chain(after.routes.keys()).collect();
    let mut comparison = Comparison::default();
    for key in keys {
        let change = route_change(key, before.routes.get(key), after.routes.get(key), tolerance);
        match change {
            Some(change) => comparison.routes.push(change),
            None => comparison.unchanged += 1,
        }
    }
    let rank = |route: &RouteChange| {
        let presence = (route.before.is_none(), route.after.is_none());
        (
            !route.is_regression(),
            presence,
            Reverse(route.delta()),
            Arc::clone(&route.route),
            route.attribution,
        )
    };
    comparison.routes.sort_by_cached_key(rank);
    comparison
}

fn route_change(
    (route, attribution): &super::RouteKey,
    before: Option<&RouteBaseline>,
    after: Option<&RouteBaseline>,
    tolerance: &Tolerance,
) -> Option<RouteChange> {
    let range = |it: &RouteBaseline| CountRange { min: it.queries.min(), max: it.queries.max() };
    let statements = match (before, after) {
        (Some(before), Some(after)) => {
            let statements = statement_changes(before, after, tolerance);
            let (old, new) = (range(before), range(after));
            let is_same = new.max <= tolerance.upper(old.max) && new.max >= old.min;
            if statements.is_empty() && is_same {
                return None;
            }
            statements
        }
        _ => Vec::new(),
    };
    Some(RouteChange {
        route: Arc::clone(route),
        attribution: *attribution,
        before: before.map(range),
        after: after.map(range),
        statements,
    })
}

fn statement_changes(
    before: &RouteBaseline,
    after: &RouteBaseline,
    tolerance: &Tolerance,
) -> Vec<StatementChange> {
    let fingerprints: BTreeSet<_> = before.statements.keys().chain(after.statements.keys()).collect();
    let change_of = |fingerprint: &Fingerprint| {
        let (old, new) = (before.statements.get(fingerprint), after.statements.get(fingerprint));
        let (was, is) = (before.range_of(*fingerprint), after.range_of(*fingerprint));
        let change = match (old, new) {
            (None, Some(_)) if is.max > tolerance.upper(0) => Change::Added,
            (Some(_), None) if was.min > 0 => Change::Removed,
            (Some(_), Some(_)) if is.max > tolerance.upper(was.max) => Change::More,
            (Some(_), Some(_)) if is.max < was.min => Change::Fewer,
            _ => return None,
        };
        let newer = new.or(old)?;
        let parent = newer.parent.clone().or_else(|| old?.parent.clone());
        let text = if newer.text.is_empty() { &old?.text } else { &newer.text };
        let text = Arc::clone(text);
        Some(StatementChange { change, fingerprint: *fingerprint, text, before: was, after: is, parent })
    };
    let mut changes: Vec<_> = fingerprints.into_iter().filter_map(change_of).collect();
    changes.sort_by_key(|it| (it.change, Reverse(it.delta().unsigned_abs()), it.fingerprint));
    changes
}

/// A statement in a line: without a long list of columns, and cut.
#[must_use]
pub fn abbreviated(text: &str) -> String {
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shorter = match columns_end(&folded) {
        Some(end) if end > "SELECT ".len() + COLUMNS_CHARS => {
            format!("SELECT …{}", folded.get(end..).unwrap_or_default())
        }
        _ => folded,
    };
    match shorter.char_indices().nth(LINE_CHARS) {
        Some((cut, _)) => format!("{}…", shorter.get(..cut).unwrap_or_default()),
        None => shorter,
    }
}

/// Where the list of columns of a SELECT ends: before the FROM that is in no parentheses.
fn columns_end(text: &str) -> Option<usize> {
    if !text.get(..7)?.eq_ignore_ascii_case("SELECT ") {
        return None;
    }
    let mut depth = 0_i32;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b' ' if depth == 0
                && text.get(at..at + 6).is_some_and(|it| it.eq_ignore_ascii_case(" FROM ")) =>
            {
                return Some(at);
            }
            _ => {}
        }
    }
    None
}
