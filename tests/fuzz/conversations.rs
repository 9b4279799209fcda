//! Drives the observer of a session, with its frame readers, its conversation and all that stands behind them, by
//! conversations that were damaged anywhere: in their messages, and in who sent how much.
//!
//! Seeds are the transcripts of `fixtures/`. An input is a list of chunks: the side that sent it and its length, which a
//! mutation may change too, and its bytes. `e2e/hostile.rs` damages whole transcripts and compares all that was observed.

use std::fs;
use std::path::Path;

use pgtally_analysis::{Moment, ObserverSettings, SessionObserver, Worker};
use pgtally_protocol::startup::{Packet, Startup, parse};
use support::frontend;
use support::transcript::{Event, Side, Transcript};

use crate::drive;

/// Bytes before each chunk: the side, and its length.
const HEAD_BYTES: usize = 3;
/// Executions after which what was observed is taken away, as a tick does.
const TICK: u32 = 64;

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/transcripts");
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("transcripts").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| encode(&fs::read_to_string(path).expect("a transcript"))).collect()
}

fn encode(text: &str) -> Vec<u8> {
    let transcript = Transcript::read(text).expect("a transcript");
    let mut input = Vec::new();
    for event in &transcript.events {
        let Event::Bytes(side, bytes) = event else { continue };
        for chunk in bytes.chunks(usize::from(u16::MAX)) {
            input.push(u8::from(*side == Side::Upstream));
            input.extend(u16::try_from(chunk.len()).expect("as cut").to_be_bytes());
            input.extend(chunk);
        }
    }
    input
}

/// The chunks of an input; a length beyond its end means "to its end".
fn chunks(mut input: &[u8]) -> Vec<(Side, &[u8])> {
    let mut chunks = Vec::new();
    while let Some(([side, high, low], rest)) = input.split_first_chunk::<HEAD_BYTES>() {
        let side = if side & 1 == 0 { Side::Client } else { Side::Upstream };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (chunk, rest) = rest.split_at(length);
        chunks.push((side, chunk));
        input = rest;
    }
    chunks
}

/// Why observation ended early, if it did, when no more than `size` bytes come at once.
fn observe(
    chunks: &[(Side, &[u8])],
    size: usize,
    startup: &Startup,
    worker: &mut Worker,
) -> Option<&'static str> {
    let mut now = Moment(1_000_000_000_000);
    let mut observer = SessionObserver::new(1, startup, worker);
    let mut end = None;
    'all: for (side, chunk) in chunks {
        now.0 += 1_000_000;
        for piece in chunk.chunks(size) {
            let seen = match side {
                Side::Client => observer.frontend(piece, now, worker),
                Side::Upstream => observer.backend(piece, now, worker),
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

#[test]
fn conversations() {
    let seeds = seeds();
    let seeds: Vec<_> = seeds.iter().map(Vec::as_slice).collect();
    let packet = frontend::startup(&[("user", "ann"), ("database", "shop")]);
    let Ok(Packet::Startup(startup)) = parse(&packet) else { panic!("a startup packet") };
    // One for all, as a thread's sessions share one: what one leaves behind must not harm the next.
    let mut worker = Worker::new(ObserverSettings::default());
    let mut executions = 0;
    drive("conversations", &seeds, |input| {
        let chunks = chunks(input);
        let whole = observe(&chunks, usize::MAX, &startup, &mut worker);
        assert_eq!(observe(&chunks, 5, &startup, &mut worker), whole);
        executions += 1;
        if executions % TICK == 0 {
            drop((worker.take_parts(), worker.take_new_shapes(), worker.take_counters()));
        }
    });
}
