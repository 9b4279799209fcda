//! Baselines in production: a deploy that makes a route run more is found, named, survives a restart, and can be meant.

use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use support::fake_postgres::answer_queries;
use support::{FakePostgres, Peer, TestProxy, backend, frontend};

/// A client of a server that answers everything at once.
struct Bench {
    proxy: TestProxy,
    client: Peer,
    served: u64,
}

impl Bench {
    fn new(fake: &FakePostgres, state_file: &Path, acks: &Path) -> Self {
        let settings = [
            ("baselines.window", "300ms"),
            ("baselines.min_requests", "5"),
            ("baselines.state_file", state_file.to_str().unwrap()),
            ("findings.acknowledgements", acks.to_str().unwrap()),
        ];
        let proxy = TestProxy::with(fake.address(), &settings);
        let (client, upstream) = fake.session(proxy.address());
        answer_queries(upstream, |_| backend::done("SELECT 1"));
        Self { proxy, client, served: 0 }
    }

    /// A request that reads one post, and `users` users.
    fn request(&mut self, version: &str, users: u32) {
        self.served += 1;
        let tags =
            format!("/*request_id='{version}-{}',route='%2Forders',version='{version}'*/", self.served);
        let mut run = |text: &str| {
            self.client.send(&frontend::query(&format!("{text} {tags}")));
            assert_eq!(self.client.frames_until_ready().len(), 2);
        };
        run("SELECT title FROM posts WHERE id = 1");
        (0..users).for_each(|user| run(&format!("SELECT name FROM users WHERE id = {user}")));
    }

    fn baseline(&self) -> Json {
        self.proxy.json("/api/v1/baselines")["baselines"][0].clone()
    }

    /// Requests until the route is in `state`.
    fn until(&mut self, state: &str, version: &str, users: u32) -> Json {
        support::wait_for("the baseline", || {
            (0..5).for_each(|_| self.request(version, users));
            Some(self.baseline()).filter(|baseline| baseline["state"] == state)
        })
    }

    fn regressions(&self) -> Vec<Json> {
        let mut findings = self.proxy.findings();
        findings.retain(|finding| finding["kind"] == "query_count_regression");
        findings
    }
}

#[test]
fn a_deploy_that_adds_statements_is_found_and_named_and_survives_a_restart() {
    let fake = FakePostgres::tcp();
    let folder = tempfile::tempdir().unwrap();
    let (state_file, acks) = (folder.path().join("baselines.json"), folder.path().join("acks.toml"));
    std::fs::write(&acks, "").unwrap();
    let mut bench = Bench::new(&fake, &state_file, &acks);
    let healthy = bench.until("healthy", "1.4.1", 1);
    assert_eq!((&healthy["baseline_queries"], &healthy["version"]), (&2.0.into(), &"1.4.1".into()));
    bench.until("regressed", "1.4.2", 21);
    let finding = support::wait_for("a finding", || bench.regressions().pop());
    assert_eq!((&finding["severity"], &finding["state"]), (&"critical".into(), &"new".into()));
    assert_eq!((&finding["route"], &finding["repeat"]), (&"/orders".into(), &22.into()));
    let regression = &finding["regression"];
    let versions = (&regression["previous_version"], &regression["since_version"]);
    assert_eq!(versions, (&"1.4.1".into(), &"1.4.2".into()));
    let added = &regression["statements"][0];
    assert_eq!(added["statement"], "SELECT name FROM users WHERE id = $1");
    assert_eq!((&added["before"], &added["after"]), (&1.into(), &21.into()), "{regression}");
    assert!(finding["fix"].as_str().unwrap().contains("Since version 1.4.2"), "{finding}");
    let gauge = |name: &str| bench.proxy.metric(&format!("pgtally_route_{name}{{route=\"/orders\"}}"));
    assert!((gauge("baseline_queries") - 2.0).abs() < 1e-9);
    assert!(gauge("regression_ratio") > 3.0, "{}", gauge("regression_ratio"));
    let open = "pgtally_findings_open{kind=\"query_count_regression\",severity=\"critical\",state=\"new\"}";
    assert!((bench.proxy.metric(open) - 1.0).abs() < 1e-9);
    let id = finding["id"].as_str().unwrap().to_owned();
    drop(bench.client);
    bench.proxy.shutdown(Duration::from_secs(10));

    let mut bench = Bench::new(&fake, &state_file, &acks);
    let restored = bench.baseline();
    assert_eq!((&restored["baseline_queries"], &restored["state"]), (&2.0.into(), &"regressed".into()));
    bench.until("regressed", "1.4.2", 21);
    let again = support::wait_for("the finding again", || bench.regressions().pop());
    assert_eq!((again["id"].as_str(), &again["regression"]["since_version"]), (Some(&*id), &"1.4.2".into()));
    // Rolled back: the finding is over, and its gauge is gone.
    bench.until("healthy", "1.4.1", 1);
    assert!(bench.regressions().is_empty());
    assert!(bench.proxy.metric(open) < 1e-9);
    // Shipped again, and meant.
    bench.until("regressed", "1.4.3", 21);
    let ack = format!("[[ack]]\nid = '{id}'\nreason = 'the page shows all users now'\n");
    std::fs::write(&acks, ack).unwrap();
    assert_eq!(bench.proxy.request("POST", "/api/v1/reload").0, 200);
    let accepted = bench.until("healthy", "1.4.3", 21);
    assert_eq!(accepted["baseline_queries"], 22.0);
}

#[test]
fn deploys_are_told_from_outside() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let post = |body: &str| {
        let url = format!("{}/api/v1/deploys", proxy.admin_url());
        let sent = ureq::post(&url).config().http_status_as_error(false).build();
        sent.header("content-type", "application/json").send(body).unwrap().status().as_u16()
    };
    assert_eq!(post("{\"version\": \"2.0\"}"), 200);
    for wrong in [
        "",
        "{}",
        "{\"version\": \"\"}",
        "{\"version\": \"\\u001b\"}",
        "{\"version\": 2}",
        "{\"versoin\": \"2\"}",
    ] {
        assert!((400..500).contains(&post(wrong)), "{wrong}");
    }
    assert_eq!(post(&format!("{{\"version\": \"{}\"}}", "x".repeat(200))), 400);
}
