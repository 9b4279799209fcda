//! Where the walk sends a statement's canonical tokens: always into the fingerprint, on demand into a text too.
//!
//! Because both see the same tokens, and every token is written so that it is read back as itself, scanning a
//! normalized text gives the fingerprint it was written for.

use crate::hash;
use crate::keyword::{self, Keyword};
use crate::lexer::TokenKind;

/// Writes canonical tokens, or doesn't.
pub(crate) trait Text {
    /// Length and spacing state, to come back to.
    type Mark: Copy;
    fn mark(&self) -> Self::Mark;
    fn reset(&mut self, mark: Self::Mark);
    fn word(&mut self, word: &[u8], keyword: Keyword);
    /// `is_plain`: the content would be read as the same word without quotes.
    fn quoted(&mut self, token: &[u8], is_plain: bool);
    fn symbol(&mut self, kind: TokenKind, symbol: &[u8]);
    fn literal(&mut self, token: &[u8]);
    fn parameter(&mut self, number: u32);
}

/// The fingerprint under way, and the text beside it.
pub(crate) struct Emitter<T: Text> {
    pub(crate) hash: u64,
    /// Parameters written so far.
    pub(crate) parameters: u32,
    pub(crate) text: T,
}

#[derive(Clone, Copy)]
pub(crate) struct Mark<M> {
    hash: u64,
    parameters: u32,
    text: M,
}

// Tags stand in the top byte, which no byte of a short symbol reaches.
const QUOTED: u64 = 0x01 << 56;
const SYMBOL: u64 = 0x02 << 56;
const LITERAL: u64 = 0x03 << 56;
const PARAMETER: u64 = 0x04 << 56;
const GROUP: u64 = 0x05 << 56;
const CUT: u64 = 0x06 << 56;

impl<T: Text> Emitter<T> {
    pub(crate) fn new(text: T) -> Self {
        Self { hash: hash::SEED, parameters: 0, text }
    }

    pub(crate) fn mark(&self) -> Mark<T::Mark> {
        Mark { hash: self.hash, parameters: self.parameters, text: self.text.mark() }
    }

    pub(crate) fn reset(&mut self, mark: Mark<T::Mark>) {
        self.hash = mark.hash;
        self.parameters = mark.parameters;
        self.text.reset(mark.text);
    }

    pub(crate) fn word(&mut self, word: &[u8], word_hash: u64, keyword: Keyword) {
        self.hash = hash::mix(self.hash, word_hash);
        self.text.word(word, keyword);
    }

    /// A keyword that the source may not contain.
    pub(crate) fn keyword(&mut self, word: &'static str, keyword: Keyword) {
        self.word(word.as_bytes(), hash::keyword(word.as_bytes()), keyword);
    }

    /// A quoted identifier with its quotes. `"abc"` is the word `abc` unless that is a keyword; `word_hash` is 0 when
    /// it can't be one.
    pub(crate) fn quoted(&mut self, token: &[u8], word_hash: u64) {
        if word_hash != 0 {
            let keyword = Keyword::find(word_hash);
            if !keyword.is_distinct_when_quoted() {
                self.hash = hash::mix(self.hash, word_hash);
                self.text.quoted(token, keyword == Keyword::Identifier);
                return;
            }
        }
        let content = match token {
            [b'"', inner @ ..] => inner.strip_suffix(b"\"").unwrap_or(inner),
            _ => token,
        };
        self.hash = hash::bytes(self.hash ^ QUOTED, content);
        self.text.quoted(token, false);
    }

    /// A symbol of one byte.
    #[inline]
    pub(crate) fn single(&mut self, kind: TokenKind, symbol: &[u8]) {
        let byte = symbol.first().copied().unwrap_or_default();
        self.hash = hash::mix(self.hash, SYMBOL | u64::from(byte));
        self.text.symbol(kind, symbol);
    }

    pub(crate) fn symbol(&mut self, kind: TokenKind, symbol: &[u8]) {
        // PostgreSQL's scanner makes one of the two as well.
        let symbol = if symbol == b"!=" { b"<>" } else { symbol };
        if symbol.len() < 8 {
            let packed = symbol.iter().fold(0, |packed, byte| (packed << 8) | u64::from(*byte));
            self.hash = hash::mix(self.hash, SYMBOL | packed);
        } else {
            self.hash = hash::bytes(self.hash ^ SYMBOL, symbol);
        }
        self.text.symbol(kind, symbol);
    }

    /// A literal that stays as it is (`ORDER BY 1`, `varchar(20)`).
    pub(crate) fn literal(&mut self, token: &[u8]) {
        self.hash = hash::bytes(self.hash ^ LITERAL, token);
        self.text.literal(token);
    }

    pub(crate) fn parameter(&mut self) {
        self.hash = hash::mix(self.hash, PARAMETER);
        self.parameters = self.parameters.saturating_add(1);
        self.text.parameter(self.parameters);
    }

    /// Starts a part that is hashed on its own; returns the outer state.
    pub(crate) fn begin_part(&mut self) -> u64 {
        std::mem::replace(&mut self.hash, GROUP)
    }

    /// Ends the part, joins it to the outer state and returns the part's own hash.
    pub(crate) fn end_part(&mut self, outer: u64) -> u64 {
        let part = self.hash;
        self.hash = hash::mix(outer, part);
        part
    }

    /// Fingerprint of all that was emitted. Never that of the whole text when the text was cut.
    pub(crate) fn fingerprint(&self, is_cut: bool) -> u64 {
        hash::finish(if is_cut { hash::mix(self.hash, CUT) } else { self.hash })
    }
}

/// Writes nothing.
pub(crate) struct NoText;

impl Text for NoText {
    type Mark = ();
    fn mark(&self) {}
    fn reset(&mut self, (): ()) {}
    fn word(&mut self, _: &[u8], _: Keyword) {}
    fn quoted(&mut self, _: &[u8], _: bool) {}
    fn symbol(&mut self, _: TokenKind, _: &[u8]) {}
    fn literal(&mut self, _: &[u8]) {}
    fn parameter(&mut self, _: u32) {}
}

/// What was written last, as far as spacing depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// `::`: nothing is parted from it but what would join with it.
    Cast,
    Dot,
    /// Start of the text, `(` or `[`.
    Open,
    /// An identifier or function name: a parenthesis that follows is attached.
    Name,
    /// A keyword, literal, parameter or closing bracket.
    Operand,
    Operator,
}

/// Writes canonical SQL with single spaces.
pub(crate) struct Writer {
    pub(crate) text: Vec<u8>,
    last: Last,
    /// In the name after INTO, whose columns aren't arguments.
    is_target: bool,
    bytes_max: usize,
}

impl Writer {
    /// Writes little more than `bytes_max`: whoever reads the text cuts it there.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { text: Vec::new(), last: Last::Open, is_target: false, bytes_max }
    }

    fn push(&mut self, space: bool, bytes: &[u8], last: Last) {
        if self.text.len() <= self.bytes_max {
            if space {
                self.text.push(b' ');
            }
            let room = self.bytes_max.saturating_sub(self.text.len()) + 1;
            self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
        self.last = last;
    }

    fn wants_space(&self) -> bool {
        !matches!(self.last, Last::Cast | Last::Dot | Last::Open)
    }
}

impl Text for Writer {
    type Mark = (usize, Last);

    fn mark(&self) -> Self::Mark {
        (self.text.len(), self.last)
    }

    fn reset(&mut self, (length, last): Self::Mark) {
        self.text.truncate(length);
        self.last = last;
    }

    fn word(&mut self, word: &[u8], keyword: Keyword) {
        let is_upper = keyword.is_upper();
        self.is_target = keyword == Keyword::Into || (self.is_target && !is_upper);
        let last = if keyword.attaches() { Last::Name } else { Last::Operand };
        self.push(self.wants_space(), b"", last);
        let start = self.text.len();
        self.push(false, word, last);
        let written = self.text.get_mut(start..).unwrap_or_default();
        if is_upper {
            written.make_ascii_uppercase();
        } else {
            written.make_ascii_lowercase();
        }
    }

    fn quoted(&mut self, token: &[u8], is_plain: bool) {
        let content = token.strip_prefix(b"\"").map(|inner| inner.strip_suffix(b"\"").unwrap_or(inner));
        let space = self.wants_space();
        match content {
            Some(content) if is_plain && !str::from_utf8(content).is_ok_and(keyword::needs_quotes) => {
                self.push(space, content, Last::Name);
            }
            Some(content) => {
                self.push(space, b"\"", Last::Name);
                self.push(false, content, Last::Name);
                self.push(false, b"\"", Last::Name);
            }
            None => self.push(space, token, Last::Name),
        }
    }

    fn symbol(&mut self, kind: TokenKind, symbol: &[u8]) {
        let follows_operand = matches!(self.last, Last::Name | Last::Operand);
        let (space, last) = match kind {
            TokenKind::Comma | TokenKind::Semicolon | TokenKind::CloseParen | TokenKind::CloseBracket => {
                (false, Last::Operand)
            }
            TokenKind::OpenParen => {
                let attaches = self.last == Last::Name && !std::mem::take(&mut self.is_target);
                (self.wants_space() && !attaches, Last::Open)
            }
            TokenKind::OpenBracket => (self.wants_space() && !follows_operand, Last::Open),
            TokenKind::Dot => (!follows_operand && self.last != Last::Open, Last::Dot),
            TokenKind::Cast => (!follows_operand && self.last != Last::Open, Last::Cast),
            _ => {
                let joins = matches!(symbol.first(), Some(b'.' | b':'));
                (self.wants_space() || (joins && self.last != Last::Open), Last::Operator)
            }
        };
        self.push(space, symbol, last);
    }

    fn literal(&mut self, token: &[u8]) {
        // As after an operator: a dot right after it would become part of the number.
        self.push(self.wants_space(), token, Last::Operator);
    }

    fn parameter(&mut self, number: u32) {
        self.push(self.wants_space(), format!("${number}").as_bytes(), Last::Operand);
    }
}
