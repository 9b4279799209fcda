//! The words of a function's body: names, operators, signs; literals without what is in them, comments left out.
//!
//! Backslashes in plain literals are taken as PostgreSQL takes them by default (`standard_conforming_strings`); a body
//! that was written for the other setting ends in an unfinished literal, or has its words in the wrong places, and so is
//! unknown: a word that nobody expects behind a verb says so.

use std::borrow::Cow;

/// Characters of operators.
const OPERATORS: &[u8] = b"+-*/<>=~!@#%^&|`?";

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word<'b> {
    /// A string, a number, or a parameter.
    Literal,
    /// A name or keyword, folded as PostgreSQL folds it.
    Name { text: Cow<'b, str>, is_quoted: bool },
    /// Characters of operators, as many as stand together.
    Operator(&'b str),
    /// Any other character.
    Sign(&'b str),
}

impl Word<'_> {
    /// Whether it is this keyword or sign.
    pub(super) fn is(&self, keyword: &str) -> bool {
        match self {
            Self::Name { text, is_quoted } => !is_quoted && text == keyword,
            Self::Operator(text) | Self::Sign(text) => *text == keyword,
            Self::Literal => false,
        }
    }

    /// Its text, if it is a name.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name { text, .. } => Some(text),
            Self::Literal | Self::Operator(_) | Self::Sign(_) => None,
        }
    }
}

/// Walks a body. An item that is `None` is a literal or comment without an end; nothing follows it.
pub(super) struct Words<'b> {
    rest: &'b str,
}

impl<'b> Words<'b> {
    pub(super) fn of(body: &'b str) -> Self {
        Self { rest: body }
    }

    /// Takes `bytes`, which end at a character's boundary.
    fn take(&mut self, bytes: usize) -> Option<&'b str> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    /// White space and comments; `None` for a comment without an end.
    fn skip(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("--") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(end)?;
            } else if self.rest.starts_with("/*") {
                let end = comment_bytes(self.rest.as_bytes())?;
                self.take(end)?;
            } else {
                return Some(());
            }
        }
    }

    fn word(&mut self, first: u8) -> Option<Word<'b>> {
        let bytes = self.rest.as_bytes();
        match first {
            b'\'' => self.literal(1, b'\'', false),
            b'"' => self.quoted_name(),
            b'$' => self.dollar(),
            b'0'..=b'9' => {
                let end = bytes.iter().position(|byte| !is_name(*byte) && *byte != b'.');
                self.take(end.unwrap_or(bytes.len())).map(|_| Word::Literal)
            }
            _ if is_name(first) => self.name_or_prefix(),
            _ if OPERATORS.contains(&first) => {
                let end = bytes.iter().enumerate().position(|(at, byte)| {
                    !OPERATORS.contains(byte) || self.rest.get(at..).is_some_and(begins_a_comment)
                });
                self.take(end.unwrap_or(bytes.len())).map(Word::Operator)
            }
            _ => self.take(1).map(Word::Sign),
        }
    }

    fn name_or_prefix(&mut self) -> Option<Word<'b>> {
        let end =
            self.rest.bytes().position(|byte| !is_name(byte) && byte != b'$').unwrap_or(self.rest.len());
        let text = self.rest.get(..end)?;
        let is_literal = self.rest.as_bytes().get(end) == Some(&b'\'');
        match text {
            "e" | "E" if is_literal => self.literal(end + 1, b'\'', true),
            "b" | "B" | "x" | "X" | "n" | "N" if is_literal => self.literal(end + 1, b'\'', false),
            // `U&'…'` and `U&"…"` may spell anything.
            "u" | "U" if self.rest.as_bytes().get(end) == Some(&b'&') => None,
            _ => {
                self.take(end)?;
                let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
                let text = if is_lower { text.into() } else { text.to_ascii_lowercase().into() };
                Some(Word::Name { text, is_quoted: false })
            }
        }
    }

    fn quoted_name(&mut self) -> Option<Word<'b>> {
        let end = quoted_bytes(self.rest.as_bytes(), 1, b'"', false)?;
        let text = self.take(end)?;
        let text = text.get(1..text.len().checked_sub(1)?)?.replace("\"\"", "\"");
        Some(Word::Name { text: text.into(), is_quoted: true })
    }

    fn literal(&mut self, start: usize, quote: u8, has_escapes: bool) -> Option<Word<'b>> {
        let end = quoted_bytes(self.rest.as_bytes(), start, quote, has_escapes)?;
        self.take(end).map(|_| Word::Literal)
    }

    /// `$1`, `$$…$$`, `$tag$…$tag$`.
    fn dollar(&mut self) -> Option<Word<'b>> {
        let tag_end = self.rest.bytes().skip(1).position(|byte| !is_name(byte)).map(|at| at + 1);
        let tag = tag_end.filter(|end| self.rest.as_bytes().get(*end) == Some(&b'$'));
        match tag {
            Some(end) => {
                let tag = self.take(end + 1)?;
                let length = self.rest.find(tag)?;
                self.take(length + tag.len()).map(|_| Word::Literal)
            }
            None => self.take(tag_end.unwrap_or(self.rest.len())).map(|_| Word::Literal),
        }
    }
}

impl<'b> Iterator for Words<'b> {
    type Item = Option<Word<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        let word = match self.skip() {
            Some(()) => self.word(*self.rest.as_bytes().first()?),
            None => None,
        };
        if word.is_none() {
            self.rest = "";
        }
        Some(word)
    }
}

fn begins_a_comment(text: &str) -> bool {
    text.starts_with("--") || text.starts_with("/*")
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Bytes up to and with the closing quote; a doubled quote is one inside.
fn quoted_bytes(bytes: &[u8], start: usize, quote: u8, has_escapes: bool) -> Option<usize> {
    let mut at = start;
    loop {
        match *bytes.get(at)? {
            b'\\' if has_escapes => at += 2,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Bytes of a comment, which may hold others.
fn comment_bytes(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_u32);
    loop {
        match bytes.get(at..at + 2)? {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}
