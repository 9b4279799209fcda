//! Bytes out equal bytes in: whatever both sides send after startup, however it is cut.

use proptest::collection::vec;
use proptest::prelude::*;
use support::{FakePostgres, Peer, TestProxy, backend, frontend};

/// The label of reads.
const SELECTS: &str = "kind=\"select\"";

/// One side sends `bytes` in pieces of `piece` bytes; the other must receive them before the next step.
#[derive(Clone, Debug)]
struct Turn {
    is_client: bool,
    bytes: Vec<u8>,
    piece: usize,
}

fn play(client: &mut Peer, upstream: &mut Peer, turns: &[Turn]) {
    for turn in turns {
        let (from, to) =
            if turn.is_client { (&mut *client, &mut *upstream) } else { (&mut *upstream, &mut *client) };
        turn.bytes.chunks(turn.piece).for_each(|piece| from.send(piece));
        to.expect(&turn.bytes);
    }
}

/// Well-formed messages of a client, or none at all.
fn client_bytes() -> impl Strategy<Value = Vec<u8>> {
    let sql = prop_oneof![Just("SELECT 1 FROM t"), Just("BEGIN"), Just(""), Just("COPY t FROM STDIN")];
    let message = prop_oneof![
        sql.clone().prop_map(frontend::query),
        sql.prop_map(|text| frontend::parse("s", text, &[])),
        Just(frontend::bind("", "s", &[], false)),
        Just(frontend::execute("", 1)),
        Just(frontend::sync()),
        Just(frontend::copy_data(b"1\n")),
        Just(frontend::copy_done()),
    ];
    prop_oneof![4 => vec(message, 1..6).prop_map(|messages| messages.concat()), 1 => vec(any::<u8>(), 1..400)]
}

/// Well-formed messages of a server in any order, or none at all.
fn upstream_bytes() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
        Just(backend::done("SELECT 1")),
        Just(backend::ready(b'T')),
        Just(backend::data_row(&[])),
        Just(backend::report(b'E', "ERROR", "42601", "no")),
        Just(backend::copy_response(b'G', 1)),
        Just(backend::parameter_status("TimeZone", "UTC")),
    ];
    prop_oneof![4 => vec(message, 1..6).prop_map(|messages| messages.concat()), 1 => vec(any::<u8>(), 1..400)]
}

fn turn() -> impl Strategy<Value = Turn> {
    let client = client_bytes().prop_map(|bytes| (true, bytes));
    let upstream = upstream_bytes().prop_map(|bytes| (false, bytes));
    (prop_oneof![client, upstream], 1_usize..64).prop_map(|((is_client, bytes), piece)| Turn {
        is_client,
        bytes,
        piece,
    })
}

#[test]
fn any_bytes_pass_unchanged_in_any_pieces() {
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) }, |(turns in vec(turn(), 1..12))| {
        let (mut client, mut upstream) = fake.session(proxy.address());
        play(&mut client, &mut upstream, &turns);
        client.finish();
        prop_assert!(upstream.rest().is_empty());
    });
    assert!(proxy.metric("pgtally_sessions_blind_total{reason=\"panic\"}") < 0.5, "the observer panicked");
}

#[test]
fn big_messages_pass_both_ways_at_once() {
    const BYTES: usize = 8 * 1024 * 1024;
    let fake = FakePostgres::tcp();
    let proxy = TestProxy::to(fake.address());
    let (client, upstream) = fake.session(proxy.address());
    let body: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let threads =
        [(client.duplicate(), client), (upstream.duplicate(), upstream)].map(|(mut sender, mut receiver)| {
            let body = body.clone();
            let sending = std::thread::spawn({
                let body = body.clone();
                move || sender.send(&support::wire::message(b'd', &body))
            });
            std::thread::spawn(move || {
                assert!(receiver.frame().body == body);
                sending.join().unwrap();
            })
        });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn everything_is_the_same_over_unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let fake = FakePostgres::unix(&directory.path().join("upstream"));
    let listen = directory.path().join("clients");
    let proxy = TestProxy::with(fake.address(), &[("relay.listen", listen.to_str().unwrap())]);
    let (mut client, mut upstream) = fake.session(proxy.address());
    client.send(&frontend::query("SELECT name FROM users"));
    upstream.expect(&frontend::query("SELECT name FROM users"));
    upstream.send(&backend::done("SELECT 0"));
    client.expect(&backend::done("SELECT 0"));
    client.send(&frontend::terminate());
    client.finish();
    assert_eq!(upstream.rest(), frontend::terminate());
    proxy.wait_for_sum("pgtally_queries_total", SELECTS, 1.0);
}
