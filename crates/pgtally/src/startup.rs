//! What happens before a session is relayed: the client's first packets.
//!
//! pgtally answers only encryption requests, and reads packets to their exact length, so that whatever a client sends
//! behind one stays in the socket: it is the next packet, or, where TLS begins, an attack (CVE-2021-23214). All else is
//! for PostgreSQL to answer: a packet that cannot be understood is forwarded as it is.

use std::io;
use std::time::Duration;

use pgtally_protocol::startup::{LENGTH_BYTES, Packet, Startup, StartupError, packet_length, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::info;

use crate::limits::FAREWELL_TIMEOUT;
use crate::logging::with_causes;
use crate::metrics::Metrics;
use crate::security::Snapshot;
use crate::socket::Stream;
use crate::tls::{ClientLeg, HANDSHAKE, accept};

/// What a client wants of its connection.
#[derive(Debug)]
pub(crate) enum Opening {
    /// To cancel a statement of another session: the whole packet.
    Cancel(Vec<u8>),
    /// A session: the whole packet, and what it says if it could be understood.
    Session { packet: Vec<u8>, startup: Option<Startup> },
}

/// Why a connection ended before it wanted anything. The client has been told, where PostgreSQL would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoOpening {
    /// The client left, or its connection broke.
    Gone,
    /// A packet length no PostgreSQL accepts; the server closes such a connection without a word, and so do we.
    Length,
    /// An encryption request for the second time.
    RepeatedRequest,
    /// Nothing complete arrived in time.
    TimedOut,
    /// The TLS handshake failed.
    TlsFailed,
    /// A session without TLS, where it is required.
    TlsMissing,
    /// Bytes behind the SSLRequest, which nobody has encrypted.
    UnencryptedData,
}

impl From<io::Error> for NoOpening {
    fn from(_: io::Error) -> Self {
        // A client that leaves during startup is everyday life (health checks do); the cause helps nobody.
        Self::Gone
    }
}

/// Reads the client's first packets until one says what it wants; the client comes back with its TLS.
pub(crate) async fn receive(
    client: Stream,
    security: &Snapshot,
    metrics: &Metrics,
    deadline: Instant,
) -> Result<(Stream, Opening), NoOpening> {
    // Unix sockets have no TLS, as in PostgreSQL.
    let leg = security.client.as_ref().filter(|_| !client.is_unix());
    let negotiation = Negotiation { leg, metrics, deadline, has_asked_gss: false, has_asked_ssl: false };
    let is_tls_required = security.is_tls_required && !client.is_unix();
    let negotiated = timeout_at(deadline, Box::pin(negotiation.run(client)));
    let (client, opening) = negotiated.await.unwrap_or(Err(NoOpening::TimedOut))?;
    // CancelRequests may come in plain always: many drivers know no other way.
    if is_tls_required && !client.is_tls() && matches!(opening, Opening::Session { .. }) {
        return Err(refuse(client, NoOpening::TlsMissing).await);
    }
    Ok((client, opening))
}

struct Negotiation<'a> {
    /// TLS for this client, if there is any.
    leg: Option<&'a ClientLeg>,
    metrics: &'a Metrics,
    deadline: Instant,
    has_asked_gss: bool,
    has_asked_ssl: bool,
}

impl Negotiation<'_> {
    async fn run(mut self, mut client: Stream) -> Result<(Stream, Opening), NoOpening> {
        loop {
            let mut head = [0; LENGTH_BYTES];
            client.read_exact(&mut head).await?;
            let is_first = !self.has_asked_gss && !self.has_asked_ssl && !client.is_tls();
            if let (Some(leg), [HANDSHAKE, ..], true) = (self.leg, head, is_first) {
                client = self.shake_hands(client, &head, leg).await?;
                continue;
            }
            let Ok(length) = packet_length(head) else {
                return Err(refuse(client, NoOpening::Length).await);
            };
            let packet = read_packet(&mut client, head, length).await?;
            let has_asked = match parse(&packet) {
                Ok(Packet::CancelRequest) => return Ok((client, Opening::Cancel(packet))),
                Ok(Packet::Startup(startup)) => {
                    return Ok((client, Opening::Session { packet, startup: Some(startup) }));
                }
                Ok(Packet::GssEncRequest) => &mut self.has_asked_gss,
                Ok(Packet::SslRequest) => &mut self.has_asked_ssl,
                Err(StartupError::Length | StartupError::Malformed) => {
                    return Ok((client, Opening::Session { packet, startup: None }));
                }
            };
            if std::mem::replace(has_asked, true) || client.is_tls() {
                return Err(refuse(client, NoOpening::RepeatedRequest).await);
            }
            client = match self.leg.filter(|_| matches!(parse(&packet), Ok(Packet::SslRequest))) {
                Some(leg) => self.begin_tls(client, leg).await?,
                None => {
                    client.write_all(b"N").await?;
                    client
                }
            };
        }
    }

    async fn begin_tls(&self, mut client: Stream, leg: &ClientLeg) -> Result<Stream, NoOpening> {
        if client.has_unread() {
            return Err(refuse(client, NoOpening::UnencryptedData).await);
        }
        client.write_all(b"S").await?;
        self.shake_hands(client, &[], leg).await
    }

    async fn shake_hands(&self, client: Stream, head: &[u8], leg: &ClientLeg) -> Result<Stream, NoOpening> {
        let accepted = timeout_at(self.deadline, accept(client, head, leg)).await;
        let (result, accepted) = match accepted {
            Ok(Ok(stream)) => ("ok", Ok(stream)),
            Ok(Err(error)) => {
                info!(side = "client", error = with_causes(&error), "no TLS with a client");
                ("failed", Err(NoOpening::TlsFailed))
            }
            Err(_) => ("timed_out", Err(NoOpening::TimedOut)),
        };
        self.metrics.tls_handshakes.with_label_values(&["client", result]).inc();
        accepted
    }
}

async fn read_packet(
    client: &mut Stream,
    head: [u8; LENGTH_BYTES],
    length: usize,
) -> Result<Vec<u8>, NoOpening> {
    let mut packet = vec![0; length];
    let (start, rest) = packet.split_at_mut(LENGTH_BYTES);
    start.copy_from_slice(&head);
    client.read_exact(rest).await?;
    Ok(packet)
}

/// Answers a client that did not get as far as a session, where PostgreSQL would.
async fn refuse(mut client: Stream, refusal: NoOpening) -> NoOpening {
    let answer = match refusal {
        NoOpening::Gone | NoOpening::TimedOut | NoOpening::TlsFailed => return refusal,
        NoOpening::Length => {
            // As PostgreSQL, which has read what had arrived: unread bytes would turn the close into a reset.
            let mut unread = vec![0; REFUSED_BYTES_MAX];
            let _ = timeout(REFUSED_WAIT, client.read(&mut unread)).await;
            return refusal;
        }
        NoOpening::RepeatedRequest => {
            fatal("0A000", "unsupported frontend protocol: encryption was requested twice", None)
        }
        NoOpening::TlsMissing => fatal(
            "28000",
            "pgtally accepts no connection without TLS here",
            Some("Connect with sslmode=require or stronger."),
        ),
        NoOpening::UnencryptedData => {
            info!(
                side = "client",
                "unencrypted data follows a request for TLS: a fault of the client, or an attack"
            );
            fatal("08P01", "received unencrypted data after SSL request", None)
        }
    };
    farewell(client, &answer).await;
    refusal
}

/// Says something and closes. Nothing is left to do for a client that is gone meanwhile.
pub(crate) async fn farewell(mut client: Stream, answer: &[u8]) {
    let parting = async {
        let _ = client.write_all(answer).await;
        // Closes the writing side, with TLS's own farewell.
        let _ = client.shutdown().await;
    };
    // A client that takes nothing may not keep its place for that.
    let _ = timeout(FAREWELL_TIMEOUT, parting).await;
}

/// Bytes of a refused packet that are read before closing, and the time to wait for them. PostgreSQL's receive buffer
/// has 8 KiB; what arrives later resets the connection there too.
const REFUSED_BYTES_MAX: usize = 1_024;
/// See [`REFUSED_BYTES_MAX`].
const REFUSED_WAIT: Duration = Duration::from_millis(5);

/// An ErrorResponse as PostgreSQL writes it. For the few cases in which there is no upstream to say something.
pub(crate) fn fatal(sqlstate: &str, message: &str, hint: Option<&str>) -> Vec<u8> {
    fatal_with_detail(sqlstate, message, None, hint)
}

/// As [`fatal`], with a detail.
pub(crate) fn fatal_with_detail(
    sqlstate: &str,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) -> Vec<u8> {
    let mut fields = Vec::new();
    let mut field = |code: u8, value: &str| {
        fields.push(code);
        // A zero byte would end the field, and what follows be taken for others.
        fields.extend(value.bytes().filter(|byte| *byte != 0));
        fields.push(0);
    };
    field(b'S', "FATAL");
    field(b'V', "FATAL");
    field(b'C', sqlstate);
    field(b'M', message);
    for (code, value) in [(b'D', detail), (b'H', hint)] {
        if let Some(value) = value {
            field(code, value);
        }
    }
    fields.push(0);
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    [b"E", &length.to_be_bytes()[..], &fields].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_response_is_framed_as_the_protocol_wants() {
        let message = fatal("08001", "no", Some("try"));
        assert_eq!(message, b"E\0\0\0\x23SFATAL\0VFATAL\0C08001\0Mno\0Htry\0\0");
        assert_eq!(message.len(), 1 + 0x23);
    }
}
