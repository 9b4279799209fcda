//! Nanoseconds per scanned statement: `cargo run --release -p pgtally-fingerprint --example speed`.
//!
//! For exploring, not a gate: wall time on small shared machines varies too much for that.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "measures time and prints it")]

use std::hint::black_box;
use std::time::Instant;

use pgtally_fingerprint::{Dialect, Scan};

const ROUNDS: u32 = 2_000;
// Many short runs: the shortest one was not interrupted.
const REPEATS: u32 = 300;

fn main() {
    let django = "SELECT \"shop_order\".\"id\", \"shop_order\".\"created\", \"shop_order\".\"customer_id\", \
        \"shop_order\".\"state\", \"shop_order\".\"total\" FROM \"shop_order\" INNER JOIN \"shop_customer\" ON \
        (\"shop_order\".\"customer_id\" = \"shop_customer\".\"id\") WHERE (\"shop_customer\".\"country\" = 'DE' AND \
        \"shop_order\".\"created\" >= '2026-01-01'::date) ORDER BY \"shop_order\".\"id\" LIMIT 21";
    let list = format!(
        "SELECT id FROM t WHERE id IN ({})",
        (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")
    );
    let rows = format!("INSERT INTO t (a, b) VALUES {}", vec!["(1000, 'value')"; 1000].join(", "));
    for (name, text, rounds) in [
        ("primary key", "SELECT \"users\".* FROM \"users\" WHERE \"users\".\"id\" = $1 LIMIT 1", ROUNDS),
        ("pgbench", "SELECT abalance FROM pgbench_accounts WHERE aid = 123456;", ROUNDS),
        ("orm filter", django, ROUNDS),
        ("begin", "BEGIN", ROUNDS),
        ("savepoint", "SAVEPOINT \"s140243_x1\"", ROUNDS),
        ("in list of 1000", &list, ROUNDS / 100),
        ("values of 1000 rows", &rows, ROUNDS / 400),
    ] {
        let mut scan = Scan::new();
        let best = (0..REPEATS).map(|_| time(&mut scan, text, rounds)).fold(f64::INFINITY, f64::min);
        println!("{name:20} {:6} bytes {best:10.1} ns", text.len());
    }
}

fn time(scan: &mut Scan, text: &str, rounds: u32) -> f64 {
    let started = Instant::now();
    for _ in 0..rounds {
        scan.scan(black_box(text.as_bytes()), Dialect::default(), false);
        black_box(&scan.statements);
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(rounds)
}
