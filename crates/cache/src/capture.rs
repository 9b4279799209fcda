//! Copies an answer while it is relayed, as long as it is one that may be kept: columns, rows, `SELECT n`, and an idle
//! session behind it.
//!
//! Anything else, an error, a notice, a changed setting, a portal that is not at its end, ends the copy; so does an
//! answer longer than allowed, which goes on streaming to the client meanwhile.

use pgtally_protocol::backend;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured {
    /// The answer is complete: see [`Capture::into_answer`].
    Complete,
    /// More has to come.
    Partial,
    /// It cannot be kept, and nothing more is copied.
    Refused(Refused),
}

/// Why an answer is not kept. A closed set: it is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An error, a notice or anything else that an answer to a plain read does not hold.
    Unexpected,
    /// Longer than its plan allows.
    TooLarge,
}

/// A copy in the making.
#[derive(Debug)]
pub struct Capture {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    next: usize,
    /// Where the answer begins: behind `ParseComplete` and `BindComplete`.
    start: usize,
    /// Where `ReadyForQuery` begins, once it is there.
    end: Option<usize>,
    has_command: bool,
    bytes_max: usize,
}

const HEADER_BYTES: usize = 5;

impl Capture {
    /// A copy of at most `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), next: 0, start: 0, end: None, has_command: false, bytes_max }
    }

    /// Copies what was said next.
    pub fn feed(&mut self, chunk: &[u8]) -> Captured {
        if self.end.is_some() {
            return Captured::Complete;
        }
        if self.bytes.len().saturating_add(chunk.len()) > self.bytes_max.saturating_add(SPARE_BYTES) {
            return self.refuse(Refused::TooLarge);
        }
        self.bytes.extend_from_slice(chunk);
        while let Some(&[tag, a, b, c, d]) = self.bytes.get(self.next..self.next + HEADER_BYTES) {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            let Some(behind) = self.next.checked_add(length).and_then(|at| at.checked_add(1)) else {
                return self.refuse(Refused::Unexpected);
            };
            // No need to wait for the rest of a frame that is too long already.
            if behind > self.bytes_max.saturating_add(SPARE_BYTES) {
                return self.refuse(Refused::TooLarge);
            }
            let Some(body) = self.bytes.get(self.next + HEADER_BYTES..behind) else { break };
            match tag {
                backend::PARSE_COMPLETE | backend::BIND_COMPLETE if self.next == self.start => {
                    self.start = behind;
                }
                backend::ROW_DESCRIPTION | backend::DATA_ROW if !self.has_command => {}
                backend::COMMAND_COMPLETE if !self.has_command && body.starts_with(b"SELECT ") => {
                    self.has_command = true;
                }
                backend::READY_FOR_QUERY if self.has_command && body == b"I" => {
                    self.end = Some(self.next);
                    return Captured::Complete;
                }
                _ => return self.refuse(Refused::Unexpected),
            }
            self.next = behind;
        }
        Captured::Partial
    }

    fn refuse(&mut self, refused: Refused) -> Captured {
        self.bytes = Vec::new();
        Captured::Refused(refused)
    }

    /// The answer without `ParseComplete`, `BindComplete` and `ReadyForQuery`; `None` before it is complete.
    #[must_use]
    pub fn into_answer(mut self) -> Option<Vec<u8>> {
        self.bytes.truncate(self.end?);
        self.bytes.drain(..self.start);
        Some(self.bytes)
    }
}

/// What may stand around an answer.
const SPARE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
    }

    /// The answer, or why there is none; the same whatever the chunks.
    fn capture(messages: &[(u8, &[u8])], bytes_max: usize) -> Result<Vec<u8>, Captured> {
        let stream: Vec<u8> = messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
        let results: Vec<_> = [1, 3, 8, stream.len()]
            .into_iter()
            .map(|size| {
                let mut capture = Capture::new(bytes_max);
                for chunk in stream.chunks(size) {
                    match capture.feed(chunk) {
                        Captured::Partial => {}
                        Captured::Complete => return Ok(capture.into_answer().unwrap()),
                        refused @ Captured::Refused(_) => return Err(refused),
                    }
                }
                Err(Captured::Partial)
            })
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");
        results[0].clone()
    }

    const ROWS: [(u8, &[u8]); 3] = [(b'T', b"columns"), (b'D', b"row"), (b'C', b"SELECT 1\0")];

    #[test]
    fn what_stands_around_an_answer_is_left_out() {
        let answer: Vec<u8> = ROWS.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
        let group = [&[(b'1', &b""[..]), (b'2', b"")][..], &ROWS, &[(b'Z', b"I")]].concat();
        assert_eq!(capture(&group, 100), Ok(answer.clone()));
        assert_eq!(capture(&[&ROWS[..], &[(b'Z', b"I"), (b'A', b"later")]].concat(), 100), Ok(answer));
        assert_eq!(capture(&ROWS, 100), Err(Captured::Partial));
    }

    #[test]
    fn other_answers_are_refused() {
        let unexpected = Err(Captured::Refused(Refused::Unexpected));
        for messages in [
            &[ROWS[0], (b'E', b"SERROR\0"), (b'Z', b"I")][..],
            &[ROWS[0], (b'N', b"SNOTICE\0"), ROWS[1]],
            &[ROWS[0], (b'S', b"TimeZone\0UTC\0")],
            &[ROWS[1], (b's', b"")],
            &[ROWS[0], ROWS[1], ROWS[2], (b'Z', b"T")],
            &[ROWS[0], ROWS[1], ROWS[2], ROWS[2]],
            &[(b'C', b"INSERT 0 1\0")],
            &[(b'I', b"")],
            &[(b'H', b"\0\0\0")],
            &[(b'Z', b"I")],
        ] {
            assert_eq!(capture(messages, 100), unexpected, "{messages:?}");
        }
    }

    #[test]
    fn answers_beyond_the_limit_are_not_held() {
        let too_large = Captured::Refused(Refused::TooLarge);
        let mut capture = Capture::new(1_000);
        let row = message(b'D', &[0; 500]);
        assert_eq!(
            [capture.feed(&row), capture.feed(&row), capture.feed(&row)],
            [Captured::Partial, Captured::Partial, too_large]
        );
        assert_eq!(capture.bytes.capacity(), 0);
        // A frame's header tells enough.
        assert_eq!(Capture::new(1_000).feed(b"D\x3f\xff\xff\xff\0\0"), too_large);
        assert_eq!(Capture::new(1_000).feed(b"D\xff\xff\xff\xff"), too_large);
    }
}
