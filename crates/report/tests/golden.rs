//! Every format of one report against the file beside it, and the published schemas against the types.
//!
//! `UPDATE_GOLDEN=1 cargo test -p pgtally-report --test golden` writes the files; look at what has changed.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the test runs in an environment, the crate does not")]

use std::fs;
use std::path::{Path, PathBuf};

use pgtally_report::{
    BaselineFile, Budgets, Capture, Differences, Finding, Judging, Parent, Queries, Report, Route, Statement,
};

const POSTS: (&str, &str) = ("28e3655c9c110541", "SELECT id, author_id, title, body FROM posts ORDER BY id");
const USERS: (&str, &str) = ("d78bc90ba4257186", "SELECT name FROM users WHERE id = $1");
/// A statement as an attacker would name a column, or a comment on a change would show it.
const HOSTILE: (&str, &str) = (
    "00000000000000ff",
    "SELECT \"</code></pre><script>alert(1)</script>`]]>\u{1b}[31m\u{202e}::error::%0A|\" FROM t WHERE a = $1",
);

fn statement((fingerprint, text): (&str, &str), count: u32) -> Statement {
    Statement {
        fingerprint: fingerprint.into(),
        statement: text.into(),
        requests: 1,
        min: count,
        max: count,
        executions: count.into(),
        db_ms: 0.25 * f64::from(count),
        rows: count.into(),
        parent: None,
    }
}

fn route(name: &str, attribution: &str, statements: Vec<Statement>) -> Route {
    let queries: u32 = statements.iter().map(|it| it.max).sum();
    let queries = u64::from(queries);
    Route {
        route: name.into(),
        attribution: attribution.into(),
        requests: 1,
        queries: Queries { min: queries, median: queries, max: queries, distribution: [(queries, 1)].into() },
        repeat_max: statements.iter().map(|it| it.max).max().unwrap_or(0),
        db_ms: 7.5,
        db_ms_max: 7.5,
        statements,
        ..Route::default()
    }
}

fn finding(id: &str, kind: &str, route: &str, (fingerprint, text): (&str, &str), repeat: u32) -> Finding {
    Finding {
        id: id.into(),
        kind: kind.into(),
        severity: "warning".into(),
        confidence: "high".into(),
        state: "new".into(),
        route: route.into(),
        attribution: "guc".into(),
        fingerprint: fingerprint.into(),
        statement: Some(text.into()),
        repeat,
        distinct: repeat,
        requests: 1,
        wasted_ms: 4.5,
        fix: "Post.objects.select_related(\"author\") reads both at once.".into(),
        ..Finding::default()
    }
}

/// A test that reads the authors of its posts one by one, a hostile one, and one where all is well.
fn capture() -> Capture {
    let mut users = statement(USERS, 20);
    users.parent = Some(Parent { fingerprint: POSTS.0.into(), column: "posts.author_id".into() });
    let n_plus_one = Finding {
        linked_column: Some("posts.author_id".into()),
        linked_param: Some(1),
        parent_fingerprint: Some(POSTS.0.into()),
        parent_statement: Some(POSTS.1.into()),
        rewrite: Some("SELECT id, name FROM users WHERE id = ANY($1)".into()),
        source_location: Some("blog/views.py:42".into()),
        ..finding("a94ab8462c773523", "n_plus_one", "test_blog.py::test_index", USERS, 20)
    };
    let hostile = Finding {
        source_location: Some("a b,c:7".into()),
        ..finding("0000000000000002", "duplicate", "<img src=x>\n::warning::", HOSTILE, 3)
    };
    let acked = Finding {
        state: "acked".into(),
        reason: Some("at most three shops".into()),
        ..finding("0000000000000003", "duplicate", "test_fine", POSTS, 2)
    };
    let mut capture = Capture {
        schema_version: 1,
        pgtally: "0.1.0".into(),
        complete: true,
        sessions: 2,
        statements: 26,
        routes: vec![
            route("<img src=x>\n::warning::", "guc", vec![statement(HOSTILE, 3)]),
            route("test_blog.py::test_index", "guc", vec![users, statement(POSTS, 1)]),
            route("test_fine", "guc", vec![statement(POSTS, 2)]),
        ],
        findings: vec![acked, hostile, n_plus_one],
        ..Capture::default()
    };
    capture.sort();
    capture
}

/// What the same tests ran before.
fn before() -> Capture {
    Capture {
        findings: Vec::new(),
        routes: vec![
            route("test_blog.py::test_index", "guc", vec![statement(POSTS, 1)]),
            route("test_fine", "guc", vec![statement(POSTS, 2)]),
        ],
        ..capture()
    }
}

fn report() -> Report {
    let budgets = "[defaults]\nmax_repeat = 10\n[budgets.\"test_blog.py::*\"]\nmax_queries = 4\n";
    let judging = Judging {
        budgets: Some(Budgets::parse(budgets).unwrap()),
        baseline: Some(BaselineFile::of(&before())),
        ..Judging::default()
    };
    pgtally_report::judge(&capture(), &judging)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[track_caller]
fn check(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{}", path.display());
}

#[test]
fn every_format_is_as_it_was() {
    let report = report();
    assert_eq!(report.exit_code, 10);
    for (name, actual) in [
        ("report.txt", pgtally_report::text(&report)),
        ("report.json", report.write()),
        ("report.md", pgtally_report::markdown(&report)),
        ("report.xml", pgtally_report::junit(&report)),
        ("report.sarif", pgtally_report::sarif(&report)),
        ("report.html", pgtally_report::html(&report)),
        ("annotations.txt", pgtally_report::annotations(&report)),
    ] {
        check(&folder().join(name), &actual);
    }
}

#[test]
fn differences_are_as_they_were() {
    let changes = pgtally_report::changes(&before(), &capture(), &Default::default());
    check(&folder().join("diff.txt"), &pgtally_report::changes_text(&changes, false));
    check(&folder().join("diff.md"), &pgtally_report::changes_markdown(&changes, false));
    check(&folder().join("diff.json"), &Differences::of(changes).write());
    let mut large = capture();
    large.routes[1].statements[0].max = 40;
    large.routes[1].queries.max = 41;
    let growth = pgtally_report::growth(&capture(), &large);
    check(&folder().join("growth.txt"), &pgtally_report::changes_text(&growth, true));
    let none = pgtally_report::growth(&large, &large);
    assert_eq!(pgtally_report::changes_text(&none, true), "no count grows with the data\n");
}

#[test]
fn equal_captures_make_equal_reports() {
    let again = Capture::read(&capture().write()).unwrap();
    assert_eq!(again, capture());
    let judging = Judging::default();
    let (one, two) = (pgtally_report::judge(&capture(), &judging), pgtally_report::judge(&again, &judging));
    assert_eq!(pgtally_report::html(&one), pgtally_report::html(&two));
    assert_eq!(one.write(), two.write());
    assert_eq!(pgtally_report::junit(&one), pgtally_report::junit(&two));
}

#[test]
fn the_guilty_statement_and_its_fix_are_on_one_screen() {
    let text = pgtally_report::text(&report());
    assert!(text.lines().count() <= 24, "{text}");
    for expected in [
        "OVER BUDGET  test_blog.py::test_index: 21 statements, 4 allowed",
        "+20 × SELECT name FROM users WHERE id = $1, parent posts.author_id   (new)",
        "at blog/views.py:42",
        "fix: Post.objects.select_related",
        "instead: SELECT id, name FROM users",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

/// A line of Markdown without its code spans: a span ends at as many backticks as it began with.
fn outside_code(line: &str) -> String {
    let mut rest = line.replace("\\`", "");
    let mut outside = String::new();
    while let Some(at) = rest.find('`') {
        outside.push_str(&rest[..at]);
        let fence: String = rest[at..].chars().take_while(|c| *c == '`').collect();
        let inside = &rest[at + fence.len()..];
        let is_end =
            |end: &usize| !inside[..*end].ends_with('`') && !inside[end + fence.len()..].starts_with('`');
        let end = inside.match_indices(&fence).map(|(end, _)| end).find(is_end).expect("an open code span");
        rest = inside[end + fence.len()..].to_owned();
    }
    outside + &rest
}

#[test]
fn hostile_texts_stay_texts() {
    let report = report();
    let markdown = pgtally_report::markdown(&report);
    assert!(!markdown.contains('\u{202e}') && !markdown.contains('\u{1b}'), "{markdown}");
    let outside: String = markdown.lines().map(outside_code).collect();
    assert!(
        markdown.contains("<img") && !outside.contains("<img") && !outside.contains("<script"),
        "{outside}"
    );
    let html = pgtally_report::html(&report);
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("http://"), "{html}");
    assert!(!html.chars().any(|c| c.is_control() && c != '\n') && !html.contains('\u{202e}'), "{html}");
    let text = pgtally_report::text(&report);
    assert!(!text.chars().any(|c| c.is_control() && c != '\n') && !text.contains('\u{202e}'), "{text}");
    let commands = pgtally_report::annotations(&report);
    assert!(commands.lines().all(|line| line.starts_with("::error ") || line.starts_with("::warning ")));
    assert_eq!(commands.lines().filter(|line| line.contains("::error::%0A")).count(), 0);
    let xml = pgtally_report::junit(&report);
    assert!(!xml.contains('\u{1b}') && !xml.contains("<script"), "{xml}");
}

#[test]
fn captures_of_other_versions_are_refused_in_words() {
    let of_version = |version: &str| capture().write().replacen("\"schema_version\": 1", version, 1);
    for (text, words) in [
        (
            of_version("\"schema_version\": 0"),
            "schema_version 0, and this pgtally reads 1: run the program again",
        ),
        (of_version("\"schema_version\": 2"), "reads 1: read it with the newer pgtally"),
        (of_version("\"x\": 1"), "this is no capture of pgtally: it has no schema_version"),
        ("[1, 2".into(), "this is no capture of pgtally"),
        ("{\"schema_version\": 1}".into(), "this is no capture of pgtally"),
    ] {
        let refusal = Capture::read(&text).unwrap_err().to_string();
        assert!(refusal.contains(words), "{refusal}");
    }
}

#[test]
fn several_captures_make_one() {
    let mut one = capture();
    one.absorb(capture());
    assert_eq!((one.statements, one.sessions, one.routes[1].requests), (52, 4, 2));
    assert_eq!((one.findings.len(), one.findings[0].requests), (3, 2));
    assert_eq!(one.routes[1].statements[0].parent, capture().routes[1].statements[0].parent);
    let mut other = capture();
    other.add_problem("lost");
    one.absorb(other);
    assert!(!one.complete && one.problems == ["lost"]);
}

#[test]
fn an_incomplete_capture_is_never_green() {
    let mut capture = before();
    assert_eq!(pgtally_report::judge(&capture, &Judging::default()).exit_code, 0);
    capture.add_problem("lost");
    let report = pgtally_report::judge(&capture, &Judging::default());
    assert_eq!(report.exit_code, 11);
    assert!(pgtally_report::junit(&report).contains("errors=\"1\""), "{}", pgtally_report::junit(&report));
}

#[test]
fn known_findings_do_not_fail() {
    let judging = Judging { baseline: Some(BaselineFile::of(&capture())), ..Judging::default() };
    let report = pgtally_report::judge(&capture(), &judging);
    assert_eq!((report.exit_code, report.changes.len(), report.failing.len()), (0, 0, 0));
    let again = BaselineFile::read(&BaselineFile::of(&capture()).write()).unwrap();
    assert_eq!(Some(again), judging.baseline);
}

#[test]
fn answers_of_a_running_instance_are_a_capture() {
    let findings = "{\"schema_version\":1,\"complete\":true,\"findings\":[{\"id\":\"a\",\"kind\":\"n_plus_one\",\
        \"route\":\"/a\",\"attribution\":\"tag\",\"fingerprint\":\"d78bc90ba4257186\",\"first_seen\":\"x\",\
        \"parent_fingerprint\":\"28e3655c9c110541\",\"linked_column\":\"posts.author_id\",\"repeat\":3}]}";
    let request = "{\"key\":\"1\",\"route\":\"/a\",\"attribution\":\"tag\",\"queries\":3,\"duplicates\":0,\
        \"db_ms\":1.5,\"statements\":[{\"fingerprint\":\"d78bc90ba4257186\",\"statement\":\"SELECT 1\",\
        \"count\":3,\"db_ms\":1.5,\"rows\":3}]}";
    let requests = format!("{{\"schema_version\":1,\"complete\":false,\"requests\":[{request},{request}]}}");
    let capture = Capture::from_api(findings, &requests, 2).unwrap();
    assert_eq!((capture.statements, capture.routes[0].requests, capture.complete), (6, 2, false));
    assert_eq!(capture.routes[0].statements[0].parent.as_ref().unwrap().column, "posts.author_id");
    assert_eq!(capture.notes, ["only the latest 2 requests are in it"]);
    Capture::from_api("{}", &requests, 2).unwrap_err();
}

#[test]
fn published_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/schemas");
    for document in ["baseline", "capture", "differences", "report"] {
        let schema = pgtally_report::schema(document).unwrap();
        check(&folder.join(format!("{document}.schema.json")), &schema);
    }
    assert_eq!(pgtally_report::schema("other"), None);
}
