//! Drives every parser with mutated inputs: whatever comes, each ends with an answer and keeps its promises.
//!
//! Inputs are the corpus (`fuzz/corpus/TARGET/`, one file per input) and the seeds below, changed in a few
//! places per execution by a generator whose every run of one seed is the same. An ordinary test makes some thousand
//! executions of each; `PGTALLY_FUZZ_EXECUTIONS` makes as many as one likes and `PGTALLY_FUZZ_SEED` other ones (see
//! README.md). An input that ever failed becomes a file of the corpus.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod conversations;
#[path = "../../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

const EXECUTIONS: u64 = 20_000;
/// Longest input, so that one execution takes microseconds.
const INPUT_BYTES_MAX: usize = 1_024;

/// George Marsaglia's xorshift: every run is the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides.max(1)).expect("a number of sides")).expect("below it")
    }

    /// Bytes that parsers look for, and any others.
    fn byte(&mut self) -> u8 {
        const SPECIAL: &[u8] = b"\0\x01\x7f\x80\xff'\"$;-/*=,%\\(): npyrv";
        let any = u8::try_from(self.roll(256)).expect("a byte");
        if self.roll(2) == 0 { any } else { SPECIAL[self.roll(SPECIAL.len())] }
    }

    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.roll(4) {
            let at = self.roll(input.len());
            match self.roll(6) {
                0 => input.truncate(at),
                1 => input.insert(at, self.byte()),
                2 if !input.is_empty() => input[at] = self.byte(),
                3 if !input.is_empty() => drop(input.remove(at)),
                4 => {
                    let from = self.roll(other.len());
                    let piece = &other[from..(from + self.roll(64)).min(other.len())];
                    input.splice(at..at, piece.iter().copied());
                }
                _ => {
                    let end = (at + self.roll(32)).min(input.len());
                    let piece = input[at..end].to_vec();
                    input.extend(piece);
                }
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
}

/// Runs `target` with everything in its corpus, with `seeds`, and with mutations of both.
fn drive(name: &str, seeds: &[&[u8]], mut target: impl FnMut(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let files = fs::read_dir(corpus).map(|files| files.map(|file| file.expect("a file").path()).collect());
    let files: Vec<PathBuf> = files.unwrap_or_default();
    let files: Vec<_> = files.iter().map(|path| fs::read(path).expect("a file")).collect();
    let inputs: Vec<&[u8]> = seeds.iter().copied().chain(files.iter().map(Vec::as_slice)).collect();
    inputs.iter().for_each(|input| target(input));
    let mut dice = Dice(number("PGTALLY_FUZZ_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15));
    for execution in 0..number("PGTALLY_FUZZ_EXECUTIONS").unwrap_or(EXECUTIONS) {
        let mut input = inputs[dice.roll(inputs.len())].to_vec();
        let other = inputs[dice.roll(inputs.len())];
        dice.mutate(&mut input, other);
        // What has failed is to become a file of the corpus.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            eprintln!("{name}: execution {execution} failed with {}", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().expect("a number"))
}

#[test]
fn startup_packets() {
    let seeds: [&[u8]; 4] = [
        b"\0\0\0\x26\0\x03\0\0user\0ann\0database\0shop\0\0",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07abcd",
        b"\0\0\0\x2b\0\x03\0\x02user\0ann\0replication\0database\0_pq_.x\0y\0\0",
    ];
    drive("startup", &seeds, targets::startup);
}

#[test]
fn frames_do_not_depend_on_chunks() {
    let seeds: [&[u8]; 3] = [
        b"Q\0\0\0\x0dSELECT 1\0",
        b"P\0\0\0\x10\0SELECT 1\0\0\0\0B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04",
        b"D\0\0\0\x0f\0\x01\0\0\0\x05helloC\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I",
    ];
    drive("frames", &seeds, targets::frames);
}

#[test]
fn statements() {
    let seeds: [&[u8]; 6] = [
        b"SELECT a.\"b\", E'c\\'d', $1 FROM t WHERE x IN (1, 2.5e3, '\xff') AND y = ANY($2) -- end",
        b"/*traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/ SELECT $tag$ $x$ $tag$; COMMIT",
        b"INSERT INTO t VALUES (1, 'a'), (2, U&'\\0041') ON CONFLICT DO NOTHING RETURNING id /* a:b /* c */ */",
        b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SET LOCAL pgtally.request = 'a'",
        b"WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT * FROM r LIMIT 10 OFFSET 5",
        b"DECLARE c CURSOR FOR SELECT 1; FETCH 10 FROM c; CLOSE c; DISCARD ALL",
    ];
    drive("statements", &seeds, targets::statements);
}

#[test]
fn comments_with_tags() {
    let seeds: [&[u8]; 4] = [
        b"/*route='%2Forders',traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'*/",
        b"/*controller:orders,action:index,job_id:7*/",
        b"-- request_id='a\\'b'",
        b"/*dddbs='x',ddpv='1.2'*/",
    ];
    drive("comments", &seeds, targets::comments);
}

#[test]
fn sasl_messages() {
    let seeds: [&[u8]; 6] = [
        b"SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=fyko+d2lbbFgONRv9qkxdawL",
        b"p=tls-server-end-point,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
    ];
    drive("sasl", &seeds, targets::sasl);
}

#[test]
fn proxy_headers() {
    let seeds: [&[u8]; 6] = [
        b"PROXY TCP4 10.0.0.7 10.0.0.1 51234 5432\r\nrest",
        b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 5432\r\nrest",
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x07\x0a\0\0\x01\xc8\x22\x15\x38rest",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\x0a\0\0\x07\x0a\0\0\x01\xc8\x22\x15\x38\x04\0\x02\0\0rest",
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0rest",
    ];
    drive("proxy", &seeds, targets::proxy);
}
