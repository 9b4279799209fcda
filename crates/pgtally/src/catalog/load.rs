//! Reads one database's definitions, on a connection of its own, and takes views and functions apart.
//!
//! Everything is read in one transaction with one snapshot. What cannot be understood stays in: as a view without a
//! known query, or a function with an unknown body.

use std::hash::Hasher;

use pgtally_cache::catalog::CatalogRows;
use pgtally_cache::catalog::body::{body_access, may_define};
use pgtally_cache::catalog::policy::RowPolicy;
use pgtally_cache::catalog::rows::{FunctionId, Operator, Relation, RelationKind, Routine, Volatility};
use pgtally_cache::clock_words::has_clock_word;
use pgtally_cache::{Catalog, TableId};
use pgtally_fingerprint::{Access, Refusal};
use pgtally_parsetree::access;
use rustc_hash::FxHasher;
use thiserror::Error;
use tokio::task::JoinError;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::queries;

/// Rows of one kind. A database with more definitions is not understood: nothing of it is cached.
const ROWS_MAX: usize = 500_000;

/// Why the definitions could not be read.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    #[error("PostgreSQL refuses to tell its catalog")]
    Refused(#[from] tokio_postgres::Error),
    #[error("a row of the catalog does not look like one")]
    Row,
    #[error("more than {ROWS_MAX} definitions of one kind")]
    TooMany,
    #[error("taking views apart has failed")]
    Work(#[from] JoinError),
}

/// What was read.
pub(super) struct Loaded {
    pub(super) catalog: Catalog,
    /// Of all answers: two equal hashes mean that nothing was redefined in between.
    pub(super) hash: u64,
}

/// The answers, in the order of the questions.
struct Answers {
    relations: Vec<SimpleQueryRow>,
    children: Vec<SimpleQueryRow>,
    cascades: Vec<SimpleQueryRow>,
    calls: Vec<SimpleQueryRow>,
    logins: Vec<SimpleQueryRow>,
    policies: Vec<SimpleQueryRow>,
    views: Vec<SimpleQueryRow>,
    routines: Vec<SimpleQueryRow>,
    operators: Vec<SimpleQueryRow>,
    types: Vec<SimpleQueryRow>,
    row_functions: Vec<SimpleQueryRow>,
}

/// Whether the server is in recovery.
pub(super) async fn is_standby(client: &Client) -> Result<bool, LoadError> {
    let rows = ask(client, queries::IS_STANDBY).await?;
    rows.first().and_then(|row| row.get(0)).map(|cell| cell != "f").ok_or(LoadError::Row)
}

/// Reads everything. The caller bounds the time.
pub(super) async fn load(client: &Client) -> Result<Loaded, LoadError> {
    client.batch_execute(queries::BEGIN).await?;
    let answers = Answers {
        relations: ask(client, queries::RELATIONS).await?,
        children: ask(client, queries::CHILDREN).await?,
        cascades: ask(client, queries::CASCADES).await?,
        calls: ask(client, queries::CALLS).await?,
        logins: ask(client, queries::LOGINS).await?,
        policies: ask(client, queries::POLICIES).await?,
        views: ask(client, queries::VIEWS).await?,
        routines: ask(client, queries::ROUTINES).await?,
        operators: ask(client, queries::OPERATORS).await?,
        types: ask(client, queries::TYPES).await?,
        row_functions: ask(client, queries::ROW_FUNCTIONS).await?,
    };
    client.batch_execute("COMMIT").await?;
    // Views and functions are parsed, which takes its time.
    tokio::task::spawn_blocking(move || understand(&answers)).await?
}

async fn ask(client: &Client, question: &str) -> Result<Vec<SimpleQueryRow>, LoadError> {
    let question = format!("{question} LIMIT {}", ROWS_MAX + 1);
    let messages = client.simple_query(&question).await?;
    let rows: Vec<SimpleQueryRow> = messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect();
    if rows.len() > ROWS_MAX { Err(LoadError::TooMany) } else { Ok(rows) }
}

fn understand(answers: &Answers) -> Result<Loaded, LoadError> {
    let rows = CatalogRows {
        relations: each(&answers.relations, relation)?,
        children: each(&answers.children, |row| Some((table_id(row, 0)?, table_id(row, 1)?)))?,
        cascades: each(&answers.cascades, |row| Some((table_id(row, 0)?, table_id(row, 1)?)))?,
        calls: each(&answers.calls, |row| Some((table_id(row, 0)?, function_id(row, 1)?)))?,
        logins: each(&answers.logins, |row| function_id(row, 0))?,
        policies: each(&answers.policies, |row| Some((table_id(row, 0)?, policy(row.get(1)?))))?,
        views: each(&answers.views, |row| Some((table_id(row, 0)?, view(row.get(1)))))?,
        routines: each(&answers.routines, routine)?,
        operators: each(&answers.operators, |row| {
            Some(Operator { name: row.get(0)?.to_owned(), function: function_id(row, 1)? })
        })?,
        types: each(&answers.types, |row| Some((row.get(0)?.to_owned(), function_id(row, 1)?)))?,
        row_functions: each(&answers.row_functions, |row| function_id(row, 0))?,
    };
    Ok(Loaded { catalog: Catalog::new(rows), hash: answers.hash() })
}

fn each<T>(rows: &[SimpleQueryRow], of: impl Fn(&SimpleQueryRow) -> Option<T>) -> Result<Vec<T>, LoadError> {
    rows.iter().map(|row| of(row).ok_or(LoadError::Row)).collect()
}

fn oid(row: &SimpleQueryRow, column: usize) -> Option<u32> {
    row.get(column)?.parse().ok()
}

fn table_id(row: &SimpleQueryRow, column: usize) -> Option<TableId> {
    oid(row, column).map(TableId)
}

fn function_id(row: &SimpleQueryRow, column: usize) -> Option<FunctionId> {
    oid(row, column).map(FunctionId)
}

fn relation(row: &SimpleQueryRow) -> Option<Relation> {
    Some(Relation {
        id: table_id(row, 0)?,
        schema: row.get(1)?.to_owned(),
        name: row.get(2)?.to_owned(),
        kind: match row.get(3)? {
            "f" => RelationKind::Foreign,
            "m" => RelationKind::Materialized,
            "p" | "r" => RelationKind::Table,
            "S" => RelationKind::Sequence,
            "v" => RelationKind::View,
            _ => return None,
        },
        is_unlogged: row.get(4)? == "t",
        has_row_security: row.get(5)? == "t",
        has_rules: row.get(6)? == "t",
    })
}

fn routine(row: &SimpleQueryRow) -> Option<Routine> {
    Some(Routine {
        id: function_id(row, 0)?,
        schema: row.get(1)?.to_owned(),
        name: row.get(2)?.to_owned(),
        volatility: match row.get(3)? {
            "i" => Volatility::Immutable,
            "s" => Volatility::Stable,
            _ => Volatility::Volatile,
        },
        is_builtin: row.get(4)? == "t",
        body: body_access(row.get(5)?, row.get(6).unwrap_or_default()),
        may_define: may_define(row.get(6).unwrap_or_default()),
    })
}

fn policy(query: &str) -> RowPolicy {
    RowPolicy::new(query, access(query))
}

/// `pg_get_viewdef` gives nothing for a view that was dropped meanwhile.
fn view(query: Option<&str>) -> Access {
    let query = query.unwrap_or_default();
    let mut access = access(query.trim_end().trim_end_matches(';'));
    if has_clock_word(query.as_bytes()) {
        access.refusal.get_or_insert(Refusal::SessionValue);
    }
    access
}

impl Answers {
    fn hash(&self) -> u64 {
        let mut hasher = FxHasher::default();
        let all = [
            &self.relations,
            &self.children,
            &self.cascades,
            &self.calls,
            &self.logins,
            &self.policies,
            &self.views,
            &self.routines,
            &self.operators,
            &self.types,
            &self.row_functions,
        ];
        for rows in all {
            hasher.write_usize(rows.len());
            for row in rows.iter() {
                for column in 0..row.len() {
                    let cell = row.get(column).unwrap_or_default();
                    hasher.write_usize(cell.len());
                    hasher.write(cell.as_bytes());
                }
            }
        }
        hasher.finish()
    }
}
