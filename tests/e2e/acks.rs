//! Findings are acknowledged through the API and the page's form: the entry stands in the file and counts at once.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use support::{FakePostgres, Peer, TestProxy, backend, frontend, wait_for};
use tempfile::TempDir;

const FILE: &str = "# ours\nknown = ['0000000000000001']\n";

struct Scene {
    proxy: TestProxy,
    file: PathBuf,
    _folder: TempDir,
    _session: (Peer, Peer),
}

/// A proxy that has found a duplicate, and a file of acknowledgements without it.
fn scene(fake: &FakePostgres) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acks.toml");
    std::fs::write(&file, FILE).unwrap();
    let settings = [("findings.acknowledgements", file.to_str().unwrap())];
    let proxy = TestProxy::with(fake.address(), &settings);
    let session = repeat(fake, &proxy);
    Scene { proxy, file, _folder: folder, _session: session }
}

fn repeat(fake: &FakePostgres, proxy: &TestProxy) -> (Peer, Peer) {
    let (mut client, mut upstream) = fake.session(proxy.address());
    let tag = "/*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',route='%2Forders'*/";
    for _ in 0..4 {
        let message = frontend::query(&format!("SELECT name FROM users WHERE id = 7 {tag}"));
        client.send(&message);
        upstream.expect(&message);
        upstream.send(&backend::done("SELECT 1"));
        client.expect(&backend::done("SELECT 1"));
    }
    (client, upstream)
}

fn the_finding(proxy: &TestProxy) -> Json {
    wait_for("the finding", || proxy.findings().pop())
}

fn id_of(finding: &Json) -> String {
    finding["id"].as_str().unwrap().to_owned()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_api_adds_an_entry_that_counts_at_once() {
    let fake = FakePostgres::tcp();
    let Scene { proxy, file, .. } = &scene(&fake);
    let id = id_of(&the_finding(proxy));
    let order =
        format!("{{\"id\": \"{id}\", \"reason\": \"read by \\\"the\\\" framework\", \"max_repeat\": 4}}");
    let (status, body) = proxy.post("/api/v1/acks", &order);
    let answer: Json = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["acknowledgements"]), (200, &1.into()), "{body}");
    let finding = the_finding(proxy);
    assert_eq!(
        (&finding["state"], &finding["reason"]),
        (&"acked".into(), &"read by \"the\" framework".into())
    );
    let written = text(file);
    assert!(written.starts_with(FILE) && written.contains(&id), "{written}");
    // Said again it is replaced, and with fewer repeats it no longer fits.
    let (status, _) = proxy.post("/api/v1/acks", &order.replace("\"max_repeat\": 4", "\"max_repeat\": 3"));
    assert_eq!(status, 200);
    assert_eq!(the_finding(proxy)["state"], "new");
    assert_eq!(text(file).matches("[[ack]]").count(), 1);
}

#[test]
fn mistakes_are_refused_and_change_nothing() {
    let fake = FakePostgres::tcp();
    let Scene { proxy, file, .. } = &scene(&fake);
    let check = |order: &str, expected: u16, problem: &str| {
        let (status, body) = proxy.post("/api/v1/acks", order);
        assert!(status == expected && body.contains(problem), "{order}: {status} {body}");
        assert_eq!(text(file), FILE, "{order}");
    };
    check("{}", 400, "reason is empty");
    check("{\"reason\": \"x\"}", 400, "names no finding");
    check("{\"id\": \"zz\", \"reason\": \"x\"}", 400, "16 hexadecimal digits");
    check("{\"id\": \"0000000000000002\", \"reason\": \"x\", \"expires\": \"soon\"}", 400, "no date");
    check("{\"id\": \"0000000000000002\", \"raison\": \"x\"}", 400, "unknown field");
    check(&format!("{{\"route\": \"/\", \"reason\": \"{}\"}}", "x".repeat(5_000)), 400, "longer than");
    check("[[ack]]", 400, "");
    let unnamed = TestProxy::to(fake.address());
    let (status, body) = unnamed.post("/api/v1/acks", "{\"id\": \"0000000000000002\", \"reason\": \"x\"}");
    assert!(status == 409 && body.contains("findings.acknowledgements"), "{status} {body}");
    std::fs::remove_file(file).unwrap();
    let (status, body) = proxy.post("/api/v1/acks", "{\"id\": \"0000000000000002\", \"reason\": \"x\"}");
    assert!(status == 500 && body.contains("acks.toml"), "{status} {body}");
}

#[test]
fn the_form_is_taken_from_its_own_page_only() {
    let fake = FakePostgres::tcp();
    let Scene { proxy, file, .. } = &scene(&fake);
    let id = id_of(&the_finding(proxy));
    let path = format!("/findings/{id}");
    let form = "reason=%3Cscript%3E+is+text&expires=&max_repeat=";
    let own = proxy.admin_url();
    for headers in [&[][..], &[("Origin", "https://evil.example")], &[("Origin", "null")]] {
        assert_eq!(proxy.post_form(&path, form, headers).0, 403, "{headers:?}");
        assert_eq!(text(file), FILE);
    }
    let (status, page) = proxy.post_form(&path, "reason=+&expires=never&max_repeat=2", &[("Origin", &own)]);
    assert!(status == 400 && page.contains("Nothing was acknowledged") && page.contains("never"), "{page}");
    assert_eq!(text(file), FILE);
    let (status, page) = proxy.post_form(&path, form, &[("Origin", &own)]);
    assert!(status == 200 && page.contains("acknowledged: &#60;script&#62; is text"), "{status} {page}");
    assert_eq!(the_finding(proxy)["state"], "acked");
}

#[test]
fn a_token_guards_both_ways() {
    let fake = FakePostgres::tcp();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acks.toml");
    std::fs::write(&file, FILE).unwrap();
    let settings =
        [("findings.acknowledgements", file.to_str().unwrap()), ("admin.token", "0123456789abcdef")];
    let proxy = TestProxy::with(fake.address(), &settings);
    assert_eq!(proxy.post("/api/v1/acks", "{\"id\": \"0000000000000002\", \"reason\": \"x\"}").0, 401);
    let own = proxy.admin_url();
    let (_, page) = proxy.post_form("/findings/0000000000000002", "reason=x", &[("Origin", &own)]);
    assert!(page.contains("name=\"token\""), "not the login: {page}");
    assert_eq!(text(&file), FILE);
}
