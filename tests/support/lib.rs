//! What the end-to-end tests share: a scripted PostgreSQL, a raw client, a proxy in the same process, transcripts.
//!
//! Peers are driven step by step by the test itself, which therefore decides every order of events; nothing sleeps.
//! Whatever does not happen within [`DEADLINE`] fails the test.
//!
//! Read next: `peer.rs` (one end of a connection), `fake_postgres.rs`, `proxy.rs`, then `transcript.rs`.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

pub mod backend;
pub mod certificates;
pub mod fake_postgres;
pub mod frontend;
pub mod libpq;
pub mod memory;
pub mod outcome;
pub mod peer;
pub mod proxy;
pub mod replay;
pub mod scenario;
pub mod scenario_play;
pub mod tls_peer;
pub mod transcript;
pub mod wire;

mod tokens;

use std::time::{Duration, Instant};

pub use certificates::{Authority, Identity};
pub use fake_postgres::{FakePostgres, Nobody};
pub use libpq::{Attempt, Libpq};
pub use peer::Peer;
pub use proxy::TestProxy;
pub use tls_peer::{Begin, TlsPeer};

/// Longest wait for anything: far above what a loaded machine of two cores needs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `probe` yields a value. Only for what cannot be waited for on a socket, such as a counter.
///
/// # Panics
/// When [`DEADLINE`] has passed.
#[track_caller]
pub fn wait_for<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    let value = try_wait_for(probe);
    assert!(value.is_some(), "waited in vain for {what}");
    value.expect("just checked")
}

/// As [`wait_for`], for callers with more to say about the failure.
pub fn try_wait_for<T>(mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let value = probe();
        if value.is_some() || Instant::now() >= deadline {
            return value;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
