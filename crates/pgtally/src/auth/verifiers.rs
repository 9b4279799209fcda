//! Where verifiers come from: a file, or a question to the server.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::query::{Account, QueryError};
use super::scram::{ITERATIONS_DEFAULT, MockSecret, Verifier};
use super::userlist;
use crate::config::AuthSettings;
use crate::socket::Address;
use crate::tls::{Unusable, UpstreamLeg};

/// Longest file of verifiers that is read.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Questions for verifiers that run at the same time. More clients wait: they may not take all of the server's slots.
const LOOKUPS_MAX: usize = 4;
/// Time a question may take, its wait for a slot and its connection included.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);

/// The server that is asked, with its TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route<'a> {
    pub(crate) address: &'a Address,
    pub(crate) tls: Option<&'a UpstreamLeg>,
    /// Time its connection may take.
    pub(crate) patience: Duration,
}

/// Why no verifier could be looked up.
#[derive(Debug, Error)]
pub(crate) enum LookupError {
    /// No upstream is what sessions want.
    #[error("there is no server to ask")]
    NoServer,
    /// What `auth.auth_query` ran into.
    #[error("auth.auth_query failed")]
    Query(#[from] QueryError),
    /// It took too long.
    #[error("auth.auth_query took too long")]
    TimedOut,
}

/// The verifiers of all users.
#[derive(Debug)]
pub(crate) struct Verifiers {
    source: Source,
    mock: Arc<MockSecret>,
}

#[derive(Debug)]
enum Source {
    File {
        users: HashMap<String, Verifier>,
        /// Rounds that mocks claim: what most users have.
        iterations: u32,
    },
    Password(Verifier),
    Query {
        account: Account,
        slots: Semaphore,
        /// Rounds that mocks claim: the most that a user was seen to have, as new passwords have them.
        iterations: AtomicU32,
    },
}

impl Verifiers {
    /// Reads the file, or how to ask.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(crate) fn load(settings: &AuthSettings, mock: Arc<MockSecret>) -> Result<Self, Unusable> {
        let source = match &settings.auth_file {
            Some(path) => return Self::of_file(path, "auth.auth_file", mock),
            None => Source::Query {
                account: Account::new(settings),
                slots: Semaphore::new(LOOKUPS_MAX),
                iterations: AtomicU32::new(ITERATIONS_DEFAULT),
            },
        };
        Ok(Self { source, mock })
    }

    /// The text of a file of verifiers.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn read(path: &Path) -> Result<String, String> {
        let unreadable = |error| format!("cannot be read: {error}");
        if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
            return Err(format!("has more than {FILE_BYTES_MAX} bytes"));
        }
        std::fs::read_to_string(path).map_err(unreadable)
    }

    /// Reads the file at `path`, which `setting` names.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(crate) fn of_file(
        path: &Path,
        setting: &'static str,
        mock: Arc<MockSecret>,
    ) -> Result<Self, Unusable> {
        let unusable = |problem: String| Unusable { setting, problem };
        let text = Self::read(path).map_err(unusable)?;
        let users = userlist::parse(&text).map_err(unusable)?;
        Ok(Self { source: Source::File { iterations: usual_iterations(&users), users }, mock })
    }

    /// One password, whoever says to be who.
    pub(crate) fn of_password(password: &str, mock: Arc<MockSecret>) -> Self {
        Self { source: Source::Password(Verifier::salted(password)), mock }
    }

    /// The verifier of `user`: of one who does not exist, one that nothing fits. Asks the first of `routes` that can be
    /// reached.
    ///
    /// # Errors
    /// When no server could be asked.
    pub(super) async fn of(&self, user: &str, routes: &[Route<'_>]) -> Result<Verifier, LookupError> {
        match &self.source {
            Source::File { users, iterations } => {
                let mock = || Verifier::mock(&self.mock, user.as_bytes(), *iterations);
                Ok(users.get(user).cloned().unwrap_or_else(mock))
            }
            Source::Password(verifier) => Ok(verifier.clone()),
            Source::Query { account, slots, iterations } => {
                let lookup = async {
                    // Never closed, so a slot always comes.
                    let _slot = slots.acquire().await;
                    ask(account, user, routes).await
                };
                let found =
                    Box::pin(timeout(LOOKUP_TIMEOUT, lookup)).await.map_err(|_| LookupError::TimedOut)??;
                let Some(verifier) = found else {
                    return Ok(Verifier::mock(
                        &self.mock,
                        user.as_bytes(),
                        iterations.load(Ordering::Relaxed),
                    ));
                };
                iterations.fetch_max(verifier.iterations, Ordering::Relaxed);
                Ok(verifier)
            }
        }
    }
}

async fn ask(account: &Account, user: &str, routes: &[Route<'_>]) -> Result<Option<Verifier>, LookupError> {
    let mut answer = Err(LookupError::NoServer);
    for route in routes {
        answer = account.ask(user, *route).await.map_err(LookupError::from);
        if !matches!(answer, Err(LookupError::Query(QueryError::Connect(_)))) {
            break;
        }
    }
    answer
}

fn usual_iterations(users: &HashMap<String, Verifier>) -> u32 {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for verifier in users.values() {
        *counts.entry(verifier.iterations).or_default() += 1;
    }
    let usual = counts.into_iter().max_by_key(|(iterations, count)| (*count, *iterations));
    usual.map_or(ITERATIONS_DEFAULT, |(iterations, _)| iterations)
}
