//! N+1 patterns of real traffic, proven in every format a driver may use.

use pgtally_throwaway::Throwaway;
use support::wire::{Frame, Value, type_oid};
use support::{Peer, TestProxy, frontend, wait_for};

use crate::{address, session, with_each_server};

const TYPES: [&str; 5] = ["int2", "int4", "int8", "uuid", "text"];

/// Key number `n` of a type as an SQL expression; no key of one type is one of another column.
fn key(type_name: &str) -> &'static str {
    match type_name {
        "int2" => "(200 + n)::int2",
        "int4" => "40000 + n",
        "int8" => "8000000000 + n",
        "uuid" => "('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid",
        _ => "'key-' || n",
    }
}

fn fill(server: &Throwaway) {
    let (mut client, _) = session(&address(server));
    let columns: Vec<_> = TYPES.iter().map(|name| format!("{} AS ref_{name}", key(name))).collect();
    client.query(&format!(
        "CREATE TABLE parents AS SELECT n AS id, {} FROM generate_series(1, 12) n",
        columns.join(", ")
    ));
    for name in TYPES {
        let text = format!(
            "CREATE TABLE child_{name} AS SELECT {} AS id, n AS size FROM generate_series(1, 12) n",
            key(name)
        );
        assert_eq!(client.query(&text).len(), 2, "{text}");
    }
}

/// First values of the rows of an answer.
fn cells(frames: &[Frame]) -> Vec<Vec<u8>> {
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    rows.map(|row| row.body[6..].to_vec()).collect()
}

/// One request with an N+1: a read of the parents, then of the child of each.
fn run(client: &mut Peer, type_name: &str, is_binary: bool, number: usize) {
    let route = route(type_name, is_binary);
    let tag = format!("/*route='{route}',traceparent='00-{number:032x}-b7ad6b7169203331-01'*/");
    let parents = format!("SELECT ref_{type_name} FROM parents ORDER BY id {tag}");
    client.send(&frontend::extended(&parents, &[], &[], is_binary));
    let keys = cells(&client.frames_until_ready());
    assert_eq!(keys.len(), 12);
    for key in keys {
        let (value, types) = if is_binary {
            (Value::Binary(key), type_oid(type_name).into_iter().collect::<Vec<_>>())
        } else {
            (Value::Text(key), Vec::new())
        };
        let text = format!("SELECT size FROM child_{type_name} WHERE id = $1 {tag}");
        client.send(&frontend::extended(&text, &types, &[value], is_binary));
        assert_eq!(cells(&client.frames_until_ready()).len(), 1);
    }
}

fn route(type_name: &str, is_binary: bool) -> String {
    format!("{type_name}-{}", if is_binary { "binary" } else { "text" })
}

#[test]
fn an_n_plus_one_is_proven_whatever_the_key() {
    with_each_server(|server| {
        fill(&server);
        let proxy = TestProxy::to(&address(&server));
        let (mut client, _) = session(proxy.address());
        let cases: Vec<_> = TYPES.iter().flat_map(|name| [(*name, true), (*name, false)]).collect();
        for (number, (type_name, is_binary)) in cases.iter().enumerate() {
            run(&mut client, type_name, *is_binary, number + 1);
        }
        let findings =
            wait_for("ten findings", || Some(proxy.findings()).filter(|found| found.len() >= cases.len()));
        assert_eq!(findings.len(), cases.len(), "{findings:?}");
        for (type_name, is_binary) in cases {
            let route = route(type_name, is_binary);
            let finding = findings.iter().find(|finding| finding["route"] == route).expect(&route);
            assert_eq!(finding["kind"], "n_plus_one", "{finding}");
            assert_eq!(finding["confidence"], "high", "{finding}");
            assert_eq!(finding["linked_column"], format!("parents.ref_{type_name}"));
            assert_eq!(finding["repeat"], 12);
        }
        for request in proxy.settled_requests(10) {
            assert_eq!(request["queries"], 13, "{request}");
        }
    });
}
