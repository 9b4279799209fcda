//! Acknowledgements: findings that somebody has dealt with, as a file in git says.
//!
//! An entry names a finding by its id, or several by a pattern, gives a reason, and may hold until a day or up to a
//! number of repeats: what grows beyond is new again. Reading the file is the shell's work.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::finding::{Detection, FindingId, FindingKind};
use crate::store::FindingState;

/// What a file of acknowledgements says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acks {
    entries: Vec<Ack>,
    known: FxHashSet<FindingId>,
    /// Places of the entries, in order, under what they name first; those that name nothing exactly are `Any`.
    places: FxHashMap<Named, Vec<usize>>,
}

/// What entries are looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Named {
    Any,
    Fingerprint(String),
    Id(FindingId),
    Route(String),
}

impl Named {
    fn first_of(ack: &Ack) -> Self {
        let exact_route = || ack.route.clone().filter(|route| !route.contains('*'));
        match (ack.id, &ack.fingerprint) {
            (Some(id), _) => Self::Id(id),
            (None, Some(fingerprint)) => Self::Fingerprint(fingerprint.clone()),
            (None, None) => exact_route().map_or(Self::Any, Self::Route),
        }
    }
}

/// One acknowledgement. Everything that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// The finding.
    pub id: Option<FindingId>,
    /// Kind of finding.
    pub kind: Option<FindingKind>,
    /// Route; `*` stands for any characters.
    pub route: Option<String>,
    /// Fingerprint of the repeated or slow statement, 16 hexadecimal digits.
    pub fingerprint: Option<String>,
    /// Fingerprint of the parent, 16 hexadecimal digits.
    pub parent: Option<String>,
    /// Table the statement names; `*` stands for any characters.
    pub table: Option<String>,
    /// Why it is as it should be.
    pub reason: String,
    /// First second (Unix time) at which it no longer holds.
    pub expires: Option<u64>,
    /// Repeats up to which it holds.
    pub repeat_max: Option<u32>,
}

impl Acks {
    /// `entries` stand in the order of the file: the first that fits counts. `known` are the findings of the baseline:
    /// there before, not dealt with yet.
    #[must_use]
    pub fn new(entries: Vec<Ack>, known: impl IntoIterator<Item = FindingId>) -> Self {
        let mut places: FxHashMap<Named, Vec<usize>> = FxHashMap::default();
        for (place, ack) in entries.iter().enumerate() {
            places.entry(Named::first_of(ack)).or_default().push(place);
        }
        Self { entries, known: known.into_iter().collect(), places }
    }

    /// Entries in the order of the file.
    #[must_use]
    pub fn entries(&self) -> &[Ack] {
        &self.entries
    }

    /// Whether the baseline has this finding.
    #[must_use]
    pub fn is_known(&self, id: FindingId) -> bool {
        self.known.contains(&id)
    }

    /// The state of a finding at `now` (Unix seconds), and why. `repeat` is the most it was repeated in a request,
    /// `tables` are those its statement names.
    #[must_use]
    pub fn state(
        &self,
        it: &Detection,
        repeat: u32,
        tables: &[&str],
        now: u64,
    ) -> (FindingState, Option<Arc<str>>) {
        match self.first_that_fits(it, repeat, tables, now) {
            Some(ack) => (FindingState::Acked, Some(ack.reason.as_str().into())),
            None if self.is_known(it.id) => (FindingState::Known, None),
            None => (FindingState::New, None),
        }
    }

    fn first_that_fits(&self, it: &Detection, repeat: u32, tables: &[&str], now: u64) -> Option<&Ack> {
        let fits =
            |place: &usize| self.entries.get(*place).is_some_and(|ack| ack.fits(it, repeat, tables, now));
        let names = [
            Named::Any,
            Named::Fingerprint(it.fingerprint.to_string()),
            Named::Id(it.id),
            Named::Route(it.route.to_string()),
        ];
        let places = names.iter().filter_map(|name| self.places.get(name)?.iter().copied().find(fits));
        self.entries.get(places.min()?)
    }
}

impl Ack {
    fn fits(&self, it: &Detection, repeat: u32, tables: &[&str], now: u64) -> bool {
        let parent = it.parent.as_ref().map(|parent| parent.fingerprint.to_string());
        self.id.is_none_or(|id| id == it.id)
            && self.kind.is_none_or(|kind| kind == it.kind)
            && self.route.as_ref().is_none_or(|route| is_like(&it.route, route))
            && self.fingerprint.as_ref().is_none_or(|text| *text == it.fingerprint.to_string())
            && self.parent.as_ref().is_none_or(|text| Some(text) == parent.as_ref())
            && self.table.as_ref().is_none_or(|table| tables.iter().any(|it| is_like(it, table)))
            && self.expires.is_none_or(|expires| now < expires)
            && self.repeat_max.is_none_or(|most| repeat <= most)
    }

    /// Whether it names anything: an entry that fits every finding is a mistake.
    #[must_use]
    pub fn is_specific(&self) -> bool {
        let patterns = [&self.route, &self.fingerprint, &self.parent, &self.table];
        self.id.is_some() || self.kind.is_some() || patterns.iter().any(|pattern| pattern.is_some())
    }
}

/// Whether `text` fits a pattern in which `*` stands for any characters.
#[must_use]
pub fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let Some(tail) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or("");
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::FindingSettings;
    use crate::testing::Script;

    fn detection() -> Detection {
        let mut script = Script::new();
        script.repeat(4, |script, _| {
            script.keyed("SELECT v FROM settings WHERE k = $1", 1);
        });
        script.evaluate(&FindingSettings::default()).remove(0)
    }

    #[track_caller]
    fn check(ack: Ack, expected: FindingState) {
        let acks = Acks::new(vec![ack], []);
        assert_eq!(acks.state(&detection(), 4, &["settings"], 100).0, expected, "{acks:?}");
    }

    #[test]
    fn everything_that_is_given_must_fit() {
        let it = detection();
        let all = Ack {
            id: Some(it.id),
            kind: Some(FindingKind::Duplicate),
            route: Some("/p*e".into()),
            fingerprint: Some(it.fingerprint.to_string()),
            table: Some("set*".into()),
            reason: "read by the framework".into(),
            expires: Some(101),
            repeat_max: Some(4),
            ..Ack::default()
        };
        check(all.clone(), FindingState::Acked);
        check(Ack { kind: Some(FindingKind::NPlusOne), ..all.clone() }, FindingState::New);
        check(Ack { route: Some("/q*".into()), ..all.clone() }, FindingState::New);
        check(Ack { parent: Some("0".into()), ..all.clone() }, FindingState::New);
        check(Ack { table: Some("users".into()), ..all.clone() }, FindingState::New);
        check(Ack { expires: Some(100), ..all.clone() }, FindingState::New);
        check(Ack { repeat_max: Some(3), ..all.clone() }, FindingState::New);
        assert!(all.is_specific() && !Ack::default().is_specific());
    }

    #[test]
    fn the_first_entry_that_fits_counts_whatever_it_names() {
        let it = detection();
        let reason = |reason: &str| Ack { reason: reason.into(), ..Ack::default() };
        let by = [
            Ack { table: Some("set*".into()), ..reason("table") },
            Ack { id: Some(it.id), ..reason("id") },
            Ack { fingerprint: Some(it.fingerprint.to_string()), ..reason("fingerprint") },
            Ack { route: Some("/page".into()), ..reason("route") },
            Ack { kind: Some(it.kind), route: Some("/pa*".into()), ..reason("pattern") },
        ];
        for turn in 0..by.len() {
            let mut entries = by.to_vec();
            entries.rotate_left(turn);
            // Others that fit nothing stand in between.
            let missing = Ack { route: Some("/other".into()), ..reason("other") };
            let entries = entries.into_iter().flat_map(|ack| [missing.clone(), ack]).collect();
            let (_, found) = Acks::new(entries, []).state(&it, 4, &["settings"], 0);
            assert_eq!(found.as_deref(), Some(by[turn].reason.as_str()));
        }
    }

    #[test]
    fn many_entries_that_name_findings_are_not_walked_through() {
        let it = detection();
        let other = |n| Ack { id: Some(FindingId(n)), reason: "other".into(), ..Ack::default() };
        let acks = Acks::new((0..10_000).map(other).collect(), []);
        let looked_at = acks.places.get(&Named::Id(it.id)).into_iter().chain(acks.places.get(&Named::Any));
        assert_eq!(looked_at.map(Vec::len).sum::<usize>(), 0);
        assert_eq!(acks.state(&it, 4, &[], 0).0, FindingState::New);
    }

    #[test]
    fn the_baseline_is_known() {
        let acks = Acks::new(Vec::new(), [detection().id]);
        assert_eq!(acks.state(&detection(), 4, &[], 0), (FindingState::Known, None));
    }

    #[test]
    fn patterns_fit_the_whole_text() {
        for (text, pattern, expected) in [
            ("/a/b", "/a/b", true),
            ("/a/b", "/a", false),
            ("/a/b", "/a*", true),
            ("/a/b/c", "*/b/*", true),
            ("/a/b", "*", true),
            ("ab", "a*b*b", false),
            ("", "", true),
            ("aba", "ab*ba", false),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} {pattern}");
        }
    }
}
