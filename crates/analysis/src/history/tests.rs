//! Growth over requests, with numbers that people can check.

use super::*;
use crate::settings::FindingSettings;
use crate::testing::{Script, fingerprint};

const LIST: &str = "SELECT id FROM posts";
const CHILD: &str = "SELECT name FROM authors WHERE id = $1";

/// A list of `rows`, then `children` look-ups.
fn request(rows: i64, children: i64) -> Script {
    let mut script = Script::new();
    script.rows(LIST, &["posts.id"], (0..rows).map(|n| vec![90_000 + n]).collect());
    for n in 0..children {
        script.keyed(CHILD, 5_000 + n);
    }
    script
}

fn growth_of(requests: impl IntoIterator<Item = (i64, i64)>) -> Option<Growth> {
    let mut history = History::new();
    for (rows, children) in requests {
        request(rows, children).remember(&mut history);
    }
    let settings = FindingSettings::default().growth;
    history.growth("/page", Some(fingerprint(LIST)), fingerprint(CHILD), &settings)
}

#[test]
fn executions_per_row_are_the_slope() {
    let growth = growth_of((0..40).map(|n| (n % 4 + 2, n % 4 + 2))).expect("enough requests");
    assert!((growth.slope - 1.0).abs() < 1e-9 && growth.fit > 0.999, "{growth:?}");
    let half = growth_of((0..40).map(|n| (2 * (n % 4 + 2), n % 4 + 2))).expect("enough requests");
    assert!((half.slope - 0.5).abs() < 1e-9, "{half:?}");
    let flat = growth_of((0..40).map(|n| (n % 4 + 2, 3))).expect("enough requests");
    assert!(flat.slope.abs() < 1e-9 && flat.fit.abs() < 1e-9, "{flat:?}");
}

#[test]
fn few_requests_or_sizes_say_nothing() {
    assert_eq!(growth_of((0..29).map(|n| (n % 4 + 2, n % 4 + 2))), None);
    assert_eq!(growth_of((0..60).map(|n| (n % 2 + 2, n % 2 + 2))), None);
}

#[test]
fn requests_without_children_count() {
    let growth = growth_of((0..40).map(|n| (n % 4 + 2, if n % 4 == 0 { 0 } else { 3 }))).expect("enough");
    assert!(growth.fit < 0.9, "{growth:?}");
}

#[test]
fn a_repaired_page_is_believed() {
    let before = (0..600).map(|n| (n % 6 + 2, n % 6 + 2));
    let after = (0..3_000).map(|n| (n % 6 + 2, 0));
    let growth = growth_of(before.chain(after)).expect("enough requests");
    assert!(growth.slope < 0.2, "{growth:?}");
}

#[test]
fn requests_of_many_shapes_are_remembered_quickly() {
    let mut script = Script::new();
    script.repeat(1_000, |script, n| {
        script.read(&format!("SELECT a{n} FROM t"));
    });
    script.repeat(1_000, |script, n| {
        script.keyed(&format!("SELECT b{} FROM t WHERE id = $1", n % 500), n.into());
    });
    // Each loop paired with each list would be half a million.
    let mut history = History::new();
    script.remember(&mut history);
    assert!(history.routes.values().all(|route| route.pairs.len() == GROWTH_PAIRS_MAX));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut history = History::new();
    for n in 0..GROWTH_ROUTES_MAX + 20 {
        let mut script = request(3, 3);
        script.route(&format!("/{n}"));
        script.remember(&mut history);
    }
    assert_eq!(history.routes.len(), GROWTH_ROUTES_MAX);
    for n in 0..GROWTH_PAIRS_MAX + 20 {
        let mut script = request(3, 3);
        script.repeat(3, |script, key| {
            script.keyed(&format!("SELECT a{n} FROM t WHERE id = $1"), key.into());
        });
        script.remember(&mut history);
    }
    assert!(history.routes.values().all(|route| route.pairs.len() <= GROWTH_PAIRS_MAX));
    for n in 0..LATENCIES_MAX as u64 + 20 {
        history.observed = n;
        history.observe_latency(Fingerprint(n), 1_000);
    }
    assert_eq!(history.latencies.len(), LATENCIES_MAX);
}
