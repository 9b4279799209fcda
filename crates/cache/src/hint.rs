//! What the comments of a statement ask of the cache.
//!
//! Two forms: `/*pgtally_cache='ttl%3D30s%3Btags%3Dproduct%3A42'*/` beside other tags of sqlcommenter, and by hand
//! `/* pgtally:cache ttl=30s tags=product:42,catalog */`, `/* pgtally:nocache */`,
//! `/* pgtally:invalidate tags=product:42 */`. pgpool's `/*NO QUERY CACHE*/` counts as well, so that migrations keep
//! their opt-outs. Nonsense is counted and ignored, except where ignoring it would keep what is old: an invalidation
//! that cannot be read is one of everything.

use std::time::Duration;

use pgtally_fingerprint::tags;

use crate::facts::TAGS_MAX;
use crate::policy::Mode;

/// Bytes of the longest tag.
pub const TAG_BYTES_MAX: usize = 128;

/// What one text asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// Its answer may be kept.
    pub is_wanted: bool,
    /// Its answer may not be kept, whatever else is said.
    pub is_off: bool,
    /// How fresh the answer has to be.
    pub mode: Option<Mode>,
    /// Oldest answer.
    pub ttl: Option<Duration>,
    /// How much older an answer may be while a new one is fetched.
    pub stale: Option<Duration>,
    /// Longest answer in bytes.
    pub bytes_max: Option<usize>,
    /// Names by which answers are made old.
    pub tags: Vec<Box<str>>,
    /// Tags that its transaction makes old.
    pub invalidates: Vec<Box<str>>,
    /// It makes something old, and what cannot be read.
    pub is_invalidation_unreadable: bool,
    /// Words that mean nothing here.
    pub nonsense: u32,
}

impl Hint {
    /// Reads the bodies of a text's comments. `is_complete` is false where there are more of them.
    pub fn read<'a>(comments: impl Iterator<Item = &'a [u8]>, is_complete: bool) -> Self {
        let mut hint =
            Self { is_invalidation_unreadable: !is_complete, is_off: !is_complete, ..Self::default() };
        for comment in comments {
            hint.comment(comment);
        }
        hint
    }

    fn comment(&mut self, comment: &[u8]) {
        if comment.trim_ascii().eq_ignore_ascii_case(b"NO QUERY CACHE") {
            self.is_off = true;
            return;
        }
        if memchr::memmem::find(comment, b"pgtally").is_none() {
            return;
        }
        let invalidated = self.invalidates.len();
        for (key, value) in tags::parse(comment) {
            match key.as_ref() {
                "pgtally_cache" | "pgtally:cache" => self.cache(&value),
                "pgtally:nocache" => self.is_off = true,
                "pgtally_invalidate" => self.invalidate(&value),
                "pgtally:invalidate" => match value.trim().strip_prefix("tags=") {
                    Some(tags) => self.invalidate(tags),
                    None => self.nonsense += 1,
                },
                _ if key.starts_with("pgtally:") || key.starts_with("pgtally_cache") => self.nonsense += 1,
                _ => {}
            }
        }
        let is_invalidation = [&b"pgtally:invalidate"[..], b"pgtally_invalidate"]
            .iter()
            .any(|word| memchr::memmem::find(comment, word).is_some());
        self.is_invalidation_unreadable |= is_invalidation && self.invalidates.len() == invalidated;
    }

    fn cache(&mut self, value: &str) {
        self.is_wanted = true;
        let words = value.split([';', ' ', '\t', '\n']).map(str::trim).filter(|word| !word.is_empty());
        for word in words {
            let is_read = match word.split_once('=') {
                None if word == "off" => {
                    self.is_off = true;
                    true
                }
                None => word == "on",
                Some(("ttl", text)) => put(&mut self.ttl, ttl(text)),
                Some(("swr" | "stale_while_revalidate", text)) => put(&mut self.stale, duration(text)),
                Some(("mode", text)) => put(&mut self.mode, Mode::named(text)),
                Some(("max_bytes", text)) => put(&mut self.bytes_max, text.parse().ok()),
                Some(("tags", text)) => read_tags(text, &mut self.tags),
                Some(_) => false,
            };
            self.nonsense += u32::from(!is_read);
        }
    }

    fn invalidate(&mut self, text: &str) {
        let is_read = read_tags(text, &mut self.invalidates);
        self.is_invalidation_unreadable |= !is_read;
        self.nonsense += u32::from(!is_read);
    }
}

fn put<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let is_read = value.is_some();
    // The first word counts: a later comment may be somebody else's.
    if place.is_none() {
        *place = value;
    }
    is_read
}

/// Adds the tags of a list; false where one is none.
fn read_tags(text: &str, tags: &mut Vec<Box<str>>) -> bool {
    let mut is_read = false;
    for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
        if !is_tag(tag) || tags.len() >= TAGS_MAX {
            return false;
        }
        is_read = true;
        if !tags.iter().any(|known| **known == *tag) {
            tags.push(tag.into());
        }
    }
    is_read
}

/// Whether `text` can be a tag: printable, without the characters that part tags from each other.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    let is_fine = |c: char| !c.is_control() && !c.is_whitespace() && !";,'\"=".contains(c);
    !text.is_empty() && text.len() <= TAG_BYTES_MAX && text.chars().all(is_fine)
}

/// A time to live: a class or a duration.
#[must_use]
pub fn ttl(text: &str) -> Option<Duration> {
    match text {
        "short" => Some(Duration::from_secs(60)),
        "medium" => Some(Duration::from_secs(300)),
        "long" => Some(Duration::from_secs(600)),
        _ => duration(text).filter(|duration| !duration.is_zero()),
    }
}

/// `250ms`, `30s`, `5m`, `2h`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(comments: &[&str]) -> Hint {
        Hint::read(comments.iter().map(|comment| comment.as_bytes()), true)
    }

    fn tags(tags: &[&str]) -> Vec<Box<str>> {
        tags.iter().map(|tag| Box::from(*tag)).collect()
    }

    #[test]
    fn both_forms_say_the_same() {
        let expected = Hint {
            is_wanted: true,
            mode: Some(Mode::Commit),
            ttl: Some(Duration::from_secs(30)),
            tags: tags(&["product:42", "catalog"]),
            ..Hint::default()
        };
        let sqlcommenter = "traceparent='00-a-b-01',\
            pgtally_cache='ttl%3D30s%3Bmode%3Dcommit%3Btags%3Dproduct%3A42%2Ccatalog'";
        assert_eq!(read(&[sqlcommenter]), expected);
        assert_eq!(read(&[" pgtally:cache ttl=30s mode=commit tags=product:42,catalog "]), expected);
        assert_eq!(
            read(&[
                "route='/x'",
                " pgtally:cache mode=commit",
                "pgtally:cache ttl=30s tags=product:42,catalog ttl=1h"
            ]),
            expected
        );
    }

    #[test]
    fn opting_out_wins() {
        for comment in ["pgtally:nocache", "NO QUERY CACHE", " no query cache ", "pgtally_cache='off'"] {
            assert!(read(&["pgtally:cache ttl=30s", comment]).is_off, "{comment}");
        }
        assert_eq!(read(&["/*FORCE QUERY CACHE*/", "do not cache", "NO QUERY CACHES"]), Hint::default());
    }

    #[test]
    fn invalidations_name_tags_or_mean_everything() {
        assert_eq!(read(&["pgtally:invalidate tags=a,b:1"]).invalidates, tags(&["a", "b:1"]));
        assert_eq!(read(&["pgtally_invalidate='a%2Cb%3A1'"]).invalidates, tags(&["a", "b:1"]));
        let long = format!("pgtally:invalidate tags={}", "x".repeat(300));
        for comment in ["pgtally:invalidate", "pgtally:invalidate a", "pgtally_invalidate=''", long.as_str()]
        {
            assert!(read(&[comment]).is_invalidation_unreadable, "{comment}");
        }
        assert!(Hint::read([].into_iter(), false).is_invalidation_unreadable);
    }

    #[test]
    fn nonsense_is_counted_and_ignored() {
        let check = |comment: &str, nonsense: u32| {
            let hint = read(&[comment]);
            let kept = Hint { is_wanted: hint.is_wanted, nonsense, ..Hint::default() };
            assert_eq!(hint, kept, "{comment}");
        };
        check("pgtally:cache ttl=-1s", 1);
        check("pgtally:cache ttl=0s ttl=99999999999999999999h ttl=3 mode=never", 4);
        check("pgtally:cache tags= colour=red max_bytes=lots", 3);
        check("pgtally_cache='ttl%3D5s%", 1);
        check("pgtally:cash ttl=30s", 1);
        check("see pgtally for more", 0);
    }

    #[test]
    fn lifetimes_have_classes() {
        assert_eq!(ttl("short"), Some(Duration::from_secs(60)));
        assert_eq!(ttl("medium"), Some(Duration::from_secs(300)));
        assert_eq!(ttl("long"), Some(Duration::from_secs(600)));
        assert_eq!(ttl("250ms"), Some(Duration::from_millis(250)));
    }
}
