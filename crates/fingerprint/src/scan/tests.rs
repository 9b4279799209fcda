use super::*;
use crate::parameter::{Role, Value};
use crate::setting::SettingScope;
use crate::{normalize, value};

fn scan(text: &str) -> Scan {
    let mut scan = Scan::new();
    scan.scan(text.as_bytes(), Dialect::default(), false);
    scan
}

fn only(text: &str) -> (StatementScan, Vec<Parameter>) {
    let scan = scan(text);
    assert_eq!(scan.statements.len(), 1, "{text}");
    (scan.statements[0].clone(), scan.parameters)
}

fn normal(text: &str) -> String {
    normalize(text.as_bytes(), &only(text).0, Dialect::default()).text
}

/// All texts are one statement, whose normalized text is `expected`.
fn same(expected: &str, texts: &[&str]) {
    let fingerprint = only(expected).0.fingerprint;
    assert_eq!(normal(expected), expected);
    for text in texts {
        assert_eq!(normal(text), expected, "{text}");
        assert_eq!(only(text).0.fingerprint, fingerprint, "{text}");
    }
}

fn different(texts: &[&str]) {
    for (at, a) in texts.iter().enumerate() {
        for b in &texts[at + 1..] {
            assert_ne!(only(a).0.fingerprint, only(b).0.fingerprint, "{a} | {b}");
        }
    }
}

#[test]
fn literals_are_parameters() {
    same(
        "SELECT * FROM t WHERE a = $1",
        &[
            "select * from t where a=1",
            "SELECT * FROM t WHERE a = 1e5",
            "SELECT * FROM t WHERE a = .5",
            "SELECT * FROM t WHERE a = -0x1F",
            "SELECT * FROM t WHERE a = - 3",
            "SELECT * FROM t WHERE a = 'it''s'",
            "SELECT * FROM t WHERE a = E'a\\'b'",
            "SELECT * FROM t WHERE a = U&'d\\0061'",
            "SELECT * FROM t WHERE a = B'01'",
            "SELECT * FROM t WHERE a = X'ff'",
            "SELECT * FROM t WHERE a = N'x'",
            "SELECT * FROM t WHERE a = $$x$$",
            "SELECT * FROM t WHERE a = $q$ $$ $q$",
            "SELECT * FROM t WHERE a = $7",
            "SELECT * FROM t WHERE a = $1::int",
            "SELECT * FROM t WHERE a = '5'::numeric(10,2)",
            "SELECT * FROM t WHERE a = '{}'::pg_catalog.int4[]",
            "SELECT * FROM t WHERE a = DATE '2020-01-01'",
            "SELECT * FROM t WHERE a = interval '1' day",
            "SELECT * FROM t WHERE a = timestamp(3) with time zone '2020-01-01'",
            "SELECT * FROM t WHERE a = '1' :: double precision",
            "SELECT * FROM t WHERE a = '1'/* c */::character varying(20)",
            "SELECT *\n\tFROM t -- c\nWHERE a = /* x /* y */ */ 1;",
            "SELECT * FROM \"t\" WHERE \"a\" = 'a'\n'b'",
        ],
    );
    same("SELECT a - $1, - b, $2 - $3", &["select a-1, -b, 3-4", "select a - 1, - b, -3 - -4"]);
    same("SELECT NULL, TRUE, FALSE", &["select null,true,false"]);
}

#[test]
fn lists_fold() {
    same(
        "SELECT $1 FROM t WHERE id IN ($2)",
        &[
            "SELECT 1 FROM t WHERE id IN (1)",
            "SELECT 1 FROM t WHERE id IN (1, -2, '3'::int, $4::int, NULL)",
            "SELECT 1 FROM t WHERE id = ANY($1)",
            "SELECT 1 FROM t WHERE id = any (($1)::int[])",
            "SELECT 1 FROM t WHERE id = SOME ('{1,2}'::int[])",
            "SELECT 1 FROM t WHERE id = ANY(ARRAY[1,2,3]::bigint[])",
            "SELECT 1 FROM t WHERE id = ANY(ARRAY[$1, $2])",
        ],
    );
    same(
        "SELECT $1 FROM t WHERE id NOT IN ($2)",
        &[
            "SELECT 1 FROM t WHERE id NOT IN (1,2)",
            "SELECT 1 FROM t WHERE id <> ALL($1)",
            "SELECT 1 FROM t WHERE id != all('{1}')",
        ],
    );
    same("SELECT $1 FROM t WHERE (a, b) IN (($2, $3))", &["SELECT 1 FROM t WHERE (a,b) IN ((1,2),(3,4))"]);
    same("SELECT ARRAY[$1]", &["SELECT ARRAY[1,2,3]", "select array[ 'a' ]"]);
    same("SELECT ARRAY[[$1, $2]]", &["SELECT ARRAY[[1,2],[3,4]]"]);
    same(
        "INSERT INTO t (a, b) VALUES ($1, $2)",
        &[
            "INSERT INTO t (a,b) VALUES (1,'x')",
            "INSERT INTO t (a,b) VALUES (1,'x'),(2,'y') , ($1,$2)",
            "INSERT INTO t (a,b) VALUES (1,NULL),(true,2)",
        ],
    );
    same(
        "INSERT INTO t (a, b) VALUES ($1, now()) ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING id",
        &[
            "INSERT INTO t (a, b) VALUES (1, now()), (2, now()),(3,NOW()) ON CONFLICT (a) DO UPDATE SET b = EXCLUDED.b RETURNING id",
        ],
    );
    same("SELECT a IN ($1, b), f($2, $3, $4)", &["SELECT a IN (1,b), f(1,2,3)"]);
    same("SELECT a = ANY (b), a = ANY (SELECT $1)", &["SELECT a = any(b), a = any(select 1)"]);
    same("VALUES (f(($1), ($2), ($3)))", &["VALUES (f((1),(2),(3))),(f((4),(5),(6)))"]);
    different(&[
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (1,2)",
        "INSERT INTO t VALUES (a),(1)",
        "INSERT INTO t VALUES (1),(a)",
    ]);
}

#[test]
fn names_are_kept_where_they_matter() {
    same(
        "SELECT abc, \"Abc\", \"order\", \"year\" FROM \"a b\"",
        &["select ABC, \"Abc\",\"order\" , \"year\" from \"a b\""],
    );
    different(&[
        "SELECT \"Abc\"",
        "SELECT abc",
        "SELECT \"order\"",
        "SELECT \"a b\"",
        "SELECT $1",
        "SELECT a b",
        "SELECT a, b",
        "SELECT ab",
    ]);
    different(&["SELECT \"current_user\"", "SELECT current_user"]);
    different(&["LISTEN a", "LISTEN b"]);
    assert_eq!(only("SELECT \"year\"").0.fingerprint, only("SELECT year").0.fingerprint);
    different(&["SELECT a ORDER BY 1", "SELECT a ORDER BY 2", "SELECT a GROUP BY 1"]);
}

#[test]
fn names_of_savepoints_cursors_and_statements_are_dropped() {
    same("SAVEPOINT _", &["savepoint \"s1_x\"", "SAVEPOINT s140_x1;"]);
    same("RELEASE SAVEPOINT _", &["release a", "RELEASE SAVEPOINT \"s1\""]);
    same("ROLLBACK TO SAVEPOINT _", &["rollback to a", "ROLLBACK WORK TO SAVEPOINT b"]);
    same(
        "FETCH FROM _",
        &["FETCH 100 FROM c", "FETCH FORWARD 100 IN \"c\"", "fetch next c", "FETCH ABSOLUTE -1 FROM c"],
    );
    same("MOVE FROM _", &["MOVE ALL IN c"]);
    same("CLOSE _", &["close \"x\""]);
    same("CLOSE ALL", &["close all"]);
    same(
        "DECLARE _ no scroll cursor WITH hold FOR SELECT $1",
        &["DECLARE \"_django_curs_1_sync_1\" NO SCROLL CURSOR WITH HOLD FOR SELECT 1"],
    );
    same("PREPARE _(int) AS SELECT $1", &["PREPARE q (int) AS select 3"]);
    same("EXECUTE _($1, $2)", &["execute p(1,'x')"]);
    same("DEALLOCATE _", &["deallocate prepare p", "DEALLOCATE \"q\""]);
    same("DEALLOCATE ALL", &["deallocate prepare all"]);
    let hash = name_hash_of("DECLARE c CURSOR FOR SELECT 1");
    for text in ["FETCH 10 FROM C", "CLOSE \"c\"", "move c"] {
        assert_eq!(name_hash_of(text), hash, "{text}");
    }
    assert_eq!(hash, crate::name_hash(b"c"));
    assert_ne!(name_hash_of("CLOSE d"), hash);
    assert_eq!(name_hash_of("CLOSE ALL"), 0);
}

fn name_hash_of(text: &str) -> u64 {
    only(text).0.name_hash
}

#[test]
fn texts_split_at_semicolons() {
    let check = |text: &str, expected: &[&str]| {
        let scan = scan(text);
        let parts: Vec<&str> =
            scan.statements.iter().map(|s| &text[s.text.start as usize..s.text.end as usize]).collect();
        assert_eq!(parts, expected, "{text}");
    };
    check("", &[]);
    check(" ;; -- ping\n;/* x */", &[]);
    check("select 1;select ';' ; /* ; */ select $$;$$ -- ;\n", &["select 1", "select ';'", "select $$;$$"]);
    check(
        "CREATE RULE r AS ON INSERT TO t DO (a; b); x",
        &["CREATE RULE r AS ON INSERT TO t DO (a; b)", "x"],
    );
    let function =
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END";
    check(&format!("{function}; SELECT 1"), &[function, "SELECT 1"]);
    check("BEGIN; SELECT 1; END", &["BEGIN", "SELECT 1", "END"]);
    check(
        "ROLLBACK; SAVEPOINT a; SET x = 'a;b'; FETCH c",
        &["ROLLBACK", "SAVEPOINT a", "SET x = 'a;b'", "FETCH c"],
    );
    check("select (1; select 2", &["select (1; select 2"]);
}

#[test]
fn commands_by_their_first_words() {
    use Command as C;
    for (text, expected) in [
        ("(SELECT 1 FROM t) UNION SELECT 2", C::Select),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", C::Select),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", C::Insert),
        ("WITH RECURSIVE x(n) AS (VALUES (1) UNION SELECT n FROM x) UPDATE t SET a = 1", C::Update),
        ("TABLE t", C::Select),
        ("VALUES (1)", C::Values),
        ("select 1", C::Ping),
        ("SELECT 'x' ;", C::Ping),
        ("SELECT $1", C::Select),
        ("SELECT 1 FROM t", C::Select),
        ("SELECT version()", C::Select),
        ("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", C::Merge),
        ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE", C::Begin),
        ("END", C::Commit),
        ("ABORT", C::Rollback),
        ("ROLLBACK AND CHAIN", C::Rollback),
        ("rollback to savepoint x", C::RollbackTo),
        ("PREPARE TRANSACTION 'x'", C::PrepareTransaction),
        ("PREPARE x AS SELECT 1", C::Prepare),
        ("ALTER SYSTEM SET a = 1", C::AlterSystem),
        ("ALTER TABLE t ADD COLUMN a int", C::Ddl),
        ("DISCARD ALL", C::DiscardAll),
        ("DISCARD TEMP", C::Discard),
        ("RESET ALL", C::ResetAll),
        ("RESET role", C::Reset),
        ("DEALLOCATE ALL", C::DeallocateAll),
        ("DECLARE c CURSOR FOR SELECT 1", C::Declare),
        ("EXPLAIN ANALYZE SELECT 1", C::Explain),
        ("SET search_path TO a", C::Set),
        ("SET TRANSACTION READ ONLY", C::Set),
        ("SHOW TRANSACTION ISOLATION LEVEL", C::Show),
        ("COPY t FROM STDIN", C::Copy),
        ("TRUNCATE t", C::Truncate),
        ("REFRESH MATERIALIZED VIEW v", C::Maintenance),
        ("nonsense", C::Other),
        (")", C::Other),
    ] {
        assert_eq!(only(text).0.command, expected, "{text}");
    }
    assert!(!C::Ping.is_counted() && !C::Savepoint.is_counted() && C::Declare.is_counted());
}

fn roles(text: &str) -> String {
    let (statement, parameters) = only(text);
    let all = normalize(text.as_bytes(), &statement, Dialect::default()).roles;
    let scanned: Vec<Role> = parameters.iter().map(|p| p.role).collect();
    assert_eq!(all.get(..scanned.len()), Some(scanned.as_slice()));
    let letter = |role: &Role| match role {
        Role::Key => 'k',
        Role::Limit => 'l',
        Role::Other => 'o',
        Role::Range => 'r',
        Role::Value => 'v',
    };
    all.iter().map(letter).collect()
}

#[test]
fn roles_by_place() {
    for (text, expected) in [
        ("SELECT * FROM t WHERE a = $1 AND b > $2 OR c IS NOT DISTINCT FROM $3", "krk"),
        ("SELECT * FROM t WHERE $1 = a AND $2 < b AND c IS DISTINCT FROM 5", "krr"),
        ("SELECT * FROM t WHERE a::text = $1 AND lower(b) = lower($2) AND c = $3::int", "kkk"),
        ("SELECT * FROM t WHERE (a, b) = ($1, $2) AND (c, d) IN ((1, 2), (3, 4))", "kkkk"),
        ("SELECT * FROM t WHERE a IN (1, 2) AND b NOT IN (3) AND c = ANY($1) AND d <> ALL($2)", "krkr"),
        ("SELECT * FROM t WHERE a BETWEEN 1 AND 2 AND b = 3 AND c LIKE 'x%' AND d ~ 'y'", "rrkrr"),
        ("SELECT * FROM t WHERE a @> $1 AND b ? 'k' AND c ->> 'k' = $2", "rrok"),
        ("SELECT * FROM t WHERE NOT (a = 1 AND (b = 2 OR c = 3))", "kkk"),
        ("SELECT * FROM t WHERE date_trunc('day', a) = $1 AND b = coalesce($2, 0)", "okoo"),
        ("SELECT a = $1, CASE WHEN b = $2 THEN 3 END FROM t LIMIT 10 OFFSET $3", "oooll"),
        ("SELECT a FROM t JOIN u ON u.id = $1 AND u.x < 2 WHERE t.id = 3 ORDER BY 1 LIMIT 21", "krkl"),
        ("SELECT a FROM t ORDER BY b OFFSET $1 ROWS FETCH NEXT $2 ROWS ONLY", "ll"),
        ("SELECT a, count(*) FROM t WHERE a = 1 GROUP BY a HAVING count(*) > $1", "kr"),
        ("SELECT count(*) FILTER (WHERE a = $1) FROM t WHERE b = $2", "ok"),
        ("UPDATE t SET a = $1, b = b + $2, c = f($3) WHERE id = $4 RETURNING a + 1", "vvvko"),
        (
            "INSERT INTO t (a, b) VALUES ($1, lower($2)) ON CONFLICT (a) DO UPDATE SET b = $3 WHERE t.c = 4",
            "vvvk",
        ),
        ("INSERT INTO t SELECT $1 FROM u WHERE id = $2", "ok"),
        ("DELETE FROM t USING u WHERE t.id = u.id AND u.a = $1", "k"),
        ("SELECT * FROM t WHERE id = (SELECT max(id) FROM u WHERE a = $1 LIMIT 1)", "kl"),
        ("SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = $1)", "ok"),
        ("WITH x AS (SELECT * FROM t WHERE a = $1) SELECT * FROM x WHERE b = $2", "kk"),
        ("SELECT * FROM t WHERE a > now() - interval '1 day' AND b = $1", "ok"),
        ("SELECT extract('year' FROM a) FROM t WHERE substring(b from 1 for 2) = $1", "ook"),
        ("SET x = 'y'", "o"),
    ] {
        assert_eq!(roles(text), expected, "{text}");
    }
}

#[test]
fn values_of_parameters() {
    let literal = |n| Value::Literal(value::hash_integer(n));
    let (_, p) = only("SELECT 1 FROM t WHERE a = '1004' AND b = $3 AND c = -7");
    assert_eq!(p[1].value, literal(1004));
    assert_eq!(p[2].value, Value::Placeholder { first: 3, count: 1 });
    assert_eq!(p[3].value, literal(-7));
    assert_eq!((p[1].elements, p[1].list_hash), (1, u64::from(value::hash_integer(1004))));

    let mut list = value::ListHash::new();
    (1..=3).for_each(|n| list.push(value::hash_integer(n)));
    for text in [
        "SELECT * FROM t WHERE a IN (1,'2',3)",
        "SELECT * FROM t WHERE a = ANY('{1,2,3}')",
        "SELECT * FROM t WHERE a = ANY(ARRAY[1,2,3])",
    ] {
        let (_, p) = only(text);
        assert_eq!(p.len(), 1);
        assert_eq!((p[0].elements, p[0].list_hash, p[0].value), (3, list.finish(), literal(1)), "{text}");
    }
    let (_, p) = only("SELECT * FROM t WHERE a IN ($2, $3, $4)");
    assert_eq!((p[0].elements, p[0].value), (3, Value::Placeholder { first: 2, count: 3 }));
    let (_, p) = only("SELECT * FROM t WHERE a = ANY($2)");
    assert_eq!((p[0].elements, p[0].value), (0, Value::Placeholder { first: 2, count: 1 }));
    let (_, p) = only("INSERT INTO t VALUES ($1,$2),($3,$4),($5,$6)");
    assert_eq!((p.len(), p[0].elements, p[0].value), (2, 3, Value::Placeholder { first: 1, count: 6 }));
    assert_eq!(p[1].value, Value::Placeholder { first: 2, count: 1 });
    let (_, p) = only("INSERT INTO t VALUES (1, 2), (3, NULL)");
    let (_, q) = only("INSERT INTO t VALUES (1, 2), (4, NULL)");
    assert_ne!(p[0].list_hash, q[0].list_hash);
}

#[test]
fn parameters_are_bounded() {
    let many = (0..100).map(|n| format!("a = {n}")).collect::<Vec<_>>().join(" OR ");
    let text = format!("SELECT * FROM t WHERE {many}");
    let (statement, parameters) = only(&text);
    assert!(statement.has_more_parameters);
    assert_eq!(parameters.len(), Scan::PARAMETERS_MAX);
    assert_eq!(normalize(text.as_bytes(), &statement, Dialect::default()).roles.len(), 100);
    let (statement, parameters) = only("SELECT * FROM t WHERE a IN (1,2)");
    assert!(!statement.has_more_parameters && parameters.len() == 1);
}

#[test]
fn settings_of_known_names() {
    let check = |text: &str,
                 name: &str,
                 scope: SettingScope,
                 value: Option<&str>,
                 placeholder: Option<u16>| {
        let setting = scan(text).statements.pop().and_then(|s| s.setting).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((setting.name, setting.scope, setting.placeholder), (name, scope, placeholder), "{text}");
        assert_eq!(setting.value.map(|v| &text[v.start as usize..v.end as usize]), value, "{text}");
    };
    use SettingScope::{Bound, Local, Session};
    check("SET pgtally.request = 'r1'", "pgtally.request", Session, Some("'r1'"), None);
    check("set local PGTALLY . Request to x", "pgtally.request", Local, Some("x"), None);
    check("SET SESSION application_name TO DEFAULT;", "application_name", Session, None, None);
    check(
        "BEGIN; SET LOCAL search_path TO \"a\", public;",
        "search_path",
        Local,
        Some("\"a\", public"),
        None,
    );
    check("SET ROLE bob", "role", Session, Some("bob"), None);
    check("SET SESSION ROLE 'bob'", "role", Session, Some("'bob'"), None);
    check("SET SESSION AUTHORIZATION bob", "session_authorization", Session, Some("bob"), None);
    check("SET LOCAL SESSION AUTHORIZATION DEFAULT", "session_authorization", Local, None, None);
    check("RESET search_path", "search_path", Session, None, None);
    check("RESET ROLE", "role", Session, None, None);
    check("RESET SESSION AUTHORIZATION", "session_authorization", Session, None, None);
    check("SELECT set_config('pgtally.request', 'r', true)", "pgtally.request", Local, Some("'r'"), None);
    check("select pg_catalog.set_config('role', $1::text, false) as x", "role", Session, None, Some(1));
    check("SELECT 1, set_config('search_path', $2, $3)", "search_path", Bound(3), None, Some(2));
    for text in
        ["SET work_mem = 1", "SET TIME ZONE 'UTC'", "RESET ALL", "SELECT set_config('a.b', 'c', true)"]
    {
        assert_eq!(only(text).0.setting, None, "{text}");
    }
    assert_eq!(only("SELECT set_config('pgtally.request', 'r', true)").0.command, Command::Set);
    assert_eq!(only("SELECT set_config('pgtally.request', 'r', true), 1").0.command, Command::Select);
    assert_eq!(only("SELECT set_config('role', 'r', true)").0.command, Command::Select);
    same("SET search_path = $1", &["set search_path to a, b", "SET SESSION search_path = 'x'"]);
    same("SET LOCAL pgtally.request = $1", &["SET LOCAL pgtally.request TO 'abc'"]);
    same("SET time zone $1", &["set time zone 'UTC'"]);
    same("SET ROLE $1", &["SET ROLE a", "SET SESSION ROLE b"]);
}

#[test]
fn cut_texts_are_marked() {
    let mut scan = Scan::new();
    let text = b"SELECT 1; SELECT a FROM t";
    scan.scan(text, Dialect::default(), true);
    let cut = scan.statements[1].clone();
    assert!(cut.is_truncated && !scan.statements[0].is_truncated);
    assert!(normalize(text, &cut, Dialect::default()).is_cut);
    assert!(!normalize(text, &scan.statements[0], Dialect::default()).is_cut);
    scan.scan(text, Dialect::default(), false);
    assert_ne!(scan.statements[1].fingerprint, cut.fingerprint);
    scan.scan(b"SELECT 1;", Dialect::default(), true);
    assert!(!scan.statements[0].is_truncated);
}

#[test]
fn long_texts_are_cut_within_the_limit() {
    let text = format!("SELECT {}", "äöü, ".repeat(10_000));
    let (statement, _) = only(&text);
    let normalized = normalize(text.as_bytes(), &statement, Dialect::default());
    assert!(normalized.text.len() <= crate::NORMALIZED_BYTES_MAX);
    assert!(normalized.text.len() > crate::NORMALIZED_BYTES_MAX - 8);
    assert!(!normalized.text.contains('\u{fffd}') && normalized.is_cut);
}

#[test]
fn deep_nesting_is_bounded() {
    for text in [
        "+".repeat(50_000),
        "(".repeat(100_000),
        "[".repeat(100_000),
        "SELECT a IN (1,(1,".repeat(10_000),
        "/*".repeat(100_000),
    ] {
        assert!(scan(&text).statements.len() <= 1);
    }
    let text = format!("SELECT {}1{} FROM t WHERE a = 1; SELECT 2", "(".repeat(500), ")".repeat(500));
    assert_eq!(scan(&text).statements.len(), 2);
}

#[test]
fn a_scan_is_reused_without_growing() {
    let mut scan = Scan::new();
    scan.scan("SELECT 1;".repeat(10_000).as_bytes(), Dialect::default(), false);
    assert_eq!(scan.statements.len(), 10_000);
    scan.scan(b"SELECT a", Dialect::default(), false);
    assert_eq!((scan.statements.len(), scan.parameters.len()), (1, 0));
    assert!(scan.statements.capacity() < 1_000);
}
