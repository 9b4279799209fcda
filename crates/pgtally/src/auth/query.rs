//! `auth.auth_query`: asks the server for one user's verifier, on a connection of its own.
//!
//! Of its own, and with settings of its own: what a client writes into its startup packet (`search_path`, `options`)
//! must not run beside this query (CVE-2025-12819). The user's name is a parameter, never a part of the text.

use std::io;

use pgtally_protocol::backend;
use thiserror::Error;
use tokio::time::timeout;

use super::applicant::Credential;
use super::exchange::{LogInError, Message, apply, send};
use super::scram::Verifier;
use super::verifiers::Route;
use crate::config::{AuthSettings, Secret};
use crate::tls::{ConnectError, connect};

/// Longest message of an answer. A verifier has some 130 bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Most messages of an answer: more than one row is a mistake already.
const ANSWER_MESSAGES_MAX: usize = 64;
/// Protocol 3.0.
const VERSION: [u8; 4] = [0, 3, 0, 0];

/// Why the question has no answer.
#[derive(Debug, Error)]
pub(crate) enum QueryError {
    #[error("cannot reach the server")]
    Connect(#[from] ConnectError),
    #[error("the server broke off")]
    Lost(#[from] io::Error),
    #[error("auth.query_user cannot log in")]
    LogIn(#[from] LogInError),
    #[error("the server answered with SQLSTATE {0}")]
    Refused(String),
    #[error("the answer is not one row with the verifier in its last column")]
    Shape,
}

/// Who asks, and what.
#[derive(Debug)]
pub(super) struct Account {
    user: String,
    database: String,
    password: Secret,
    query: String,
}

impl Account {
    pub(super) fn new(settings: &AuthSettings) -> Self {
        Self {
            user: settings.query_user.clone().unwrap_or_default(),
            database: settings.query_database.clone(),
            // Without one, a server that asks for it refuses the empty one.
            password: settings.query_password.clone().unwrap_or_else(|| Secret::new(String::new())),
            query: settings.auth_query.clone().unwrap_or_default(),
        }
    }

    /// The verifier of `user`; `None` when there is no such user, or none with a SCRAM verifier.
    pub(super) async fn ask(&self, user: &str, route: Route<'_>) -> Result<Option<Verifier>, QueryError> {
        let connected = timeout(route.patience, connect(route.address, route.tls)).await;
        let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut).into());
        let mut leg = connected.unwrap_or_else(late)?;
        send(&mut leg.stream, &self.startup()).await?;
        apply(&mut leg, Credential::Password(self.password.clone()), None).await?;
        send(&mut leg.stream, &question(&self.query, user)).await?;
        let mut verifier = None;
        let mut is_answered = false;
        for _ in 0..ANSWER_MESSAGES_MAX {
            let message = Message::read(&mut leg.stream, ANSWER_BYTES_MAX).await?;
            match message.tag() {
                backend::ERROR_RESPONSE => return Err(QueryError::Refused(sqlstate(message.body()))),
                backend::DATA_ROW if verifier.is_none() => {
                    verifier = Some(last_column(message.body()).ok_or(QueryError::Shape)?);
                }
                backend::DATA_ROW => return Err(QueryError::Shape),
                backend::COMMAND_COMPLETE => is_answered = true,
                // The first of these belongs to the login.
                backend::READY_FOR_QUERY if is_answered => {
                    // A courtesy: the connection is closed in any case.
                    let _ = send(&mut leg.stream, &TERMINATE).await;
                    return Ok(verifier.flatten().as_deref().and_then(Verifier::parse));
                }
                _ => {}
            }
        }
        Err(QueryError::Shape)
    }

    fn startup(&self) -> Vec<u8> {
        let mut body = VERSION.to_vec();
        for (name, value) in [
            ("user", self.user.as_str()),
            ("database", &self.database),
            ("application_name", "pgtally auth_query"),
            ("client_encoding", "UTF8"),
            ("search_path", "pg_catalog"),
        ] {
            put(&mut body, name);
            put(&mut body, value);
        }
        body.push(0);
        [&length(body.len() + 4)[..], &body].concat()
    }
}

const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// `Parse`, `Bind`, `Execute`, `Sync`.
fn question(query: &str, user: &str) -> Vec<u8> {
    let mut parse = vec![0];
    put(&mut parse, query);
    parse.extend([0, 0]);
    // Unnamed portal and statement; one parameter, as text; the result as text.
    let bind = [&[0, 0, 0, 0, 0, 1][..], &length(user.len()), user.as_bytes(), &[0, 0]].concat();
    let messages = [(b'P', parse), (b'B', bind), (b'E', vec![0; 5]), (b'S', Vec::new())];
    let framed =
        messages.into_iter().map(|(tag, body)| [&[tag][..], &length(body.len() + 4), &body].concat());
    framed.collect::<Vec<_>>().concat()
}

fn put(body: &mut Vec<u8>, text: &str) {
    body.extend(text.bytes().filter(|byte| *byte != 0));
    body.push(0);
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// The text in the last column of a `DataRow`, NULL being `Some(None)`; `None` when it is no such row.
fn last_column(body: &[u8]) -> Option<Option<String>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut last = None;
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        let (value, behind) = match usize::try_from(length) {
            Ok(length) => behind.split_at_checked(length)?,
            Err(_) => (&b""[..], behind),
        };
        last = Some((length >= 0).then(|| String::from_utf8_lossy(value).into_owned()));
        rest = behind;
    }
    last
}

/// The code of an ErrorResponse; its words may hold more than a log should.
fn sqlstate(body: &[u8]) -> String {
    let code = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"));
    code.map(|code| String::from_utf8_lossy(code).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_is_the_verifier() {
        let row = b"\0\x02\0\0\0\x03ann\0\0\0\x02ok";
        assert_eq!(last_column(row), Some(Some("ok".into())));
        assert_eq!(last_column(b"\0\x01\xff\xff\xff\xff"), Some(None));
        for cut in [&b""[..], b"\0", b"\0\0", b"\0\x01", b"\0\x01\0\0\0\x05ab", b"\0\x02\0\0\0\0"] {
            assert_eq!(last_column(cut), None);
        }
    }

    #[test]
    fn errors_are_known_by_their_code() {
        assert_eq!(sqlstate(b"SERROR\0C42501\0Mpermission denied for table pg_authid\0\0"), "42501");
        assert_eq!(sqlstate(b"garbage"), "");
    }

    #[test]
    fn a_question_is_one_group() {
        let question = question("SELECT $1", "ann");
        assert_eq!(
            question,
            b"P\0\0\0\x11\0SELECT $1\0\0\0B\0\0\0\x13\0\0\0\0\0\x01\0\0\0\x03ann\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04"
        );
    }
}
