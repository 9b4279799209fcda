//! Connecting to the upstream, with TLS as `tls.upstream_tls` wants it: libpq's `sslmode`, with libpq's meaning.
//!
//! The one way to less than was asked for does not exist: `prefer` goes on in plain only when the server answers `N`,
//! never after a failure. Unix sockets have no TLS, as in libpq.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::stream::Transport;
use super::{ALPN, EndPoint, TlsStream, UpstreamLeg};
use crate::config::{Negotiation, UpstreamTls};
use crate::socket::{Address, Stream};

/// Asks for TLS: the packet of `SSLRequest`.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// Longest ErrorResponse that is read in place of an answer; PostgreSQL's own have some 100 bytes.
const ERROR_BYTES_MAX: usize = 8 * 1024;

/// A connection to the upstream.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) stream: Stream,
    /// The server's certificate; `None` when the leg is plain.
    pub(crate) certificate: Option<CertificateDer<'static>>,
    /// Whether somebody we trust vouches for it.
    pub(crate) is_checked: bool,
}

impl Leg {
    /// What SCRAM can bind to.
    pub(crate) fn end_point(&self) -> Option<EndPoint> {
        self.certificate.as_ref().and_then(EndPoint::of)
    }
}

/// Why there is no connection to the upstream.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// The socket could not be connected, or broke before TLS was agreed on.
    #[error("cannot connect")]
    Socket(#[from] io::Error),
    /// The server answered the request for TLS with an ErrorResponse. Nobody has authenticated its words.
    #[error("the server answered the request for TLS with an error")]
    ErrorAnswer(Vec<u8>),
    /// rustls found fault with the server, or the server with us.
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// As in libpq, direct TLS must name the protocol.
    #[error("direct TLS without the ALPN protocol postgresql: the server is older than 17, or no PostgreSQL")]
    NoAlpn,
    /// `N`, where that is not enough.
    #[error("the server does not offer TLS, and tls.upstream_tls demands it")]
    Refused,
    /// Neither `S` nor `N` nor `E`.
    #[error("the answer to the request for TLS is none PostgreSQL gives")]
    Unexpected,
    /// Something stands between us and the server (CVE-2021-23222).
    #[error("unencrypted data follows the server's answer to the request for TLS")]
    UnencryptedData,
}

impl ConnectError {
    /// Whether the failure is one of TLS, not of reaching the server.
    pub(crate) fn is_tls(&self) -> bool {
        !matches!(self, Self::Socket(_))
    }
}

/// Connects to `address`. The caller bounds the time.
pub(crate) async fn connect(address: &Address, tls: Option<&UpstreamLeg>) -> Result<Leg, ConnectError> {
    let mut stream = Stream::connect(address).await?;
    let (Some(leg), Address::Tcp(host, _)) = (tls, address) else {
        return Ok(Leg { stream, certificate: None, is_checked: false });
    };
    match leg.negotiation {
        Negotiation::Direct => shake_hands(stream, host, leg).await,
        Negotiation::Postgres if request(&mut stream, leg).await? => shake_hands(stream, host, leg).await,
        Negotiation::Postgres => Ok(Leg { stream, certificate: None, is_checked: false }),
    }
}

/// Asks for TLS; false when the server has none and none is demanded.
async fn request(stream: &mut Stream, leg: &UpstreamLeg) -> Result<bool, ConnectError> {
    stream.write_all(&SSL_REQUEST).await?;
    match stream.read_u8().await? {
        b'S' if stream.has_unread() => Err(ConnectError::UnencryptedData),
        b'S' => Ok(true),
        b'N' if leg.mode == UpstreamTls::Prefer => Ok(false),
        b'N' => Err(ConnectError::Refused),
        b'E' => Err(ConnectError::ErrorAnswer(read_error(stream).await?)),
        _ => Err(ConnectError::Unexpected),
    }
}

/// The rest of an ErrorResponse whose tag was read, with the tag.
async fn read_error(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    let body = length.checked_sub(head.len()).filter(|body| *body <= ERROR_BYTES_MAX);
    let mut body = vec![0; body.ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut body).await?;
    Ok([&b"E"[..], &head, &body].concat())
}

async fn shake_hands(stream: Stream, host: &str, leg: &UpstreamLeg) -> Result<Leg, ConnectError> {
    let name = match ServerName::try_from(host.to_owned()) {
        Ok(name) => name,
        Err(error) if leg.mode == UpstreamTls::VerifyFull => {
            return Err(ConnectError::Handshake(io::Error::other(error)));
        }
        // No check needs the name, and an address sends none to the server.
        Err(_) => ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()),
    };
    let connecting = TlsConnector::from(Arc::clone(&leg.config)).connect(name, Transport::new(stream, &[]));
    let stream = connecting.await.map_err(ConnectError::Handshake)?;
    let session = stream.get_ref().1;
    if leg.negotiation == Negotiation::Direct && session.alpn_protocol() != Some(ALPN) {
        return Err(ConnectError::NoAlpn);
    }
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.map(|leaf| leaf.clone().into_owned());
    if certificate.is_none() {
        // rustls ends such a handshake itself; a leg without certificate would pass for a plain one.
        return Err(ConnectError::Handshake(io::ErrorKind::InvalidData.into()));
    }
    let stream = Stream::Tls(Box::new(TlsStream::new(stream)));
    Ok(Leg { stream, certificate, is_checked: leg.is_checked })
}
