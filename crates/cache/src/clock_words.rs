//! Words that PostgreSQL's date and time types read as "the time at which this is executed".
//!
//! `'now'::timestamptz`, `day >= 'today'` and a parameter `yesterday` are legal and depend on the clock, though no
//! function is called. Neither the normalized text nor the tree shows them, so the exact text and the parameters are
//! searched, whatever their type is: a product called "Today" is not cached, which is no loss.

const WORDS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];

/// Whether one of the words stands in `text`, as a word and in any case.
///
/// ```
/// use pgtally_cache::clock_words::has_clock_word;
///
/// assert!(has_clock_word(b"SELECT id FROM orders WHERE day >= 'Today'"));
/// assert!(!has_clock_word(b"SELECT known, snow FROM unknown_days"));
/// ```
#[must_use]
pub fn has_clock_word(text: &[u8]) -> bool {
    // Words are rare: most bytes are passed by their first comparison.
    text.iter().enumerate().any(|(at, byte)| {
        matches!(byte | 0x20, b'n' | b't' | b'y')
            && !at.checked_sub(1).is_some_and(|before| is_word(text, before))
            && WORDS.iter().any(|word| is_here(text, at, word))
    })
}

/// Whether a statement's text may name the time: a word of it, or a literal that is not written as it is read.
#[must_use]
pub fn may_name_time(text: &[u8]) -> bool {
    has_clock_word(text) || text.contains(&b'\\') || has_uescape(text) || has_broken_literal(text)
}

/// Whether a value of a `Bind` (behind its two names) has one of the words; also where it cannot be read.
#[must_use]
pub fn has_bound_clock_word(bound: &[u8]) -> bool {
    values_name_time(bound).unwrap_or(true)
}

fn values_name_time(mut rest: &[u8]) -> Option<bool> {
    let formats = take_count(&mut rest)?;
    rest = rest.get(2 * formats..)?;
    for _ in 0..take_count(&mut rest)? {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        // Negative for NULL.
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (value, behind) = behind.split_at_checked(length)?;
        if has_clock_word(value) {
            return Some(true);
        }
        rest = behind;
    }
    Some(false)
}

fn take_count(rest: &mut &[u8]) -> Option<usize> {
    let (count, behind) = rest.split_first_chunk::<2>()?;
    *rest = behind;
    Some(usize::from(u16::from_be_bytes(*count)))
}

/// `U&'!006eow' UESCAPE '!'`.
fn has_uescape(text: &[u8]) -> bool {
    text.windows(7).any(|word| word.eq_ignore_ascii_case(b"uescape"))
}

/// `'to'`, an end of line, `'day'`: one literal.
fn has_broken_literal(text: &[u8]) -> bool {
    let mut is_behind_quote = false;
    let mut has_space = false;
    text.iter().any(|byte| {
        let is_found = *byte == b'\'' && is_behind_quote && has_space;
        let is_space = byte.is_ascii_whitespace() || *byte == 0x0b;
        is_behind_quote = *byte == b'\'' || (is_behind_quote && is_space);
        has_space = is_space && is_behind_quote;
        is_found
    })
}

fn is_here(text: &[u8], at: usize, word: &[u8]) -> bool {
    let end = at + word.len();
    text.get(at..end).is_some_and(|found| found.eq_ignore_ascii_case(word)) && !is_word(text, end)
}

fn is_word(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_at_both_ends_and_in_any_case() {
        for text in ["now", "'NOW'", "x 'Tomorrow 12:00'", "yesterday", "a=today", "-now-"] {
            assert!(has_clock_word(text.as_bytes()), "{text}");
        }
        for text in ["", "n", "no", "know", "nowhere", "now_", "_now", "today2", "éyesterday"] {
            assert!(!has_clock_word(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn literals_that_are_read_otherwise_than_written() {
        for text in ["E'no\\167'", "U&'!006eow' UESCAPE '!'", "'to'\n'day'", "date 'now'"] {
            assert!(may_name_time(text.as_bytes()), "{text}");
        }
        for text in ["SELECT 'it''s', 'a'", "x = 'a' AND y = 'b'"] {
            assert!(!may_name_time(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn values_are_searched() {
        assert!(has_bound_clock_word(b"\0\0\0\x02\xff\xff\xff\xff\0\0\0\x05today\0\0"));
        assert!(has_bound_clock_word(b"\0\x01\0\0\0\x01\0\0\0\x0d{2026,now,x}\0\0"));
        assert!(!has_bound_clock_word(b"\0\x01\0\x01\0\x01\0\0\0\x04know\0\0"));
        assert!(has_bound_clock_word(b"\0\0\0\x01\0\0\0\x09short"));
    }
}
