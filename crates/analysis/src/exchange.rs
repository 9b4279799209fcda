//! Exchanges of the usual form: one statement in the client's chunk, its whole answer in the server's.
//!
//! Most statements under load are of units that have all the records they may have (`part.rs`): nothing but their
//! shape, time and rows is left to know. A chunk of such a session waits for its answer ([`Deferred`]); where both are
//! of the usual form, the statement is counted without pairing messages, attaching values or hashing rows
//! (`observer.rs`, `recording/exchange.rs`). All else is looked at as ever, at the moment it was sent.
//!
//! Message flow: <https://www.postgresql.org/docs/current/protocol-flow.html>.

use pgtally_protocol::backend::CommandComplete;
use pgtally_protocol::frontend::{self, Bind, Parse, Text};
use pgtally_protocol::{Frame, backend};

use crate::limits::DEFERRED_BYTES_MAX;
use crate::record::Moment;

/// A client's chunk that waits for its answer; empty when none does.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    chunk: Vec<u8>,
    pub(crate) sent: Moment,
}

impl Deferred {
    /// Whether a chunk can wait.
    pub(crate) const fn has_room(&self, chunk: &[u8]) -> bool {
        self.chunk.is_empty() && chunk.len() <= DEFERRED_BYTES_MAX
    }

    pub(crate) fn hold(&mut self, chunk: &[u8], sent: Moment) {
        self.chunk.extend_from_slice(chunk);
        self.sent = sent;
    }

    /// Whether one does.
    pub(crate) const fn is_waiting(&self) -> bool {
        !self.chunk.is_empty()
    }

    /// What waits.
    pub(crate) fn chunk(&self) -> &[u8] {
        &self.chunk
    }

    /// Nothing waits any more.
    pub(crate) fn clear(&mut self) {
        self.chunk.clear();
    }

    /// Gives the buffer back: a session that is idle should own nothing.
    pub(crate) fn shrink(&mut self) {
        if self.chunk.is_empty() {
            self.chunk = Vec::new();
        }
    }
}

/// What a chunk asks for.
pub(crate) enum Asked<'a> {
    /// A `Query`.
    Query(Text<'a>),
    /// The unnamed portal of a statement: `[Parse] Bind [Describe] Execute Sync`, the `Parse` of the unnamed one.
    Portal { parse: Option<Parse<'a>>, statement: &'a [u8] },
}

/// What the client asks for, where that is one statement.
pub(crate) fn asked(mut chunk: &[u8]) -> Option<Asked<'_>> {
    let first = Frame::take_whole(&mut chunk)?;
    if first.tag == frontend::QUERY {
        // A zero within it is an error, of which its answer tells.
        let bytes = first.body.strip_suffix(&[0]).filter(|_| chunk.is_empty())?;
        return Some(Asked::Query(Text { bytes, is_cut: false }));
    }
    let (parse, bind) = match first.tag {
        frontend::PARSE => (Some(Parse::read(&first).ok()?), Frame::take_whole(&mut chunk)?),
        _ => (None, first),
    };
    let (portal, statement) = Bind::names(&bind).ok().filter(|_| bind.tag == frontend::BIND)?;
    let is_of_parse = parse.is_none_or(|parse| parse.name.is_empty() && statement.is_empty());
    let mut execute = Frame::take_whole(&mut chunk)?;
    if execute.tag == frontend::DESCRIBE {
        execute = Frame::take_whole(&mut chunk)?;
    }
    let runs_it = execute.tag == frontend::EXECUTE && frontend::execute(&execute).ok()?.is_empty();
    let sync = Frame::take_whole(&mut chunk)?;
    let is_usual =
        is_of_parse && portal.is_empty() && runs_it && sync.tag == frontend::SYNC && chunk.is_empty();
    is_usual.then_some(Asked::Portal { parse, statement })
}

/// The rows of one statement that has succeeded outside a transaction block, where the chunk is its whole answer.
pub(crate) fn answered_rows(mut chunk: &[u8]) -> Option<u64> {
    let mut rows = None;
    loop {
        let frame = Frame::take_whole(&mut chunk)?;
        match frame.tag {
            backend::DATA_ROW
            | backend::ROW_DESCRIPTION
            | backend::BIND_COMPLETE
            | backend::PARSE_COMPLETE
            | backend::NO_DATA
                if rows.is_none() => {}
            backend::COMMAND_COMPLETE if rows.is_none() => {
                rows = Some(CommandComplete::read(frame.body).rows());
            }
            backend::READY_FOR_QUERY if frame.body == b"I" && chunk.is_empty() => return rows,
            _ => return None,
        }
    }
}
