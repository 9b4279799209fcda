//! EXPLAIN of one statement that somebody looks at, on a connection of its own to the database that they name.
//! `explain/inspecting.rs` does it for the web page, with the account of `[inspect]`.
//!
//! The text comes from the wire, so nothing is taken on trust: the server parses it alone first, which it refuses for
//! several statements in one text, and everything stands in a transaction that is rolled back, with time limits, and
//! read only until the user has said otherwise. Where values are not known the plan is the generic one.
//!
//! Read next: `top/model/plan.rs`, which shows it.

pub(crate) mod inspecting;

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use thiserror::Error;
use tokio::time::{error::Elapsed, timeout};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, error::SqlState};

use crate::config::{Config, ConfigErrors};
use crate::run::target::{DatabaseUrl, Target};
use crate::socket::Address;
use crate::tls::{ConnectError, Unusable, UpstreamLeg, connect};
use crate::web::text::parameters;

/// Longest time to connect and log in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for all of it, a statement that runs included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);
/// Bytes of a plan that are shown.
const PLAN_BYTES_MAX: usize = 1 << 20;
/// PostgreSQL that plans for values nobody knows (`GENERIC_PLAN`).
const VERSION_GENERIC_PLAN: u32 = 160_000;
/// PostgreSQL that ends a statement whose client has gone.
const VERSION_CHECKS_CLIENT: u32 = 140_000;
/// Nobody waits longer than this for locks or for the statement itself.
const LIMITS: &str = "SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '30s'";

/// What somebody wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) statement: String,
    /// Those of `$1`, `$2`, … as texts, NULL as `None`; nothing when they are not known.
    pub(crate) values: Option<Vec<Option<String>>>,
    /// Where it ran, when that is known.
    pub(crate) database: Option<String>,
    /// EXPLAIN ANALYZE: it is executed.
    pub(crate) runs: bool,
    /// It may be executed although it writes.
    pub(crate) may_write: bool,
}

/// Why there is no plan.
#[derive(Debug, Error)]
pub(crate) enum ExplainError {
    #[error("EXPLAIN needs a database: start with DATABASE_URL set, or with --database-url")]
    Unnamed,
    #[error("this is no URL of PostgreSQL")]
    Foreign,
    #[error("{0}")]
    Settings(ConfigErrors),
    #[error("cannot use TLS: {0}")]
    Tls(String),
    #[error("cannot connect to {0}")]
    Unreachable(Address, #[source] ConnectError),
    #[error("no answer in time")]
    Late(#[from] Elapsed),
    #[error("PostgreSQL says no")]
    Refused(#[from] tokio_postgres::Error),
    /// EXPLAIN ANALYZE would execute it with values that nobody knows.
    #[error("its values are not known: press E and write them in the place of $1, $2, …")]
    ValuesUnknown,
    /// It was not executed.
    #[error("it writes, or locks rows")]
    Writes,
    #[error("only the beginning of its text is kept: press e to complete it")]
    Cut,
    #[error("cannot begin: {0}")]
    Runtime(#[from] std::io::Error),
}

/// The database in which plans are asked for.
struct Place {
    addresses: Vec<Address>,
    tls: Option<UpstreamLeg>,
    account: tokio_postgres::Config,
}

impl Place {
    /// From a URL in the form of any framework, libpq's variables filling in what it leaves out.
    fn of(url: Option<&str>, question: &Question) -> Result<Self, ExplainError> {
        if url.is_some_and(|url| DatabaseUrl::parse(url).is_none()) {
            return Err(ExplainError::Foreign);
        }
        let variable = |name: &str| match name {
            "DATABASE_URL" => url.map(str::to_owned),
            name => std::env::var(name).ok(),
        };
        let target = Target::read(&variable, None);
        let upstream = target.upstream.ok_or(ExplainError::Unnamed)?;
        // It may be a pgtally: then it is no error that it listens there.
        let mut flags =
            vec![("relay.upstream", vec![upstream]), ("relay.listen", vec!["127.0.0.1:0".to_owned()])];
        let roots = url.and_then(DatabaseUrl::parse).and_then(|url| url.parameter("sslrootcert"));
        let roots = roots.or_else(|| variable("PGSSLROOTCERT").filter(|path| !path.is_empty()));
        flags.extend(roots.map(|path| ("tls.upstream_ca", vec![path])));
        let config = Config::load(None, [], flags).map_err(ExplainError::Settings)?;
        let unusable = |it: Unusable| ExplainError::Tls(it.problem);
        let mut account = tokio_postgres::Config::new();
        let system_user = || ["USER", "LOGNAME"].into_iter().find_map(variable);
        let user = target.user.or_else(system_user).unwrap_or_else(|| "postgres".into());
        let database = question.database.clone().or(target.database).unwrap_or_else(|| user.clone());
        account.user(user).dbname(database).application_name("pgtally top");
        if let Some(password) = target.password {
            account.password(password);
        }
        Ok(Self {
            addresses: config.upstreams,
            tls: UpstreamLeg::load(&config.tls).map_err(unusable)?,
            account,
        })
    }

    /// Logs in at the first that answers, and asks there.
    async fn ask(&self, question: &Question) -> Result<String, ExplainError> {
        let mut last = ExplainError::Unnamed;
        for address in &self.addresses {
            let leg = match timeout(CONNECT_TIMEOUT, connect(address, self.tls.as_ref())).await? {
                Ok(leg) => leg,
                Err(error) => {
                    last = ExplainError::Unreachable(address.clone(), error);
                    continue;
                }
            };
            let (client, connection) =
                timeout(CONNECT_TIMEOUT, self.account.connect_raw(leg.stream, NoTls)).await??;
            // It ends with this runtime, or when the server closes it: then the client's call fails.
            tokio::spawn(connection);
            return plan(&client, question, LIMITS).await;
        }
        Err(last)
    }
}

/// Asks the database of `url`, or of the environment's variables, for a plan. Takes 45 seconds at most.
///
/// # Errors
/// When there is no plan; [`ExplainError::Writes`] when the statement was not executed because it is not only a read.
pub(crate) fn ask(url: Option<&str>, question: &Question) -> Result<String, ExplainError> {
    if question.statement.ends_with('…') {
        return Err(ExplainError::Cut);
    }
    let place = Place::of(url, question)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { timeout(ANSWER_TIMEOUT, place.ask(question)).await? })
}

/// `limits` are settings of the transaction.
async fn plan(client: &Client, question: &Question, limits: &str) -> Result<String, ExplainError> {
    let version = lines(client, "SHOW server_version_num").await?.parse().unwrap_or(0);
    let access = if question.runs && question.may_write { "READ WRITE" } else { "READ ONLY" };
    client.batch_execute(&format!("BEGIN {access}; {limits}")).await?;
    if version >= VERSION_CHECKS_CLIENT {
        client.batch_execute("SET LOCAL client_connection_check_interval = '1s'").await?;
    }
    // Parsed alone: the server refuses several statements in one text here, before any stands behind an EXPLAIN.
    let parameters = client.prepare(&question.statement).await?.params().len();
    let mut plan = String::new();
    for step in steps(question, parameters, version)? {
        plan = match lines(client, &step).await {
            Ok(answer) => answer,
            Err(error) if is_refused_write(&error) && question.runs => return Err(ExplainError::Writes),
            Err(error) => return Err(error.into()),
        };
    }
    // Closing the connection would do it too.
    client.batch_execute("ROLLBACK").await?;
    Ok(plan)
}

fn is_refused_write(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// What is sent to see the plan of a statement with so many parameters; the last answer is the plan.
fn steps(question: &Question, parameters: usize, version: u32) -> Result<Vec<String>, ExplainError> {
    let values = question.values.as_ref().filter(|values| values.len() == parameters);
    let values = values.cloned().or_else(|| (parameters == 0).then(Vec::new));
    let statement = &question.statement;
    let prepare = format!("PREPARE pgtally_explained AS {statement}");
    let (mode, values) = match values {
        Some(values) => ("force_custom_plan", values),
        None if question.runs => return Err(ExplainError::ValuesUnknown),
        // NULLs would leave out the partitions that they have no rows in.
        None if version >= VERSION_GENERIC_PLAN => {
            return Ok(vec![format!("EXPLAIN (GENERIC_PLAN) {statement}")]);
        }
        None => ("force_generic_plan", vec![None; parameters]),
    };
    let options = if question.runs { "ANALYZE, BUFFERS" } else { "COSTS" };
    let arguments: Vec<String> = values.iter().map(|value| literal(value.as_deref())).collect();
    let arguments = if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(", ")) };
    let explain = format!("EXPLAIN ({options}) EXECUTE pgtally_explained{arguments}");
    Ok(vec![format!("SET LOCAL plan_cache_mode = {mode}"), prepare, explain])
}

/// A value as it may stand in SQL, whatever it holds and however the server reads backslashes.
fn literal(value: Option<&str>) -> String {
    match value {
        None => "NULL".into(),
        Some(text) if text.contains('\\') => {
            format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
        }
        Some(text) => format!("'{}'", text.replace('\'', "''")),
    }
}

/// A statement for psql that runs with its values, or with a place for each where they are not known. `statement` is
/// shown as it is: what is hidden in it is made visible before.
pub(crate) fn with_values<'a>(
    statement: &str,
    values: Option<impl IntoIterator<Item = Option<&'a str>>>,
) -> String {
    let statement = statement.trim_end().trim_end_matches(';');
    let values: Vec<String> = match values {
        Some(values) => values.into_iter().map(literal).collect(),
        None => (1..=parameters(statement)).map(|number| format!("'value {number}'")).collect(),
    };
    if values.is_empty() {
        return format!("{statement};");
    }
    format!("PREPARE it AS {statement};\nEXECUTE it({});\nDEALLOCATE it;", values.join(", "))
}

/// First columns of the answer's rows, line by line; what is beyond [`PLAN_BYTES_MAX`] is not kept.
async fn lines(client: &Client, text: &str) -> Result<String, tokio_postgres::Error> {
    let mut answer = pin!(client.simple_query_raw(text).await?);
    let mut lines = String::new();
    while let Some(message) = answer.try_next().await? {
        let SimpleQueryMessage::Row(row) = message else { continue };
        if !lines.is_empty() {
            lines.push('\n');
        }
        let line = row.get(0).unwrap_or_default();
        let room = PLAN_BYTES_MAX.saturating_sub(lines.len());
        lines.push_str(line.get(..line.floor_char_boundary(room)).unwrap_or_default());
        if line.len() > room {
            lines.push('…');
            break;
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(runs: bool, values: Option<Vec<Option<String>>>) -> Question {
        let statement = "SELECT * FROM t WHERE a = $1 AND b = $2".into();
        Question { statement, values, runs, ..Question::default() }
    }

    #[test]
    fn without_values_the_plan_is_the_generic_one() {
        let question = question(false, None);
        let new = steps(&question, 2, 160_003).unwrap();
        assert_eq!(new, [format!("EXPLAIN (GENERIC_PLAN) {}", question.statement)]);
        let old = steps(&question, 2, 150_018).unwrap();
        assert_eq!(old[0], "SET LOCAL plan_cache_mode = force_generic_plan");
        assert_eq!(old[2], "EXPLAIN (COSTS) EXECUTE pgtally_explained(NULL, NULL)");
    }

    #[test]
    fn nothing_is_executed_with_values_that_nobody_knows() {
        let refused = steps(&question(true, None), 2, 180_000);
        assert!(matches!(refused, Err(ExplainError::ValuesUnknown)));
        let partial = steps(&question(true, Some(vec![None])), 2, 180_000);
        assert!(matches!(partial, Err(ExplainError::ValuesUnknown)));
        let values = Some(vec![Some("O'Brien\\".to_owned()), None]);
        let known = steps(&question(true, values), 2, 180_000).unwrap();
        assert_eq!(known[2], r"EXPLAIN (ANALYZE, BUFFERS) EXECUTE pgtally_explained(E'O''Brien\\', NULL)");
        let none = steps(&Question { values: None, ..question(true, None) }, 0, 150_000).unwrap();
        assert_eq!(none[2], "EXPLAIN (ANALYZE, BUFFERS) EXECUTE pgtally_explained");
    }

    #[test]
    fn a_cut_text_and_a_foreign_url_are_said_before_anything_is_asked() {
        let cut = Question { statement: "SELECT a…".into(), ..Question::default() };
        assert!(matches!(ask(None, &cut), Err(ExplainError::Cut)));
        assert!(matches!(ask(Some("mysql://x/y"), &question(false, None)), Err(ExplainError::Foreign)));
    }

    #[test]
    fn a_statement_is_copied_with_what_is_known_of_its_values() {
        let check = |statement: &str, values: Option<&[Option<&str>]>, expected: &str| {
            assert_eq!(with_values(statement, values.map(|it| it.iter().copied())), expected);
        };
        check("SELECT 1;", None, "SELECT 1;");
        check("SELECT $1", None, "PREPARE it AS SELECT $1;\nEXECUTE it('value 1');\nDEALLOCATE it;");
        check(
            "SELECT $1, $2",
            Some(&[Some("it's"), None]),
            "PREPARE it AS SELECT $1, $2;\nEXECUTE it('it''s', NULL);\nDEALLOCATE it;",
        );
    }
}
