//! Canonical hashes of values, so that one key is recognised in whatever way a driver sends it.
//!
//! The integer 7 is the same as `'7'`, as an int2, an int8 or the bound text `7`; a uuid is the same in text and in
//! binary. Everything else is its bytes. A hash is never 0, which stands for NULL. Hashes leave no trace of the
//! value; 32 bits suffice for counting distinct keys within one request.

use std::iter::Peekable;
use std::slice::Iter;

use crate::hash;

/// Elements of an array that are read; the rest is ignored. Reason: an observer's time per value is bounded.
pub const ARRAY_ELEMENTS_MAX: usize = 65_536;

/// Hash that stands for NULL.
pub const NULL: u32 = 0;

const INTEGER: u64 = 1;
const UUID: u64 = 2;
const BYTES: u64 = 3;
const LIST: u64 = 4;

/// Hash of an integer of any width.
pub const fn hash_integer(value: i64) -> u32 {
    narrow(hash::mix(INTEGER, value.cast_unsigned()))
}

/// Hash of a uuid.
pub fn hash_uuid(value: &[u8; 16]) -> u32 {
    narrow(hash::bytes(UUID, value))
}

/// Hash of a value in text form: digits as the integer they are, a uuid as its bytes, else the text.
pub fn hash_text(value: &[u8]) -> u32 {
    if let Some(integer) = integer(value) {
        return hash_integer(integer);
    }
    if let Some(uuid) = uuid(value) {
        return hash_uuid(&uuid);
    }
    narrow(hash::bytes(BYTES, value))
}

/// Hash of a value in PostgreSQL's binary form. `type_oid` is 0 when unknown: then the length decides.
pub fn hash_binary(type_oid: u32, value: &[u8]) -> u32 {
    const TEXT_LIKE: [u32; 6] = [18, 19, 25, 705, 1042, 1043];
    const INTEGER_LIKE: [u32; 5] = [0, 20, 21, 23, 26];
    if TEXT_LIKE.contains(&type_oid) {
        return hash_text(value);
    }
    if INTEGER_LIKE.contains(&type_oid) {
        match *value {
            [a, b] => return hash_integer(i16::from_be_bytes([a, b]).into()),
            // An oid is unsigned; the other four-byte integers are not.
            [a, b, c, d] if type_oid == 26 => return hash_integer(u32::from_be_bytes([a, b, c, d]).into()),
            [a, b, c, d] => return hash_integer(i32::from_be_bytes([a, b, c, d]).into()),
            [a, b, c, d, e, f, g, h] => return hash_integer(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
            _ => {}
        }
    }
    match <&[u8; 16]>::try_from(value) {
        Ok(uuid) if matches!(type_oid, 0 | 2950) => hash_uuid(uuid),
        _ => narrow(hash::bytes(BYTES, value)),
    }
}

/// Hash of a literal as it stands in a statement: `1004`, `-5`, `'x'`, `E'\n'`, `$$x$$`, `NULL`.
pub fn literal(token: &[u8]) -> u32 {
    match token {
        [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..] => radix_number(token),
        [b'0'..=b'9' | b'.', ..] => hash_text(token),
        [b'-' | b'+', rest @ ..] => signed(token, rest.trim_ascii_start()),
        _ if token.eq_ignore_ascii_case(b"null") => NULL,
        _ if token.eq_ignore_ascii_case(b"true") => hash_text(b"true"),
        _ if token.eq_ignore_ascii_case(b"false") => hash_text(b"false"),
        _ => match body(token) {
            Body::Plain(text) => hash_text(text),
            Body::Escaped(decoder) => hash_decoded(decoder),
        },
    }
}

/// Hash over the canonical hashes of a list, in order. For one value it is that value's own hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListHash {
    state: u64,
    first: u32,
    count: u32,
}

impl ListHash {
    /// The empty list, whose hash is 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the hash of one value.
    pub fn push(&mut self, value: u32) {
        if self.count == 0 {
            self.first = value;
        }
        self.count = self.count.saturating_add(1);
        self.state = hash::mix(self.state, u64::from(value) | (LIST << 32));
    }

    /// Values pushed.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The hash.
    pub fn finish(&self) -> u64 {
        match self.count {
            0 => 0,
            1 => self.first.into(),
            _ => hash::finish(self.state),
        }
    }
}

/// Calls `each` for every element of an array in text form (`{1,2,"x y",NULL}`), `None` for NULL; inner braces of
/// more dimensions are ignored. Escapes inside quoted elements are kept as they are. Stops silently at garbage.
pub fn array_text(array: &[u8], mut each: impl FnMut(Option<&[u8]>)) {
    // `[1:3]={…}` carries bounds before the braces.
    let open = memchr::memchr(b'{', array).unwrap_or(array.len());
    let mut rest = array.get(open..).unwrap_or_default();
    for _ in 0..ARRAY_ELEMENTS_MAX {
        while let [b'{' | b'}' | b',' | b' ', tail @ ..] = rest {
            rest = tail;
        }
        match rest {
            [] => return,
            [b'"', tail @ ..] => {
                let end = closing_quote(tail);
                each(tail.get(..end));
                rest = tail.get(end + 1..).unwrap_or_default();
            }
            _ => {
                let end = memchr::memchr3(b',', b'}', b'{', rest).unwrap_or(rest.len());
                let (element, tail) = rest.split_at(end);
                let element = element.trim_ascii_end();
                each((!element.eq_ignore_ascii_case(b"null")).then_some(element));
                rest = tail;
            }
        }
    }
}

/// Calls `each` with the element type's OID for every element of an array in binary form, `None` for NULL.
/// Stops silently at garbage.
pub fn array_binary(array: &[u8], mut each: impl FnMut(u32, Option<&[u8]>)) {
    const DIMENSIONS_MAX: u32 = 6;
    let Some((dimensions, rest)) = take_u32(array) else { return };
    let Some((_has_null, rest)) = take_u32(rest) else { return };
    let Some((oid, mut rest)) = take_u32(rest) else { return };
    if dimensions == 0 || dimensions > DIMENSIONS_MAX {
        return;
    }
    let mut elements = 1_usize;
    for _ in 0..dimensions {
        let Some((length, tail)) = take_u32(rest) else { return };
        let Some((_lower_bound, tail)) = take_u32(tail) else { return };
        elements = elements.saturating_mul(length as usize);
        rest = tail;
    }
    for _ in 0..elements.min(ARRAY_ELEMENTS_MAX) {
        let Some((length, tail)) = take_u32(rest) else { return };
        if length == u32::MAX {
            each(oid, None);
            rest = tail;
            continue;
        }
        let Some((element, tail)) = tail.split_at_checked(length as usize) else { return };
        each(oid, Some(element));
        rest = tail;
    }
}

/// What stands between the quotes of a string token.
pub(crate) enum Body<'a> {
    /// Bytes that mean themselves.
    Plain(&'a [u8]),
    /// Doubled quotes, escapes or continuation lines.
    Escaped(Decoder<'a>),
}

/// Splits a string token, an identifier or anything else into its body.
pub(crate) fn body(token: &[u8]) -> Body<'_> {
    let (has_backslashes, quoted) = match token {
        [b'e' | b'E', b'\'', ..] => (true, token.get(1..)),
        [b'b' | b'B' | b'n' | b'N' | b'x' | b'X', b'\'', ..] => (false, token.get(1..)),
        [b'u' | b'U', b'&', b'\'' | b'"', ..] => (false, token.get(2..)),
        _ => (false, Some(token)),
    };
    let quoted = quoted.unwrap_or_default();
    match quoted {
        [quote @ (b'\'' | b'"'), inner @ ..] => {
            let plain = inner.strip_suffix(&[*quote]).unwrap_or(inner);
            let is_plain = memchr::memchr(*quote, plain).is_none()
                && !(has_backslashes && memchr::memchr(b'\\', plain).is_some());
            if is_plain {
                return Body::Plain(plain);
            }
            Body::Escaped(Decoder { bytes: inner.iter().peekable(), quote: *quote, has_backslashes })
        }
        [b'$', ..] => Body::Plain(dollar_body(quoted)),
        _ => Body::Plain(quoted),
    }
}

/// Bytes a quoted token stands for. `\u`, `\x` and octal escapes keep their digits: nobody compares such values.
#[derive(Clone)]
pub(crate) struct Decoder<'a> {
    bytes: Peekable<Iter<'a, u8>>,
    quote: u8,
    has_backslashes: bool,
}

impl Iterator for Decoder<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.next()?;
            if byte == b'\\' && self.has_backslashes {
                return self.bytes.next().map(|escaped| match escaped {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
            }
            if byte != self.quote {
                return Some(byte);
            }
            if self.bytes.next_if(|next| **next == self.quote).is_some() {
                return Some(byte);
            }
            // The quote closes; what follows can only be white space and a continuation line.
            while self.bytes.next_if(|next| **next != self.quote).is_some() {}
            self.bytes.next()?;
        }
    }
}

/// Equal to the hash of the decoded bytes, without collecting them.
fn hash_decoded(decoder: Decoder<'_>) -> u32 {
    let length = decoder.clone().count();
    let mut state = hash::mix(BYTES, length as u64);
    let (mut chunk, mut shift) = (0, 0);
    for byte in decoder {
        chunk |= u64::from(byte) << shift;
        shift += 8;
        if shift == 64 {
            state = hash::mix(state, chunk);
            (chunk, shift) = (0, 0);
        }
    }
    narrow(if shift == 0 { state } else { hash::mix(state, chunk) })
}

const fn narrow(state: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the upper half is dropped on purpose")]
    let narrow = hash::finish(state) as u32;
    if narrow == 0 { 1 } else { narrow }
}

fn integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    // 19 digits fit in 64 bits without a sign.
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut magnitude = 0_u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if is_negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

fn signed(token: &[u8], digits: &[u8]) -> u32 {
    // A sign may stand apart from its number in a statement.
    let mut joined = [0; 20];
    joined[0] = token.first().copied().unwrap_or_default();
    match joined.get_mut(1..=digits.len()) {
        Some(slot) => {
            slot.copy_from_slice(digits);
            hash_text(joined.get(..=digits.len()).unwrap_or_default())
        }
        None => narrow(hash::bytes(BYTES, token)),
    }
}

fn radix_number(token: &[u8]) -> u32 {
    let radix = match token.get(1) {
        Some(b'x' | b'X') => 16,
        Some(b'o' | b'O') => 8,
        _ => 2,
    };
    let value = token.iter().skip(2).filter(|byte| **byte != b'_').try_fold(0_i64, |value, byte| {
        let digit = char::from(*byte).to_digit(radix)?;
        value.checked_mul(radix.into())?.checked_add(digit.into())
    });
    value.map_or_else(|| narrow(hash::bytes(BYTES, token)), hash_integer)
}

/// With hyphens, or without: Python's drivers leave them out. A digest of 32 digits becomes bytes, too, which does no
/// harm: it is still equal to itself only.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if !matches!(text.len(), 32 | 36) {
        return None;
    }
    let is_hyphenated = text.len() == 36;
    let mut bytes = [0; 16];
    let mut digits = 0;
    for (at, byte) in text.iter().enumerate() {
        if is_hyphenated && matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = char::from(*byte).to_digit(16)?;
        let slot = bytes.get_mut(digits / 2)?;
        *slot = (*slot << 4) | u8::try_from(digit).ok()?;
        digits += 1;
    }
    Some(bytes)
}

fn dollar_body(token: &[u8]) -> &[u8] {
    let Some(tag_end) = token.iter().skip(1).position(|byte| *byte == b'$') else { return token };
    let delimiter = token.get(..tag_end + 2).unwrap_or_default();
    let inner = token.get(delimiter.len()..).unwrap_or_default();
    inner.strip_suffix(delimiter).unwrap_or(inner)
}

fn closing_quote(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if text.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    text.len()
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests;
