//! Findings that are no loops: each with what fires and what stays silent.

use super::{AUTHOR, check, check_with, describe, silent};
use crate::finding::{Detection, FindingKind};
use crate::settings::FindingSettings;
use crate::testing::Script;

const PAGE: &str = "SELECT id, title FROM posts WHERE blog_id = $1 ORDER BY id LIMIT $2";
const COUNT: &str = "SELECT count(*) FROM posts WHERE blog_id = $1";

#[track_caller]
fn only(script: &Script, kind: FindingKind) -> Option<Detection> {
    let mut found = script.evaluate(&FindingSettings::default());
    found.retain(|it| it.kind == kind);
    assert!(found.len() <= 1, "{:?}", found.iter().map(describe).collect::<Vec<_>>());
    found.pop()
}

#[track_caller]
fn fires(script: &Script, expected: &str) -> Detection {
    let found = script.evaluate(&FindingSettings::default());
    let texts: Vec<_> = found.iter().map(describe).collect();
    let at = texts.iter().position(|text| text == expected);
    found.into_iter().nth(at.unwrap_or_else(|| panic!("{texts:?}"))).expect("just found")
}

#[test]
fn a_row_that_was_just_written_is_read_again() {
    let read = "SELECT id, title FROM posts WHERE id = $1";
    let mut returned = Script::new();
    returned.rows("INSERT INTO posts (title) VALUES ($1) RETURNING id", &["posts.id"], vec![vec![7_001]]);
    returned.keyed(read, 7_001);
    let found = fires(&returned, "reread_after_write high info 1/1 posts.id");
    assert_eq!(found.linked_parameter, Some(1));
    assert!(found.fix.contains("RETURNING"), "{}", found.fix);

    let mut given = Script::new();
    given.with_keys("INSERT INTO posts (id, title) VALUES ($1, $2)", &[&[7_001], &[3]]).keyed(read, 7_001);
    check(&given, &["reread_after_write high info 1/1 posts.id"]);

    let mut updated = Script::new();
    updated.keyed("UPDATE posts SET title = $1 WHERE id = $2", 5).keyed(read, 5).keyed(read, 5);
    check(&updated, &["reread_after_write high info 2/2 posts.id"]);
}

#[test]
fn other_reads_after_a_write_are_silent() {
    for (write, read) in [
        ("UPDATE posts SET a = $1 WHERE id = $2", "SELECT id FROM comments WHERE post_id = $1"),
        ("UPDATE posts SET a = $1 WHERE id = $2", "SELECT id FROM posts WHERE parent_id = $1"),
        ("UPDATE posts SET a = $1 WHERE id = $2", "SELECT p.id, a.x FROM posts p, a WHERE p.id = $1"),
        ("UPDATE posts SET a = $1 WHERE id = $2", "SELECT id FROM posts WHERE id = $1 FOR UPDATE"),
        ("UPDATE items SET a = $1 WHERE order_id = $2", "SELECT id FROM items WHERE order_id = $1"),
        ("DELETE FROM posts WHERE id = $1", "SELECT id FROM posts WHERE id = $1"),
        ("INSERT INTO items (order_id) VALUES ($1)", "SELECT id FROM items WHERE order_id = $1"),
    ] {
        let mut script = Script::new();
        script.keyed(write, 5).keyed(read, 5);
        silent(&script);
    }
    // ON CONFLICT DO NOTHING, and a row that somebody else has changed first: nothing was written.
    for write in ["INSERT INTO posts (id) VALUES ($1)", "UPDATE posts SET a = $1 WHERE id = $2"] {
        let mut unwritten = Script::new();
        unwritten.affected(0).keyed(write, 5).affected(1).keyed("SELECT id FROM posts WHERE id = $1", 5);
        silent(&unwritten);
    }
    let mut before = Script::new();
    before.keyed("SELECT id FROM posts WHERE id = $1", 5).keyed("UPDATE posts SET a = $1 WHERE id = $2", 5);
    before.keyed("SELECT id FROM posts WHERE id = $1", 6);
    silent(&before);
}

#[test]
fn what_was_rolled_back_was_not_written() {
    let (read, write) = ("SELECT id FROM posts WHERE id = $1", "UPDATE posts SET a = $1 WHERE id = $2");
    let returning = "UPDATE posts SET a = $1 WHERE id = $2 RETURNING id";
    let mut retried = Script::new();
    retried.transaction(1, true).keyed(read, 5).keyed(write, 5);
    retried.transaction(2, false).keyed(read, 5).keyed(write, 5);
    silent(&retried);
    let mut returned = Script::new();
    returned.transaction(1, true).keyed_rows(returning, 5, &["posts.id"], vec![vec![5]]);
    returned.transaction(2, false).keyed(read, 5);
    silent(&returned);
    let mut failed = Script::new();
    failed
        .transaction(1, false)
        .keyed(write, 5)
        .failing(b"23505")
        .keyed("INSERT INTO tags (a) VALUES ($1)", 1);
    failed.transaction(0, false).keyed(read, 5);
    silent(&failed);
}

#[test]
fn a_count_of_the_rows_that_are_read_is_found() {
    let mut script = Script::new();
    script.keyed(COUNT, 3).others(20).keyed(PAGE, 3);
    let found = fires(&script, "count_then_select high info 1/1 ");
    assert_eq!(found.parent.map(|it| it.fingerprint), Some(crate::testing::fingerprint(PAGE)));
    // The other way round it is the same.
    let mut reversed = Script::new();
    reversed.others(20).keyed(PAGE, 3).others(0).keyed(COUNT, 3);
    fires(&reversed, "count_then_select high info 1/1 ");
    let mut ranged = Script::new();
    ranged.others(1).read("SELECT count(*) FROM posts WHERE day > $1");
    ranged.others(2).read("SELECT id FROM posts WHERE day > $1 LIMIT $2");
    fires(&ranged, "count_then_select medium info 1/1 ");
}

#[test]
fn other_counts_are_silent() {
    let mut other_key = Script::new();
    other_key.keyed(COUNT, 3).others(20).keyed(PAGE, 4);
    silent(&other_key);
    let mut other_table = Script::new();
    other_table.keyed(COUNT, 3).keyed("SELECT id FROM comments WHERE blog_id = $1 LIMIT $2", 3);
    silent(&other_table);
    let mut written = Script::new();
    written.keyed(COUNT, 3).read("INSERT INTO posts (title) VALUES ($1)").others(20).keyed(PAGE, 3);
    silent(&written);
    let mut apart = Script::new();
    apart.others(1).read("SELECT count(*) FROM posts WHERE day > $1").read("SELECT id FROM tags");
    apart.others(2).read("SELECT id FROM posts WHERE day > $1 LIMIT $2");
    silent(&apart);
}

#[test]
fn large_results_without_a_limit_are_unbounded() {
    let text = "SELECT id FROM events WHERE project_id = $1";
    let mut script = Script::new();
    script.keyed(text, 1).wide(999, 40_000, None);
    silent(&script);
    script.keyed(text, 2).wide(1_000, 40_000, None);
    check(&script, &["unbounded_result high warning 1/1"]);
    let mut heavy = Script::new();
    heavy.keyed(text, 1).wide(20, 1024 * 1024, None);
    check(&heavy, &["unbounded_result high warning 1/1"]);
    assert!(only(&heavy, FindingKind::UnboundedResult).is_some_and(|it| it.fix.contains("LIMIT")));
}

#[test]
fn bounded_results_are_silent_however_large() {
    for text in [
        "SELECT id FROM events ORDER BY id LIMIT 5000",
        "SELECT day, count(*) FROM events GROUP BY day",
        "SELECT relname FROM pg_class",
        "SELECT n FROM generate_series(1, 5000) n",
        "COPY events TO STDOUT",
        "INSERT INTO events (a) SELECT a FROM b RETURNING id",
    ] {
        let mut script = Script::new();
        script.read(text).wide(5_000, 2 * 1024 * 1024, None);
        silent(&script);
    }
    let mut list = Script::new();
    list.with_keys("SELECT id FROM events WHERE project_id IN ($1)", &[&[1, 2, 3]]);
    list.wide(5_000, 100_000, None);
    silent(&list);
    let mut cursor = Script::new();
    cursor.read("DECLARE c CURSOR FOR SELECT id FROM events").wide(5_000, 100_000, None).in_pieces();
    silent(&cursor);
    let mut one = Script::new();
    one.keyed("SELECT image FROM images WHERE id = $1", 1).wide(1, 4 * 1024 * 1024, None);
    silent(&one);
}

#[test]
fn wide_columns_of_repeated_reads_are_named() {
    let text = "SELECT id, title, body FROM posts WHERE id = $1";
    let mut script = Script::new();
    script.repeat(3, |script, n| {
        script.keyed(text, 90_000 + i64::from(n)).wide(1, 20_000, Some((2, 19_500)));
    });
    let found = fires(&script, "over_fetch medium info 3/3");
    assert_eq!(found.columns, ["posts.body"]);
    assert!(found.fix.contains("posts.body"), "{}", found.fix);
    let star = "SELECT * FROM posts WHERE id = $1";
    let mut starred = Script::new();
    starred.repeat(3, |script, n| {
        script.keyed(star, 90_000 + i64::from(n)).wide(1, 20_000, Some((7, 19_500)));
    });
    assert_eq!(fires(&starred, "over_fetch medium info 3/3").columns, ["posts.wide"]);

    for (repeats, bytes, column_bytes) in [(2, 90_000, 80_000), (3, 2_000, 1_900), (3, 20_000, 9_000)] {
        let mut script = Script::new();
        script.repeat(repeats, |script, n| {
            script.keyed(text, 90_000 + i64::from(n)).wide(1, bytes, Some((2, column_bytes)));
        });
        check(&script, &[]);
    }
}

/// Five reads of 5 ms that know everything from the start.
fn dashboard() -> Script {
    let mut script = Script::new();
    script.cost_ms(4, 1);
    for table in ["orders", "invoices", "tickets", "visits", "alerts"] {
        script.keyed(&format!("SELECT id FROM {table} WHERE account_id = $1"), 70_007).cells(&[80_000]);
    }
    script
}

#[test]
fn reads_that_do_not_need_each_other_could_go_together() {
    let found = fires(&dashboard(), "sequential_independent medium info 5/5");
    assert_eq!(found.wasted_ns, 4_000_000);
    check_with(&dashboard(), &FindingSettings::run_mode(), &[]);
}

#[test]
fn dependent_short_or_pipelined_reads_are_silent() {
    let mut chain = Script::new();
    chain.cost_ms(4, 1);
    for (n, table) in (1_i64..).zip(["orders", "invoices", "tickets", "visits", "alerts", "users"]) {
        let text = format!("SELECT id FROM {table} WHERE owner_id = $1");
        chain.keyed(&text, 70_000 + n).cells(&[70_001 + n]);
    }
    check(&chain, &[]);
    let mut quick = Script::new();
    let mut pipelined = Script::new();
    pipelined.cost_ms(9, 0).pipelined();
    let mut changed = Script::new();
    changed.cost_ms(4, 1);
    for table in ["orders", "invoices", "tickets", "visits", "alerts"] {
        let text = format!("SELECT id FROM {table} WHERE account_id = $1");
        quick.keyed(&text, 70_007);
        pipelined.keyed(&text, 70_007);
        changed.keyed(&text, 70_007);
        if table == "tickets" {
            changed.keyed("UPDATE orders SET a = $1 WHERE id = $2", 70_009);
        }
    }
    for script in [quick, pipelined, changed] {
        check(&script, &[]);
    }
}

#[test]
fn very_many_statements_are_chatty() {
    let script = |repeats: u32| {
        let mut script = Script::new();
        script.repeat(repeats, |script, n| {
            script.read(&format!("SELECT a{n} FROM t"));
        });
        script
    };
    check(&script(49), &[]);
    check(&script(50), &["chatty_request high warning 50/50"]);
    let mut job = script(80);
    job.background();
    silent(&job);
    let mut migration = Script::new();
    migration.repeat(80, |migration, n| {
        migration.read(&format!("CREATE TABLE t{n} (a int)"));
    });
    silent(&migration);
}

#[test]
fn transactions_that_mostly_wait_are_chatty() {
    let waiting = |turnaround: u64, transaction: u32| {
        let mut script = Script::new();
        script.cost_ms(10, turnaround).transaction(transaction, false);
        script
            .read("SELECT a FROM t")
            .read("SELECT b FROM t")
            .read("SELECT c FROM t")
            .read("SELECT d FROM t");
        script
    };
    check(&waiting(50, 1), &["chatty_request high info 4/4"]);
    let found = fires(&waiting(50, 1), "chatty_request high info 4/4");
    assert!(found.fix.starts_with("The server waited 150 ms"), "{}", found.fix);
    check(&waiting(50, 0), &[]);
    check(&waiting(3, 1), &[]);
    check_with(&waiting(50, 1), &FindingSettings::run_mode(), &[]);
}

#[test]
fn transactions_may_not_idle() {
    let idle = |ms: u64, has_written: bool| {
        let mut script = Script::new();
        script.transaction(1, false).keyed("UPDATE accounts SET a = $1 WHERE id = $2", 1);
        if !has_written {
            script = Script::new();
            script.transaction(1, false).keyed(AUTHOR, 1);
        }
        script.pause_ms(ms, has_written);
        script
    };
    check(&idle(499, true), &[]);
    check(&idle(500, true), &["idle_in_transaction high critical 1/1"]);
    check(&idle(1_999, false), &[]);
    check(&idle(2_000, false), &["idle_in_transaction high warning 1/1"]);
    check_with(&idle(9_000, true), &FindingSettings::run_mode(), &[]);
    // A lock is as bad as a write; what was noted twice is one pause.
    let mut locked = Script::new();
    locked.transaction(1, false).keyed("SELECT a FROM t WHERE id = $1 FOR UPDATE", 1);
    locked.pause_ms(600, false).pause_ms(900, false);
    check(&locked, &["idle_in_transaction high critical 1/1"]);
    assert_eq!(only(&locked, FindingKind::IdleInTransaction).map(|it| it.wasted_ns), Some(900_000_000));
}

#[test]
fn times_are_told_apart() {
    let mut script = Script::new();
    script.cost_ms(150, 7).read("SELECT a FROM big WHERE b > $1");
    let times = fires(&script, "slow_statement high warning 1/1").times;
    assert_eq!((times.server_ns, times.transfer_ns, times.client_ns), (150_000_000, 0, 7_000_000));
}

#[test]
fn rows_inserted_per_row_of_a_parent_name_it() {
    let mut script = Script::new();
    let text = "SELECT id FROM users WHERE team_id = $1";
    script.keyed_rows(text, 3, &["users.id"], (1..=12).map(|n| vec![8_000 + n]).collect());
    for n in 1..=12 {
        let insert = "INSERT INTO notifications (text, user_id) VALUES ($1, $2)";
        script.with_keys(insert, &[&[90_000 + n], &[8_000 + n]]);
    }
    check(&script, &["n_plus_one_write high warning 12/12 users.id"]);
    let found = script.evaluate(&FindingSettings::default()).remove(0);
    assert_eq!(found.linked_parameter, Some(2));
}
