//! What looks like a fault and is none, one case each.

use super::{AUTHOR, ITEM_COLUMNS, ITEMS, USER, check_with, silent};
use crate::merge::Request;
use crate::record::RequestPart;
use crate::settings::FindingSettings;
use crate::testing::Script;

/// Thirty items, each with its own numbers.
fn items() -> Script {
    let mut script = Script::new();
    script.rows(ITEMS, &ITEM_COLUMNS, (1..=30).map(|n| vec![7_000 + n, 8_000 + n, 9_000 + n, 1]).collect());
    script
}

#[test]
fn prefetches_and_data_loaders_ask_by_list() {
    let mut script = items();
    let keys: Vec<i64> = (1..=30).map(|n| 8_000 + n).collect();
    script.with_keys("SELECT id, name FROM users WHERE id IN ($1)", &[&keys]);
    let keys: Vec<i64> = (1..=30).map(|n| 9_000 + n).collect();
    script.with_keys("SELECT id, name FROM teams WHERE id = ANY($1)", &[&keys]);
    silent(&script);
}

#[test]
fn a_list_of_one_element_is_a_key() {
    let mut script = items();
    for n in 1..=6 {
        script.with_keys("SELECT id, name FROM users WHERE id = ANY($1)", &[&[8_000 + n]]);
    }
    let expected = ["n_plus_one high warning 6/6 items.assignee_id"];
    check_with(&script, &FindingSettings::default(), &expected);
}

#[test]
fn chunks_of_a_batch_are_silent() {
    let mut script = items();
    script.repeat(6, |script, n| {
        let keys: Vec<i64> = (0..5).map(|k| 8_001 + i64::from(n) * 5 + k).collect();
        script.with_keys("SELECT id, name FROM users WHERE id IN ($1)", &[&keys]);
    });
    silent(&script);
}

#[test]
fn pages_by_key_and_by_offset_are_silent() {
    let mut keyset = Script::new();
    keyset.repeat(20, |script, n| {
        script.others(n.into()).read("SELECT id FROM posts WHERE id > $1 ORDER BY id LIMIT $2");
    });
    silent(&keyset);
    let mut batches = Script::new();
    batches.repeat(20, |script, n| {
        let text = "SELECT id FROM posts WHERE blog_id = $1 AND id > $2 ORDER BY id LIMIT $3";
        script.others(n.into()).keyed(text, 4);
    });
    silent(&batches);
    let mut offset = Script::new();
    offset.repeat(20, |script, n| {
        script.others(n.into()).keyed("SELECT id FROM posts WHERE blog_id = $1 LIMIT $2 OFFSET $3", 4);
    });
    silent(&offset);
}

#[test]
fn periods_and_months_are_silent() {
    let mut script = Script::new();
    script.repeat(12, |script, month| {
        let text = "SELECT sum(amount) FROM orders WHERE shop_id = $1 AND day >= $2 AND day < $3";
        script.others(month.into()).keyed(text, 3);
    });
    silent(&script);
}

#[test]
fn rows_written_at_once_are_silent() {
    for text in [
        "INSERT INTO t (a) SELECT unnest($1::int[])",
        "INSERT INTO t (a) SELECT * FROM json_populate_recordset(null::t, $1)",
        "COPY t FROM STDIN",
    ] {
        let mut script = Script::new();
        script.affected(100).repeat(20, |script, n| {
            script.others(n.into()).read(text);
        });
        silent(&script);
    }
    let mut folded = Script::new();
    folded.affected(50).repeat(20, |script, n| {
        script.others(n.into()).with_keys("INSERT INTO t (a) VALUES ($1)", &[&[1, 2, 3]]);
    });
    silent(&folded);
}

#[test]
fn few_look_ups_are_silent() {
    let mut script = Script::new();
    for key in [5_001, 5_002, 5_003] {
        script.keyed("SELECT v FROM settings WHERE k = $1", key);
    }
    silent(&script);
}

#[test]
fn queues_sequences_locks_and_clocks_are_silent() {
    for text in [
        "SELECT id FROM jobs WHERE queue = $1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
        "SELECT id FROM jobs WHERE queue = $1 FOR UPDATE NOWAIT",
        "SELECT nextval('orders_id_seq')",
        "SELECT pg_advisory_xact_lock($1)",
        "SELECT pg_try_advisory_lock($1)",
        "SELECT now()",
        "SELECT version()",
        "SELECT id FROM posts TABLESAMPLE system (10) WHERE blog_id = $1",
    ] {
        let mut script = Script::new();
        script.repeat(12, |script, n| {
            script.keyed(text, n.into()).keyed(text, 3);
        });
        silent(&script);
    }
}

#[test]
fn definitions_and_maintenance_are_silent() {
    let mut script = Script::new();
    script.repeat(30, |script, n| {
        script.read(&format!("CREATE INDEX i{n} ON t (a)")).read("ANALYZE t").read("VACUUM t");
    });
    silent(&script);
}

#[test]
fn a_driver_reads_its_catalog() {
    let mut script = Script::new();
    script.repeat(30, |script, n| {
        script.keyed("SELECT typname FROM pg_catalog.pg_type WHERE oid = $1", n.into());
        script.keyed("SELECT column_name FROM information_schema.columns WHERE table_name = $1", n.into());
    });
    silent(&script);
}

#[test]
fn tenants_by_role_or_schema_are_silent() {
    let mut script = items();
    script.repeat(10, |script, n| {
        script.environment(1 + u64::from(n)).keyed(USER, 8_001 + i64::from(n)).keyed(AUTHOR, 3);
    });
    silent(&script);
}

const BALANCE: &str = "SELECT balance FROM accounts WHERE owner = $1";
const UPDATE: &str = "UPDATE accounts SET balance = $1 WHERE owner = $2";

#[test]
fn a_read_behind_a_rollback_is_silent() {
    let mut script = Script::new();
    script.transaction(1, false).keyed(UPDATE, 1).keyed(BALANCE, 1).rolled_back();
    script.transaction(0, false).keyed(BALANCE, 1);
    silent(&script);
    script.keyed(BALANCE, 1);
    check_with(&script, &FindingSettings::run_mode(), &["duplicate high info 2/1"]);
}

#[test]
fn a_rollback_of_other_writes_changes_nothing() {
    let mut script = Script::new();
    script.transaction(1, false).keyed("UPDATE orders SET total = $1 WHERE id = $2", 1).keyed(BALANCE, 1);
    script.rolled_back().transaction(0, false).keyed(BALANCE, 1);
    check_with(&script, &FindingSettings::run_mode(), &["duplicate high info 2/1"]);
}

#[test]
fn a_row_whose_insert_was_rolled_back_is_not_read_again() {
    let insert = "INSERT INTO orders (id, total) VALUES ($1, $2)";
    let read = "SELECT total FROM orders WHERE id = $1";
    let mut kept = Script::new();
    kept.transaction(1, false).keyed(insert, 7_001).transaction(0, false).keyed(read, 7_001);
    check_with(&kept, &FindingSettings::run_mode(), &["reread_after_write high info 1/1 orders.id"]);
    let mut undone = Script::new();
    undone.transaction(1, false).keyed(insert, 7_001).rolled_back().transaction(0, false).keyed(read, 7_001);
    silent(&undone);
}

#[test]
fn what_another_session_commits_in_between_is_silent() {
    let mut writer = Script::new();
    writer.session(2).at_ms(0).transaction(1, false).keyed(UPDATE, 1);
    let mut reader = Script::new();
    reader.at_ms(10).keyed(BALANCE, 1).at_ms(20).keyed(BALANCE, 1);
    reader.learn_shapes(&writer);
    let evaluate = |writer: &Script| {
        let mut request = Request::new(reader.part());
        request.absorb(writer.part());
        reader.evaluate_request(&request, &FindingSettings::run_mode()).len()
    };
    assert_eq!(evaluate(&writer), 0, "its COMMIT may stand between the reads");
    writer.at_ms(15).transaction(0, false).keyed(BALANCE, 2);
    assert_eq!(evaluate(&writer), 0);
    let mut early = Script::new();
    early.session(2).at_ms(0).transaction(1, false).keyed(UPDATE, 1).at_ms(5).transaction(0, false);
    early.keyed(BALANCE, 2);
    assert_eq!(evaluate(&early), 1, "it was over before");
}

#[test]
fn reads_around_statements_that_were_not_recorded_are_silent() {
    let mut reader = Script::new();
    reader.keyed(BALANCE, 1).keyed(BALANCE, 1);
    let mut request = Request::new(reader.part());
    assert_eq!(reader.evaluate_request(&request, &FindingSettings::run_mode()).len(), 1);
    request.absorb(RequestPart { session: 2, statements: 9, ..Script::new().part() });
    assert_eq!(reader.evaluate_request(&request, &FindingSettings::run_mode()).len(), 0);
}

#[test]
fn a_read_around_a_write_is_silent() {
    let text = "SELECT balance FROM accounts WHERE owner = $1";
    let mut script = Script::new();
    script.repeat(4, |script, _| {
        script.keyed(text, 1).keyed("UPDATE accounts SET balance = $1 WHERE owner = $2", 1);
    });
    silent(&script);
}
