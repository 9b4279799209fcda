//! The filter language: one line that says what to show, the same on web pages, in the API, `tap`, `top` and reports.
//!
//! ```text
//! route:/orders d>100ms op:select n+1 -error "two words"
//! ```
//!
//! Terms are separated by spaces and all must hold; `-` or `!` before a term turns it round. Whatever is no known
//! term is text to look for; quotes make text of anything. A [`Filter`] is pure: text in, and yes or no for a
//! [`Subject`]. What a subject does not have (a session has no SQLSTATE) fits no term about it.

use thiserror::Error;

/// Bytes of a filter; more was not typed by a person.
const FILTER_BYTES_MAX: usize = 1_024;

/// What a line of terms lets through. The default lets through everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    terms: Vec<Term>,
}

/// Why a line is no filter.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("character {position} of the filter: {problem}")]
pub(crate) struct FilterError {
    /// Number of the character where the term begins, from 1.
    pub(crate) position: usize,
    /// What is wrong with it.
    pub(crate) problem: String,
}

/// Something a filter is asked about, as far as its kind of thing has these properties.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject<'a> {
    /// Where plain text is looked for.
    pub(crate) texts: Vec<&'a str>,
    /// A statement may have several.
    pub(crate) routes: Vec<&'a str>,
    /// Kind and first word of a statement, in lower case.
    pub(crate) operations: Vec<&'a str>,
    pub(crate) duration_ns: Option<u64>,
    /// Queries of a request, calls of a statement, repeats of a finding.
    pub(crate) count: Option<u64>,
    pub(crate) rows: Option<u64>,
    pub(crate) sqlstates: Vec<&'a str>,
    pub(crate) tags: Vec<&'a str>,
    /// Kind of a finding.
    pub(crate) kind: Option<&'a str>,
    pub(crate) severity: Option<&'a str>,
    pub(crate) state: Option<&'a str>,
    pub(crate) database: Option<&'a str>,
    pub(crate) application: Option<&'a str>,
    pub(crate) request: Option<&'a str>,
    pub(crate) session: Option<u64>,
    pub(crate) fingerprints: [Option<&'a str>; 2],
    pub(crate) is_duplicate: bool,
    pub(crate) is_error: bool,
    pub(crate) is_n_plus_one: bool,
    pub(crate) is_open: bool,
    pub(crate) is_slow: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    is_negated: bool,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// The property begins with this, or holds it, depending on the property; in lower case.
    Field(Field, String),
    Flag(Flag),
    Quantity(Quantity, Comparison, u64),
    /// In lower case.
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Application,
    Database,
    Fingerprint,
    Kind,
    Operation,
    Request,
    Route,
    Session,
    Severity,
    Sqlstate,
    State,
    Tag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Duplicate,
    Error,
    NPlusOne,
    Open,
    Slow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    Count,
    DurationNs,
    Rows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    Equal,
    Less,
    More,
}

/// Names before a colon.
const FIELDS: [(&str, Field); 16] = [
    ("app", Field::Application),
    ("db", Field::Database),
    ("database", Field::Database),
    ("fingerprint", Field::Fingerprint),
    ("fp", Field::Fingerprint),
    ("kind", Field::Kind),
    ("op", Field::Operation),
    ("request", Field::Request),
    ("route", Field::Route),
    ("session", Field::Session),
    ("severity", Field::Severity),
    ("sqlstate", Field::Sqlstate),
    ("state", Field::State),
    ("tag", Field::Tag),
    ("trace", Field::Request),
    ("application", Field::Application),
];

/// Words that stand alone.
const FLAGS: [(&str, Flag); 6] = [
    ("duplicate", Flag::Duplicate),
    ("error", Flag::Error),
    ("n+1", Flag::NPlusOne),
    ("nplus1", Flag::NPlusOne),
    ("open", Flag::Open),
    ("slow", Flag::Slow),
];

/// Names before a comparison.
const QUANTITIES: [(&str, Quantity); 5] = [
    ("count", Quantity::Count),
    ("d", Quantity::DurationNs),
    ("duration", Quantity::DurationNs),
    ("n", Quantity::Count),
    ("rows", Quantity::Rows),
];

/// Comparisons; the longer ones first.
const COMPARISONS: [(&str, Comparison); 5] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

/// Units of a duration in nanoseconds; the longer names first.
const UNITS: [(&str, u64); 6] =
    [("ns", 1), ("us", 1_000), ("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000)];

/// One line about the language, for help texts.
pub(crate) const HELP: &str =
    "route:/orders d>100ms op:select n+1 slow error sqlstate:23 tag:catalog text; -term for not";

impl Filter {
    /// Reads a line.
    ///
    /// # Errors
    /// The first term that makes no sense, and where it stands.
    pub(crate) fn parse(line: &str) -> Result<Self, FilterError> {
        if line.len() > FILTER_BYTES_MAX {
            let problem = format!("the filter is longer than {FILTER_BYTES_MAX} bytes");
            return Err(FilterError { position: 1, problem });
        }
        let mut terms = Vec::new();
        let mut rest = Cursor { characters: line.char_indices().peekable(), line };
        while let Some((position, word)) = rest.word()? {
            let wrong = |problem| FilterError { position, problem };
            terms.push(word.term().map_err(wrong)?);
        }
        Ok(Self { terms })
    }

    /// Whether it lets everything through.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether it asks for kinds of statements itself: then nothing is hidden as noise.
    pub(crate) fn names_operations(&self) -> bool {
        self.terms.iter().any(|term| matches!(term.test, Test::Field(Field::Operation, _)))
    }

    /// Whether it lets `subject` through.
    pub(crate) fn lets_through(&self, subject: &Subject<'_>) -> bool {
        self.terms.iter().all(|term| term.test.holds(subject) != term.is_negated)
    }
}

impl Test {
    fn holds(&self, it: &Subject<'_>) -> bool {
        match self {
            Self::Field(field, wanted) => field.holds(wanted, it),
            Self::Flag(Flag::Duplicate) => it.is_duplicate,
            Self::Flag(Flag::Error) => it.is_error,
            Self::Flag(Flag::NPlusOne) => it.is_n_plus_one,
            Self::Flag(Flag::Open) => it.is_open,
            Self::Flag(Flag::Slow) => it.is_slow,
            Self::Quantity(quantity, comparison, wanted) => {
                let value = match quantity {
                    Quantity::Count => it.count,
                    Quantity::DurationNs => it.duration_ns,
                    Quantity::Rows => it.rows,
                };
                value.is_some_and(|value| comparison.holds(value, *wanted))
            }
            Self::Text(wanted) => it.texts.iter().any(|text| has(text, wanted)),
        }
    }
}

impl Field {
    fn holds(self, wanted: &str, it: &Subject<'_>) -> bool {
        let within = |value: Option<&str>| value.is_some_and(|value| has(value, wanted));
        let begins = |value: Option<&str>| value.is_some_and(|value| begins_with(value, wanted));
        match self {
            Self::Application => within(it.application),
            Self::Database => within(it.database),
            Self::Fingerprint => it.fingerprints.iter().any(|value| begins(*value)),
            Self::Kind => begins(it.kind),
            Self::Operation => it.operations.iter().any(|value| begins(Some(value))),
            Self::Request => within(it.request),
            Self::Route => it.routes.iter().any(|route| has(route, wanted)),
            Self::Session => it.session.is_some_and(|session| session.to_string() == wanted),
            Self::Severity => begins(it.severity),
            Self::Sqlstate => it.sqlstates.iter().any(|value| begins(Some(value))),
            Self::State => begins(it.state),
            Self::Tag => it.tags.iter().any(|tag| has(tag, wanted)),
        }
    }
}

impl Comparison {
    fn holds(self, value: u64, wanted: u64) -> bool {
        match self {
            Self::AtLeast => value >= wanted,
            Self::AtMost => value <= wanted,
            Self::Equal => value == wanted,
            Self::Less => value < wanted,
            Self::More => value > wanted,
        }
    }
}

/// Whether `text` holds `wanted`, which is in lower case. ASCII letters of either case are the same.
pub(crate) fn has(text: &str, wanted: &str) -> bool {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    let Some(first) = wanted.first() else { return true };
    text.windows(wanted.len()).any(|window| {
        window.first().is_some_and(|byte| byte.eq_ignore_ascii_case(first))
            && window.eq_ignore_ascii_case(wanted)
    })
}

fn begins_with(text: &str, wanted: &str) -> bool {
    text.as_bytes().get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// A word of the line with its quotes gone.
struct Word {
    is_negated: bool,
    /// What stood before the first quote: the only part that can name a term.
    bare: String,
    /// All of it.
    whole: String,
    has_quotes: bool,
}

impl Word {
    fn term(self) -> Result<Term, String> {
        let is_negated = self.is_negated;
        Ok(Term { is_negated, test: self.test()? })
    }

    fn test(self) -> Result<Test, String> {
        let lower = self.whole.to_lowercase();
        if self.has_quotes && self.bare.is_empty() {
            return Ok(Test::Text(lower));
        }
        if let Some((_, flag)) = FLAGS.iter().find(|(name, _)| !self.has_quotes && *name == lower) {
            return Ok(Test::Flag(*flag));
        }
        if let Some(quantity) = self.quantity() {
            return quantity;
        }
        let Some((name, value)) = lower.split_once(':').filter(|(name, value)| is_field(name, value)) else {
            return Ok(Test::Text(lower));
        };
        match FIELDS.iter().find(|(known, _)| *known == name) {
            Some(_) if value.is_empty() => Err(format!("{name}: wants a value, such as {name}:x")),
            Some((_, field)) => Ok(Test::Field(*field, value.to_owned())),
            None => Err(format!(
                "there is no property `{name}`; there are app, db, fp, kind, op, request, route, session, severity, \
                 sqlstate, state, tag. Quote it to look for the text"
            )),
        }
    }

    /// A comparison of a number; `None` when it is something else.
    fn quantity(&self) -> Option<Result<Test, String>> {
        let at = self.bare.find(['<', '=', '>'])?;
        let (name, rest) = self.bare.split_at_checked(at)?;
        let name = name.to_ascii_lowercase();
        let (_, quantity) = QUANTITIES.iter().find(|(known, _)| *known == name)?;
        let (sign, comparison) = COMPARISONS.iter().find(|(sign, _)| rest.starts_with(sign))?;
        let value = rest.get(sign.len()..).unwrap_or_default();
        let number = match quantity {
            Quantity::DurationNs => nanoseconds(value)
                .ok_or_else(|| format!("`{value}` is no duration: write 100ms, 1.5s or 500us")),
            _ => value.parse().map_err(|_| format!("`{value}` is no number: write {name}{sign}10")),
        };
        Some(number.map(|number| Test::Quantity(*quantity, *comparison, number)))
    }
}

/// Whether a word with a colon names a property: SQL has casts (`id::int`), and addresses have ports.
fn is_field(name: &str, value: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic()) && !value.starts_with(':')
}

fn nanoseconds(text: &str) -> Option<u64> {
    let lower = text.to_lowercase();
    let (number, unit) =
        UNITS.iter().find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, *factor)))?;
    let number: f64 =
        number.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
    // Saturates: nothing takes 584 years.
    Some((number * unit as f64).round() as u64)
}

/// Cuts the line into words.
struct Cursor<'a> {
    characters: std::iter::Peekable<std::str::CharIndices<'a>>,
    line: &'a str,
}

impl Cursor<'_> {
    /// The next word with the number of its first character; `None` at the end.
    fn word(&mut self) -> Result<Option<(usize, Word)>, FilterError> {
        while self.characters.next_if(|(_, character)| character.is_whitespace()).is_some() {}
        let Some(&(start, first)) = self.characters.peek() else { return Ok(None) };
        let position = self.number(start);
        let mut word =
            Word { is_negated: false, bare: String::new(), whole: String::new(), has_quotes: false };
        if matches!(first, '-' | '!') {
            self.characters.next();
            word.is_negated = true;
            let is_alone = self.characters.peek().is_none_or(|(_, character)| character.is_whitespace());
            if is_alone {
                let problem = format!("`{first}` wants a term behind it; quote it to look for the character");
                return Err(FilterError { position, problem });
            }
        }
        while let Some((at, character)) = self.characters.next_if(|(_, it)| !it.is_whitespace()) {
            if character == '"' {
                self.quoted(at, &mut word)?;
                continue;
            }
            word.whole.push(character);
            if !word.has_quotes {
                word.bare.push(character);
            }
        }
        Ok(Some((position, word)))
    }

    /// The rest of a quoted text; a backslash takes the next character as it is.
    fn quoted(&mut self, start: usize, word: &mut Word) -> Result<(), FilterError> {
        word.has_quotes = true;
        while let Some((_, character)) = self.characters.next() {
            match character {
                '"' => return Ok(()),
                '\\' => word.whole.extend(self.characters.next().map(|(_, character)| character)),
                other => word.whole.push(other),
            }
        }
        Err(FilterError { position: self.number(start), problem: "the quote is not closed".into() })
    }

    fn number(&self, byte: usize) -> usize {
        self.line.get(..byte).map_or(1, |before| before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests;
