//! Seeds of the observer's target: the transcripts of `fixtures/`, as the input that `fuzz/targets.rs` reads.
//! `e2e/hostile.rs` damages whole transcripts and compares all that was observed.

use std::fs;
use std::path::Path;

use support::transcript::{Event, Side, Transcript};

use crate::drive;
use crate::targets::Conversations;

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

#[test]
fn conversations() {
    let seeds = seeds();
    let seeds: Vec<_> = seeds.iter().map(Vec::as_slice).collect();
    let mut conversations = Conversations::new();
    drive("conversations", &seeds, |input| conversations.run(input));
}
