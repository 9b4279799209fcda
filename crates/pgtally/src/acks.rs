//! Reads the file of acknowledgements: findings that somebody has dealt with, kept in git.
//!
//! ```toml
//! known = ["1496fdb0462a5ea8"]        # there before, not dealt with yet
//!
//! [[ack]]
//! route = "/orders*"                  # any of id, kind, route, table, fingerprint, parent
//! kind = "n_plus_one"
//! reason = "at most three shops, one look-up each"
//! expires = 2027-01-31                # through that day; optional
//! max_repeat = 5                      # more is new again; optional
//! ```

use pgtally_analysis::{Ack, Acks, FindingId, FindingKind};
use serde::Deserialize;

/// Entries of one file: a file with more is no longer read by people.
const ENTRIES_MAX: usize = 10_000;
const DAY_SECONDS: u64 = 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    ack: Vec<Entry>,
    #[serde(default)]
    known: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Option<String>,
    kind: Option<String>,
    route: Option<String>,
    table: Option<String>,
    fingerprint: Option<String>,
    parent: Option<String>,
    reason: String,
    expires: Option<Expiry>,
    max_repeat: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expiry {
    Date(toml::value::Datetime),
    Text(String),
}

/// Reads the text of a file.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn parse(text: &str) -> Result<Acks, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().replace('\n', " "))?;
    if file.ack.len() + file.known.len() > ENTRIES_MAX {
        return Err(format!("more than {ENTRIES_MAX} entries"));
    }
    let entries = file.ack.into_iter().enumerate().map(|(index, entry)| {
        entry.read().map_err(|problem| format!("acknowledgement {}: {problem}", index + 1))
    });
    let known: Vec<FindingId> = file.known.iter().map(|id| finding_id(id)).collect::<Result<_, _>>()?;
    Ok(Acks::new(entries.collect::<Result<_, _>>()?, known))
}

impl Entry {
    fn read(self) -> Result<Ack, String> {
        let kind = self.kind.as_deref().map(|name| {
            FindingKind::of_name(name).ok_or_else(|| format!("there is no kind of finding called {name}"))
        });
        let ack = Ack {
            id: self.id.as_deref().map(finding_id).transpose()?,
            kind: kind.transpose()?,
            route: self.route,
            fingerprint: self.fingerprint,
            parent: self.parent,
            table: self.table,
            reason: self.reason,
            expires: self.expires.map(|expiry| expiry.end()).transpose()?,
            repeat_max: self.max_repeat,
        };
        if ack.reason.trim().is_empty() {
            return Err("the reason is empty".into());
        }
        if !ack.is_specific() {
            return Err(
                "it names no finding: give an id, or a kind, route, table, fingerprint or parent".into()
            );
        }
        Ok(ack)
    }
}

impl Expiry {
    /// First second (Unix time, UTC) after the day.
    fn end(&self) -> Result<u64, String> {
        let wrong = || "expires is no date: write 2027-01-31".to_owned();
        let (year, month, day) = match self {
            Self::Date(it) => {
                let date = it.date.ok_or_else(wrong)?;
                (u64::from(date.year), u64::from(date.month), u64::from(date.day))
            }
            Self::Text(text) => {
                let mut parts = text.splitn(3, '-').map(str::parse::<u64>);
                let mut part = || parts.next().and_then(Result::ok);
                (part().ok_or_else(wrong)?, part().ok_or_else(wrong)?, part().ok_or_else(wrong)?)
            }
        };
        let is_date = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        is_date.then(|| (days_since_1970(year, month, day) + 1) * DAY_SECONDS).ok_or_else(wrong)
    }
}

/// Days from 1 January 1970 to a day of the Gregorian calendar. Years begin in March here, so that leap days end them.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // From 1 March of year 0 to 1 January 1970.
    days - 719_468
}

fn finding_id(text: &str) -> Result<FindingId, String> {
    let id = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    id.map(FindingId).ok_or_else(|| format!("{text} is no finding's id: write its 16 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_known_findings_are_read() {
        let acks = parse(
            "known = ['1496fdb0462a5ea8']\n[[ack]]\nid = '63951378593f76e9'\nreason = 'a'\nexpires = 2027-01-31\n\
             [[ack]]\nroute = '/a*'\nkind = 'duplicate'\ntable = 't'\nreason = 'b'\nexpires = '1970-01-01'\nmax_repeat = 5\n",
        )
        .unwrap();
        assert!(acks.is_known(FindingId(0x1496_fdb0_462a_5ea8)));
        assert_eq!(acks.entries()[0].expires, Some(1_801_440_000));
        assert_eq!(acks.entries()[1].expires, Some(86_400));
        assert_eq!(
            (acks.entries()[1].kind, acks.entries()[1].repeat_max),
            (Some(FindingKind::Duplicate), Some(5))
        );
    }

    #[test]
    fn mistakes_are_told_in_words() {
        for (text, problem) in [
            ("[[ack]]\nkind = 'duplicate'", "missing field `reason`"),
            ("[[ack]]\nkind = 'doubled'\nreason = 'a'", "no kind of finding called doubled"),
            ("[[ack]]\nreason = 'a'", "names no finding"),
            ("[[ack]]\nid = 'xyz'\nreason = 'a'", "16 hexadecimal digits"),
            ("[[ack]]\nroute = '/'\nreason = ' '", "reason is empty"),
            ("[[ack]]\nroute = '/'\nreason = 'a'\nexpires = 'soon'", "no date"),
            ("[[ack]]\nroute = '/'\nreason = 'a'\nexpires = '2027-13-01'", "no date"),
            ("[[ack]]\nrute = '/'\nreason = 'a'", "unknown field"),
            ("known = ['1']", "16 hexadecimal digits"),
            ("[[", "TOML"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
