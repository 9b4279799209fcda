//! A client over TLS, driven by hand like [`crate::Peer`]: rustls, so that a test decides about ALPN and farewells.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;

use pgtally::Address;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::wire::Frame;
use crate::{DEADLINE, frontend};

/// How a client begins TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With TLS itself, naming the protocol.
    Direct,
    /// With TLS itself, naming no protocol.
    DirectWithoutAlpn,
    /// With an SSLRequest, naming no protocol, as clients before PostgreSQL 17.
    SslRequest,
}

/// A client's end of a connection with TLS.
pub struct TlsPeer {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsPeer {
    /// Connects to `address` and shakes hands, trusting the authority whose certificate is at `ca`.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn connect(address: &Address, ca: &Path, begin: Begin) -> io::Result<Self> {
        let Address::Tcp(host, port) = address else { panic!("{address} has no TLS") };
        let mut socket = TcpStream::connect((host.as_str(), *port)).expect("connecting");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        socket.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        if begin == Begin::SslRequest {
            socket.write_all(&frontend::ssl_request())?;
            let mut answer = [0];
            socket.read_exact(&mut answer)?;
            assert_eq!(&answer, b"S", "TLS is declined");
        }
        let name = ServerName::try_from(host.clone()).expect("a name");
        let client = ClientConnection::new(config(ca, begin), name).expect("a client");
        let mut stream = StreamOwned::new(client, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream })
    }

    /// The certificate that the other end has shown.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        let chain = self.stream.conn.peer_certificates().unwrap_or_default();
        chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default()
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).expect("sending");
    }

    /// Receives exactly `count` bytes.
    #[must_use]
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("receiving");
        bytes
    }

    /// Receives one tagged message.
    #[must_use]
    pub fn frame(&mut self) -> Frame {
        Frame::receive(&mut self.stream)
    }

    /// Receives messages up to and including the next ReadyForQuery.
    #[must_use]
    pub fn frames_until_ready(&mut self) -> Vec<Frame> {
        Frame::receive_until_ready(&mut self.stream)
    }

    /// Receives whatever comes until the other end closes TLS as it should.
    ///
    /// # Errors
    /// When the connection breaks, or ends without TLS's own farewell.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).map(|_| bytes)
    }

    /// Closes the connection without TLS's own farewell, as many drivers do.
    pub fn close_abruptly(self) {
        self.stream.sock.shutdown(Shutdown::Both).expect("shutting down");
    }
}

fn config(ca: &Path, begin: Begin) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("a file of the test") {
        roots.add(certificate.expect("PEM")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    if begin == Begin::Direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Arc::new(config)
}
