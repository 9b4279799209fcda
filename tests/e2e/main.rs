//! pgtally against a scripted PostgreSQL: one module per behaviour, one binary, so that it links once.
//!
//! Every test drives both ends of its connections itself, step by step; see the support library.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod acks;
mod admin;
mod attribution;
mod baselines;
mod cancel;
mod console;
mod corpus;
mod ends;
mod fail_open;
mod findings;
mod hostile;
mod limits;
mod live;
mod operation;
mod startup;
mod terminated;
mod tls;
mod transcripts;
mod transparency;
