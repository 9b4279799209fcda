//! The untagged packets a client may send first: startup, SSL and GSS requests, cancel requests.
//!
//! Layouts and limits as in PostgreSQL's `ProcessStartupPacket` and
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use thiserror::Error;

use crate::wire::Fields;

/// Bytes that hold the length in front of every packet.
pub const LENGTH_BYTES: usize = 4;
/// Longest packet, its length field included (`MAX_STARTUP_PACKET_LENGTH` counts without).
pub const PACKET_BYTES_MAX: usize = 10_000 + LENGTH_BYTES;
/// Shortest packet: length and code.
const PACKET_BYTES_MIN: usize = 8;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// A first packet that PostgreSQL would not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StartupError {
    /// PostgreSQL closes such a connection without a word.
    #[error("invalid length of startup packet")]
    Length,
    /// The length is legal but the content is not; PostgreSQL answers this itself.
    #[error("invalid startup packet layout")]
    Malformed,
}

/// A client's first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Cancels a statement of another session; the key is forwarded as it is, whatever its length.
    CancelRequest,
    /// Asks for GSSAPI encryption.
    GssEncRequest,
    /// Asks for TLS.
    SslRequest,
    /// Begins a session.
    Startup(Startup),
}

/// Name and value of a startup parameter, in the client's encoding.
pub type Parameter = (Vec<u8>, Vec<u8>);

/// The packet that begins a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// Major protocol version: 3.
    pub major: u16,
    /// Minor protocol version: 0 or 2.
    pub minor: u16,
    /// Names and values as the client wrote them.
    pub parameters: Vec<Parameter>,
}

impl Startup {
    /// Value of the parameter `name`; the last one wins, as in PostgreSQL.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let named = |(key, _): &&Parameter| key == name.as_bytes();
        self.parameters.iter().rev().find(named).map(|(_, value)| value.as_slice())
    }

    /// Database asked for: `database`, else the user's name.
    #[must_use]
    pub fn database(&self) -> &[u8] {
        self.parameter("database")
            .filter(|name| !name.is_empty())
            .or_else(|| self.parameter("user"))
            .unwrap_or(b"")
    }

    /// Whether the session is a replication connection (`replication=true`, `on`, `yes`, `1` or `database`).
    #[must_use]
    pub fn is_replication(&self) -> bool {
        self.parameter("replication").is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value == b"database"
                || !matches!(value.as_slice(), b"" | b"0" | b"f" | b"false" | b"n" | b"no" | b"of" | b"off")
        })
    }
}

/// Length in bytes of the packet that begins with `first`, its length field included.
///
/// # Errors
/// [`StartupError::Length`] when PostgreSQL would refuse that length; checked before anything is allocated.
pub fn packet_length(first: [u8; LENGTH_BYTES]) -> Result<usize, StartupError> {
    let length = usize::try_from(u32::from_be_bytes(first)).map_err(|_| StartupError::Length)?;
    if (PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&length) {
        Ok(length)
    } else {
        Err(StartupError::Length)
    }
}

/// Reads a whole packet, its length field included.
///
/// # Errors
/// [`StartupError::Malformed`] when the content is not one of the four packets of protocol 3.
pub fn parse(packet: &[u8]) -> Result<Packet, StartupError> {
    let mut fields = Fields::new(packet);
    let malformed = |_| StartupError::Malformed;
    let length = fields.uint32().map_err(malformed)?;
    if usize::try_from(length) != Ok(packet.len()) {
        return Err(StartupError::Malformed);
    }
    match fields.uint32().map_err(malformed)? {
        CANCEL_REQUEST => Ok(Packet::CancelRequest),
        GSSENC_REQUEST => Ok(Packet::GssEncRequest),
        SSL_REQUEST => Ok(Packet::SslRequest),
        version => {
            let [high1, high2, low1, low2] = version.to_be_bytes();
            let (major, minor) = (u16::from_be_bytes([high1, high2]), u16::from_be_bytes([low1, low2]));
            if major != 3 {
                return Err(StartupError::Malformed);
            }
            Ok(Packet::Startup(Startup { major, minor, parameters: parameters(fields)? }))
        }
    }
}

fn parameters(mut fields: Fields<'_>) -> Result<Vec<Parameter>, StartupError> {
    let mut parameters = Vec::new();
    loop {
        let name = fields.string().map_err(|_| StartupError::Malformed)?;
        if name.is_empty() {
            return Ok(parameters);
        }
        let value = fields.string().map_err(|_| StartupError::Malformed)?;
        parameters.push((name.to_vec(), value.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + rest.len()).unwrap();
        [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
    }

    #[test]
    fn the_four_packets_are_told_apart() {
        assert_eq!(parse(&packet(80_877_103, b"")), Ok(Packet::SslRequest));
        assert_eq!(parse(&packet(80_877_104, b"")), Ok(Packet::GssEncRequest));
        assert_eq!(parse(&packet(80_877_102, &[7; 8])), Ok(Packet::CancelRequest));
        assert_eq!(
            parse(&packet(80_877_102, &[7; 256])),
            Ok(Packet::CancelRequest),
            "protocol 3.2 keys are longer"
        );
        let Ok(Packet::Startup(startup)) = parse(&packet(0x3_0002, b"user\0ann\0database\0shop\0\0")) else {
            panic!()
        };
        assert_eq!((startup.major, startup.minor), (3, 2));
        assert_eq!(startup.database(), b"shop");
        assert!(!startup.is_replication());
    }

    #[test]
    fn the_database_defaults_to_the_user() {
        let Ok(Packet::Startup(startup)) = parse(&packet(0x3_0000, b"user\0ann\0\0")) else { panic!() };
        assert_eq!(startup.database(), b"ann");
    }

    #[test]
    fn replication_is_recognised_in_every_spelling() {
        for (value, expected) in
            [("true", true), ("database", true), ("1", true), ("ON", true), ("false", false), ("0", false)]
        {
            let body = format!("user\0u\0replication\0{value}\0\0");
            let Ok(Packet::Startup(startup)) = parse(&packet(0x3_0000, body.as_bytes())) else { panic!() };
            assert_eq!(startup.is_replication(), expected, "{value}");
        }
    }

    #[test]
    fn impossible_lengths_are_refused_before_reading() {
        for (first, expected) in [
            ([0, 0, 0, 7], Err(StartupError::Length)),
            ([0, 0, 0, 8], Ok(8)),
            ([0, 0, 0x27, 0x14], Ok(10_004)),
            ([0, 0, 0x27, 0x15], Err(StartupError::Length)),
            (*b"GET ", Err(StartupError::Length)),
            ([0xff; 4], Err(StartupError::Length)),
        ] {
            assert_eq!(packet_length(first), expected, "{first:?}");
        }
    }

    #[test]
    fn garbage_with_a_legal_length_is_malformed() {
        for body in [&b"user\0ann"[..], b"user\0\0", b"user", b""] {
            let _ = parse(&packet(0x3_0000, body));
        }
        assert_eq!(parse(&packet(0x2_0000, b"\0")), Err(StartupError::Malformed));
        assert_eq!(parse(&packet(0x3_0000, b"user\0ann")), Err(StartupError::Malformed));
        assert_eq!(parse(b"\0\0\0\x09\0\0\0"), Err(StartupError::Malformed));
    }
}
