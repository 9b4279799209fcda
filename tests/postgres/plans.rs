//! Plans on the web page: asked for by fingerprint, with an account that may read, of statements that may be hostile.

use std::thread;

use serde_json::Value as Json;
use support::{Peer, TestProxy, wait_for};

use crate::{address, session, with_each_server};

const SCHEMA: [&str; 10] = [
    "CREATE ROLE reader LOGIN",
    "GRANT pg_read_all_data TO reader",
    "CREATE ROLE \"no\"\"body\" LOGIN",
    "CREATE ROLE filer LOGIN IN ROLE pg_write_server_files",
    "CREATE TABLE things AS SELECT n AS id, 'thing ' || n AS name FROM generate_series(1, 9) n",
    "CREATE TABLE marks (of text)",
    // A function that calls itself immutable is run while a statement is planned, with whatever it calls.
    "CREATE FUNCTION mark() RETURNS int LANGUAGE sql AS $$ INSERT INTO marks VALUES ('written') RETURNING 1 $$",
    "CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN mark(); END $$",
    "CREATE FUNCTION escapes() RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
     $$ BEGIN PERFORM set_config('transaction_read_only', 'off', false); RETURN mark(); END $$",
    "CREATE FUNCTION sleeps() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(60); RETURN 1; END $$",
];

struct Scene {
    proxy: TestProxy,
    client: Peer,
}

impl Scene {
    /// A proxy before `server` that may ask for plans as `user`.
    fn new(server: &pgtally_throwaway::Throwaway, user: &str) -> Self {
        let settings = [("inspect.user", user), ("inspect.explain", "on")];
        Self::with(server, &settings)
    }

    fn with(server: &pgtally_throwaway::Throwaway, settings: &[(&'static str, &str)]) -> Self {
        let proxy = TestProxy::with(&address(server), settings);
        let (client, _) = session(proxy.address());
        Self { proxy, client }
    }

    /// Runs a statement, and waits until it is known where it ran; answers with its page.
    fn run(&mut self, text: &str, word: &str) -> String {
        self.client.query(text);
        let filter = word.replace(' ', "%20");
        wait_for("the statement and its database", || {
            let listed = self.proxy.json(&format!("/api/v1/statements?filter={filter}"));
            let path = format!("/statements/{}", listed["statements"][0]["fingerprint"].as_str()?);
            let statement: Json = self.proxy.json(&format!("/api/v1{path}"));
            (statement["databases"] == serde_json::json!(["postgres"])).then_some(path)
        })
    }

    fn explain(&self, path: &str) -> (u16, String) {
        self.proxy.post_form(path, "database=postgres", &[("Origin", &self.proxy.admin_url())])
    }
}

fn superuser(server: &pgtally_throwaway::Throwaway) -> Peer {
    let (mut direct, _) = session(&address(server));
    for statement in SCHEMA {
        assert_eq!(direct.query(statement).len(), 2, "{statement}");
    }
    direct
}

/// Rows of `table`.
fn count(direct: &mut Peer, table: &str) -> usize {
    direct.query(&format!("SELECT * FROM {table}")).iter().filter(|frame| frame.tag == b'D').count()
}

#[test]
fn a_statements_page_shows_its_plan() {
    with_each_server(|server| {
        let mut direct = superuser(&server);
        direct.query("GRANT INSERT, UPDATE ON things TO reader");
        let mut scene = Scene::new(&server, "reader");
        let read = scene.run("SELECT name FROM things WHERE id = 7", "name from things");
        let (_, before) = scene.proxy.request("GET", &read);
        assert!(
            before.contains("name=\"database\" value=\"postgres\"") && before.contains("as reader"),
            "{before}"
        );
        let (status, page) = scene.explain(&read);
        assert!(
            status == 200 && page.contains("Seq Scan on things") && page.contains("id = $1"),
            "{status} {page}"
        );
        // The plan of a write; nothing is written.
        let write = scene.run("INSERT INTO things VALUES (-1, 'x')", "insert into things");
        assert_eq!(count(&mut direct, "things"), 10);
        let (status, page) = scene.explain(&write);
        assert!(status == 200 && page.contains("Insert on things"), "{status} {page}");
        assert_eq!(count(&mut direct, "things"), 10);
    });
}

#[test]
fn only_its_own_form_is_answered_and_nothing_in_it_is_sql() {
    with_each_server(|server| {
        let mut direct = superuser(&server);
        let mut scene = Scene::new(&server, "reader");
        let path = scene.run("SELECT name FROM things WHERE id = 7", "name from things");
        let own = scene.proxy.admin_url();
        let form = "database=postgres";
        for headers in [&[][..], &[("Origin", "https://evil.example")], &[("Origin", "null")]] {
            assert_eq!(scene.proxy.post_form(&path, form, headers).0, 403, "{headers:?}");
        }
        let check = |path: &str, form: &str, expected: u16| {
            let (status, page) = scene.proxy.post_form(path, form, &[("Origin", &own)]);
            assert!(status == expected && !page.contains("Seq Scan"), "{path} {form}: {status} {page}");
        };
        check(&path, "", 400);
        check(&path, "database=template1", 400);
        check(&path, "database=postgres&statement=DROP+TABLE+things", 400);
        check(&path, "database=postgres&sql=DROP+TABLE+things", 400);
        check("/statements/0000000000000001", form, 404);
        check("/statements/DROP%20TABLE%20things", form, 404);
        assert_eq!(count(&mut direct, "things"), 9);
        let token =
            [("admin.token", "0123456789abcdef"), ("inspect.user", "reader"), ("inspect.explain", "on")];
        let guarded = Scene::with(&server, &token);
        let (_, page) = guarded.proxy.post_form(&path, form, &[("Origin", &guarded.proxy.admin_url())]);
        assert!(page.contains("name=\"token\""), "not the login: {page}");
    });
}

#[test]
fn hostile_statements_do_nothing_when_they_are_planned() {
    with_each_server(|server| {
        let mut direct = superuser(&server);
        let mut scene = Scene::new(&server, "reader");
        direct.query("GRANT INSERT ON marks TO reader");
        // Their own calls are rolled back.
        scene.client.query("BEGIN");
        for (function, refusal) in
            [("writes", "in a read-only transaction"), ("escapes", "transaction read-write mode")]
        {
            let path = scene.run(&format!("SELECT {function}() FROM things"), function);
            let (status, page) = scene.explain(&path);
            assert!(status == 409 && page.contains(refusal), "{function}: {status} {page}");
        }
        let path = scene.run("SELECT $x$</pre><script>$x$ AS \"</pre><script>\" FROM things", "script");
        let (status, page) = scene.explain(&path);
        assert!(
            status == 200 && page.contains("Seq Scan") && !page.contains("<script>\""),
            "{status} {page}"
        );
        scene.client.query("ROLLBACK");
        assert_eq!(count(&mut direct, "marks"), 0);
        // A plan that takes its time is given up, and nobody waits behind it.
        scene.client.query("SET statement_timeout = '100ms'");
        let path = scene.run("SELECT sleeps() FROM things", "sleeps");
        let ask = || scene.explain(&path);
        let (one, other) = thread::scope(|threads| {
            let other = threads.spawn(ask);
            (ask(), other.join().unwrap())
        });
        let (busy, slow) = if one.0 == 429 { (one, other) } else { (other, one) };
        assert!(busy.0 == 429 && busy.1.contains("another plan"), "{} {}", busy.0, busy.1);
        assert!([409, 504].contains(&slow.0) && slow.1.contains("No plan"), "{} {}", slow.0, slow.1);
    });
}

#[test]
fn what_the_account_may_not_do_is_said_with_its_remedy() {
    with_each_server(|server| {
        let _direct = superuser(&server);
        let check = |user: &str, words: &str| {
            let mut scene = Scene::new(&server, user);
            let path = scene.run("SELECT name FROM things WHERE id = 7", "name from things");
            let (status, page) = scene.explain(&path);
            assert!(status >= 400 && page.contains(words), "{user}: {status} {page}");
        };
        check("no\"body", "GRANT pg_read_all_data TO &#34;no&#34;&#34;body&#34;;");
        check("postgres", "it is a superuser");
        check("filer", "may write files");
        check("missing", "has to be a role that may log in");
        let mut scene = Scene::new(&server, "reader");
        let path = scene.run("UPDATE things SET name = 'x' WHERE id = 7", "update things");
        let (status, page) = scene.explain(&path);
        assert!(status == 409 && page.contains("with your own account"), "{status} {page}");
        let path = scene.run("SELECT name FROM missing.things", "missing.things");
        let (status, page) = scene.explain(&path);
        assert!(status == 409 && page.contains("search_path"), "{status} {page}");
    });
}

#[test]
fn without_the_switch_or_the_server_the_page_says_so() {
    with_each_server(|mut server| {
        let _direct = superuser(&server);
        let mut off = Scene::with(&server, &[("inspect.user", "reader")]);
        let path = off.run("SELECT name FROM things WHERE id = 7", "name from things");
        let (_, page) = off.proxy.request("GET", &path);
        assert!(
            page.contains("inspect.explain = &#34;on&#34;") || page.contains("inspect.explain = \"on\""),
            "{page}"
        );
        let (status, page) = off.explain(&path);
        assert!(status == 409 && page.contains("inspect.explain is off"), "{status} {page}");
        let mut scene = Scene::new(&server, "reader");
        let path = scene.run("SELECT name FROM things WHERE id = 7", "name from things");
        server.stop_fast().unwrap();
        let (status, page) = scene.explain(&path);
        assert!(status == 502 && page.contains("cannot connect"), "{status} {page}");
    });
}
