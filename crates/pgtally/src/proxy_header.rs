//! The PROXY protocol, versions 1 and 2: a load balancer says in front of everything else whom it connects.
//!
//! Read to its exact length, so that the client's first packet stays in the socket. What cannot be understood ends
//! the connection and nothing else. Addresses of local connections (health checks) are the load balancer's own.
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What every header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 and the command LOCAL: everything behind it is to be ignored.
const V2_LOCAL: u8 = 0x20;
/// Bytes of version 2 up to and including its length.
const V2_HEAD_BYTES: usize = 16;
/// Longest header of version 2 that is read. The addresses take at most 216 bytes; the rest are additions such as TLS
/// details, which real load balancers keep below 500 bytes.
const V2_BYTES_MAX: usize = 4 * 1024;
/// Longest header of version 1, its line end included.
const V1_BYTES_MAX: usize = 107;

/// Why a header was not understood.
#[derive(Debug, Error)]
pub enum ProxyHeaderError {
    /// The connection ended or broke in it.
    #[error("the connection ended in the header")]
    Io(#[from] io::Error),
    /// It is no header.
    #[error("no header of the PROXY protocol")]
    Malformed,
}

/// Reads one header, of at most 4 KiB, and not a byte behind it; `None` when it names no TCP client.
///
/// # Errors
/// When the stream ends in it, or when it is none.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    // The shortest header of version 1 is longer.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        read_v2(stream, header).await
    } else if header.starts_with(b"PROXY ") {
        read_v1(stream, header).await
    } else {
        Err(ProxyHeaderError::Malformed)
    }
}

async fn read_v1(
    stream: &mut (impl AsyncRead + Unpin),
    mut header: Vec<u8>,
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    while !header.ends_with(b"\r\n") {
        if header.len() >= V1_BYTES_MAX {
            return Err(ProxyHeaderError::Malformed);
        }
        // Byte by byte: its length is not known, and what follows is the client's.
        header.push(stream.read_u8().await?);
    }
    let parsed = v1::Header::try_from(header.as_slice()).map_err(|_| ProxyHeaderError::Malformed)?;
    Ok(match parsed.addresses {
        v1::Addresses::Tcp4(tcp) => Some((IpAddr::from(tcp.source_address), tcp.source_port).into()),
        v1::Addresses::Tcp6(tcp) => Some((IpAddr::from(tcp.source_address), tcp.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

async fn read_v2(
    stream: &mut (impl AsyncRead + Unpin),
    mut header: Vec<u8>,
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut head = [0; V2_HEAD_BYTES - SIGNATURE.len()];
    stream.read_exact(&mut head).await?;
    let [version, _, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_HEAD_BYTES + length > V2_BYTES_MAX {
        return Err(ProxyHeaderError::Malformed);
    }
    header.extend_from_slice(&head);
    header.resize(V2_HEAD_BYTES + length, 0);
    stream.read_exact(header.get_mut(V2_HEAD_BYTES..).unwrap_or_default()).await?;
    if version == V2_LOCAL {
        return Ok(None);
    }
    let parsed = v2::Header::try_from(header.as_slice()).map_err(|_| ProxyHeaderError::Malformed)?;
    Ok(match parsed.addresses {
        v2::Addresses::IPv4(tcp) => Some((IpAddr::from(tcp.source_address), tcp.source_port).into()),
        v2::Addresses::IPv6(tcp) => Some((IpAddr::from(tcp.source_address), tcp.source_port).into()),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read, and what is left for the next reader.
    fn read_all(bytes: &[u8]) -> (Result<Option<SocketAddr>, ProxyHeaderError>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut stream = bytes;
        let result = runtime.block_on(read(&mut stream));
        (result, stream.to_vec())
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, body].concat()
    }

    #[test]
    fn clients_are_named_and_what_follows_is_left() {
        let check = |header: &[u8], expected: Option<&str>| {
            let (result, rest) = read_all(&[header, b"rest"].concat());
            assert_eq!(result.unwrap(), expected.map(|address| address.parse().unwrap()));
            assert_eq!(rest, b"rest");
        };
        check(b"PROXY TCP4 10.0.0.7 10.0.0.1 51234 5432\r\n", Some("10.0.0.7:51234"));
        check(b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 5432\r\n", Some("[2001:db8::7]:51234"));
        check(b"PROXY UNKNOWN\r\n", None);
        let ipv4 = [10, 0, 0, 7, 10, 0, 0, 1, 0xc8, 0x22, 0x15, 0x38];
        check(&v2(1, 0x11, &ipv4), Some("10.0.0.7:51234"));
        check(&v2(0, 0x11, &ipv4), None);
        check(&v2(0, 0, b""), None);
        // The address of a local connection is to be ignored, its family and length included.
        check(&v2(0, 0x11, b""), None);
        check(&v2(0, 0x77, b"any"), None);
        let with_addition = [&ipv4[..], &[4, 0, 2, 0, 0]].concat();
        check(&v2(1, 0x11, &with_addition), Some("10.0.0.7:51234"));
    }

    #[test]
    fn what_is_no_header_is_refused_without_reading_on() {
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 10_000]].concat();
        let huge = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff], &[0; 70_000]].concat();
        for bytes in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROXY TCP4 a b c d\r\n", &endless, &huge, &v2(1, 0x11, b"")]
        {
            let (result, rest) = read_all(bytes);
            assert!(result.is_err());
            assert!(rest.len() + V2_BYTES_MAX >= bytes.len() || rest.len() > 1_000);
        }
        assert!(matches!(read_all(b"PROXY TCP4").0, Err(ProxyHeaderError::Io(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(tail in proptest::collection::vec(any::<u8>(), 0..300), v2 in any::<bool>()) {
            let start: &[u8] = if v2 { SIGNATURE } else { b"PROXY " };
            let _ = read_all(&[start, &tail].concat());
            let _ = read_all(&tail);
        }
    }
}
