//! Where a program's environment says that its database is, and the same environment pointed at the proxy.
//!
//! Reads libpq's variables and `DATABASE_URL` in the forms of the usual frameworks: `postgres://`, `postgresql://`,
//! `postgresql+psycopg://`, `postgis://`, `jdbc:postgresql:`. Pure: variables come in and go out as texts.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Variables in which programs look for a URL. The first is always given to the program, the others where they were
/// set to a PostgreSQL URL.
const URL_VARIABLES: [&str; 10] = [
    "DATABASE_URL",
    "TEST_DATABASE_URL",
    "DATABASE_URI",
    "DATABASE_TEST_URL",
    "SQLALCHEMY_DATABASE_URI",
    "SQLALCHEMY_DATABASE_URL",
    "POSTGRES_URL",
    "JDBC_DATABASE_URL",
    "SPRING_DATASOURCE_URL",
    "QUARKUS_DATASOURCE_JDBC_URL",
];
/// Schemes of PostgreSQL, before a `+driver`.
const SCHEMES: [&str; 6] = ["postgres", "postgresql", "postgis", "pgsql", "psql", "timescaledb"];
/// Variables that would lead past the proxy, or demand of it what only the server can do.
const REMOVED_VARIABLES: [&str; 6] =
    ["PGHOSTADDR", "PGREQUIRESSL", "PGSSLNEGOTIATION", "PGCHANNELBINDING", "PGREQUIREPEER", "PGGSSENCMODE"];
/// Parameters of a URL that name a server.
const PLACE_PARAMETERS: [&str; 3] = ["host", "hostaddr", "port"];
/// Parameters of a URL about the encryption of the way to it.
const TLS_PARAMETERS: [&str; 16] = [
    "ssl",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "sslpassword",
    "sslfactory",
    "sslaccept",
    "sslidentity",
    "sslnegotiation",
    "sslnegotiation_mode",
    "channel_binding",
    "channelBinding",
    "gssencmode",
    "gssEncMode",
];
/// Bytes of an account or name that may stand in a URL as they are.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A database's URL, taken apart as far as pgtally changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatabaseUrl {
    /// `jdbc:` or nothing.
    prefix: String,
    scheme: String,
    account: Option<String>,
    hosts: String,
    path: String,
    parameters: Vec<(String, String)>,
}

impl DatabaseUrl {
    /// Reads a URL; `None` when it is not one of PostgreSQL.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (prefix, rest) = match text.get(..5) {
            Some(jdbc) if jdbc.eq_ignore_ascii_case("jdbc:") => text.split_at(5),
            _ => ("", text),
        };
        let (scheme, rest) = rest.split_once(':')?;
        let base = scheme.split('+').next().unwrap_or_default().to_ascii_lowercase();
        if !SCHEMES.contains(&base.as_str()) {
            return None;
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = query.split('#').next().unwrap_or_default();
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            // `jdbc:postgresql:shop` names a database on this machine.
            None if !prefix.is_empty() => ("", rest),
            None => return None,
        };
        let (account, hosts) = match authority.rsplit_once('@') {
            Some((account, hosts)) => (Some(account.to_owned()), hosts),
            None => (None, authority),
        };
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        Some(Self {
            prefix: prefix.into(),
            scheme: scheme.into(),
            account,
            hosts: hosts.into(),
            path: path.trim_start_matches('/').into(),
            parameters: query.split('&').filter(|it| !it.is_empty()).map(pair).collect(),
        })
    }

    /// A parameter of its query.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let found = self.parameters.iter().find(|(key, _)| key == name)?;
        Some(decode(&found.1)).filter(|value| !value.is_empty())
    }

    pub(super) fn user(&self) -> Option<String> {
        let account = self.account.as_deref().and_then(|it| it.split(':').next()).map(decode);
        account.filter(|user| !user.is_empty()).or_else(|| self.parameter("user"))
    }

    pub(super) fn password(&self) -> Option<String> {
        let account = self.account.as_deref().and_then(|it| it.split_once(':')).map(|it| decode(it.1));
        account.or_else(|| self.parameter("password"))
    }

    pub(super) fn database(&self) -> Option<String> {
        Some(decode(&self.path)).filter(|it| !it.is_empty()).or_else(|| self.parameter("dbname"))
    }

    /// The same database as the configuration's upstream: plain scheme, no account.
    pub(super) fn upstream(&self) -> String {
        let kept = |name: &str| PLACE_PARAMETERS.contains(&name) || name == "target_session_attrs";
        let mut parameters: Vec<String> = self
            .parameters
            .iter()
            .filter(|(name, _)| kept(name) || name == "sslmode")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        // JDBC's and node's spelling of "with TLS".
        if self.parameter("sslmode").is_none() && self.parameter("ssl").is_some_and(|ssl| ssl != "false") {
            parameters.push("sslmode=require".into());
        }
        let query = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
        format!("postgres://{}/{query}", self.hosts)
    }

    /// The same database through the proxy: nothing else than the way to it differs.
    fn through(&self, host: &str, port: u16, sslmode: &str) -> String {
        let is_tls = |name: &str| TLS_PARAMETERS.contains(&name);
        let mut parameters: Vec<String> = self
            .parameters
            .iter()
            .filter(|(name, _)| !PLACE_PARAMETERS.contains(&name.as_str()) && !is_tls(name))
            .map(|(name, value)| if value.is_empty() { name.clone() } else { format!("{name}={value}") })
            .collect();
        if self.parameters.iter().any(|(name, _)| is_tls(name)) {
            parameters.push(format!("sslmode={sslmode}"));
        }
        let account = self.account.as_deref().map(|account| format!("{account}@")).unwrap_or_default();
        let query = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
        format!("{}{}://{account}{host}:{port}/{}{query}", self.prefix, self.scheme, self.path)
    }
}

/// The database that a program would use without pgtally.
#[derive(Debug, Default)]
pub(crate) struct Target {
    /// URL as `relay.upstream` reads it; nothing where the environment names none.
    pub(crate) upstream: Option<String>,
    /// Why `DATABASE_URL` is of no use, where it is set.
    pub(super) problem: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: Option<String>,
    urls: BTreeMap<&'static str, DatabaseUrl>,
}

impl Target {
    /// Reads the environment. `flag` is the URL of `--upstream`, whose account counts where the environment has none.
    pub(crate) fn read(variable: &dyn Fn(&str) -> Option<String>, flag: Option<&str>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let urls: BTreeMap<_, _> = URL_VARIABLES
            .into_iter()
            .filter_map(|name| Some((name, DatabaseUrl::parse(&set(name)?)?)))
            .collect();
        let flag = flag.and_then(DatabaseUrl::parse);
        let main = URL_VARIABLES.iter().find_map(|name| urls.get(name));
        let known = |of: fn(&DatabaseUrl) -> Option<String>, name: &str| {
            main.and_then(of).or_else(|| set(name)).or_else(|| flag.as_ref().and_then(of))
        };
        let is_foreign = main.is_none() && set("DATABASE_URL").is_some();
        Self {
            upstream: main.map(|url| with_sslmode(url.upstream(), &set)).or_else(|| of_libpq(&set)),
            problem: is_foreign.then(|| "DATABASE_URL is set, and it is no PostgreSQL URL".to_owned()),
            user: known(DatabaseUrl::user, "PGUSER"),
            password: known(DatabaseUrl::password, "PGPASSWORD"),
            database: known(DatabaseUrl::database, "PGDATABASE"),
            urls,
        }
    }

    /// The program's environment, pointed at the proxy: variables to set, and to remove (`None`).
    pub(super) fn environment(&self, proxy: &Place) -> Vec<(String, Option<String>)> {
        let mut variables: Vec<(String, Option<String>)> =
            REMOVED_VARIABLES.iter().map(|name| ((*name).to_owned(), None)).collect();
        let mut set = |name: &str, value: String| variables.push((name.to_owned(), Some(value)));
        set("PGHOST", proxy.host.clone());
        set("PGPORT", proxy.port.to_string());
        set("PGUSER", self.user(proxy));
        set("PGDATABASE", self.database(proxy));
        set("PGSSLMODE", proxy.sslmode.clone());
        if let Some(password) = &self.password {
            set("PGPASSWORD", password.clone());
        }
        set("DATABASE_URL", self.url(proxy));
        for (name, url) in self.urls.iter().filter(|(name, _)| **name != "DATABASE_URL") {
            set(name, url.through(&proxy.host, proxy.port, &proxy.sslmode));
        }
        if let Some(admin) = &proxy.admin_url {
            set("PGTALLY_ADMIN_URL", admin.clone());
        }
        variables
    }

    fn user(&self, proxy: &Place) -> String {
        self.user.clone().unwrap_or_else(|| proxy.system_user.clone())
    }

    fn database(&self, proxy: &Place) -> String {
        self.database.clone().unwrap_or_else(|| self.user(proxy))
    }

    fn url(&self, proxy: &Place) -> String {
        match self.urls.get("DATABASE_URL") {
            Some(url) => url.through(&proxy.host, proxy.port, &proxy.sslmode),
            None => {
                let (user, database) = (encode(&self.user(proxy)), encode(&self.database(proxy)));
                let password = self.password.as_deref().map(|it| format!(":{}", encode(it)));
                let password = password.unwrap_or_default();
                format!("postgres://{user}{password}@{}:{}/{database}", proxy.host, proxy.port)
            }
        }
    }

    /// What a placeholder of `--env` stands for.
    fn value_of(&self, placeholder: &str, proxy: &Place) -> Option<String> {
        Some(match placeholder {
            "host" => proxy.host.clone(),
            "port" => proxy.port.to_string(),
            "user" => self.user(proxy),
            "password" => self.password.clone().unwrap_or_default(),
            "database" => self.database(proxy),
            "url" => self.url(proxy),
            "jdbc_url" => {
                format!("jdbc:postgresql://{}:{}/{}", proxy.host, proxy.port, encode(&self.database(proxy)))
            }
            _ => return None,
        })
    }

    /// Fills a template of `--env` in: `{host}`, `{port}`, `{user}`, `{password}`, `{database}`, `{url}`, `{jdbc_url}`.
    ///
    /// # Errors
    /// What is wrong with the template, in words.
    pub(super) fn fill(&self, template: &str, proxy: &Place) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                filled.push_str(&from[..1]);
                rest = after;
                continue;
            }
            let inner = from.strip_prefix('{').and_then(|it| it.split_once('}'));
            let (name, after) = inner.ok_or("a brace stands alone: write {{ or }} for one")?;
            filled.push_str(&self.value_of(name, proxy).ok_or_else(|| {
                format!("there is no {{{name}}}: use {{host}}, {{port}}, {{user}}, {{password}}, {{database}}, {{url}} or {{jdbc_url}}")
            })?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// Where the program finds the proxy.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    /// What the program may ask of the proxy's TLS.
    pub(super) sslmode: String,
    pub(super) admin_url: Option<String>,
    /// Who runs it: libpq's default for a user.
    pub(super) system_user: String,
}

/// The server that libpq's variables name.
fn of_libpq(set: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let host = set("PGHOSTADDR").or_else(|| set("PGHOST"));
    let port = set("PGPORT");
    if host.is_none() && port.is_none() {
        return None;
    }
    let host = host.unwrap_or_else(|| "127.0.0.1".into());
    let mut url = format!("postgres:///?host={}", utf8_percent_encode(&host, PLAIN));
    if let Some(port) = port {
        url.push_str(&format!("&port={}", utf8_percent_encode(&port, PLAIN)));
    }
    Some(with_sslmode(url, set))
}

/// `url` with the mode of `PGSSLMODE`, or libpq's default, where it names none.
fn with_sslmode(url: String, set: &dyn Fn(&str) -> Option<String>) -> String {
    if url.contains("sslmode=") {
        return url;
    }
    let mode = set("PGSSLMODE").unwrap_or_else(|| "prefer".into());
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}sslmode={}", encode(&mode))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests;
