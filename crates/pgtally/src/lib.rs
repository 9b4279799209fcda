//! pgtally's I/O shell: moves bytes between clients and PostgreSQL and shows what the pure crates make of them.
//!
//! Read `relay.rs` first: it is the hot loop. Then `session.rs` (the life of a connection), `observe.rs` (the
//! fail-open wrapper around the analysis), `aggregator.rs` (everything off the path of a message) and `proxy.rs` (how
//! the threads fit together). [`Proxy::start`] can be called several times in one process: there is no static state.

mod acks;
mod admin;
mod admission;
mod aggregator;
mod api;
mod auth;
mod backlog;
mod baselines;
mod cached;
mod cancel;
mod captures;
mod catalog;
pub mod cli;
mod client;
mod client_addr;
mod clock;
mod config;
mod console;
mod control;
mod demo;
mod doctor;
mod durations;
mod explain;
mod filter;
mod half_open;
mod handover;
mod hearing;
mod judging;
mod labels;
mod lift;
mod limits;
mod listener;
mod live;
mod logging;
mod login;
mod login_watch;
mod lookups;
mod metrics;
mod observe;
mod overhead;
mod prober;
mod proxy;
mod proxy_header;
mod relay;
mod reload;
pub mod report;
mod run;
mod security;
mod service_manager;
mod session;
mod sessions;
mod signals;
mod slots;
mod socket;
mod stalls;
mod startup;
mod tap;
mod tls;
mod top;
mod totals;
mod upstreams;
mod web;
mod worker;

pub use api::{
    BaselineView, BaselinesAnswer, ChangeView, FindingView, FindingsAnswer, GrowthView, RegressionView,
    RequestAnswer, RequestView, RequestsAnswer, SCHEMA_VERSION, StatementView, TimelineView, TimesView,
};
pub use cached::views::{CacheAnswer, EntryView, ReasonView, TagView};
pub use config::{
    AuthMode, AuthSettings, BaselineSettings, CacheSettings, ClientAddrForm, ClientTls, Config, ConfigError,
    ConfigErrors, ConsoleSettings, DEFAULT_ADMIN, DEFAULT_LISTEN, DEFAULT_UPSTREAM, Effective, Flag,
    LogFormat, Negotiation, ProbeAccount, Reloaded, Roots, Secret, SessionAttrs, SessionLimits,
    SocketSettings, TlsSettings, UpstreamTls, parse_listen, parse_upstreams,
};
pub use handover::Inherited;
pub use proxy::{Proxy, Running, StartError, Stopper};
pub use proxy_header::{ProxyHeaderError, read as read_proxy_header};
pub use reload::{ReloadError, Reloader};
pub use security::check_certificates;
pub use socket::Address;
pub use totals::{Percentiles, RouteCalls, RouteTotals, RoutesAnswer, StatementTotals, StatementsAnswer};
