//! What the rows that a policy of row security lets through depend on, told from its expression as PostgreSQL writes it
//! back (`pg_get_expr`).
//!
//! Its tree says which tables it reads and which functions it calls, but not which settings `current_setting` is
//! called for. Whatever cannot be told makes the policy one that nobody knows.

use pgtally_fingerprint::{Access, Refusal};

use crate::clock_words::has_clock_word;

/// The one function of PostgreSQL's that may ask for a setting here.
pub(super) const ASKS_SETTING: &str = "current_setting";
/// How its first argument is written.
const CALL: &str = "current_setting('";
/// Words whose value is not part of every key, or whose sense is not known here.
const UNKNOWN: [&str; 7] = [
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "tablesample",
    "xmltable",
];

/// A policy of one table.
#[derive(Clone, Debug)]
pub struct RowPolicy {
    /// What evaluating it may access.
    pub access: Access,
    /// Settings it asks for, in small letters; `None` where what it depends on cannot be told.
    pub settings: Option<Vec<Box<str>>>,
}

impl RowPolicy {
    /// The policy whose expressions are `query`, taken apart as `access`.
    #[must_use]
    pub fn new(query: &str, access: Access) -> Self {
        let settings = match access.refusal {
            // Of values of the session, the users stand in every key.
            None | Some(Refusal::SessionValue) => settings(query),
            Some(_) => None,
        };
        Self { access, settings }
    }
}

fn settings(query: &str) -> Option<Vec<Box<str>>> {
    let query = query.to_ascii_lowercase();
    let mut words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    if has_clock_word(query.as_bytes()) || words.any(|word| UNKNOWN.contains(&word)) {
        return None;
    }
    let mut settings: Vec<Box<str>> = Vec::new();
    for (at, _) in query.match_indices(ASKS_SETTING) {
        let (name, behind) = query.get(at..)?.strip_prefix(CALL)?.split_once('\'')?;
        // A name that is put together is known to nobody.
        let is_whole = behind.strip_prefix("::text").is_some_and(|rest| rest.starts_with([')', ',']));
        if !is_whole || !is_setting(name) {
            return None;
        }
        settings.push(name.into());
    }
    settings.sort_unstable();
    settings.dedup();
    Some(settings)
}

/// Whether `name` is one of a setting: words of letters, digits and `_`, with dots in between.
#[must_use]
pub fn is_setting(name: &str) -> bool {
    let is_word = |word: &str| {
        word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && word.starts_with(|first: char| !first.is_ascii_digit())
    };
    name.len() < 64 && name.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use pgtally_fingerprint::Effect;

    use super::*;

    fn settings_of(query: &str) -> Option<String> {
        let access = Access { refusal: None, ..Access::of(Effect::Nothing) };
        RowPolicy::new(query, access).settings.map(|settings| settings.join(" "))
    }

    #[test]
    fn settings_are_told_or_nothing_is() {
        for (query, expected) in [
            ("SELECT (owner = CURRENT_USER), true", Some("")),
            ("SELECT (t = current_setting('app.Tenant'::text, true)), true", Some("app.tenant")),
            (
                "SELECT (a = (current_setting('b.b'::text))::uuid), (c = ( SELECT current_setting('a.a'::text)))",
                Some("a.a b.b"),
            ),
            ("SELECT (t = current_setting(name)), true", None),
            ("SELECT (t = current_setting(('app.'::text || kind))), true", None),
            ("SELECT (t = current_setting('app.'::text || kind)), true", None),
            ("SELECT (t = current_setting('it''s'::text)), true", None),
            ("SELECT (day = CURRENT_DATE), true", None),
            ("SELECT (day > 'today'::date), true", None),
        ] {
            assert_eq!(settings_of(query).as_deref(), expected, "{query}");
        }
        assert!(RowPolicy::new("SELECT true", Access::default()).settings.is_none());
    }

    #[test]
    fn names_of_settings_hold_nothing_else() {
        for (name, is_fine) in [
            ("app.tenant", true),
            ("role", true),
            ("", false),
            ("a..b", false),
            ("a'b", false),
            ("1a", false),
        ] {
            assert_eq!(is_setting(name), is_fine, "{name}");
        }
    }
}
