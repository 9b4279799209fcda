//! A normalized text as tokens, and edits of it by token.
//!
//! Positions are token indices of the original text; edits are collected and applied once, at the end.

use rustc_hash::FxHashMap;

/// Tokens of the longest text that is rewritten: nobody reads a longer one.
const TOKENS_MAX: usize = 2_000;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A quoted identifier.
    Name,
    /// A number or string that the normalizer left.
    Literal,
    Parameter(u16),
    Symbol,
    /// A keyword or an identifier.
    Word,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
    /// Parentheses around it.
    depth: usize,
    /// One of these parentheses holds a subquery.
    is_in_subquery: bool,
}

/// A text being edited.
pub(super) struct Text<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    /// Byte range to replace, and by what, in order of being asked for.
    edits: Vec<(usize, usize, String)>,
}

impl<'a> Text<'a> {
    /// `None` for texts that are too long, have unbalanced quotes, or hold several statements.
    pub(super) fn new(text: &'a str) -> Option<Self> {
        let tokens = tokenize(text)?;
        Some(Self { text, tokens, edits: Vec::new() })
    }

    pub(super) fn count(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn kind(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|token| token.kind)
    }

    /// The word at a token, in lower case; `None` for anything else.
    pub(super) fn word(&self, at: usize) -> Option<String> {
        let token = self.tokens.get(at).filter(|token| token.kind == Kind::Word)?;
        Some(self.text_of(token).to_ascii_lowercase())
    }

    pub(super) fn is_symbol(&self, at: usize, symbol: &str) -> bool {
        self.tokens.get(at).is_some_and(|it| it.kind == Kind::Symbol && self.text_of(it) == symbol)
    }

    /// The original text from one token to another, both included.
    pub(super) fn slice(&self, first: usize, last: usize) -> &'a str {
        let range = self.tokens.get(first).zip(self.tokens.get(last));
        range.and_then(|(first, last)| self.text.get(first.start..last.end)).unwrap_or("")
    }

    pub(super) fn has_word(&self, word: &str) -> bool {
        self.tokens.iter().any(|it| it.kind == Kind::Word && self.text_of(it).eq_ignore_ascii_case(word))
    }

    /// The first such word outside all parentheses.
    pub(super) fn find_top(&self, word: &str) -> Option<usize> {
        self.tokens.iter().position(|it| {
            it.depth == 0 && it.kind == Kind::Word && self.text_of(it).eq_ignore_ascii_case(word)
        })
    }

    pub(super) fn follows_top(&self, first: &str, second: &str) -> bool {
        self.find_top(first).and_then(|at| self.word(at + 1)).is_some_and(|word| word == second)
    }

    pub(super) fn is_in_subquery(&self, at: usize) -> bool {
        self.tokens.get(at).is_none_or(|token| token.is_in_subquery)
    }

    /// Where the parameter stands, when it stands in one place.
    pub(super) fn only_parameter(&self, number: u16) -> Option<usize> {
        let is_it = |token: &Token| token.kind == Kind::Parameter(number);
        let at = self.tokens.iter().position(is_it)?;
        (!self.tokens.get(at + 1..)?.iter().any(is_it)).then_some(at)
    }

    pub(super) fn highest_parameter(&self) -> u16 {
        let numbers = self.tokens.iter().map(|token| match token.kind {
            Kind::Parameter(number) => number,
            _ => 0,
        });
        numbers.max().unwrap_or(0)
    }

    /// The parenthesis that closes the one at token `open`.
    pub(super) fn closing(&self, open: usize) -> Option<usize> {
        let depth = self.tokens.get(open).filter(|_| self.is_symbol(open, "("))?.depth;
        let rest = self.tokens.get(open + 1..)?;
        let offset = rest.iter().position(|it| it.depth == depth && self.text_of(it) == ")")?;
        Some(open + 1 + offset)
    }

    /// The original text between two tokens with parameters numbered from `after + 1`; `None` when it has none.
    pub(super) fn renumbered(&self, first: usize, last: usize, after: u16) -> Option<String> {
        let mut out = String::new();
        let mut number = after;
        let mut copied = self.tokens.get(first)?.start;
        for token in self.tokens.get(first..=last)? {
            if let Kind::Parameter(_) = token.kind {
                number = number.checked_add(1)?;
                out.push_str(self.text.get(copied..token.start)?);
                out.push_str(&format!("${number}"));
                copied = token.end;
            }
        }
        out.push_str(self.text.get(copied..self.tokens.get(last)?.end)?);
        (number > after).then_some(out)
    }

    /// First and last token of each item between commas outside all parentheses, from `start` up to `end`.
    pub(super) fn top_items(&self, start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
        let end = end.min(self.tokens.len());
        let is_comma = move |at: &usize| {
            self.is_symbol(*at, ",") && self.tokens.get(*at).is_some_and(|token| token.depth == 0)
        };
        let mut next = start;
        std::iter::from_fn(move || {
            let first = next;
            let comma = (first..end).find(is_comma).unwrap_or(end);
            next = comma + 1;
            (first < comma).then(|| (first, comma - 1))
        })
    }

    pub(super) fn replace(&mut self, first: usize, last: usize, by: &str) {
        if let Some((first, last)) = self.tokens.get(first).zip(self.tokens.get(last)) {
            self.edits.push((first.start, last.end, by.to_owned()));
        }
    }

    pub(super) fn insert_before(&mut self, at: usize, text: &str) {
        if let Some(token) = self.tokens.get(at) {
            self.edits.push((token.start, token.start, text.to_owned()));
        }
    }

    pub(super) fn insert_after(&mut self, at: usize, text: &str) {
        if let Some(token) = self.tokens.get(at) {
            self.edits.push((token.end, token.end, text.to_owned()));
        }
    }

    pub(super) fn append(&mut self, text: &str) {
        self.edits.push((self.text.len(), self.text.len(), text.to_owned()));
    }

    /// Removes LIMIT, OFFSET and FETCH up to a locking clause.
    pub(super) fn remove_clause(&mut self, at: usize) {
        let follows = |index: &usize| {
            let is_top = self.tokens.get(*index).is_some_and(|token| token.depth == 0);
            is_top && self.word(*index).as_deref() == Some("for")
        };
        let next = (at + 1..self.tokens.len()).find(follows);
        let Some(start) = self.tokens.get(at).map(|token| token.start) else { return };
        let end = next.and_then(|next| self.tokens.get(next)).map_or(self.text.len(), |token| token.start);
        self.edits.push((start, end, String::new()));
    }

    /// The edited text with its parameters numbered in order of appearance.
    pub(super) fn finish(self) -> String {
        let edited = self.finish_as_numbered();
        let Some(tokens) = tokenize(&edited) else { return edited };
        let mut numbers: FxHashMap<u16, usize> = FxHashMap::default();
        let mut out = String::with_capacity(edited.len());
        let mut copied = 0;
        for token in tokens {
            if let Kind::Parameter(number) = token.kind {
                let next = numbers.len() + 1;
                let number = *numbers.entry(number).or_insert(next);
                out.push_str(edited.get(copied..token.start).unwrap_or(""));
                out.push_str(&format!("${number}"));
                copied = token.end;
            }
        }
        out.push_str(edited.get(copied..).unwrap_or(""));
        out
    }

    /// The edited text with its parameters as they are.
    pub(super) fn finish_as_numbered(mut self) -> String {
        self.edits.sort_by_key(|(start, ..)| *start);
        let mut out = String::with_capacity(self.text.len() + 64);
        let mut copied = 0;
        for (start, end, by) in &self.edits {
            out.push_str(self.text.get(copied..*start).unwrap_or(""));
            out.push_str(by);
            copied = copied.max(*end);
        }
        out.push_str(self.text.get(copied..).unwrap_or(""));
        out.truncate(out.trim_end().len());
        out
    }

    fn text_of(&self, token: &Token) -> &'a str {
        self.text.get(token.start..token.end).unwrap_or("")
    }
}

fn tokenize(text: &str) -> Option<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    // One entry per open parenthesis: whether a subquery stands inside.
    let mut open: Vec<bool> = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next()?;
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if first == ';' || tokens.len() == TOKENS_MAX {
            return None;
        }
        let (kind, length) = token(rest)?;
        let word = rest.get(..length)?;
        if ["select", "with"].iter().any(|it| word.eq_ignore_ascii_case(it))
            && tokens.last().is_some_and(|it| text.get(it.start..it.end) == Some("("))
            && let Some(innermost) = open.last_mut()
        {
            *innermost = true;
        }
        if word == ")" {
            open.pop();
        }
        let is_in_subquery = open.contains(&true);
        tokens.push(Token { kind, start: at, end: at + length, depth: open.len(), is_in_subquery });
        if word == "(" {
            open.push(false);
        }
        at += length;
    }
    Some(tokens)
}

/// Kind and bytes of the token that `rest` begins with.
fn token(rest: &str) -> Option<(Kind, usize)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let run = |from: usize, accept: &dyn Fn(char) -> bool| {
        rest.get(from..).and_then(|tail| tail.find(|c| !accept(c))).map_or(rest.len(), |end| from + end)
    };
    let first = rest.chars().next()?;
    match first {
        '"' | '\'' => {
            let kind = if first == '"' { Kind::Name } else { Kind::Literal };
            let body = rest.get(1..)?;
            Some((kind, body.find(first)? + 2))
        }
        '$' => {
            let end = run(1, &|c| c.is_ascii_digit());
            Some((Kind::Parameter(rest.get(1..end)?.parse().ok()?), end))
        }
        '0'..='9' => Some((Kind::Literal, run(1, &|c| is_name(c) || c == '.'))),
        _ if is_name(first) => Some((Kind::Word, run(first.len_utf8(), &is_name))),
        '(' | ')' | ',' | '.' | '[' | ']' => Some((Kind::Symbol, 1)),
        _ => {
            let is_operator = |c: char| "+-*/<>=~!@#%^&|`?:".contains(c);
            Some((Kind::Symbol, run(first.len_utf8(), &is_operator)))
        }
    }
}
