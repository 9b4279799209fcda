//! One parser per kind of value: text in, value or words that say what is wrong. The words never repeat the text,
//! which may be a secret.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use pgtally_analysis::FindingSettings;

use super::{ClientAddrForm, LogFormat, SessionAttrs};

/// `250ms`, `10s`, `5min`, `1h`; also `100us`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
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

/// A duration, or `off`.
pub(super) fn optional_duration(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" { Ok(None) } else { duration(text).map(Some) }
}

pub(super) fn workers(text: &str) -> Result<usize, String> {
    let workers = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1..=1_024).contains(&workers) { Ok(workers) } else { Err("not between 1 and 1024".into()) }
}

/// A number of sessions, or `unlimited`.
pub(super) fn sessions_max(text: &str) -> Result<Option<u32>, String> {
    if text == "unlimited" {
        return Ok(None);
    }
    let sessions = text.parse().ok().filter(|sessions| *sessions >= 1);
    sessions.map(Some).ok_or_else(|| "neither a number of at least 1 nor unlimited".into())
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("neither on nor off".into()),
    }
}

pub(super) fn tells_values(text: &str) -> Result<bool, String> {
    match text {
        "full" => Ok(true),
        "hash" => Ok(false),
        _ => Err("neither hash nor full".into()),
    }
}

pub(super) fn session_attrs(text: &str) -> Result<SessionAttrs, String> {
    SessionAttrs::ALL
        .into_iter()
        .find(|attrs| attrs.name() == text)
        .ok_or_else(|| "none of any, read-write, read-only, primary, standby, prefer-standby".into())
}

pub(super) fn client_addr_form(text: &str) -> Result<ClientAddrForm, String> {
    match text {
        "off" => Ok(ClientAddrForm { setting: false, application_name: false }),
        "setting" => Ok(ClientAddrForm { setting: true, application_name: false }),
        "application_name" => Ok(ClientAddrForm { setting: false, application_name: true }),
        "both" => Ok(ClientAddrForm { setting: true, application_name: true }),
        _ => Err("none of off, setting, application_name, both".into()),
    }
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
    network.map_err(|_| "neither an address nor a network such as 10.0.0.0/8".into())
}

pub(super) fn admin_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse().map(Some).map_err(|_| "not an address: write 127.0.0.1:9187, [::1]:9187 or off".into())
}

pub(super) fn token(text: &str) -> Result<String, String> {
    let is_fit = text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_fit { Ok(text.into()) } else { Err("shorter than 16 characters, or not printable ASCII".into()) }
}

pub(super) fn some_text(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("empty".into()) } else { Ok(text.into()) }
}

pub(super) fn tag_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 64 { Err("not a tag name".into()) } else { Ok(text.into()) }
}

pub(super) fn mode(text: &str) -> Result<FindingSettings, String> {
    match text {
        "production" => Ok(FindingSettings::default()),
        "run" => Ok(FindingSettings::run_mode()),
        _ => Err("neither production nor run".into()),
    }
}

pub(super) fn repeats_min(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|repeats| *repeats >= 2).ok_or_else(|| "not a number of at least 2".into())
}

/// A number of requests that says something.
pub(super) fn requests_min(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|requests| *requests >= 1).ok_or_else(|| "not a number of at least 1".into())
}

/// A factor above 1, such as 1.5.
pub(super) fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor > 1.0);
    factor.ok_or_else(|| "not a number above 1, such as 1.5".into())
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("none of auto, json, text".into()),
    }
}

pub(super) fn log_level(text: &str) -> Result<String, String> {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    if levels.contains(&text) {
        Ok(text.into())
    } else {
        Err("none of error, warn, info, debug, trace, off".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units() {
        let check =
            |text: &str, expected: Option<Duration>| assert_eq!(duration(text).ok(), expected, "{text}");
        check("250ms", Some(Duration::from_millis(250)));
        check("5 min", Some(Duration::from_secs(300)));
        check("10", None);
        check("0s", None);
        check("99999999999999h", None);
        check("-1s", None);
        check("1parsec", None);
    }

    #[test]
    fn limits_are_numbers_or_none() {
        let check = |text: &str, expected: Option<Option<u32>>| assert_eq!(sessions_max(text).ok(), expected);
        check("unlimited", Some(None));
        check("1", Some(Some(1)));
        check("0", None);
        check("-1", None);
        check("99999999999", None);
    }

    #[test]
    fn networks_may_be_single_addresses() {
        assert!(network("10.0.0.0/8").unwrap().contains(&"10.1.2.3".parse::<std::net::IpAddr>().unwrap()));
        assert_eq!(network("::1").unwrap().prefix_len(), 128);
        assert!(network("10.0.0.0/99").is_err());
    }
}
