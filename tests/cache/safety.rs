//! Rows of one user never reach another, and no setting changes what a kept answer means.
//!
//! Every case warms the cache as somebody who may see more, and then asks the same text as somebody who sees less or
//! means something else by it.

use support::frontend;

use crate::twin::Twins;

const SCHEMA: &str = "\
    CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE team; GRANT team TO bob;
    CREATE TABLE papers (id int PRIMARY KEY, owner name, title text, at timestamptz, raw bytea, ratio float8);
    INSERT INTO papers VALUES (1, 'alice', 'plan', '2026-05-01 12:00+00', '\\x00ff', 0.1),
        (2, 'bob', 'note', '2026-06-01 12:00+00', '\\x10', 1.0 / 3);
    GRANT SELECT ON papers TO alice;
    CREATE TABLE own (owner name, title text);
    INSERT INTO own VALUES ('alice', 'hers'), ('bob', 'his');
    ALTER TABLE own ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON own USING (owner = current_setting('app.user', true));
    GRANT SELECT ON own TO alice, bob;
    CREATE SCHEMA one; CREATE SCHEMA two; GRANT USAGE ON SCHEMA one, two TO alice, bob;
    CREATE TABLE one.things (name text); INSERT INTO one.things VALUES ('of one');
    CREATE TABLE two.things (name text); INSERT INTO two.things VALUES ('of two');
    GRANT SELECT ON one.things, two.things TO alice, bob;
    CREATE FUNCTION one.tell(int) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT ''one'''; 
    CREATE FUNCTION two.tell(int) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT ''two'''; 
    CREATE TABLE seen (by name);
    CREATE FUNCTION note(name) RETURNS bool LANGUAGE plpgsql SECURITY DEFINER AS
        'BEGIN INSERT INTO seen VALUES ($1); RETURN true; END';
    CREATE TABLE noted (id int); INSERT INTO noted VALUES (1);
    ALTER TABLE noted ENABLE ROW LEVEL SECURITY;
    CREATE POLICY noted ON noted USING (note(current_user));
    GRANT SELECT ON noted TO alice;
    CREATE FUNCTION becomes(text) RETURNS text STABLE LANGUAGE sql AS 'SELECT set_config(''role'', $1, false)';
    CREATE FUNCTION becomes_tenant(text) RETURNS void LANGUAGE plpgsql AS
        'BEGIN PERFORM set_config(''app.user'', $1, false); END';
    GRANT CREATE, USAGE ON SCHEMA public TO alice, bob; GRANT TEMP ON DATABASE postgres TO alice, bob;";

const HINT: &str = "/* pgtally:cache ttl=60s */";

/// Runs steps `(session, text)`; a text that begins with `?` is a read to be cached, asked three times.
#[track_caller]
fn check(steps: &[(&str, &str)]) {
    let mut twins = Twins::new(SCHEMA);
    for (name, text) in steps {
        match text.strip_prefix('?') {
            Some(read) => (0..3).for_each(|_| twins.query(name, &format!("{read} {HINT}"))),
            None => twins.query(name, text),
        }
    }
    assert!(twins.hits() > 0.0, "nothing came from the cache: this shows nothing");
}

const PAPERS: &str = "?SELECT title FROM papers ORDER BY id";

#[test]
fn rights_are_those_of_who_asks() {
    check(&[("postgres", PAPERS), ("alice", PAPERS), ("bob", PAPERS), ("alice/2", PAPERS)]);
}

#[test]
fn set_role_is_another_user() {
    check(&[
        ("postgres", PAPERS),
        ("postgres", "SET ROLE bob"),
        ("postgres", PAPERS),
        ("postgres", "RESET ROLE"),
        ("postgres", PAPERS),
        ("postgres", "SELECT set_config('role', 'bob', false)"),
        ("postgres", PAPERS),
        ("postgres", "DISCARD ALL"),
        ("postgres", PAPERS),
        ("postgres", "UPDATE pg_settings SET setting = 'bob' WHERE name = 'role'"),
        ("postgres", PAPERS),
        ("postgres", "SELECT becomes('alice')"),
        ("postgres", PAPERS),
        ("postgres", "SELECT becomes('bob')"),
        ("postgres", PAPERS),
    ]);
}

#[test]
fn set_role_that_is_rolled_back_or_local() {
    check(&[
        ("postgres", PAPERS),
        ("postgres", "BEGIN; SET ROLE bob; COMMIT"),
        ("postgres", PAPERS),
        ("postgres", "RESET ROLE"),
        ("postgres", PAPERS),
        ("postgres", "BEGIN"),
        ("postgres", "SET ROLE bob"),
        ("postgres", PAPERS),
        ("postgres", "ROLLBACK"),
        ("postgres", PAPERS),
        ("postgres", "BEGIN; SET LOCAL ROLE bob; SELECT 1; COMMIT"),
        ("postgres", PAPERS),
        ("postgres", "SET ROLE bob; SELECT 1/0; RESET ROLE"),
        ("postgres", PAPERS),
    ]);
}

#[test]
fn session_authorization_is_another_user() {
    check(&[
        ("postgres", PAPERS),
        ("postgres", "SET SESSION AUTHORIZATION bob"),
        ("postgres", PAPERS),
        ("postgres", "RESET SESSION AUTHORIZATION"),
        ("postgres", PAPERS),
        ("postgres", "DO $$ BEGIN EXECUTE 'SET SESSION AUTHORIZATION alice'; END $$"),
        ("postgres", PAPERS),
    ]);
}

#[test]
fn what_is_revoked_is_not_served() {
    check(&[
        ("alice", PAPERS),
        ("postgres", "REVOKE SELECT ON papers FROM alice"),
        ("alice", PAPERS),
        ("postgres", "GRANT team TO alice; GRANT SELECT ON papers TO team"),
        ("alice", PAPERS),
        ("postgres", "REVOKE team FROM alice"),
        ("alice", PAPERS),
        ("bob", PAPERS),
        ("postgres", "BEGIN"),
        ("postgres", "REVOKE SELECT ON papers FROM team"),
        ("bob", PAPERS),
        ("postgres", "COMMIT"),
        ("bob", PAPERS),
    ]);
}

#[test]
fn row_security_by_a_setting() {
    const OWN: &str = "?SELECT title FROM own";
    check(&[
        ("alice", PAPERS),
        ("postgres", OWN),
        ("alice", "SET app.user = 'alice'"),
        ("alice", OWN),
        ("bob", "SET app.user = 'bob'"),
        ("bob", OWN),
        ("alice", "SET app.user = 'bob'"),
        ("alice", OWN),
        ("postgres", "ALTER TABLE papers ENABLE ROW LEVEL SECURITY"),
        ("alice", PAPERS),
        ("postgres", "SET row_security = off"),
        ("postgres", OWN),
    ]);
}

#[test]
fn what_was_prepared_is_served_again_once_settings_are_changed_back() {
    let mut twins = Twins::new(SCHEMA);
    let text = "SELECT at, '2026-05-01'::timestamptz FROM papers ORDER BY id /* pgtally:cache ttl=60s */";
    let run = [frontend::bind("", "s1", &[], false), frontend::execute("", 0), frontend::sync()].concat();
    twins.step("alice", "prepares", &[frontend::parse("s1", text, &[]), frontend::sync()].concat());
    let mut hits = twins.hits();
    for (change, is_back) in [
        ("SELECT 1", true),
        // As asyncpg's pool does it.
        ("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;", true),
        ("SET TimeZone = 'Asia/Tokyo'", false),
        ("RESET ALL", true),
        ("BEGIN", false),
        ("SET LOCAL DateStyle = 'SQL, DMY'", false),
        ("COMMIT", true),
        ("SET DateStyle = 'SQL, DMY'", false),
        ("SELECT set_config('datestyle', 'ISO, MDY', false)", true),
    ] {
        twins.query("alice", change);
        (0..3).for_each(|_| twins.step("alice", change, &run));
        assert_eq!(twins.hits() > hits, is_back, "{change}");
        hits = twins.hits();
    }
}

/// Rules for what row security hides by a setting.
const VARYING: [(&str, &str); 2] =
    [("cache.rules.own.tables", "own, papers, rooms"), ("cache.rules.own.vary", "App.User")];
const TENANT: &str = "SELECT title FROM own";

#[test]
fn two_tenants_with_row_security_never_see_each_others_rows() {
    let mut twins = Twins::with(SCHEMA, &VARYING);
    let mut hits = twins.hits();
    for (name, text) in [
        ("alice", "SET app.user = 'alice'"),
        ("bob", "SET app.user = 'bob'"),
        ("alice/2", "SELECT set_config('app.user', 'alice', false)"),
        // The same user as another tenant, and back.
        ("alice", "SET app.user = 'bob'"),
        ("alice", "SELECT set_config('app.user', 'alice', false)"),
        ("alice", "BEGIN; SET LOCAL app.user = 'bob'; SELECT title FROM own; COMMIT"),
        ("alice", "BEGIN; SET app.user = 'bob'; ROLLBACK"),
        ("alice", "SELECT set_config('app.user', 'bob', true)"),
        ("alice", "DO $$ BEGIN PERFORM set_config('app.user', 'bob', false); END $$"),
        ("alice", "SELECT becomes_tenant('alice')"),
        ("alice", "RESET ALL"),
        ("alice", "SET app.user = ''"),
        ("bob", "DISCARD ALL"),
        ("bob", "SET app.user = 'bob'"),
        ("bob", "RESET app.user"),
        ("postgres", "SET app.user = 'alice'"),
        ("postgres", "SET ROLE bob"),
    ] {
        twins.query(name, text);
        (0..3).for_each(|_| twins.query(name, TENANT));
        assert!(twins.hits() >= hits + 1.0, "nothing came from the cache after {text}");
        hits = twins.hits();
    }
    twins.query("alice", "BEGIN");
    twins.query("alice", "SET LOCAL app.user = 'bob'");
    (0..3).for_each(|_| twins.query("alice", TENANT));
    twins.query("alice", "COMMIT");
    (0..3).for_each(|_| twins.query("alice", TENANT));
    twins.query("postgres/2", "UPDATE own SET title = title || '!'");
    twins.query("postgres/2", "ALTER POLICY own ON own USING (owner <> current_setting('app.user', true))");
    for name in ["alice", "bob", "postgres"] {
        (0..3).for_each(|_| twins.query(name, TENANT));
    }
}

#[test]
fn row_security_is_cached_only_as_far_as_rules_declare_it() {
    let mut twins = Twins::with(SCHEMA, &VARYING);
    // Of what no rule declares: another setting, the time, a name nobody knows, a hint instead of a rule.
    for policy in [
        "owner = current_setting('app.other', true)",
        "owner = current_setting('app.' || 'user', true)",
        "owner = current_setting('app.user', true) AND now() > '2020-01-01'",
        "owner = current_setting('app.user', true) AND current_date > '2020-01-01'",
        "owner = becomes(current_setting('app.user', true))",
    ] {
        twins.query("postgres", &format!("ALTER POLICY own ON own USING ({policy})"));
        twins.settle();
        (0..3).for_each(|_| twins.query("postgres", TENANT));
        assert!(twins.hits() == 0.0, "{policy}");
    }
    assert!(twins.proxy.metric_sum("pgtally_cache_bypass_total", "reason=\"row_security\"") >= 15.0);
    // A policy that reads another table is as new as that one.
    twins.query("postgres", "CREATE TABLE rooms (owner name); GRANT SELECT ON rooms TO alice");
    let rooms = "owner IN (SELECT r.owner FROM rooms r) AND current_user = current_setting('app.user', true)";
    twins.query("postgres", &format!("ALTER POLICY own ON own USING ({rooms})"));
    twins.settle();
    twins.query("alice", "SET app.user = 'alice'");
    (0..3).for_each(|_| twins.query("alice", TENANT));
    assert!(twins.hits() >= 1.0);
    twins.query("postgres", "INSERT INTO rooms VALUES ('bob')");
    (0..3).for_each(|_| twins.query("alice", TENANT));
}

#[test]
fn a_portal_is_run_by_who_fetches_from_it() {
    const SEEN: &str = "SELECT count(*) FROM seen /* pgtally:cache ttl=60s */";
    let mut twins = Twins::new(SCHEMA);
    let bind = [
        frontend::parse("", "INSERT INTO seen VALUES ('x') RETURNING by", &[]),
        frontend::bind("p", "", &[], false),
        frontend::sync(),
    ];
    (0..3).for_each(|_| twins.query("postgres", SEEN));
    assert!(twins.hits() > 0.0, "nothing came from the cache: this shows nothing");
    twins.query("postgres/2", "BEGIN");
    twins.step("postgres/2", "a portal", &bind.concat());
    twins.query("postgres/2", "FETCH ALL FROM p");
    twins.query("postgres/2", "COMMIT");
    (0..2).for_each(|_| twins.query("postgres", SEEN));
    twins.query("postgres/2", "BEGIN; DECLARE c CURSOR FOR SELECT note('y')");
    twins.query("postgres/2", "FETCH ALL FROM c; COMMIT");
    (0..2).for_each(|_| twins.query("postgres", SEEN));
}

#[test]
fn a_policy_that_writes_makes_a_read_a_write() {
    const SEEN: &str = "?SELECT count(*) FROM seen";
    check(&[
        ("postgres", SEEN),
        ("alice", "SELECT id FROM noted"),
        ("postgres", SEEN),
        ("alice", "SELECT id FROM noted"),
        ("postgres", SEEN),
    ]);
}

#[test]
fn the_search_path_says_which_table_and_which_function() {
    const THINGS: &str = "?SELECT name, tell(1) FROM things";
    check(&[
        ("alice", "SET search_path = one"),
        ("alice", THINGS),
        ("alice", "SET search_path = two"),
        ("alice", THINGS),
        ("bob", "SELECT set_config('search_path', 'one', false)"),
        ("bob", THINGS),
        ("bob", "BEGIN; SET LOCAL search_path = two; COMMIT"),
        ("bob", THINGS),
        ("bob", "SET search_path = '$user', two"),
        ("bob", THINGS),
        (
            "postgres",
            "CREATE SCHEMA bob; CREATE TABLE bob.things (name text); INSERT INTO bob.things VALUES ('his')",
        ),
        ("postgres", "GRANT USAGE ON SCHEMA bob TO bob; GRANT SELECT ON bob.things TO bob"),
        ("bob", THINGS),
    ]);
}

#[test]
fn a_temporary_table_hides_one_of_the_same_name() {
    check(&[
        ("alice", PAPERS),
        ("alice/2", PAPERS),
        ("alice/2", "CREATE TEMP TABLE papers (id int, title text)"),
        ("alice/2", "INSERT INTO papers VALUES (1, 'mine')"),
        ("alice/2", PAPERS),
        ("alice", PAPERS),
        ("alice/2", "DROP TABLE papers"),
        ("alice/2", PAPERS),
        ("alice", "DO $$ BEGIN CREATE TEMP TABLE papers (id int, title text); END $$"),
        ("alice", PAPERS),
        ("alice/3", PAPERS),
        ("alice", "DISCARD TEMP"),
        ("alice", PAPERS),
        ("bob", "SELECT 7 AS id, 'copied' AS title INTO TEMP papers"),
        ("bob", PAPERS),
    ]);
}

#[test]
fn settings_that_change_how_values_are_written() {
    const VALUES: &str = "?SELECT at, raw, ratio, at - '2026-01-01' FROM papers ORDER BY id";
    check(&[
        ("alice", VALUES),
        ("alice", "SET TimeZone = 'Asia/Tokyo'"),
        ("alice", VALUES),
        ("alice", "SET DateStyle = 'SQL, DMY'"),
        ("alice", VALUES),
        ("alice", "SET bytea_output = 'escape'"),
        ("alice", VALUES),
        ("alice", "SET extra_float_digits = 0"),
        ("alice", VALUES),
        ("alice", "SET IntervalStyle = 'iso_8601'"),
        ("alice", VALUES),
        ("alice", "SET client_encoding = 'LATIN1'"),
        ("alice", VALUES),
        ("alice", "RESET ALL"),
        ("alice", VALUES),
        ("alice/2", VALUES),
    ]);
}

#[test]
fn definitions_change_what_an_answer_looks_like() {
    const ALL: &str = "?SELECT * FROM papers ORDER BY id";
    check(&[
        ("alice", ALL),
        ("postgres", "ALTER TABLE papers ADD COLUMN extra int DEFAULT 7"),
        ("alice", ALL),
        ("postgres", "ALTER TABLE papers DROP COLUMN raw"),
        ("alice", ALL),
        ("postgres", "BEGIN; ALTER TABLE papers RENAME title TO name; ROLLBACK"),
        ("alice", ALL),
        ("postgres", "TRUNCATE papers"),
        ("alice", ALL),
        ("postgres", "DROP TABLE papers"),
        ("alice", ALL),
    ]);
}

#[test]
fn words_that_mean_the_time_are_not_kept() {
    let mut twins = Twins::new(SCHEMA);
    for text in [
        "SELECT count(*) FROM papers WHERE at > 'now'",
        "SELECT 'today'::date - 'yesterday'::date FROM papers",
    ] {
        (0..3).for_each(|_| twins.query("alice", &format!("{text} {HINT}")));
        assert!(twins.hits() == 0.0, "{text}");
    }
    (0..3).for_each(|_| twins.query("alice", &format!("SELECT title FROM papers {HINT}")));
    assert!(twins.hits() > 0.0, "nothing came from the cache: this shows nothing");
}
