//! See `targets::startup`.

#![no_main]

#[path = "../targets.rs"]
#[allow(dead_code, reason = "each program drives one target")]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::startup(input));
