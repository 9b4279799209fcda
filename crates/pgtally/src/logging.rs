//! Logs to standard error: text for people, JSON for machines. Nothing per statement.
//!
//! The subscriber is the one thing per process; only the program installs it, never the library.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Installs the subscriber. `RUST_LOG` filters as usual, `info` by default.
pub(crate) fn install(format: LogFormat, default_filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let is_terminal = stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false);
    let is_json = match format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    // A second installation in one process is refused, and the first one serves.
    let _ = if is_json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(is_terminal).try_init()
    };
}
