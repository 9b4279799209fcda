//! Settings of TLS and authentication, and the combinations of them that cannot work.
//!
//! Everything found here is found before anything is bound. What depends on the server's certificate is found when it
//! is seen: see `security.rs`.

use std::path::PathBuf;

use super::address::url_parameter;
use super::layers::Layers;
use super::values::some_text;
use super::{Address, Config, ConfigError, Secret};
use crate::security::Snapshot;

/// TLS on both legs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whether clients may or must use TLS.
    pub client_tls: ClientTls,
    /// What clients are shown: the certificate, then what its authority needs (PEM).
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<PathBuf>,
    /// Whether the upstream may or must use TLS, and what is checked.
    pub upstream_tls: UpstreamTls,
    /// Who may sign the upstream's certificate.
    pub upstream_ca: Option<Roots>,
    /// What the upstream is shown (PEM).
    pub upstream_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub upstream_key: Option<PathBuf>,
    /// How TLS with the upstream begins.
    pub upstream_negotiation: Negotiation,
}

/// TLS towards clients. Unix sockets have none, and CancelRequests are taken in plain always, as old drivers send them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientTls {
    /// Clients that ask are told that there is none.
    #[default]
    Disable,
    /// Clients choose.
    Allow,
    /// Clients without TLS are refused.
    Require,
}

/// TLS towards the upstream: libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpstreamTls {
    /// Never.
    #[default]
    Disable,
    /// If the server has it; nothing is checked.
    Prefer,
    /// Always; the certificate's chain is checked if roots are named.
    Require,
    /// Always; the certificate's chain is checked.
    VerifyCa,
    /// Always; the certificate's chain and name are checked.
    VerifyFull,
}

/// Who may sign the upstream's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The certificates of a file (PEM).
    File(PathBuf),
    /// Those that this system trusts.
    System,
}

/// How TLS with the upstream begins: libpq's `sslnegotiation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Negotiation {
    /// With TLS itself; PostgreSQL 17 and later.
    Direct,
    /// With an SSLRequest.
    #[default]
    Postgres,
}

/// Who checks clients' passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// Who it is.
    pub mode: AuthMode,
    /// Users and their SCRAM verifiers, one per line.
    pub auth_file: Option<PathBuf>,
    /// Asks for the SCRAM verifier of the user `$1`.
    pub auth_query: Option<String>,
    /// Who asks.
    pub query_user: Option<String>,
    /// Where.
    pub query_database: String,
    /// With which password; none where the server knows the user by its certificate or socket.
    pub query_password: Option<Secret>,
    /// What the salts of users who do not exist are made of, the same in all replicas.
    pub mock_secret: Option<Secret>,
}

/// Who checks clients' passwords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// The server; pgtally forwards what both say.
    #[default]
    Relay,
    /// pgtally, with verifiers, and then the server, with what the client has proved.
    Terminate,
}

/// Reads all of them.
pub(super) fn tls_settings(layers: &mut Layers) -> TlsSettings {
    let of_url = layers.texts("relay.upstream").iter().find_map(|text| url_parameter(text, "sslmode"));
    if let Some(mode) = of_url {
        layers.default_from("tls.upstream_tls", mode_of(&mode), "relay.upstream");
    }
    let certificate = layers.one("tls.certificate", path);
    let default = if certificate.is_some() { "allow" } else { "disable" };
    TlsSettings {
        client_tls: layers.or("tls.client_tls", default, client_tls),
        certificate,
        key: layers.one("tls.key", path),
        upstream_tls: layers.or("tls.upstream_tls", "disable", upstream_tls),
        upstream_ca: layers.one("tls.upstream_ca", roots),
        upstream_certificate: layers.one("tls.upstream_certificate", path),
        upstream_key: layers.one("tls.upstream_key", path),
        upstream_negotiation: layers.or("tls.upstream_negotiation", "postgres", negotiation),
    }
}

/// See [`tls_settings`].
pub(super) fn auth_settings(layers: &mut Layers) -> AuthSettings {
    AuthSettings {
        mode: layers.or("auth.mode", "relay", auth_mode),
        auth_file: layers.one("auth.auth_file", path),
        auth_query: layers.one("auth.auth_query", some_text),
        query_user: layers.one("auth.query_user", some_text),
        query_database: layers.or("auth.query_database", "postgres", some_text),
        query_password: layers.secret("auth.query_password", some_text),
        mock_secret: layers.secret("auth.mock_secret", long_text),
    }
}

/// What is wrong with values that are fine each for itself, files included.
pub(super) fn contradictions(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut refuse = |path: &str, problem: &str, hint: &str| errors.push(error(path, problem, hint));
    refuse_tls(config, &mut refuse);
    refuse_auth(&config.auth, &mut refuse);
    if errors.is_empty() {
        // The files are looked into only when it is clear which of them count.
        errors.extend(Snapshot::first(config).err().into_iter().flat_map(|errors| errors.0));
    }
    errors
}

fn refuse_tls(config: &Config, refuse: &mut impl FnMut(&str, &str, &str)) {
    let tls = &config.tls;
    let pairs = [
        ("tls.certificate", &tls.certificate, "tls.key", &tls.key),
        ("tls.upstream_certificate", &tls.upstream_certificate, "tls.upstream_key", &tls.upstream_key),
    ];
    for (one_path, one, other_path, other) in pairs {
        match (one, other) {
            (Some(_), None) => {
                refuse(one_path, "a certificate without its key", &format!("set {other_path}"))
            }
            (None, Some(_)) => {
                refuse(other_path, "a key without its certificate", &format!("set {one_path}"))
            }
            _ => {}
        }
    }
    if tls.client_tls != ClientTls::Disable && tls.certificate.is_none() {
        refuse("tls.client_tls", "TLS needs a certificate to show", "set tls.certificate and tls.key");
    }
    let is_unix = |address: &Address| matches!(address, Address::Unix(_));
    if tls.upstream_tls >= UpstreamTls::Require && config.upstreams.iter().any(is_unix) {
        refuse(
            "tls.upstream_tls",
            "it demands TLS, and PostgreSQL has none on Unix sockets",
            "name the upstream's host and port, or set it to \"disable\": a Unix socket leaves the machine never",
        );
    }
    if tls.upstream_tls == UpstreamTls::VerifyCa && !matches!(tls.upstream_ca, Some(Roots::File(_))) {
        refuse(
            "tls.upstream_tls",
            "verify-ca with the system's authorities trusts everybody who has any certificate of theirs",
            "name your authority's file in tls.upstream_ca, or use verify-full",
        );
    }
    if tls.upstream_tls < UpstreamTls::VerifyCa && tls.upstream_ca == Some(Roots::System) {
        refuse(
            "tls.upstream_ca",
            "the system's authorities vouch for names, and this mode does not check the name",
            "use tls.upstream_tls = \"verify-full\"",
        );
    }
    if tls.upstream_negotiation == Negotiation::Direct && tls.upstream_tls < UpstreamTls::Require {
        refuse(
            "tls.upstream_negotiation",
            "direct TLS leaves the server no way to decline",
            "use tls.upstream_tls = \"require\" or stronger",
        );
    }
}

fn refuse_auth(auth: &AuthSettings, refuse: &mut impl FnMut(&str, &str, &str)) {
    let is_terminated = auth.mode == AuthMode::Terminate;
    match (&auth.auth_file, &auth.auth_query) {
        (None, None) if is_terminated => refuse(
            "auth.mode",
            "pgtally can check nobody without verifiers",
            "set auth.auth_file or auth.auth_query",
        ),
        (Some(_), Some(_)) => {
            refuse("auth.auth_query", "verifiers come from one place only", "remove it or auth.auth_file");
        }
        (Some(_), _) | (_, Some(_)) if !is_terminated => refuse(
            "auth.mode",
            "verifiers are named, and nobody would use them",
            "set it to \"terminate\", or remove auth.auth_file and auth.auth_query",
        ),
        _ => {}
    }
    if auth.auth_query.is_some() && auth.query_user.is_none() {
        refuse(
            "auth.auth_query",
            "it needs a user who may ask",
            "set auth.query_user, and auth.query_password_file where it has a password",
        );
    }
    if auth.auth_query.as_ref().is_some_and(|query| !query.contains("$1")) {
        refuse("auth.auth_query", "it does not ask for the user", "the user's name is its parameter $1");
    }
}

/// An error of values that can be read.
pub(crate) fn error(path: &str, problem: &str, hint: &str) -> ConfigError {
    let origin = "the effective configuration".to_owned();
    ConfigError { path: path.into(), origin, problem: problem.into(), hint: hint.into() }
}

/// What libpq's `sslmode` is here; libpq's `allow` tries plain first, which is what `disable` does.
fn mode_of(sslmode: &str) -> &str {
    match sslmode {
        "allow" => "disable",
        "disable" | "prefer" | "require" | "verify-ca" => sslmode,
        // A word nobody knows must not mean less than was wanted.
        _ => "verify-full",
    }
}

/// A secret that nobody guesses by trying.
fn long_text(text: &str) -> Result<String, String> {
    const BYTES_MIN: usize = 16;
    if text.len() < BYTES_MIN { Err(format!("shorter than {BYTES_MIN} bytes")) } else { Ok(text.into()) }
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("no path".into()) } else { Ok(text.into()) }
}

fn roots(text: &str) -> Result<Roots, String> {
    if text == "system" { Ok(Roots::System) } else { path(text).map(Roots::File) }
}

fn client_tls(text: &str) -> Result<ClientTls, String> {
    match text {
        "disable" => Ok(ClientTls::Disable),
        "allow" => Ok(ClientTls::Allow),
        "require" => Ok(ClientTls::Require),
        _ => Err("none of disable, allow, require".into()),
    }
}

fn upstream_tls(text: &str) -> Result<UpstreamTls, String> {
    match text {
        "disable" => Ok(UpstreamTls::Disable),
        "prefer" => Ok(UpstreamTls::Prefer),
        "require" => Ok(UpstreamTls::Require),
        "verify-ca" => Ok(UpstreamTls::VerifyCa),
        "verify-full" => Ok(UpstreamTls::VerifyFull),
        _ => Err("none of disable, prefer, require, verify-ca, verify-full".into()),
    }
}

fn negotiation(text: &str) -> Result<Negotiation, String> {
    match text {
        "direct" => Ok(Negotiation::Direct),
        "postgres" => Ok(Negotiation::Postgres),
        _ => Err("neither postgres nor direct".into()),
    }
}

fn auth_mode(text: &str) -> Result<AuthMode, String> {
    match text {
        "relay" => Ok(AuthMode::Relay),
        "terminate" => Ok(AuthMode::Terminate),
        _ => Err("neither relay nor terminate".into()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, UpstreamTls};

    /// Paths of the errors that these settings have.
    fn refused(settings: &[(&'static str, &str)]) -> Vec<String> {
        let flags = settings.iter().map(|(path, value)| (*path, vec![(*value).to_owned()]));
        match Config::load(None, [], flags) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.0.into_iter().map(|error| error.path).collect(),
        }
    }

    #[test]
    fn combinations_that_cannot_work_are_refused() {
        let check = |settings: &[(&'static str, &str)], expected: &[&str]| {
            assert_eq!(refused(settings), expected, "{settings:?}");
        };
        check(&[("tls.client_tls", "require")], &["tls.client_tls"]);
        check(&[("tls.client_tls", "yes")], &["tls.client_tls"]);
        check(&[("tls.certificate", "/nowhere/it")], &["tls.certificate"]);
        check(&[("tls.certificate", "/nowhere/it"), ("tls.key", "/nowhere/it")], &["tls.certificate"]);
        check(&[("tls.upstream_key", "/nowhere/it")], &["tls.upstream_key"]);
        check(&[("tls.upstream_tls", "verify-ca")], &["tls.upstream_tls"]);
        check(&[("tls.upstream_tls", "require"), ("tls.upstream_ca", "system")], &["tls.upstream_ca"]);
        check(&[("tls.upstream_tls", "verify-ca"), ("tls.upstream_ca", "/nowhere/it")], &["tls.upstream_ca"]);
        check(&[("tls.upstream_negotiation", "direct")], &["tls.upstream_negotiation"]);
        check(&[("tls.upstream_tls", "require"), ("relay.upstream", "/nowhere/it")], &["tls.upstream_tls"]);
        check(&[("auth.mode", "terminate")], &["auth.mode"]);
        check(&[("auth.auth_file", "/nowhere/it")], &["auth.mode"]);
        check(&[("auth.mode", "terminate"), ("auth.auth_file", "/nowhere/it")], &["auth.auth_file"]);
        check(
            &[("auth.mode", "terminate"), ("auth.auth_query", "SELECT 1")],
            &["auth.auth_query", "auth.auth_query"],
        );
        check(&[("auth.mock_secret", "too short")], &["auth.mock_secret"]);
        check(&[("tls.upstream_tls", "require")], &[]);
        check(&[("tls.upstream_tls", "prefer")], &[]);
    }

    #[test]
    fn the_urls_sslmode_counts_where_the_setting_is_silent() {
        let mode = |url: &str, setting: Option<&str>| {
            let upstream = ("relay.upstream", vec![url.to_owned()]);
            let setting = setting.map(|mode| ("tls.upstream_tls", vec![mode.to_owned()]));
            Config::load(None, [], [upstream].into_iter().chain(setting)).unwrap().tls.upstream_tls
        };
        assert_eq!(mode("postgres://db", None), UpstreamTls::Disable);
        assert_eq!(mode("postgres://db/x?sslmode=prefer", None), UpstreamTls::Prefer);
        assert_eq!(mode("postgres://db/x?sslmode=require", None), UpstreamTls::Require);
        assert_eq!(mode("postgres://db/x?sslmode=require", Some("prefer")), UpstreamTls::Prefer);
        assert_eq!(mode("db:5432", None), UpstreamTls::Disable);
    }
}
