//! Statements of a unit with all its records are counted the same whether their chunks come whole, so that the short
//! way is taken, or in pieces, so that it never is.

use proptest::prelude::*;

use super::*;
use crate::limits::RECORDS_MAX;

/// What a client sends next, and what the server answers.
#[derive(Clone, Debug)]
enum Step {
    Select { key: u32, rows: usize },
    OtherShape,
    Insert { key: u32 },
    SeveralStatements,
    Tagged { id: u8 },
    Ping,
    Setting { request: bool },
    Prepare,
    ExecuteOfPrepared { key: u32 },
    Unnamed { text: usize, described: bool, key: u32 },
    Named { key: u32 },
    NamedPortal { key: u32 },
    Failing,
    FailingParse,
    Begin,
    Commit,
    Notice,
    TwoAnswers,
    Pipeline,
    NoAnswerYet,
    Pause,
    Sweep,
    Tap { is_on: bool },
    ReportedName { number: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let select = (0_u32..50, 0_usize..3).prop_map(|(key, rows)| Step::Select { key, rows });
    let unnamed = (0_usize..3, any::<bool>(), 0_u32..50).prop_map(|(text, described, key)| Step::Unnamed {
        text,
        described,
        key,
    });
    prop_oneof![
        8 => select,
        6 => unnamed,
        6 => (0_u32..50).prop_map(|key| Step::Named { key }),
        2 => (0_u32..50).prop_map(|key| Step::Insert { key }),
        2 => (0_u32..50).prop_map(|key| Step::ExecuteOfPrepared { key }),
        1 => (0_u32..50).prop_map(|key| Step::NamedPortal { key }),
        1 => (0_u8..3).prop_map(|id| Step::Tagged { id }),
        1 => (0_u8..3).prop_map(|number| Step::ReportedName { number }),
        1 => any::<bool>().prop_map(|request| Step::Setting { request }),
        1 => any::<bool>().prop_map(|is_on| Step::Tap { is_on }),
        8 => prop::sample::select(vec![
            Step::OtherShape, Step::SeveralStatements, Step::Ping, Step::Prepare, Step::Failing, Step::FailingParse,
            Step::Begin, Step::Commit, Step::Notice, Step::TwoAnswers, Step::Pipeline, Step::NoAnswerYet, Step::Pause,
            Step::Sweep,
        ]),
    ]
}

const TEXTS: [&str; 3] = [
    "SELECT name FROM users WHERE id = $1",
    "SELECT title FROM posts WHERE author_id = $1",
    "UPDATE users SET name = 'x' WHERE id = $1",
];

/// The two observers of one conversation.
struct Both {
    whole: Session,
    pieces: Session,
    status: &'static [u8],
}

impl Both {
    /// Both with a unit that takes no more records, and a prepared statement.
    fn full() -> Self {
        let mut both = Self { whole: Session::new(), pieces: Session::new(), status: b"I" };
        both.exchange(
            &[message(b'P', format!("s1\0{}\0\0\0", TEXTS[0]).as_bytes()), message(b'S', b"")].concat(),
            &[message(b'1', b""), message(b'Z', b"I")].concat(),
        );
        for key in 0..=RECORDS_MAX {
            both.run(&Step::Select { key: u32::try_from(key).unwrap(), rows: 1 });
        }
        both
    }

    fn sent(&mut self, bytes: &[u8]) {
        let at = bytes.len() / 2;
        self.whole.frontend(bytes);
        self.pieces.frontend(&bytes[..at]);
        self.pieces.clock = self.whole.clock - 1_000_000;
        self.pieces.frontend(&bytes[at..]);
    }

    fn answered(&mut self, bytes: &[u8]) {
        self.whole.backend(bytes);
        self.pieces.backend(bytes);
    }

    fn exchange(&mut self, sent: &[u8], answer: &[u8]) {
        self.sent(sent);
        self.answered(answer);
    }

    fn query(&mut self, sql: &str, answer: &[Vec<u8>]) {
        let ready = message(b'Z', self.status);
        self.exchange(&message(b'Q', format!("{sql}\0").as_bytes()), &[answer.concat(), ready].concat());
    }

    fn rows_of(rows: usize, tag: &str) -> Vec<Vec<u8>> {
        let mut answer = vec![description(&[("id", 23)], false)];
        answer.extend(vec![row(&[b"7"]); rows]);
        answer.push(complete(&format!("{tag} {rows}")));
        answer
    }

    fn bind(portal: &str, statement: &str, key: u32) -> Vec<u8> {
        let key = key.to_string();
        let names = format!("{portal}\0{statement}\0");
        let length = u32::try_from(key.len()).unwrap().to_be_bytes();
        message(b'B', &[names.as_bytes(), b"\0\0\0\x01", &length, key.as_bytes(), b"\0\0"].concat())
    }

    fn execute(portal: &str) -> Vec<u8> {
        [message(b'E', format!("{portal}\0\0\0\0\0").as_bytes()), message(b'S', b"")].concat()
    }

    fn run(&mut self, step: &Step) {
        let ready = message(b'Z', self.status);
        let bound = message(b'2', b"");
        match step {
            Step::Select { key, rows } => {
                self.query(
                    &format!("SELECT id FROM users WHERE id = {key}"),
                    &Self::rows_of(*rows, "SELECT"),
                );
            }
            Step::OtherShape => self.query("SELECT count(*) FROM posts", &Self::rows_of(1, "SELECT")),
            Step::Insert { key } => {
                self.query(&format!("INSERT INTO users VALUES ({key})"), &[complete("INSERT 0 1")]);
            }
            Step::SeveralStatements => {
                let answer = [Self::rows_of(1, "SELECT"), Self::rows_of(2, "SELECT")].concat();
                self.query("SELECT 1 FROM a WHERE b = 1; SELECT 2 FROM a WHERE b = 2", &answer);
            }
            Step::Tagged { id } => {
                let text = format!("SELECT id FROM users WHERE id = 1 /*request_id='r{id}'*/");
                self.query(&text, &Self::rows_of(1, "SELECT"));
            }
            Step::Ping => self.query("SELECT 1", &Self::rows_of(1, "SELECT")),
            Step::Setting { request } => {
                let value = if *request { "route=/a,id=x" } else { "" };
                self.query(&format!("SET pgtally.request = '{value}'"), &[complete("SET")]);
            }
            Step::Prepare => {
                self.query("PREPARE p AS SELECT name FROM users WHERE id = $1", &[complete("PREPARE")]);
            }
            Step::ExecuteOfPrepared { key } => {
                self.query(&format!("EXECUTE p({key})"), &Self::rows_of(1, "SELECT"));
            }
            Step::Unnamed { text, described, key } => {
                let describe = if *described { message(b'D', b"P\0") } else { Vec::new() };
                let parse = message(b'P', format!("\0{}\0\0\0", TEXTS[*text]).as_bytes());
                let sent = [parse, Self::bind("", "", *key), describe, Self::execute("")].concat();
                let described = if *described { description(&[("name", 25)], false) } else { Vec::new() };
                let rows = [row(&[b"ann"]), complete("SELECT 1")].concat();
                self.exchange(&sent, &[message(b'1', b""), bound, described, rows, ready].concat());
            }
            Step::Named { key } | Step::NamedPortal { key } => {
                let portal = if matches!(step, Step::Named { .. }) { "" } else { "c1" };
                let sent = [Self::bind(portal, "s1", *key), Self::execute(portal)].concat();
                self.exchange(&sent, &[bound, row(&[b"ann"]), complete("SELECT 1"), ready].concat());
            }
            Step::Failing => {
                let error = message(b'E', b"SERROR\0C42P01\0Mno\0\0");
                if self.status == b"T" {
                    self.status = b"E";
                }
                self.query("SELECT id FROM users WHERE id = 5", &[error]);
            }
            Step::FailingParse => {
                let error = message(b'E', b"SERROR\0C42P01\0Mno\0\0");
                let parse = message(b'P', format!("\0{}\0\0\0", TEXTS[1]).as_bytes());
                let sent = [parse, Self::bind("", "", 1), Self::execute("")].concat();
                if self.status == b"T" {
                    self.status = b"E";
                }
                self.exchange(&sent, &[error, message(b'Z', self.status)].concat());
            }
            Step::Begin => {
                self.status = b"T";
                self.query("BEGIN", &[complete("BEGIN")]);
            }
            Step::Commit => {
                self.status = b"I";
                self.query("COMMIT", &[complete("COMMIT")]);
            }
            Step::Notice => {
                let notice = vec![message(b'N', b"SNOTICE\0Mhm\0\0")];
                let answer = [notice, Self::rows_of(1, "SELECT")].concat();
                self.query("SELECT id FROM users WHERE id = 9", &answer);
            }
            Step::TwoAnswers => {
                self.sent(&message(b'Q', b"SELECT id FROM users WHERE id = 8\0"));
                self.answered(&description(&[("id", 23)], false));
                self.answered(&[row(&[b"8"]), complete("SELECT 1"), ready].concat());
            }
            Step::Pipeline => {
                let query = message(b'Q', b"SELECT id FROM users WHERE id = 3\0");
                self.sent(&query);
                self.sent(&query);
                let answer = [Self::rows_of(1, "SELECT").concat(), ready].concat();
                self.answered(&answer);
                self.answered(&answer);
            }
            Step::NoAnswerYet => {
                self.sent(&message(b'Q', b"SELECT id FROM users WHERE id = 4\0"));
                assert!(self.whole.observer.is_running() && self.pieces.observer.is_running());
                self.run(&Step::Sweep);
                self.answered(&[Self::rows_of(2, "SELECT").concat(), ready].concat());
            }
            Step::Pause => self.wait(400),
            Step::Sweep => {
                self.wait(10);
                for session in [&mut self.whole, &mut self.pieces] {
                    session.observer.sweep(Moment(session.clock), &mut session.worker);
                }
            }
            Step::Tap { is_on } => {
                self.whole.worker.set_tapped(*is_on);
                self.pieces.worker.set_tapped(*is_on);
            }
            Step::ReportedName { number } => {
                self.answered(&message(b'S', format!("application_name\0web{number}\0").as_bytes()));
            }
        }
    }

    fn wait(&mut self, milliseconds: u64) {
        self.whole.clock += milliseconds * 1_000_000;
        self.pieces.clock = self.whole.clock;
    }
}

/// All that a worker tells of its sessions.
fn told(session: &mut Session) -> [String; 4] {
    let worker = &mut session.worker;
    let tapped = format!("{:?}", worker.take_tapped());
    let counters = format!("{:?}", worker.take_counters());
    let shapes = format!("{:?}", worker.take_new_shapes());
    session.observer.close(&mut session.worker);
    [counters, shapes, tapped, format!("{:?}", session.worker.take_parts())]
}

#[test]
fn a_unit_with_all_its_records_takes_the_short_way() {
    let mut both = Both::full();
    both.sent(&message(b'Q', b"SELECT id FROM users WHERE id = 4\0"));
    assert!(both.whole.observer.deferred.is_waiting());
    assert!(!both.whole.observer.conversation.is_running(), "it waits to be looked at");
    assert!(both.pieces.observer.conversation.is_running());
    both.answered(&[Both::rows_of(1, "SELECT").concat(), message(b'Z', b"I")].concat());
    assert!(!both.whole.observer.deferred.is_waiting());
    assert_eq!(told(&mut both.whole), told(&mut both.pieces));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_short_way_counts_what_the_long_one_does(steps in prop::collection::vec(step(), 1..60)) {
        let mut both = Both::full();
        for step in &steps {
            both.run(step);
            prop_assert_eq!(both.whole.observer.status(), both.pieces.observer.status());
        }
        prop_assert_eq!(told(&mut both.whole), told(&mut both.pieces));
    }
}
