//! Logs to standard error: text for people, JSON for machines. Nothing per statement.
//!
//! The subscriber and the panic hook are the two things per process; only the program installs them, never the
//! library.

use std::io::{IsTerminal, stderr};
use std::panic::PanicHookInfo;

use tracing::error;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry, reload};

use crate::config::LogFormat;

/// Changes what is logged, while running.
pub(crate) struct Level(Box<dyn Fn(&str) + Send + Sync>);

impl Level {
    /// Logs `level` and what is more severe, unless `RUST_LOG` says otherwise.
    pub(crate) fn set(&self, level: &str) {
        (self.0)(level);
    }
}

/// Installs the subscriber. `RUST_LOG` filters as usual and beats `level`.
pub(crate) fn install(format: LogFormat, level: &str) -> Level {
    let is_terminal = stderr().is_terminal();
    let (filter_layer, handle) = reload::Layer::new(filter(level));
    let lines = fmt::layer().with_writer(stderr).with_target(false).with_ansi(is_terminal);
    let is_json = match format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let registry = registry().with(filter_layer);
    // A second installation in one process is refused, and the first one serves.
    let _ = if is_json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines).try_init()
    };
    // A filter that is gone with its subscriber needs no other value.
    Level(Box::new(move |level| drop(handle.reload(filter(level)))))
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level))
}

/// Logs panics by their place. A formatted message may quote the text that was worked on, which is nobody's business;
/// a constant one cannot.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let message = panic.payload().downcast_ref::<&'static str>().unwrap_or(&"(message withheld)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        error!(message, place, thread = thread.name().unwrap_or_default(), "panic");
    }));
}

/// An error with its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
