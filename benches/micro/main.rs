//! Micro benches for exploring: `cargo bench -p pgtally-benches`. They measure time, which other work on the machine
//! disturbs; the gate is `instructions/`.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use pgtally_benches::session::data_rows;
use pgtally_benches::{Scenario, Session, texts, wire};
use pgtally_fingerprint::{Dialect, Scan};
use pgtally_protocol::{FrameReader, backend, frontend};

fn main() {
    divan::main();
}

#[divan::bench]
fn framing_query(bencher: Bencher<'_, '_>) {
    let mut chunk = Vec::new();
    wire::query(&mut chunk, "SELECT abalance FROM pgbench_accounts WHERE aid = 1234567");
    let mut reader = FrameReader::new(frontend::body_limit);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| frames(&mut reader, &chunk));
}

#[divan::bench]
fn framing_100_rows(bencher: Bencher<'_, '_>) {
    let mut chunk = Vec::new();
    data_rows(&mut chunk, 100);
    let mut reader = FrameReader::new(backend::body_limit);
    bencher.counter(ItemsCount::new(100_u32)).bench_local(|| frames(&mut reader, &chunk));
}

fn frames(reader: &mut FrameReader, mut chunk: &[u8]) -> usize {
    let mut bytes = 0;
    while let Ok(Some(frame)) = reader.next(black_box(&mut chunk)) {
        bytes += black_box(frame.body).len();
    }
    bytes
}

#[divan::bench(args = texts::statements().into_iter().map(|(name, _)| name))]
fn lexer(bencher: Bencher<'_, '_>, name: &str) {
    let statements = texts::statements();
    let text = statements.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text);
    let mut scan = Scan::new();
    bencher.counter(BytesCount::of_str(text)).bench_local(|| {
        scan.scan(black_box(text.as_bytes()), Dialect::default(), false);
        scan.statements.len()
    });
}

#[divan::bench(args = Scenario::ALL.map(|scenario| scenario.name))]
fn statement(bencher: Bencher<'_, '_>, name: &str) {
    let scenario = Scenario::ALL.into_iter().find(|scenario| scenario.name == name);
    let Some(Ok(mut session)) = scenario.map(Session::start) else { panic!("no session for {name}") };
    bencher.counter(ItemsCount::new(1_u32)).bench_local(move || session.run());
}
