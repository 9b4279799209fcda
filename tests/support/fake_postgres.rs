//! A scripted PostgreSQL: it says and does what the test tells it to, message by message.
//!
//! Nothing is understood or answered by itself, except by [`answer_queries`] for tests that need many answers.

use std::path::Path;
use std::thread::JoinHandle;

use pgtally::Address;
use socket2::{Domain, Socket, Type};

use crate::peer::{Peer, socket_address};
use crate::{DEADLINE, backend};

/// A listening fake server.
#[derive(Debug)]
pub struct FakePostgres {
    listener: Socket,
    address: Address,
}

impl FakePostgres {
    /// Listens on a free port of 127.0.0.1.
    #[must_use]
    pub fn tcp() -> Self {
        let listener = Self::bind(Domain::IPV4, &any_port());
        Self { address: own_address(&listener), listener }
    }

    /// Listens on a Unix socket at `path`.
    #[must_use]
    pub fn unix(path: &Path) -> Self {
        let address = Address::Unix(path.into());
        Self { listener: Self::bind(Domain::UNIX, &address), address }
    }

    fn bind(domain: Domain, address: &Address) -> Socket {
        let socket = bound(domain, address);
        socket.listen(128).expect("listening");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout of accept");
        socket
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection.
    #[must_use]
    pub fn accept(&self) -> Peer {
        let (socket, _) = self.listener.accept().expect("nobody connected");
        Peer::over(socket)
    }

    /// The next connection, after its startup packet, which is returned too.
    #[must_use]
    pub fn accept_session(&self) -> (Peer, Vec<u8>) {
        let mut peer = self.accept();
        let length = peer.receive(4);
        let count = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let rest = peer.receive(count - 4);
        (peer, [length, rest].concat())
    }

    /// A session through the proxy at `proxy` that is ready for its first query: its client and its upstream.
    #[must_use]
    pub fn session(&self, proxy: &Address) -> (Peer, Peer) {
        let mut client = Peer::begin(proxy);
        let (mut upstream, _) = self.accept_session();
        upstream.send(&backend::greeting());
        let frames = client.frames_until_ready();
        assert_eq!(frames.len(), 5, "{frames:?}");
        (client, upstream)
    }
}

/// Answers every Query on `upstream` with `answer(text)` until the client leaves; returns how many there were.
pub fn answer_queries(
    mut upstream: Peer,
    mut answer: impl FnMut(&str) -> Vec<u8> + Send + 'static,
) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut count = 0;
        loop {
            let frame = upstream.frame();
            if frame.tag != b'Q' {
                return count;
            }
            count += 1;
            let text = String::from_utf8_lossy(frame.body.strip_suffix(b"\0").unwrap_or_default());
            upstream.send(&answer(&text));
        }
    })
}

/// A port of 127.0.0.1 at which nobody listens, nor will as long as this lives: what connects is refused.
pub struct Nobody {
    _socket: Socket,
    address: Address,
}

impl Nobody {
    /// Takes a port.
    #[must_use]
    pub fn tcp() -> Self {
        let socket = bound(Domain::IPV4, &any_port());
        Self { address: own_address(&socket), _socket: socket }
    }

    /// Where it does not listen.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }
}

fn any_port() -> Address {
    Address::Tcp("127.0.0.1".into(), 0)
}

fn bound(domain: Domain, address: &Address) -> Socket {
    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
    socket.bind(&socket_address(address).1).expect("binding");
    socket
}

fn own_address(socket: &Socket) -> Address {
    let address = socket.local_addr().expect("an address");
    Address::Tcp("127.0.0.1".into(), address.as_socket_ipv4().expect("an IPv4 address").port())
}
