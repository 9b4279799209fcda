use pgtally_fingerprint::{Access, Effect, Function, NORMALIZED_BYTES_MAX, Table};

use super::{NO_EFFECT, WALKED};
use crate::access;

/// One line that says everything the access says, in a fixed order.
fn describe(access: &Access) -> String {
    let tables = |tables: &[Table]| {
        let name = |it: &Table| match &it.schema {
            Some(schema) => format!("{schema}.{}", it.name),
            None => it.name.clone(),
        };
        tables.iter().map(name).collect::<Vec<_>>().join(",")
    };
    let names = |names: &[Function]| {
        let name = |it: &Function| match &it.schema {
            Some(schema) => format!("{schema}.{}", it.name),
            None => it.name.clone(),
        };
        names.iter().map(name).collect::<Vec<_>>().join(",")
    };
    let mut parts = vec![match access.refusal {
        None => "plain".to_owned(),
        Some(refusal) => format!("{refusal:?}"),
    }];
    if access.effect != Effect::Nothing {
        parts.push(format!("{:?}", access.effect));
    }
    let lists = [
        ("r", tables(&access.reads)),
        ("w", tables(&access.writes)),
        ("f", names(&access.functions)),
        ("o", names(&access.operators)),
        ("t", names(&access.types)),
        ("d", access.fields.join(",")),
    ];
    parts.extend(
        lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(kind, list)| format!("{kind}:{list}")),
    );
    parts.join(" ")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(describe(&access(text)), expected, "{text}");
}

#[test]
fn plain_reads() {
    check("SELECT 1", "plain");
    check("SELECT name FROM products WHERE id = $1", "plain r:products o:=");
    check("SELECT p.name FROM shop.products p", "plain r:shop.products d:name");
    check("TABLE products", "plain r:products");
    check("VALUES ($1, $2)", "plain");
    check("(SELECT a FROM x) UNION ALL (SELECT b FROM y) ORDER BY 1", "plain r:x,y");
    check("SELECT DISTINCT a FROM x", "plain r:x");
    check("SELECT DISTINCT ON (a) a FROM x ORDER BY a USING <", "plain r:x o:<");
    check("SELECT a FROM x NATURAL JOIN y", "plain r:x,y o:=");
    check("SELECT a FROM x LEFT JOIN y USING (id)", "plain r:x,y o:=");
    check("SELECT a FROM ONLY x, LATERAL (SELECT b FROM y WHERE y.id = x.id) z", "plain r:x,y o:= d:id");
    check("SELECT (SELECT max(b) FROM y) FROM x WHERE EXISTS (SELECT FROM z)", "plain r:x,y,z f:max");
    check("SELECT a FROM x WHERE a IN (SELECT b FROM y) LIMIT (SELECT n FROM z)", "plain r:x,y,z o:=");
    check("SELECT a FROM x WHERE a IN ($1, $2) AND b BETWEEN $3 AND $4", "plain r:x o:<,<=,=,>,>=");
    check("SELECT a FROM x WHERE b LIKE $1 OR c ~ $2 OR d IS DISTINCT FROM $3", "plain r:x o:=,~,~~");
    check(
        "SELECT count(*) FILTER (WHERE lower(a) = $1) FROM x GROUP BY ROLLUP (b)",
        "plain r:x f:count,lower o:=",
    );
    check("SELECT sum(a) OVER (PARTITION BY f(b) ORDER BY g(c)) FROM x", "plain r:x f:f,g,sum");
    check("SELECT sum(a) OVER w FROM x WINDOW w AS (ORDER BY h(c))", "plain r:x f:h,sum");
    check("SELECT a FROM x GROUP BY a HAVING bool_or(b)", "plain r:x f:bool_or");
    check("SELECT CASE a WHEN $1 THEN f(b) ELSE g(c) END FROM x", "plain r:x f:f,g o:=");
    check("SELECT a::app.money, CAST(b AS int) FROM x", "plain r:x t:app.money,pg_catalog.int4");
    check("SELECT a OPERATOR(app.+) b FROM x", "plain r:x o:app.+");
    check("SELECT app.price(a) FROM x", "plain r:x f:app.price");
    check("SELECT (x.a).b, (f(x)).c[g($1)], a[1:2] FROM x", "plain r:x f:f,g d:a,b,c");
    check("SELECT p FROM x, products_of(x.id) p", "plain r:x f:products_of d:id");
    check("SELECT * FROM ROWS FROM (f(), g()) AS t(a, b)", "plain f:f,g");
    check(
        "SELECT ARRAY[f(a)], ROW(g(b)), COALESCE(h(c)), GREATEST(i(d)), NULLIF(j(e), k(f)) FROM x",
        "plain r:x f:f,g,h,i,j,k o:=",
    );
    check(
        "SELECT a IS NULL, b IS TRUE, NOT c, EXTRACT(year FROM d) FROM x",
        "plain r:x f:pg_catalog.extract",
    );
    check("SELECT JSON_OBJECT('a' : f(b)), JSON_ARRAYAGG(g(c)) FROM x", "plain r:x f:f,g");
    check("SELECT XMLELEMENT(NAME a, f(b)) FROM x", "plain r:x f:f");
    check("SELECT \"Odd\"(a) FROM \"Odd Name\"", "plain r:Odd Name f:Odd");
    check(
        "SELECT t.a FROM JSON_TABLE(f(x), '$[*]' COLUMNS (a int PATH '$.a')) t",
        "plain f:f t:pg_catalog.int4 d:a",
    );
}

#[test]
fn names_of_with_queries_are_no_relations_where_they_are_in_force() {
    check("WITH c AS (SELECT a FROM x) SELECT a FROM c", "plain r:x");
    check("WITH x AS (SELECT a FROM x) SELECT a FROM x", "plain r:x");
    check("WITH c AS (SELECT a FROM x) SELECT a FROM app.c", "plain r:x,app.c");
    check("WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t", "plain o:+");
    check("SELECT a FROM (WITH c AS (SELECT a FROM x) SELECT a FROM c) z, c", "plain r:c,x");
    check("WITH a AS (SELECT 1), b AS (SELECT n FROM a) SELECT n FROM b, c", "plain r:c");
}

#[test]
fn selects_that_are_not_plain() {
    check("SELECT a FROM x FOR UPDATE", "Locking r:x");
    check("SELECT a FROM (SELECT a FROM x FOR KEY SHARE SKIP LOCKED) y", "Locking r:x");
    check("SELECT a FROM x TABLESAMPLE system (10)", "TableSample r:x");
    check("SELECT a INTO y FROM x", "Into Catalog r:x");
    check("SELECT CURRENT_TIMESTAMP", "SessionValue");
    check("SELECT a FROM x WHERE owner = CURRENT_USER", "SessionValue r:x o:=");
    check("SELECT a FROM x WHERE d > CURRENT_DATE - 1", "SessionValue r:x o:-,>");
    check("WITH g AS (DELETE FROM x RETURNING a) SELECT a FROM g, y", "Writes Rows r:y w:x");
    check("COPY x TO STDOUT", "NotSelect r:x");
    check("COPY (SELECT a FROM x) TO STDOUT", "NotSelect r:x");
    check("DECLARE c CURSOR FOR SELECT a FROM x", "NotSelect r:x");
    check("EXPLAIN SELECT a FROM x", "NotSelect r:x");
}

#[test]
fn rows_written() {
    check("INSERT INTO x (a) VALUES ($1)", "Writes Rows w:x");
    check("INSERT INTO x SELECT f(a) FROM y RETURNING g(b)", "Writes Rows r:y w:x f:f,g");
    check(
        "INSERT INTO x (a) VALUES ($1) ON CONFLICT (lower(b)) WHERE c DO UPDATE SET a = f(excluded.a) WHERE g(x)",
        "Writes Rows w:x f:f,g,lower d:a",
    );
    check(
        "UPDATE ONLY app.x SET a = (SELECT b FROM y) FROM z WHERE x.id = z.id",
        "Writes Rows r:y,z w:app.x o:= d:id",
    );
    check("UPDATE x SET (a, b) = (SELECT c, d FROM y)", "Writes Rows r:y w:x");
    check("UPDATE x SET a[f(1)] = DEFAULT WHERE CURRENT OF c", "Writes Rows w:x f:f");
    check("DELETE FROM x USING y WHERE x.id = y.id RETURNING *", "Writes Rows r:y w:x o:= d:id");
    check(
        "MERGE INTO x USING y ON x.id = y.id WHEN MATCHED AND f(y.a) THEN UPDATE SET a = g(y.a) WHEN NOT MATCHED THEN INSERT VALUES (h(y.b)) RETURNING merge_action()",
        "Writes Rows r:y w:x f:f,g,h o:= d:a,b,id",
    );
    check("COPY x (a) FROM STDIN WHERE f(a)", "Writes Rows w:x f:f");
    check("COPY (DELETE FROM x RETURNING a) TO STDOUT", "Writes Rows w:x");
    check("EXPLAIN ANALYZE UPDATE x SET a = 1", "Writes Rows w:x");
    check(
        "WITH a AS (INSERT INTO x DEFAULT VALUES), b AS (UPDATE y SET c = 1) SELECT 1",
        "Writes Rows w:x,y",
    );
    check("INSERT INTO x WITH g AS (DELETE FROM y RETURNING *) SELECT * FROM g", "Writes Rows w:x,y");
    check("PREPARE p AS UPDATE x SET a = $1", "Writes Prepare w:x");
    check("PREPARE p (int) AS SELECT f(a) FROM x", "NotSelect Prepare r:x f:f");
}

#[test]
fn whatever_changes_definitions_voids_everything() {
    for text in [
        "CREATE TABLE x (a int)",
        "CREATE TABLE x AS SELECT 1",
        "ALTER TABLE x ENABLE ROW LEVEL SECURITY",
        "DROP VIEW x",
        "TRUNCATE x",
        "REFRESH MATERIALIZED VIEW x",
        "GRANT SELECT ON x TO y",
        "REVOKE SELECT ON x FROM y",
        "ALTER ROLE x SET search_path = y",
        "CREATE POLICY p ON x USING (true)",
        "COMMENT ON TABLE x IS $1",
        "REASSIGN OWNED BY x TO y",
        "DROP OWNED BY x",
        "REINDEX TABLE x",
        "CLUSTER x",
        "IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z",
        "SECURITY LABEL ON TABLE x IS $1",
        "LOAD $1",
        "FROBNICATE x",
    ] {
        check(text, "NotSelect Catalog");
    }
}

#[test]
fn what_a_tree_does_not_tell_may_do_everything() {
    for text in
        ["DO $$ x $$", "CALL f()", "COMMIT PREPARED $1", "PREPARE TRANSACTION $1", "ROLLBACK PREPARED $1"]
    {
        check(text, "NotSelect Everything");
    }
    let long = format!("SELECT {}", "1 + ".repeat(NORMALIZED_BYTES_MAX));
    for text in
        ["", ";", "SELECT FROM WHERE", "SELECT 1; SELECT 2", "EXPLAIN EXECUTE p", &long, "SELECT '\0'"]
    {
        check(text, "Unknown Everything");
    }
    check("EXECUTE p ($1)", "NotSelect Execute");
    check(&format!("SELECT {}1{}", "(SELECT ".repeat(90), ")".repeat(90)), "Unknown Everything");
}

#[test]
fn sessions_settings_and_transactions_write_nothing_by_themselves() {
    for text in
        ["LISTEN x", "FETCH 10 FROM c", "CLOSE c", "DEALLOCATE ALL", "LOCK TABLE x", "VACUUM x", "SHOW x"]
    {
        check(text, "NotSelect");
    }
    for text in ["SET x = $1", "SET ROLE x", "RESET ALL", "DISCARD ALL"] {
        check(text, "NotSelect Session");
    }
    for text in ["BEGIN", "COMMIT AND CHAIN", "ROLLBACK TO SAVEPOINT s", "START TRANSACTION", "END"] {
        check(text, "NotSelect Transaction");
    }
}

#[test]
fn inserts_are_told_from_what_moves_keys() {
    for text in ["INSERT INTO x VALUES ($1) ON CONFLICT DO NOTHING", "COPY x FROM STDIN"] {
        assert!(access(text).only_inserts, "{text}");
    }
    for text in [
        "INSERT INTO x VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = $2",
        "WITH a AS (DELETE FROM y) INSERT INTO x VALUES ($1)",
        "MERGE INTO x USING y ON x.a = y.a WHEN NOT MATCHED THEN INSERT VALUES ($1)",
        "UPDATE x SET a = $1",
        "SELECT a FROM x",
    ] {
        assert!(!access(text).only_inserts, "{text}");
    }
}

#[test]
fn lists_are_sorted_for_binary_search() {
    assert!(NO_EFFECT.is_sorted() && WALKED.is_sorted());
}

#[test]
fn what_may_have_been_cut_is_unknown() {
    // The cut falls behind a table, and what is left of the statement is one.
    for missing in 0..4 {
        let mut text = "SELECT 1 FROM orders ".to_owned();
        text.push_str(&" ".repeat(NORMALIZED_BYTES_MAX - missing - text.len()));
        assert_eq!(crate::access(&text), Access::default(), "{missing}");
    }
}
