//! What earlier requests add: loops by growth, demotion, statements slow for themselves, and loops shown as one.

use super::{AUTHOR, POSTS, describe, posts_and_authors};
use crate::finding::{Confidence, FindingId, FindingKind, Severity};
use crate::history::History;
use crate::settings::FindingSettings;
use crate::testing::{Script, fingerprint};

fn evaluate(script: &Script, history: &History) -> Vec<String> {
    script.evaluate_after(history, &FindingSettings::default()).iter().map(describe).collect()
}

/// `rows` posts and `children` look-ups of keys from elsewhere.
fn unlinked(rows: i64, children: i64) -> Script {
    let mut script = Script::new();
    script.keyed_rows(POSTS, 1, &["posts.id", "posts.x"], (1..=rows).map(|n| vec![n, 2]).collect());
    for n in 0..children {
        script.keyed(AUTHOR, 90_000 + n);
    }
    script
}

fn after(requests: impl IntoIterator<Item = Script>) -> History {
    let mut history = History::new();
    requests.into_iter().for_each(|it| it.remember(&mut history));
    history
}

#[test]
fn a_loop_that_grows_is_found_however_short() {
    let history = after((0..30).map(|n| unlinked(n % 3 + 2, n % 3 + 2)));
    let found = unlinked(2, 2).evaluate_after(&history, &FindingSettings::default());
    assert_eq!(found.iter().map(describe).collect::<Vec<_>>(), ["n_plus_one medium info 2/2 "]);
    let growth = found[0].growth.expect("known");
    assert!(growth.slope > 0.99 && growth.fit > 0.99 && growth.requests == 30, "{growth:?}");
    assert_eq!(found[0].parent.as_ref().map(|it| it.fingerprint), Some(fingerprint(POSTS)));
    // Linked it is proven.
    assert_eq!(
        evaluate(&posts_and_authors(&[11, 12]), &history),
        ["n_plus_one high info 2/2 posts.author_id"]
    );
    // One request fewer, or only two sizes, prove nothing.
    let early = after((0..29).map(|n| unlinked(n % 3 + 2, n % 3 + 2)));
    assert!(evaluate(&unlinked(2, 2), &early).is_empty());
    let sizes = after((0..60).map(|n| unlinked(n % 2 + 2, n % 2 + 2)));
    assert!(evaluate(&unlinked(2, 2), &sizes).is_empty());
}

#[test]
fn a_request_without_the_list_has_no_loop_over_it() {
    let history = after((0..30).map(|n| unlinked(n % 3 + 2, n % 3 + 2)));
    let mut script = Script::new();
    script.keyed(AUTHOR, 90_000).keyed(AUTHOR, 90_001);
    assert!(evaluate(&script, &history).is_empty());
}

#[test]
fn tenants_do_not_grow_into_a_loop() {
    let tenants = |number: i64| {
        let mut script = Script::new();
        script.rows("SELECT id FROM tenants", &["tenants.id"], (0..number).map(|n| vec![n]).collect());
        for tenant in 0..number {
            script.environment(tenant as u64 + 1).keyed(AUTHOR, 90_000).keyed(AUTHOR, 90_001);
        }
        script
    };
    let history = after((0..30).map(|n| tenants(n % 3 + 2)));
    assert!(evaluate(&tenants(3), &history).is_empty());
}

#[test]
fn look_ups_that_never_grow_are_information() {
    let authors: Vec<i64> = (11..17).collect();
    let proven = || posts_and_authors(&authors);
    assert_eq!(evaluate(&proven(), &History::new()), ["n_plus_one high warning 6/6 posts.author_id"]);
    let flat = after((0..40).map(|n| unlinked(n % 5 + 6, 6)));
    assert_eq!(evaluate(&proven(), &flat), ["n_plus_one high info 6/6 posts.author_id"]);
    // From ten on they are too many for anybody's hand.
    let many = posts_and_authors(&(11..21).collect::<Vec<i64>>());
    assert_eq!(evaluate(&many, &flat), ["n_plus_one high warning 10/10 posts.author_id"]);
}

#[test]
fn a_statement_may_be_slow_for_itself() {
    let text = "SELECT a FROM t WHERE b > $1";
    let run = |ms: u64| {
        let mut script = Script::new();
        script.cost_ms(ms, 0).read(text);
        script
    };
    let history = after((0..60).map(|_| run(5)));
    let found = run(60).evaluate_after(&history, &FindingSettings::default());
    assert_eq!(found.iter().map(describe).collect::<Vec<_>>(), ["slow_statement high info 1/1"]);
    assert!(found[0].fix.contains("usually below"), "{}", found[0].fix);
    assert!(evaluate(&run(49), &history).is_empty(), "below the warning line");
    assert!(evaluate(&run(60), &after((0..60).map(|_| run(30)))).is_empty(), "as always");
    assert!(evaluate(&run(60), &after((0..10).map(|_| run(5)))).is_empty(), "too little is known");
    assert_eq!(evaluate(&run(120), &history), ["slow_statement high warning 1/1"]);
}

#[test]
fn statements_of_one_loop_are_shown_as_one() {
    let mut script = Script::new();
    let rows = (1..=6).map(|n| vec![7_000 + n, 9_000 + n]).collect();
    script.keyed_rows(POSTS, 1, &["posts.id", "posts.x"], rows);
    for n in 1..=6 {
        script.keyed(AUTHOR, 9_000 + n);
        if n != 3 {
            script.keyed("SELECT count(*) FROM likes WHERE post_id = $1", 7_000 + n);
        }
    }
    let found = script.evaluate(&FindingSettings::default());
    let id = FindingId::of_loop("/page", fingerprint(POSTS));
    assert_eq!(found.iter().map(|it| it.loop_id).collect::<Vec<_>>(), [Some(id), Some(id)]);

    // One after the other they are two loops.
    let mut apart = Script::new();
    let rows = (1..=6).map(|n| vec![7_000 + n, 9_000 + n]).collect();
    apart.keyed_rows(POSTS, 1, &["posts.id", "posts.x"], rows);
    for n in 1..=6 {
        apart.keyed(AUTHOR, 9_000 + n);
    }
    for n in 1..=6 {
        apart.keyed("SELECT count(*) FROM likes WHERE post_id = $1", 7_000 + n);
    }
    let found = apart.evaluate(&FindingSettings::default());
    assert_eq!(found.iter().map(|it| it.loop_id).collect::<Vec<_>>(), [None, None]);
}

#[test]
fn routes_may_have_thresholds_of_their_own() {
    let mut settings = FindingSettings::default();
    let lenient = FindingSettings { linked_repeats_min: 9, ..FindingSettings::default() };
    settings.routes.insert("/page".into(), lenient);
    let script = posts_and_authors(&[11, 12, 13, 14, 15]);
    assert!(script.evaluate(&settings).is_empty());
    let mut other = posts_and_authors(&[11, 12, 13, 14, 15]);
    other.route("/other");
    let found = other.evaluate(&settings).remove(0);
    assert_eq!((found.kind, found.confidence), (FindingKind::NPlusOne, Confidence::High));
    assert_eq!(found.severity, Severity::Warning);
}
