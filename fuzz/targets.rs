//! What one input of a target drives, and what is checked: for the mutation driver beside this, and for cargo-fuzz
//! (`fuzz/`), which brings a search guided by coverage.
//!
//! Every function takes any bytes. It fails by panicking.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use pgtally_analysis::{Moment, ObserverSettings, SessionObserver, Worker};
use pgtally_fingerprint::{Dialect, Scan, normalize, tags};
use pgtally_protocol::FrameReader;
use pgtally_protocol::sasl::{self, ClientFinal, ClientFirst, ServerFirst};
use pgtally_protocol::startup::{self, Packet, Startup};

/// The client's first packets: only version 3 is understood.
pub(crate) fn startup(input: &[u8]) {
    if let Some(first) = input.first_chunk() {
        let _ = startup::packet_length(*first);
    }
    if let Ok(Packet::Startup(startup)) = startup::parse(input) {
        assert_eq!(startup.major, 3);
        let _ = (startup.database(), startup.is_replication());
    }
}

/// Cutting a stream into messages: the same whole, in sevens, byte by byte.
pub(crate) fn frames(input: &[u8]) {
    let whole = frames_of(input, input.len().max(1));
    assert_eq!(frames_of(input, 1), whole);
    assert_eq!(frames_of(input, 7), whole);
}

/// Tags and captured bytes of all frames in `input`, cut into chunks of `chunk` bytes; ends at an error.
fn frames_of(input: &[u8], chunk: usize) -> Vec<(u8, Vec<u8>)> {
    let mut reader = FrameReader::new(|_| 100);
    let mut frames = Vec::new();
    for mut chunk in input.chunks(chunk) {
        loop {
            match reader.next(&mut chunk) {
                // Whole bodies that lie in one chunk are not cut.
                Ok(Some(frame)) => frames.push((frame.tag, frame.body[..frame.body.len().min(100)].to_vec())),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// Lexer and normal form, in both dialects.
pub(crate) fn statements(input: &[u8]) {
    let mut scan = Scan::new();
    for dialect in [Dialect::default(), Dialect { has_standard_strings: false }] {
        scan.scan(input, dialect, false);
        for statement in &scan.statements {
            let _ = normalize(input, statement, dialect);
        }
    }
}

/// Tags in comments.
pub(crate) fn comments(input: &[u8]) {
    for (_, value) in tags::parse(input) {
        let _ = tags::trace_id(&value);
    }
}

/// Every SCRAM message of either side.
pub(crate) fn sasl(input: &[u8]) {
    let _ = sasl::authentication(input);
    let _ = sasl::read_initial_response(input);
    let _ = (ClientFirst::read(input), ClientFinal::read(input), ServerFirst::read(input));
    let _ = sasl::server_signature(input);
}

/// The PROXY protocol, versions 1 and 2: nothing is waited for that cannot come, and nothing read behind the header.
pub(crate) fn proxy(input: &[u8]) {
    let mut rest = input;
    let answer = {
        let header = pin!(pgtally::read_proxy_header(&mut rest));
        // Bytes in memory are always there: one poll reads to the answer.
        match header.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("it waits for bytes that never come"),
        }
    };
    let taken = input.len() - rest.len();
    assert!(answer.is_err() || taken >= 15, "a header of {taken} bytes");
}

/// Bytes before each chunk of a conversation: its side, the server's where the lowest bit is set, and its length.
const HEAD_BYTES: usize = 3;
/// Executions after which what was observed is taken away, as a tick does.
const TICK: u32 = 64;

/// The observer of a session, with all that stands behind it: the same end however the bytes are cut.
///
/// An input is a list of chunks, so that a mutation changes messages as well as who sent how much.
pub(crate) struct Conversations {
    startup: Startup,
    /// One for all, as a thread's sessions share one: what one leaves behind must not harm the next.
    worker: Worker,
    executions: u32,
}

impl Conversations {
    #[must_use]
    pub(crate) fn new() -> Self {
        let parameters = [("user", "ann"), ("database", "shop")];
        let parameters = parameters.map(|(name, value)| (name.into(), value.into())).to_vec();
        let startup = Startup { major: 3, minor: 0, parameters };
        Self { startup, worker: Worker::new(ObserverSettings::default()), executions: 0 }
    }

    pub(crate) fn run(&mut self, input: &[u8]) {
        let chunks = chunks(input);
        let whole = self.observe(&chunks, usize::MAX);
        assert_eq!(self.observe(&chunks, 5), whole);
        self.executions += 1;
        if self.executions.is_multiple_of(TICK) {
            let worker = &mut self.worker;
            drop((worker.take_parts(), worker.take_new_shapes(), worker.take_counters()));
        }
    }

    /// Why observation ended early, if it did, when no more than `size` bytes come at once.
    fn observe(&mut self, chunks: &[(bool, &[u8])], size: usize) -> Option<&'static str> {
        let worker = &mut self.worker;
        let mut now = Moment(1_000_000_000_000);
        let mut observer = SessionObserver::new(1, &self.startup, worker);
        let mut end = None;
        'all: for (is_servers, chunk) in chunks {
            now.0 += 1_000_000;
            for piece in chunk.chunks(size) {
                let seen = if *is_servers {
                    observer.backend(piece, now, worker)
                } else {
                    observer.frontend(piece, now, worker)
                };
                if let Err(desync) = seen {
                    end = Some(desync.name());
                    break 'all;
                }
            }
        }
        observer.close(worker);
        end
    }
}

/// The chunks of an input, and whether they are the server's; a length beyond its end means "to its end".
fn chunks(mut input: &[u8]) -> Vec<(bool, &[u8])> {
    let mut chunks = Vec::new();
    while let Some(([side, high, low], rest)) = input.split_first_chunk::<HEAD_BYTES>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (chunk, rest) = rest.split_at(length);
        chunks.push((side & 1 == 1, chunk));
        input = rest;
    }
    chunks
}
