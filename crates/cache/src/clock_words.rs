//! Words that PostgreSQL's date and time types read as "the time at which this is executed".
//!
//! `'now'::timestamptz`, `day >= 'today'` and a parameter `yesterday` are legal and depend on the clock, though no
//! function is called. Neither the normalized text nor the tree shows them: the exact text has to be searched. Today that
//! is done for the definitions of views only; a statement's own text and its parameters are not searched.

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
}
