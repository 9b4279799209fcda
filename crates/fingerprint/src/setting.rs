//! Settings that attribution reads, as SET, RESET and `set_config` change them.

use std::ops::Range;

use crate::hash;
use crate::keyword::Keyword;
use crate::lexer::{Lexer, Token, TokenKind, offset};
use crate::value::{self, Body};

/// The setting that carries a request's identity.
pub(crate) const REQUEST: &str = "pgtally.request";

const NAMES: [&str; 5] = ["application_name", REQUEST, "role", "search_path", "session_authorization"];

/// How long a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingScope {
    /// `set_config(…, …, $n)`: the n-th bound value decides (true: local).
    Bound(u16),
    /// Until the transaction ends.
    Local,
    /// Until it is set again, or the session ends.
    Session,
}

/// A setting that attribution reads: `pgtally.request`, `application_name`, `search_path`, `role`,
/// `session_authorization`, by `SET`, `RESET` or `set_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Name in lower case, one of the above.
    pub name: &'static str,
    /// How long it holds.
    pub scope: SettingScope,
    /// Bytes of the value's token in the text (quotes included); `None` for RESET and DEFAULT. A list of names
    /// (`SET search_path TO a, b`) is one range.
    pub value: Option<Range<u32>>,
    /// 1-based placeholder that holds the value, for `set_config('…', $1, …)`.
    pub placeholder: Option<u16>,
}

/// The name, if attribution reads it.
pub(crate) fn known(name: &[u8]) -> Option<&'static str> {
    NAMES.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// Reads `name` or `a.b` from a lexer: the known name, if it is one.
pub(crate) fn dotted_name(lexer: &mut Lexer<'_, '_>, first: Token) -> Option<&'static str> {
    let mut name = [0; 32];
    let mut length = 0;
    let mut fits = true;
    let mut token = first;
    loop {
        let part = match value::body(lexer.bytes(token)) {
            Body::Plain(part) => part,
            Body::Escaped(_) => b"?",
        };
        match name.get_mut(length..length + part.len()) {
            Some(slot) => slot.copy_from_slice(part),
            None => fits = false,
        }
        length += part.len();
        if lexer.upcoming() != Some(b'.') {
            break;
        }
        lexer.next();
        token = lexer.next();
        match name.get_mut(length) {
            Some(slot) => *slot = b'.',
            None => fits = false,
        }
        length += 1;
    }
    name.get(..length).filter(|_| fits).and_then(known)
}

/// Finds `set_config('name', value, is_local)` of a known name in a statement that starts at `base` of its text,
/// and says whether the statement does nothing else.
pub(crate) fn in_select(statement: &[u8], base: u32) -> Option<(Setting, bool)> {
    let mut comments = Vec::new();
    let mut lexer = Lexer::new(statement, 0, true, &mut comments);
    let mut seen = 0_u32;
    let mut is_alone = true;
    loop {
        let token = lexer.next();
        match (token.kind, token.keyword) {
            (TokenKind::End, _) => return None,
            (_, Keyword::SetConfig) => {
                if let Some(setting) = call(&mut lexer, base) {
                    return Some((setting, is_alone && ends_alone(&mut lexer)));
                }
                is_alone = false;
            }
            (_, Keyword::Select) if seen == 0 => {}
            (TokenKind::Dot, _) => {}
            _ => is_alone &= token.kind == TokenKind::Word && lexer.upcoming() == Some(b'.'),
        }
        seen = seen.saturating_add(1);
    }
}

fn call(lexer: &mut Lexer<'_, '_>, base: u32) -> Option<Setting> {
    (lexer.next().kind == TokenKind::OpenParen).then_some(())?;
    let name = argument(lexer)?;
    let Body::Plain(body) = value::body(lexer.bytes(name)) else { return None };
    let name = known(body)?;
    let value = argument(lexer)?;
    let is_local = argument(lexer)?;
    let scope = match is_local.kind {
        TokenKind::Placeholder => SettingScope::Bound(number(is_local)),
        _ if is_true(lexer.bytes(is_local)) => SettingScope::Local,
        _ => SettingScope::Session,
    };
    let (value, placeholder) = match value.kind {
        TokenKind::Placeholder => (None, Some(number(value))),
        TokenKind::String => (Some(base + offset(value.start)..base + offset(value.end)), None),
        _ => (None, None),
    };
    Some(Setting { name, scope, value, placeholder })
}

/// One argument of a single token, with casts; the comma or parenthesis after it is taken.
fn argument(lexer: &mut Lexer<'_, '_>) -> Option<Token> {
    let token = lexer.next();
    let mut next = lexer.next();
    while next.kind == TokenKind::Cast {
        lexer.next();
        next = lexer.next();
    }
    matches!(next.kind, TokenKind::Comma | TokenKind::CloseParen).then_some(token)
}

/// Nothing but an alias follows.
fn ends_alone(lexer: &mut Lexer<'_, '_>) -> bool {
    let mut token = lexer.next();
    if token.keyword == Keyword::As {
        token = lexer.next();
    }
    if token.kind == TokenKind::Quoted || (token.kind == TokenKind::Word && !token.keyword.is_upper()) {
        token = lexer.next();
    }
    token.kind == TokenKind::End
}

fn is_true(token: &[u8]) -> bool {
    match value::body(token) {
        Body::Plain(word) => {
            [b"true".as_slice(), b"t", b"on", b"yes", b"1"].iter().any(|yes| yes.eq_ignore_ascii_case(word))
        }
        Body::Escaped(_) => false,
    }
}

fn number(placeholder: Token) -> u16 {
    u16::try_from(placeholder.hash).unwrap_or(u16::MAX)
}

/// Hash of a cursor's or prepared statement's name as the protocol shows it; never 0.
///
/// Names are compared as PostgreSQL keeps them: cut at 63 bytes.
pub fn name_hash(name: &[u8]) -> u64 {
    hash::finish(hash::bytes(hash::SEED, name.get(..NAME_BYTES_MAX).unwrap_or(name))).max(1)
}

const NAME_BYTES_MAX: usize = 63;

/// [`name_hash`] of a name as a statement writes it.
pub(crate) fn token_hash(token: &[u8]) -> u64 {
    let mut folded = [0; NAME_BYTES_MAX];
    let mut length = 0;
    let mut keep = |byte| {
        if let Some(slot) = folded.get_mut(length) {
            *slot = byte;
            length += 1;
        }
    };
    match value::body(token) {
        Body::Plain(name) if token.first() == Some(&b'"') => name.iter().for_each(|byte| keep(*byte)),
        Body::Plain(name) => name.iter().for_each(|byte| keep(byte.to_ascii_lowercase())),
        Body::Escaped(decoder) => decoder.take(NAME_BYTES_MAX).for_each(&mut keep),
    }
    name_hash(folded.get(..length).unwrap_or_default())
}
