//! Baselines made of scripted requests, and what changed between them.

use pgtally_fingerprint::Kind;

use super::*;

const LIMITS: BaselineLimits = BaselineLimits { routes: 4, statements_per_route: 3, statements: 8 };
const POSTS: &str = "SELECT id, author_id, title FROM posts ORDER BY id LIMIT $1";
const USERS: &str = "SELECT id, name, email, created_at FROM users WHERE id = $1";

fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint(text.bytes().fold(7, |hash, byte| hash * 31 % 1_000_003 + u64::from(byte)))
}

fn request(route: &str, statements: &[(&str, u32)]) -> Observed {
    let summary = |(text, count): &(&str, u32)| StatementSummary {
        fingerprint: fingerprint(text),
        kind: Kind::Select,
        count: *count,
        database_ns: 1_000 * u64::from(*count),
        rows: u64::from(*count),
    };
    Observed {
        route: route.into(),
        attribution: Attribution::Guc,
        queries: statements.iter().map(|(_, count)| u64::from(*count)).sum(),
        duplicates: 0,
        database_ns: 1_000,
        statements: statements.iter().map(summary).collect(),
    }
}

fn baseline(requests: &[Observed]) -> Baseline {
    let mut baseline = Baseline::new(LIMITS);
    for request in requests {
        let texts = [POSTS, USERS, "SELECT $1", "DELETE FROM log"];
        let text = |wanted| texts.into_iter().find(|text| fingerprint(text) == wanted).map(Arc::from);
        baseline.observe(request, &text);
    }
    baseline
}

fn lines(comparison: &Comparison) -> Vec<String> {
    let show = |range: Option<CountRange>| range.map_or("none".into(), |range| range.to_string());
    let mut lines = Vec::new();
    for route in &comparison.routes {
        lines.push(format!("{}: {} → {}", route.route, show(route.before), show(route.after)));
        lines.extend(route.statements.iter().map(|it| format!("  {} {it}", it.change.name())));
    }
    lines
}

#[test]
fn added_statements_come_first_then_totals() {
    let before = baseline(&[request("/posts", &[(POSTS, 1), ("SELECT $1", 2), ("DELETE FROM log", 1)])]);
    let mut after = baseline(&[request("/posts", &[(POSTS, 3), (USERS, 20)])]);
    let parent = ParentLink { fingerprint: fingerprint(POSTS), column: "posts.author_id".into() };
    after.link(&"/posts".into(), Attribution::Guc, fingerprint(USERS), parent);
    let comparison = compare(&before, &after, &Tolerance::default());
    assert_eq!(
        lines(&comparison),
        [
            "/posts: 4 → 23",
            "  added +20 × SELECT … FROM users WHERE id = $1, parent posts.author_id",
            "  more +2 × SELECT id, author_id, title FROM posts ORDER BY id LIMIT $1",
            "  removed −2 × SELECT $1",
            "  removed −1 × DELETE FROM log",
        ]
    );
    assert_eq!(comparison.regressions().count(), 1);
}

#[test]
fn what_stays_in_its_range_has_not_changed() {
    let before = baseline(&[request("/posts", &[(POSTS, 1)]), request("/posts", &[(POSTS, 1), (USERS, 5)])]);
    for counts in [vec![(POSTS, 1)], vec![(POSTS, 1), (USERS, 3)]] {
        let comparison = compare(&before, &baseline(&[request("/posts", &counts)]), &Tolerance::default());
        assert_eq!((lines(&comparison), comparison.unchanged), (vec![], 1), "{counts:?}");
    }
    let more = baseline(&[request("/posts", &[(POSTS, 1), (USERS, 6)])]);
    assert_eq!(compare(&before, &more, &Tolerance::default()).regressions().count(), 1);
    let tolerated = Tolerance { count: 0, share: 0.2 };
    assert_eq!(compare(&before, &more, &tolerated).routes, []);
}

#[test]
fn new_routes_and_fewer_statements_are_no_regressions() {
    let before = baseline(&[request("/old", &[(POSTS, 1)]), request("/posts", &[(POSTS, 1), (USERS, 9)])]);
    let after = baseline(&[request("/new", &[(POSTS, 1)]), request("/posts", &[(POSTS, 1), (USERS, 2)])]);
    let comparison = compare(&before, &after, &Tolerance::default());
    assert_eq!(
        lines(&comparison),
        [
            "/posts: 10 → 3",
            "  fewer −7 × SELECT … FROM users WHERE id = $1",
            "/old: 1 → none",
            "/new: none → 1"
        ]
    );
    assert_eq!(comparison.regressions().count(), 0);
}

#[test]
fn levels_are_never_mixed() {
    let mut unit = request("/posts", &[(USERS, 9)]);
    unit.attribution = Attribution::Session;
    let before = baseline(&[request("/posts", &[(POSTS, 1)])]);
    let after = baseline(&[request("/posts", &[(POSTS, 1)]), unit]);
    let comparison = compare(&before, &after, &Tolerance::default());
    assert_eq!((lines(&comparison), comparison.unchanged), (vec!["/posts: none → 9".into()], 1));
}

#[test]
fn counts_that_grow_with_the_data_are_named_without_a_threshold() {
    let small = baseline(&[request("/posts", &[(POSTS, 1), (USERS, 1)]), request("/flat", &[(POSTS, 1)])]);
    let large = baseline(&[
        request("/posts", &[(POSTS, 1), (USERS, 2), ("SELECT $1", 1)]),
        request("/flat", &[(POSTS, 1)]),
    ]);
    let growth = compare(&small, &large, &Tolerance::default()).growth();
    let grown: Vec<_> = growth.iter().map(|it| (&*it.route, it.statements.len())).collect();
    assert_eq!(grown, [("/posts", 1)], "what runs once for the first rows is no loop");
    assert_eq!(growth[0].statements[0].fingerprint, fingerprint(USERS));
}

#[test]
fn several_captures_make_the_same_baseline_in_any_order() {
    let one = baseline(&[request("/posts", &[(POSTS, 1)])]);
    let two = baseline(&[request("/posts", &[(POSTS, 2), (USERS, 5)]), request("/b", &[(USERS, 1)])]);
    let (mut forth, mut back) = (one.clone(), two.clone());
    forth.absorb(&two);
    back.absorb(&one);
    assert_eq!(forth, back);
    let route = forth.route(&"/posts".into(), Attribution::Guc).unwrap();
    assert_eq!((route.requests, route.queries.max(), route.repeat_max, route.unrecorded), (2, 7, 5, 0));
    assert_eq!(route.range_of(fingerprint(USERS)), CountRange { min: 0, max: 5 });
    assert_eq!(route.range_of(fingerprint(POSTS)), CountRange { min: 1, max: 2 });
}

#[test]
fn everything_is_bounded_and_what_is_dropped_is_counted() {
    let texts: Vec<String> = (0..5).map(|n| format!("SELECT {n}")).collect();
    let statements: Vec<_> = texts.iter().map(|text| (text.as_str(), 1)).collect();
    let mut full = Baseline::new(LIMITS);
    for route in 0..6 {
        full.observe(&request(&format!("/{route}"), &statements), &|_| None);
    }
    assert_eq!((full.len(), full.statements), (4, 8));
    assert_eq!((full.routes_dropped(), full.statements_dropped()), (2, 12));
    let copies = full.routes().map(|((route, _), it)| (Arc::clone(route), it.clone())).collect::<Vec<_>>();
    let mut other = Baseline::new(BaselineLimits { statements_per_route: 2, ..LIMITS });
    for (route, it) in copies {
        other.insert(Arc::clone(&route), Attribution::Guc, it.clone());
        other.insert(route, Attribution::Guc, it);
    }
    assert_eq!((other.len(), other.statements), (4, 6), "the fourth has none");
    other.remove(&"/0".into(), Attribution::Guc);
    assert_eq!((other.len(), other.statements), (3, 4));
}

#[test]
fn statements_that_were_not_told_apart_are_counted() {
    let mut long = request("/posts", &[(POSTS, 3)]);
    long.queries = 10;
    let mut twice = baseline(std::slice::from_ref(&long));
    twice.absorb(&baseline(&[long]));
    let route = twice.route(&"/posts".into(), Attribution::Guc).unwrap();
    assert_eq!((route.queries.max(), route.unrecorded), (10, 14));
}

#[test]
fn lines_are_short_and_keep_what_tells_statements_apart() {
    for (text, expected) in [
        ("SELECT a FROM t", "SELECT a FROM t".to_owned()),
        ("SELECT (SELECT max(x) FROM long_name_of_a_table), b FROM t", "SELECT … FROM t".to_owned()),
        ("UPDATE t\n  SET a = $1", "UPDATE t SET a = $1".to_owned()),
        ("SELECT", "SELECT".to_owned()),
        ("é SELECT", "é SELECT".to_owned()),
    ] {
        assert_eq!(compare::abbreviated(text), expected);
    }
    let long = format!("DELETE FROM t WHERE {}", "é".repeat(500));
    assert_eq!(compare::abbreviated(&long).chars().count(), 121);
}
