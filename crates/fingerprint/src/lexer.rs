//! Cuts SQL bytes into tokens, by the rules of PostgreSQL's scanner.
//!
//! Comments and white space are skipped (comment bodies are noted), nothing is copied. Any bytes are accepted: what
//! no rule knows is a [`TokenKind::Other`] of one byte, and an open string, comment or identifier ends with the text.
//! It deliberately doesn't know what tokens mean; read `walk.rs` next.

use std::ops::Range;

use crate::bytes::{CLASSES, Class, IN_PLAIN, IN_WORD};
use crate::hash;
use crate::keyword::Keyword;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// `::`
    Cast,
    CloseBracket,
    CloseParen,
    Comma,
    Dot,
    End,
    Number,
    OpenBracket,
    OpenParen,
    /// A run of operator characters, `:`, `:=` or `..`.
    Operator,
    /// A byte that starts nothing.
    Other,
    /// `$1`
    Placeholder,
    /// `"…"` or `U&"…"`
    Quoted,
    Semicolon,
    /// `'…'` with any prefix and its continuations, or dollar quotes.
    String,
    Word,
}

/// One token; `start..end` in the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) keyword: Keyword,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// [`hash::word`] of a word and of a quoted one in plain lower case (0 for other quoted ones), the number of a
    /// placeholder.
    pub(crate) hash: u64,
}

/// Where a lexer stands, to come back to.
#[derive(Clone, Copy)]
pub(crate) struct Position {
    at: usize,
    comments: usize,
}

impl Position {
    pub(crate) fn at(self) -> usize {
        self.at
    }
}

pub(crate) struct Lexer<'t, 'c> {
    text: &'t [u8],
    at: usize,
    has_standard_strings: bool,
    comments: &'c mut Vec<Range<u32>>,
}

/// Comments noted in one text. Reason: a statement carries one or two; the bound is for hostile texts.
pub(crate) const COMMENTS_MAX: usize = 64;

const OPERATOR_BYTES_MAX: usize = 63;

impl<'t, 'c> Lexer<'t, 'c> {
    /// `text` must be shorter than 4 GiB.
    pub(crate) fn new(
        text: &'t [u8],
        at: usize,
        has_standard_strings: bool,
        comments: &'c mut Vec<Range<u32>>,
    ) -> Self {
        Self { text, at, has_standard_strings, comments }
    }

    pub(crate) fn text(&self) -> &'t [u8] {
        self.text
    }

    pub(crate) fn bytes(&self, token: Token) -> &'t [u8] {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    pub(crate) fn position(&self) -> Position {
        Position { at: self.at, comments: self.comments.len() }
    }

    pub(crate) fn rewind(&mut self, position: Position) {
        self.at = position.at;
        self.comments.truncate(position.comments);
    }

    /// End of the token read last.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// First byte of the next token, or of a comment before it.
    #[inline]
    pub(crate) fn upcoming(&self) -> Option<u8> {
        self.first_visible().map(|(_, byte)| byte)
    }

    /// The next token, without moving on.
    pub(crate) fn peek(&mut self) -> Token {
        let position = self.position();
        let token = self.next();
        self.rewind(position);
        token
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Token {
        loop {
            let Some((blank, byte)) = self.first_visible() else {
                self.at = self.text.len();
                return self.token(TokenKind::End, 0);
            };
            self.at += blank;
            match CLASSES[usize::from(byte)] {
                Class::Letter => return self.word(),
                Class::Comma => return self.token(TokenKind::Comma, 1),
                Class::Dot => return self.dot(),
                Class::DoubleQuote => return self.plain_quoted(),
                Class::Digit => return self.number(),
                Class::OpenParen => return self.token(TokenKind::OpenParen, 1),
                Class::CloseParen => return self.token(TokenKind::CloseParen, 1),
                Class::Operator => match (byte, self.byte(1)) {
                    (b'-', Some(b'-')) => self.line_comment(),
                    (b'/', Some(b'*')) => self.block_comment(),
                    _ => return self.operator(),
                },
                class => return self.rare(class, byte),
            }
        }
    }

    fn rare(&mut self, class: Class, byte: u8) -> Token {
        match class {
            Class::Prefix => self.prefixed(byte),
            Class::Quote => self.string(1, !self.has_standard_strings),
            Class::Dollar => self.dollar(),
            Class::Colon => self.colon(),
            Class::Semicolon => self.token(TokenKind::Semicolon, 1),
            Class::OpenBracket => self.token(TokenKind::OpenBracket, 1),
            Class::CloseBracket => self.token(TokenKind::CloseBracket, 1),
            _ => self.token(TokenKind::Other, 1),
        }
    }

    /// Distance to the next byte that isn't white space, and that byte.
    #[inline]
    fn first_visible(&self) -> Option<(usize, u8)> {
        let rest = self.text.get(self.at..)?;
        let blank = rest.iter().position(|byte| !matches!(CLASSES[usize::from(*byte)], Class::Space))?;
        rest.get(blank).map(|byte| (blank, *byte))
    }

    #[inline]
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    #[inline]
    fn token(&mut self, kind: TokenKind, length: usize) -> Token {
        let start = self.at;
        self.at = (start + length).min(self.text.len());
        Token { kind, keyword: Keyword::Identifier, start, end: self.at, hash: 0 }
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let mut seen = 0;
        let length = rest.iter().take_while(|byte| {
            seen |= **byte;
            IN_WORD[usize::from(**byte)]
        });
        let length = length.count();
        let end = start + length;
        self.at = end;
        // The byte that ended the word was seen too; a wide one there costs only the slower hash.
        let (hash, keyword) = if seen.is_ascii() {
            let hash = hash::word(self.text, start, end);
            (hash, Keyword::find(hash))
        } else {
            let hash = hash::wide_word(rest.get(..length).unwrap_or_default());
            (hash, Keyword::find(hash))
        };
        Token { kind: TokenKind::Word, keyword, start, end, hash }
    }

    /// A word, or a string or identifier whose prefix looks like one.
    fn prefixed(&mut self, byte: u8) -> Token {
        match (byte | 0x20, self.byte(1), self.byte(2)) {
            (b'e', Some(b'\''), _) => self.string(2, true),
            (b'b' | b'x', Some(b'\''), _) => self.string(2, false),
            (b'n', Some(b'\''), _) => self.string(2, !self.has_standard_strings),
            (b'u', Some(b'&'), Some(b'\'')) => self.string(3, false),
            (b'u', Some(b'&'), Some(b'"')) => self.quoted(3),
            _ => self.word(),
        }
    }

    fn string(&mut self, prefix: usize, has_backslashes: bool) -> Token {
        let start = self.at;
        self.at += prefix;
        loop {
            self.close_string(has_backslashes);
            let Some(next) = self.continuation() else { break };
            self.at = next;
        }
        Token { kind: TokenKind::String, keyword: Keyword::Identifier, start, end: self.at, hash: 0 }
    }

    /// Moves behind the closing quote.
    fn close_string(&mut self, has_backslashes: bool) {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let found = if has_backslashes {
                memchr::memchr2(b'\'', b'\\', rest)
            } else {
                memchr::memchr(b'\'', rest)
            };
            let Some(found) = found else {
                self.at = self.text.len();
                return;
            };
            self.at += found + 1;
            let is_escape = self.text.get(self.at - 1) == Some(&b'\\');
            if !is_escape && self.byte(0) != Some(b'\'') {
                return;
            }
            self.at = (self.at + 1).min(self.text.len());
        }
    }

    /// Where the string goes on: behind a quote that only white space with a line break parts from the last one.
    fn continuation(&self) -> Option<usize> {
        let rest = self.text.get(self.at..)?;
        let blank = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let has_break = rest.get(..blank)?.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        (has_break && rest.get(blank) == Some(&b'\'')).then_some(self.at + blank + 1)
    }

    /// Mostly the name within is plain; then it is hashed as the word it is.
    fn plain_quoted(&mut self) -> Token {
        let start = self.at;
        let rest = self.text.get(start + 1..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| IN_PLAIN[usize::from(**byte)]).count();
        let is_plain = length > 0
            && rest.get(length).is_none_or(|byte| *byte == b'"')
            && rest.get(length + 1) != Some(&b'"')
            && rest.first().is_some_and(|byte| !byte.is_ascii_digit() && *byte != b'$');
        if !is_plain {
            return self.quoted(1);
        }
        let end = (start + length + 2).min(self.text.len());
        self.at = end;
        let hash = hash::word(self.text, start + 1, start + 1 + length);
        Token { kind: TokenKind::Quoted, keyword: Keyword::Identifier, start, end, hash }
    }

    fn quoted(&mut self, prefix: usize) -> Token {
        let start = self.at;
        self.at += prefix;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'"', rest) else {
                self.at = self.text.len();
                break;
            };
            self.at += found + 1;
            if self.byte(0) != Some(b'"') {
                break;
            }
            self.at += 1;
        }
        Token { kind: TokenKind::Quoted, keyword: Keyword::Identifier, start, end: self.at, hash: 0 }
    }

    fn number(&mut self) -> Token {
        let start = self.at;
        let is_radix = self.byte(0) == Some(b'0')
            && matches!(self.byte(1).map(|b| b | 0x20), Some(b'x' | b'o' | b'b'))
            && self.byte(2).is_some_and(|b| b.is_ascii_hexdigit());
        if is_radix {
            self.at += 2;
            self.skip_while(|byte| byte.is_ascii_hexdigit() || byte == b'_');
        } else {
            self.skip_while(is_digit);
            if self.byte(0) == Some(b'.') && self.byte(1) != Some(b'.') {
                self.at += 1;
                self.skip_while(is_digit);
            }
            self.exponent();
        }
        Token { kind: TokenKind::Number, keyword: Keyword::Identifier, start, end: self.at, hash: 0 }
    }

    fn exponent(&mut self) {
        if !matches!(self.byte(0), Some(b'e' | b'E')) {
            return;
        }
        let digits_at = if matches!(self.byte(1), Some(b'+' | b'-')) { 2 } else { 1 };
        if self.byte(digits_at).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += digits_at;
            self.skip_while(is_digit);
        }
    }

    fn skip_while(&mut self, accept: impl Fn(u8) -> bool) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|byte| accept(**byte)).count();
    }

    fn dot(&mut self) -> Token {
        match self.byte(1) {
            Some(b'.') => self.token(TokenKind::Operator, 2),
            Some(b'0'..=b'9') => self.number(),
            _ => self.token(TokenKind::Dot, 1),
        }
    }

    fn colon(&mut self) -> Token {
        match self.byte(1) {
            Some(b':') => self.token(TokenKind::Cast, 2),
            Some(b'=') => self.token(TokenKind::Operator, 2),
            _ => self.token(TokenKind::Operator, 1),
        }
    }

    /// `$1`, `$tag$ … $tag$`, or a lone `$`.
    fn dollar(&mut self) -> Token {
        let start = self.at;
        if self.byte(1).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
            let mut number = 0_u64;
            while let Some(digit @ b'0'..=b'9') = self.byte(0) {
                number = number.saturating_mul(10).saturating_add((digit - b'0').into());
                self.at += 1;
            }
            let kind = TokenKind::Placeholder;
            return Token { kind, keyword: Keyword::Identifier, start, end: self.at, hash: number };
        }
        let rest = self.text.get(start + 1..).unwrap_or_default();
        let tag = rest.iter().take_while(|byte| IN_WORD[usize::from(**byte)] && **byte != b'$').count();
        if rest.get(tag) != Some(&b'$') {
            return self.token(TokenKind::Other, 1);
        }
        let (delimiter, body) = self.text.get(start..).unwrap_or_default().split_at(tag + 2);
        let length = memchr::memmem::find(body, delimiter).map_or(body.len(), |end| end + delimiter.len());
        self.token(TokenKind::String, delimiter.len() + length)
    }

    fn operator(&mut self) -> Token {
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        // PostgreSQL takes no longer ones; without a bound, a run of signs would be read once per sign.
        let rest = rest.get(..OPERATOR_BYTES_MAX).unwrap_or(rest);
        let mut length = 1;
        while let Some(byte) = rest.get(length)
            && matches!(CLASSES[usize::from(*byte)], Class::Operator)
            && !matches!(rest.get(length..length + 2), Some(b"--" | b"/*"))
        {
            length += 1;
        }
        // A trailing sign belongs to what follows (`a=-1`), unless the operator has a character that SQL's own lack.
        let mut operator = rest.get(..length).unwrap_or_default();
        if !operator.iter().any(|byte| b"~!@#%^&|`?".contains(byte)) {
            while let [head @ .., b'+' | b'-'] = operator
                && !head.is_empty()
            {
                operator = head;
            }
        }
        self.token(TokenKind::Operator, operator.len().max(1))
    }

    fn line_comment(&mut self) {
        let body = self.at + 2;
        let rest = self.text.get(body..).unwrap_or_default();
        let end = body + memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        self.note_comment(body, end);
        self.at = end;
    }

    /// Block comments nest.
    fn block_comment(&mut self) {
        let body = self.at + 2;
        let mut depth = 1_u32;
        self.at = body;
        while let Some(found) = self.text.get(self.at..).and_then(|rest| memchr::memchr2(b'*', b'/', rest)) {
            self.at += found;
            match (self.byte(0), self.byte(1)) {
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        self.note_comment(body, self.at - 2);
                        return;
                    }
                }
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at = self.text.len();
        self.note_comment(body, self.at);
    }

    fn note_comment(&mut self, start: usize, end: usize) {
        let is_hint = self.text.get(start) == Some(&b'+');
        if is_hint || self.comments.len() >= COMMENTS_MAX {
            return;
        }
        self.comments.push(offset(start)..offset(end));
    }
}

/// A place in a text that is shorter than 4 GiB.
pub(crate) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

#[cfg(test)]
mod tests;
