//! Every way to write a register: what is sent, and what comes back.
//!
//! A register is the greatest `version` of its `id` in three tables: `items` (partitioned), `copies` (written by a
//! trigger of `sources`), and `children` (written by the key of `parents`).

use std::io;

use support::frontend;
use support::wire::Value;

use crate::client::{Answer, Client};
use crate::history::Outcome;

/// Tables, functions and triggers of all routes.
pub(crate) const SCHEMA: &str = include_str!("routes.sql");

/// A way to write.
pub(crate) struct Route {
    pub(crate) name: &'static str,
    /// Writes the version, and says how it ended where it was told.
    pub(crate) write: fn(&mut Client, usize, i64) -> io::Result<Outcome>,
}

macro_rules! routes {
    ($($name:ident,)+) => { &[$(Route { name: stringify!($name), write: $name },)+] };
}

/// All routes.
pub(crate) const ROUTES: &[Route] = routes![
    autocommit,
    call,
    cascade,
    chained,
    copy,
    cte,
    extended,
    do_block,
    explicit,
    function,
    leaf,
    merge,
    multi_statement,
    multi_statement_transaction,
    pipelined,
    prepared_by_sql,
    prepared_by_sql_in_one_message,
    replaced,
    rolled_back,
    savepoint,
    trigger,
    two_phase,
    view,
];

fn outcome(answer: io::Result<Answer>) -> io::Result<Outcome> {
    let answer = answer?;
    match answer.error {
        None => Ok(Outcome::Committed),
        // The backend was ended by the nemesis: the connection follows.
        Some(error) if error.contains("57P01") => Err(io::ErrorKind::ConnectionAborted.into()),
        Some(error) => panic!("a write failed: {error}"),
    }
}

fn simple(client: &mut Client, text: &str) -> io::Result<Outcome> {
    outcome(client.query(text))
}

/// Each text as a message of its own.
fn each(client: &mut Client, texts: &[&str]) -> io::Result<Outcome> {
    let mut last = Outcome::Committed;
    for text in texts {
        last = simple(client, text)?;
    }
    Ok(last)
}

fn update(id: usize, version: i64) -> String {
    format!("UPDATE items SET version = {version} WHERE id = {id}")
}

fn autocommit(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &update(id, version))
}

fn call(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &format!("CALL set_version_and_commit({id}, {version})"))
}

fn cascade(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &format!("UPDATE parents SET version = {version} WHERE id = {id}"))
}

fn chained(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    each(client, &["BEGIN", &update(id, version), "COMMIT AND CHAIN"])?;
    // The next transaction is open already, and writes nothing.
    let known = simple(client, "COMMIT");
    known.map(|_| Outcome::Committed)
}

fn copy(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    client.send(&frontend::query("COPY items (id, version) FROM STDIN"))?;
    loop {
        match client.frame()? {
            (b'G', _) => break,
            (b'E', body) if String::from_utf8_lossy(&body).contains("57P01") => {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            _ => {}
        }
    }
    let mut bytes = frontend::copy_data(format!("{id}\t{version}\n").as_bytes());
    bytes.extend(frontend::copy_done());
    outcome(client.exchange(&bytes))
}

fn cte(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &format!("WITH w AS ({} RETURNING id) SELECT count(*) FROM w", update(id, version)))
}

fn extended(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    let text = "UPDATE items SET version = $1::bigint WHERE id = $2::int";
    outcome(client.exchange(&group(text, version, id)))
}

/// `Parse`, `Bind`, `Describe`, `Execute`, `Sync` with two values as text.
fn group(text: &str, version: i64, id: usize) -> Vec<u8> {
    let mut bytes = statement(text, version, id);
    bytes.extend(frontend::sync());
    bytes
}

fn statement(text: &str, version: i64, id: usize) -> Vec<u8> {
    let values = [Value::text(version), Value::text(id)];
    let mut bytes = frontend::parse("", text, &[]);
    bytes.extend(frontend::bind("", "", &values, false));
    bytes.extend(frontend::execute("", 0));
    bytes
}

fn do_block(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &format!("DO $$ BEGIN EXECUTE '{}'; END $$", update(id, version)))
}

fn explicit(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    each(client, &["BEGIN", &update(id, version), "SELECT 1", "COMMIT"])
}

fn function(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &format!("SELECT set_version({id}, {version})"))
}

fn leaf(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &format!("INSERT INTO items_low (id, version) VALUES ({id}, {version})"))
}

fn merge(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    let source = format!("(VALUES ({id}, {version})) AS s (id, version)");
    simple(
        client,
        &format!(
            "MERGE INTO items i USING {source} ON i.id = s.id WHEN MATCHED THEN UPDATE SET version = s.version \
             WHEN NOT MATCHED THEN INSERT (id, version) VALUES (s.id, s.version)"
        ),
    )
}

fn multi_statement(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &format!("SELECT 1; {}; SELECT 2", update(id, version)))
}

fn multi_statement_transaction(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &format!("BEGIN; {}; COMMIT; SELECT 1", update(id, version)))
}

fn pipelined(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    let text = "UPDATE items SET version = $1::bigint WHERE id = $2::int";
    let mut bytes = statement(text, version, id);
    bytes.extend(statement("SELECT $1::bigint + $2::int", version, id));
    bytes.extend(frontend::sync());
    // A second group behind it, whose answer is read as well.
    bytes.extend(group("SELECT $1::bigint * $2::int", version, id));
    let first = outcome(client.exchange(&bytes))?;
    client.answer().map(|_| first)
}

fn prepared_by_sql(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    each(
        client,
        &[
            "PREPARE w (int, bigint) AS UPDATE items SET version = $2 WHERE id = $1",
            &format!("EXECUTE w ({id}, {version})"),
            "DEALLOCATE w",
        ],
    )
}

fn prepared_by_sql_in_one_message(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    let prepare = "PREPARE w (int, bigint) AS UPDATE items SET version = $2 WHERE id = $1";
    simple(client, &format!("{prepare}; EXECUTE w ({id}, {version}); DEALLOCATE w"))
}

/// Rows of earlier routes go, so that a register stays small.
fn replaced(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    let insert = format!("INSERT INTO items (id, version) VALUES ({id}, {version})");
    each(client, &["BEGIN", &format!("DELETE FROM items WHERE id = {id}"), &insert, "COMMIT"])
}

fn rolled_back(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    each(client, &["BEGIN", &update(id, version), "ROLLBACK"])?;
    Ok(Outcome::RolledBack)
}

fn savepoint(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    let undone = format!("UPDATE items SET version = {} WHERE id = {id}", version + 1_000_000_000);
    each(
        client,
        &[
            "BEGIN",
            "SAVEPOINT s",
            &undone,
            "ROLLBACK TO SAVEPOINT s",
            &update(id, version),
            "RELEASE s",
            "COMMIT",
        ],
    )
}

fn trigger(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &format!("UPDATE sources SET version = {version} WHERE id = {id}"))
}

fn two_phase(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    let prepare = format!("PREPARE TRANSACTION 'w{id}'");
    each(client, &["BEGIN", &update(id, version), &prepare, &format!("COMMIT PREPARED 'w{id}'")])
}

fn view(client: &mut Client, id: usize, version: i64) -> io::Result<Outcome> {
    simple(client, &format!("UPDATE seen_items SET version = {version} WHERE id = {id}"))
}
