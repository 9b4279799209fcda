mod definitions;
mod exchanges;

use pgtally_fingerprint::value;
use pgtally_protocol::startup::{self, Packet};

use super::*;
use crate::record::{Attribution, StatementRecord};
use crate::worker::ObserverSettings;

/// One session with its clock: every message takes a millisecond.
struct Session {
    worker: Worker,
    observer: SessionObserver,
    clock: u64,
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn row(cells: &[&[u8]]) -> Vec<u8> {
    let mut body = u16::try_from(cells.len()).unwrap().to_be_bytes().to_vec();
    for cell in cells {
        body.extend(u32::try_from(cell.len()).unwrap().to_be_bytes());
        body.extend(*cell);
    }
    message(b'D', &body)
}

/// Columns of one table: name, type OID.
fn description(columns: &[(&str, u32)], is_binary: bool) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for (attribute, (name, type_oid)) in (1_u16..).zip(columns) {
        body.extend(name.as_bytes());
        body.extend([0, 0, 0, 0x40, 0]);
        body.extend(attribute.to_be_bytes());
        body.extend(type_oid.to_be_bytes());
        body.extend([0; 6]);
        body.extend(u16::from(is_binary).to_be_bytes());
    }
    message(b'T', &body)
}

fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

impl Session {
    fn new() -> Self {
        let body = b"\0\x03\0\0user\0ann\0database\0shop\0application_name\0web\0\0";
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        let Ok(Packet::Startup(startup)) = startup::parse(&[&length[..], body].concat()) else { panic!() };
        let mut worker = Worker::new(ObserverSettings::default());
        let observer = SessionObserver::new(7, &startup, &mut worker);
        let mut session = Self { worker, observer, clock: 0 };
        session.backend(&[message(b'R', &[0, 0, 0, 0]), message(b'Z', b"I")].concat());
        session
    }

    fn frontend(&mut self, bytes: &[u8]) {
        self.clock += 1_000_000;
        self.observer.frontend(bytes, Moment(self.clock), &mut self.worker).unwrap();
    }

    fn backend(&mut self, bytes: &[u8]) {
        self.clock += 1_000_000;
        self.observer.backend(bytes, Moment(self.clock), &mut self.worker).unwrap();
    }

    fn query(&mut self, sql: &str, answer: &[Vec<u8>]) {
        self.frontend(&message(b'Q', format!("{sql}\0").as_bytes()));
        self.backend(&[answer.concat(), message(b'Z', b"I")].concat());
    }

    fn part(&mut self) -> RequestPart {
        self.observer.close(&mut self.worker);
        let mut parts = self.worker.take_parts();
        assert_eq!(parts.len(), 1);
        parts.remove(0)
    }
}

fn posts() -> Vec<Vec<u8>> {
    vec![
        description(&[("id", 23), ("title", 25), ("author_id", 20)], false),
        row(&[b"1", b"a", b"101"]),
        row(&[b"2", b"b", b"102"]),
        complete("SELECT 2"),
    ]
}

#[test]
fn rows_and_keys_of_a_loop_are_recorded() {
    let mut session = Session::new();
    session.query("SELECT id, title, author_id FROM posts", &posts());
    for key in [101, 102] {
        let answer = [description(&[("name", 25)], false), row(&[b"ann"]), complete("SELECT 1")];
        session.query(&format!("SELECT name FROM users WHERE id = {key}"), &answer);
    }
    let part = session.part();
    assert_eq!((part.attribution, part.statements, part.records.len()), (Attribution::Session, 3, 3));
    assert_eq!((&*part.route, &*part.origin.database), ("web", "shop"));
    assert_eq!(part.records[1].fingerprint, part.records[2].fingerprint);
    assert_ne!(part.records[1].parameters_hash, part.records[2].parameters_hash);
    assert!(part.records.iter().all(|record| record.is_round_trip));
    let keys: Vec<u32> = part.keys.iter().map(|key| key.value).collect();
    assert_eq!(keys, [101, 102].map(value::hash_integer));
    assert_eq!(part.samples.len(), 1, "a result of one row is no parent");
    let sample = &part.samples[0];
    assert_eq!(
        sample.columns.iter().map(|column| &*column.label).collect::<Vec<_>>(),
        ["id", "title", "author_id"]
    );
    let authors: Vec<u32> = sample.values.chunks(3).map(|row| row[2]).collect();
    assert_eq!(authors, keys);
}

#[test]
fn bound_binary_keys_equal_text_values() {
    let mut session = Session::new();
    let parse = message(b'P', b"s1\0SELECT name FROM users WHERE id = $1\0\0\x01\0\0\0\x17");
    session.frontend(&[parse, message(b'D', b"Ss1\0"), message(b'S', b"")].concat());
    let types = message(b't', b"\0\x01\0\0\0\x17");
    session.backend(
        &[message(b'1', b""), types, description(&[("name", 25)], false), message(b'Z', b"I")].concat(),
    );
    for key in [101_i32, 102] {
        let bind = [&b"\0s1\0\0\x01\0\x01\0\x01\0\0\0\x04"[..], &key.to_be_bytes(), b"\0\x01\0\x01"].concat();
        session.frontend(&[message(b'B', &bind), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat());
        session.backend(
            &[message(b'2', b""), row(&[b"ann"]), complete("SELECT 1"), message(b'Z', b"I")].concat(),
        );
    }
    let part = session.part();
    let keys: Vec<u32> = part.keys.iter().map(|key| key.value).collect();
    assert_eq!(keys, [101, 102].map(value::hash_integer));
    assert_eq!(part.statements, 2);
}

#[test]
fn rows_of_a_fetch_belong_to_its_declare() {
    let mut session = Session::new();
    session.query("BEGIN", &[complete("BEGIN")]);
    session
        .query("DECLARE c CURSOR FOR SELECT id, title, author_id FROM posts", &[complete("DECLARE CURSOR")]);
    for _ in 0..2 {
        session.query(
            "FETCH FORWARD 2 FROM c",
            &posts().iter().take(3).cloned().chain([complete("FETCH 2")]).collect::<Vec<_>>(),
        );
    }
    let part = session.part();
    assert_eq!((part.statements, part.records.len(), part.records[0].rows), (1, 1, 4));
    assert!(part.records[0].is_fetched_in_pieces);
    assert_eq!((part.samples[0].fingerprint, part.samples[0].rows), (part.records[0].fingerprint, 4));
}

#[test]
fn idle_parts_are_handed_over() {
    let mut session = Session::new();
    session.query("SELECT id, title, author_id FROM posts", &posts());
    session.observer.sweep(Moment(session.clock + 400_000_000), &mut session.worker);
    assert!(session.observer.has_open_request());
    session.observer.sweep(Moment(session.clock + 500_000_000), &mut session.worker);
    assert!(!session.observer.has_open_request());
}

#[test]
fn a_long_result_keeps_its_request() {
    let mut session = Session::new();
    session.frontend(&message(b'Q', b"SELECT id, title, author_id FROM posts\0"));
    session.backend(&posts()[..2].concat());
    session.clock += 60_000_000_000;
    session.observer.sweep(Moment(session.clock), &mut session.worker);
    session.backend(&[&posts()[2..], &[message(b'Z', b"I")]].concat().concat());
    session.observer.sweep(Moment(session.clock), &mut session.worker);
    assert!(!session.observer.has_open_request());
    let part = session.part();
    assert_eq!((part.statements, part.records.len(), part.samples.len()), (1, 1, 1));
}

#[test]
fn the_longest_pauses_of_a_transaction_are_kept() {
    let mut session = Session::new();
    for wait_ms in [0, 300, 300, 300, 300, 300, 3_000] {
        session.clock += wait_ms * 1_000_000;
        let (sql, answer) = ("SELECT a FROM accounts WHERE id = 1", complete("SELECT 1"));
        let sql = if wait_ms == 0 { format!("BEGIN; {sql}") } else { sql.to_owned() };
        let begun = if wait_ms == 0 { complete("BEGIN") } else { Vec::new() };
        session.frontend(&message(b'Q', format!("{sql}\0").as_bytes()));
        session.backend(&[begun, answer, message(b'Z', b"T")].concat());
    }
    let part = session.part();
    assert_eq!(part.pauses.len(), crate::limits::PAUSES_MAX);
    let longest = part.pauses.iter().map(|pause| pause.waited_ns).max();
    assert!(longest.is_some_and(|longest| longest >= 3_000_000_000), "{longest:?}");
}

#[test]
fn a_commit_that_cannot_be_serialized_marks_its_attempt() {
    let mut session = Session::new();
    for outcome in [message(b'E', b"SERROR\0C40001\0\0"), complete("COMMIT")] {
        for (sql, answer, status) in [
            ("BEGIN", complete("BEGIN"), b"T"),
            ("SELECT a FROM accounts WHERE id = 1", complete("SELECT 1"), b"T"),
            ("COMMIT", outcome, b"I"),
        ] {
            session.frontend(&message(b'Q', format!("{sql}\0").as_bytes()));
            session.backend(&[answer, message(b'Z', status)].concat());
        }
    }
    let parts = {
        session.observer.close(&mut session.worker);
        session.worker.take_parts()
    };
    let retried: Vec<bool> = parts.iter().flat_map(|it| &it.records).map(|it| it.is_retried).collect();
    assert_eq!(retried, [true, false]);
}

#[test]
fn rollbacks_are_told_once_for_what_they_take_back() {
    let mut session = Session::new();
    let mut run = |sql: &str, tag: &str, status: &[u8]| {
        session.frontend(&message(b'Q', format!("{sql}\0").as_bytes()));
        session.backend(&[complete(tag), message(b'Z', status)].concat());
    };
    run("SELECT a FROM t", "SELECT 0", b"I");
    run("ROLLBACK", "ROLLBACK", b"I");
    run("BEGIN", "BEGIN", b"T");
    run("UPDATE t SET a = 1", "UPDATE 1", b"T");
    run("SAVEPOINT s", "SAVEPOINT", b"T");
    run("UPDATE t SET a = 2", "UPDATE 1", b"T");
    for _ in 0..1_000 {
        run("ROLLBACK TO s", "ROLLBACK", b"T");
    }
    run("SELECT a FROM t", "SELECT 1", b"T");
    run("ROLLBACK", "ROLLBACK", b"I");
    for _ in 0..1_000 {
        run("BEGIN", "BEGIN", b"T");
        run("ROLLBACK", "ROLLBACK", b"I");
    }
    let part = session.part();
    let told: Vec<u32> = part.rollbacks.iter().map(|it| it.transaction).collect();
    assert_eq!(told, [1, 1], "of the savepoint and of the transaction");
    assert!(part.rollbacks.is_sorted_by_key(|it| it.sent));
}

#[test]
fn a_crowded_pipeline_keeps_one_statement_per_text() {
    let mut session = Session::new();
    let text = |number: usize| format!("{}\0", format!("SELECT {number} FROM t;").repeat(20));
    for number in 0..2 * crate::limits::CROWDED_PENDING {
        session.frontend(&message(b'Q', text(number).as_bytes()));
    }
    for _ in 0..2 * crate::limits::CROWDED_PENDING {
        session.backend(&[complete("SELECT 1").repeat(20), message(b'Z', b"I")].concat());
    }
    let counters = session.worker.take_counters().unwrap();
    let unknown = counters.dropped[Dropped::Statements as usize] as usize;
    assert_eq!(unknown, 19 * crate::limits::CROWDED_PENDING);
    assert_eq!(session.part().statements as usize, 40 * crate::limits::CROWDED_PENDING);
}

#[test]
fn high_placeholder_numbers_and_long_settings_take_no_room() {
    let mut session = Session::new();
    let mut prepared = |sql: &str| {
        let bytes = sql.as_bytes();
        let Worker { texts, tag_sets, counters, .. } = &mut session.worker;
        let database = counters.database("shop");
        texts.prepare(Text { bytes, is_cut: false }, &[], Default::default(), database, tag_sets)
    };
    let many = prepared("SELECT a FROM t WHERE id = $65535 AND b > $65534");
    assert!(many.text.placeholder_bytes() <= 256);
    let long = prepared(&format!("SET application_name = '{}'", "x".repeat(60_000)));
    let setting = long.text.first.as_ref().and_then(|it| it.setting.as_ref()).unwrap();
    assert_eq!(setting.value.as_ref().map(|value| value.len()), Some(crate::limits::SETTING_BYTES_MAX));
}

#[test]
fn texts_that_never_return_leave_the_memo_alone() {
    let mut session = Session::new();
    let Worker { texts, tag_sets, .. } = &mut session.worker;
    let mut is_known = |sql: &str| {
        let text = Text { bytes: sql.as_bytes(), is_cut: false };
        matches!(texts.query(text, Default::default(), tag_sets), crate::texts::Analysed::Known(_))
    };
    for expected in [false, true, true] {
        assert_eq!(is_known("SELECT a FROM t"), expected);
    }
    for number in 0..20_000 {
        assert!(!is_known(&format!("SELECT a{number} FROM t")));
    }
    assert!(is_known("SELECT a FROM t"));
}

/// `Parse`, and what the server says to it.
fn prepare(session: &mut Session, name: &str, sql: &str) {
    let parse = message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes());
    session.frontend(&[parse, message(b'S', b"")].concat());
    session.backend(&[message(b'1', b""), message(b'Z', b"I")].concat());
}

/// `Bind` of the statement `name` to the portal `p`.
fn bind(name: &str) -> Vec<u8> {
    message(b'B', format!("p\0{name}\0\0\0\0\0\0\0").as_bytes())
}

fn execute(rows: u8) -> Vec<u8> {
    [message(b'E', &[b'p', 0, 0, 0, 0, rows]), message(b'S', b"")].concat()
}

#[test]
fn deallocated_statements_make_room() {
    let mut session = Session::new();
    for number in 0..5_000 {
        prepare(&mut session, &format!("a{number}"), "SELECT id FROM posts");
        session.query(&format!("DEALLOCATE a{number}"), &[complete("DEALLOCATE")]);
    }
    prepare(&mut session, "last", "SELECT id FROM posts");
    session.frontend(&[bind("last"), execute(0)].concat());
    session.backend(&[message(b'2', b""), complete("SELECT 0"), message(b'Z', b"I")].concat());
    let counters = session.worker.take_counters().unwrap();
    assert_eq!(counters.dropped[Dropped::Statements as usize], 0);
    assert_eq!(session.part().statements, 1);
}

#[test]
fn a_portal_in_pieces_keeps_its_rows_apart() {
    let mut session = Session::new();
    session.query("BEGIN", &[complete("BEGIN")]);
    prepare(&mut session, "s", "SELECT id FROM posts");
    let rows =
        |from: u8| (from..from + 2).map(|n| row(&[n.to_string().as_bytes()])).collect::<Vec<_>>().concat();
    let ready = message(b'Z', b"T");
    session.frontend(&[bind("s"), message(b'D', b"Pp\0"), execute(2)].concat());
    let described = [message(b'2', b""), description(&[("id", 23)], false)].concat();
    session.backend(&[&described[..], &rows(11), &message(b's', b""), &ready].concat());
    for number in 0..crate::limits::SAMPLES_MAX {
        let answer =
            [description(&[("a", 23), ("b", 23)], false), row(&[b"1", b"2"]), row(&[b"3", b"4"])].concat();
        session.frontend(&message(b'Q', format!("SELECT a, b FROM t{number}\0").as_bytes()));
        session.backend(&[&answer[..], &complete("SELECT 2"), &ready].concat());
    }
    session.frontend(&execute(2));
    session.backend(&[&rows(13)[..], &message(b's', b""), &ready].concat());
    session.frontend(&execute(2));
    session.backend(&[&complete("SELECT 0")[..], &ready].concat());
    // Once more: a portal at its end answers again, and that is no other statement.
    session.frontend(&execute(2));
    session.backend(&[&complete("SELECT 0")[..], &ready].concat());
    let part = session.part();
    assert_eq!(part.statements as usize, 1 + crate::limits::SAMPLES_MAX);
    assert_eq!(part.records[0].rows, 4);
    for sample in &part.samples {
        let is_of_portal = sample.fingerprint == part.records[0].fingerprint;
        let expected = if is_of_portal { vec![13, 14] } else { vec![1, 2, 3, 4] };
        assert_eq!(sample.values, expected.into_iter().map(value::hash_integer).collect::<Vec<_>>());
    }
    assert_eq!(session.worker.take_counters().unwrap().dropped[Dropped::Statements as usize], 0);
}

#[test]
fn a_portal_row_by_row_is_one_execution_with_all_its_rows() {
    let mut session = Session::new();
    session.query("BEGIN", &[complete("BEGIN")]);
    prepare(&mut session, "s", "SELECT id FROM posts");
    session.frontend(&[bind("s"), message(b'D', b"Pp\0"), execute(1)].concat());
    session.backend(&[message(b'2', b""), description(&[("id", 23)], false)].concat());
    for id in [b"11", b"12", b"13"] {
        session.backend(&[row(&[id]), message(b's', b""), message(b'Z', b"T")].concat());
        session.frontend(&execute(1));
    }
    session.backend(&[complete("SELECT 0"), message(b'Z', b"T")].concat());
    let part = session.part();
    let sample = &part.samples[0];
    assert_eq!((part.statements, sample.executions, sample.rows), (1, 1, 3));
    assert_eq!(sample.values, [11, 12, 13].map(value::hash_integer));
}

#[test]
fn pipelined_statements_are_one_round_trip() {
    let mut session = Session::new();
    let query = message(b'Q', b"INSERT INTO t VALUES (1)\0");
    session.frontend(&[query.clone(), query].concat());
    let answer = [complete("INSERT 0 1"), message(b'Z', b"I")].concat();
    session.backend(&[answer.clone(), answer].concat());
    let part = session.part();
    assert_eq!(part.records.iter().map(|record| record.is_round_trip).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn memory_of_one_endless_request_is_bounded() {
    let mut session = Session::new();
    for number in 0..10_000 {
        session.query(&format!("SELECT id, title, author_id FROM posts WHERE id > {number}"), &posts());
    }
    let part = session.part();
    assert_eq!((part.statements, part.records.len()), (10_000, crate::limits::RECORDS_MAX));
    let bytes: usize = part.samples.iter().map(|sample| sample.values.len() * 4).sum();
    assert!(bytes <= crate::limits::SAMPLE_BYTES_MAX);
    let counters = session.worker.take_counters().unwrap();
    assert_eq!(counters.dropped[Dropped::Records as usize], 8_000);
}

#[test]
fn samples_given_up_are_counted() {
    let mut session = Session::new();
    for number in 0..=crate::limits::SAMPLES_MAX {
        session.query(&format!("SELECT id, title, author_id FROM posts{number}"), &posts());
    }
    session.observer.close(&mut session.worker);
    let counters = session.worker.take_counters().unwrap();
    assert_eq!(counters.dropped[Dropped::Samples as usize], 1);
}

#[test]
fn startup_options_are_split_as_postgresql_does() {
    for (options, expected) in [
        ("-c pgtally.request=a", Some("a")),
        ("-cpgtally.request=a -c work_mem=7MB", Some("a")),
        ("--pgtally.request=a\\ b", Some("a b")),
        ("-c", None),
        ("-c work_mem=7MB", None),
    ] {
        let parameters = vec![(b"options".to_vec(), options.as_bytes().to_vec())];
        let startup = Startup { major: 3, minor: 0, parameters };
        assert_eq!(
            startup_setting(&startup, "pgtally.request").as_deref(),
            expected.map(str::as_bytes),
            "{options}"
        );
    }
}

#[test]
fn a_busy_worker_records_the_first_statements_of_what_it_cannot_divide() {
    let mut untagged = Session::new();
    let mut tagged = Session::new();
    let answer = [complete("SELECT 0"), message(b'Z', b"I")].concat();
    for number in 0..1_000_u64 {
        let now = Moment(1_000_000_000 + number * 100_000);
        // Two sessions of one worker, as their statements alternate.
        for (session, tag) in [(&mut untagged.observer, ""), (&mut tagged.observer, "/*request_id='a'*/")] {
            let sql = format!("SELECT a FROM t WHERE id = {number}{tag}\0");
            session.frontend(&message(b'Q', sql.as_bytes()), now, &mut untagged.worker).unwrap();
            untagged.worker.load.is_busy(number % 2, now);
            session.backend(&answer, now, &mut untagged.worker).unwrap();
        }
    }
    let part = untagged.observer.open_part().unwrap();
    assert_eq!((part.attribution, part.statements), (Attribution::Session, 1_000));
    assert!((200..500).contains(&part.records.len()), "{} recorded", part.records.len());
    let named = tagged.observer.open_part().unwrap();
    assert_eq!((named.attribution, named.statements, named.records.len()), (Attribution::Tag, 1_000, 1_000));
    let counters = untagged.worker.take_counters().unwrap();
    assert_eq!(counters.dropped[Dropped::Sampled as usize], 1_000 - part.records.len() as u64);
}

#[test]
fn rows_beyond_those_looked_at_are_counted_however_they_arrive() {
    let rows = vec![row(&[b"7", b"x"]); 1_000].concat();
    let columns = description(&[("id", 23), ("name", 25)], false);
    let select = [columns, rows.clone(), complete("SELECT 1000")].concat();
    let copied: Vec<u8> = (0..1_000).flat_map(|_| message(b'd', b"7\tx\n")).collect();
    let copy = [message(b'H', &[0; 3]), copied, message(b'c', b""), complete("COPY 1000")].concat();
    for (sql, answer, bytes) in
        [("SELECT id, name FROM t", select, 12_000), ("COPY t TO STDOUT", copy, 4_000)]
    {
        let failed = [rows.clone(), message(b'E', b"SERROR\0C57014\0\0")].concat();
        let answers = [failed, answer].map(|answer| [answer, message(b'Z', b"I")].concat());
        for size in [1, 7, 100, 4_096, 1 << 20] {
            let mut session = Session::new();
            for answer in &answers {
                session.frontend(&message(b'Q', format!("{sql}\0").as_bytes()));
                answer.chunks(size).for_each(|chunk| session.backend(chunk));
            }
            let records = session.part().records;
            let seen: Vec<_> = records.iter().map(|it| (it.rows, it.bytes, it.error)).collect();
            assert_eq!(
                seen,
                [(0, 12_000, Some(*b"57014")), (1_000, bytes, None)],
                "{sql} in chunks of {size}"
            );
        }
    }
}
