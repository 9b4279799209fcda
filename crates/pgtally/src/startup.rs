//! What happens before a session is relayed: the client's first packets.
//!
//! pgtally answers only encryption requests (no, until TLS is built in) and reads packets to their exact length, so
//! that whatever a client sends behind one stays in the socket and is the next packet. All else is for PostgreSQL to
//! answer: a packet that cannot be understood is forwarded as it is.

use std::io;

use pgtally_protocol::startup::{LENGTH_BYTES, Packet, Startup, StartupError, packet_length, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::socket::Stream;

/// What a client wants of its connection.
#[derive(Debug)]
pub(crate) enum Opening {
    /// To cancel a statement of another session: the whole packet.
    Cancel(Vec<u8>),
    /// A session: the whole packet, and what it says if it could be understood.
    Session { packet: Vec<u8>, startup: Option<Startup> },
}

/// Why a connection ended before it wanted anything.
#[derive(Debug)]
pub(crate) enum NoOpening {
    /// The client left, or its connection broke.
    Gone,
    /// A packet length no PostgreSQL accepts; the server closes such a connection without a word, and so do we.
    Length,
    /// An encryption request for the second time.
    RepeatedRequest,
    /// Nothing complete arrived in time.
    TimedOut,
}

impl From<io::Error> for NoOpening {
    fn from(_: io::Error) -> Self {
        // A client that leaves during startup is everyday life (health checks do); the cause helps nobody.
        Self::Gone
    }
}

/// Reads the client's first packets until one says what it wants.
pub(crate) async fn receive(client: &mut Stream, deadline: Instant) -> Result<Opening, NoOpening> {
    timeout_at(deadline, negotiate(client)).await.unwrap_or(Err(NoOpening::TimedOut))
}

async fn negotiate(client: &mut Stream) -> Result<Opening, NoOpening> {
    let (mut asked_gss, mut asked_ssl) = (false, false);
    loop {
        let packet = read_packet(client).await?;
        let asked = match parse(&packet) {
            Ok(Packet::CancelRequest) => return Ok(Opening::Cancel(packet)),
            Ok(Packet::Startup(startup)) => return Ok(Opening::Session { packet, startup: Some(startup) }),
            Ok(Packet::GssEncRequest) => &mut asked_gss,
            Ok(Packet::SslRequest) => &mut asked_ssl,
            Err(StartupError::Length | StartupError::Malformed) => {
                return Ok(Opening::Session { packet, startup: None });
            }
        };
        if std::mem::replace(asked, true) {
            return Err(NoOpening::RepeatedRequest);
        }
        client.write_all(b"N").await?;
    }
}

async fn read_packet(client: &mut Stream) -> Result<Vec<u8>, NoOpening> {
    let mut first = [0; LENGTH_BYTES];
    client.read_exact(&mut first).await?;
    let length = packet_length(first).map_err(|_| NoOpening::Length)?;
    let mut packet = vec![0; length];
    let (head, rest) = packet.split_at_mut(LENGTH_BYTES);
    head.copy_from_slice(&first);
    client.read_exact(rest).await?;
    Ok(packet)
}

/// An ErrorResponse as PostgreSQL writes it. For the few cases in which there is no upstream to say something.
pub(crate) fn fatal(sqlstate: &str, message: &str, hint: Option<&str>) -> Vec<u8> {
    let mut fields = Vec::new();
    let mut field = |code: u8, value: &str| {
        fields.push(code);
        fields.extend_from_slice(value.as_bytes());
        fields.push(0);
    };
    field(b'S', "FATAL");
    field(b'V', "FATAL");
    field(b'C', sqlstate);
    field(b'M', message);
    if let Some(hint) = hint {
        field(b'H', hint);
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
