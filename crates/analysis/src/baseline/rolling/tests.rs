//! Rolling baselines fed with scripted requests on a clock of their own.

use super::*;
use crate::record::RequestPart;
use crate::testing::{Script, fingerprint};

const POSTS: &str = "SELECT id, author_id FROM posts LIMIT $1";
const USERS: &str = "SELECT name FROM users WHERE id = $1";

/// One route on a clock whose requests come in every second, in windows of 100 seconds.
struct Bench {
    baselines: RollingBaselines,
    now_ms: u64,
    version: &'static str,
}

impl Bench {
    fn new() -> Self {
        let settings = RollingSettings { window_ms: 100_000, requests_min: 20, ratio: 1.5 };
        Self { baselines: RollingBaselines::new(settings), now_ms: 1_000_000, version: "" }
    }

    /// A request that reads posts, and one user for each of `users`.
    fn request(&mut self, route: &str, users: u32) -> Judgement {
        let mut script = Script::new();
        script.route(route).read(POSTS);
        script.repeat(users, |script, n| {
            script.keyed(USERS, n.into());
        });
        let mut part = script.part();
        part.origin.version = self.version.into();
        self.observe(part)
    }

    fn observe(&mut self, part: RequestPart) -> Judgement {
        self.now_ms += 1_000;
        let text =
            |wanted| [POSTS, USERS].into_iter().find(|text| fingerprint(text) == wanted).map(Arc::from);
        self.baselines.observe(&Request::new(part), self.now_ms, &text)
    }

    /// What `times` requests show that is new.
    fn requests(&mut self, times: u32, users: u32) -> Vec<Judgement> {
        let judgements = (0..times).map(|_| self.request("/page", users));
        judgements.filter(|judgement| !matches!(judgement, Judgement::Quiet | Judgement::Skipped)).collect()
    }

    fn standing(&self) -> RouteStanding {
        self.baselines.standings().next().expect("a route")
    }
}

fn only_regression(judgements: &[Judgement]) -> &Detection {
    match judgements.first() {
        Some(Judgement::Regressed(detection)) => detection,
        other => panic!("no regression: {other:?}"),
    }
}

#[test]
fn a_route_that_runs_more_is_a_regression_that_names_what_was_added() {
    let mut bench = Bench::new();
    bench.version = "1.4.1";
    assert!(bench.requests(130, 1).is_empty());
    assert_eq!((bench.standing().baseline, bench.standing().regression), (Some(2.0), None));
    bench.version = "1.4.2";
    let parent = ParentLink { fingerprint: fingerprint(POSTS), column: "posts.author_id".into() };
    bench.baselines.link(&"/page".into(), Attribution::Trace, fingerprint(USERS), parent);
    let told = bench.requests(60, 21);
    let detection = only_regression(&told);
    assert_eq!((detection.kind, detection.severity), (FindingKind::QueryCountRegression, Severity::Critical));
    assert_eq!((detection.fingerprint, detection.repeat), (fingerprint(USERS), 22));
    let regression = detection.regression.as_ref().unwrap();
    assert_eq!(regression.since_version.as_deref(), Some("1.4.2"));
    assert_eq!(regression.previous_version.as_deref(), Some("1.4.1"));
    assert_eq!(regression.ratio(), 11.0);
    let lines: Vec<_> = regression.statements.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["+20 × SELECT name FROM users WHERE id = $1, parent posts.author_id"]);
    assert!(detection.fix.contains("Since version 1.4.2"), "{}", detection.fix);
    assert!(detection.fix.contains("22.0 statements instead of 2.0"), "{}", detection.fix);
}

#[test]
fn a_baseline_is_frozen_until_the_regression_is_over() {
    let mut bench = Bench::new();
    bench.requests(130, 1);
    let told = bench.requests(500, 21);
    let id = only_regression(&told).id;
    assert!(told.iter().all(|it| matches!(it, Judgement::Regressed(again) if again.id == id)));
    assert_eq!(bench.standing().baseline, Some(2.0));
    assert_eq!(bench.standing().ratio(), Some(11.0));
    let told = bench.requests(250, 1);
    assert!(matches!(told.last(), Some(Judgement::Healed(healed)) if *healed == id), "{told:?}");
    assert_eq!((bench.standing().regression, bench.standing().current), (None, Some(2.0)));
}

#[test]
fn what_is_accepted_becomes_the_baseline() {
    let mut bench = Bench::new();
    bench.requests(130, 1);
    let id = only_regression(&bench.requests(190, 21)).id;
    assert!(!bench.baselines.accept(FindingId(id.0 ^ 1), bench.now_ms));
    assert!(bench.baselines.accept(id, bench.now_ms));
    bench.requests(130, 21);
    assert_eq!((bench.standing().baseline, bench.standing().regression), (Some(22.0), None));
    assert!(bench.requests(300, 21).is_empty());
}

#[test]
fn single_odd_requests_and_small_differences_are_none() {
    let mut bench = Bench::new();
    bench.requests(130, 1);
    for _ in 0..20 {
        assert!(bench.requests(9, 1).is_empty());
        assert!(bench.requests(1, 800).is_empty(), "one in ten");
    }
    let mut bench = Bench::new();
    bench.requests(130, 1);
    assert!(bench.requests(300, 2).is_empty(), "three instead of two statements");
}

#[test]
fn few_requests_say_nothing() {
    let mut bench = Bench::new();
    bench.requests(130, 1);
    bench.baselines.deploy("2", bench.now_ms);
    assert!(bench.requests(19, 21).is_empty());
    let told = bench.requests(1, 21);
    assert_eq!(only_regression(&told).regression.as_ref().unwrap().since_version.as_deref(), Some("2"));
}

#[test]
fn instances_of_both_versions_side_by_side_do_not_reset_the_window() {
    let mut bench = Bench::new();
    bench.version = "1";
    bench.requests(130, 1);
    let mut told = Vec::new();
    for n in 0..60 {
        bench.version = if n % 2 == 0 { "2" } else { "1" };
        told.extend(bench.requests(1, if n % 2 == 0 { 21 } else { 1 }));
    }
    assert_eq!(only_regression(&told).regression.as_ref().unwrap().since_version.as_deref(), Some("2"));
}

#[test]
fn a_restart_keeps_baseline_and_regression() {
    let mut bench = Bench::new();
    bench.version = "1";
    bench.requests(130, 1);
    bench.version = "2";
    let id = only_regression(&bench.requests(60, 21)).id;
    let mut other = Bench::new();
    for (key, generation, version, open) in bench.baselines.stored() {
        other.baselines.restore(key.clone(), generation, Arc::clone(version), open.cloned(), 0);
    }
    other.version = "2";
    assert_eq!(other.standing().baseline, Some(2.0));
    let told = other.requests(60, 21);
    let again = only_regression(&told);
    assert_eq!((again.id, again.regression.as_ref().unwrap().since_version.as_deref()), (id, Some("2")));
}

#[test]
fn a_flood_of_routes_pushes_out_nothing_that_was_learned() {
    let mut bench = Bench::new();
    bench.requests(130, 1);
    for n in 0..3 * BASELINE_ROUTES_MAX {
        bench.request(&format!("/{n}"), 1);
    }
    assert_eq!(bench.baselines.routes.len(), BASELINE_ROUTES_MAX);
    let page = bench.baselines.standings().find(|it| &*it.key.0 == "/page").expect("the route");
    assert_eq!(page.baseline, Some(2.0));
    let guessed = RequestPart { attribution: Attribution::Idle, ..Script::new().read(POSTS).part() };
    bench.observe(guessed);
    assert!(bench.baselines.standings().all(|it| it.key.1 == Attribution::Trace));
}

#[test]
fn statements_of_a_route_are_bounded() {
    let mut bench = Bench::new();
    for n in 0..150_u32 {
        let mut script = Script::new();
        for m in 0..5 {
            script.read(&format!("SELECT {m} FROM t{n}"));
        }
        bench.observe(script.part());
    }
    let history = bench.baselines.routes.values().next().unwrap();
    assert!(history.baseline().route.statements.len() <= BASELINE_STATEMENTS_MAX);
    assert!(history.window.route.statements.len() <= BASELINE_STATEMENTS_MAX);
}

#[test]
fn versions_come_from_tags_or_the_name_of_the_application() {
    let origin = |version: &str, name: &str| crate::record::Origin {
        version: version.into(),
        application_name: name.into(),
        ..crate::record::Origin::default()
    };
    for (version, name, expected) in [
        ("7", "shop@1.4.2", Some("7")),
        ("", "shop@1.4.2", Some("1.4.2")),
        ("", "shop/v2.0-rc1", Some("v2.0-rc1")),
        ("", "shop/worker", None),
        ("", "psql", None),
        ("", "me@1 2", None),
    ] {
        assert_eq!(origin(version, name).version(), expected, "{version} {name}");
    }
}
