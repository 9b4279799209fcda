//! The application against a real PostgreSQL, without pgtally: every page and its twin answer the same, and the
//! server's own log shows the planted faults, and none in the twins.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pgtally_demo::{App, Fault, Method, Page, Progress, SeedError, VisitError, seed, visit};
use pgtally_throwaway::{Builder, Throwaway};
use serde_json::Value;

type Outcome = Result<(), Box<dyn Error>>;

/// Repeats from which pgtally reports the fault.
const REPEATS_MIN: [(Fault, usize); 3] =
    [(Fault::Duplicate, 3), (Fault::NPlusOne, 5), (Fault::NPlusOneWrite, 10)];
const SLOW: Duration = Duration::from_millis(100);

fn builder() -> Builder {
    Throwaway::builder().binaries(std::env::var_os("PGTALLY_PG_BIN").map(PathBuf::from))
}

async fn content(address: SocketAddr, page: &'static Page) -> Result<(Value, Duration), Box<dyn Error>> {
    let url = format!("http://{address}{}", page.path);
    let answer = tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        let answer = match page.method {
            Method::Get => ureq::get(url).call(),
            Method::Post => ureq::post(url).send_empty(),
        };
        Ok::<_, ureq::Error>((answer?.body_mut().read_to_string()?, start.elapsed()))
    });
    let (body, duration) = answer.await??;
    Ok((serde_json::from_str(&body)?, duration))
}

/// Statements in the server's log without their comments, by route, each with its number.
fn statements_by_route(log: &str) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut routes: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for line in log.lines() {
        let text = line.strip_prefix("LOG:  ").and_then(|rest| rest.split_once(": ")).map(|(_, text)| text);
        let Some((sql, comment)) = text.and_then(|text| text.split_once(" /*")) else { continue };
        let route =
            comment.split("route='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or_default();
        let route = route.replace("%20", " ").replace("%2F", "/");
        *routes.entry(route).or_default().entry(sql.to_owned()).or_default() += 1;
    }
    routes
}

/// Statements of `page` over `table` that are repeated often enough for `fault`.
fn repeated(statements: &BTreeMap<String, usize>, table: &str, fault: Fault) -> usize {
    let least = REPEATS_MIN.iter().find(|(kind, _)| *kind == fault).map_or(usize::MAX, |(_, least)| *least);
    let verb =
        if fault == Fault::NPlusOneWrite { format!("INTO {table} ") } else { format!("FROM {table} ") };
    statements.iter().filter(|(sql, count)| sql.contains(&verb) && **count >= least).count()
}

#[tokio::test]
async fn every_page_answers_as_its_twin_and_only_pages_have_faults() -> Outcome {
    let mut server = builder().setting("log_statement", "all").setting("log_line_prefix", "").start()?;
    seed(&server.url("postgres")).await?;
    let app = App::start(&server.url("postgres")).await?;
    assert!(Page::ALL.iter().all(|page| page.is_repaired == page.planted.is_empty()));
    for page in Page::ALL.iter().filter(|page| !page.is_repaired) {
        let path = format!("{}/fixed", page.path);
        let is_twin = |other: &&Page| other.method == page.method && other.path == path;
        let twin = Page::ALL.iter().find(is_twin).ok_or("a page without a twin")?;
        assert!(twin.is_repaired);
        let (expected, page_duration) = content(app.address(), page).await?;
        let (answer, twin_duration) = content(app.address(), twin).await?;
        assert_eq!(answer, expected, "{}", page.route());
        assert!(
            !expected.as_array().is_some_and(Vec::is_empty) && !expected.to_string().contains("null"),
            "{expected}"
        );
        let is_slow = page.planted.iter().any(|planted| planted.fault == Fault::SlowStatement);
        assert!(
            !is_slow || (page_duration >= SLOW && twin_duration < SLOW),
            "{page_duration:?} {twin_duration:?}"
        );
    }
    for page in Page::ALL.iter().filter(|page| page.is_repaired && !page.path.ends_with("/fixed")) {
        content(app.address(), page).await?;
    }
    app.stop().await;
    server.stop_fast()?;
    let routes = statements_by_route(&std::fs::read_to_string(server.log_path())?);
    for page in Page::ALL {
        let statements =
            routes.get(&page.route()).ok_or_else(|| format!("{} is not in the log", page.route()))?;
        for planted in page.planted.iter().filter(|planted| planted.fault != Fault::SlowStatement) {
            let same = page
                .planted
                .iter()
                .filter(|other| (other.fault, other.table) == (planted.fault, planted.table));
            assert!(
                repeated(statements, planted.table, planted.fault) >= same.count(),
                "{planted:?} in {statements:?}"
            );
        }
        let most =
            statements.iter().filter(|(sql, _)| !sql.starts_with("FETCH ")).map(|(_, count)| *count).max();
        assert!(!page.is_repaired || most == Some(1), "{} repeats itself: {statements:?}", page.route());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_request_every_page_and_no_connection_remains() -> Outcome {
    let mut server =
        builder().setting("log_connections", "on").setting("log_disconnections", "on").start()?;
    seed(&server.url("postgres")).await?;
    let app = App::start(&server.url("postgres")).await?;
    let mut reports = Vec::new();
    let visits = visit(app.address(), 2, |progress| reports.push(progress)).await?;
    assert_eq!(visits.requests, 2 * Page::ALL.len());
    assert_eq!(reports.last(), Some(&Progress { done: visits.requests, total: visits.requests }));
    assert_eq!(reports.len(), visits.requests);
    assert_eq!(visit(app.address(), 0, |_| panic!("nothing to report")).await?.requests, 0);
    app.stop().await;
    let log = std::fs::read_to_string(server.log_path())?;
    // Seeding has one; two visitors need two.
    let connections = log.matches("connection authorized").count();
    assert!((2..=4).contains(&connections), "{connections} connections");
    server.stop_fast().map_err(Into::into)
}

#[tokio::test]
async fn errors_say_what_happened() -> Outcome {
    assert!(App::start("not a url").await.is_err());
    let server = builder().start()?;
    let app = App::start(&server.url("postgres")).await?;
    let error = visit(app.address(), 1, |_| ()).await.expect_err("the tables are missing");
    let VisitError::Status { status, body, .. } = error else { panic!("another error: {error}") };
    assert_eq!(status, 500);
    assert!(body.contains("does not exist"), "{body}");
    seed(&server.url("postgres")).await?;
    assert!(matches!(seed(&server.url("postgres")).await, Err(SeedError::Statement(_))));
    let url = server.url("postgres");
    drop(server);
    assert!(matches!(seed(&url).await, Err(SeedError::Connect(_))));
    let error = visit(app.address(), 1, |_| ()).await.expect_err("the database is gone");
    assert!(matches!(error, VisitError::Status { status: 500, .. }), "{error}");
    app.stop().await;
    Ok(())
}
