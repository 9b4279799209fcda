//! What texts have in common that differ in plain literals only: much cheaper to find than their shape.
//!
//! A client of the simple protocol writes its values into the text, so that no two texts are equal. Those with one
//! skeleton have the same tokens but for the digits of numbers and the contents of `'…'`, so they read and write the
//! same. Whatever could make that untrue has no skeleton: comments, dollar quotes, literals with a prefix.
//!
//! Deliberately absent: what literals mean. Nobody may take one text's answer for another's because of this. Nor do
//! equal skeletons make equal shapes where these keep a literal (`ORDER BY 1`).

/// What a byte begins, outside of everything else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Word,
    Digit,
    Quote,
    Identifier,
    Dash,
    Slash,
    Dollar,
    End,
}

const CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            0 => Class::End,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Word,
            b'0'..=b'9' => Class::Digit,
            b'\'' => Class::Quote,
            b'"' => Class::Identifier,
            b'-' => Class::Dash,
            b'/' => Class::Slash,
            b'$' => Class::Dollar,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
}

fn class(byte: u8) -> Class {
    CLASSES[byte as usize]
}

fn is_of_word(byte: &u8) -> bool {
    matches!(class(*byte), Class::Word | Class::Digit | Class::Dollar)
}

/// Writes the skeleton of `text` into `skeleton`; false where it has none. Only for `standard_conforming_strings`.
#[must_use]
pub fn write_skeleton(text: &[u8], skeleton: &mut Vec<u8>) -> bool {
    skeleton.clear();
    skeleton.reserve(text.len());
    // What lies before has been copied.
    let mut from = 0;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let class = class(byte);
        let behind = text.get(at + 1..).unwrap_or_default();
        let found = match class {
            Class::Plain => Some((from, at + 1)),
            Class::Word => Some((from, at + 1 + length(behind, is_of_word))),
            Class::Dash => (behind.first() != Some(&b'-')).then_some((from, at + 1)),
            Class::Slash => (behind.first() != Some(&b'*')).then_some((from, at + 1)),
            Class::Identifier => memchr::memchr(b'"', behind).map(|length| (from, at + 2 + length)),
            Class::Quote => content(text, at).map(|length| (at + 1 + length, at + 2 + length)),
            Class::Digit | Class::Dollar => {
                digits(behind, class).map(|length| (at + 1 + length, at + 1 + length))
            }
            Class::End => None,
        };
        let Some((copied, next)) = found else { return false };
        if copied != from {
            skeleton.extend_from_slice(text.get(from..at).unwrap_or_default());
            skeleton.push(if class == Class::Digit { b'0' } else { byte });
        }
        (from, at) = (copied, next);
    }
    skeleton.extend_from_slice(text.get(from..).unwrap_or_default());
    true
}

/// Bytes between the quote at `at` and the next one. `E'…'` and others have rules of their own.
fn content(text: &[u8], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    if before.is_some_and(|before| is_of_word(before) || *before == b'&') {
        return None;
    }
    memchr::memchr(b'\'', text.get(at + 1..)?)
}

/// Digits of a number behind its first one, or of a parameter behind its `$`.
fn digits(behind: &[u8], class: Class) -> Option<usize> {
    let digits = length(behind, u8::is_ascii_digit);
    // What follows at once may belong to it (`0x1`), or begin a word of its own (`1x1`).
    let is_fine = (class == Class::Digit || digits > 0) && !behind.get(digits).is_some_and(is_of_word);
    is_fine.then_some(digits)
}

fn length(bytes: &[u8], is_in: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_in(byte)).count()
}

#[cfg(test)]
mod tests {
    use pgtally_fingerprint::{Dialect, Scan};
    use proptest::prelude::*;

    use super::*;

    fn skeleton(text: &str) -> Option<String> {
        let mut skeleton = Vec::new();
        write_skeleton(text.as_bytes(), &mut skeleton).then(|| String::from_utf8(skeleton).unwrap())
    }

    #[test]
    fn plain_literals_are_left_out_and_nothing_else() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(skeleton(text).as_deref(), expected, "{text}");
        check("SELECT a1 FROM t2 WHERE x = 123", Some("SELECT a1 FROM t2 WHERE x = 0"));
        check("f(-1.50, 'it''s', $12, \"a'1\"\"2\")", Some("f(-0.0, '''', $, \"a'1\"\"2\")"));
        check("a-1/2", Some("a-0/0"));
        check("", Some(""));
        check("é1 = 2", Some("é1 = 0"));
        for text in [
            "SELECT 1 -- x",
            "SELECT /* x */ 1",
            "E'a'",
            "U&'a'",
            "x'1'",
            "1'a'",
            "0x1",
            "1x1",
            "$1x",
            "$$a$$",
            "$a$",
            "$1$",
            "'a",
            "\"a",
            "a\0",
        ] {
            check(text, None);
        }
    }

    /// Tokens of a text: kinds of what the scan tells, without literals.
    fn shape(text: &str) -> Vec<String> {
        let mut scan = Scan::new();
        scan.scan(text.as_bytes(), Dialect::default(), false);
        let dialect = Dialect::default();
        scan.statements
            .iter()
            .map(|it| pgtally_fingerprint::normalize(text.as_bytes(), it, dialect).text)
            .collect()
    }

    proptest! {
        /// Literals that stay in a shape (`ORDER BY 1`) are the only difference that equal skeletons leave.
        #[test]
        fn equal_skeletons_are_equal_shapes(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("SELECT a FROM t WHERE b = "), Just("'"), Just("''"), Just("\""), Just("x1"), Just(" "), Just("-"),
                    Just("/"), Just("*"), Just("$"), Just(";"), Just("UPDATE t SET a="), Just("E"), Just("\\"), Just("."),
                    Just("#"), Just("#"), Just("#"),
                ],
                0..12,
            ),
            one in "[0-9]{1,4}",
            other in "[0-9]{1,4}",
        ) {
            let text = parts.concat();
            let [one, other] = [one, other].map(|digits| text.replace('#', &digits));
            if let (Some(left), Some(right)) = (skeleton(&one), skeleton(&other))
                && left == right
            {
                prop_assert_eq!(shape(&one), shape(&other));
            }
        }
    }
}
