//! What a session's client says word for word, for those who listen to the live tap, where `capture.parameters = "full"`
//! allows it. Without that setting nothing here runs.
//!
//! Texts of prepared statements are kept while the session lasts, values only from their `Bind` until their statement
//! has ended: then they go to the listeners, or nowhere. They are told only where it is certain whose they are: while
//! one group of messages is on its way, and until something in it fails. Binary values of types that their `Parse` does
//! not declare stay unknown.

use std::collections::VecDeque;
use std::sync::Arc;

use pgtally_analysis::{Said, Tapped};
use pgtally_fingerprint::{Command, Dialect, Fingerprint, Scan};
use pgtally_protocol::frontend::{self, Bind, Parse, Target};
use pgtally_protocol::{Desync, Frame, FrameReader};
use rustc_hash::FxHashMap;

use crate::limits::{
    SAID_RUNS_MAX, SAID_STATEMENTS_MAX, SAID_TEXT_BYTES_MAX, SAID_VALUE_BYTES_MAX, SAID_VALUES_MAX,
};

/// One session's client.
pub(crate) struct Hearing {
    frames: FrameReader,
    scan: Scan,
    statements: FxHashMap<Box<[u8]>, Prepared>,
    portals: FxHashMap<Box<[u8]>, Run>,
    /// What runs, in its order. At most [`SAID_RUNS_MAX`].
    runs: VecDeque<Run>,
    /// The group of messages on its way is complete: with anything more, answers could be of either.
    has_synced: bool,
    /// Until the session is idle nothing is certain.
    is_lost: bool,
}

#[derive(Clone)]
struct Run {
    fingerprint: Fingerprint,
    said: Said,
}

struct Prepared {
    fingerprint: Fingerprint,
    text: Arc<str>,
    types: Vec<u32>,
}

impl Hearing {
    pub(crate) fn new() -> Self {
        Self {
            frames: FrameReader::new(frontend::body_limit),
            scan: Scan::new(),
            statements: FxHashMap::default(),
            portals: FxHashMap::default(),
            runs: VecDeque::new(),
            has_synced: false,
            is_lost: false,
        }
    }

    /// Takes in what the client has sent. Values are kept only while somebody listens.
    ///
    /// # Errors
    /// When the bytes are no messages.
    pub(crate) fn client(&mut self, mut chunk: &[u8], is_listened: bool) -> Result<(), Desync> {
        let mut frames = std::mem::replace(&mut self.frames, FrameReader::new(frontend::body_limit));
        let heard = loop {
            match frames.next(&mut chunk) {
                Ok(Some(frame)) => {
                    if let Err(desync) = self.message(&frame, is_listened) {
                        break Err(desync);
                    }
                }
                Ok(None) => break Ok(()),
                Err(desync) => break Err(desync),
            }
        };
        self.frames = frames;
        heard
    }

    /// Gives those of the session's statements that have just ended what was said of them.
    pub(crate) fn tell<'t>(&mut self, ended: impl Iterator<Item = &'t mut Tapped>) {
        for tapped in ended {
            if self.is_lost {
                return;
            }
            let at = self.runs.iter().position(|run| run.fingerprint == tapped.fingerprint);
            let run = at.and_then(|at| self.runs.drain(..=at).next_back());
            tapped.said = run.map(|run| Box::new(run.said));
            // What follows in its group is passed over.
            self.is_lost = tapped.error.is_some();
        }
    }

    /// Everything was answered.
    pub(crate) fn idle(&mut self) {
        self.runs.clear();
        (self.has_synced, self.is_lost) = (false, false);
    }

    fn message(&mut self, frame: &Frame<'_>, is_listened: bool) -> Result<(), Desync> {
        if self.has_synced {
            self.is_lost = true;
        }
        match frame.tag {
            frontend::QUERY => {
                self.statements.remove(&b""[..]);
                self.portals.remove(&b""[..]);
                self.has_synced = true;
                self.query(frontend::query(frame)?, is_listened);
            }
            frontend::PARSE => self.parse(&Parse::read(frame)?),
            frontend::BIND if is_listened => self.bind(&Bind::read(frame)?)?,
            frontend::EXECUTE if is_listened => {
                // One that is fetched in pieces ends more than once.
                let is_whole = frame.body.last_chunk() == Some(&[0; 4]);
                let run = self.portals.get(frontend::execute(frame)?).filter(|_| is_whole).cloned();
                self.runs_too(run);
            }
            frontend::SYNC | frontend::FUNCTION_CALL => self.has_synced = true,
            frontend::CLOSE => match frontend::target(frame)? {
                Some(Target::Portal(name)) => drop(self.portals.remove(name)),
                Some(Target::Statement(name)) => drop(self.statements.remove(name)),
                None => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn query(&mut self, text: frontend::Text<'_>, is_listened: bool) {
        if !is_listened || text.is_cut {
            return;
        }
        self.scan.scan(text.bytes, Dialect::default(), false);
        let statements = std::mem::take(&mut self.scan.statements);
        for found in &statements {
            let range = found.text.start as usize..found.text.end as usize;
            let said = text.bytes.get(range).and_then(whole);
            let run = said.map(|text| Run {
                fingerprint: found.fingerprint,
                said: Said { text: text.into(), values: Vec::new() },
            });
            self.runs_too(run);
        }
        self.scan.statements = statements;
    }

    fn parse(&mut self, parse: &Parse<'_>) {
        self.statements.remove(parse.name);
        self.scan.scan(parse.text.bytes, Dialect::default(), parse.text.is_cut);
        let text = whole(parse.text.bytes).filter(|_| !parse.text.is_cut);
        // An EXECUTE is shown as what it executes, whose text this is not.
        let (Some(text), [found]) = (text, self.scan.statements.as_slice()) else { return };
        if found.command == Command::Execute || self.statements.len() >= SAID_STATEMENTS_MAX {
            return;
        }
        let (oids, _) = parse.types.as_chunks::<4>();
        let types = oids.iter().map(|oid| u32::from_be_bytes(*oid)).collect();
        let prepared = Prepared { fingerprint: found.fingerprint, text: text.into(), types };
        self.statements.insert(parse.name.into(), prepared);
    }

    fn bind(&mut self, bind: &Bind<'_>) -> Result<(), Desync> {
        self.portals.remove(bind.portal);
        let Some(prepared) = self.statements.get(bind.statement) else { return Ok(()) };
        let mut values = Some(Vec::new());
        let whole = bind.values(|index, value| {
            let oid = prepared.types.get(index).copied().unwrap_or(0);
            let read = value.map(|bytes| said(bytes, bind.formats.is_binary(index).then_some(oid)));
            match (values.as_mut().filter(|values| values.len() < SAID_VALUES_MAX), read) {
                (Some(values), None) => values.push(None),
                (Some(values), Some(Some(text))) => values.push(Some(text)),
                _ => values = None,
            }
        })?;
        if let (Some(_), Some(values)) = (whole, values)
            && self.portals.len() < SAID_STATEMENTS_MAX
        {
            let said = Said { text: Arc::clone(&prepared.text), values };
            self.portals.insert(bind.portal.into(), Run { fingerprint: prepared.fingerprint, said });
        }
        Ok(())
    }

    fn runs_too(&mut self, run: Option<Run>) {
        match run {
            Some(run) if self.runs.len() < SAID_RUNS_MAX => self.runs.push_back(run),
            // Others must not be taken for it.
            _ => self.is_lost = true,
        }
    }
}

/// A text that is kept whole or not at all.
fn whole(text: &[u8]) -> Option<&str> {
    str::from_utf8(text).ok().filter(|text| text.len() <= SAID_TEXT_BYTES_MAX)
}

/// A value as text; `binary` is the type of one in binary form. `None` when nobody can tell what it is.
fn said(value: &[u8], binary: Option<u32>) -> Option<String> {
    if value.len() > SAID_VALUE_BYTES_MAX {
        return None;
    }
    let text = || str::from_utf8(value).ok().map(str::to_owned);
    match (binary, value) {
        // text, varchar, char(n), name, unknown, json
        (None | Some(25 | 1_043 | 1_042 | 19 | 705 | 114), _) => text(),
        (Some(16), [bool]) => Some(if *bool == 0 { "false" } else { "true" }.into()),
        (Some(21), &[a, b]) => Some(i16::from_be_bytes([a, b]).to_string()),
        (Some(23), &[a, b, c, d]) => Some(i32::from_be_bytes([a, b, c, d]).to_string()),
        (Some(26), &[a, b, c, d]) => Some(u32::from_be_bytes([a, b, c, d]).to_string()),
        (Some(20), _) => Some(i64::from_be_bytes(value.try_into().ok()?).to_string()),
        (Some(700), &[a, b, c, d]) => Some(f32::from_be_bytes([a, b, c, d]).to_string()),
        (Some(701), _) => Some(f64::from_be_bytes(value.try_into().ok()?).to_string()),
        (Some(2_950), _) if value.len() == 16 => {
            Some(value.iter().map(|byte| format!("{byte:02x}")).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
