//! TLS on both legs, with rustls and ring.
//!
//! Each leg has a TLS of its own: nothing is passed through encrypted, or there would be nothing to observe. Trouble
//! here never falls back to less. What is decided once, from files, is in [`ClientLeg`] and [`UpstreamLeg`];
//! `accept.rs` and `connect.rs` use them for one connection. No session resumption: PostgreSQL has none either, and a
//! resumed session would skip the check of the peer's certificate.
//!
//! Read next: `accept.rs`, `connect.rs`, then `verify.rs`.

mod accept;
mod certificate;
mod connect;
mod stock;
mod stream;
mod verify;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub(crate) use self::accept::{HANDSHAKE, accept};
pub(crate) use self::certificate::EndPoint;
use self::certificate::{key_fits, read_certificates, read_key};
pub(crate) use self::connect::{ConnectError, Leg, connect};
pub(crate) use self::stream::TlsStream;
use self::verify::{Check, UpstreamVerifier};
use crate::config::{self, ConfigError, Negotiation, Roots, TlsSettings, UpstreamTls};

/// Name of PostgreSQL's protocol in TLS, as registered.
const ALPN: &[u8] = b"postgresql";

/// A setting whose file is of no use; the path is that of the setting.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) setting: &'static str,
    pub(crate) problem: String,
}

impl Unusable {
    fn new(setting: &'static str, problem: impl Into<String>) -> Self {
        Self { setting, problem: problem.into() }
    }

    pub(crate) fn into_error(self) -> ConfigError {
        config::error(self.setting, &self.problem, "")
    }
}

/// TLS towards clients.
#[derive(Debug)]
pub(crate) struct ClientLeg {
    config: Arc<ServerConfig>,
    /// The certificate that clients see.
    pub(crate) leaf: CertificateDer<'static>,
    /// What clients bind to, where their certificate's algorithm defines it.
    pub(crate) end_point: Option<EndPoint>,
}

impl ClientLeg {
    /// Reads certificate and key; `None` when both are not set.
    ///
    /// # Errors
    /// When a file cannot be used, or key and certificate do not belong together.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Option<Self>, Unusable> {
        let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else { return Ok(None) };
        let chain = read_certificates(certificate).map_err(|it| Unusable::new("tls.certificate", it))?;
        let certified = certified(chain, "tls.certificate", key, "tls.key")?;
        let leaf = certified.cert.first().cloned();
        let leaf = leaf.ok_or_else(|| Unusable::new("tls.certificate", "it holds no certificate"))?;
        let versions = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let versions = versions.map_err(|error| Unusable::new("tls.client_tls", error.to_string()))?;
        let mut config =
            versions.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Some(Self { config: Arc::new(config), end_point: EndPoint::of(&leaf), leaf }))
    }
}

/// TLS towards the upstream.
#[derive(Debug)]
pub(crate) struct UpstreamLeg {
    config: Arc<ClientConfig>,
    mode: UpstreamTls,
    is_checked: bool,
    negotiation: Negotiation,
}

impl UpstreamLeg {
    /// Whether a server without TLS is refused.
    pub(crate) fn is_required(&self) -> bool {
        self.mode >= UpstreamTls::Require
    }

    /// Reads roots, certificate and key; `None` when the leg is plain.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Option<Self>, Unusable> {
        let mode = settings.upstream_tls;
        if mode == UpstreamTls::Disable {
            return Ok(None);
        }
        let provider = provider();
        let (roots, named) = roots(settings)?;
        let verifier = UpstreamVerifier::new(check(settings), roots, named, &provider);
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let versions = versions.map_err(|error| Unusable::new("tls.upstream_tls", error.to_string()))?;
        let builder = versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match (&settings.upstream_certificate, &settings.upstream_key) {
            (Some(certificate), Some(key)) => {
                let unusable = |it: String| Unusable::new("tls.upstream_certificate", it);
                let chain = read_certificates(certificate).map_err(unusable)?;
                let certified = certified(chain, "tls.upstream_certificate", key, "tls.upstream_key")?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        let is_checked = check(settings) != Check::Nothing;
        let negotiation = settings.upstream_negotiation;
        Ok(Some(Self { config: Arc::new(config), mode, is_checked, negotiation }))
    }
}

/// What is checked: as in libpq, also the weaker modes check the chain where roots are named.
fn check(settings: &TlsSettings) -> Check {
    match (settings.upstream_tls, &settings.upstream_ca) {
        (UpstreamTls::VerifyFull, _) => Check::ChainAndName,
        (UpstreamTls::VerifyCa, _) | (_, Some(_)) => Check::Chain,
        (UpstreamTls::Disable | UpstreamTls::Prefer | UpstreamTls::Require, None) => Check::Nothing,
    }
}

/// Whom we trust: as the library wants it, and the certificates of a file as they are.
fn roots(settings: &TlsSettings) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Unusable> {
    let unusable = |it: String| Unusable::new("tls.upstream_ca", it);
    let mut store = RootCertStore::empty();
    if check(settings) == Check::Nothing {
        return Ok((store, Vec::new()));
    }
    let Some(Roots::File(path)) = &settings.upstream_ca else {
        // One root of many that cannot be read is everyday life of a system.
        let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let none = || unusable("this system has no certificates of authorities".into());
        return if added > 0 { Ok((store, Vec::new())) } else { Err(none()) };
    };
    let certificates = read_certificates(path).map_err(unusable)?;
    match store.add_parsable_certificates(certificates.iter().cloned()) {
        (_, 0) => Ok((store, certificates)),
        (_, refused) => Err(unusable(format!("{refused} of its certificates cannot be a root"))),
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    certificate_setting: &'static str,
    key: &std::path::Path,
    key_setting: &'static str,
) -> Result<CertifiedKey, Unusable> {
    let der: PrivateKeyDer<'static> = read_key(key).map_err(|it| Unusable::new(key_setting, it))?;
    let signing = provider().key_provider.load_private_key(der);
    // The library's words could say more about a key than a log should hold.
    let signing = signing.map_err(|_| Unusable::new(key_setting, "it is no RSA, ECDSA or Ed25519 key"))?;
    match chain.first().map(|leaf| key_fits(leaf, &*signing)) {
        Some(Ok(true)) => Ok(CertifiedKey::new(chain, signing)),
        Some(Ok(false)) => Err(Unusable::new(key_setting, "the key does not belong to the certificate")),
        Some(Err(problem)) => Err(Unusable::new(certificate_setting, problem)),
        None => Err(Unusable::new(certificate_setting, "it holds no certificate")),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests;
