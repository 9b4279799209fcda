use pgtally_fingerprint::{NORMALIZED_BYTES_MAX, ShapeFacts};

use super::{facts, fingerprint, is_valid};

/// One line that says everything the facts say, in a fixed order; flags only where true.
fn describe(facts: &ShapeFacts) -> String {
    if !facts.is_parsed {
        return "unknown".into();
    }
    let tables = |tables: &[pgtally_fingerprint::Table]| {
        let name = |it: &pgtally_fingerprint::Table| match &it.schema {
            Some(schema) => format!("{schema}.{}", it.name),
            None => it.name.clone(),
        };
        tables.iter().map(name).collect::<Vec<_>>().join(",")
    };
    let outputs = facts.outputs.iter().map(|it| match (&it.table, &it.column) {
        (Some(table), Some(column)) => format!("{table}.{column}"),
        (None, Some(column)) => column.clone(),
        _ => "-".into(),
    });
    let compared = facts
        .compared
        .iter()
        .map(|it| format!("${}={}.{}", it.parameter, it.table.as_deref().unwrap_or("?"), it.column));
    let mut parts = vec![
        format!("r:{}", tables(&facts.tables_read)),
        format!("w:{}", tables(&facts.tables_written)),
        format!("o:{}", outputs.collect::<Vec<_>>().join(",")),
        format!("c:{}", compared.collect::<Vec<_>>().join(",")),
    ];
    parts.retain(|part| part.len() > 2);
    let flags = [
        (!facts.has_from, "nofrom"),
        (facts.is_catalog_only, "catalog"),
        (facts.is_volatile, "volatile"),
        (facts.has_locking, "locking"),
        (facts.has_skip_locked, "skip"),
        (facts.has_aggregate, "aggregate"),
        (facts.is_count, "count"),
        (facts.has_limit, "limit"),
        (facts.has_star, "star"),
        (facts.is_multi_row_insert, "multirow"),
        (facts.has_key, "key"),
    ];
    parts.extend(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.to_owned()));
    parts.join(" ")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(describe(&facts(text)), expected, "{text}");
}

#[test]
fn columns_are_named_through_aliases() {
    check(
        "SELECT p.author_id AS x, p.title FROM posts p WHERE p.id = $1",
        "r:posts o:posts.author_id,posts.title c:$1=posts.id",
    );
    check("SELECT id FROM posts", "r:posts o:posts.id");
    check(
        "SELECT \"posts\".\"id\" FROM \"posts\" WHERE (\"posts\".\"id\" = $1) LIMIT $2",
        "r:posts o:posts.id c:$1=posts.id limit",
    );
    check("SELECT a.id, b.id, c.n + $1 FROM a JOIN app.b ON b.a_id = a.id, c", "r:a,c,app.b o:a.id,b.id,-");
    check("SELECT id FROM a JOIN b ON b.a_id = a.id", "r:a,b o:id");
    check("SELECT app.posts.id FROM app.posts", "r:app.posts o:posts.id");
    check("SELECT s.id FROM (SELECT id FROM posts) s", "r:posts o:id");
    check("SELECT id, p.*, title FROM posts p", "r:posts o:posts.id star");
    check("TABLE posts", "r:posts star");
}

#[test]
fn keys_are_equalities_with_parameters() {
    check(
        "SELECT $1 FROM t WHERE a IN ($2) AND b = ANY($3) AND c IS NOT DISTINCT FROM $4",
        "r:t o:- c:$2=t.a,$3=t.b,$4=t.c",
    );
    check(
        "SELECT $1 FROM t WHERE (a, b) = ($2, $3) OR (c, d) IN (($4, $5))",
        "r:t o:- c:$2=t.a,$3=t.b,$4=t.c,$5=t.d",
    );
    check(
        "SELECT $1 FROM t WHERE lower(a) = lower($2) AND $3 = b AND c::text = $4::text",
        "r:t o:- c:$2=t.a,$3=t.b,$4=t.c",
    );
    check(
        "SELECT $1 FROM t WHERE a > $2 AND b BETWEEN $3 AND $4 AND c <> $5 AND d LIKE $6 AND e NOT IN ($7)",
        "r:t o:-",
    );
    check("SELECT a = $1 FROM t", "r:t o:-");
    check("SELECT $1 FROM t JOIN u ON u.t_id = t.id AND u.kind = $2", "r:t,u o:- c:$2=u.kind");
    check(
        "SELECT $1 FROM t WHERE EXISTS (SELECT $2 FROM u WHERE u.t_id = t.id AND u.x = $3 AND t.y = $4)",
        "r:t,u o:- c:$3=u.x,$4=t.y",
    );
    check("SELECT a FROM t WHERE a = ANY(ARRAY[$1, $2])", "r:t o:t.a c:$1=t.a,$2=t.a");
}

#[test]
fn tables_read_and_written() {
    check(
        "WITH p AS (SELECT id FROM posts) SELECT p.id FROM p JOIN tags ON tags.post_id = p.id",
        "r:posts,tags o:id",
    );
    check("WITH posts AS (SELECT id FROM posts) SELECT id FROM posts", "r:posts o:id");
    check(
        "WITH RECURSIVE t AS (SELECT id FROM n WHERE id = $1 UNION ALL SELECT n.id FROM n JOIN t ON n.parent_id = t.id) SELECT id FROM t",
        "r:n o:id c:$1=n.id",
    );
    check("WITH d AS (DELETE FROM q WHERE id = $1 RETURNING id) SELECT id FROM d", "w:q o:id c:$1=q.id");
    check("INSERT INTO a (x) VALUES ($1) RETURNING id", "w:a o:a.id");
    check("INSERT INTO a (x) SELECT y FROM b", "r:b w:a multirow");
    check("INSERT INTO a (x) VALUES ($1), ($2)", "w:a multirow");
    check("INSERT INTO a (x) SELECT unnest($1)", "w:a multirow");
    check("INSERT INTO a (x) SELECT $1 WHERE NOT EXISTS (SELECT $2 FROM a WHERE x = $3)", "r:a w:a c:$3=a.x");
    check("INSERT INTO a (x) VALUES ($1) ON CONFLICT (x) DO UPDATE SET y = excluded.y", "w:a");
    check("UPDATE a SET x = $1 WHERE id = $2", "w:a c:$2=a.id key");
    check("UPDATE a SET x = b.x FROM b WHERE b.id = a.b_id", "r:b w:a");
    check("DELETE FROM a USING b WHERE a.b_id = b.id AND b.k = $1", "r:b w:a c:$1=b.k key");
    check(
        "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN UPDATE SET x = $1 WHEN NOT MATCHED THEN INSERT VALUES ($2)",
        "r:b w:a",
    );
    check("TRUNCATE a, b", "w:a,b");
    check("COPY a (x) FROM STDIN", "w:a");
    check("COPY (SELECT x FROM a) TO STDOUT", "r:a o:a.x");
    check("DECLARE c CURSOR FOR SELECT p.author_id FROM posts p", "r:posts o:posts.author_id");
    check("PREPARE s AS SELECT id FROM a WHERE id = $1", "r:a o:a.id c:$1=a.id");
    check("EXPLAIN SELECT id FROM a", "r:a o:a.id");
}

#[test]
fn flags() {
    check("SELECT $1", "o:- nofrom");
    check("SELECT nextval($1)", "o:- nofrom volatile");
    check("SELECT id FROM t ORDER BY random()", "r:t o:t.id volatile");
    check("SELECT pg_try_advisory_xact_lock($1)", "o:- nofrom volatile");
    check("SELECT now(), CURRENT_TIMESTAMP", "o:-,- nofrom");
    check("SELECT id FROM t TABLESAMPLE system ($1)", "r:t o:t.id volatile");
    check(
        "SELECT relname FROM pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace",
        "r:pg_class,pg_catalog.pg_namespace o:relname catalog",
    );
    check("SELECT $1 FROM information_schema.tables", "r:information_schema.tables o:- catalog");
    check("SELECT $1 FROM pg_class, posts", "r:pg_class,posts o:-");
    check("SELECT id FROM jobs FOR UPDATE SKIP LOCKED LIMIT $1", "r:jobs o:jobs.id locking skip limit");
    check("SELECT id FROM jobs FOR UPDATE", "r:jobs o:jobs.id locking");
    check("SELECT count(*) FROM t", "r:t o:- aggregate count");
    check("SELECT count($1) FROM t", "r:t o:- aggregate count");
    check("SELECT count(*) + $1 FROM t", "r:t o:- aggregate");
    check("SELECT coalesce(sum(x), $1) FROM t WHERE u = $2", "r:t o:- c:$2=t.u aggregate");
    check("SELECT count(*) OVER () FROM t", "r:t o:-");
    check("SELECT (SELECT count(*) FROM u) FROM t", "r:t,u o:-");
    check("SELECT a FROM t GROUP BY a", "r:t o:t.a aggregate");
    check("SELECT a FROM t FETCH FIRST $1 ROWS ONLY", "r:t o:t.a limit");
    check("SELECT a FROM t LIMIT ALL", "r:t o:t.a");
    check("SELECT a FROM t UNION SELECT b FROM u LIMIT $1", "r:t,u limit");
    check("VALUES ($1)", "nofrom");
}

#[test]
fn what_is_no_single_known_statement() {
    check("", "unknown");
    check("SELEC", "unknown");
    check("SELECT 1; SELECT 2", "unknown");
    check("SELECT \0", "unknown");
    check("CREATE TABLE t (a int)", "nofrom");
    check("DROP FUNCTION", "unknown");
    check(&format!("SELECT '{}'", "x".repeat(NORMALIZED_BYTES_MAX)), "unknown");
}

#[test]
fn deep_nesting_neither_overflows_nor_aborts() {
    let fill = |unit: &str| unit.repeat((NORMALIZED_BYTES_MAX - 20) / unit.len());
    for unit in ["(", "NOT ", "- ", "[", "CASE WHEN ", "a.", "(SELECT ", "ARRAY[", "f(", "x::"] {
        let _ = facts(&format!("SELECT {}", fill(unit)));
        let _ = facts(&format!("SELECT {}a", fill(unit)));
    }
    for tail in ["+1", "::int", " UNION SELECT 1", " OR a", " AND a", "||a", "[1]", " COLLATE c", " IS NULL"]
    {
        let _ = facts(&format!("SELECT a{}", fill(tail)));
        let _ = facts(&format!("SELECT a FROM t WHERE a{}", fill(tail)));
    }
    let _ = facts(&format!("SELECT 1 FROM t{}", fill(" CROSS JOIN t")));
    let half = (NORMALIZED_BYTES_MAX - 20) / 2;
    let _ = facts(&format!("SELECT {}1{}", "(".repeat(half), ")".repeat(half)));
    let _ = facts(&format!("SELECT {}a{}", "f(".repeat(half / 2), ")".repeat(half / 2)));
    let _ = facts(&format!("SELECT 1 FROM {}t{}", "(".repeat(half), ")".repeat(half)));
    let subselects = half / 9;
    let _ = facts(&format!("{}SELECT 1{}", "SELECT (".repeat(subselects), ")".repeat(subselects)));
}

#[test]
fn fingerprints_are_those_of_libpg_query() {
    assert_eq!(fingerprint("SELECT 1"), fingerprint("SELECT $1"));
    assert_eq!(
        fingerprint("SELECT id FROM t WHERE id IN (1, 2)"),
        fingerprint("SELECT id FROM t WHERE id IN ($1)")
    );
    assert_eq!(fingerprint("SELECT 1").map(|it| it.len()), Some(16));
    assert_eq!(fingerprint("nonsense"), None);
    assert!(is_valid("SELECT id FROM t WHERE id = ANY($1)"));
    assert!(!is_valid("SELECT FROM WHERE"));
}

#[test]
fn wide_statements_of_orms_are_known() {
    let joins = (0..40).map(|n| format!(" LEFT JOIN t{n} ON t{n}.id = a.t{n}_id")).collect::<String>();
    assert_eq!(facts(&format!("SELECT a.id FROM a{joins} WHERE a.id = $1")).tables_read.len(), 41);
    let columns = (0..300).map(|n| format!("a.c{n}")).collect::<Vec<_>>().join(", ");
    assert_eq!(facts(&format!("SELECT {columns} FROM a")).outputs.len(), 300);
    let conditions = (1..200).map(|n| format!("a.c = ${n}")).collect::<Vec<_>>().join(" OR ");
    assert_eq!(facts(&format!("SELECT a.id FROM a WHERE {conditions}")).compared.len(), 199);
}

/// The normalizer's corpus: what it writes must stay SQL, or every rule that needs facts is blind.
#[test]
fn normalized_texts_are_accepted() {
    let corpus = include_str!("../../fingerprint/tests/fixtures/sql/normalized.snapshot.txt");
    let texts = corpus.lines().filter_map(|line| line.split_once("] ").map(|(_, text)| text));
    // Their grammar takes a literal where the normalizer writes a parameter; no rule asks about them.
    let texts = texts.filter(|text| !text.starts_with("DO ") && !text.starts_with("NOTIFY "));
    let refused: Vec<&str> = texts.filter(|text| !is_valid(text)).collect();
    assert_eq!(refused, [""; 0]);
}

#[track_caller]
fn same_source(one: &str, other: &str) {
    let (one_source, other_source) = (facts(one).source, facts(other).source);
    assert!(one_source.is_some(), "{one}");
    assert_eq!(one_source, other_source, "{one}\n{other}");
}

#[test]
fn a_count_and_its_page_have_one_source() {
    same_source(
        "SELECT COUNT(*) AS c FROM (SELECT DISTINCT id_0 FROM (SELECT p0_.id AS id_0 FROM posts p0_ WHERE p0_.views = $1 \
         ORDER BY p0_.id ASC) r) t",
        "SELECT p0_.id AS id_0, p0_.title AS title_1 FROM posts p0_ WHERE p0_.views = $1 ORDER BY p0_.id ASC LIMIT $2",
    );
    same_source(
        "SELECT COUNT(*) AS \"__count\" FROM \"posts\" WHERE \"posts\".\"blog_id\" = $1",
        "SELECT \"posts\".\"id\", \"posts\".\"title\" FROM \"posts\" WHERE \"posts\".\"blog_id\" = $1 ORDER BY \"posts\".\"id\" LIMIT $2 OFFSET $3",
    );
    same_source(
        "select count(p1_0.id) from post p1_0 where p1_0.blog_id=$1",
        "select p1_0.id, p1_0.title from post p1_0 where p1_0.blog_id=$1 fetch first $2 rows only",
    );
    same_source(
        "SELECT count(*) FROM (SELECT DISTINCT a FROM t WHERE b = $1) AS sub",
        "SELECT DISTINCT a FROM t WHERE b = $1 LIMIT $2",
    );
    let limited_before =
        ("SELECT a FROM t LIMIT $1", "SELECT count(*) FROM t JOIN u ON u.id = t.u_id WHERE t.b = $1");
    assert_ne!(facts(limited_before.0).source, facts(limited_before.1).source);
    assert_ne!(facts("SELECT a FROM t WHERE b = $1").source, facts("SELECT a FROM t WHERE c = $1").source);
    let source = facts("SELECT a FROM t WHERE b = $2 AND c < $3 LIMIT $4").source.unwrap();
    assert_eq!(source.parameters, 2);
    for text in ["SELECT 1", "SELECT a FROM t UNION SELECT a FROM u", "UPDATE t SET a = $1"] {
        assert_eq!(facts(text).source, None, "{text}");
    }
}

#[test]
fn values_are_told_by_column() {
    let told = |text: &str| {
        let inserted = facts(text).inserted;
        inserted.iter().map(|it| format!("{}={}", it.column, it.parameter)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        told("INSERT INTO t (id, a, b) VALUES ($1, lower($2), now()) ON CONFLICT (id) DO UPDATE SET a = $3"),
        "id=1 a=2"
    );
    assert_eq!(told("INSERT INTO t VALUES ($1)"), "");
    assert_eq!(told("INSERT INTO t (a) SELECT b FROM u"), "");
}
