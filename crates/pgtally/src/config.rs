//! The validated configuration: ready values, all errors found before anything is bound.
//!
//! Precedence: flag, environment (`PGTALLY__SECTION__KEY`), one TOML file, default. Every setting is one row in
//! [`Config::load`]; a key without a row is an error. A new setting counts from the next reload on unless it is named
//! in `reload.rs`. Read `layers.rs` for how values are found, `values.rs` for how they are written.

mod address;
mod baselines;
mod cache;
mod console;
mod effective;
mod findings;
mod layers;
mod reload;
mod secret;
mod security;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use ipnet::IpNet;
use pgtally_analysis::{FindingSettings, ObserverSettings};

use self::address::url_parameter;
pub use self::address::{parse_listen, parse_upstreams};
pub use self::baselines::BaselineSettings;
pub use self::cache::CacheSettings;
pub use self::console::ConsoleSettings;
pub use self::effective::Effective;
use self::layers::Layers;
pub use self::layers::{ConfigError, ConfigErrors};
pub use self::reload::Reloaded;
pub use self::secret::Secret;
pub(crate) use self::security::error;
pub use self::security::{AuthMode, AuthSettings, ClientTls, Negotiation, Roots, TlsSettings, UpstreamTls};
use self::values::{
    admin_address, client_addr_form, duration, log_format, log_level, network, optional_duration,
    session_attrs, sessions_max, some_text, switch, tag_name, tells_values, token, workers,
};
use crate::console::Access;
use crate::socket::Address;

/// Everything a proxy needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: Vec<Address>,
    /// Where sessions go, in order of preference. Never empty.
    pub upstreams: Vec<Address>,
    /// Which of the upstreams a session may have.
    pub session_attrs: SessionAttrs,
    /// The account that asks the upstreams what they are.
    pub probe: Option<ProbeAccount>,
    /// Time between two questions of the prober to one upstream.
    pub probe_interval: Duration,
    /// The account that reads the servers' definitions for the cache, and asks for plans.
    pub inspect: Option<InspectAccount>,
    /// Whether the web page may ask for plans.
    pub explains: bool,
    /// How long sockets wait for their peers.
    pub socket: SocketSettings,
    /// Time that a client has for its startup packet, and for what stands before it.
    pub startup_timeout: Duration,
    /// Worker threads.
    pub workers: usize,
    /// Whether sessions are observed at all.
    pub is_analysis_on: bool,
    /// Time that sessions have to end after the first signal.
    pub drain_timeout: Duration,
    /// Time that the sessions of the replaced process have to end after an upgrade.
    pub upgrade_timeout: Duration,
    /// How many sessions there may be.
    pub limits: SessionLimits,
    /// Whether connections begin with a header of the PROXY protocol.
    pub has_proxy_header: bool,
    /// Who may send such a header; empty for everybody.
    pub proxy_header_from: Vec<IpNet>,
    /// How the server is told the client's address.
    pub client_addr: ClientAddrForm,
    /// Whether tags are taken out of the texts of prepared statements.
    pub lifts_comments: bool,
    /// TLS on both legs.
    pub tls: TlsSettings,
    /// Who checks clients' passwords.
    pub auth: AuthSettings,
    /// Where metrics and the API are served; `None` switches them off.
    pub admin: Option<SocketAddr>,
    /// Bearer token of the admin listener.
    pub admin_token: Option<Secret>,
    /// Whether the live tap may be listened to.
    pub has_tap: bool,
    /// Whether the live tap tells values.
    pub tells_values: bool,
    /// How statements are assigned to requests.
    pub observer: ObserverSettings,
    /// Thresholds of the rules.
    pub findings: FindingSettings,
    /// The SQL console.
    pub console: ConsoleSettings,
    /// What routes usually run.
    pub baselines: BaselineSettings,
    /// The cache of tagged reads.
    pub cache: CacheSettings,
    /// How logs are written.
    pub log_format: LogFormat,
    /// What is logged: `error` to `trace`, or `off`.
    pub log_level: String,
    effective: Vec<Effective>,
    sources: Arc<Sources>,
}

/// Which servers a session may have, with libpq's names and meanings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionAttrs {
    /// Any that can be reached.
    #[default]
    Any,
    /// One whose transactions may write.
    ReadWrite,
    /// One whose transactions may not.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is.
    Standby,
    /// One that is in recovery if there is any, else any.
    PreferStandby,
}

impl SessionAttrs {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Any, Self::ReadWrite, Self::ReadOnly, Self::Primary, Self::Standby, Self::PreferStandby];

    /// As libpq writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        }
    }
}

/// The account that reads definitions, in the database of whatever session needs them, and asks for plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectAccount {
    /// Role.
    pub user: String,
    /// Its password, where the server wants one.
    pub password: Option<Secret>,
}

/// The account of the prober.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeAccount {
    /// Role.
    pub user: String,
    /// Its password, where the server wants one.
    pub password: Option<Secret>,
    /// Database to connect to.
    pub database: String,
}

/// How long sockets wait for their peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketSettings {
    /// Longest time to connect to the upstream.
    pub connect_timeout: Duration,
    /// Idle time before the kernel probes a peer, and between its probes; `None` switches it off.
    pub keepalive: Option<Duration>,
    /// Time that sent bytes may stay unacknowledged before the kernel breaks the connection; `None` for its own.
    pub tcp_user_timeout: Option<Duration>,
}

/// How many sessions there may be; `None` for any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLimits {
    /// In all.
    pub total: Option<u32>,
    /// From one address.
    pub per_source: Option<u32>,
    /// Of one user name, as written in the startup packet.
    pub per_user: Option<u32>,
}

/// How the server is told the client's address. Both change the startup packet, which is otherwise left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientAddrForm {
    /// As the value of the setting `pgtally.client_addr`.
    pub setting: bool,
    /// As an end of `application_name`.
    pub application_name: bool,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object per line.
    Json,
    /// Lines for people.
    Text,
}

/// Where clients connect when nothing is said.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:6432";
/// The admin listener when nothing is said.
pub const DEFAULT_ADMIN: &str = "127.0.0.1:9187";
/// The upstream when nothing is said.
pub const DEFAULT_UPSTREAM: &str = "127.0.0.1:5432";

/// A setting given on the command line: path and values.
pub type Flag = (&'static str, Vec<String>);

/// What a configuration was read from.
struct Sources {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    flags: Vec<Flag>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Variables and flags may hold secrets.
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Config {
    /// Reads all layers.
    ///
    /// `environment` holds all variables of the process; `DATABASE_URL` names the upstream where nothing else does.
    ///
    /// # Errors
    /// All errors of all layers at once.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = Flag>,
    ) -> Result<Self, ConfigErrors> {
        let environment = environment.into_iter().filter(|(name, _)| layers::is_variable(name));
        let sources = Sources {
            file: file.map(Path::to_path_buf),
            environment: environment.collect(),
            flags: flags.into_iter().collect(),
        };
        let mut layers =
            Layers::read(file, sources.environment.iter().cloned(), sources.flags.iter().cloned());
        let mut config = Self::of(&mut layers, sources);
        let (effective, mut errors) = layers.finish();
        config.effective = effective;
        errors.extend(contradictions(&config));
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    fn of(layers: &mut Layers, sources: Sources) -> Self {
        layers.default_to("relay.listen", DEFAULT_LISTEN);
        layers.default_to("relay.upstream", DEFAULT_UPSTREAM);
        let attrs = |text: &String| url_parameter(text, "target_session_attrs");
        if let Some(attrs) = layers.texts("relay.upstream").iter().find_map(attrs) {
            layers.default_from("relay.target_session_attrs", &attrs, "relay.upstream");
        }
        // Before the upstream: its URL may name the mode of TLS.
        let tls = security::tls_settings(layers);
        let default_workers = available_parallelism().map_or(1, usize::from).to_string();
        Self {
            listen: layers.list("relay.listen", parse_listen).unwrap_or_default(),
            upstreams: layers.each("relay.upstream", parse_upstreams).unwrap_or_default(),
            session_attrs: layers.or("relay.target_session_attrs", "any", session_attrs),
            probe: probe_account(layers),
            probe_interval: layers.or("probe.interval", "1s", duration),
            inspect: inspect_account(layers),
            explains: layers.or("inspect.explain", "off", switch),
            socket: SocketSettings {
                connect_timeout: layers.or("relay.connect_timeout", "10s", duration),
                keepalive: layers.or("relay.keepalive", "60s", optional_duration),
                tcp_user_timeout: layers.or("relay.tcp_user_timeout", "off", optional_duration),
            },
            // PostgreSQL's own `authentication_timeout`.
            startup_timeout: layers.or("relay.startup_timeout", "60s", duration),
            workers: layers.or("relay.workers", &default_workers, workers),
            is_analysis_on: layers.or("relay.analysis", "on", switch),
            drain_timeout: layers.or("relay.drain_timeout", "10s", duration),
            upgrade_timeout: layers.or("relay.upgrade_timeout", "1h", duration),
            limits: SessionLimits {
                total: layers.or("limits.max_sessions", "unlimited", sessions_max),
                per_source: layers.or("limits.max_sessions_per_source", "unlimited", sessions_max),
                per_user: layers.or("limits.max_sessions_per_user", "unlimited", sessions_max),
            },
            has_proxy_header: layers.or("relay.proxy_protocol", "off", switch),
            proxy_header_from: layers.list("relay.proxy_protocol_from", network).unwrap_or_default(),
            client_addr: layers.or("relay.client_addr", "off", client_addr_form),
            lifts_comments: layers.or("relay.lift_comments", "off", switch),
            tls,
            auth: security::auth_settings(layers),
            admin: layers.or("admin.listen", DEFAULT_ADMIN, admin_address),
            admin_token: layers.secret("admin.token", token),
            has_tap: layers.or("admin.tap", "on", switch),
            tells_values: layers.or("capture.parameters", "hash", tells_values),
            observer: observer_settings(layers),
            findings: findings::finding_settings(layers),
            baselines: baselines::baseline_settings(layers),
            cache: cache::cache_settings(layers),
            console: console::console_settings(layers),
            log_format: layers.or("log.format", "auto", log_format),
            log_level: layers.or("log.level", "info", log_level),
            effective: Vec::new(),
            sources: Arc::new(sources),
        }
    }

    /// Every setting with the value that counts, in the order of their paths.
    #[must_use]
    pub fn effective(&self) -> Vec<&Effective> {
        let mut settings: Vec<_> = self.effective.iter().collect();
        settings.sort_by(|one, two| one.path.cmp(&two.path));
        settings
    }
}

/// What is wrong with values that are fine each for itself.
fn contradictions(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut refuse = |path: &str, problem: String, hint: &str| {
        let origin = "the effective configuration".to_owned();
        errors.push(ConfigError { path: path.into(), origin, problem, hint: hint.into() });
    };
    if let Some(admin) =
        config.admin.filter(|admin| !admin.ip().is_loopback() && config.admin_token.is_none())
    {
        refuse(
            "admin.listen",
            format!("{admin} can be reached from other machines"),
            "set admin.token (PGTALLY__ADMIN__TOKEN), or listen on 127.0.0.1",
        );
    }
    for upstream in config.upstreams.iter().filter(|upstream| config.listen.contains(upstream)) {
        refuse(
            "relay.upstream",
            format!("{upstream} is where pgtally itself listens"),
            "name PostgreSQL's address, or choose another relay.listen",
        );
    }
    if config.session_attrs != SessionAttrs::Any && config.probe.is_none() {
        refuse(
            "relay.target_session_attrs",
            format!("{} needs an account that asks the servers what they are", config.session_attrs.name()),
            "set probe.user to a role that may log in and nothing else, and probe.password where it has one",
        );
    }
    if config.explains && config.inspect.is_none() {
        refuse(
            "inspect.explain",
            "plans need an account that asks for them".into(),
            "set inspect.user to a role that may read the tables and nothing else, and inspect.password where it has one",
        );
    }
    if !config.proxy_header_from.is_empty() && !config.has_proxy_header {
        refuse(
            "relay.proxy_protocol_from",
            "it says who may send a header of the PROXY protocol, and nobody may".into(),
            "set relay.proxy_protocol = \"on\", or remove it",
        );
    }
    if Access::lacks_verifiers(config) {
        refuse(
            "console.admins",
            "nobody could check the passwords of those who may use the console".into(),
            "set console.auth_file, or auth.mode = \"terminate\"",
        );
    }
    errors.extend(security::contradictions(config));
    errors
}

fn inspect_account(layers: &mut Layers) -> Option<InspectAccount> {
    let user = layers.one("inspect.user", some_text);
    let password = layers.secret("inspect.password", some_text);
    user.map(|user| InspectAccount { user, password })
}

fn probe_account(layers: &mut Layers) -> Option<ProbeAccount> {
    let user = layers.one("probe.user", some_text);
    let password = layers.secret("probe.password", some_text);
    let database = layers.or("probe.database", "postgres", some_text);
    user.map(|user| ProbeAccount { user, password, database })
}

fn observer_settings(layers: &mut Layers) -> ObserverSettings {
    let mut settings = ObserverSettings::default();
    layers.default_to("requests.idle_gap", "100ms");
    if let Some(gap) = layers.one("requests.idle_gap", duration) {
        settings.idle_gap_ns = nanoseconds(gap);
    }
    layers.default_to("requests.id_tags", &settings.id_tags.join(","));
    if let Some(tags) = layers.list("requests.id_tags", tag_name) {
        settings.id_tags = tags;
    }
    settings
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
