//! TLS with one client, after its SSLRequest or from the first byte on (PostgreSQL 17's direct TLS).

use std::io;
use std::sync::Arc;

use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use super::stream::Transport;
use super::{ALPN, ClientLeg, TlsStream};
use crate::socket::Stream;

/// First byte of a TLS record with a handshake in it. As a packet's length it would be far too long.
pub(crate) const HANDSHAKE: u8 = 0x16;

/// Why there is no TLS with a client.
#[derive(Debug, Error)]
pub(crate) enum AcceptError {
    /// What rustls or the socket said; the alert has been sent.
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// Direct TLS must name the protocol, or any other protocol's client could be led here (ALPACA).
    #[error("direct TLS without the ALPN protocol postgresql")]
    NoAlpn,
}

/// Shakes hands. `head` was read before; it is empty after an SSLRequest, and then the protocol's name may be missing.
pub(crate) async fn accept(socket: Stream, head: &[u8], leg: &ClientLeg) -> Result<Stream, AcceptError> {
    let is_direct = !head.is_empty();
    let accepting = TlsAcceptor::from(Arc::clone(&leg.config)).accept(Transport::new(socket, head));
    let stream = accepting.await.map_err(AcceptError::Handshake)?;
    if is_direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(AcceptError::NoAlpn);
    }
    Ok(Stream::Tls(Box::new(TlsStream::new(stream))))
}
