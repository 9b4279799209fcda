//! See `targets::Conversations`.

#![no_main]

use std::cell::RefCell;

#[path = "../targets.rs"]
#[allow(dead_code, reason = "each program drives one target")]
mod targets;

use targets::Conversations;

thread_local! {
    static CONVERSATIONS: RefCell<Conversations> = RefCell::new(Conversations::new());
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| CONVERSATIONS.with_borrow_mut(|it| it.run(input)));
