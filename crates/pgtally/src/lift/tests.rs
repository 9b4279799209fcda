use super::*;
use crate::limits::{
    LIFTED_BYTES_MAX, LIFTED_NAMES_MAX, LIFTED_OUT_BYTES_MAX, LIFTED_PENDING_MAX, LIFTED_TEXT_BYTES_MAX,
};

fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = i32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), &body].concat()
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"])
}

fn bind(name: &str) -> Vec<u8> {
    message(b'B', &[b"portal\0", name.as_bytes(), b"\0\0\0\0\x01\0\0\0\x04long\0\0"])
}

fn of_statement(tag: u8, name: &str) -> Vec<u8> {
    message(tag, &[b"S", name.as_bytes(), b"\0"])
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"])
}

fn sync() -> Vec<u8> {
    message(b'S', &[])
}

fn complete(tag: u8) -> Vec<u8> {
    message(tag, &[])
}

fn ready() -> Vec<u8> {
    message(b'Z', &[b"I"])
}

fn command(tag: &str) -> Vec<u8> {
    message(b'C', &[tag.as_bytes(), b"\0"])
}

fn tagged(number: u32) -> String {
    format!("SELECT id FROM t WHERE id = $1 /*request_id='{number}'*/")
}

const BARE: &str = "SELECT id FROM t WHERE id = $1";

/// A conversation: what the client says and what the server must hear, what the server answers and what the client
/// must hear.
enum Turn {
    Client(Vec<Vec<u8>>, Vec<Vec<u8>>),
    Server(Vec<Vec<u8>>, Vec<Vec<u8>>),
}

use Turn::{Client, Server};

fn same(messages: Vec<Vec<u8>>) -> Turn {
    Client(messages.clone(), messages)
}

fn heard(messages: Vec<Vec<u8>>) -> Turn {
    Server(messages.clone(), messages)
}

/// Sends all of a chunk, as a socket does that takes everything.
fn send(lifting: &mut Lifting, chunk: &[u8], out: &mut Vec<u8>) {
    let mut rest = chunk;
    while !rest.is_empty() {
        let mut taken_out = Vec::new();
        let taken = lifting.client(rest, &mut taken_out);
        assert!(taken > 0 && taken_out.len() <= LIFTED_OUT_BYTES_MAX + LIFTED_BYTES_MAX);
        out.extend(taken_out);
        rest = &rest[taken..];
    }
}

/// Plays the turns with both directions cut into chunks of every size.
#[track_caller]
fn check(turns: &[Turn]) {
    let longest = turns.iter().map(|turn| match turn {
        Client(said, _) | Server(said, _) => said.concat().len(),
    });
    for size in 1..=longest.max().unwrap_or(1) {
        let mut lifting = Lifting::default();
        lifting.server(&mut ready());
        for (number, turn) in turns.iter().enumerate() {
            let mut out = Vec::new();
            let expected = match turn {
                Client(said, expected) => {
                    said.concat().chunks(size).for_each(|chunk| send(&mut lifting, chunk, &mut out));
                    expected
                }
                Server(said, expected) => {
                    for chunk in said.concat().chunks(size) {
                        let mut chunk = chunk.to_vec();
                        let kept = lifting.server(&mut chunk);
                        out.extend_from_slice(&chunk[..kept]);
                    }
                    expected
                }
            };
            let (out, expected) =
                (out.escape_ascii().to_string(), expected.concat().escape_ascii().to_string());
            assert_eq!(out, expected, "turn {number} in chunks of {size}");
        }
    }
}

fn prepared() -> [Turn; 2] {
    [
        Client(vec![parse("a", &tagged(1)), sync()], vec![parse("a", BARE), sync()]),
        heard(vec![complete(b'1'), ready()]),
    ]
}

/// `a` is the server's, `b` runs as it.
fn shared() -> Vec<Turn> {
    let mut turns = Vec::from(prepared());
    turns.push(Client(vec![parse("b", &tagged(2)), sync()], vec![of_statement(b'C', "b"), sync()]));
    turns.push(Server(vec![complete(b'3'), ready()], vec![complete(b'1'), ready()]));
    turns
}

#[test]
fn equal_texts_share_a_statement() {
    let mut turns = shared();
    let uses = |name: &str| {
        vec![bind(name), of_statement(b'D', name), message(b'E', &[b"portal\0\0\0\0\0"]), sync()]
    };
    turns.push(Client(uses("b"), uses("a")));
    turns.push(heard(vec![complete(b'2'), message(b't', &[b"\0\0"]), command("SELECT 1"), ready()]));
    turns.push(same(uses("a")));
    check(&turns);
}

#[test]
fn what_has_no_tags_passes() {
    let turns = [
        same(vec![parse("a", BARE), bind("a"), of_statement(b'D', "a"), of_statement(b'C', "a"), sync()]),
        heard(vec![complete(b'1'), complete(b'2'), message(b'n', &[]), complete(b'3'), ready()]),
        same(vec![parse("b", BARE), parse("", BARE), query(&tagged(1)), message(b'X', &[])]),
    ];
    check(&turns);
}

#[test]
fn unnamed_statements_lose_their_tags_and_share_nothing() {
    let once = Client(vec![parse("", &tagged(1)), bind(""), sync()], vec![parse("", BARE), bind(""), sync()]);
    let again =
        Client(vec![parse("", &tagged(2)), bind(""), sync()], vec![parse("", BARE), bind(""), sync()]);
    check(&[once, heard(vec![complete(b'1'), complete(b'2'), ready()]), again]);
}

#[test]
fn a_parse_that_is_not_answered_yet_shares_nothing() {
    let said = vec![parse("a", &tagged(1)), parse("b", &tagged(2)), sync()];
    check(&[Client(said, vec![parse("a", BARE), parse("b", BARE), sync()])]);
}

#[test]
fn a_failed_parse_is_nobodys_home() {
    let error = message(b'E', &[b"SERROR\0\0"]);
    check(&[
        Client(vec![parse("a", &tagged(1)), sync()], vec![parse("a", BARE), sync()]),
        heard(vec![error, ready()]),
        Client(vec![parse("b", &tagged(2)), sync()], vec![parse("b", BARE), sync()]),
    ]);
}

#[test]
fn a_shared_statement_outlives_its_home() {
    let mut turns = shared();
    turns.push(same(vec![of_statement(b'C', "a"), sync()]));
    turns.push(heard(vec![complete(b'3'), ready()]));
    turns.push(Client(vec![bind("b"), sync()], vec![parse("b", BARE), bind("b"), sync()]));
    turns.push(Server(vec![complete(b'1'), complete(b'2'), ready()], vec![complete(b'2'), ready()]));
    // From here on it is a home itself.
    turns.push(Client(vec![parse("c", &tagged(3)), sync()], vec![of_statement(b'C', "c"), sync()]));
    turns.push(Server(vec![complete(b'3'), ready()], vec![complete(b'1'), ready()]));
    turns.push(Client(vec![bind("c"), sync()], vec![bind("b"), sync()]));
    check(&turns);
}

#[test]
fn a_hidden_parse_that_fails_is_tried_again() {
    let mut turns = shared();
    let error = message(b'E', &[b"SERROR\0\0"]);
    turns.push(same(vec![of_statement(b'C', "a"), sync()]));
    turns.push(heard(vec![complete(b'3'), ready()]));
    for _ in 0..2 {
        turns.push(Client(vec![bind("b"), sync()], vec![parse("b", BARE), bind("b"), sync()]));
        turns.push(heard(vec![error.clone(), ready()]));
    }
    check(&turns);
}

#[test]
fn a_hidden_parse_that_may_be_skipped_is_sent_again_in_the_next_group() {
    let mut turns = shared();
    let error = message(b'E', &[b"SERROR\0\0"]);
    turns.push(same(vec![of_statement(b'C', "a"), sync()]));
    turns.push(heard(vec![complete(b'3'), ready()]));
    let groups = vec![bind("x"), bind("b"), bind("b"), sync(), bind("b"), bind("b"), sync()];
    let mut forwarded = vec![bind("x"), parse("b", BARE), bind("b"), bind("b"), sync()];
    forwarded.extend([of_statement(b'C', "b"), parse("b", BARE), bind("b"), bind("b"), sync()]);
    turns.push(Client(groups, forwarded));
    let (bound, parsed, closed) = (complete(b'2'), complete(b'1'), complete(b'3'));
    turns.push(Server(
        vec![error.clone(), ready(), closed, parsed, bound.clone(), bound.clone(), ready()],
        vec![error, ready(), bound.clone(), bound, ready()],
    ));
    turns.push(same(vec![bind("b"), sync()]));
    check(&turns);
}

#[test]
fn closing_a_shared_statement_closes_nothing_else() {
    let mut turns = shared();
    turns.push(same(vec![of_statement(b'C', "b"), sync()]));
    turns.push(heard(vec![complete(b'3'), ready()]));
    turns.push(same(vec![bind("a"), bind("b"), sync()]));
    check(&turns);
}

#[test]
fn sql_that_names_statements_finds_them() {
    let mut turns = shared();
    turns.push(Client(vec![query("DEALLOCATE b")], vec![parse("b", BARE), query("DEALLOCATE b")]));
    turns.push(Server(
        vec![complete(b'1'), command("DEALLOCATE"), ready()],
        vec![command("DEALLOCATE"), ready()],
    ));
    check(&turns);
    let mut turns = shared();
    turns.push(Client(vec![query("execute B(1)")], vec![parse("b", BARE), query("execute B(1)")]));
    check(&turns);
    let mut turns = shared();
    turns.push(same(vec![query("SELECT executed FROM b")]));
    turns.push(Client(vec![bind("b")], vec![bind("a")]));
    check(&turns);
}

#[test]
fn after_discard_all_nothing_is_shared() {
    for (text, tag) in [("DISCARD ALL", "DISCARD ALL"), ("deallocate all", "DEALLOCATE ALL")] {
        let mut turns = shared();
        let said = vec![query(text), parse("d", &tagged(4)), bind("d"), sync()];
        turns.push(Client(said, vec![query(text), parse("d", BARE), bind("d"), sync()]));
        turns.push(heard(vec![command(tag), ready(), complete(b'1'), complete(b'2'), ready()]));
        turns.push(same(vec![bind("b"), sync()]));
        turns.push(heard(vec![message(b'E', &[b"SERROR\0\0"]), ready()]));
        turns.push(Client(vec![parse("e", &tagged(5)), sync()], vec![of_statement(b'C', "e"), sync()]));
        check(&turns);
    }
}

#[test]
fn a_discard_that_fails_takes_nothing() {
    let mut turns = shared();
    turns.push(same(vec![query("DISCARD ALL")]));
    turns.push(heard(vec![message(b'E', &[b"SERROR\0\0"]), ready()]));
    turns.push(Client(vec![bind("b"), sync()], vec![parse("b", BARE), bind("b"), sync()]));
    check(&turns);
}

#[test]
fn skipped_messages_are_not_waited_for() {
    let mut turns = shared();
    let said = vec![bind("x"), parse("c", &tagged(3)), of_statement(b'C', "b"), sync()];
    turns.push(Client(said, vec![bind("x"), of_statement(b'C', "c"), of_statement(b'C', "b"), sync()]));
    turns.push(heard(vec![message(b'E', &[b"SERROR\0\0"]), ready()]));
    // The client's Close was skipped: the name goes on.
    turns.push(Client(
        vec![bind("b"), of_statement(b'C', "q"), sync()],
        vec![bind("a"), of_statement(b'C', "q"), sync()],
    ));
    turns.push(heard(vec![complete(b'2'), complete(b'3'), ready()]));
    check(&turns);
}

#[test]
fn a_sync_sent_along_with_a_copy_is_not_waited_for() {
    let mut turns = shared();
    turns.push(same(vec![message(b'E', &[b"\0\0\0\0\0"]), sync()]));
    turns.push(heard(vec![message(b'G', &[b"\0\0\0"])]));
    turns.push(same(vec![message(b'd', &[b"1\n"]), message(b'c', &[]), sync()]));
    turns.push(heard(vec![command("COPY 1"), ready()]));
    turns.push(Client(vec![parse("c", &tagged(3)), parse("bad", "SELECT"), sync()], {
        vec![of_statement(b'C', "c"), parse("bad", "SELECT"), sync()]
    }));
    turns.push(Server(
        vec![complete(b'3'), message(b'E', &[b"SERROR\0\0"]), ready()],
        vec![complete(b'1'), message(b'E', &[b"SERROR\0\0"]), ready()],
    ));
    turns.push(same(vec![of_statement(b'C', "q"), sync()]));
    turns.push(heard(vec![complete(b'3'), ready()]));
    check(&turns);
}

#[test]
fn a_failed_transaction_shares_nothing() {
    let mut turns = Vec::from(prepared());
    turns.push(same(vec![query("nonsense")]));
    turns.push(heard(vec![message(b'E', &[b"SERROR\0\0"]), message(b'Z', &[b"E"])]));
    turns.push(Client(vec![parse("b", &tagged(2)), sync()], vec![parse("b", BARE), sync()]));
    check(&turns);
}

#[test]
fn types_are_part_of_a_statement() {
    let typed = message(b'P', &[b"b\0", tagged(2).as_bytes(), b"\0\0\x01\0\0\0\x17"]);
    let expected = message(b'P', &[b"b\0", BARE.as_bytes(), b"\0\0\x01\0\0\0\x17"]);
    let mut turns = Vec::from(prepared());
    turns.push(Client(vec![typed, sync()], vec![expected, sync()]));
    check(&turns);
}

#[test]
fn garbage_passes_as_it_is() {
    check(&[same(vec![b"P\0\0\0\x01whatever".to_vec(), parse("a", &tagged(1))])]);
    check(&[same(vec![
        message(b'P', &[b"no terminator"]),
        message(b'B', &[b"x"]),
        message(b'C', &[]),
        sync(),
    ])]);
    check(&[heard(vec![b"1\0\0\0\x02\xff\xff".to_vec(), complete(b'3')])]);
    let mut lifting = Lifting::default();
    let mut out = Vec::new();
    send(&mut lifting, &parse("a", &tagged(1))[..20], &mut out);
    assert!(out.is_empty());
    lifting.client.end(&mut out);
    assert_eq!(out, parse("a", &tagged(1))[..20]);
}

#[test]
fn more_than_is_remembered_is_not_shared() {
    let mut lifting = Lifting::default();
    lifting.server(&mut ready());
    let mut out = Vec::new();
    for number in 0..LIFTED_NAMES_MAX + 10 {
        let text = format!("SELECT {number}, '{}' /*request_id='1'*/", "x".repeat(LIFTED_BYTES_MAX / 200));
        send(&mut lifting, &[parse(&format!("s{number}"), &text), sync()].concat(), &mut out);
        lifting.server(&mut [complete(b'1'), ready()].concat());
    }
    assert!(lifting.names.len() < 210, "{}", lifting.names.len());
    out.clear();
    let long = format!("SELECT '{}' /*request_id='1'*/", "x".repeat(LIFTED_TEXT_BYTES_MAX));
    send(&mut lifting, &parse("long", &long), &mut out);
    assert_eq!(out, parse("long", &long));
    send(&mut lifting, &sync().repeat(LIFTED_PENDING_MAX), &mut out);
    assert!(lifting.names.is_full());
    lifting.server(&mut ready().repeat(2));
    assert!(!lifting.names.is_full());
}

#[test]
fn short_messages_that_need_long_texts_wait_for_each_other() {
    let mut lifting = Lifting::default();
    lifting.server(&mut ready());
    let long = format!("SELECT '{}' /*request_id='1'*/", "x".repeat(60_000));
    let mut out = Vec::new();
    send(&mut lifting, &[parse("a", &long), sync()].concat(), &mut out);
    lifting.server(&mut [complete(b'1'), ready()].concat());
    send(&mut lifting, &[parse("b", &long), sync()].concat(), &mut out);
    lifting.server(&mut [complete(b'3'), ready()].concat());
    send(&mut lifting, &[of_statement(b'C', "a"), sync()].concat(), &mut out);
    lifting.server(&mut [complete(b'3'), ready()].concat());
    // The text is nobody's any more: each group brings it along until the first is answered.
    let groups = [of_statement(b'D', "b"), sync()].concat().repeat(1_000);
    let mut first = Vec::new();
    let taken = lifting.client(&groups, &mut first);
    assert!(
        taken < groups.len() && first.len() < LIFTED_OUT_BYTES_MAX + 2 * long.len(),
        "{} bytes",
        first.len()
    );
    out.clear();
    send(&mut lifting, &groups[taken..], &mut out);
    assert!(out.len() > 900 * long.len(), "the rest is as long, and comes in pieces");
}
