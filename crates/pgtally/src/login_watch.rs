//! Counts logins that the server refuses: in relayed authentication nobody else would tell.
//!
//! Looks at the server's messages until the session is ready or refused, beside the observer and without it, and then
//! is gone: a session that goes on owes it nothing. What cannot be understood ends the watch and nothing else.

use pgtally_protocol::FrameReader;
use pgtally_protocol::backend::{self, ErrorFields};
use tracing::info;

use crate::metrics::Metrics;

/// Bytes of an ErrorResponse that are kept: its SQLSTATE stands in front of its texts.
const ERROR_BYTES_MAX: usize = 512;

/// The watch over one login.
#[derive(Debug)]
pub(crate) struct LoginWatch(FrameReader);

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is no matter of who the client is: it is in, or failed otherwise.
    Over,
    /// Class 28 of SQLSTATEs: the reason for metrics.
    Refused(&'static str),
}

impl LoginWatch {
    pub(crate) const fn new() -> Self {
        Self(FrameReader::new(|tag| if tag == backend::ERROR_RESPONSE { ERROR_BYTES_MAX } else { 0 }))
    }

    /// Looks at what the server has said; true when there is nothing left to watch.
    pub(crate) fn is_over(&mut self, chunk: &[u8], session: u64, metrics: &Metrics) -> bool {
        match self.verdict(chunk) {
            None => return false,
            Some(Verdict::Over) => {}
            Some(Verdict::Refused(reason)) => {
                metrics.auth_failures.with_label_values(&["upstream", reason]).inc();
                info!(side = "upstream", session, reason, "the server refused a login");
            }
        }
        true
    }

    fn verdict(&mut self, mut chunk: &[u8]) -> Option<Verdict> {
        loop {
            let frame = match self.0.next(&mut chunk) {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(_) => return Some(Verdict::Over),
            };
            match frame.tag {
                backend::READY_FOR_QUERY => return Some(Verdict::Over),
                backend::ERROR_RESPONSE => {
                    return Some(match &ErrorFields::read(frame.body).sqlstate {
                        b"28P01" => Verdict::Refused("wrong_password"),
                        [b'2', b'8', ..] => Verdict::Refused("refused"),
                        _ => Verdict::Over,
                    });
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_everything_else() {
        let check = |messages: &[u8], expected: Option<Verdict>| {
            assert_eq!(LoginWatch::new().verdict(messages), expected);
            let mut watch = LoginWatch::new();
            let one_by_one = messages.chunks(1).find_map(|byte| watch.verdict(byte));
            assert_eq!(one_by_one, expected);
        };
        let error = |code: &str| {
            let body = format!("SFATAL\0VFATAL\0C{code}\0Mno\0\0");
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            [b"R\0\0\0\x0c\0\0\0\x0aabcdE", &length[..], body.as_bytes()].concat()
        };
        check(&error("28P01"), Some(Verdict::Refused("wrong_password")));
        check(&error("28000"), Some(Verdict::Refused("refused")));
        check(&error("53300"), Some(Verdict::Over));
        check(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", Some(Verdict::Over));
        check(b"R\0\0\0\x08\0\0\0\0S\0\0\0\x06a\0", None);
        check(b"HTTP/1.1 400 Bad Request\r\n", Some(Verdict::Over));
        check(b"R\0\0\0\x01", Some(Verdict::Over));
    }
}
