//! Recognises a text that differs from an earlier one in its literals only, without lexing it again.
//!
//! Clients that write values into the text (simple protocol, client-side binding) send thousands of texts that are
//! equal but for numbers and strings. Where the bytes between the literals are equal and each literal is of the same
//! plain form as before, the lexer would cut the text in the same way, so only the values have to be read.

use crate::parameter::Parameter;
use crate::value;
use crate::{Dialect, Scan, StatementScan};

/// Longest text a template is made of. Longer ones are rare and mostly unique.
pub const TEMPLATE_BYTES_MAX: usize = 2 * 1024;

/// A scanned text with one statement, ready to be compared with others.
#[derive(Debug)]
pub struct Template {
    text: Box<[u8]>,
    literals: Box<[(Parameter, Form)]>,
}

/// The two forms of literals whose end can be found without a lexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Digits only.
    Digits,
    /// `'…'` without a quote or, where those escape, a backslash inside.
    Quoted,
}

impl Template {
    /// A template of `text`, which `scan` has read; `None` when its literals are not plain enough, when there are
    /// none, or when the text has comments (which may tell apart what the statement does not).
    #[must_use]
    pub fn of(text: &[u8], scan: &Scan, dialect: Dialect) -> Option<Self> {
        let [statement] = scan.statements.as_slice() else { return None };
        let is_plain = scan.comments.is_empty()
            && dialect.has_standard_strings
            && text.len() <= TEMPLATE_BYTES_MAX
            && is_plain(statement);
        if !is_plain || scan.parameters.is_empty() {
            return None;
        }
        let mut last_end = 0;
        let literal = |parameter: &Parameter| {
            let (start, end) = (parameter.token.0 as usize, parameter.token.1 as usize);
            let is_next = parameter.elements == 1 && start < end && last_end <= start;
            last_end = end;
            let form = form(text, start, end).filter(|_| is_next)?;
            Some((Parameter { token: parameter.token, ..Parameter::literal(parameter.role, 0) }, form))
        };
        let literals = scan.parameters.iter().map(literal).collect::<Option<Box<[_]>>>()?;
        let mut text: Box<[u8]> = text.into();
        literals.iter().for_each(|(parameter, _)| blank(&mut text, parameter.token));
        Some(Self { text, literals })
    }

    /// Whether `text` is the template with other literals; if so, `parameters` are those that scanning would list.
    #[must_use]
    pub fn read(&self, text: &[u8], parameters: &mut Vec<Parameter>) -> bool {
        parameters.clear();
        self.walk(text, |known, at, token| {
            parameters.push(Parameter::literal(known.role, value::literal(token)).at(at, at + token.len()));
        })
    }

    /// Whether `text` is the template with other literals.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        self.walk(text, |_, _, _| {})
    }

    /// Hands each literal of `text`, with its parameter in the template and where it stands, to `each`, as long as the
    /// text is the template. Whether all of it was.
    fn walk<'t>(&self, text: &'t [u8], mut each: impl FnMut(&Parameter, usize, &'t [u8])) -> bool {
        // Positions in the template and in the text.
        let (mut known_at, mut at) = (0, 0);
        for (parameter, form) in &self.literals {
            let (start, end) = (parameter.token.0 as usize, parameter.token.1 as usize);
            let Some(gap) = self.text.get(known_at..start) else { return false };
            if text.get(at..at + gap.len()) != Some(gap) {
                return false;
            }
            at += gap.len();
            let Some(length) = literal_length(text, at, *form) else { return false };
            let token = text.get(at..at + length).unwrap_or_default();
            each(parameter, at, token);
            at += length;
            known_at = end;
        }
        text.get(at..) == self.text.get(known_at..)
    }
}

/// Overwrites a literal, keeping its form: a template outlives the request whose values it was made of.
fn blank(text: &mut [u8], (start, end): (u32, u32)) {
    for byte in text.get_mut(start as usize..end as usize).unwrap_or_default() {
        if *byte != b'\'' {
            *byte = b'0';
        }
    }
}

fn is_plain(statement: &StatementScan) -> bool {
    statement.setting.is_none() && !statement.has_more_parameters && !statement.is_truncated
}

/// The form of the literal at `start..end`; `None` when it is another one, or when what stands beside it could make
/// another token of it.
fn form(text: &[u8], start: usize, end: usize) -> Option<Form> {
    let is_apart = |byte: u8| matches!(byte, b' ' | b'\n' | b'(' | b')' | b',' | b';' | b'=' | b'<' | b'>');
    let before = start.checked_sub(1).and_then(|at| text.get(at)).copied();
    let after = text.get(end).copied();
    if !before.is_some_and(is_apart) || !after.is_none_or(is_apart) {
        return None;
    }
    match text.get(start..end)? {
        digits if digits.iter().all(u8::is_ascii_digit) => Some(Form::Digits),
        [b'\'', inside @ .., b'\''] if !inside.contains(&b'\'') => Some(Form::Quoted),
        _ => None,
    }
}

/// Length of the literal of this form that begins at `at`; `None` when there is none.
fn literal_length(text: &[u8], at: usize, form: Form) -> Option<usize> {
    let rest = text.get(at..)?;
    match form {
        Form::Digits => {
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (length > 0).then_some(length)
        }
        // A doubled quote shows as a byte after the literal that differs from the template's.
        Form::Quoted => {
            let inside = rest.strip_prefix(b"'")?;
            memchr::memchr(b'\'', inside).map(|end| end + 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scanned(text: &[u8]) -> Scan {
        let mut scan = Scan::new();
        scan.scan(text, Dialect::default(), false);
        scan
    }

    /// What the template of `known` makes of `text`; checked against the lexer wherever it takes the text.
    fn read(known: &str, text: &str) -> Option<Vec<Parameter>> {
        let known_scan = scanned(known.as_bytes());
        let template = Template::of(known.as_bytes(), &known_scan, Dialect::default())?;
        let mut parameters = Vec::new();
        if !template.read(text.as_bytes(), &mut parameters) {
            return None;
        }
        let scan = scanned(text.as_bytes());
        assert_eq!(scan.statements.len(), 1, "{known} / {text}");
        assert_eq!(scan.statements[0].fingerprint, known_scan.statements[0].fingerprint, "{known} / {text}");
        assert_eq!(scan.parameters, parameters, "{known} / {text}");
        Some(parameters)
    }

    #[test]
    fn texts_that_differ_in_plain_literals_match() {
        for (known, text) in [
            ("SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id = 123456789"),
            ("SELECT a FROM t WHERE id = 1;", "SELECT a FROM t WHERE id = 22;"),
            (
                "SELECT a FROM t WHERE b = 'x' AND c = 7 LIMIT 21",
                "SELECT a FROM t WHERE b = '' AND c = 0 LIMIT 1",
            ),
            ("SELECT a FROM t WHERE id IN (7)", "SELECT a FROM t WHERE id IN (8)"),
            ("UPDATE t SET a = 'é' WHERE id = 1", "UPDATE t SET a = 'long -- no comment' WHERE id = 2"),
            ("INSERT INTO t (a, b) VALUES (1, 'x')", "INSERT INTO t (a, b) VALUES (2, 'y')"),
        ] {
            assert!(read(known, text).is_some(), "{known} / {text}");
        }
    }

    #[test]
    fn anything_else_is_left_to_the_lexer() {
        for (known, text) in [
            ("SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id = 1.5"),
            ("SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id = -1"),
            ("SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id = 1 OR 1 = 1"),
            ("SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id = "),
            ("SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = 'it''s'"),
            ("SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = 'open"),
            ("SELECT a FROM t WHERE b = E'x'", "SELECT a FROM t WHERE b = E'\\'y'"),
            ("SELECT a FROM t WHERE id IN (1, 2)", "SELECT a FROM t WHERE id IN (1, 3)"),
            ("SELECT a FROM t WHERE id = 1 /* x */", "SELECT a FROM t WHERE id = 2 /* x */"),
            ("SET pgtally.request = 'a'", "SET pgtally.request = 'b'"),
            ("SELECT a FROM t", "SELECT a FROM t"),
        ] {
            assert!(read(known, text).is_none(), "{known} / {text}");
        }
    }

    #[test]
    fn values_are_not_kept() {
        let text = b"SELECT a FROM t WHERE b = 'secret' AND c = 1234";
        let template = Template::of(text, &scanned(text), Dialect::default()).unwrap();
        assert_eq!(&*template.text, b"SELECT a FROM t WHERE b = '000000' AND c = 0000");
        assert!(template.literals.iter().all(|(parameter, _)| parameter.list_hash == 0));
    }

    proptest! {
        #[test]
        fn a_match_is_what_the_lexer_would_say(
            known in "SELECT a FROM t WHERE b = '[a-z]{0,3}' AND c (=|<|IN) \\(?[0-9]{1,3}\\)?( LIMIT 5)?",
            number in "[0-9.e'x-]{0,5}",
            string in "[a-z'\\\\é;-]{0,5}",
        ) {
            let text = format!("SELECT a FROM t WHERE b = '{string}' AND c = {number}");
            read(&known, &text);
            let again = known.replace("a-z", "b");
            read(&known, &again);
        }
    }
}
