//! The messages of a login, moved one by one: only where they must be understood, bounded, and off the hot path.
//!
//! Reads exactly one message at a time, so that whatever stands behind the login stays in the socket for the relay.

use std::io;

use pgtally_protocol::backend;
use pgtally_protocol::sasl::{self, Authentication, RESPONSE, RESPONSE_BYTES_MAX, SCRAM_SHA_256_PLUS};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_blocking;

use super::applicant::{Answered, Applicant, Channel, Credential, LogInFailure};
use super::gatekeeper::{Gatekeeper, Proven, Refusal};
use super::verifiers::{LookupError, Route, Verifiers};
use crate::socket::Stream;
use crate::tls::{EndPoint, Leg};

/// Longest message of a server during login: an ErrorResponse with all its fields has some 500 bytes.
const LOGIN_BYTES_MAX: usize = 16 * 1024;
/// Most messages of a server up to AuthenticationOk. SCRAM has four.
const LOGIN_MESSAGES_MAX: usize = 32;

/// One message with its frame.
#[derive(Debug)]
pub(super) struct Message {
    raw: Vec<u8>,
}

impl Message {
    const HEAD_BYTES: usize = 5;

    /// Reads one whose body has at most `bytes_max`.
    pub(super) async fn read(stream: &mut Stream, bytes_max: usize) -> io::Result<Self> {
        let mut head = [0; Self::HEAD_BYTES];
        stream.read_exact(&mut head).await?;
        let [_, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let body =
            length.checked_sub(4).filter(|body| *body <= bytes_max).ok_or(io::ErrorKind::InvalidData)?;
        let mut raw = vec![0; Self::HEAD_BYTES + body];
        let (start, rest) = raw.split_at_mut(Self::HEAD_BYTES);
        start.copy_from_slice(&head);
        stream.read_exact(rest).await?;
        Ok(Self { raw })
    }

    pub(super) fn tag(&self) -> u8 {
        self.raw.first().copied().unwrap_or_default()
    }

    pub(super) fn body(&self) -> &[u8] {
        self.raw.get(Self::HEAD_BYTES..).unwrap_or_default()
    }
}

/// Why a client was not let in.
#[derive(Debug)]
pub(crate) enum Denied {
    /// It left.
    Gone,
    /// It has not shown what it should.
    Refused(Refusal),
    /// It took too long.
    TimedOut,
    /// Nobody could say what it should show.
    Unavailable(LookupError),
}

impl From<io::Error> for Denied {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Refused(Refusal::malformed("The message is too long.")),
            _ => Self::Gone,
        }
    }
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Lets a client show that it has `user`'s password. It has not been told of its success when this returns.
pub(crate) async fn authenticate(
    client: &mut Stream,
    user: &str,
    end_point: Option<EndPoint>,
    verifiers: &Verifiers,
    routes: &[Route<'_>],
) -> Result<Proven, Denied> {
    let verifier = verifiers.of(user, routes).await.map_err(Denied::Unavailable)?;
    let gatekeeper = Gatekeeper { user: user.to_owned(), verifier, end_point };
    send(client, &gatekeeper.offer()).await?;
    let initial = response(client).await?;
    let (challenge, challenged) = gatekeeper.challenge(initial.body())?;
    send(client, &challenge).await?;
    Ok(challenged.judge(response(client).await?.body())?)
}

async fn response(client: &mut Stream) -> Result<Message, Denied> {
    let message = Message::read(client, RESPONSE_BYTES_MAX).await?;
    if message.tag() == RESPONSE {
        return Ok(message);
    }
    Err(Denied::Refused(Refusal::malformed("Expected SASL response, got another message.")))
}

/// Writes all of `bytes`, through TLS too.
pub(crate) async fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Why the server did not let us in.
#[derive(Debug, Error)]
pub(crate) enum LogInError {
    /// The client left meanwhile.
    #[error("the client left")]
    ClientGone,
    /// The login went wrong on our side of it.
    #[error(transparent)]
    Failure(#[from] LogInFailure),
    /// The server broke off.
    #[error("the server broke off the login")]
    Lost(#[source] io::Error),
    /// The server said no; its ErrorResponse.
    #[error("the server refused the login")]
    Refused(Vec<u8>),
}

/// Logs in at the server with what the client has proved, and tells the client that it is in.
///
/// Answers with what the client was sent that the server might have said: for the observer.
pub(crate) async fn log_in(
    leg: &mut Leg,
    client: &mut Stream,
    proven: &Proven,
) -> Result<Vec<u8>, LogInError> {
    let mut passed = apply(leg, Credential::Proven(proven.clone()), Some(&mut *client)).await?;
    let ok = sasl::authentication_ok();
    let welcome = [proven.farewell.as_slice(), &ok].concat();
    send(client, &welcome).await.map_err(|_| LogInError::ClientGone)?;
    passed.extend(ok);
    Ok(passed)
}

/// Where a login stands.
enum Progress {
    Begun(Credential),
    Applied(Applicant),
    Answered(Answered),
    Checked,
}

/// Answers the server until AuthenticationOk. What it says besides goes on to the client, if there is one, and is the
/// answer.
pub(super) async fn apply(
    leg: &mut Leg,
    credential: Credential,
    mut client: Option<&mut Stream>,
) -> Result<Vec<u8>, LogInError> {
    let channel = match (&leg.certificate, leg.end_point()) {
        (None, _) => Channel::Plain,
        (Some(_), None) if !leg.is_checked => Channel::Unbound,
        (Some(_), end_point) => Channel::Tls(end_point),
    };
    let mut progress = Progress::Begun(credential);
    let mut passed = Vec::new();
    for _ in 0..LOGIN_MESSAGES_MAX {
        let message = Message::read(&mut leg.stream, LOGIN_BYTES_MAX).await.map_err(LogInError::Lost)?;
        match message.tag() {
            backend::AUTHENTICATION => {}
            backend::ERROR_RESPONSE => return Err(LogInError::Refused(message.raw)),
            _ => {
                if let Some(client) = &mut client {
                    send(client, &message.raw).await.map_err(|_| LogInError::ClientGone)?;
                    passed.extend(message.raw);
                }
                continue;
            }
        }
        let asked = sasl::authentication(message.body()).map_err(LogInFailure::from)?;
        let answer = match (progress, asked) {
            (Progress::Begun(_) | Progress::Checked, Authentication::Ok) => return Ok(passed),
            (Progress::Begun(credential), Authentication::Sasl(offered)) => {
                let (answer, applicant) = Applicant::apply(credential, &offered, channel.clone())?;
                progress = Progress::Applied(applicant);
                answer
            }
            (Progress::Applied(applicant), Authentication::SaslContinue(text)) => {
                let (answer, answered) = answer(applicant, text).await?;
                progress = Progress::Answered(answered);
                answer
            }
            (Progress::Answered(answered), Authentication::SaslFinal(text)) => {
                answered.check(text)?;
                progress = Progress::Checked;
                continue;
            }
            (Progress::Begun(_), Authentication::Other(_)) => return Err(LogInFailure::OtherMethod.into()),
            // Whoever lets us in before proving to know the verifier is not the server.
            (_, Authentication::Ok) => return Err(LogInFailure::NotTheServer.into()),
            _ => return Err(LogInFailure::Malformed.into()),
        };
        send(&mut leg.stream, &answer).await.map_err(LogInError::Lost)?;
    }
    Err(LogInFailure::Malformed.into())
}

/// The answer to a challenge, made where it holds up nobody: clients come in on this thread.
async fn answer(applicant: Applicant, text: &[u8]) -> Result<(Vec<u8>, Answered), LogInFailure> {
    if !applicant.is_slow() {
        return applicant.answer(text);
    }
    let text = text.to_vec();
    let answered = spawn_blocking(move || applicant.answer(&text)).await;
    // The runtime ends.
    answered.unwrap_or(Err(LogInFailure::Malformed))
}

/// Relays the server's first words up to its authentication request, from which the mechanism with channel binding is
/// taken out: a client without TLS refuses a list that contains it. Only for a plain client and a server over TLS.
///
/// The mechanism chosen then says `n`, "I cannot bind", which is true. Answers with what the client was sent.
pub(crate) async fn pass_offer(leg: &mut Leg, client: &mut Stream) -> Result<Vec<u8>, LogInError> {
    let mut passed = Vec::new();
    for _ in 0..LOGIN_MESSAGES_MAX {
        let message = Message::read(&mut leg.stream, LOGIN_BYTES_MAX).await.map_err(LogInError::Lost)?;
        let is_last = matches!(message.tag(), backend::AUTHENTICATION | backend::ERROR_RESPONSE);
        let relayed = without_plus(&message).unwrap_or(message.raw);
        send(client, &relayed).await.map_err(|_| LogInError::ClientGone)?;
        passed.extend(relayed);
        if is_last {
            return Ok(passed);
        }
    }
    Err(LogInFailure::Malformed.into())
}

/// The message without the mechanism, if it offers it and another.
fn without_plus(message: &Message) -> Option<Vec<u8>> {
    if message.tag() != backend::AUTHENTICATION {
        return None;
    }
    let Ok(Authentication::Sasl(offered)) = sasl::authentication(message.body()) else { return None };
    let kept: Vec<_> =
        offered.iter().copied().filter(|name| *name != SCRAM_SHA_256_PLUS.as_bytes()).collect();
    let is_changed = kept.len() < offered.len() && !kept.is_empty();
    is_changed.then(|| sasl::authentication_sasl(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(raw: Vec<u8>) -> Message {
        Message { raw }
    }

    #[test]
    fn only_the_mechanism_with_channel_binding_is_taken_out() {
        let plus: &[u8] = b"SCRAM-SHA-256-PLUS";
        let scram: &[u8] = b"SCRAM-SHA-256";
        let oauth: &[u8] = b"OAUTHBEARER";
        let check = |offered: &[&[u8]], expected: Option<&[&[u8]]>| {
            let stripped = without_plus(&message(sasl::authentication_sasl(offered.iter().copied())));
            assert_eq!(stripped, expected.map(|kept| sasl::authentication_sasl(kept.iter().copied())));
        };
        check(&[plus, scram], Some(&[scram]));
        check(&[scram, plus, oauth], Some(&[scram, oauth]));
        check(&[scram], None);
        check(&[plus], None);
        assert_eq!(without_plus(&message(sasl::authentication_ok())), None);
        assert_eq!(without_plus(&message(b"E\0\0\0\x04".to_vec())), None);
    }
}
