//! EXPLAIN for the web page: the generic plan of a statement that was seen on the wire, asked with the account of
//! `[inspect]`, which somebody else's text must not be able to abuse.
//!
//! A browser names a fingerprint, never a text. Only plans are asked for, of one statement, in a transaction that is read
//! only and rolled back; one at a time, and each in bounded time. Planning may run functions that are not volatile, so
//! an account that could do more than read is refused.

use std::pin::pin;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::{error::Elapsed, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{ExplainError, Question, lines, plan};
use crate::catalog::{CatalogError, open};
use crate::config::InspectAccount;
use crate::live::StartupSetting;
use crate::socket::Address;

/// Longest time to connect to one server and log in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time for all of it: somebody looks at a page meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Settings of the transaction. Planning takes milliseconds, and must not wait behind an `ALTER TABLE`.
const LIMITS: &str = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '3s'; \
    SET LOCAL application_name = 'pgtally explain'";
/// Has a row if the account may write files, or start programs, on the server: a function that is run while a statement
/// is planned has the account's rights.
const IS_MIGHTY: &str = "SELECT 1 FROM pg_catalog.pg_roles WHERE (rolsuper OR rolname IN \
    ('pg_execute_server_program', 'pg_write_server_files')) AND pg_catalog.pg_has_role(oid, 'MEMBER') LIMIT 1";

/// Why there is no plan.
#[derive(Debug, Error)]
pub(crate) enum NoPlan {
    /// Somebody else asks.
    #[error("another plan is being asked for")]
    Busy,
    #[error("cannot ask the database")]
    Connect(#[from] CatalogError),
    #[error("only the beginning of its text is kept")]
    Cut,
    /// The settings do not allow it.
    #[error("plans are not asked for: inspect.explain is off")]
    Off,
    #[error("no answer in time")]
    Late(#[from] Elapsed),
    /// The account could do harm.
    #[error(
        "inspect.user may do more than read: it is a superuser, or may write files or start programs on the server"
    )]
    Mighty,
    #[error(transparent)]
    Refused(#[from] ExplainError),
}

/// Asks for plans, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Inspecting {
    turn: Mutex<()>,
}

impl Inspecting {
    /// The plan of `statement` for any values, as text of 1 MiB at most, within 10 seconds.
    ///
    /// # Errors
    /// When there is none; [`NoPlan::Busy`] while another one is asked for.
    pub(crate) async fn plan(
        &self,
        setting: &StartupSetting,
        database: &str,
        statement: &str,
    ) -> Result<String, NoPlan> {
        let account = setting.inspect.as_ref().filter(|_| setting.explains).ok_or(NoPlan::Off)?;
        if statement.ends_with('…') {
            return Err(NoPlan::Cut);
        }
        let _turn = self.turn.try_lock().map_err(|_| NoPlan::Busy)?;
        let question = Question { statement: statement.to_owned(), ..Question::default() };
        timeout(ANSWER_TIMEOUT, ask_any(setting, account, database, &question)).await?
    }
}

/// Asks the first server that answers.
async fn ask_any(
    setting: &StartupSetting,
    account: &InspectAccount,
    database: &str,
    question: &Question,
) -> Result<String, NoPlan> {
    let mut last = NoPlan::Connect(CatalogError::NoUpstream);
    for server in setting.upstreams.all() {
        match ask(&server.address, setting, account, database, question).await {
            Err(error @ (NoPlan::Connect(CatalogError::Connect(_)) | NoPlan::Late(_))) => last = error,
            answered => return answered,
        }
    }
    Err(last)
}

async fn ask(
    address: &Address,
    setting: &StartupSetting,
    account: &InspectAccount,
    database: &str,
    question: &Question,
) -> Result<String, NoPlan> {
    let opened = timeout(CONNECT_TIMEOUT, open(address, database, setting, account)).await?;
    let (client, connection) = opened?;
    let mut connection = pin!(connection);
    // The connection ends with this function, whatever the server does.
    tokio::select! {
        plan = inspect(&client, question) => plan,
        ended = &mut connection => Err(match ended {
            Ok(()) => NoPlan::Connect(CatalogError::NoUpstream),
            Err(error) => ExplainError::from(error).into(),
        }),
    }
}

async fn inspect(client: &Client, question: &Question) -> Result<String, NoPlan> {
    let mighty = lines(client, IS_MIGHTY).await.map_err(ExplainError::from)?;
    if !mighty.is_empty() {
        return Err(NoPlan::Mighty);
    }
    Ok(plan(client, question, LIMITS).await?)
}

impl NoPlan {
    /// What the operator can do about it.
    pub(crate) fn hint(&self, account: &InspectAccount, database: &str) -> Option<String> {
        let (user, database) = (identifier(&account.user), identifier(database));
        let code = match self {
            Self::Busy => return Some("Try again in a moment.".into()),
            Self::Connect(CatalogError::Refused(error)) => {
                return Some(match error.code() {
                    Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                        format!("GRANT CONNECT ON DATABASE {database} TO {user};")
                    }
                    _ => format!(
                        "{user} has to be a role that may log in, with inspect.password where it has one."
                    ),
                });
            }
            Self::Mighty => {
                return Some(
                    "Planning runs functions of the database with this account's rights. Name a role that may only \
                     read: CREATE ROLE pgtally_inspect LOGIN; GRANT pg_read_all_data TO pgtally_inspect;"
                        .into(),
                );
            }
            Self::Refused(ExplainError::Refused(error)) => error.code()?,
            _ => return None,
        };
        hint_of(code, &user, &database)
    }
}

fn hint_of(code: &SqlState, user: &str, database: &str) -> Option<String> {
    const NOT_FOUND: [SqlState; 4] = [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_OBJECT,
        SqlState::INVALID_SCHEMA_NAME,
    ];
    // A literal's place may be one that takes literals only, or say nothing of its type.
    const LITERALS: [SqlState; 4] = [
        SqlState::SYNTAX_ERROR,
        SqlState::INDETERMINATE_DATATYPE,
        SqlState::AMBIGUOUS_FUNCTION,
        SqlState::DATATYPE_MISMATCH,
    ];
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return Some(format!(
            "GRANT pg_read_all_data TO {user}; lets it read all tables. The plan of a write demands the right to write, \
             although nothing is executed: ask for it in pgtally top, with your own account."
        ));
    }
    if NOT_FOUND.contains(code) {
        return Some(format!(
            "Tables are looked for as this role finds them: ALTER ROLE {user} IN DATABASE {database} SET search_path = …; \
             names the application's schemas. Temporary tables are seen by their own session only."
        ));
    }
    LITERALS.contains(code).then(|| {
        "Its text is kept without literals, and is no complete SQL here: copy it, and write values in their places.".into()
    })
}

/// A name as it may stand in SQL.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_account_as_sql_does() {
        let user = identifier("O\"Brien");
        let check = |code: &SqlState, expected: &str| {
            let hint = hint_of(code, &user, "\"shop\"").unwrap_or_default();
            assert!(hint.contains(expected), "{}: {hint}", code.code());
        };
        check(&SqlState::INSUFFICIENT_PRIVILEGE, "GRANT pg_read_all_data TO \"O\"\"Brien\";");
        check(&SqlState::UNDEFINED_TABLE, "ALTER ROLE \"O\"\"Brien\" IN DATABASE \"shop\" SET search_path");
        check(&SqlState::SYNTAX_ERROR, "without literals");
        assert_eq!(hint_of(&SqlState::DISK_FULL, &user, "\"shop\""), None);
    }
}
