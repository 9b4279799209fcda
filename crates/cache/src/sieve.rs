//! Takes the answers to pgtally's own messages out of what the server says, before the client sees it.
//!
//! Each message of pgtally's own ends with a `Sync`: one that restores what the client believes of the unnamed
//! statement, or a group that asks something. What the server says on its own account
//! (notices, notifications, changed parameters) goes to the client at all times, and so does the FATAL error with
//! which a server leaves.

use pgtally_protocol::{OpenFrame, backend};

use crate::again::AnswerCopy;
use crate::capture::{Capture, Refused};

/// Bytes kept of the answer to a question; a longer one counts as none.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const HEADER_BYTES: usize = 5;
/// `NoticeResponse` and `NotificationResponse`.
const NOTICE: u8 = b'N';
const NOTIFICATION: u8 = b'A';

/// Answer to a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Body of its only row; empty without one.
    pub row: Vec<u8>,
    /// It was an error, too long, or more than one row.
    pub is_failed: bool,
}

/// One session's sieve.
#[derive(Debug, Default)]
pub struct Sieve {
    /// Everything up to `ReadyForQuery` is ours.
    is_expecting: bool,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Of the header, gone to the client before the question was sent.
    passed_bytes: usize,
    remaining: usize,
    is_ours: bool,
    /// Of a frame of ours, as far as it is kept.
    body: Vec<u8>,
    answer: Answer,
    /// Takes the answer instead, where all of it is wanted.
    copy: Option<AnswerCopy>,
}

impl Sieve {
    /// Whether a chunk has to go through [`Sieve::sift`].
    #[must_use]
    pub fn is_expecting(&self) -> bool {
        self.is_expecting
    }

    /// A group was sent, behind what of a frame has passed already. Only while nothing is unanswered.
    pub fn expect_group(&mut self, passed: OpenFrame<'_>) {
        self.is_expecting = true;
        self.answer = Answer::default();
        self.copy = None;
        (self.header_bytes, self.passed_bytes) = (0, passed.header.len());
        for (place, byte) in self.header.iter_mut().zip(passed.header) {
            *place = *byte;
            self.header_bytes += 1;
        }
        self.remaining = passed.remaining as usize;
        if self.remaining > 0 {
            self.header_bytes = HEADER_BYTES;
        }
        self.is_ours = false;
    }

    /// As [`Sieve::expect_group`], for a group whose answer is wanted whole.
    pub fn expect_copy(&mut self, passed: OpenFrame<'_>, copy: AnswerCopy) {
        self.expect_group(passed);
        self.copy = Some(copy);
    }

    /// The copy of the answer that has ended last, or why it cannot be kept; `None` where none was wanted.
    pub fn take_copy(&mut self) -> Option<Result<Capture, Refused>> {
        self.copy.take().map(AnswerCopy::into_capture)
    }

    /// Appends to `out` what of `chunk` is for the client, and answers a question once it is complete.
    pub fn sift(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) -> Option<Answer> {
        let mut answer = None;
        while !chunk.is_empty() {
            if !self.is_expecting() && self.remaining == 0 && self.header_bytes == 0 {
                out.extend_from_slice(chunk);
                break;
            }
            if self.remaining == 0 && self.header_bytes < HEADER_BYTES {
                self.take_header(&mut chunk, out);
            } else {
                self.take_body(&mut chunk, out);
            }
            if self.header_bytes == HEADER_BYTES && self.remaining == 0 {
                self.header_bytes = 0;
                answer = self.end_of_frame(out).or(answer);
            }
        }
        answer
    }

    fn take_header(&mut self, chunk: &mut &[u8], out: &mut Vec<u8>) {
        let (taken, rest) = chunk.split_at(chunk.len().min(HEADER_BYTES - self.header_bytes));
        *chunk = rest;
        for byte in taken {
            if let Some(place) = self.header.get_mut(self.header_bytes) {
                *place = *byte;
            }
            self.header_bytes += 1;
        }
        if self.header_bytes < HEADER_BYTES {
            return;
        }
        let [tag, length @ ..] = self.header;
        self.remaining = (u32::from_be_bytes(length) as usize).saturating_sub(4);
        let is_spontaneous = matches!(tag, NOTICE | NOTIFICATION | backend::PARAMETER_STATUS);
        // What began before the question is no answer to it.
        let passed_bytes = std::mem::take(&mut self.passed_bytes);
        self.is_ours = self.is_expecting && !is_spontaneous && passed_bytes == 0;
        if is_spontaneous && tag != NOTIFICATION {
            // What an answer brings with it cannot be given again.
            self.refuse_copy(Refused::Unexpected);
        }
        self.body.clear();
        if !self.is_ours {
            out.extend_from_slice(self.header.get(passed_bytes..).unwrap_or_default());
        }
    }

    fn take_body(&mut self, chunk: &mut &[u8], out: &mut Vec<u8>) {
        let (taken, rest) = chunk.split_at(chunk.len().min(self.remaining));
        *chunk = rest;
        self.remaining -= taken.len();
        if !self.is_ours {
            out.extend_from_slice(taken);
        } else if self.body.len() + taken.len() <= self.body_bytes_max() {
            self.body.extend_from_slice(taken);
        } else {
            self.answer.is_failed = true;
            self.refuse_copy(Refused::TooLarge);
        }
    }

    fn body_bytes_max(&self) -> usize {
        self.copy.as_ref().map_or(ANSWER_BYTES_MAX, |copy| copy.frame_bytes_max().max(ANSWER_BYTES_MAX))
    }

    fn refuse_copy(&mut self, refused: Refused) {
        if let Some(copy) = &mut self.copy {
            copy.refuse(refused);
        }
    }

    fn end_of_frame(&mut self, out: &mut Vec<u8>) -> Option<Answer> {
        if !std::mem::take(&mut self.is_ours) {
            return None;
        }
        let [tag, ..] = self.header;
        if let Some(copy) = &mut self.copy {
            copy.feed(&self.header, &self.body);
        }
        match tag {
            backend::READY_FOR_QUERY => {
                self.is_expecting = false;
                self.body = Vec::new();
                self.answer.is_failed |= self.answer.row.is_empty();
                if self.answer.is_failed {
                    self.answer.row = Vec::new();
                }
                return Some(std::mem::take(&mut self.answer));
            }
            backend::ERROR_RESPONSE => {
                self.answer.is_failed = true;
                if backend::ErrorFields::read(&self.body).is_fatal {
                    out.extend_from_slice(&self.header);
                    out.extend_from_slice(&self.body);
                }
            }
            backend::DATA_ROW if self.answer.row.is_empty() => {
                self.answer.row = std::mem::take(&mut self.body)
            }
            backend::DATA_ROW => self.answer.is_failed = true,
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use pgtally_protocol::FrameReader;

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
    }

    /// What reaches the client, and the answer, whatever the chunks.
    fn sift(stream: &[u8]) -> (Vec<u8>, Option<Answer>) {
        let mut results = Vec::new();
        for size in [1, 2, 3, 7, stream.len()] {
            let mut sieve = Sieve::default();
            sieve.expect_group(OpenFrame::default());
            let (mut out, mut answer) = (Vec::new(), None);
            for chunk in stream.chunks(size) {
                answer = sieve.sift(chunk, &mut out).or(answer);
            }
            results.push((out, answer));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");
        results.remove(0)
    }

    #[test]
    fn a_group_is_taken_out_and_what_the_server_says_by_itself_stays() {
        let notice = message(b'N', b"SNOTICE\0\0");
        let parameter = message(b'S', b"TimeZone\0UTC\0");
        let row = message(b'D', b"\0\x01\0\0\0\x01x");
        let group = [message(b'1', b""), message(b'2', b""), notice.clone(), row, parameter.clone()].concat();
        let group = [group, message(b'C', b"SELECT 1\0"), message(b'3', b""), message(b'Z', b"I")].concat();
        let behind = message(b'A', b"\0\0\0\x01channel\0\0");
        let (out, answer) = sift(&[group, behind.clone()].concat());
        assert_eq!(out, [notice, parameter, behind].concat());
        assert_eq!(answer, Some(Answer { row: b"\0\x01\0\0\0\x01x".to_vec(), is_failed: false }));
    }

    #[test]
    fn an_error_fails_the_answer_and_a_fatal_one_reaches_the_client() {
        let error = message(b'E', b"SERROR\0VERROR\0C42501\0\0");
        let (out, answer) = sift(&[error, message(b'Z', b"I")].concat());
        assert!(out.is_empty() && answer.unwrap().is_failed);
        let fatal = message(b'E', b"SFATAL\0VFATAL\0C57P01\0\0");
        assert_eq!(sift(&fatal), (fatal.clone(), None));
        let long = message(b'D', &vec![b'x'; ANSWER_BYTES_MAX + 1]);
        let (out, answer) = sift(&[long, message(b'Z', b"I")].concat());
        assert!(out.is_empty() && answer.unwrap().is_failed);
    }

    #[test]
    fn what_had_begun_goes_on_to_the_client() {
        let group = [message(b'1', b""), message(b'Z', b"I")].concat();
        for first in [message(b'A', b"\0\0\0\x01channel\0\0"), message(b'E', b"SFATAL\0C57P01\0\0")] {
            for at in 1..first.len() {
                let mut reader = FrameReader::new(|_| 0);
                reader.next(&mut &first[..at]).unwrap();
                let (mut sieve, mut out) = (Sieve::default(), first[..at].to_vec());
                sieve.expect_group(reader.open_frame());
                let answer = sieve.sift(&[&first[at..], &group].concat(), &mut out);
                assert!(answer.is_some() && !sieve.is_expecting());
                assert_eq!(out, first, "{at}");
            }
        }
    }
}
