use std::rc::Rc;

use super::*;
use crate::facts::{BypassReason, ReadSet, TableId};
use crate::versions::Token;

const DATABASE: DatabaseId = DatabaseId(1);

#[derive(Clone, Debug)]
struct Text(Rc<(StatementFacts, Option<Forgets>, Option<TwoPhase>)>, u64);

impl Statement for Text {
    fn facts(&self) -> &StatementFacts {
        &self.0.0
    }

    fn forgets(&self) -> Option<Forgets> {
        self.0.1
    }

    fn two_phase(&self) -> Option<&TwoPhase> {
        self.0.2.as_ref()
    }

    fn definitions(&self) -> u64 {
        self.1
    }
}

/// What texts mean by the definitions of this number.
struct Words(u64);

impl Reader<Text> for Words {
    fn read(&mut self, text: pgtally_protocol::frontend::Text<'_>) -> Text {
        read(text, self.0)
    }

    fn renewed(&mut self, _: &Text) -> Option<Text> {
        None
    }
}

/// What the words used here mean.
fn read(text: pgtally_protocol::frontend::Text<'_>, definitions: u64) -> Text {
    let plain = StatementFacts {
        read: Err(BypassReason::NotRead),
        writes: WriteSet::nothing(),
        can_commit: false,
        can_roll_back: false,
        can_change_session: false,
    };
    let (facts, forgets) = match text.bytes {
        b"read" => (StatementFacts { read: Ok(ReadSet::of([TableId(7)])), ..plain }, None),
        b"write" => (StatementFacts { writes: WriteSet::of([TableId(7)]), ..plain }, None),
        b"commit" => (StatementFacts { can_commit: true, ..plain }, None),
        b"set" => (StatementFacts { can_change_session: true, ..plain }, None),
        b"rollback" | b"prepare transaction 'x'" => (StatementFacts { can_roll_back: true, ..plain }, None),
        b"deallocate all" => (plain, Some(Forgets::All)),
        b"deallocate s1" => (plain, Some(Forgets::One(name_hash(b"s1")))),
        b"begin" | b"rollback prepared 'x'" => (plain, None),
        b"commit prepared 'x'" => (StatementFacts { can_commit: true, ..plain }, None),
        _ => (StatementFacts::unknown(BypassReason::NotParsed), None),
    };
    let two_phase = TwoPhase::read(std::str::from_utf8(text.bytes).unwrap());
    Text(Rc::new((facts, forgets, two_phase)), definitions)
}

/// A session and the versions it writes to.
struct Session {
    front: Front<Text>,
    versions: Versions,
    definitions: u64,
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"].concat())
}

fn run(portal: &str, statement: &str) -> Vec<u8> {
    let bind = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0\0\0\0\0"].concat();
    [message(b'B', &bind), execute(portal)].concat()
}

fn execute(portal: &str) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0\0\0\0\0"].concat())
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

fn done(status: u8) -> Vec<u8> {
    [message(b'C', b"X\0"), ready(status)].concat()
}

impl Session {
    fn new() -> Self {
        let mut session = Self { front: Front::new(DATABASE), versions: Versions::new(), definitions: 1 };
        session.hear(&[message(b'R', &[0; 4]), ready(b'I')].concat());
        session
    }

    fn send(&mut self, bytes: &[u8]) {
        self.front.client(bytes, &self.versions, &mut Words(self.definitions)).unwrap();
    }

    fn hear(&mut self, bytes: &[u8]) -> Heard {
        self.front.upstream(bytes, &self.versions).unwrap()
    }

    /// The words of the table; `None` while it is dirty.
    fn token(&self) -> Option<Token> {
        self.versions.token(DATABASE, &ReadSet::of([TableId(7)]), true, &[])
    }

    fn is_dirty(&self) -> bool {
        self.token().is_none()
    }

    fn exchange(&mut self, bytes: &[u8], status: u8) {
        self.send(bytes);
        self.hear(&done(status));
    }
}

#[test]
fn an_autocommitted_write_is_dirty_until_its_outcome() {
    for group in [query("write"), [parse("", "write"), run("", ""), sync()].concat()] {
        let mut session = Session::new();
        let before = session.token().unwrap();
        session.send(&group);
        assert!(session.is_dirty() && !session.front.is_quiet());
        for answer in [message(b'1', b""), message(b'2', b"")] {
            if group[0] == b'P' {
                session.hear(&answer);
            }
        }
        session.hear(&message(b'C', b"UPDATE 1\0"));
        assert!(session.is_dirty());
        let heard = session.hear(&ready(b'I'));
        assert_eq!((heard.is_answered, heard.written_by), (true, Some(1)));
        assert!(!session.is_dirty() && !session.versions.is_current(&before));
        assert!(session.front.is_quiet());
    }
}

#[test]
fn a_transaction_is_dirty_from_its_commit_on() {
    let mut session = Session::new();
    let before = session.token().unwrap();
    session.exchange(&query("begin"), b'T');
    assert!(!session.front.is_quiet());
    session.exchange(&query("write"), b'T');
    assert!(session.versions.is_current(&before));
    session.send(&query("commit"));
    assert!(session.is_dirty());
    session.hear(&done(b'I'));
    assert!(!session.is_dirty() && !session.versions.is_current(&before));
    // Nothing of it is left.
    let after = session.token().unwrap();
    session.exchange(&query("begin"), b'T');
    session.exchange(&query("commit"), b'I');
    assert!(session.versions.is_current(&after));
}

#[test]
fn a_transaction_that_outlives_definitions_may_have_written_anything() {
    let other = |session: &Session| session.versions.token(DATABASE, &ReadSet::of([TableId(8)]), true, &[]);
    for is_redefined in [false, true] {
        let mut session = Session::new();
        session.exchange(&query("begin"), b'T');
        session.exchange(&query("write"), b'T');
        let before = other(&session).unwrap();
        // A trigger may have come to the table while the statement above waited for it.
        session.definitions += u64::from(is_redefined);
        session.send(&query("commit"));
        assert_eq!(other(&session).is_none(), is_redefined);
        session.hear(&done(b'I'));
        assert_eq!(session.versions.is_current(&before), !is_redefined);
        // The next one begins anew.
        let before = other(&session).unwrap();
        session.exchange(&query("write"), b'I');
        assert!(session.versions.is_current(&before));
    }
}

#[test]
fn a_transaction_that_is_rolled_back_changes_nothing() {
    let mut session = Session::new();
    let before = session.token().unwrap();
    for (text, status) in [("begin", b'T'), ("write", b'T'), ("rollback", b'I')] {
        session.exchange(&query(text), status);
    }
    assert!(session.versions.is_current(&before));
    // Nor does a transaction after it inherit its writes.
    session.exchange(&query("begin"), b'T');
    session.exchange(&query("commit"), b'I');
    assert!(session.versions.is_current(&before));
}

#[test]
fn a_chained_commit_is_one() {
    let mut session = Session::new();
    session.exchange(&query("begin"), b'T');
    session.exchange(&query("write"), b'T');
    let before = session.token().unwrap();
    session.exchange(&query("commit"), b'T');
    assert!(!session.is_dirty() && !session.versions.is_current(&before));
}

#[test]
fn pipelines_are_dirty_from_the_first_write_to_the_last_answer() {
    let mut session = Session::new();
    let statements = ["begin", "write", "commit", "read"];
    let groups: Vec<u8> =
        statements.iter().flat_map(|text| [parse("", text), run("", ""), sync()].concat()).collect();
    session.send(&groups);
    assert!(session.is_dirty());
    let completion = [message(b'1', b""), message(b'2', b""), message(b'C', b"X\0")].concat();
    for status in [b'T', b'T', b'I'] {
        session.hear(&[completion.clone(), ready(status)].concat());
        assert!(session.is_dirty());
    }
    session.hear(&[completion, ready(b'I')].concat());
    assert!(!session.is_dirty());
}

#[test]
fn a_write_behind_a_commit_in_one_group_is_marked() {
    let mut session = Session::new();
    session.exchange(&query("begin"), b'T');
    for text in ["commit", "write"] {
        session.send(&[parse("", text), run("", "")].concat());
    }
    assert!(session.is_dirty());
}

#[test]
fn a_write_behind_the_end_of_a_transaction_that_commits_nothing_is_marked() {
    for end in ["rollback", "prepare transaction 'x'"] {
        let group = |text: &str| [parse("", text), run("", "")].concat();
        let pipelined = [query(end), query("write")].concat();
        for bytes in [pipelined, [group(end), group("write"), sync()].concat()] {
            let mut session = Session::new();
            session.exchange(&query("begin"), b'T');
            let before = session.token().unwrap();
            session.send(&bytes);
            assert!(session.is_dirty(), "{end}");
            assert!(!session.versions.is_current(&before), "{end}");
        }
    }
}

#[test]
fn a_portal_bound_earlier_commits_when_it_is_executed() {
    let mut session = Session::new();
    session.exchange(&query("begin"), b'T');
    session.exchange(&query("write"), b'T');
    session.send(&[parse("", "commit"), message(b'B', b"p\0\0\0\0\0\0\0\0"), sync()].concat());
    session.hear(&[message(b'1', b""), message(b'2', b""), ready(b'T')].concat());
    assert!(!session.is_dirty());
    session.send(&[execute("p"), sync()].concat());
    assert!(session.is_dirty());
}

#[test]
fn what_is_not_known_writes_everything() {
    for message in [query("do"), run("", "nobody"), execute("nobody"), message(b'F', &[0; 10])] {
        let mut session = Session::new();
        session.send(&message);
        assert!(session.is_dirty(), "{message:?}");
        assert!(session.front.take_change());
    }
}

#[test]
fn a_session_that_ends_keeps_its_unknown_outcome_dirty() {
    let mut session = Session::new();
    session.send(&query("write"));
    let Session { front, versions, .. } = session;
    let open = front.into_open();
    let reads = ReadSet::of([TableId(7)]);
    assert!(versions.token(DATABASE, &reads, true, &[]).is_none());
    versions.finish(open);
    assert!(versions.token(DATABASE, &reads, true, &[]).is_some());
}

#[test]
fn statements_are_known_while_the_server_has_them() {
    let mut session = Session::new();
    let define = [parse("s1", "read"), parse("s2", "read"), sync()].concat();
    session.send(&define);
    session.hear(&[message(b'1', b""), message(b'1', b""), ready(b'I')].concat());
    assert!(session.front.prepared(b"s1").is_some());
    session.exchange(&query("deallocate s1"), b'I');
    assert!(session.front.prepared(b"s1").is_none() && session.front.prepared(b"s2").is_some());
    // A function may have run any SQL.
    session.exchange(&query("do"), b'I');
    assert!(session.front.prepared(b"s2").is_none());
    session.exchange(&query("deallocate all"), b'I');
    session.send(&run("", "s2"));
    assert!(session.is_dirty(), "a statement that is gone is unknown");
    // One that failed was never there.
    let mut session = Session::new();
    session.send(&[parse("s1", "read"), sync()].concat());
    session.hear(&[message(b'E', b"SERROR\0C42601\0\0"), ready(b'I')].concat());
    assert!(session.front.prepared(b"s1").is_none());
}

#[test]
fn a_statement_is_one_of_the_settings_of_its_definition() {
    let mut session = Session::new();
    let define = [parse("s1", "read"), sync()].concat();
    let is_of_now = |session: &mut Session| {
        let prepared = session.front.prepared(b"s1").unwrap().clone();
        session.front.has_settings_of(&prepared)
    };
    session.send(&define);
    session.hear(&[message(b'1', b""), ready(b'I')].concat());
    assert!(is_of_now(&mut session));
    let first = session.front.settings();
    session.exchange(&query("set"), b'I');
    assert!(!is_of_now(&mut session));
    // They have been changed back, by whatever; what was prepared meanwhile stays as good as the rest.
    session.send(&[parse("s2", "read"), sync()].concat());
    session.hear(&[message(b'1', b""), ready(b'I')].concat());
    session.front.settings_are(first);
    let meanwhile = session.front.prepared(b"s2").unwrap().clone();
    assert!(is_of_now(&mut session) && session.front.has_settings_of(&meanwhile));
    // A number is never given to others.
    session.exchange(&query("set"), b'I');
    assert!(!is_of_now(&mut session) && !session.front.has_settings_of(&meanwhile));
    // Settings of a transaction go with it.
    let mut session = Session::new();
    session.exchange(&query("begin"), b'T');
    session.exchange(&query("set"), b'T');
    session.send(&define);
    session.hear(&[message(b'1', b""), ready(b'T')].concat());
    assert!(is_of_now(&mut session));
    session.exchange(&query("rollback"), b'I');
    assert!(!is_of_now(&mut session));
}

#[test]
fn the_unnamed_statement_ends_with_a_query() {
    let mut session = Session::new();
    session.send(&[parse("", "read"), sync()].concat());
    session.hear(&[message(b'1', b""), ready(b'I')].concat());
    assert!(session.front.prepared(b"").is_some());
    session.exchange(&query("read"), b'I');
    assert!(session.front.prepared(b"").is_none());
}

#[test]
fn changes_of_settings_are_noticed() {
    let mut session = Session::new();
    assert!(session.front.take_change(), "nothing is known at the beginning");
    session.exchange(&query("read"), b'I');
    assert!(!session.front.take_change());
    session.exchange(&query("set"), b'I');
    assert!(session.front.take_change());
    assert!(session.hear(&message(b'S', b"TimeZone\0UTC\0")).is_changed);
    assert!(session.front.take_change());
}

#[test]
fn a_message_in_pieces_is_not_quiet() {
    let mut session = Session::new();
    let bytes = query("write");
    session.send(&bytes[..7]);
    assert!(!session.front.is_quiet() && !session.is_dirty());
    session.send(&bytes[7..]);
    assert!(session.is_dirty());
    session.hear(&done(b'I'));
    assert!(session.front.is_quiet());
}

#[test]
fn nothing_comes_between_the_pieces_of_what_the_server_says() {
    let notification = message(b'A', b"\0\0\0\x01channel\0payload\0");
    for at in 1..notification.len() {
        let mut session = Session::new();
        session.hear(&notification[..at]);
        assert!(!session.front.is_quiet(), "{at}");
        session.hear(&notification[at..]);
        assert!(session.front.is_quiet(), "{at}");
        for text in ["begin", "write"] {
            session.exchange(&query(text), b'T');
        }
        session.hear(&notification[..at]);
        assert!(session.front.held_writes().is_none(), "{at}");
        session.hear(&notification[at..]);
        assert!(session.front.held_writes().is_some(), "{at}");
    }
}

#[test]
fn a_prepared_transaction_is_remembered_until_anybody_commits_it() {
    let mut one = Session::new();
    let elsewhere =
        |session: &Session| session.versions.token(DATABASE, &ReadSet::of([TableId(9)]), true, &[]);
    one.exchange(&query("begin"), b'T');
    one.exchange(&query("write"), b'T');
    let token = one.token();
    one.exchange(&query("prepare transaction 'x'"), b'I');
    assert_eq!(one.token(), token, "nothing was written yet");
    let (other, spared) = (Session::new().front, elsewhere(&one));
    one.front = other;
    one.hear(&[message(b'R', &[0; 4]), ready(b'I')].concat());
    one.send(&query("commit prepared 'x'"));
    assert!(one.is_dirty());
    one.hear(&done(b'I'));
    assert!(one.token() != token && elsewhere(&one) == spared);
    // It is gone; whatever has this name now may have written anything.
    one.exchange(&query("commit prepared 'x'"), b'I');
    assert_ne!(elsewhere(&one), spared);
}

#[test]
fn a_definition_that_fails_takes_the_unnamed_one_before_with_it() {
    let mut session = Session::new();
    let defined = [message(b'1', b""), ready(b'I')].concat();
    session.send(&[parse("", "read"), sync()].concat());
    session.hear(&defined);
    assert!(session.front.prepared(b"").is_some());
    session.send(&[parse("", "wrong"), sync()].concat());
    session.hear(&[message(b'E', b"SERROR\0VERROR\0C42P01\0\0"), ready(b'I')].concat());
    assert!(session.front.prepared(b"").is_none());
    session.send(&[parse("", "read"), sync()].concat());
    session.hear(&defined);
    session.send(&[parse("s1", "wrong"), sync()].concat());
    session.hear(&[message(b'E', b"SERROR\0VERROR\0C42P01\0\0"), ready(b'I')].concat());
    assert!(session.front.prepared(b"").is_some(), "a name is another matter");
}

#[test]
fn a_portal_with_a_name_may_be_run_by_text() {
    let mut session = Session::new();
    session.send(&query("begin"));
    session.hear(&done(b'T'));
    let bind = [&b"p\0\0"[..], &[0; 6]].concat();
    session.send(&[parse("", "write"), message(b'B', &bind), sync()].concat());
    session.hear(&[message(b'1', b""), message(b'2', b""), ready(b'T')].concat());
    let before = session.token().unwrap();
    // As FETCH is, which writes nothing by itself.
    session.send(&query("read"));
    session.hear(&done(b'T'));
    assert!(session.versions.is_current(&before), "nothing is committed");
    session.send(&query("commit"));
    assert!(session.token().is_none());
    session.hear(&done(b'I'));
    assert!(!session.versions.is_current(&before) && session.token().is_some());
}
