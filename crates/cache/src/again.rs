//! Asking a question again that was cached before, on a session of the same environment, without the client's notice.
//!
//! The question is put as one group of extended messages with names of its own, whatever form it had: the client's
//! unnamed statement and its portals stay what they are, and rows and columns have the same bytes in both protocols. In
//! front of it, for this transaction only, the server gets a time limit: the client's next message waits behind it.
//!
//! Deliberately absent: when to ask, which is the shell's affair, and whether the answer is still good: see
//! [`crate::Versions`].

use pgtally_protocol::{backend, frontend};

use crate::capture::{Capture, Captured, Refused};
use crate::unit::Unit;

/// Statement and portal that ask.
const NAME: &[u8] = b"pgtally warm\0";
/// Statement and portal that set the limit.
const LIMIT_NAME: &[u8] = b"pgtally limit\0";
/// At most 5 s, or less where the session allows less: as long as the client may have to wait for us.
const LIMIT: &[u8] = b"SELECT pg_catalog.set_config('statement_timeout', CASE WHEN \
    pg_catalog.current_setting('statement_timeout')::pg_catalog.interval \
    OPERATOR(pg_catalog.>) '0'::pg_catalog.interval AND \
    pg_catalog.current_setting('statement_timeout')::pg_catalog.interval \
    OPERATOR(pg_catalog.<) '5s'::pg_catalog.interval \
    THEN pg_catalog.current_setting('statement_timeout') ELSE '5s' END, true)\0";
/// `CloseComplete`.
const CLOSE_COMPLETE: u8 = b'3';
const HEADER_BYTES: usize = 5;

/// What it takes to ask again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    text: Box<[u8]>,
    types: Box<[u8]>,
    bound: Box<[u8]>,
    is_simple: bool,
    is_described: bool,
}

impl Question {
    /// Of a unit whose statement has this text, with its comments, and these declared types.
    #[must_use]
    pub fn of(unit: &Unit<'_>, text: &[u8], types: &[u8]) -> Self {
        let (bound, is_simple, is_described): (&[u8], _, _) = match unit {
            Unit::Simple { .. } => (b"", true, true),
            Unit::Extended { bound, is_described, .. } => (bound, false, *is_described),
        };
        Self { text: text.into(), types: types.into(), bound: bound.into(), is_simple, is_described }
    }

    /// The unit it was, for its key.
    #[must_use]
    pub fn unit(&self) -> Unit<'_> {
        if self.is_simple {
            return Unit::Simple { text: &self.text };
        }
        Unit::Extended { parse: None, statement: b"", bound: &self.bound, is_described: self.is_described }
    }

    /// Its text with comments.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Big-endian OIDs of the declared types.
    #[must_use]
    pub fn types(&self) -> &[u8] {
        &self.types
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.text.len() + self.types.len() + self.bound.len()
    }

    /// The messages that ask. Their answer is read by [`AnswerCopy`].
    #[must_use]
    pub fn messages(&self) -> Vec<u8> {
        // Lengths come from messages of at most 64 KiB.
        let count = ((self.types.len() / 4) as u16).to_be_bytes();
        // No formats, no values: text.
        let bound: &[u8] = if self.is_simple { &[0; 6] } else { &self.bound };
        let close = |kind: u8, name: &[u8]| message(frontend::CLOSE, &[&[kind], name]);
        let mut all = [
            // An error skips what closes them below: the last question may have left them.
            close(b'S', LIMIT_NAME),
            close(b'S', NAME),
            message(frontend::PARSE, &[LIMIT_NAME, LIMIT, &[0; 2]]),
            message(frontend::BIND, &[LIMIT_NAME, LIMIT_NAME, &[0; 6]]),
            message(frontend::EXECUTE, &[LIMIT_NAME, &[0; 4]]),
            message(frontend::PARSE, &[NAME, &self.text, b"\0", &count, &self.types]),
            message(frontend::BIND, &[NAME, NAME, bound]),
        ]
        .concat();
        if self.is_described {
            all.extend(message(frontend::DESCRIBE, &[b"P", NAME]));
        }
        all.extend(message(frontend::EXECUTE, &[NAME, &[0; 4]]));
        for (kind, name) in [(b'P', LIMIT_NAME), (b'S', LIMIT_NAME), (b'P', NAME), (b'S', NAME)] {
            all.extend(close(kind, name));
        }
        all.extend(message(frontend::SYNC, &[]));
        all
    }
}

fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut message = vec![tag];
    message.extend_from_slice(&(length as u32 + 4).to_be_bytes());
    parts.iter().for_each(|part| message.extend_from_slice(part));
    message
}

/// Takes the answer out of what the server says to [`Question::messages`]: held to what any copy is held to.
#[derive(Debug)]
pub struct AnswerCopy {
    capture: Capture,
    /// The limit is set: what follows is the answer.
    has_limit: bool,
    /// Complete, or why it is refused.
    result: Option<Result<(), Refused>>,
    bytes_max: usize,
}

impl AnswerCopy {
    /// A copy of at most `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { capture: Capture::new(bytes_max), has_limit: false, result: None, bytes_max }
    }

    /// Bytes of the longest frame worth holding.
    #[must_use]
    pub const fn frame_bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Looks at the server's next frame.
    pub fn feed(&mut self, header: &[u8; HEADER_BYTES], body: &[u8]) {
        let [tag, ..] = *header;
        if self.result.is_some() {
            return;
        }
        if !self.has_limit && tag != backend::ERROR_RESPONSE {
            self.has_limit = tag == backend::COMMAND_COMPLETE;
            return;
        }
        if tag == CLOSE_COMPLETE {
            return;
        }
        for part in [&header[..], body] {
            self.result = match self.capture.feed(part) {
                Captured::Partial => continue,
                Captured::Complete => Some(Ok(())),
                Captured::Refused(refused) => Some(Err(refused)),
            };
            return;
        }
    }

    /// It cannot be kept.
    pub fn refuse(&mut self, refused: Refused) {
        self.result.get_or_insert(Err(refused));
        self.capture = Capture::new(0);
    }

    /// The complete copy.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub fn into_capture(self) -> Result<Capture, Refused> {
        self.result.unwrap_or(Err(Refused::Unexpected)).map(|()| self.capture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(frames: &[(u8, &[u8])], bytes_max: usize) -> Result<Vec<u8>, Refused> {
        let mut copy = AnswerCopy::new(bytes_max);
        for (tag, body) in frames {
            let [a, b, c, d] = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            copy.feed(&[*tag, a, b, c, d], body);
        }
        copy.into_capture().map(|capture| capture.into_answer().unwrap())
    }

    #[test]
    fn the_answer_stands_between_the_limit_and_the_ends() {
        let limit: [(u8, &[u8]); 4] = [(b'1', b""), (b'2', b""), (b'D', b"5s"), (b'C', b"SELECT 1\0")];
        let answer: [(u8, &[u8]); 4] = [(b'1', b""), (b'2', b""), (b'D', b"row"), (b'C', b"SELECT 1\0")];
        let end: [(u8, &[u8]); 5] = [(b'3', b""), (b'3', b""), (b'3', b""), (b'3', b""), (b'Z', b"I")];
        let whole = [&limit[..], &answer, &end].concat();
        assert_eq!(copy(&whole, 100).unwrap(), b"D\0\0\0\x07rowC\0\0\0\x0dSELECT 1\0");
        assert_eq!(copy(&[&limit[..], &answer].concat(), 100), Err(Refused::Unexpected), "not over");
        let error: [(u8, &[u8]); 1] = [(b'E', b"SERROR\0")];
        assert_eq!(copy(&[&limit[..], &error, &end].concat(), 100), Err(Refused::Unexpected));
        assert_eq!(copy(&[&error[..], &end].concat(), 100), Err(Refused::Unexpected));
        let long: [(u8, &[u8]); 1] = [(b'D', &[0; 500])];
        assert_eq!(copy(&[&limit[..], &long].concat(), 100), Err(Refused::TooLarge));
    }

    #[test]
    fn a_question_keeps_its_form() {
        let unit =
            Unit::Extended { parse: None, statement: b"s1", bound: b"\0\0\0\0\0\0", is_described: false };
        let question = Question::of(&unit, b"SELECT 1", &[0, 0, 0, 23]);
        let Unit::Extended { bound, is_described, .. } = question.unit() else { panic!("extended") };
        assert_eq!((bound, is_described, question.types()), (&[0; 6][..], false, &[0, 0, 0, 23][..]));
        let described = Question::of(&Unit::Simple { text: b"" }, b"SELECT 1", b"");
        assert!(described.messages().len() > question.messages().len());
        assert!(matches!(described.unit(), Unit::Simple { text: b"SELECT 1" }));
    }
}
