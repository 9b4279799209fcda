//! pgtally's I/O shell: moves bytes between clients and PostgreSQL and shows what the pure crates make of them.
//!
//! Read `relay.rs` first: it is the hot loop. Then `session.rs` (the life of a connection), `observe.rs` (the
//! fail-open wrapper around the analysis), `aggregator.rs` (everything off the path of a message) and `proxy.rs` (how
//! the threads fit together). [`Proxy::start`] can be called several times in one process: there is no static state.

mod admin;
mod aggregator;
mod api;
mod cancel;
pub mod cli;
mod clock;
mod config;
mod demo;
mod durations;
mod labels;
mod limits;
mod listener;
mod logging;
mod metrics;
mod observe;
mod proxy;
mod relay;
pub mod report;
mod session;
mod slots;
mod socket;
mod startup;
mod worker;

pub use api::{
    FindingView, FindingsAnswer, RequestAnswer, RequestView, RequestsAnswer, SCHEMA_VERSION, StatementView,
    TimelineView,
};
pub use config::{
    ClientAddrForm, Config, ConfigError, ConfigErrors, DEFAULT_ADMIN, DEFAULT_LISTEN, DEFAULT_UPSTREAM,
    Effective, Flag, LogFormat, ProbeAccount, Reloaded, Secret, SessionAttrs, SessionLimits, SocketSettings,
    parse_listen, parse_upstream,
};
pub use proxy::{Proxy, Running, StartError, Stopper};
pub use socket::Address;
