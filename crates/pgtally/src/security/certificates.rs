//! Whether clients see the certificate that the server has: where they do not, and both legs have TLS, relayed SCRAM with
//! channel binding cannot work, and nobody's error message would name the cause.
//!
//! Asked at `check-config`, at the start, and after each reload, with a handshake and nothing more; and noticed by every
//! session. A server that cannot be reached is no finding.

use std::future::Future;

use tokio::time::timeout;

use super::Snapshot;
use crate::config::{self, Config, ConfigError};
use crate::live::Live;
use crate::socket::Address;
use crate::tls::connect;

/// Why clients over TLS cannot log in, where the certificates differ.
pub(super) const MISMATCH: &str = "pgtally shows clients another certificate than the server shows pgtally: clients \
    over TLS that use SCRAM channel binding, as libpq and many drivers do, cannot log in through relayed authentication";
/// What to do about it.
pub(crate) const MISMATCH_REMEDIES: &str = "give pgtally the server's own certificate and key (tls.certificate, tls.key); or let \
    pgtally check passwords (auth.mode = \"terminate\"); or leave one leg plain, on a network you trust \
    (tls.client_tls or tls.upstream_tls = \"disable\"); or let clients connect with channel_binding=disable";

/// What is wrong with the certificates of a configuration, as far as its servers answer. Blocks for a moment.
#[must_use]
pub fn check(config: &Config) -> Option<ConfigError> {
    let security = Snapshot::first(config).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let patience = config.socket.connect_timeout;
    let is_mismatch = runtime.block_on(async {
        // One slow server must not hide what another says, but the caller waits only once.
        timeout(patience, any(&config.upstreams, |address| security.differs_from(address))).await
    });
    is_mismatch.unwrap_or(false).then(|| config::error("tls.certificate", MISMATCH, MISMATCH_REMEDIES))
}

/// Tells the operator at the start and after each reload.
pub(crate) async fn watch(mut live: Live) {
    loop {
        let setting = live.borrow_and_update().clone();
        let servers = setting.upstreams.all().iter().map(|server| server.address.clone());
        let addresses: Vec<_> = servers.collect();
        let looking = any(&addresses, |address| setting.security.differs_from(address));
        // The looking itself tells.
        let _ = timeout(setting.socket.connect_timeout, Box::pin(looking)).await;
        if live.changed().await.is_err() {
            return;
        }
    }
}

async fn any<'a, F: Future<Output = bool>>(
    addresses: &'a [Address],
    look: impl Fn(&'a Address) -> F,
) -> bool {
    for address in addresses {
        if look(address).await {
            return true;
        }
    }
    false
}

impl Snapshot {
    /// Looks at the certificate of one server, where it could matter.
    async fn differs_from(&self, address: &Address) -> bool {
        if self.client.is_none() || self.upstream.is_none() || self.verifiers.is_some() {
            return false;
        }
        let Ok(leg) = connect(address, self.upstream.as_ref()).await else { return false };
        leg.certificate.is_some_and(|certificate| {
            self.tell_mismatch(&certificate);
            self.has_mismatch(&certificate)
        })
    }
}
