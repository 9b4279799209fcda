//! From the server to the client: the few answers that must look different, changed in place.
//!
//! Nothing is held back. What a message becomes is known from its tag and from what was asked: an answer to a Parse
//! that the client didn't send is cut out, and a CloseComplete that stands for a ParseComplete gets its tag.

use pgtally_protocol::backend;

use super::names::{Names, Shown};

const HEADER_BYTES: usize = 5;
/// Bytes of a CommandComplete that tell what it completes.
const COMMAND_BYTES: usize = 16;

/// Where in the stream the server is, and what to do with the current message.
#[derive(Debug, Default)]
pub(super) struct ServerSide {
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    body_left: usize,
    is_cut: bool,
    command: [u8; COMMAND_BYTES],
    command_bytes: usize,
    is_started: bool,
    /// The bytes are no messages: they pass as they are.
    is_lost: bool,
}

impl ServerSide {
    pub(super) const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Changes `chunk` in place; gives the number of bytes that go to the client.
    pub(super) fn take(&mut self, chunk: &mut [u8], names: &mut Names) -> usize {
        let (mut from, mut to) = (0, 0);
        while from < chunk.len() {
            let (count, is_cut) = if self.is_lost {
                (chunk.len() - from, false)
            } else if self.body_left > 0 {
                self.body(chunk.get(from..).unwrap_or_default(), names)
            } else {
                (1, self.header_byte(chunk.get_mut(from), names))
            };
            if !is_cut {
                chunk.copy_within(from..from + count, to);
                to += count;
            }
            from += count;
        }
        to
    }

    /// Takes one byte of a header, which it may change. Tells whether to cut it out.
    fn header_byte(&mut self, byte: Option<&mut u8>, names: &mut Names) -> bool {
        let Some(byte) = byte else { return false };
        if self.header_bytes == 0 {
            self.is_cut = *byte == backend::PARSE_COMPLETE && names.parse_complete();
            if *byte == backend::CLOSE_COMPLETE {
                match names.close_complete() {
                    Shown::Close => {}
                    Shown::Parse => *byte = backend::PARSE_COMPLETE,
                    Shown::Nothing => self.is_cut = true,
                }
            }
        }
        if let Some(slot) = self.header.get_mut(self.header_bytes) {
            *slot = *byte;
        }
        self.header_bytes += 1;
        let is_cut = self.is_cut;
        if self.header_bytes == HEADER_BYTES {
            self.begin_body(names);
        }
        is_cut
    }

    fn begin_body(&mut self, names: &mut Names) {
        let [tag, length @ ..] = self.header;
        self.header_bytes = 0;
        self.command_bytes = 0;
        match usize::try_from(i32::from_be_bytes(length)).ok().and_then(|length| length.checked_sub(4)) {
            Some(length) => self.body_left = length,
            None => self.is_lost = true,
        }
        match tag {
            backend::COPY_IN_RESPONSE => names.copy_in(),
            // The first one ends the startup: nobody has asked for it.
            backend::READY_FOR_QUERY if self.is_started => names.ready(),
            backend::READY_FOR_QUERY => self.is_started = true,
            _ => {}
        }
    }

    /// Passes over the rest of a body; gives the number of bytes, and whether to cut them out.
    fn body(&mut self, rest: &[u8], names: &mut Names) -> (usize, bool) {
        let count = rest.len().min(self.body_left);
        self.body_left -= count;
        if self.header.first() == Some(&backend::READY_FOR_QUERY) {
            names.set_failed(rest.first() == Some(&b'E'));
        }
        if self.header.first() == Some(&backend::COMMAND_COMPLETE) {
            for byte in rest.iter().take(count) {
                if let Some(slot) = self.command.get_mut(self.command_bytes) {
                    *slot = *byte;
                    self.command_bytes += 1;
                }
            }
            let command = self.command.get(..self.command_bytes).unwrap_or_default();
            if self.body_left == 0 && matches!(command, b"DISCARD ALL\0" | b"DEALLOCATE ALL\0") {
                names.all_deallocated();
            }
        }
        (count, self.is_cut)
    }
}
