//! From the client to the server: tags taken out of the texts of Parse, and names of statements mapped.
//!
//! Held back are messages that may have to change, until they are complete and within bounds; all others, and the
//! values of a Bind, pass as they come. What is malformed passes as it is: the server will say so.

use std::sync::Arc;

use pgtally_fingerprint::lift;
use pgtally_protocol::{Frame, frontend};

use super::names::{Names, Prepare, Revival, Run};
use crate::limits::{LIFTED_HEAD_BYTES_MAX, LIFTED_OUT_BYTES_MAX, LIFTED_TEXT_BYTES_MAX};

const HEADER_BYTES: usize = 5;
/// Words of SQL that name prepared statements.
const NAMING: [&[u8]; 4] = [b"deallocate", b"discard", b"execute", b"prepare"];

/// Where in the stream the client is.
#[derive(Debug, Default)]
pub(super) struct ClientSide {
    /// The beginning of a message, its header included.
    held: Vec<u8>,
    /// Bytes of the current message that pass as they are.
    passing: usize,
    /// The bytes are no messages, or nothing is known of the answers: they pass as they are.
    is_lost: bool,
}

/// What to do with a message of which the header is known.
enum Plan {
    /// Hold this many bytes of it.
    Hold(usize),
    Pass,
}

impl ClientSide {
    /// Takes bytes and appends what goes to the server, up to about [`LIFTED_OUT_BYTES_MAX`]; gives the number of bytes
    /// that are left.
    pub(super) fn take(&mut self, mut chunk: &[u8], names: &mut Names, out: &mut Vec<u8>) -> usize {
        while !chunk.is_empty() && out.len() < LIFTED_OUT_BYTES_MAX {
            if self.is_lost {
                self.end(out);
                out.extend_from_slice(chunk);
                return 0;
            }
            if self.passing > 0 {
                let (now, later) = chunk.split_at(self.passing.min(chunk.len()));
                out.extend_from_slice(now);
                self.passing -= now.len();
                chunk = later;
                continue;
            }
            let wanted = self.wanted(names);
            let (now, later) = chunk.split_at(wanted.saturating_sub(self.held.len()).min(chunk.len()));
            self.held.extend_from_slice(now);
            chunk = later;
            self.advance(names, out);
        }
        chunk.len()
    }

    /// The client ends: what is held is all there will be.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    /// From here on everything passes as it is.
    pub(super) fn give_up(&mut self) {
        self.is_lost = true;
    }

    /// Tag and whole length of the held message, once its header is there.
    fn header(&self) -> Option<(u8, Option<usize>)> {
        let (header, _) = self.held.split_first_chunk::<HEADER_BYTES>()?;
        let [tag, length @ ..] = *header;
        let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| *length >= 4);
        Some((tag, length.map(|length| length + 1)))
    }

    /// Bytes to hold before anything can be decided.
    fn wanted(&self, names: &Names) -> usize {
        match self.header() {
            Some((tag, Some(length))) => match plan(tag, length, names) {
                Plan::Hold(bytes) => bytes,
                Plan::Pass => HEADER_BYTES,
            },
            _ => HEADER_BYTES,
        }
    }

    /// Forwards the held message when enough of it is there.
    fn advance(&mut self, names: &mut Names, out: &mut Vec<u8>) {
        let Some((tag, length)) = self.header() else { return };
        let Some(length) = length else {
            self.is_lost = true;
            return self.end(out);
        };
        let wanted = match plan(tag, length, names) {
            Plan::Hold(bytes) => bytes,
            Plan::Pass => HEADER_BYTES,
        };
        if self.held.len() < wanted {
            return;
        }
        let held = std::mem::take(&mut self.held);
        self.passing = length - held.len();
        note(tag, &held, length, names);
        if forward(tag, &held, length, names, out).is_none() {
            out.extend_from_slice(&held);
        }
        // Its room is used again, unless it has grown.
        self.held = held;
        self.held.clear();
        self.held.shrink_to(LIFTED_HEAD_BYTES_MAX);
    }
}

fn plan(tag: u8, length: usize, names: &Names) -> Plan {
    match tag {
        frontend::PARSE if length <= LIFTED_TEXT_BYTES_MAX => Plan::Hold(length),
        frontend::QUERY if length <= LIFTED_TEXT_BYTES_MAX && !names.is_empty() => Plan::Hold(length),
        frontend::CLOSE => Plan::Hold(length.min(LIFTED_HEAD_BYTES_MAX)),
        frontend::BIND | frontend::DESCRIBE if names.has_shared() => {
            Plan::Hold(length.min(LIFTED_HEAD_BYTES_MAX))
        }
        _ => Plan::Pass,
    }
}

/// Remembers what will be answered, apart from what [`forward`] changes.
fn note(tag: u8, held: &[u8], length: usize, names: &mut Names) {
    let is_whole = held.len() == length;
    match tag {
        frontend::SYNC => names.sync(),
        frontend::QUERY | frontend::FUNCTION_CALL => names.query(),
        frontend::COPY_DONE | frontend::COPY_FAIL => names.copy_end(),
        // A text too long to look at may manage statements.
        frontend::PARSE if !is_whole => {
            names.doubt_homes();
            names.prepare_unlifted(b"");
        }
        frontend::CLOSE if !is_whole => names.close(b""),
        _ => {}
    }
    if tag == frontend::QUERY && !is_whole {
        names.doubt_homes();
    }
}

/// Forwards a message in other words; `None` when it stays as it is.
fn forward(tag: u8, held: &[u8], length: usize, names: &mut Names, out: &mut Vec<u8>) -> Option<()> {
    let body = held.get(HEADER_BYTES..)?;
    let frame = Frame { tag, length: u32::try_from(length - HEADER_BYTES).ok()?, body };
    match tag {
        frontend::BIND if names.has_shared() => {
            let portal = string(body)?;
            let statement = string(body.get(portal.len() + 1..)?)?;
            let home = run(statement, names, out)?;
            let rest = body.get(portal.len() + 1 + statement.len()..)?;
            let length = length - statement.len() + home.len();
            begin(tag, length, out)?;
            [portal, b"\0", &home, rest].iter().for_each(|part| out.extend_from_slice(part));
            Some(())
        }
        frontend::CLOSE if frame.is_whole() => {
            match frontend::target(&frame).ok().flatten() {
                Some(frontend::Target::Statement(name)) => names.close(name),
                // The answer is the same.
                _ => names.close(b""),
            }
            None
        }
        frontend::DESCRIBE if names.has_shared() => {
            let Some(frontend::Target::Statement(name)) = frontend::target(&frame).ok()? else { return None };
            let home = run(name, names, out)?;
            message(tag, &[b"S", &home, b"\0"], out)
        }
        frontend::PARSE if frame.is_whole() => forward_parse(&frame, names, out),
        frontend::QUERY if frame.is_whole() && !names.is_empty() => {
            manage(frontend::query(&frame).ok()?.bytes, names, out);
            None
        }
        _ => None,
    }
}

fn forward_parse(frame: &Frame<'_>, names: &mut Names, out: &mut Vec<u8>) -> Option<()> {
    let Ok(parse) = frontend::Parse::read(frame) else {
        names.prepare_unlifted(b"");
        return None;
    };
    manage(parse.text.bytes, names, out);
    let Some(sql) = lift(parse.text.bytes) else {
        names.prepare_unlifted(parse.name);
        return None;
    };
    let types = frame.body.get(parse.name.len() + parse.text.bytes.len() + 2..).unwrap_or_default();
    match names.prepare(parse.name, &sql, types) {
        Prepare::Close => message(frontend::CLOSE, &[b"S", parse.name, b"\0"], out),
        Prepare::Parse => message(frontend::PARSE, &[parse.name, b"\0", &sql, b"\0", types], out),
    }
}

/// What to call a statement instead of `name`; `None` when that is its name at the server, too.
fn run(name: &[u8], names: &mut Names, out: &mut Vec<u8>) -> Option<Arc<[u8]>> {
    match names.run(name) {
        Run::AsIs => None,
        Run::As(home) => Some(home),
        Run::Parse(revival) => {
            revive(name, &revival, out);
            None
        }
    }
}

/// Before a text that names prepared statements, the server gets those it doesn't know.
fn manage(text: &[u8], names: &mut Names, out: &mut Vec<u8>) {
    if names.is_empty() || !NAMING.iter().any(|word| has_word(text, word)) {
        return;
    }
    names.doubt_homes();
    for name in names.shared_in(text) {
        if let Some(revival) = names.materialise(&name) {
            revive(&name, &revival, out);
        }
    }
}

/// Whether `word` stands in `text` by itself, in whatever case, in a literal or not.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    let is_letter =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let mut windows = text.windows(word.len()).enumerate();
    windows.any(|(at, window)| {
        window.eq_ignore_ascii_case(word)
            && !is_letter(at.checked_sub(1).and_then(|before| text.get(before)))
            && !is_letter(text.get(at + word.len()))
    })
}

/// Has the server prepare a statement under a name, in place of what it may know by it.
fn revive(name: &[u8], revival: &Revival, out: &mut Vec<u8>) {
    if revival.is_again {
        let _ = message(frontend::CLOSE, &[b"S", name, b"\0"], out);
    }
    let text = &revival.text;
    // What fits into one message fits again.
    let _ = message(frontend::PARSE, &[name, b"\0", &text.sql, b"\0", &text.types], out);
}

/// The string that `bytes` begin with, without its terminator.
fn string(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..memchr::memchr(0, bytes)?)
}

fn message(tag: u8, parts: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    begin(tag, HEADER_BYTES + parts.iter().map(|part| part.len()).sum::<usize>(), out)?;
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Some(())
}

/// The header of a message of `length` bytes in all.
fn begin(tag: u8, length: usize, out: &mut Vec<u8>) -> Option<()> {
    let length = i32::try_from(length - 1).ok()?;
    out.push(tag);
    out.extend_from_slice(&length.to_be_bytes());
    Some(())
}
