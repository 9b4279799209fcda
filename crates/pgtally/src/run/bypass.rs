//! Where a program connects to besides the proxy, as `/proc` shows it.
//!
//! Looked at every few milliseconds, so a connection that is short enough can be missed: what is seen here helps to
//! explain a run without traffic, and decides nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Address;

/// Time between two looks while the proxy has not seen anybody.
const EAGER: Duration = Duration::from_millis(20);
/// Time between two looks from then on.
const LAZY: Duration = Duration::from_millis(250);
/// Processes of the program that are looked at.
const PROCESSES_MAX: usize = 256;
/// Different places that are remembered.
const PLACES_MAX: usize = 16;
/// PostgreSQL's port.
const POSTGRES_PORT: u16 = 5432;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bypass {
    /// Places the program connected to that are the upstream itself.
    pub(super) upstream: BTreeSet<String>,
    /// Places on PostgreSQL's usual port or socket.
    pub(super) other: BTreeSet<String>,
}

/// Watches a process and its descendants until it is asked what it saw.
pub(super) struct Watcher {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Bypass>,
}

impl Watcher {
    /// Watches `process`. `has_traffic` tells whether the proxy has seen somebody; `upstreams` is where it leads.
    pub(super) fn start(
        process: u32,
        upstreams: &[Address],
        own_port: u16,
        has_traffic: Arc<AtomicBool>,
    ) -> std::io::Result<Self> {
        let places = upstreams.iter().filter_map(|address| match address {
            Address::Tcp(host, port) => (host.as_str(), *port).to_socket_addrs().ok(),
            Address::Unix(_) => None,
        });
        let looker = Looker { process, upstreams: places.flatten().map(unmapped).collect(), own_port };
        let sockets_before = postgres_sockets();
        let (stop, stops) = mpsc::channel();
        let thread = thread::Builder::new().name("watcher".into()).spawn(move || {
            let mut seen = Bypass::default();
            loop {
                looker.look(&mut seen);
                let is_busy = has_traffic.load(Ordering::Relaxed);
                if !is_busy {
                    note_sockets(&sockets_before, &mut seen);
                }
                match stops.recv_timeout(if is_busy { LAZY } else { EAGER }) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return seen,
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// What was seen until now.
    pub(super) fn finish(self) -> Bypass {
        // A watcher that is gone already has said all it had to say.
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_default()
    }
}

struct Looker {
    process: u32,
    upstreams: HashSet<SocketAddr>,
    own_port: u16,
}

impl Looker {
    fn look(&self, seen: &mut Bypass) {
        for process in family(self.process) {
            let inodes = socket_inodes(process);
            if inodes.is_empty() {
                continue;
            }
            for table in ["tcp", "tcp6"] {
                let path = format!("/proc/{process}/net/{table}");
                let text = fs::read_to_string(path).unwrap_or_default();
                let ours = text.lines().filter_map(connection).filter(|it| inodes.contains(&it.inode));
                ours.for_each(|it| self.note(it.peer, seen));
            }
        }
    }

    fn note(&self, peer: SocketAddr, seen: &mut Bypass) {
        let is_proxy = peer.ip().is_loopback() && peer.port() == self.own_port;
        let places = match self.upstreams.contains(&peer) {
            _ if is_proxy => return,
            true => &mut seen.upstream,
            false if peer.port() == POSTGRES_PORT => &mut seen.other,
            false => return,
        };
        if places.len() < PLACES_MAX {
            places.insert(peer.to_string());
        }
    }
}

/// A process and its descendants, as far as the kernel tells.
fn family(process: u32) -> Vec<u32> {
    let mut all = vec![process];
    let mut next = 0;
    while let Some(process) = all.get(next).copied() {
        next += 1;
        let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let room = PROCESSES_MAX.saturating_sub(all.len());
            all.extend(children.split_whitespace().filter_map(|it| it.parse::<u32>().ok()).take(room));
        }
    }
    all
}

fn socket_inodes(process: u32) -> HashSet<u64> {
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let inode = |path: &Path| {
        let target = fs::read_link(path).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    files.filter_map(|file| inode(&file.path())).collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Connection {
    peer: SocketAddr,
    inode: u64,
}

/// A line of `/proc/net/tcp` or `tcp6`, if it is that of a connection.
fn connection(line: &str) -> Option<Connection> {
    const LISTENING: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? == LISTENING {
        return None;
    }
    let (address, port) = fields.get(2)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Each word is written as the machine reads it.
    let words: Option<Vec<u32>> = (0..address.len() / 8)
        .map(|n| u32::from_str_radix(address.get(n * 8..n * 8 + 8)?, 16).ok())
        .collect();
    let ip = match words?.as_slice() {
        [word] => IpAddr::V4(Ipv4Addr::from(word.to_ne_bytes())),
        [a, b, c, d] => {
            let words = [a, b, c, d].map(|word| word.to_ne_bytes());
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?))
        }
        _ => return None,
    };
    let peer = unmapped(SocketAddr::new(ip, port));
    (peer.port() != 0).then_some(Connection { peer, inode: fields.get(9)?.parse().ok()? })
}

/// An IPv4 address in IPv6's clothes as what it is.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// PostgreSQL's Unix sockets with the number of their connections. The kernel does not say whose they are.
fn postgres_sockets() -> BTreeMap<String, usize> {
    sockets_of(&fs::read_to_string("/proc/net/unix").unwrap_or_default())
}

fn sockets_of(table: &str) -> BTreeMap<String, usize> {
    const CONNECTED: &str = "03";
    let mut sockets = BTreeMap::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, _, _, state, _, path] = fields.as_slice()
            && *state == CONNECTED
            && path.contains("/.s.PGSQL.")
        {
            *sockets.entry((*path).to_owned()).or_default() += 1;
        }
    }
    sockets
}

fn note_sockets(before: &BTreeMap<String, usize>, seen: &mut Bypass) {
    for (path, connections) in postgres_sockets() {
        if connections > before.get(&path).copied().unwrap_or(0) && seen.other.len() < PLACES_MAX {
            seen.other.insert(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let ipv4 =
            "   1: 0100007F:C6EC 0100007F:1538 01 00000000:00000000 00:00000000 00000000  1000 0 4242 1";
        let expected = Connection { peer: "127.0.0.1:5432".parse().unwrap(), inode: 4242 };
        if cfg!(target_endian = "little") {
            assert_eq!(connection(ipv4), Some(expected));
        }
        assert_eq!(connection(&ipv4.replace(" 01 ", " 0A ")), None);
        for junk in ["", "sl local_address rem_address", "1: x y 01", "1: 0:0 é:1538 01 0 0 0 0 0 1"] {
            assert_eq!(connection(junk), None, "{junk}");
        }
        let unix = "ffff: 00000003 00000000 00000000 0001 03 99 /run/postgresql/.s.PGSQL.5432\n\
                    ffff: 00000002 00000000 00010000 0001 01 98 /run/postgresql/.s.PGSQL.5432\n";
        assert_eq!(sockets_of(unix), BTreeMap::from([("/run/postgresql/.s.PGSQL.5432".into(), 1)]));
    }

    #[test]
    fn connections_to_the_upstream_are_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _open = TcpStream::connect(address).unwrap();
        let upstreams = HashSet::from([address]);
        let mut looker = Looker { process: std::process::id(), upstreams, own_port: 1 };
        let mut seen = Bypass::default();
        looker.look(&mut seen);
        assert_eq!(seen.upstream, BTreeSet::from([address.to_string()]));
        looker.own_port = address.port();
        let mut seen = Bypass::default();
        looker.look(&mut seen);
        assert_eq!(seen, Bypass::default(), "the proxy itself is no way past it");
    }
}
