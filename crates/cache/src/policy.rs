//! What the operator allows: limits for all, and rules for single statements.
//!
//! A rule is the operator's word and may choose any mode and lifetime. A hint is the application's, in a comment that
//! may come from elsewhere: it only narrows what a rule, or else the limits for all, allow.

use std::collections::BTreeSet;
use std::time::Duration;

use pgtally_fingerprint::{Fingerprint, Table};
use regex::Regex;

use crate::hint::Hint;

/// What an answer from the cache is promised to be. Later ones are stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// True at some moment within its lifetime.
    Ttl,
    /// As `Ttl`, and not older than the session's own last acknowledged write.
    Session,
    /// What the primary would have answered at some instant between question and answer.
    Commit,
}

impl Mode {
    /// All modes, loosest first.
    pub const ALL: [Self; 3] = [Self::Ttl, Self::Session, Self::Commit];

    /// As configuration and hints write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::Session => "session",
            Self::Commit => "commit",
        }
    }

    /// The mode of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What hints may ask for at most, and what they get where they ask for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Loosest mode.
    pub mode: Mode,
    /// Longest lifetime.
    pub ttl: Duration,
    /// Longest time beyond it, in mode `ttl`.
    pub stale: Duration,
    /// Longest answer in bytes.
    pub bytes_max: usize,
}

/// One rule. What is `None` or empty matches everything.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// Database of the session.
    pub database: Option<Box<str>>,
    /// User of the session.
    pub user: Option<Box<str>>,
    /// Shape of the statement.
    pub fingerprint: Option<Fingerprint>,
    /// Matches the normalized text.
    pub pattern: Option<Regex>,
    /// All tables that the statement names are among these, and there is one.
    pub tables: Vec<Box<str>>,
    /// Its statements are not cached.
    pub is_off: bool,
    /// What its statements get, and hints on them at most.
    pub limits: Limits,
    /// Tags of its statements' answers.
    pub tags: Vec<Box<str>>,
    /// Settings, in small letters, whose values part its statements' answers.
    pub vary: Vec<Box<str>>,
}

/// A statement as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Database of the session.
    pub database: &'a str,
    /// User of the session.
    pub user: &'a str,
    /// Shape.
    pub fingerprint: Fingerprint,
    /// Text of the shape.
    pub normalized: &'a str,
    /// Tables it names.
    pub tables: &'a [Table],
}

impl Policy {
    /// All settings that rules name in `vary`, each once.
    #[must_use]
    pub fn vary(&self) -> Vec<Box<str>> {
        let all: BTreeSet<&Box<str>> = self.rules.iter().flat_map(|rule| &rule.vary).collect();
        all.into_iter().cloned().collect()
    }

    /// Whether what is asked of a statement may depend on the literals that its shape keeps.
    #[must_use]
    pub fn reads_shapes(&self) -> bool {
        self.rules.iter().any(|rule| rule.fingerprint.is_some() || rule.pattern.is_some())
    }
}

impl Rule {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let is_listed = |table: &Table| {
            let name = |listed: &str| match listed.split_once('.') {
                Some((schema, name)) => table.schema.as_deref() == Some(schema) && table.name == name,
                None => table.name == listed,
            };
            self.tables.iter().any(|listed| name(listed))
        };
        self.database.as_deref().is_none_or(|database| database == subject.database)
            && self.user.as_deref().is_none_or(|user| user == subject.user)
            && self.fingerprint.is_none_or(|fingerprint| fingerprint == subject.fingerprint)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(subject.normalized))
            && (self.tables.is_empty()
                || (!subject.tables.is_empty() && subject.tables.iter().all(is_listed)))
    }
}

/// How the answer of one text is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Promise.
    pub mode: Mode,
    /// Lifetime.
    pub ttl: Duration,
    /// Time beyond it for which the old answer is given while one session fetches a new one; 0 but in mode `ttl`.
    pub stale: Duration,
    /// Longest answer in bytes.
    pub bytes_max: usize,
    /// Names by which it is made old.
    pub tags: Vec<Box<str>>,
    /// Settings whose values part it from others.
    pub vary: Vec<Box<str>>,
}

/// What is decided of one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its answer may be kept.
    Cache(Plan),
    /// It was to be kept, and something forbids it.
    Off,
    /// Nobody asks for it.
    Unasked,
}

/// All that the operator has written.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether hints count.
    pub are_hints_on: bool,
    /// Of statements without a rule.
    pub limits: Limits,
    /// In the order of their names; the first that matches counts.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// What `hint` gets for `subject`, and how many of its wishes are refused.
    #[must_use]
    pub fn decide(&self, hint: &Hint, subject: &Subject<'_>) -> (Decision, u32) {
        let rule = self.rules.iter().find(|rule| rule.matches(subject));
        let is_hinted = self.are_hints_on && hint.is_wanted;
        if rule.is_none() && !is_hinted {
            return (Decision::Unasked, 0);
        }
        // Opting out needs nobody's leave.
        if hint.is_off || rule.is_some_and(|rule| rule.is_off) {
            return (Decision::Off, 0);
        }
        let limits = rule.map_or(&self.limits, |rule| &rule.limits);
        let mut plan = Plan {
            mode: limits.mode,
            ttl: limits.ttl,
            stale: limits.stale,
            bytes_max: limits.bytes_max,
            tags: rule.map(|rule| rule.tags.clone()).unwrap_or_default(),
            vary: rule.map(|rule| rule.vary.clone()).unwrap_or_default(),
        };
        let refused = if is_hinted { plan.narrow(hint) } else { 0 };
        if plan.mode != Mode::Ttl {
            plan.stale = Duration::ZERO;
        }
        (Decision::Cache(plan), refused)
    }
}

impl Plan {
    /// Takes over what `hint` asks for within the limits; answers with the number of wishes beyond them.
    fn narrow(&mut self, hint: &Hint) -> u32 {
        let mut refused = 0;
        let mut within = |is_within: bool| {
            refused += u32::from(!is_within);
            is_within
        };
        if let Some(mode) = hint.mode.filter(|mode| within(*mode >= self.mode)) {
            self.mode = mode;
        }
        if let Some(ttl) = hint.ttl.filter(|ttl| within(*ttl <= self.ttl)) {
            self.ttl = ttl;
        }
        if let Some(stale) = hint.stale.filter(|stale| within(*stale <= self.stale)) {
            self.stale = stale;
        }
        if let Some(bytes_max) = hint.bytes_max.filter(|bytes| within(*bytes <= self.bytes_max)) {
            self.bytes_max = bytes_max;
        }
        // More names only make an answer old more often.
        for tag in &hint.tags {
            if !self.tags.contains(tag) {
                self.tags.push(tag.clone());
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limits(mode: Mode) -> Limits {
        Limits { mode, ttl: 5 * MINUTE, stale: MINUTE, bytes_max: 1_000 }
    }

    fn rule() -> Rule {
        Rule {
            name: "one".into(),
            database: None,
            user: None,
            fingerprint: None,
            pattern: None,
            tables: Vec::new(),
            is_off: false,
            limits: limits(Mode::Ttl),
            tags: vec!["catalog".into()],
            vary: vec!["app.tenant".into()],
        }
    }

    fn decide(rules: Vec<Rule>, comment: &str) -> (Decision, u32) {
        let tables = ["products", "prices"].map(|name| Table { schema: None, name: name.into() });
        let subject = Subject {
            database: "shop",
            user: "ann",
            fingerprint: Fingerprint(7),
            normalized: "SELECT name FROM products JOIN prices USING (id)",
            tables: &tables,
        };
        let policy = Policy { are_hints_on: true, limits: limits(Mode::Session), rules };
        policy.decide(&Hint::read([comment.as_bytes()].into_iter(), true), &subject)
    }

    fn plan(rules: Vec<Rule>, comment: &str) -> (Plan, u32) {
        match decide(rules, comment) {
            (Decision::Cache(plan), refused) => (plan, refused),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hints_only_narrow() {
        let (plan, refused) = plan(vec![], "pgtally:cache mode=commit ttl=30s max_bytes=10 tags=a");
        assert_eq!(
            (plan.mode, plan.ttl, plan.stale, plan.bytes_max),
            (Mode::Commit, MINUTE / 2, Duration::ZERO, 10)
        );
        assert_eq!(refused, 0);
        let (plan, refused) = self::plan(vec![], "pgtally:cache mode=ttl ttl=1h max_bytes=9999999 swr=1h");
        assert_eq!((plan.mode, plan.ttl, plan.bytes_max), (Mode::Session, 5 * MINUTE, 1_000));
        assert_eq!(refused, 4);
    }

    #[test]
    fn rules_match_by_all_they_name() {
        let off = Decision::Unasked;
        for (change, is_matching) in [
            (&(|_: &mut Rule| {}) as &dyn Fn(&mut Rule), true),
            (&|rule| rule.database = Some("shop".into()), true),
            (&|rule| rule.database = Some("other".into()), false),
            (&|rule| rule.user = Some("bob".into()), false),
            (&|rule| rule.fingerprint = Some(Fingerprint(8)), false),
            (&|rule| rule.pattern = Regex::new("FROM products").ok(), true),
            (&|rule| rule.pattern = Regex::new("FROM orders").ok(), false),
            (&|rule| rule.tables = vec!["products".into(), "prices".into(), "x".into()], true),
            (&|rule| rule.tables = vec!["products".into()], false),
            (&|rule| rule.tables = vec!["public.products".into(), "prices".into()], false),
        ] {
            let mut rule = rule();
            change(&mut rule);
            assert_eq!(decide(vec![rule.clone()], "").0 != off, is_matching, "{rule:?}");
        }
    }

    #[test]
    fn the_first_rule_counts_and_opting_out_always() {
        let first = Rule { is_off: true, ..rule() };
        assert_eq!(decide(vec![first, rule()], "pgtally:cache").0, Decision::Off);
        assert_eq!(decide(vec![rule()], "pgtally:nocache").0, Decision::Off);
        assert_eq!(decide(vec![], "pgtally:nocache").0, Decision::Unasked);
        let (plan, _) = plan(vec![rule()], "pgtally:cache tags=catalog,b");
        assert_eq!((plan.mode, plan.stale), (Mode::Ttl, MINUTE));
        assert_eq!(plan.tags, vec![Box::from("catalog"), Box::from("b")]);
        assert_eq!(plan.vary, vec![Box::from("app.tenant")]);
    }
}
