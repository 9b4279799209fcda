//! Addresses as people write them: `--listen` and `--upstream`.
//!
//! An upstream is a `postgres://` URL (user and password in it are of no use to a relay: clients authenticate
//! themselves), `unix:/path`, a path, or `host:port`. Where a path is a directory, the socket in it is PostgreSQL's
//! `.s.PGSQL.<port>`. Several upstreams are written as for libpq.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

use crate::socket::Address;

/// PostgreSQL's port.
const DEFAULT_PORT: u16 = 5432;

/// Parses upstreams: one, or several in order of preference, as libpq writes them.
///
/// # Errors
/// Words that say what is wrong. They do not repeat the text, which may hold a password.
pub fn parse_upstreams(text: &str) -> Result<Vec<Address>, String> {
    let text = text.trim();
    if let Some(path) = unix_path(text) {
        return Ok(vec![Address::Unix(postgres_socket(path, DEFAULT_PORT))]);
    }
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return parse_urls(text);
    }
    if text.contains("://") {
        return Err("the scheme is not postgres:// or postgresql://".into());
    }
    let one = |text: &str| match unix_path(text) {
        Some(path) => Ok(Address::Unix(postgres_socket(path, DEFAULT_PORT))),
        None => host_and_port(text, Some(DEFAULT_PORT)).map(|(host, port)| Address::Tcp(host, port)),
    };
    text.split(',').map(|text| one(text.trim())).collect()
}

/// Value of a URL's parameter, such as `target_session_attrs`.
pub(super) fn url_parameter(text: &str, name: &str) -> Option<String> {
    let url = single_host_urls(text).into_iter().next()?;
    let url = Url::parse(&url).ok()?;
    url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).last()
}

/// Parses an address to listen on.
///
/// # Errors
/// Words that say what is wrong.
pub fn parse_listen(text: &str) -> Result<Address, String> {
    let text = text.trim();
    if let Some(path) = unix_path(text) {
        return Ok(Address::Unix(postgres_socket(path, DEFAULT_PORT)));
    }
    host_and_port(text, None).map(|(host, port)| Address::Tcp(host, port))
}

fn unix_path(text: &str) -> Option<&str> {
    text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text))
}

fn postgres_socket(path: &str, port: u16) -> PathBuf {
    let path = Path::new(path);
    if path.is_dir() { path.join(format!(".s.PGSQL.{port}")) } else { path.to_path_buf() }
}

fn parse_urls(text: &str) -> Result<Vec<Address>, String> {
    let urls =
        single_host_urls(text).into_iter().map(|url| parse_url(&url)).collect::<Result<Vec<_>, _>>()?;
    let names_hosts = |name| url_parameter(text, name).is_some();
    // Hosts among the parameters stand in the place of all others.
    let count = if names_hosts("host") || names_hosts("hostaddr") { 1 } else { urls.len() };
    Ok(urls.into_iter().take(count).flatten().collect())
}

/// `scheme://account@a:1,b:2/x` as one URL for each host: that is all that URLs proper can be.
fn single_host_urls(text: &str) -> Vec<String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Vec::new() };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let hosts_start = authority.rfind('@').map_or(0, |at| at + 1);
    let (account, hosts) = authority.split_at(hosts_start);
    hosts.split(',').map(|host| format!("{scheme}://{account}{host}{tail}")).collect()
}

/// The addresses that a URL with at most one host in its usual place means.
fn parse_url(text: &str) -> Result<Vec<Address>, String> {
    // `postgres://%2Fvar%2Frun/db` and `postgres:///db?host=/var/run` are libpq's spellings of a socket directory.
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    let host = match url.host_str() {
        Some(host) => decode(host.trim_start_matches('[').trim_end_matches(']'))?,
        None => String::new(),
    };
    let mut hosts = vec![host];
    let mut ports = vec![url.port().unwrap_or(DEFAULT_PORT)];
    for (key, value) in url.query_pairs() {
        match &*key {
            "host" | "hostaddr" => hosts = value.split(',').map(str::to_owned).collect(),
            "port" => ports = value.split(',').map(port).collect::<Result<_, _>>()?,
            _ => {}
        }
    }
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err("there are not as many ports as hosts".into());
    }
    let ports = ports.iter().copied().cycle();
    Ok(hosts.iter().zip(ports).map(|(host, port)| endpoint(host, port)).collect())
}

fn endpoint(host: &str, port: u16) -> Address {
    if host.starts_with('/') {
        // A URL names the directory, whether or not it exists yet.
        let path = Path::new(host);
        let is_socket = path.exists() && !path.is_dir();
        return Address::Unix(if is_socket { path.into() } else { path.join(format!(".s.PGSQL.{port}")) });
    }
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Address::Tcp(host.to_owned(), port)
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "the port is not a number below 65536".to_owned())
}

fn decode(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "the host is not UTF-8".to_owned())?;
    Ok(decoded.into_owned())
}

fn host_and_port(text: &str, default_port: Option<u16>) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => return Err("an IPv6 address needs brackets".into()),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(text) => self::port(text)?,
        None => default_port.ok_or("no port: write host:port")?,
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@') {
        return Err("the host is missing or no host name".into());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.into(), port)
    }

    #[test]
    fn upstreams_are_read_in_all_their_spellings() {
        let check =
            |text: &str, expected: Address| assert_eq!(parse_upstreams(text), Ok(vec![expected]), "{text}");
        check("postgres://db:5433", tcp("db", 5433));
        check("postgresql://ann:p%40ss@db.example/shop?sslmode=prefer", tcp("db.example", 5432));
        check("postgres://[::1]:5433/shop", tcp("::1", 5433));
        check("postgres:///shop", tcp("127.0.0.1", 5432));
        check("db", tcp("db", 5432));
        check("db:5433", tcp("db", 5433));
        let socket = |path: &str| Address::Unix(path.into());
        check("postgres:///shop?host=/nowhere/run&port=5433", socket("/nowhere/run/.s.PGSQL.5433"));
        check("postgres://%2Fnowhere%2Frun/shop", socket("/nowhere/run/.s.PGSQL.5432"));
        check("postgres://u@%2Fnowhere%2Frun:5433/shop", socket("/nowhere/run/.s.PGSQL.5433"));
        check("unix:/nowhere/run/x", socket("/nowhere/run/x"));
        check("/", socket("/.s.PGSQL.5432"));
    }

    #[test]
    fn several_upstreams_are_written_as_for_libpq() {
        let check = |text: &str, expected: &[Address]| {
            assert_eq!(parse_upstreams(text).as_deref(), Ok(expected), "{text}")
        };
        check("postgres://ann@a:1,b,[::1]:3/shop", &[tcp("a", 1), tcp("b", 5432), tcp("::1", 3)]);
        check("postgres:///shop?host=a,b&port=1,2", &[tcp("a", 1), tcp("b", 2)]);
        check("postgres://x,y/shop?host=a,b&port=7", &[tcp("a", 7), tcp("b", 7)]);
        check("a:1, b:2", &[tcp("a", 1), tcp("b", 2)]);
        let attrs = |text| url_parameter(text, "target_session_attrs");
        assert_eq!(attrs("postgres://a,b/x?target_session_attrs=primary"), Some("primary".into()));
        assert_eq!(attrs("a:1,b:2"), None);
    }

    #[test]
    fn refusals_do_not_repeat_the_text() {
        for text in [
            "mysql://u:secret@db",
            "postgres://u:secret@db:99999",
            "postgres://u:secret@a,b/x?host=a,b&port=1,2,3",
            "postgres://u:secret@a:1,b:none/x",
            "a:1,u:secret@b",
            "u:secret@db",
            "::1",
            "",
        ] {
            let refusal = parse_upstreams(text).expect_err(text);
            assert!(!refusal.contains("secret"), "{refusal}");
        }
    }

    #[test]
    fn listening_needs_a_port() {
        assert_eq!(parse_listen("127.0.0.1:0"), Ok(tcp("127.0.0.1", 0)));
        assert_eq!(parse_listen("[::1]:6432"), Ok(tcp("::1", 6432)));
        assert!(parse_listen("127.0.0.1").is_err());
    }
}
