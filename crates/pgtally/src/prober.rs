//! Asks the upstreams what they are, in the background, on connections of its own.
//!
//! Runs only where `target_session_attrs` wants to know; with `any` nothing is asked and no connection is made. The
//! role needs the right to log in and nothing else. See `upstreams.rs` for what the answers decide.

use std::future::pending;
use std::sync::Arc;

use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::{error::Elapsed, sleep, timeout};
use tokio_postgres::{NoTls, SimpleQueryMessage};
use tracing::{info, warn};

use crate::config::{ProbeAccount, SessionAttrs};
use crate::limits::PROBE_TIMEOUT;
use crate::live::{Live, StartupSetting};
use crate::logging::with_causes;

use crate::tls::{ConnectError, connect};
use crate::upstreams::{Role, Server};

/// What libpq asks too. The names are qualified, as the search path may be anybody's.
const QUESTION: &str =
    "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')";

/// Why a server could not be asked.
#[derive(Debug, Error)]
enum ProbeError {
    #[error("cannot connect")]
    Connect(#[from] ConnectError),
    #[error("no usable answer")]
    Answer,
    #[error("no answer in time")]
    Late(#[from] Elapsed),
    #[error("PostgreSQL refuses the prober")]
    Refused(#[from] tokio_postgres::Error),
}

/// Keeps the roles of all upstreams up to date until the proxy ends; follows reloads.
pub(crate) async fn probe_forever(mut live: Live) {
    loop {
        let setting = Arc::clone(&live.borrow_and_update());
        tokio::select! {
            () = probe_all(&setting) => {}
            changed = live.changed() => if changed.is_err() { return },
        }
    }
}

/// Never ends by itself. Dropped, it takes its connections with it.
async fn probe_all(setting: &Arc<StartupSetting>) {
    show_roles(setting);
    let account = setting.probe.clone().filter(|_| setting.upstreams.attrs() != SessionAttrs::Any);
    let mut probes = JoinSet::new();
    if let Some(account) = account {
        for server in setting.upstreams.all() {
            probes.spawn(probe(Arc::clone(setting), Arc::clone(server), account.clone()));
        }
    }
    while probes.join_next().await.is_some() {}
    pending().await
}

async fn probe(setting: Arc<StartupSetting>, server: Arc<Server>, account: ProbeAccount) {
    loop {
        let Err(error) = ask_until_trouble(&setting, &server, &account).await;
        if setting.upstreams.learn(&server, Role::Down) {
            warn!(side = "upstream", upstream = %server.address, error = with_causes(&error), "upstream is down");
            show_roles(&setting);
        }
        sleep(setting.probe_interval).await;
    }
}

async fn ask_until_trouble(
    setting: &StartupSetting,
    server: &Server,
    account: &ProbeAccount,
) -> Result<std::convert::Infallible, ProbeError> {
    let security = setting.security.upstream.as_ref();
    let stream = timeout(PROBE_TIMEOUT, connect(&server.address, security)).await??.stream;
    stream.tune(&setting.socket);
    let mut config = tokio_postgres::Config::new();
    config.user(&account.user).dbname(&account.database).application_name("pgtally prober");
    if let Some(password) = &account.password {
        config.password(password.reveal());
    }
    let (client, connection) = timeout(PROBE_TIMEOUT, config.connect_raw(stream, NoTls)).await??;
    let mut connection = std::pin::pin!(connection);
    loop {
        let answer = tokio::select! {
            answer = timeout(PROBE_TIMEOUT, client.simple_query(QUESTION)) => answer??,
            // It ends before the answer does only if it broke.
            ended = &mut connection => { ended?; return Err(ProbeError::Answer) }
        };
        let role = role_in(&answer).ok_or(ProbeError::Answer)?;
        if setting.upstreams.learn(server, role) {
            info!(side = "upstream", upstream = %server.address, role = role.name(), "upstream is known");
            show_roles(setting);
        }
        tokio::select! {
            () = sleep(setting.probe_interval) => {}
            ended = &mut connection => { ended?; return Err(ProbeError::Answer) }
        }
    }
}

fn role_in(answer: &[SimpleQueryMessage]) -> Option<Role> {
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })?;
    match (row.try_get(0).ok()??, row.try_get(1).ok()??) {
        ("t", _) => Some(Role::Standby),
        ("f", "off") => Some(Role::Primary),
        ("f", "on") => Some(Role::ReadOnlyPrimary),
        _ => None,
    }
}

fn show_roles(setting: &StartupSetting) {
    for role in Role::ALL {
        let count = setting.upstreams.all().iter().filter(|server| server.role() == role).count();
        let is_asked = setting.upstreams.attrs() != SessionAttrs::Any;
        let shown = if is_asked { i64::try_from(count).unwrap_or(i64::MAX) } else { 0 };
        setting.metrics.upstreams.with_label_values(&[role.name()]).set(shown);
    }
}
