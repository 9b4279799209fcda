//! The SQL console: a virtual database on the listener for clients, answered here and never relayed.
//!
//! `psql -p 6432 pgtally` shows what the HTTP API shows. Whoever may use it is decided in `console/access.rs`, per command:
//! only admins reload, invalidate, and see statement texts. It runs on the control thread beside the admin listener, and
//! a drain does not wait for it.
//!
//! Read next: `console/commands.rs` (what can be said), `console/wire.rs` (how).

mod access;
mod commands;
mod tables;
mod wire;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use pgtally_protocol::startup::Startup;
use pgwire::api::results::Tag;
use pgwire::error::PgWireResult;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::info;

pub(crate) use self::access::{Access, Rights};
use self::commands::{Scope, Subject};
use self::tables::{Rows, rows};
use self::wire::{Names, problem};
use crate::admin::AdminState;
use crate::limits::CONSOLES_MAX;
use crate::live::StartupSetting;
use crate::reload::ReloadError;
use crate::session::Reason;
use crate::socket::Stream;
use crate::startup::{farewell, fatal};

/// What consoles need of the process.
pub(crate) struct Host {
    state: AdminState,
    slots: Arc<Semaphore>,
}

impl Host {
    pub(crate) fn new(state: AdminState) -> Self {
        Self { state, slots: Arc::new(Semaphore::new(CONSOLES_MAX)) }
    }
}

/// Who connects, and from where.
pub(crate) struct Visitor<'a> {
    pub(crate) startup: &'a Startup,
    /// Its startup packet.
    pub(crate) packet: &'a [u8],
    /// Both ends that a header of the PROXY protocol may name; `None` on a Unix socket.
    pub(crate) peers: [Option<SocketAddr>; 2],
}

/// Whether a startup packet asks for the console and not for a database of the server.
pub(crate) fn is_wanted(startup: &Startup, setting: &StartupSetting) -> bool {
    let database = setting.security.console.as_ref().map(|console| console.database.as_bytes());
    database.is_some() && startup.parameter("database") == database && !startup.is_replication()
}

/// Serves a console to its end.
pub(crate) async fn serve(
    client: Stream,
    visitor: Visitor<'_>,
    setting: &StartupSetting,
    deadline: Instant,
    host: &Host,
) -> Reason {
    let peer = visitor.peers.into_iter().flatten().next();
    let (client, rights) = match Box::pin(access::enter(client, &visitor, setting, deadline)).await {
        Ok(entered) => entered,
        Err(reason) => return reason,
    };
    let Ok(_slot) = Arc::clone(&host.slots).try_acquire_owned() else {
        farewell(client, &fatal("53300", "sorry, too many consoles already", None)).await;
        return Reason::SessionLimit;
    };
    let console = Console { state: host.state.clone(), rights, names: Names::default() };
    info!(side = "client", rights = rights.name(), "console opened");
    // The library that reads the messages panics on some that lie about their length.
    let running = AssertUnwindSafe(wire::run(client, peer, visitor.packet, console)).catch_unwind();
    if Box::pin(running).await.is_err() {
        info!(side = "client", "console closed: a message that cannot be read");
    }
    Reason::Console
}

/// One open console.
struct Console {
    state: AdminState,
    rights: Rights,
    names: Names,
}

impl Console {
    async fn show(&self, subject: Subject) -> PgWireResult<Rows> {
        let shown = rows(subject, &self.state, self.rights == Rights::All).await;
        shown.ok_or_else(|| problem("57014", "the aggregator is too busy to answer", "Try again."))
    }

    async fn reload(&self) -> PgWireResult<Tag> {
        self.demand_all("RELOAD")?;
        match self.state.reloading.reload().await {
            Ok(_) => Ok(Tag::new("RELOAD")),
            Err(ReloadError::Config(errors)) => Err(problem(
                "F0000",
                "the configuration is not usable, and the old one stays",
                &errors.to_string(),
            )),
            Err(error) => Err(problem("57P01", &error.to_string(), "")),
        }
    }

    fn invalidate(&self, scope: &Scope) -> PgWireResult<Tag> {
        self.demand_all("INVALIDATE")?;
        let Some(cache) = &self.state.asker.cache else {
            return Err(problem("55000", "there is no cache", "Set cache.enabled = true."));
        };
        let old_entries = match scope {
            Scope::All => cache.invalidate(&[], &[], true),
            Scope::Tables(tables) => cache.invalidate(&[], tables, false),
            Scope::Tags(tags) => cache.invalidate(tags, &[], false),
        };
        Ok(Tag::new("INVALIDATE").with_rows(old_entries))
    }

    fn demand_all(&self, command: &str) -> PgWireResult<()> {
        if self.rights == Rights::All {
            return Ok(());
        }
        Err(problem("42501", &format!("permission denied for {command}"), "console.admins names who may."))
    }
}
