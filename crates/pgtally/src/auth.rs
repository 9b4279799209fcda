//! Checking clients' passwords here, and proving them to the server: authentication terminated with SCRAM verifiers.
//!
//! A verifier (`pg_authid.rolpassword`) lets us check a client's proof, and the proof contains the client's key, with
//! which we answer the server's own challenge. So no password is ever here, and both legs can use channel binding,
//! each with its own certificate.
//!
//! `gatekeeper.rs` is the server's side of SCRAM, `applicant.rs` the client's; both are plain state machines.
//! `exchange.rs` moves their messages. Read next: `scram.rs` for the arithmetic.

mod applicant;
mod exchange;
mod gatekeeper;
mod query;
mod scram;
mod userlist;
mod verifiers;

pub(crate) use self::exchange::{Denied, LogInError, authenticate, log_in, pass_offer, send};
pub(crate) use self::gatekeeper::{Proven, Refusal};
pub(crate) use self::scram::MockSecret;
pub(crate) use self::verifiers::{Route, Verifiers};
