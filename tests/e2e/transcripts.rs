//! The transcripts in `fixtures/transcripts/`: what is observed of a conversation, however its bytes are cut.
//!
//! With `PGTALLY_BLESS=1` the outcomes are rewritten: review the difference as you would code.

use std::fs;
use std::path::PathBuf;

use support::replay::{Cuts, byte_count, replay};
use support::transcript::{OUTCOME, Transcript};

fn transcripts() -> Vec<(PathBuf, Transcript)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/transcripts");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let transcript =
            Transcript::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, transcript)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn conversations_have_the_outcome_they_should() {
    let is_blessing = std::env::var_os("PGTALLY_BLESS").is_some();
    let mut failures = Vec::new();
    for (path, transcript) in transcripts() {
        let outcome = replay(&transcript, Cuts::Nowhere);
        if is_blessing {
            fs::write(&path, format!("{}{OUTCOME}{outcome}", transcript.conversation_text)).unwrap();
        } else if outcome != transcript.outcome {
            let expected = &transcript.outcome;
            failures.push(format!("{}\nexpected:\n{expected}\nobserved:\n{outcome}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn outcomes_do_not_depend_on_where_the_bytes_are_cut() {
    for (path, transcript) in transcripts() {
        let whole = replay(&transcript, Cuts::Nowhere);
        let bytewise = replay(&transcript, Cuts::Everywhere);
        assert_eq!(bytewise, whole, "{} byte by byte", path.display());
        for at in 1..byte_count(&transcript) {
            assert_eq!(replay(&transcript, Cuts::At(at)), whole, "{} cut at byte {at}", path.display());
        }
    }
}
