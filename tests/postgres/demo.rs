//! The sample application through pgtally: every planted fault is found with its parent, and nothing on a repaired page.

use pgtally_demo::{App, Fault, Page, Planted};
use serde_json::Value as Json;
use support::{TestProxy, wait_for};

use crate::{address, with_each_server};

/// Whether `finding` is what was planted as `planted` on `page`.
fn is_of(finding: &Json, page: &Page, planted: &Planted) -> bool {
    finding["route"] == page.route()
        && finding["kind"] == planted.fault.name()
        && finding["statement"].as_str().is_some_and(|text| text.contains(planted.table))
        && (planted.parent_column.is_none() || finding["linked_column"].as_str() == planted.parent_column)
}

/// What was planted and is not found, in words.
fn missing(findings: &[Json]) -> Vec<String> {
    let mut missing = Vec::new();
    for page in Page::ALL {
        for planted in page.planted {
            let wanted = page.planted.iter().filter(|other| *other == planted).count();
            let found = findings.iter().filter(|finding| is_of(finding, page, planted)).count();
            if found < wanted {
                missing.push(format!("{}: {planted:?}, {found} of {wanted}", page.route()));
            }
        }
    }
    missing
}

/// A finding that nobody planted. Statements that are slow by accident, on a busy machine, are not counted.
fn is_wrong(finding: &Json) -> bool {
    let is_planted =
        Page::ALL.iter().any(|page| page.planted.iter().any(|planted| is_of(finding, page, planted)));
    !is_planted && !follows(finding) && finding["kind"] != Fault::SlowStatement.name()
}

/// What follows from planted faults: a loop of fifty is chatty, and what is read again and again was just written.
fn follows(finding: &Json) -> bool {
    let kind = finding["kind"].as_str().unwrap_or_default();
    let is_faulty = Page::ALL.iter().any(|page| finding["route"] == page.route() && !page.planted.is_empty());
    is_faulty && ["chatty_request", "reread_after_write", "sequential_independent"].contains(&kind)
}

#[test]
fn every_planted_fault_is_found_and_no_other() {
    with_each_server(|server| {
        let proxy = TestProxy::to(&address(&server));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            pgtally_demo::seed(&server.url("postgres")).await.unwrap();
            let app = App::start(&proxy.url("postgres")).await.unwrap();
            let visits = pgtally_demo::visit(app.address(), 3, |_| ()).await.unwrap();
            assert_eq!(visits.requests, 3 * Page::ALL.len());
            app.stop().await;
        });
        let requests = proxy.settled_requests(3 * Page::ALL.len());
        let found = || Some(proxy.findings()).filter(|findings| missing(findings).is_empty());
        let findings = support::try_wait_for(found).unwrap_or_else(|| {
            panic!("missing {:#?} in {:#?}", missing(&proxy.findings()), proxy.findings());
        });
        let wrong: Vec<_> = findings.iter().filter(|finding| is_wrong(finding)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        wait_for("all pages among the requests", || {
            let is_seen = |page: &Page| requests.iter().any(|request| request["route"] == page.route());
            Page::ALL.iter().all(is_seen).then_some(())
        });
    });
}

#[test]
fn the_catalogue_comes_from_the_cache_until_it_is_changed() {
    with_each_server(|server| {
        let settings = [("cache.enabled", "on"), ("inspect.user", "postgres")];
        let proxy = TestProxy::with(&address(&server), &settings);
        let page = |path: &str| Page::ALL.iter().find(|page| page.path == path).expect("a page");
        let (catalogue, reprice) = (page("/catalogue"), page("/catalogue/reprice"));
        let tag = || {
            let tags = proxy.json("/api/v1/cache")["tags"].clone();
            tags.as_array()
                .into_iter()
                .flatten()
                .find(|tag| tag["tag"] == "catalogue")
                .cloned()
                .unwrap_or_default()
        };
        let hits = || tag()["hits"].as_u64().unwrap_or_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            pgtally_demo::seed(&server.url("postgres")).await.unwrap();
            let app = App::start(&proxy.url("postgres")).await.unwrap();
            let ask = async |page| pgtally_demo::request(app.address(), page).await.unwrap();
            let known = proxy.json("/api/v1/cache/explain?database=postgres&sql=SELECT+1");
            assert_eq!(known["complete"], true, "{known}");
            let first = ask(catalogue).await;
            for round in 1..=5 {
                assert_eq!(ask(catalogue).await, first);
                assert_eq!(hits(), round);
            }
            assert!(tag()["saved_ms"].as_f64().unwrap() > 1.0, "{}", tag());
            ask(reprice).await;
            assert_ne!(ask(catalogue).await, first);
            assert_eq!(hits(), 5);
            app.stop().await;
        });
        let route = proxy.settled_requests(8).iter().filter(|it| it["route"] == "GET /catalogue").count();
        assert_eq!(route, 7, "answers from the cache are requests like all others");
    });
}
