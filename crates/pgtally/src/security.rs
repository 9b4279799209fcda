//! What decides about TLS and passwords, read from files as one whole and replaced as one whole.
//!
//! A connection takes the [`Snapshot`] of the moment it was accepted (as a part of `live.rs`'s) and keeps it to the end
//! of its login, so that a reload cannot change a certificate between its handshake and the SCRAM exchange that binds
//! to it. A reload that fails leaves everything as it was.

pub(crate) mod certificates;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::CertificateDer;
use tracing::warn;

use self::certificates::MISMATCH;
pub(crate) use self::certificates::MISMATCH_REMEDIES;
pub use self::certificates::check as check_certificates;
use crate::auth::{MockSecret, Verifiers};
use crate::config::{AuthMode, ClientTls, Config, ConfigErrors};
use crate::console::Access;
use crate::tls::{ClientLeg, Unusable, UpstreamLeg};

/// TLS and passwords as they were at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) client: Option<ClientLeg>,
    pub(crate) is_tls_required: bool,
    pub(crate) upstream: Option<UpstreamLeg>,
    /// Where passwords are checked here: what they are checked with.
    pub(crate) verifiers: Option<Verifiers>,
    /// Who may use the SQL console, where there is one.
    pub(crate) console: Option<Access>,
    /// For users who do not exist, unless a secret is configured. Outlives reloads, so that their salts stay the same.
    mock: Arc<MockSecret>,
    has_told: AtomicBool,
}

impl Snapshot {
    /// Reads everything.
    ///
    /// # Errors
    /// Every setting whose file is of no use.
    pub(crate) fn first(config: &Config) -> Result<Self, ConfigErrors> {
        Self::load(config, Arc::new(own_secret(config)))
    }

    /// Reads everything anew, also files whose settings are the same.
    ///
    /// # Errors
    /// Every setting whose file is of no use.
    pub(crate) fn next(&self, config: &Config) -> Result<Self, ConfigErrors> {
        Self::load(config, Arc::clone(&self.mock))
    }

    fn load(config: &Config, mock: Arc<MockSecret>) -> Result<Self, ConfigErrors> {
        let kept = Arc::clone(&mock);
        let configured = config.auth.mock_secret.as_ref().or(config.auth.query_password.as_ref());
        let mock = configured.map_or(mock, |secret| Arc::new(MockSecret::derived(secret.reveal())));
        let client = match config.tls.client_tls {
            ClientTls::Disable => Ok(None),
            ClientTls::Allow | ClientTls::Require => ClientLeg::load(&config.tls),
        };
        let upstream = UpstreamLeg::load(&config.tls);
        let verifiers = match config.auth.mode {
            AuthMode::Relay => Ok(None),
            AuthMode::Terminate => Verifiers::load(&config.auth, mock).map(Some),
        };
        let console = Access::load(config, &kept);
        match (client, upstream, verifiers, console) {
            (Ok(client), Ok(upstream), Ok(verifiers), Ok(console)) => Ok(Self {
                console,
                client,
                is_tls_required: config.tls.client_tls == ClientTls::Require,
                upstream,
                verifiers,
                mock: kept,
                has_told: AtomicBool::new(false),
            }),
            (client, upstream, verifiers, console) => {
                let unusable =
                    [client.err(), upstream.err(), verifiers.err(), console.err()].into_iter().flatten();
                Err(ConfigErrors(unusable.map(Unusable::into_error).collect()))
            }
        }
    }

    /// Whether a server that cannot do TLS is refused.
    pub(crate) fn is_upstream_tls_required(&self) -> bool {
        self.upstream.as_ref().is_some_and(UpstreamLeg::is_required)
    }

    /// Tells the operator, once, when clients over TLS that use channel binding cannot get in: their error message
    /// names no cause, since for them somebody stands in the middle, and that is true.
    pub(crate) fn tell_mismatch(&self, upstream: &CertificateDer<'_>) {
        if self.has_mismatch(upstream) && !self.has_told.swap(true, Ordering::Relaxed) {
            warn!(side = "proxy", "{MISMATCH}; {MISMATCH_REMEDIES}");
        }
    }

    /// Whether a client over TLS would bind to another certificate than the one the server checks.
    pub(crate) fn has_mismatch(&self, upstream: &CertificateDer<'_>) -> bool {
        let is_other = self.client.as_ref().is_some_and(|client| client.leaf != *upstream);
        is_other && self.verifiers.is_none()
    }
}

/// What the salts of users who do not exist are made of where no secret is configured: the file of verifiers, which
/// replicas and the next start have too and nobody else may read.
fn own_secret(config: &Config) -> MockSecret {
    let file = config.auth.auth_file.as_ref().filter(|_| config.auth.mode == AuthMode::Terminate);
    // A file that cannot be read is an error of its own.
    let text = file.and_then(|path| Verifiers::read(path).ok()).filter(|text| !text.trim().is_empty());
    text.map_or_else(MockSecret::random, |text| MockSecret::derived(&text))
}
