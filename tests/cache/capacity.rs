//! What a store takes, measured as memory of the process: more keys than it has room for, small answers and large ones.

use std::sync::Arc;
use std::time::Duration;

use pgtally_cache::{DatabaseId, Environment, KeyRef, Mode, NewEntry, ReadSet, Store, TableId, Versions};
use pgtally_fingerprint::Fingerprint;
use support::memory::resident_bytes;

const CAPACITY_BYTES: u64 = 64 * 1024 * 1024;

/// Keeps answers of `answer_bytes` under `keys` different keys; returns what the process has grown by.
fn fill(keys: u32, answer_bytes: impl Fn(u32) -> usize) -> u64 {
    let versions = Versions::new();
    let environment = Arc::new(Environment::new(b"a session's settings"));
    let (database, tags) = (Arc::from("shop"), Arc::from([Box::from("product")]));
    let reads = ReadSet::of([TableId(7), TableId(8)]);
    let quota = Arc::default();
    let before = resident_bytes() as u64;
    let store = Store::new(CAPACITY_BYTES);
    for number in 0..keys {
        let text = format!("SELECT name, price FROM products WHERE id = {number}");
        let new = NewEntry {
            answer: vec![b'x'; answer_bytes(number)],
            token: versions.token(DatabaseId(1), &reads, true, &[]).expect("nothing is written"),
            mode: Mode::Commit,
            sent_ns: 0,
            cost: Duration::ZERO,
            fingerprint: Fingerprint(1),
            database: Arc::clone(&database),
            tags: Arc::clone(&tags),
            quota: Arc::clone(&quota),
        };
        store.keep(KeyRef { environment: &environment, bytes: text.as_bytes() }.to_key(), new);
        assert!(store.bytes() <= CAPACITY_BYTES, "{} bytes", store.bytes());
    }
    let grown = (resident_bytes() as u64).saturating_sub(before);
    println!("{} entries count {} KiB and take {} KiB", store.len(), store.bytes() / 1024, grown / 1024);
    assert!(store.bytes() > CAPACITY_BYTES / 100 * 95, "only {} bytes: this shows nothing", store.bytes());
    grown
}

#[test]
fn a_million_distinct_keys_take_no_more_memory_than_the_store_may() {
    let grown = fill(1_000_000, |_| 300);
    assert!(grown <= CAPACITY_BYTES / 100 * 105, "{grown} bytes");
}

#[test]
fn answers_of_all_sizes_take_no_more_memory_than_the_store_may() {
    let grown = fill(100_000, |number| 1 << (number % 16));
    assert!(grown <= CAPACITY_BYTES / 100 * 105, "{grown} bytes");
}
