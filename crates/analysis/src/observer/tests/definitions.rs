//! Statements named by PREPARE: what their EXECUTEs are counted as.

use super::*;

const PREPARE: &str = "PREPARE author(int, text) AS SELECT name FROM users WHERE id = $1 AND state = $2";

fn name() -> [Vec<u8>; 3] {
    [description(&[("name", 25)], false), row(&[b"ann"]), complete("SELECT 1")]
}

fn prepared(sql: &str) -> Session {
    let mut session = Session::new();
    session.query(sql, &[complete("PREPARE")]);
    session
}

#[test]
fn an_execute_is_the_statement_it_runs() {
    let mut session = prepared(PREPARE);
    session.query("SELECT id, title, author_id FROM posts", &posts());
    session.query("EXECUTE author(101, 'x')", &name());
    session.query("execute \"author\" (102 , 'x')", &name());
    session.query("SELECT name FROM users WHERE id = 102 AND state = 'x'", &name());
    let part = session.part();
    let [.., first, second, direct] = part.records.as_slice() else { panic!("{:?}", part.records) };
    assert_eq!(first.fingerprint, direct.fingerprint);
    assert_eq!(second.fingerprint, direct.fingerprint);
    assert_eq!((second.kind, second.key_count), (direct.kind, direct.key_count));
    let values = |record: &StatementRecord| -> Vec<u32> {
        let start = usize::from(record.keys_start);
        part.keys[start..start + usize::from(record.key_count)].iter().map(|key| key.value).collect()
    };
    assert_eq!(values(second), values(direct));
    assert_eq!(values(first)[0], value::hash_integer(101));
    assert_ne!(first.parameters_hash, second.parameters_hash);
    assert_eq!(first.others_hash, second.others_hash);
    let shapes = session.worker.take_new_shapes();
    assert!(shapes.iter().any(|shape| &*shape.text == "SELECT name FROM users WHERE id = $1 AND state = $2"));
}

#[test]
fn arguments_that_are_no_literals_are_never_alike() {
    let mut session = prepared("PREPARE p AS SELECT name FROM users WHERE id = $1");
    for argument in ["random()", "random()", "1 + 1", "'2'::text || '3'"] {
        session.query(&format!("EXECUTE p({argument})"), &name());
    }
    let part = session.part();
    let runs = &part.records[1..];
    assert!(runs.iter().all(|run| run.fingerprint == runs[0].fingerprint));
    let hashes: std::collections::BTreeSet<u64> = runs.iter().map(|run| run.parameters_hash).collect();
    assert_eq!(hashes.len(), runs.len());
}

#[test]
fn equal_arguments_are_alike_and_lists_are_no_keys() {
    let mut session = prepared("PREPARE p AS SELECT name FROM users WHERE id = ANY($1)");
    session.query("EXECUTE p('{1,2}')", &name());
    session.query("PREPARE q AS SELECT name FROM users WHERE id = $1", &[complete("PREPARE")]);
    session.query("EXECUTE q('7')", &name());
    session.query("EXECUTE q(7)", &name());
    let part = session.part();
    assert_eq!(part.records[3].parameters_hash, part.records[4].parameters_hash);
    let list = usize::from(part.records[1].keys_start);
    assert_eq!(part.keys[list].value, 0, "nobody has looked into the list");
}

#[test]
fn a_definition_lasts_until_it_is_deallocated_and_a_failed_one_defines_nothing() {
    let mut session = Session::new();
    let refused = message(b'E', b"SERROR\0C42P05\0Mprepared statement exists\0\0");
    session.query("PREPARE p AS SELECT 1 FROM posts", &[refused]);
    session.query("EXECUTE p", &[complete("SELECT 1")]);
    session.query(
        "PREPARE p AS SELECT 2 FROM users; EXECUTE p; DEALLOCATE p",
        &[complete("PREPARE"), complete("SELECT 1"), complete("DEALLOCATE")],
    );
    session.query("EXECUTE p", &[complete("SELECT 1")]);
    session.query("PREPARE p AS SELECT 2 FROM users", &[complete("PREPARE")]);
    session.query("DISCARD ALL", &[complete("DISCARD ALL")]);
    session.query("EXECUTE p", &[complete("SELECT 1")]);
    let mut parts = session.worker.take_parts();
    parts.push(session.part());
    let records: Vec<&StatementRecord> = parts.iter().flat_map(|part| &part.records).collect();
    let is_select = |record: &&StatementRecord| record.kind == pgtally_fingerprint::Kind::Select;
    assert_eq!(records.iter().copied().filter(is_select).count(), 1, "{records:?}");
}

#[test]
fn definitions_are_bounded_and_nested_ones_define_nothing() {
    let mut session = Session::new();
    for number in 0..2 * crate::limits::DEFINITIONS_MAX {
        session.query(&format!("PREPARE p{number} AS SELECT 1 FROM posts"), &[complete("PREPARE")]);
    }
    let dropped = session.worker.counters.dropped[Dropped::Statements as usize];
    assert_eq!(dropped, crate::limits::DEFINITIONS_MAX as u64);
    session.query(&"PREPARE p AS ".repeat(4_000), &[complete("PREPARE")]);
}
