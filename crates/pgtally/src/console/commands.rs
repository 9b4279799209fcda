//! The commands of the SQL console: text in, commands or words that say what is wrong.
//!
//! Drivers and psql say things of their own before anybody asks something: transaction control, settings, pings. These
//! are taken and mean nothing here. Pure, and bounded by the length of a message.

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Invalidate(Scope),
    /// What a driver says for itself, with the tag of its answer.
    Nothing(&'static str),
    Reload,
    /// `SELECT 1`, and `SELECT version()` for whoever wants to know.
    Select(Select),
    Show(Subject, Option<Like>),
}

/// The only questions that are answered with a SELECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Select {
    One,
    Version,
}

/// What is to be forgotten by the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Tables(Vec<String>),
    Tags(Vec<String>),
}

/// The pattern of a LIKE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Like {
    /// The value of a parameter, counted from 0.
    Parameter(usize),
    Text(String),
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Baselines,
    Cache,
    Config,
    Findings,
    Requests,
    Routes,
    Sessions,
    Statements,
    Stats,
    Version,
}

impl Subject {
    /// Every one, in the order of the names.
    pub(super) const ALL: [Self; 10] = [
        Self::Baselines,
        Self::Cache,
        Self::Config,
        Self::Findings,
        Self::Requests,
        Self::Routes,
        Self::Sessions,
        Self::Statements,
        Self::Stats,
        Self::Version,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Baselines => "BASELINES",
            Self::Cache => "CACHE",
            Self::Config => "CONFIG",
            Self::Findings => "FINDINGS",
            Self::Requests => "REQUESTS",
            Self::Routes => "ROUTES",
            Self::Sessions => "SESSIONS",
            Self::Statements => "STATEMENTS",
            Self::Stats => "STATS",
            Self::Version => "VERSION",
        }
    }
}

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misunderstood(pub(super) String);

/// What HELP and every error say.
pub(super) const HELP: &str = "SHOW BASELINES|CACHE|CONFIG|FINDINGS|REQUESTS|ROUTES|SESSIONS|STATEMENTS|STATS|VERSION \
    [LIKE 'pattern']; RELOAD; INVALIDATE TAG|TABLE name [, …]; INVALIDATE ALL; HELP";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Parameter(usize),
    Symbol(char),
    Text(String),
    Word(String),
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(it) if it.eq_ignore_ascii_case(word))
    }

    /// A name: a word, or a text in quotes.
    fn name(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Word(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }
}

/// The commands of a text, separated by semicolons.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, Misunderstood> {
    let tokens = out_of_parentheses(tokens(text)?);
    tokens.split(|token| *token == Token::Symbol(';')).filter(|it| !it.is_empty()).map(command).collect()
}

fn command(tokens: &[Token]) -> Result<Command, Misunderstood> {
    let Some((Token::Word(verb), rest)) = tokens.split_first() else {
        return Err(Misunderstood("a command begins with a word".into()));
    };
    match verb.to_ascii_uppercase().as_str() {
        "HELP" => Ok(Command::Help),
        "INVALIDATE" => invalidate(rest),
        "RELOAD" if rest.is_empty() => Ok(Command::Reload),
        "SELECT" => select(rest),
        "SHOW" => show(rest),
        "BEGIN" | "START" => Ok(Command::Nothing("BEGIN")),
        "COMMIT" | "END" => Ok(Command::Nothing("COMMIT")),
        "ROLLBACK" | "ABORT" => Ok(Command::Nothing("ROLLBACK")),
        "SET" => Ok(Command::Nothing("SET")),
        "RESET" => Ok(Command::Nothing("RESET")),
        "DISCARD" => Ok(Command::Nothing("DISCARD ALL")),
        "DEALLOCATE" => Ok(Command::Nothing("DEALLOCATE")),
        "CLOSE" => Ok(Command::Nothing("CLOSE CURSOR ALL")),
        "UNLISTEN" => Ok(Command::Nothing("UNLISTEN")),
        _ => Err(Misunderstood(format!("the console has no command {}", shown(verb)))),
    }
}

fn show(rest: &[Token]) -> Result<Command, Misunderstood> {
    let Some((subject, rest)) = rest.split_first() else {
        return Err(Misunderstood("SHOW what?".into()));
    };
    // `SHOW HELP`, as PgBouncer has it.
    if subject.is("HELP") && rest.is_empty() {
        return Ok(Command::Help);
    }
    let known = Subject::ALL.into_iter().find(|it| subject.is(it.name()));
    let Some(known) = known else {
        let name = subject.name().unwrap_or_default();
        return Err(Misunderstood(format!("SHOW {} shows nothing", shown(&name))));
    };
    match rest {
        [] => Ok(Command::Show(known, None)),
        [like, Token::Text(pattern)] if like.is("LIKE") => {
            Ok(Command::Show(known, Some(Like::Text(pattern.clone()))))
        }
        [like, Token::Parameter(number)] if like.is("LIKE") => {
            Ok(Command::Show(known, Some(Like::Parameter(*number))))
        }
        _ => Err(Misunderstood(format!("behind SHOW {} comes nothing, or LIKE 'pattern'", known.name()))),
    }
}

fn invalidate(rest: &[Token]) -> Result<Command, Misunderstood> {
    let wrong = || Misunderstood("INVALIDATE wants TAG name, TABLE name, or ALL".into());
    let (what, names) = rest.split_first().ok_or_else(wrong)?;
    if what.is("ALL") && names.is_empty() {
        return Ok(Command::Invalidate(Scope::All));
    }
    let list = names.split(|token| *token == Token::Symbol(','));
    let names: Option<Vec<String>> =
        list.map(|it| if let [name] = it { name.name() } else { None }).collect();
    let names = names.filter(|names| !names.is_empty()).ok_or_else(wrong)?;
    if what.is("TAG") || what.is("TAGS") {
        Ok(Command::Invalidate(Scope::Tags(names)))
    } else if what.is("TABLE") || what.is("TABLES") {
        Ok(Command::Invalidate(Scope::Tables(names)))
    } else {
        Err(wrong())
    }
}

fn select(rest: &[Token]) -> Result<Command, Misunderstood> {
    match rest {
        [one] if one.is("1") => Ok(Command::Select(Select::One)),
        [function, Token::Symbol('('), Token::Symbol(')')] if function.is("version") => {
            Ok(Command::Select(Select::Version))
        }
        // What asyncpg's pool says when it takes a connection back.
        [function, Token::Symbol('('), Token::Symbol(')')] if function.is("pg_advisory_unlock_all") => {
            Ok(Command::Select(Select::One))
        }
        _ => Err(Misunderstood("the console has no tables to select from".into())),
    }
}

/// A word of somebody else, fit for a message.
fn shown(word: &str) -> String {
    word.chars().filter(|character| !character.is_control()).take(40).collect()
}

fn tokens(text: &str) -> Result<Vec<Token>, Misunderstood> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let behind = rest.get(first.len_utf8()..).unwrap_or_default();
        rest = match first {
            _ if first.is_whitespace() => behind,
            '-' if behind.starts_with('-') => behind.split_once('\n').map_or("", |(_, next)| next),
            '/' if behind.starts_with('*') => {
                behind.split_once("*/").ok_or_else(|| Misunderstood("a comment has no end".into()))?.1
            }
            '\'' | '"' => {
                let (inner, next) = quoted(behind, first)?;
                tokens.push(if first == '"' { Token::Word(inner) } else { Token::Text(inner) });
                next
            }
            '$' => {
                let (digits, next) = split_at(behind, |c| c.is_ascii_digit());
                let number = digits.parse().ok().and_then(|number: usize| number.checked_sub(1));
                let number = number.filter(|number| *number < 100);
                tokens.push(Token::Parameter(
                    number.ok_or_else(|| Misunderstood("$ without a number".into()))?,
                ));
                next
            }
            _ if first.is_alphanumeric() || first == '_' => {
                let (word, next) = split_at(rest, |c| c.is_alphanumeric() || "_.:-".contains(c));
                tokens.push(Token::Word(word.into()));
                next
            }
            _ => {
                tokens.push(Token::Symbol(first));
                behind
            }
        };
    }
    Ok(tokens)
}

/// Takes single texts out of parentheses: the JDBC driver puts every value that it writes into a statement in some.
fn out_of_parentheses(mut tokens: Vec<Token>) -> Vec<Token> {
    let mut at = 0;
    while let Some(three) = tokens.get(at..at + 3) {
        if matches!(three, [Token::Symbol('('), Token::Text(_), Token::Symbol(')')]) {
            tokens.remove(at + 2);
            tokens.remove(at);
        }
        at += 1;
    }
    tokens
}

fn split_at(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// The text up to the closing quote, where a doubled one stands for itself, and what follows.
fn quoted(text: &str, quote: char) -> Result<(String, &str), Misunderstood> {
    let mut inner = String::new();
    let mut rest = text;
    loop {
        let (part, behind) =
            rest.split_once(quote).ok_or_else(|| Misunderstood("a quote is not closed".into()))?;
        inner.push_str(part);
        match behind.strip_prefix(quote) {
            Some(behind) => {
                inner.push(quote);
                rest = behind;
            }
            None => return Ok((inner, behind)),
        }
    }
}

/// Whether a text is like a pattern: `%` stands for any characters, `_` for one, `\` makes the next stand for itself.
pub(super) fn is_like(text: &str, pattern: &str) -> bool {
    // Where the last `%` stood, and how much of the text it has taken: going back further is never needed.
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut of, mut retry) = (0, 0, None);
    while let Some(character) = text.get(at) {
        match pattern.get(of) {
            Some('%') => {
                of += 1;
                retry = Some((at, of));
                continue;
            }
            Some('_') => (at, of) = (at + 1, of + 1),
            Some('\\') if pattern.get(of + 1) == Some(character) => (at, of) = (at + 1, of + 2),
            Some(same) if *same != '\\' && same == character => (at, of) = (at + 1, of + 1),
            _ => match retry {
                Some((from, after)) => {
                    retry = Some((from + 1, after));
                    (at, of) = (from + 1, after);
                }
                None => return false,
            },
        }
    }
    pattern.get(of..).is_none_or(|rest| rest.iter().all(|character| *character == '%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let check =
            |text: &str, expected: &[Command]| assert_eq!(parse(text).as_deref(), Ok(expected), "{text}");
        check("SHOW FINDINGS;", &[Command::Show(Subject::Findings, None)]);
        check(
            "show routes like '/o''r%' ; reload /* x */",
            &[Command::Show(Subject::Routes, Some(Like::Text("/o'r%".into()))), Command::Reload],
        );
        check("SHOW ROUTES LIKE ('/o%')", &[Command::Show(Subject::Routes, Some(Like::Text("/o%".into())))]);
        check("SHOW ROUTES LIKE $1", &[Command::Show(Subject::Routes, Some(Like::Parameter(0)))]);
        check(
            "INVALIDATE TAG product:42, 'a b'",
            &[Command::Invalidate(Scope::Tags(vec!["product:42".into(), "a b".into()]))],
        );
        check(
            "INVALIDATE TABLE \"public.t\"",
            &[Command::Invalidate(Scope::Tables(vec!["public.t".into()]))],
        );
        check("invalidate all", &[Command::Invalidate(Scope::All)]);
        check("SELECT 1", &[Command::Select(Select::One)]);
        check("-- nothing", &[]);
        check(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET a = 1",
            &[Command::Nothing("BEGIN"), Command::Nothing("SET")],
        );
    }

    #[test]
    fn everything_else_is_misunderstood() {
        for text in [
            "SHOW",
            "SHOW TABLES",
            "SHOW ROUTES LIKE",
            "SHOW ROUTES LIKE 1",
            "SHOW ROUTES LIKE (('a'))",
            "SHOW ROUTES LIKE ('a'",
            "SHOW ROUTES LIKE ()",
            "SHOW ROUTES 'x'",
            "RELOAD NOW",
            "INVALIDATE",
            "INVALIDATE TAG",
            "INVALIDATE TAG a,",
            "INVALIDATE ALL a",
            "SELECT * FROM t",
            "'x'",
            "DROP TABLE t",
            "SHOW 'x",
            "/* x",
            "SHOW ROUTES LIKE $",
            "SHOW ROUTES LIKE $0",
            "SHOW ROUTES LIKE $99999999999999999999",
            "\u{1b}[2J",
        ] {
            let error = parse(text).expect_err(text);
            assert!(!error.0.chars().any(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn patterns_are_those_of_like() {
        let check = |text: &str, pattern: &str, expected: bool| {
            assert_eq!(is_like(text, pattern), expected, "{text} {pattern}");
        };
        check("/orders", "/orders", true);
        check("/orders", "/o%", true);
        check("/orders", "%ers", true);
        check("/orders", "%r%r%", true);
        check("/orders", "/order", false);
        check("/orders", "_orders", true);
        check("a%b", "a\\%b", true);
        check("axb", "a\\%b", false);
        check("", "%", true);
        check("", "_", false);
        check(&"a".repeat(5_000), &"%a".repeat(1_000), true);
    }
}
