//! Runs one scenario a given number of times, for `run.sh` to count its instructions under callgrind.
//!
//! `instructions` alone lists the scenarios; `instructions NAME N` runs one. The same scenarios as in the micro
//! benches; what happens before the loop drops out because `run.sh` takes the difference of two runs.

use std::hint::black_box;
use std::process::ExitCode;

use pgtally_benches::session::data_rows;
use pgtally_benches::{Scenario, Session, texts, wire};
use pgtally_fingerprint::{Dialect, Scan};
use pgtally_protocol::{FrameReader, backend, frontend};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            for name in names() {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        [name, count] if count.parse::<u64>().is_ok_and(|count| run(name, count)) => ExitCode::SUCCESS,
        _ => {
            eprintln!("usage: instructions [NAME N]; NAME is one of the names printed without arguments");
            ExitCode::from(2)
        }
    }
}

fn names() -> Vec<String> {
    let framing = ["framing/query", "framing/100-rows"].map(str::to_owned);
    let lexer = texts::statements().into_iter().map(|(name, _)| format!("lexer/{name}"));
    let observer = Scenario::ALL.into_iter().map(|scenario| scenario.name.to_owned());
    framing.into_iter().chain(lexer).chain(observer).collect()
}

/// Runs the scenario; false when there is none of that name, or the observer went blind.
fn run(name: &str, count: u64) -> bool {
    if let Some(scenario) = Scenario::ALL.into_iter().find(|scenario| scenario.name == name) {
        return observe(scenario, count);
    }
    let text = texts::statements().into_iter().find(|(known, _)| name.strip_prefix("lexer/") == Some(known));
    if let Some((_, text)) = text {
        lex(text.as_bytes(), count);
        return true;
    }
    let mut chunk = Vec::new();
    match name {
        "framing/query" => {
            wire::query(&mut chunk, "SELECT abalance FROM pgbench_accounts WHERE aid = 1234567");
            read_frames(FrameReader::new(frontend::body_limit), &chunk, count);
        }
        "framing/100-rows" => {
            data_rows(&mut chunk, 100);
            read_frames(FrameReader::new(backend::body_limit), &chunk, count);
        }
        _ => return false,
    }
    true
}

#[inline(never)]
fn observe(scenario: Scenario, count: u64) -> bool {
    let Ok(mut session) = Session::start(scenario) else { return false };
    (0..count).all(|_| black_box(session.run()).is_ok())
}

#[inline(never)]
fn lex(text: &[u8], count: u64) {
    let mut scan = Scan::new();
    for _ in 0..count {
        scan.scan(black_box(text), Dialect::default(), false);
        black_box(&scan);
    }
}

#[inline(never)]
fn read_frames(mut reader: FrameReader, chunk: &[u8], count: u64) {
    for _ in 0..count {
        let mut rest = black_box(chunk);
        while let Ok(Some(frame)) = reader.next(&mut rest) {
            black_box(frame.body);
        }
    }
}
