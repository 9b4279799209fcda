//! The validated configuration: ready values, all errors found before anything is bound.
//!
//! Precedence: flag, environment (`PGTALLY__SECTION__KEY`), one TOML file, default. Every setting is one row in
//! [`Config::load`]; a key without a row is an error.

mod address;
mod layers;

use std::net::SocketAddr;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use pgtally_analysis::{FindingSettings, ObserverSettings};

pub use self::address::{parse_listen, parse_upstream};
use self::layers::Layers;
pub use self::layers::{ConfigError, ConfigErrors};
use crate::socket::Address;

/// Everything a proxy needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: Vec<Address>,
    /// Where sessions go.
    pub upstream: Address,
    /// Longest time to connect to the upstream.
    pub connect_timeout: Duration,
    /// Worker threads.
    pub workers: usize,
    /// Whether sessions are observed at all.
    pub is_analysis_on: bool,
    /// Time that sessions have to end after the first signal.
    pub drain_timeout: Duration,
    /// Where metrics and the API are served; `None` switches them off.
    pub admin: Option<SocketAddr>,
    /// Bearer token of the admin listener.
    pub admin_token: Option<String>,
    /// How statements are assigned to requests.
    pub observer: ObserverSettings,
    /// Thresholds of the rules.
    pub findings: FindingSettings,
    /// How logs are written.
    pub log_format: LogFormat,
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
        let mut layers = Layers::read(file, environment, flags);
        let listen = layers.list("relay.listen", parse_listen).unwrap_or_default();
        let listen =
            if listen.is_empty() { parse_listen(DEFAULT_LISTEN).into_iter().collect() } else { listen };
        let default_upstream = Address::Tcp("127.0.0.1".into(), 5432);
        let config = Self {
            listen,
            upstream: layers.one("relay.upstream", parse_upstream).unwrap_or(default_upstream),
            connect_timeout: layers.one("relay.connect_timeout", duration).unwrap_or(Duration::from_secs(10)),
            workers: layers.one("relay.workers", workers).unwrap_or_else(default_workers),
            is_analysis_on: layers.one("relay.analysis", switch).unwrap_or(true),
            drain_timeout: layers.one("relay.drain_timeout", duration).unwrap_or(Duration::from_secs(10)),
            admin: layers.one("admin.listen", admin_address).unwrap_or_else(|| DEFAULT_ADMIN.parse().ok()),
            admin_token: layers.one("admin.token", token),
            observer: observer_settings(&mut layers),
            findings: finding_settings(&mut layers),
            log_format: layers.one("log.format", log_format).unwrap_or(LogFormat::Auto),
        };
        if let Some(admin) =
            config.admin.filter(|admin| !admin.ip().is_loopback() && config.admin_token.is_none())
        {
            layers.refuse(
                "admin.listen",
                &format!("{admin} can be reached from other machines"),
                "set admin.token (PGTALLY__ADMIN__TOKEN), or listen on 127.0.0.1",
            );
        }
        if config.listen.contains(&config.upstream) {
            layers.refuse(
                "relay.upstream",
                &format!("{} is where pgtally itself listens", config.upstream),
                "name PostgreSQL's address, or choose another relay.listen",
            );
        }
        layers.finish(config)
    }
}

fn observer_settings(layers: &mut Layers) -> ObserverSettings {
    let mut settings = ObserverSettings::default();
    if let Some(gap) = layers.one("requests.idle_gap", duration) {
        settings.idle_gap_ns = nanoseconds(gap);
    }
    if let Some(tags) = layers.list("requests.id_tags", tag_name) {
        settings.id_tags = tags;
    }
    settings
}

fn finding_settings(layers: &mut Layers) -> FindingSettings {
    let mut settings = layers.one("findings.mode", mode).unwrap_or_default();
    let mut repeats = |path, field: &mut u32| {
        if let Some(value) = layers.one(path, repeats_min) {
            *field = value;
        }
    };
    repeats("findings.n_plus_one_repeats", &mut settings.linked_repeats_min);
    repeats("findings.n_plus_one_unlinked_repeats", &mut settings.unlinked_repeats_min);
    repeats("findings.n_plus_one_write_repeats", &mut settings.write_round_trips_min);
    repeats("findings.duplicate_repeats", &mut settings.duplicate_repeats_min);
    if let Some(slow) = layers.one("findings.slow_statement", duration) {
        settings.slow_ns = Some(nanoseconds(slow));
    }
    settings
}

fn default_workers() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `250ms`, `10s`, `5min`, `1h`; also `100us`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "not a duration: write 250ms, 10s or 5min".to_owned())?;
    let unit_us: u64 = match unit.trim() {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        "" => return Err("the unit is missing: write 250ms, 10s or 5min".into()),
        _ => return Err("not a unit of time: us, ms, s, min or h".into()),
    };
    let duration = number.checked_mul(unit_us).map(Duration::from_micros);
    duration.filter(|duration| !duration.is_zero()).ok_or_else(|| "out of range".into())
}

fn workers(text: &str) -> Result<usize, String> {
    let workers = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1..=1_024).contains(&workers) { Ok(workers) } else { Err("not between 1 and 1024".into()) }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("neither on nor off".into()),
    }
}

fn admin_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse().map(Some).map_err(|_| "not an address: write 127.0.0.1:9187, [::1]:9187 or off".into())
}

fn token(text: &str) -> Result<String, String> {
    let is_fit = text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_fit { Ok(text.into()) } else { Err("shorter than 16 characters, or not printable ASCII".into()) }
}

fn tag_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 64 { Err("not a tag name".into()) } else { Ok(text.into()) }
}

fn mode(text: &str) -> Result<FindingSettings, String> {
    match text {
        "production" => Ok(FindingSettings::default()),
        "run" => Ok(FindingSettings::run_mode()),
        _ => Err("neither production nor run".into()),
    }
}

fn repeats_min(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|repeats| *repeats >= 2).ok_or_else(|| "not a number of at least 2".into())
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("none of auto, json, text".into()),
    }
}

#[cfg(test)]
mod tests;
