//! What each byte starts or belongs to, by the rules of PostgreSQL's scanner. Tables for the lexer, made at compile
//! time; nothing else reads them.

/// What a byte starts.
#[derive(Clone, Copy)]
pub(crate) enum Class {
    CloseBracket,
    CloseParen,
    Colon,
    Comma,
    Digit,
    Dollar,
    Dot,
    DoubleQuote,
    Letter,
    OpenBracket,
    OpenParen,
    Operator,
    Other,
    Prefix,
    Quote,
    Semicolon,
    Space,
}

pub(crate) const CLASSES: [Class; 256] = classes();
pub(crate) const IN_WORD: [bool; 256] = in_word();

/// What a quoted identifier may consist of to be the same without quotes.
pub(crate) const IN_PLAIN: [bool; 256] = in_plain();

const fn in_plain() -> [bool; 256] {
    let mut set = in_word();
    let mut byte = 0;
    while byte < 256 {
        set[byte] &= (byte as u8).is_ascii() && !(byte as u8).is_ascii_uppercase();
        byte += 1;
    }
    set
}

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
            b'b' | b'B' | b'e' | b'E' | b'n' | b'N' | b'u' | b'U' | b'x' | b'X' => Class::Prefix,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            b'$' => Class::Dollar,
            b'.' => Class::Dot,
            b':' => Class::Colon,
            b',' => Class::Comma,
            b';' => Class::Semicolon,
            b'(' => Class::OpenParen,
            b')' => Class::CloseParen,
            b'[' => Class::OpenBracket,
            b']' => Class::CloseBracket,
            b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#' | b'%' | b'^'
            | b'&' | b'|' | b'`' | b'?' => Class::Operator,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
}

const fn in_word() -> [bool; 256] {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        set[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9' | b'$' | 0x80..=0xff);
        byte += 1;
    }
    set
}
