//! Attempts to make the cache lie, against a real PostgreSQL.
//!
//! `definitions.rs`: what statements read and write, triggers and keys and functions included; `held.rs`: writes that show
//! only at a commit. `checker.rs`: writers by
//! every route (`routes.rs`) and readers at once, whose history (`history.rs`) has to satisfy the promise, while a
//! nemesis (`nemesis.rs`) ends backends and holds back answers. `safety.rs`: users and
//! settings. `scripts.rs`: generated scripts, on two servers that must agree (`twin.rs`). `seeded.rs`: mistakes on purpose,
//! each of which the checker finds. `capacity.rs`: memory. `trouble.rs`: definitions nobody reads,
//! keys without end. `failover.rs`: servers that restart, fall behind, and take over. `warming.rs`: filling it on order.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod actors;
mod capacity;
mod checker;
mod client;
mod definitions;
mod failover;
mod held;
mod history;
mod nemesis;
mod routes;
mod safety;
mod scripts;
mod seeded;
mod serving;
mod trouble;
mod twin;
mod warming;

use pgtally::Address;
use pgtally_throwaway::{Builder, Throwaway};
use support::{Peer, frontend};

/// A server of the version that is tried.
fn builder() -> Builder {
    Throwaway::builder().binaries(std::env::var_os("PGTALLY_PG_BIN").map(Into::into))
}

/// Where `server` listens.
fn address(server: &Throwaway) -> Address {
    Address::Tcp("127.0.0.1".into(), server.port())
}

/// A session of `user`, ready for its first query.
fn session(address: &Address, user: &str) -> Peer {
    let mut peer = Peer::connect(address);
    peer.send(&frontend::startup(&[("user", user), ("database", "postgres")]));
    let _ = peer.frames_until_ready();
    peer
}

/// Executes statements of a script, each of which has to succeed.
fn execute(peer: &mut Peer, script: &str) {
    let answer = peer.query(script);
    let error = answer.iter().find(|frame| frame.tag == b'E');
    assert!(
        error.is_none(),
        "{script}: {:?}",
        error.map(|it| String::from_utf8_lossy(&it.body).into_owned())
    );
}
