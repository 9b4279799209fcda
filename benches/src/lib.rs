//! What the benches measure: bytes of sessions as clients and servers send them, and an observer that reads them.
//!
//! Three ways to measure the same scenarios: `micro/` (time, for exploring), `instructions/` (callgrind, the gate), and
//! `tests/allocations.rs` (none per statement). `load/` measures the whole proxy against its peers, and needs nothing
//! from here but the `floor` relay.
//!
//! Read next: `session.rs`.

pub mod session;
pub mod texts;
pub mod wire;

pub use session::{Mode, Scenario, Session};
