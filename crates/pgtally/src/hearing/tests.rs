//! Which words are told of which statement, and when none are.

use pgtally_analysis::{Attribution, Moment, Origin};
use pgtally_fingerprint::Kind;

use super::*;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let count = u16::try_from(types.len()).unwrap().to_be_bytes();
    let types: Vec<u8> = types.iter().flat_map(|oid| oid.to_be_bytes()).collect();
    message(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0", &count, &types].concat())
}

/// One value, in binary form or as text.
fn bind(statement: &str, is_binary: bool, value: Option<&[u8]>) -> Vec<u8> {
    let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap()).to_be_bytes();
    let format = [0, u8::from(is_binary)];
    let fields = [
        b"\0",
        statement.as_bytes(),
        b"\0\0\x01",
        &format,
        b"\0\x01",
        &length,
        value.unwrap_or(b""),
        b"\0\0",
    ];
    message(b'B', &fields.concat())
}

fn execute(rows: u32) -> Vec<u8> {
    message(b'E', &[&b"\0"[..], &rows.to_be_bytes()].concat())
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

/// A statement of this shape that has ended.
fn ended(text: &str, error: Option<[u8; 5]>) -> Tapped {
    let mut scan = Scan::new();
    scan.scan(text.as_bytes(), Dialect::default(), false);
    Tapped {
        session: 1,
        request: "".into(),
        attribution: Attribution::Session,
        route: "".into(),
        origin: Origin::default(),
        sent: Moment(0),
        fingerprint: scan.statements[0].fingerprint,
        kind: Kind::Other,
        is_counted: true,
        server_ns: 0,
        transfer_ns: 0,
        rows: 0,
        bytes: 0,
        is_round_trip: true,
        error,
        said: None,
    }
}

fn told(hearing: &mut Hearing, text: &str) -> Option<(String, Vec<Option<String>>)> {
    let mut tapped = ended(text, None);
    hearing.tell(std::iter::once(&mut tapped));
    tapped.said.map(|said| (said.text.to_string(), said.values))
}

const BY_ID: &str = "SELECT * FROM t WHERE id = $1";

#[test]
fn values_are_told_with_their_statement_however_the_bytes_are_cut() {
    let bytes = [
        parse("s", BY_ID, &[23]),
        bind("s", true, Some(&7_i32.to_be_bytes())),
        execute(0),
        bind("s", false, None),
        execute(0),
        sync(),
    ];
    let mut hearing = Hearing::new();
    for byte in bytes.concat().chunks(1) {
        hearing.client(byte, true).unwrap();
    }
    assert_eq!(told(&mut hearing, BY_ID), Some((BY_ID.into(), vec![Some("7".into())])));
    assert_eq!(told(&mut hearing, BY_ID), Some((BY_ID.into(), vec![None])));
    assert_eq!(told(&mut hearing, BY_ID), None);
}

#[test]
fn a_query_is_told_statement_by_statement() {
    let mut hearing = Hearing::new();
    hearing.client(&query("SELECT 'a' FROM t; SELECT 2 FROM u"), true).unwrap();
    assert_eq!(told(&mut hearing, "SELECT 'x' FROM t"), Some(("SELECT 'a' FROM t".into(), vec![])));
    assert_eq!(told(&mut hearing, "SELECT 9 FROM u"), Some(("SELECT 2 FROM u".into(), vec![])));
}

#[test]
fn nothing_is_told_where_it_is_not_certain_whose_it_is() {
    let run = |value: &'static str| [bind("s", false, Some(value.as_bytes())), execute(0), sync()].concat();
    let prepared = || {
        let mut hearing = Hearing::new();
        hearing.client(&parse("s", BY_ID, &[]), true).unwrap();
        hearing
    };
    // Two groups on their way.
    let mut hearing = prepared();
    hearing.client(&[run("1"), run("2")].concat(), true).unwrap();
    assert_eq!(told(&mut hearing, BY_ID), None);
    hearing.idle();
    hearing.client(&run("3"), true).unwrap();
    assert_eq!(told(&mut hearing, BY_ID).unwrap().1, [Some("3".into())]);
    // Behind an error.
    let mut hearing = prepared();
    hearing.client(&[&run("1")[..run("1").len() - 5], &run("2")].concat(), true).unwrap();
    let mut failed = ended(BY_ID, Some(*b"22012"));
    hearing.tell(std::iter::once(&mut failed));
    assert_eq!(failed.said.unwrap().values, [Some("1".into())]);
    assert_eq!(told(&mut hearing, BY_ID), None);
    // Fetched in pieces, of an unknown type, or too long.
    for odd in [
        [bind("s", false, Some(b"1")), execute(5), sync()].concat(),
        [bind("s", true, Some(b"1234")), execute(0), sync()].concat(),
        [bind("s", false, Some(&[b'x'; SAID_VALUE_BYTES_MAX + 1])), execute(0), sync()].concat(),
    ] {
        let mut hearing = prepared();
        hearing.client(&odd, true).unwrap();
        assert_eq!(told(&mut hearing, BY_ID), None);
    }
}

#[test]
fn nothing_is_kept_while_nobody_listens_but_the_texts_of_what_is_prepared() {
    let mut hearing = Hearing::new();
    let run = [bind("s", false, Some(b"1")), execute(0), sync()].concat();
    hearing.client(&[parse("s", BY_ID, &[]), run.clone()].concat(), false).unwrap();
    assert!(hearing.runs.is_empty() && hearing.portals.is_empty());
    hearing.idle();
    hearing.client(&run, true).unwrap();
    assert_eq!(told(&mut hearing, BY_ID).unwrap().1, [Some("1".into())]);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut hearing = Hearing::new();
    for number in 0..SAID_STATEMENTS_MAX + 10 {
        hearing.client(&parse(&format!("s{number}"), BY_ID, &[]), true).unwrap();
    }
    assert_eq!(hearing.statements.len(), SAID_STATEMENTS_MAX);
    let run = [bind("s0", false, Some(b"1")), execute(0)].concat();
    hearing.client(&run.repeat(SAID_RUNS_MAX + 10), true).unwrap();
    assert_eq!(hearing.runs.len(), SAID_RUNS_MAX);
    assert_eq!(told(&mut hearing, BY_ID), None);
}
