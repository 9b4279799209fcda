//! Logs to standard error: text for people, JSON for machines. Nothing per statement.
//!
//! The subscriber and the panic hook are the two things per process; only the program installs them, never the
//! library.

use std::any::Any;
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
        let message = harmless_message(panic.payload());
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        error!(message, place, thread = thread.name().unwrap_or_default(), "panic");
    }));
}

/// The message of a panic if it is a constant of the program.
fn harmless_message(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)")
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

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, resume_unwind};

    use super::*;

    #[test]
    fn panics_do_not_quote_what_was_worked_on() {
        let payload = |panic: fn()| catch_unwind(panic).unwrap_err();
        let quoting = payload(|| resume_unwind(Box::new(format!("byte 3 is inside 'x' of {}", "hunter2"))));
        assert_eq!(harmless_message(&*quoting), "(message withheld)");
        let constant = payload(|| resume_unwind(Box::new("no such portal")));
        assert_eq!(harmless_message(&*constant), "no such portal");
    }
}
