//! One end of a connection, driven by hand: the raw client, and the upstream's side of a session.
//!
//! Blocking, with a deadline on everything. What arrives is kept byte for byte.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use pgtally::Address;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::wire::Frame;
use crate::{DEADLINE, frontend};

/// A connected stream socket.
#[derive(Debug)]
pub struct Peer {
    socket: Socket,
}

impl Peer {
    /// Connects to `address`.
    ///
    /// # Panics
    /// When that is not possible, as everything here: a test fails by panicking.
    #[must_use]
    pub fn connect(address: &Address) -> Self {
        let (domain, address) = socket_address(address);
        let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
        socket.connect_timeout(&address, DEADLINE).expect("connecting");
        Self::over(socket)
    }

    /// Connects and sends a startup packet for user `ann` and database `shop`.
    #[must_use]
    pub fn begin(address: &Address) -> Self {
        let mut peer = Self::connect(address);
        peer.send(&frontend::startup(&[("user", "ann"), ("database", "shop")]));
        peer
    }

    pub(crate) fn over(socket: Socket) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).expect("a read timeout");
        socket.set_write_timeout(Some(DEADLINE)).expect("a write timeout");
        // Unix sockets have no such option.
        let _ = socket.set_tcp_nodelay(true);
        Self { socket }
    }

    /// A second handle, for another thread.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { socket: self.socket.try_clone().expect("a second handle") }
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("sending");
    }

    /// Sends as much as the connection takes while nobody reads: returns once nothing more went for `patience`.
    pub fn send_until_stuck(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.socket.set_write_timeout(Some(patience)).expect("a write timeout");
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("sending: {error}"),
            }
        }
        self.socket.set_write_timeout(Some(DEADLINE)).expect("a write timeout");
        sent
    }

    /// Receives exactly `count` bytes.
    #[must_use]
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.socket.read_exact(&mut bytes).expect("receiving");
        bytes
    }

    /// Receives `expected`, byte for byte.
    #[track_caller]
    pub fn expect(&mut self, expected: &[u8]) {
        let received = self.receive(expected.len());
        assert!(received == expected, "received {} instead of {}", lossy(&received), lossy(expected));
    }

    /// Receives one tagged message.
    #[must_use]
    pub fn frame(&mut self) -> Frame {
        Frame::receive(&mut self.socket)
    }

    /// Receives messages up to and including the next ReadyForQuery.
    #[must_use]
    pub fn frames_until_ready(&mut self) -> Vec<Frame> {
        Frame::receive_until_ready(&mut self.socket)
    }

    /// Sends a simple query and receives its whole answer.
    pub fn query(&mut self, text: &str) -> Vec<Frame> {
        self.send(&frontend::query(text));
        self.frames_until_ready()
    }

    /// Receives whatever comes until the other end closes. A reset counts as an end.
    #[must_use]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.socket.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection was not closed: {error}"),
        }
        bytes
    }

    /// Receives `count` bytes without keeping them.
    pub fn skip(&mut self, mut count: usize) {
        let mut buffer = vec![0; 256 * 1024];
        while count > 0 {
            let wanted = count.min(buffer.len());
            let read = self.socket.read(&mut buffer[..wanted]).expect("receiving");
            assert!(read > 0, "closed with {count} bytes missing");
            count -= read;
        }
    }

    /// Says that nothing more will be sent, unless the other side has broken the connection before.
    pub fn finish(&self) {
        if let Err(error) = self.socket.shutdown(Shutdown::Write) {
            assert_eq!(error.kind(), io::ErrorKind::NotConnected, "shutting down: {error}");
        }
    }

    /// Breaks the connection, as a crash does.
    pub fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).expect("no lingering");
    }
}

/// Bytes as text, cut.
fn lossy(bytes: &[u8]) -> String {
    let shown = bytes.get(..200).unwrap_or(bytes);
    format!("{:?} ({} bytes)", String::from_utf8_lossy(shown), bytes.len())
}

pub(crate) fn socket_address(address: &Address) -> (Domain, SockAddr) {
    match address {
        Address::Tcp(host, port) => {
            let ip = host.parse().expect("an IP address");
            let address = std::net::SocketAddr::new(ip, *port);
            (Domain::for_address(address), address.into())
        }
        Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path).expect("a short path")),
    }
}
