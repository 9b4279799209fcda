//! The cache: whether there is one, how big, what hints may ask for, and rules for single statements.

use std::time::Duration;

use pgtally_cache::{Fault, Limits, Mode, Policy, Rule};
use pgtally_fingerprint::Fingerprint;
use regex::Regex;

use super::layers::Layers;
use super::values::{duration, optional_duration, some_text, switch};

/// Smallest store that can hold something.
const CAPACITY_BYTES_MIN: u64 = 64 * 1024;

/// Settings of the cache.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// Whether anything is kept at all.
    pub is_on: bool,
    /// What hints and rules may have.
    pub policy: Policy,
    /// Bytes of all answers.
    pub capacity_bytes: u64,
    /// Share of one database in it, in percent.
    pub database_share: u8,
    /// Longest time that a session waits for the answer another one is fetching.
    pub wait: Duration,
    /// Longest time for which a session's server hears nothing because all answers come from the cache.
    pub keep_alive: Duration,
    /// Time for which nothing is served of what a commit of unknown outcome may have changed.
    pub ambiguous_hold: Duration,
    /// Whether the server is asked before `COMMIT` what the transaction has written.
    pub asks_locks: bool,
    /// A mistake on purpose; no configuration has one.
    pub fault: Fault,
}

/// Reads `[cache]`.
pub(super) fn cache_settings(layers: &mut Layers) -> CacheSettings {
    let is_on = layers.or("cache.enabled", "off", switch);
    let are_hints_on = layers.or("cache.hints", "on", switch);
    let limits = Limits {
        mode: layers.or("cache.mode", "commit", mode),
        ttl: layers.or("cache.ttl", "medium", ttl),
        stale: layers.or("cache.stale_while_revalidate", "off", span),
        bytes_max: layers.or("cache.entry_max", "1MiB", bytes).try_into().unwrap_or(usize::MAX),
    };
    let rules = layers.tables_under("cache.rules");
    let rules = rules.into_iter().map(|(name, path)| rule(layers, &name, &path, &limits)).collect();
    CacheSettings {
        is_on,
        policy: Policy { are_hints_on, limits, rules },
        capacity_bytes: layers.or("cache.capacity", "64MiB", capacity),
        database_share: layers.or("cache.database_share", "100", percent),
        wait: layers.or("cache.wait", "50ms", span),
        keep_alive: layers.or("cache.keep_alive", "30s", duration),
        fault: Fault::None,
        asks_locks: layers.or("cache.ask_locks", "off", switch),
        ambiguous_hold: layers.or("cache.ambiguous_hold", "60s", duration),
    }
}

fn rule(layers: &mut Layers, name: &str, path: &str, all: &Limits) -> Rule {
    let text = |layers: &mut Layers, name: &str| layers.one_of(path, name, some_text).map(Into::into);
    let words = |layers: &mut Layers, name: &str, is_fine: fn(&str) -> Result<Box<str>, String>| {
        let path = format!("{path}.{name}");
        // Only what was written is shown of rules.
        let is_written = !layers.texts(&path).is_empty();
        is_written.then(|| layers.list(&path, is_fine)).flatten().unwrap_or_default()
    };
    Rule {
        name: name.into(),
        database: text(layers, "database"),
        user: text(layers, "user"),
        fingerprint: layers.one_of(path, "fingerprint", fingerprint),
        pattern: layers.one_of(path, "pattern", pattern),
        tables: words(layers, "tables", |table| Ok(table.into())),
        is_off: !layers.one_of(path, "cache", switch).unwrap_or(true),
        limits: Limits {
            mode: layers.one_of(path, "mode", mode).unwrap_or(all.mode),
            ttl: layers.one_of(path, "ttl", ttl).unwrap_or(all.ttl),
            stale: layers.one_of(path, "stale_while_revalidate", span).unwrap_or(all.stale),
            bytes_max: layers
                .one_of(path, "entry_max", bytes)
                .map_or(all.bytes_max, |bytes| bytes.try_into().unwrap_or(usize::MAX)),
        },
        tags: words(layers, "tags", tag),
        vary: words(layers, "vary", setting),
    }
}

/// A time that may be none.
fn span(text: &str) -> Result<Duration, String> {
    Ok(optional_duration(text)?.unwrap_or_default())
}

fn mode(text: &str) -> Result<Mode, String> {
    Mode::named(text).ok_or_else(|| "none of ttl, session, commit".into())
}

fn ttl(text: &str) -> Result<Duration, String> {
    match pgtally_cache::hint::ttl(text) {
        Some(ttl) => Ok(ttl),
        None => duration(text).map_err(|_| "none of short, medium, long, and no duration: write 30s".into()),
    }
}

fn tag(text: &str) -> Result<Box<str>, String> {
    if pgtally_cache::hint::is_tag(text) { Ok(text.into()) } else { Err("not a tag".into()) }
}

fn setting(text: &str) -> Result<Box<str>, String> {
    let is_fine = pgtally_cache::catalog::policy::is_setting(text);
    if is_fine {
        Ok(text.to_ascii_lowercase().into())
    } else {
        Err("no name of a setting: write app.tenant".into())
    }
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| format!("no regular expression: {error}"))
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    let is_whole = text.len() == 16;
    let read = u64::from_str_radix(text, 16).ok().filter(|_| is_whole);
    read.map(Fingerprint).ok_or_else(|| "no fingerprint: 16 hexadecimal digits".into())
}

fn percent(text: &str) -> Result<u8, String> {
    let share = text.parse().ok().filter(|share| (1..=100).contains(share));
    share.ok_or_else(|| "not a share: 1 to 100".into())
}

fn capacity(text: &str) -> Result<u64, String> {
    let capacity = bytes(text)?;
    if capacity >= CAPACITY_BYTES_MIN { Ok(capacity) } else { Err("less than 64KiB".into()) }
}

/// A size with its unit.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "not a size: write 512KiB, 64MiB or 2GiB".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit.trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn load(file: &str) -> Result<CacheSettings, Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgtally.toml");
        std::fs::write(&path, file).unwrap();
        let errors = |errors: super::super::ConfigErrors| {
            errors.0.into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        Config::load(Some(&path), [], []).map(|config| config.cache).map_err(errors)
    }

    #[test]
    fn nothing_is_kept_unless_asked_for() {
        let settings = load("").unwrap();
        assert!(!settings.is_on && settings.policy.rules.is_empty());
        assert_eq!((settings.policy.limits.mode, settings.capacity_bytes), (Mode::Commit, 64 << 20));
    }

    #[test]
    fn rules_begin_with_the_limits_of_all() {
        let settings = load(
            "[cache]\nenabled = 'on'\nttl = 'long'\ncapacity = '1GiB'\n\
             [cache.rules.catalogue]\ntables = ['products', 'public.prices']\nmode = 'ttl'\ntags = 'a,b'\nvary = ['App.tenant']\n\
             [cache.rules.reports]\npattern = '^SELECT .* FROM reports'\nttl = '2h'\ncache = 'off'\n",
        )
        .unwrap();
        let [catalogue, reports] = settings.policy.rules.as_slice() else { panic!("{settings:?}") };
        assert_eq!(catalogue.tables, [Box::from("products"), Box::from("public.prices")]);
        assert_eq!((catalogue.limits.mode, catalogue.limits.ttl), (Mode::Ttl, Duration::from_secs(600)));
        assert_eq!((catalogue.tags.len(), &*catalogue.vary), (2, &[Box::from("app.tenant")][..]));
        assert!(reports.is_off && reports.pattern.is_some() && !catalogue.is_off);
        assert_eq!(reports.limits.ttl, Duration::from_secs(7_200));
    }

    #[test]
    fn mistakes_are_told_by_path() {
        let errors = load(
            "[cache]\ncapacity = '1KiB'\nmode = 'never'\ndatabase_share = 0\n\
             [cache.rules.x]\npattern = '('\nfingerprint = '12'\ncolour = 'red'\nvary = 'a b'\n",
        );
        let mut errors = errors.unwrap_err();
        errors.sort_unstable();
        assert_eq!(
            errors,
            [
                "cache.capacity",
                "cache.database_share",
                "cache.mode",
                "cache.rules.x.colour",
                "cache.rules.x.fingerprint",
                "cache.rules.x.pattern",
                "cache.rules.x.vary"
            ]
        );
    }
}
