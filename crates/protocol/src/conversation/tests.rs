use super::*;

#[derive(Debug)]
struct Names;

impl Attachments for Names {
    type Prepared = &'static str;
    type Execution = &'static str;
    type Mark = u32;
}

/// Plays a script of `>` (sent) and `<` (answered) messages and tells what each answer meant.
///
/// `> P s text`, `> B portal s`, `> DP portal`, `> DS s`, `> E portal`, `> CS s`, `> CP portal`, `> Q text`, `> S`,
/// `> F`, `> c`; `< 1`, `< C SELECT 1`, `< E 23505`, `< Z I`, …; `-` is the unnamed statement or portal.
fn play(script: &'static str) -> Result<Vec<String>, Desync> {
    let mut conversation = Conversation::<Names>::new();
    let mut told = vec![answer(&mut conversation, "Z I")?];
    let name = |word: &str| if word == "-" { NameHash::UNNAMED } else { NameHash::of(word.as_bytes()) };
    for (number, line) in script.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let mark = u32::try_from(number).unwrap();
        let words: Vec<&'static str> = line.split(' ').collect();
        match words[..] {
            [">", "P", statement, text] => drop(conversation.parse(name(statement), text)?),
            [">", "B", portal, statement] => {
                let text = conversation.statement(name(statement)).map_or("?", |text| *text);
                conversation.bind(name(portal), text)?;
            }
            [">", "DP", portal] => conversation.describe_portal(name(portal))?,
            [">", "DS", statement] => conversation.describe_statement(name(statement))?,
            [">", "E", portal] => conversation.execute(name(portal), mark)?,
            [">", "CS", statement] => conversation.close_statement(name(statement))?,
            [">", "CP", portal] => conversation.close_portal(name(portal))?,
            [">", "Q", text] => conversation.query(text, mark)?,
            [">", "S"] => conversation.sync()?,
            [">", "F"] => conversation.function_call()?,
            [">", "c"] => conversation.copy_end()?,
            _ => told.push(answer(&mut conversation, line.strip_prefix("< ").expect(line))?),
        }
    }
    assert_eq!(conversation.pending(), 0, "left over: {conversation:?}");
    assert!(!conversation.is_running());
    told.remove(0);
    Ok(told.into_iter().filter(|step| !step.is_empty()).collect())
}

fn answer(conversation: &mut Conversation<Names>, message: &str) -> Result<String, Desync> {
    let (tag, rest) = message.split_once(' ').unwrap_or((message, ""));
    let body = match tag {
        "E" => format!("SERROR\0C{rest}\0\0"),
        "Z" => rest.to_owned(),
        _ => format!("{rest}\0"),
    };
    Ok(match conversation.answer(tag.as_bytes()[0], body.as_bytes())? {
        Step::Completed(text, _, Outcome::Completed(complete)) => {
            format!("{text}: {} {}", String::from_utf8_lossy(complete.command()), complete.rows())
        }
        Step::Completed(text, _, outcome) => format!("{text}: {outcome:?}"),
        Step::Described(Described::Execution(text)) => format!("columns of {text}"),
        Step::Described(Described::Prepared(text)) => format!("columns of prepared {text}"),
        Step::Failed(Failure::Execution(text, _), error) => {
            format!("{text} failed {}", String::from_utf8_lossy(&error.sqlstate))
        }
        Step::Failed(Failure::Other, error) => format!("failed {}", String::from_utf8_lossy(&error.sqlstate)),
        Step::ParameterTypes(text) => format!("types of {text}"),
        Step::Row(text, _) => format!("row of {text}"),
        Step::Untracked => "untracked".to_owned(),
        Step::Passed | Step::Ready(_) => String::new(),
    })
}

#[track_caller]
fn check(script: &'static str, expected: &[&str]) {
    assert_eq!(play(script).unwrap(), expected);
}

#[test]
fn simple_query_with_several_statements() {
    check(
        "> Q a;b\n < T\n < D\n < C SELECT 1\n < C UPDATE 2\n < Z I",
        &["columns of a;b", "row of a;b", "a;b: SELECT 1", "a;b: UPDATE 2"],
    );
}

#[test]
fn extended_query_answers_find_their_portal() {
    check(
        "> P - a\n > B - -\n > DP -\n > E -\n > S\n < 1\n < 2\n < T\n < D\n < C SELECT 1\n < Z I",
        &["columns of a", "row of a", "a: SELECT 1"],
    );
}

#[test]
fn flush_without_sync_answers_describe_first() {
    check(
        "> P s a\n > DS s\n < 1\n < t\n < T\n > B - s\n > E -\n > S\n < 2\n < C SELECT 0\n < Z I",
        &["types of a", "columns of prepared a", "a: SELECT 0"],
    );
}

#[test]
fn error_in_pipeline_skips_until_sync() {
    check(
        "> P s a\n > B - s\n > E -\n > P t b\n > B - t\n > E -\n > S\n > Q c\n < 1\n < 2\n < E 22012\n < Z I\n < C SELECT 1\n < Z I",
        &["a failed 22012", "c: SELECT 1"],
    );
}

#[test]
fn messages_sent_after_an_error_are_dropped_until_sync() {
    check(
        "> P s a\n < E 42601\n > B - s\n > E -\n > Q x\n > S\n < Z I\n > Q b\n < C SELECT 1\n < Z I",
        &["failed 42601", "b: SELECT 1"],
    );
}

#[test]
fn a_failed_definition_is_taken_back() {
    check(
        "> P s a\n > S\n < 1\n < Z I\n > P s b\n > P s c\n > S\n < E 42P05\n < Z I\n > B - s\n > E -\n > S\n < 2\n < C SELECT 1\n < Z I",
        &["failed 42P05", "a: SELECT 1"],
    );
}

#[test]
fn a_skipped_close_keeps_the_statement() {
    check(
        "> P s a\n > S\n < 1\n < Z I\n > P - x\n > CS s\n > S\n < E 42601\n < Z I\n > B - s\n > E -\n > S\n < 2\n < C SELECT 1\n < Z I",
        &["failed 42601", "a: SELECT 1"],
    );
}

#[test]
fn a_pipelined_bind_finds_the_statement_of_its_own_parse() {
    check(
        "> P - a\n > B - -\n > E -\n > P - b\n > B - -\n > E -\n > S\n < 1\n < 2\n < C SELECT 1\n < 1\n < 2\n < C SELECT 2\n < Z I",
        &["a: SELECT 1", "b: SELECT 2"],
    );
}

#[test]
fn a_suspended_portal_goes_on() {
    check(
        "> P - a\n > B p -\n > E p\n > S\n < 1\n < 2\n < D\n < s\n < Z T\n > E p\n > CP p\n > S\n < D\n < C SELECT 1\n < 3\n < Z I",
        &["row of a", "a: Suspended", "row of a", "a: SELECT 1"],
    );
}

#[test]
fn copy_in_ignores_syncs_until_its_end() {
    check(
        "> P - a\n > B - -\n > E -\n > S\n < 1\n < 2\n < G\n > S\n > c\n > S\n < C COPY 3\n < Z I",
        &["a: COPY 3"],
    );
    check("> Q a\n < G\n > c\n < C COPY 3\n < Z I", &["a: COPY 3"]);
    check("> Q a\n > c\n < G\n < C COPY 3\n < Z I", &["a: COPY 3"]);
    check(
        "> P - a\n > B - -\n > E -\n > S\n > c\n > S\n < 1\n < 2\n < G\n < C COPY 3\n < Z I",
        &["a: COPY 3"],
    );
}

#[test]
fn copy_in_that_fails_before_the_client_ends_it() {
    check(
        "> Q a\n < G\n < E 22P04\n < Z I\n > c\n > Q b\n < C SELECT 1\n < Z I",
        &["a failed 22P04", "b: SELECT 1"],
    );
    check("> P - a\n > B - -\n > E -\n < 1\n < 2\n < G\n < E 22P04\n > c\n > S\n < Z I", &["a failed 22P04"]);
    check("> P - a\n > B - -\n > E -\n < 1\n < 2\n < G\n > c\n > S\n < E 22P04\n < Z I", &["a failed 22P04"]);
}

#[test]
fn function_call_empty_query_and_asynchronous_messages() {
    check("> F\n < A x\n < V\n < Z I\n > Q a\n < N x\n < I\n < S x\n < Z I\n < N x\n < A x", &["a: Empty"]);
}

#[test]
fn an_error_at_sync_is_followed_by_ready() {
    check(
        "> P - a\n > B - -\n > E -\n > S\n < 1\n < 2\n < C INSERT 0 1\n < E 23503\n < Z I",
        &["a: INSERT 1", "failed 23503"],
    );
}

#[test]
fn an_answer_that_nothing_asked_for_is_a_desync() {
    for script in ["< 1", "< C SELECT 1", "> Q a\n < 2", "> P - a\n < C SELECT 1", "< Z X", "> Q a\n < W"] {
        assert!(play(script).is_err(), "{script}");
    }
}

#[test]
fn too_many_unanswered_messages_are_a_desync() {
    let mut conversation = Conversation::<Names>::new();
    let mut send = || (0..=limits::PENDING_MAX).try_for_each(|_| conversation.sync());
    assert_eq!(send(), Err(Desync::PendingOverflow));
}

#[test]
fn statements_beyond_the_limit_are_told_as_untracked() {
    let mut conversation = Conversation::<Names>::new();
    let tracked = (0..=limits::STATEMENTS_MAX)
        .filter(|number| conversation.parse(NameHash::of(format!("s{number}").as_bytes()), "a").unwrap())
        .count();
    assert_eq!(tracked, limits::STATEMENTS_MAX);
}

#[test]
fn names_are_compared_as_far_as_postgresql_keeps_them() {
    let name = |last: &str| NameHash::of(format!("{}{last}", "n".repeat(63)).as_bytes());
    assert_eq!(name(""), name("a"));
    assert_ne!(NameHash::of(b"a"), NameHash::of(b"b"));
}

#[test]
fn statements_are_forgotten_unless_one_is_being_defined() {
    let name = NameHash::of(b"s");
    let mut conversation = Conversation::<Names>::new();
    answer(&mut conversation, "Z I").unwrap();
    conversation.parse(name, "a").unwrap();
    conversation.forget_statements(|_| true);
    assert_eq!(conversation.statement(name), Some(&mut "a"), "its Parse is on its way");
    answer(&mut conversation, "1").unwrap();
    conversation.forget_statements(|text| *text == "b");
    assert!(conversation.statement(name).is_some());
    conversation.forget_statements(|text| *text == "a");
    assert!(conversation.statement(name).is_none());
}
