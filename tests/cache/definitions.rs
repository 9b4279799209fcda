//! What statements read and write according to `GET /api/v1/cache/explain`, with definitions of a real PostgreSQL, read
//! by a role without any rights.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::TestProxy;

use crate::{address, execute, session};

/// Statement, and what is said of it: tables read or the reason against keeping it, then tables written.
const CASES: [(&str, &str); 74] = [
    ("SELECT name FROM shop.products", "unknown_table"),
    ("SELECT name FROM public.products WHERE id = 1", "public.products"),
    ("SELECT name FROM products WHERE id = 1", "other.products public.products"),
    ("SELECT id FROM public.cheapest", "public.cheap public.cheapest public.products"),
    ("SELECT n FROM totals", "public.totals"),
    ("SELECT day FROM events", "public.events public.events_june public.events_may"),
    ("SELECT day FROM events_may", "public.events_may"),
    ("SELECT id FROM animals", "public.animals public.dogs"),
    ("SELECT pure(id), lower(breed) || 'x' FROM dogs", "public.dogs"),
    ("SELECT to_char(day, 'YYYY'), jsonb_agg(day) FROM events_may GROUP BY 1", "public.events_may"),
    ("SELECT length(breed), to_date('2026', 'YYYY') FROM dogs", "public.dogs"),
    ("SELECT id FROM recent", "function"),
    ("SELECT id FROM since", "function"),
    ("SELECT looks()", "function"),
    ("SELECT becomes('inspector')", "function → session"),
    ("SELECT counts()", "function → public.counters"),
    ("UPDATE pg_settings SET setting = 'inspector' WHERE name = 'role'", "not_read → catalog session"),
    ("SELECT random() FROM dogs", "function"),
    ("SELECT now() FROM dogs", "function"),
    ("SELECT id FROM dogs WHERE age(current_date) IS NULL", "function"),
    ("SELECT owner FROM secrets", "row_security"),
    ("SELECT owner FROM seen_secrets", "row_security"),
    ("SELECT id FROM guarded", "function → public.audit"),
    ("SELECT id FROM seen_guarded", "function → public.audit"),
    ("INSERT INTO guarded VALUES (1)", "not_read → public.audit public.guarded"),
    ("SELECT id FROM fast", "unlogged"),
    ("SELECT last_value FROM ids", "sequence"),
    ("SELECT relname FROM pg_class", "system_catalog"),
    ("SELECT table_name FROM information_schema.tables", "system_catalog"),
    ("SELECT n::text::regclass FROM totals", "system_catalog"),
    ("SELECT id FROM dogs WHERE id IN (1, 2, next_number())", "function → public.counters"),
    ("VALUES (1), (2), (next_number())", "function → public.counters"),
    ("SELECT ARRAY[1, 2, next_number()]", "function → public.counters"),
    ("INSERT INTO dogs VALUES (1), (2), (next_number())", "not_read → public.counters public.dogs"),
    ("SELECT id FROM pg_temp.dogs", "temporary"),
    ("SELECT id FROM dogs FOR SHARE", "locking"),
    ("SELECT id FROM dogs TABLESAMPLE system (1)", "table_sample"),
    ("SELECT query_to_xml('SELECT 1', true, true, '')", "function → everything session"),
    ("SELECT nextval('ids')", "function"),
    ("SELECT set_config('a.b', 'c', false)", "function → session"),
    ("SELECT next_number()", "function → public.counters"),
    ("SELECT n FROM nosy", "function → public.counters"),
    ("SELECT p.label FROM public.products p", "function → public.audit"),
    ("SELECT 'a' <+> 'b'", "function"),
    ("SELECT unheard_of(1)", "function → everything session"),
    ("SELECT id INTO copied FROM dogs", "not_read → catalog session"),
    ("INSERT INTO public.products VALUES (1)", "not_read → public.products"),
    ("DELETE FROM public.products", "not_read → public.lines public.notes public.products"),
    ("UPDATE public.lines SET n = 1", "not_read → public.lines public.notes"),
    (
        "INSERT INTO public.products VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2",
        "not_read → public.lines public.notes public.products",
    ),
    (
        "UPDATE public.cheap SET name = 'x'",
        "not_read → public.cheap public.lines public.notes public.products",
    ),
    (
        "INSERT INTO events VALUES ('2026-05-02')",
        "not_read → public.events public.events_june public.events_may",
    ),
    ("INSERT INTO events_may VALUES ('2026-05-02')", "not_read → public.events_may"),
    ("UPDATE animals SET id = 1", "not_read → public.animals public.dogs"),
    ("UPDATE touched SET id = 1", "not_read → public.touched"),
    ("DELETE FROM watched", "not_read → public.audit public.watched"),
    ("INSERT INTO mystery VALUES (1)", "not_read → everything session"),
    ("INSERT INTO ruled VALUES (1)", "not_read → everything session"),
    ("INSERT INTO numbered DEFAULT VALUES", "not_read → public.counters public.numbered"),
    ("INSERT INTO checked VALUES (1)", "not_read → public.audit public.checked"),
    ("WITH g AS (DELETE FROM dogs RETURNING id) SELECT id FROM g", "not_read → public.dogs"),
    ("MERGE INTO dogs d USING animals a ON a.id = d.id WHEN MATCHED THEN DELETE", "not_read → public.dogs"),
    ("COPY dogs FROM STDIN", "not_read → public.dogs"),
    ("INSERT INTO somewhere VALUES (1)", "not_read → everything session"),
    ("CALL tidy()", "not_read → everything session"),
    ("DO $$ BEGIN NULL; END $$", "not_read → everything session"),
    ("EXECUTE p", "not_read → everything session"),
    ("TRUNCATE dogs", "not_read → catalog session"),
    ("REFRESH MATERIALIZED VIEW totals", "not_read → catalog session"),
    ("GRANT SELECT ON dogs TO inspector", "not_read → catalog session"),
    ("UPDATE pg_catalog.pg_class SET relname = 'x'", "not_read → catalog session"),
    ("SET ROLE inspector", "not_read → session"),
    ("COMMIT", "not_read"),
    ("SELEKT 1", "not_read → catalog session"),
];

#[test]
fn reads_and_writes_are_closed_over_what_a_real_server_defines() {
    let server = crate::builder().start().expect("a throwaway PostgreSQL");
    execute(&mut session(&address(&server), "postgres"), include_str!("schema.sql"));
    let proxy = TestProxy::with(&address(&server), &[("inspect.user", "inspector")]);
    let wrong: Vec<String> = CASES
        .iter()
        .map(|(sql, expected)| (sql, expected, said(&proxy, sql)))
        .filter(|(_, expected, said)| **expected != *said)
        .map(|(sql, expected, said)| format!("{sql}\n  expected: {expected}\n  said:     {said}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Servers before PostgreSQL 17 have no such triggers.
#[test]
fn what_logins_write_is_not_kept() {
    let server = crate::builder().start().expect("a throwaway PostgreSQL");
    let mut session = session(&address(&server), "postgres");
    execute(
        &mut session,
        "CREATE TABLE visits (who name); CREATE TABLE others (id int); \
         CREATE FUNCTION note_visit() RETURNS event_trigger SECURITY DEFINER LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO public.visits VALUES (session_user); END $$",
    );
    let major = server.version().split('.').next().and_then(|it| it.parse::<u32>().ok()).expect("a version");
    let has_logins = major >= 17;
    if has_logins {
        execute(&mut session, "CREATE EVENT TRIGGER visit ON login EXECUTE FUNCTION note_visit()");
    }
    let proxy = TestProxy::with(&address(&server), &[("inspect.user", "postgres")]);
    let expected = if has_logins { "login_trigger" } else { "public.visits" };
    assert_eq!(said(&proxy, "SELECT who FROM visits"), expected);
    assert_eq!(said(&proxy, "SELECT id FROM others"), "public.others");
}

#[test]
fn nothing_is_known_without_a_role_that_may_ask() {
    let server = crate::builder().start().expect("a throwaway PostgreSQL");
    let proxy = TestProxy::with(&address(&server), &[("inspect.user", "nobody_at_all")]);
    let answer = explain(&proxy, "SELECT 1 FROM dogs");
    assert_eq!(answer["complete"], false);
    assert_eq!(answer["statements"][0]["reason"], "catalog_unknown");
}

/// Longer than an answer takes that waits for nothing, shorter than the patience for definitions that are being read.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn what_cannot_be_explained_is_said_at_once_and_takes_no_place() {
    let server = crate::builder().start().expect("a throwaway PostgreSQL");
    let without = TestProxy::with(&address(&server), &[]);
    let with = TestProxy::with(&address(&server), &[("inspect.user", "postgres")]);
    for (proxy, words) in [(&without, "inspect.user is not set"), (&with, "does not exist")] {
        let asked = Instant::now();
        let answer = proxy.json("/api/v1/cache/explain?database=nowhere&sql=SELECT+1");
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
        assert_eq!(answer["complete"], false);
        assert!(answer["problem"].as_str().is_some_and(|problem| problem.contains(words)), "{answer}");
    }
    // More names than there are places.
    thread::scope(|scope| {
        for number in 0..70 {
            let path = format!("/api/v1/cache/explain?database=nowhere{number}&sql=SELECT+1");
            let with = &with;
            scope.spawn(move || assert_eq!(with.json(&path)["complete"], false));
        }
    });
    assert_eq!(explain(&with, "SELECT 1")["complete"], true);
}

fn explain(proxy: &TestProxy, sql: &str) -> Value {
    let encoded: String = sql.bytes().map(|byte| format!("%{byte:02x}")).collect();
    proxy.json(&format!("/api/v1/cache/explain?database=postgres&sql={encoded}"))
}

fn said(proxy: &TestProxy, sql: &str) -> String {
    let answer = explain(proxy, sql);
    assert_eq!(answer["complete"], true, "{answer}");
    let said = &answer["statements"][0];
    let names = |field: &str| {
        let names = said[field].as_array().expect("a list").iter().filter_map(Value::as_str);
        names.map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let read = match said["reason"].as_str() {
        Some(reason) => reason.to_owned(),
        None => names("reads"),
    };
    let mut does = vec![match (said["changes_catalog"] == true, said["writes_everything"] == true) {
        (true, _) => "catalog".to_owned(),
        (false, true) => "everything".to_owned(),
        (false, false) => names("writes"),
    }];
    if said["changes_session"] == true {
        does.push("session".to_owned());
    }
    let does = does.join(" ");
    if does.trim().is_empty() { read } else { format!("{read} → {}", does.trim()) }
}
