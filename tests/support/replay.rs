//! Plays a transcript to an observer, cut into any chunks, and puts what it observed into words.
//!
//! Does what the shell does: bytes go in as they arrive, an error ends observation and keeps what was seen before.

use pgtally_analysis::{Moment, ObserverSettings, SessionObserver, Worker};
use pgtally_protocol::startup::{Packet, Startup, parse};

use crate::frontend;
use crate::outcome::Observed;
use crate::transcript::{Event, Side, Transcript};

/// How the byte stream is cut, beyond the transcript's own chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cuts {
    /// Once, before the byte at this offset over both directions.
    At(usize),
    /// Before every byte.
    Everywhere,
    /// Not at all.
    Nowhere,
}

/// Bytes of a transcript, both directions.
#[must_use]
pub fn byte_count(transcript: &Transcript) -> usize {
    let lengths = transcript.events.iter().map(|event| match event {
        Event::Advance(_) => 0,
        Event::Bytes(_, bytes) => bytes.len(),
    });
    lengths.sum()
}

/// Plays `transcript` and tells what was observed.
///
/// # Panics
/// When the startup parameters cannot be a startup packet.
#[must_use]
pub fn replay(transcript: &Transcript, cuts: Cuts) -> String {
    let mut session = Session::new(&startup(transcript));
    let mut offset = 0;
    for event in &transcript.events {
        match event {
            Event::Advance(ns) => session.advance(*ns),
            Event::Bytes(side, bytes) => {
                pieces(bytes, offset, cuts).for_each(|piece| session.look(*side, piece));
                offset += bytes.len();
            }
        }
    }
    session.end()
}

fn startup(transcript: &Transcript) -> Startup {
    let parameters: Vec<_> =
        transcript.startup.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    match parse(&frontend::startup(&parameters)) {
        Ok(Packet::Startup(startup)) => startup,
        other => panic!("not a startup packet: {other:?}"),
    }
}

/// The pieces of `bytes`, which begin at `offset` of the stream.
fn pieces(bytes: &[u8], offset: usize, cuts: Cuts) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    match cuts {
        Cuts::Everywhere => Box::new(bytes.chunks(1)),
        Cuts::At(at) if offset < at && at < offset + bytes.len() => {
            let (head, tail) = bytes.split_at(at - offset);
            Box::new([head, tail].into_iter())
        }
        Cuts::At(_) | Cuts::Nowhere => Box::new(std::iter::once(bytes)),
    }
}

struct Session {
    worker: Worker,
    observer: Option<SessionObserver>,
    now: Moment,
    blind: Option<&'static str>,
}

impl Session {
    fn new(startup: &Startup) -> Self {
        let mut worker = Worker::new(ObserverSettings::default());
        // Far from zero, so that a moment that was never set shows.
        let now = Moment(1_000_000_000_000);
        let observer = SessionObserver::new(1, startup, &mut worker);
        Self { worker, observer: Some(observer), now, blind: None }
    }

    fn advance(&mut self, ns: u64) {
        self.now.0 += ns;
        if let Some(observer) = &mut self.observer {
            observer.sweep(self.now, &mut self.worker);
        }
    }

    fn look(&mut self, side: Side, bytes: &[u8]) {
        let Some(observer) = &mut self.observer else { return };
        let seen = match side {
            Side::Client => observer.frontend(bytes, self.now, &mut self.worker),
            Side::Upstream => observer.backend(bytes, self.now, &mut self.worker),
        };
        if let Err(desync) = seen {
            observer.close(&mut self.worker);
            self.observer = None;
            self.blind = Some(desync.name());
        }
    }

    fn end(mut self) -> String {
        if let Some(observer) = &mut self.observer {
            observer.close(&mut self.worker);
        }
        let observed = Observed {
            parts: self.worker.take_parts(),
            shapes: self.worker.take_new_shapes(),
            counters: self.worker.take_counters().unwrap_or_default(),
            blind: self.blind,
        };
        observed.to_string()
    }
}
