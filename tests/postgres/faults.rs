//! Faults: backends that are killed or stopped, messages cut anywhere, more than anybody asks for in one go. Bytes are
//! neither lost nor invented, and other sessions do not notice.

use std::cell::Cell;
use std::process::Command;

use pgtally::Address;
use support::wire::{Frame, Value, tags};
use support::{Peer, TestProxy, frontend};

use crate::{address, session, with_each_server};

const MIB: usize = 1024 * 1024;
const CRASHES_MAX: usize = 5;

/// Process id of the backend behind `key`.
fn process(key: &[u8]) -> u32 {
    u32::from_be_bytes([key[0], key[1], key[2], key[3]])
}

fn send(signal: &str, process: u32) {
    let kill = format!("kill -{signal} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[test]
fn a_killed_backend_ends_sessions_with_the_servers_own_words() {
    // A server that goes down has no time for some sessions, and tells them nothing, with or without a proxy.
    let is_told = Cell::new(false);
    for _ in 0..CRASHES_MAX {
        with_each_server(|server| {
            let direct = address(&server);
            is_told.set(last_words_after_a_crash(&direct, &TestProxy::to(&direct)));
        });
        if is_told.get() {
            return;
        }
    }
    panic!("in none of {CRASHES_MAX} crashes both sessions are told");
}

/// Kills one session's process. Whether the server told the other two why it takes them down: one directly, one
/// through the proxy.
fn last_words_after_a_crash(direct: &Address, proxy: &TestProxy) -> bool {
    let (mut victim, key) = session(proxy.address());
    let (mut witness, _) = session(direct);
    let (mut other, _) = session(proxy.address());
    victim.send(&frontend::query("SELECT 1"));
    assert_eq!(tags(&victim.frames_until_ready()), "TDCZ");
    send("KILL", process(&key));
    assert!(victim.rest().is_empty(), "a killed process says nothing, and nobody speaks for it");
    let (expected, told) = (witness.rest(), other.rest());
    for words in [&expected, &told] {
        assert!(words.is_empty() || String::from_utf8_lossy(words).contains("57P02"), "{words:?}");
    }
    let is_told = !expected.is_empty() && !told.is_empty();
    assert!(!is_told || told == expected, "{told:?}");
    is_told
}

#[test]
fn a_stopped_backend_holds_up_only_its_own_session() {
    with_each_server(|server| {
        // One worker, so that both sessions share a thread.
        let proxy = TestProxy::with(&address(&server), &[("relay.workers", "1")]);
        let (mut stopped, key) = session(proxy.address());
        let (mut other, _) = session(proxy.address());
        send("STOP", process(&key));
        // More than the buffers of all sockets on the way hold.
        let rest = frontend::query(&format!("SELECT length('{}')", "x".repeat(16 * MIB)));
        let sent = stopped.send_until_stuck(&rest, std::time::Duration::from_millis(200));
        assert!(sent < rest.len(), "backpressure reaches the client");
        for _ in 0..100 {
            assert_eq!(tags(&other.query("SELECT 1 FROM pg_class LIMIT 1")), "TDCZ");
        }
        send("CONT", process(&key));
        stopped.send(&rest[sent..]);
        let frames = stopped.frames_until_ready();
        assert!(frames[1].body.ends_with(b"16777216"), "{frames:?}");
    });
}

/// Everything that comes back for `bytes` until `ready` ReadyForQuery messages, keys and ids masked.
fn answers(peer: &mut Peer, ready: usize) -> Vec<Frame> {
    (0..ready).flat_map(|_| peer.frames_until_ready()).collect()
}

/// A script in which every kind of message stands once, with its ReadyForQuery messages.
fn script() -> (Vec<u8>, usize) {
    let messages = [
        frontend::query("SELECT 1; SELECT 'two' FROM pg_class LIMIT 1"),
        frontend::extended("SELECT $1::int + 1", &[23], &[Value::text(7)], true),
        frontend::parse("s", "SELECT 1/$1::int", &[]),
        frontend::describe(b'S', "s"),
        frontend::bind("p", "s", &[Value::text(0)], false),
        frontend::execute("p", 1),
        frontend::flush(),
        frontend::close(b'S', "s"),
        frontend::sync(),
        // The first Close was skipped because of the error.
        frontend::close(b'S', "s"),
        frontend::sync(),
        frontend::query("COPY (SELECT 1) TO STDOUT"),
    ];
    (messages.concat(), 5)
}

#[test]
fn a_stream_may_be_cut_at_every_byte() {
    with_each_server(|server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        let (bytes, ready) = script();
        let expected = {
            let (mut client, _) = session(&direct);
            client.send(&bytes);
            answers(&mut client, ready)
        };
        let (mut client, _) = session(proxy.address());
        for cut in 1..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            client.send(head);
            // A turn of another session on the same machine: the head is on its way when the tail follows.
            std::thread::yield_now();
            client.send(tail);
            assert_eq!(answers(&mut client, ready), expected, "cut at {cut}");
        }
        for byte in bytes.chunks(1) {
            client.send(byte);
        }
        assert_eq!(answers(&mut client, ready), expected, "byte by byte");
        assert!(proxy.metric_sum("pgtally_sessions_blind_total", "") < 0.5);
    });
}

/// What a session answers to ten thousand groups of which one in the middle fails.
fn pipeline(address: &Address, has_one_sync: bool) -> Vec<u8> {
    const GROUPS: usize = 10_000;
    let (mut client, _) = session(address);
    let group = move |number: usize| {
        let divisor = usize::from(number != GROUPS / 2);
        let group = frontend::extended("SELECT 10 / $1::int", &[], &[Value::text(divisor)], false);
        if has_one_sync { group[..group.len() - frontend::sync().len()].to_vec() } else { group }
    };
    let mut sender = client.duplicate();
    let sending = std::thread::spawn(move || {
        (0..GROUPS).for_each(|number| sender.send(&group(number)));
        sender.send(&frontend::sync());
        sender.send(&frontend::terminate());
    });
    let answer = client.rest();
    sending.join().unwrap();
    answer
}

#[test]
fn a_long_pipeline_with_an_error_in_the_middle_is_answered_the_same() {
    with_each_server(|server| {
        let direct = address(&server);
        let proxy = TestProxy::to(&direct);
        for has_one_sync in [false, true] {
            let expected = pipeline(&direct, has_one_sync);
            assert!(expected == pipeline(proxy.address(), has_one_sync), "one Sync: {has_one_sync}");
        }
        let failed = 2.0;
        proxy.wait_for_sum("pgtally_query_errors_total", "sqlstate_class=\"22\"", failed);
        assert!(proxy.metric_sum("pgtally_sessions_blind_total", "") < 0.5);
    });
}
