//! Conversations that were damaged on the way: the observer may give up, but it never panics, and its memory of what
//! it saw before stays sound.

use std::fs;

use proptest::prelude::*;
use support::replay::{Cuts, replay};
use support::transcript::{Event, Side, Transcript};

/// One way to damage a conversation.
#[derive(Clone, Debug)]
enum Damage {
    /// A byte becomes another.
    Change(u8),
    /// Bytes from here on are missing in this chunk.
    Cut,
    /// The chunk comes twice.
    Repeat,
    /// The chunk comes from the other side.
    Swap,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => any::<u8>().prop_map(Damage::Change),
        1 => Just(Damage::Cut),
        1 => Just(Damage::Repeat),
        1 => Just(Damage::Swap),
    ]
}

fn apply(transcript: &mut Transcript, damage: &Damage, chunk: usize, offset: usize) {
    let chunk = chunk % transcript.events.len();
    let mut copy = None;
    if let Some(Event::Bytes(side, bytes)) = transcript.events.get_mut(chunk) {
        let offset = offset % bytes.len().max(1);
        match damage {
            Damage::Change(value) => bytes.get_mut(offset).into_iter().for_each(|byte| *byte = *value),
            Damage::Cut => bytes.truncate(offset),
            Damage::Repeat => copy = Some(Event::Bytes(*side, bytes.clone())),
            Damage::Swap => {
                *side = if *side == Side::Client { Side::Upstream } else { Side::Client };
            }
        }
    }
    if let Some(copy) = copy {
        transcript.events.insert(chunk, copy);
    }
}

fn texts() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/transcripts");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn a_damaged_conversation_is_observed_or_given_up() {
    let texts = texts();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) };
    let damages = proptest::collection::vec((damage(), any::<usize>(), any::<usize>()), 1..4);
    proptest!(config, |(text in 0..texts.len(), damages in damages)| {
        let mut transcript = Transcript::read(&texts[text]).unwrap();
        damages.iter().for_each(|(damage, chunk, offset)| apply(&mut transcript, damage, *chunk, *offset));
        let whole = replay(&transcript, Cuts::Nowhere);
        prop_assert_eq!(replay(&transcript, Cuts::Everywhere), whole);
    });
}
