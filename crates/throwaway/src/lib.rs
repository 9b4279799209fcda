//! Starts a throwaway PostgreSQL: for the demo, the tests and the benches.
//!
//! [`Throwaway::builder`] finds server binaries on the machine, makes a cluster in a temporary directory, starts it on
//! a free port of 127.0.0.1 and on a Unix socket, and waits until it accepts connections. Dropping the value stops
//! the server and removes the directory; after a panic or a failed start the directory is kept and named.
//!
//! Deliberately absent: downloads of any kind, a PostgreSQL client, and an async runtime. Calls block for a second or two.
//!
//! Read next: `server.rs` for the life of one server, `binaries.rs` for where binaries are looked for.

mod account;
mod binaries;
mod builder;
mod error;
mod server;
mod watchdog;

pub use builder::Builder;
pub use error::StartError;
pub use server::Throwaway;
