//! Trouble on purpose: a leg that holds back the server's words, and an enemy that ends backends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pgtally::Address;

use crate::client::Client;

/// Longest that a piece of the server's words is held back.
const DELAY_MICROS_MAX: u64 = 2_000;
/// Between two backends ended.
const MERCY: Duration = Duration::from_millis(150);

/// A generator good enough for choosing: xorshift.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }
}

/// Listens, and forwards everything to `server`; what the server says comes late, by a different time each.
/// Its threads end with their connections.
pub(crate) fn slow_leg(server: &Address) -> Address {
    leg(server, |number| Some(Dice::new(number))).address
}

/// As [`slow_leg`], in time, and with connections that can be cut.
pub(crate) fn brittle_leg(server: &Address) -> Leg {
    leg(server, |_| None)
}

/// A way to a server.
pub(crate) struct Leg {
    pub(crate) address: Address,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Leg {
    /// Ends all connections; neither side has said anything.
    pub(crate) fn cut(&self) {
        for stream in self.streams.lock().expect("a sound list").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn leg(server: &Address, delay: impl Fn(u64) -> Option<Dice> + Send + 'static) -> Leg {
    let Address::Tcp(host, port) = server.clone() else { panic!("TCP") };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = Address::Tcp("127.0.0.1".into(), listener.local_addr().expect("an address").port());
    let streams: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let all = Arc::clone(&streams);
    thread::spawn(move || {
        for (number, client) in (1..).zip(listener.incoming().map_while(Result::ok)) {
            let Ok(server) = TcpStream::connect((host.as_str(), port)) else { continue };
            let both = [client.try_clone(), server.try_clone()].map(|it| it.expect("a duplicate"));
            let [client_again, server_again] = both;
            all.lock().expect("a sound list").extend(client.try_clone());
            thread::spawn(move || copy(client, server, None));
            let delay = delay(number);
            thread::spawn(move || copy(server_again, client_again, delay));
        }
    });
    Leg { address, streams }
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut delay: Option<Dice>) {
    let _ = to.set_nodelay(true);
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if let Some(dice) = &mut delay
            && dice.below(4) == 0
        {
            thread::sleep(Duration::from_micros(dice.below(DELAY_MICROS_MAX as usize) as u64));
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// Ends a writer's backend every now and then, until told to stop. Returns how many.
pub(crate) fn kill_writers(server: &Address, is_over: &Arc<AtomicBool>) -> usize {
    let mut killer = Client::connect(server, "postgres", "nemesis").expect("a session");
    let mut killed = 0;
    while !is_over.load(Ordering::Relaxed) {
        let victims = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE application_name = 'writer' ORDER BY random() LIMIT 1";
        killed += killer.query(victims).expect("an answer").cells.len();
        thread::sleep(MERCY);
    }
    killed
}
