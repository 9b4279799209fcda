//! pgtally against a scripted PostgreSQL: one module per behaviour, one binary, so that it links once.
//!
//! Every test drives both ends of its connections itself; see the support library. `transcripts` needs no proxy.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod transcripts;
