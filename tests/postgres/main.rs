//! The same behaviours against a real PostgreSQL: what the scripted one was told to say, a real one must say too.
//!
//! Binaries come from `PGTALLY_PG_BIN` or from where they usually are, and from every directory of
//! `PGTALLY_TEST_PG_BINS` (colon separated); each test runs with each of them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod demo;
mod drivers;
mod faults;
mod findings;
mod interruptions;
mod lifting;
mod plans;
mod relay;
mod replication;
mod rewrites;
mod servers;
mod terminated;
mod tls;
mod tls_matrix;
mod wire;

use std::path::PathBuf;

use pgtally::Address;
use pgtally_throwaway::{Builder, Throwaway};
use support::{Peer, frontend};

/// Runs `test` with a server of each version.
fn with_each_server(test: impl Fn(Throwaway)) {
    with_each(|builder| builder, test);
}

/// As [`with_each_server`], with settings.
fn with_each(adapt: impl Fn(Builder) -> Builder, test: impl Fn(Throwaway)) {
    let mut directories = vec![std::env::var_os("PGTALLY_PG_BIN").map(PathBuf::from)];
    let more = std::env::var_os("PGTALLY_TEST_PG_BINS").unwrap_or_default();
    directories.extend(std::env::split_paths(&more).filter(|path| !path.as_os_str().is_empty()).map(Some));
    for directory in directories {
        let server = adapt(Throwaway::builder().binaries(directory)).start().expect("a throwaway PostgreSQL");
        println!("PostgreSQL {}", server.version());
        test(server);
    }
}

/// Where `server` listens.
fn address(server: &Throwaway) -> Address {
    Address::Tcp("127.0.0.1".into(), server.port())
}

/// A session as superuser, ready for its first query, and its key: process id and secret.
fn session(address: &Address) -> (Peer, Vec<u8>) {
    let mut peer = Peer::connect(address);
    peer.send(&frontend::startup(&[("user", "postgres"), ("database", "postgres")]));
    let greeting = peer.frames_until_ready();
    let key = greeting.into_iter().find(|frame| frame.tag == b'K').expect("BackendKeyData").body;
    (peer, key)
}
