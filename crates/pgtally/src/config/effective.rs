//! Settings as they take effect: value, origin, and what may be shown of it.
//!
//! Printed by `pgtally check-config` in a form that is a configuration file again, and compared by a reload. Secrets
//! are masked here, by the names of settings and inside URLs, so that no caller can forget it.

use std::fmt;

use super::layers::DEFAULT;

/// What the paths of settings for single routes, and for rules of the cache, begin with: names follow.
const NAMED: [&str; 2] = ["cache.rules.", "findings.routes."];
/// What stands in the place of a secret.
const MASK: &str = "***";

/// One setting with the value that counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Effective {
    /// Path of the setting, such as `relay.upstream`.
    pub path: String,
    /// Where its value was written; `default` when nowhere.
    pub origin: String,
    /// Empty when the setting is not set.
    texts: Vec<String>,
}

impl Effective {
    pub(super) fn unset(path: &str) -> Self {
        Self { path: path.into(), origin: DEFAULT.into(), texts: Vec::new() }
    }

    pub(super) fn written(path: &str, texts: &[String], origin: &str) -> Self {
        Self { path: path.into(), origin: origin.into(), texts: texts.to_vec() }
    }

    /// Whether the same value counts in `other`, wherever it was written.
    pub(super) fn has_value_of(&self, other: &Self) -> bool {
        self.path == other.path && self.texts == other.texts
    }

    /// The value as it was written; the first of several, `None` when the setting is not set.
    pub(super) fn text(&self) -> Option<&str> {
        self.texts.first().map(String::as_str)
    }

    /// The value without what is secret in it; `None` when the setting is not set.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        let is_secret = ["token", "password", "secret"].iter().any(|word| self.path.ends_with(word));
        let show = |text: &String| if is_secret { MASK.to_owned() } else { without_password(text) };
        let quoted: Vec<_> = self.texts.iter().map(|text| quoted(&show(text))).collect();
        match quoted.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(format!("[{}]", several.join(", "))),
        }
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shown() {
            Some(value) => {
                let origin = self.origin.replace(char::is_control, "?");
                write!(f, "{} = {value}  # {origin}", key(&self.path))
            }
            None => write!(f, "# {} is not set", self.path),
        }
    }
}

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text as TOML's basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A path as TOML's dotted key: names of routes and rules, which may hold anything, are quoted.
fn key(path: &str) -> String {
    let named = NAMED.iter().find_map(|prefix| Some((prefix, path.strip_prefix(prefix)?.rsplit_once('.')?)));
    named.map_or_else(|| path.to_owned(), |(prefix, (name, key))| format!("{prefix}{}.{key}", quoted(name)))
}

/// A URL without the password in front of its host or among its parameters; any other text as it is.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    // A password with an unescaped `/` or `?` in it ends the authority too early: then everything up to the last `@`
    // may belong to it.
    let (authority, tail) = match tail.rfind('@') {
        Some(at) if !authority.contains('@') => ("", tail.get(at..).unwrap_or_default()),
        _ => (authority, tail),
    };
    let host = match authority.rsplit_once('@') {
        Some((account, host)) => {
            let user = account.split(':').next().unwrap_or_default();
            let password = if account.contains(':') { format!(":{MASK}") } else { String::new() };
            format!("{user}{password}@{host}")
        }
        None => authority.to_owned(),
    };
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let parameters: Vec<_> = query.split('&').map(masked_parameter).collect();
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{host}{path}{separator}{}", parameters.join("&"))
}

fn masked_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if name.contains("password") => format!("{name}={MASK}"),
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, text: &str) -> String {
        Effective::written(path, &[text.to_owned()], "a test").shown().unwrap()
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        assert_eq!(shown("admin.token", "0123456789abcdef"), "\"***\"");
        assert_eq!(shown("probe.password", "hunter2"), "\"***\"");
        let url = |text: &str| shown("relay.upstream", text);
        assert_eq!(url("postgres://ann:hunter2@db:5433/shop"), "\"postgres://ann:***@db:5433/shop\"");
        assert_eq!(url("postgres://ann@db,db2/shop"), "\"postgres://ann@db,db2/shop\"");
        assert_eq!(
            url("postgres://db/shop?user=ann&password=hunter2&sslpassword=x"),
            "\"postgres://db/shop?user=ann&password=***&sslpassword=***\""
        );
        for text in ["postgres://ann:hun/ter2@db/shop", "postgres://ann:h@hunter2@db", "x://a:hun?ter2@b"] {
            let shown = url(text);
            assert!(!shown.contains("ter2"), "{shown}");
        }
        assert_eq!(url("db:5432"), "\"db:5432\"");
    }

    #[test]
    fn what_is_printed_is_toml_whatever_was_written() {
        let hostile = "a\"b\\c\n\t\0\u{7f}\u{1b}\u{200b}\u{1f600}é'#=";
        let one = Effective::written("probe.user", &[hostile.into()], "/etc/new\nline = 1");
        let two = Effective::written("relay.listen", &[hostile.into(), hostile.into()], "a test");
        let route = Effective::written("findings.routes./a \"b\".c.slow_statement", &["2s".into()], "a test");
        let text = format!("{one}\n{two}\n{route}\n");
        let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(table["probe"]["user"].as_str(), Some(hostile));
        assert_eq!(table["relay"]["listen"][1].as_str(), Some(hostile));
        assert_eq!(table["findings"]["routes"]["/a \"b\".c"]["slow_statement"].as_str(), Some("2s"));
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn a_setting_is_printed_as_it_could_be_written() {
        let listen = ["127.0.0.1:1".to_owned(), "/run/x".to_owned()];
        let setting = Effective::written("relay.listen", &listen, "pgtally.toml");
        assert_eq!(setting.to_string(), "relay.listen = [\"127.0.0.1:1\", \"/run/x\"]  # pgtally.toml");
        assert_eq!(Effective::unset("admin.token").to_string(), "# admin.token is not set");
    }
}
