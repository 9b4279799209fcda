//! tokio-postgres on the wire: the same script directly and through pgtally, every byte of both directions compared.
//!
//! The driver runs over a stream that keeps what passes. Other drivers: `tests/drivers/wire.py`.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use pgtally::Address;
use support::TestProxy;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::{address, with_each};

const PASSWORD: &str = "correct horse";

/// What passed so far.
#[derive(Clone, Default)]
struct Record {
    sent: Arc<Mutex<Vec<u8>>>,
    received: Arc<Mutex<Vec<u8>>>,
}

struct Recorded {
    stream: TcpStream,
    record: Record,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.record.received.lock().unwrap().extend(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &written {
            self.record.sent.lock().unwrap().extend(&buf[..*count]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What this driver does on the wire: its login, both protocols, portals in pieces, errors, a farewell.
async fn script(client: &mut Client) {
    // The same table for both runs: its OID is on the wire.
    client
        .batch_execute("CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY, name text); TRUNCATE t")
        .await
        .unwrap();
    let insert = client.prepare("INSERT INTO t VALUES ($1, $2) RETURNING id").await.unwrap();
    let transaction = client.transaction().await.unwrap();
    for id in 1..=9_i32 {
        transaction.query_one(&insert, &[&id, &format!("caf\u{e9} {id}")]).await.unwrap();
    }
    let portal = transaction.bind("SELECT id, name FROM t ORDER BY id", &[]).await.unwrap();
    for rows in [4, 4, 1, 0] {
        assert_eq!(transaction.query_portal(&portal, 4).await.unwrap().len(), rows);
    }
    transaction.commit().await.unwrap();
    let again = client.execute(&insert, &[&1_i32, &"again"]).await.expect_err("a duplicate key");
    assert_eq!(again.code(), Some(&SqlState::UNIQUE_VIOLATION));
    let wrong = client.query("SELECT no_such_column FROM t", &[]).await.expect_err("no such column");
    assert_eq!(wrong.code(), Some(&SqlState::UNDEFINED_COLUMN));
    let several = client.simple_query("SELECT 1; SELECT id FROM t; SELECT 1/0; SELECT 2").await;
    assert_eq!(several.expect_err("no such number").code(), Some(&SqlState::DIVISION_BY_ZERO));
}

/// The bytes that the script sends and receives at `address`.
fn play(address: &Address) -> (Vec<u8>, Vec<u8>) {
    let Address::Tcp(host, port) = address else { panic!("TCP only") };
    let record = Record::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect((host.as_str(), *port)).await.unwrap();
        let recorded = Recorded { stream, record: record.clone() };
        let mut config = Config::new();
        config.user("postgres").dbname("postgres").password(PASSWORD);
        let (mut client, connection) = config.connect_raw(recorded, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        script(&mut client).await;
        drop(client);
        connection.await.unwrap().unwrap();
    });
    let (sent, received) = (record.sent.lock().unwrap().clone(), record.received.lock().unwrap().clone());
    (sent, received)
}

/// Messages of a stream: tag and body.
fn messages(stream: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut messages = Vec::new();
    let mut rest = stream;
    while let [tag, b0, b1, b2, b3, ..] = *rest {
        let length = u32::from_be_bytes([b0, b1, b2, b3]) as usize;
        messages.push((tag, rest[5..=length].to_vec()));
        rest = &rest[1 + length..];
    }
    assert!(rest.is_empty(), "half a message: {rest:?}");
    messages
}

/// The driver numbers statements and portals over all clients of the process: `s7` becomes `s`.
fn without_numbers(body: &[u8]) -> Vec<u8> {
    let mut parts = body.split(|byte| *byte == 0).map(|part| {
        let digits = part.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (name, _) = part.split_at(part.len() - digits);
        if digits > 0 && matches!(name, [.., b's' | b'p']) { name } else { part }
    });
    let first = parts.next().unwrap_or_default().to_vec();
    parts.fold(first, |all, part| [&all[..], b"\0", part].concat())
}

/// Both directions as messages, without what is new in every session: key, process id, nonces and proofs of SCRAM, names.
fn masked((sent, received): &(Vec<u8>, Vec<u8>)) -> [Vec<(u8, Vec<u8>)>; 2] {
    // The startup packet has no tag.
    let startup = u32::from_be_bytes(sent[..4].try_into().unwrap()) as usize;
    let mut said = messages(&sent[startup..]);
    said.insert(0, (0, sent[..startup].to_vec()));
    let mut heard = messages(received);
    for (tag, body) in &mut said {
        match *tag {
            b'p' => body.fill(0),
            b'P' | b'B' | b'D' | b'E' | b'C' => *body = without_numbers(body),
            _ => {}
        }
    }
    for (tag, body) in &mut heard {
        let is_scram = *tag == b'R' && matches!(body[..], [0, 0, 0, 11 | 12, ..]);
        if *tag == b'K' || is_scram {
            body.fill(0);
        }
    }
    [said, heard]
}

#[test]
fn tokio_postgres_says_and_hears_the_same_bytes() {
    with_each(
        |builder| builder.password(PASSWORD),
        |server| {
            let direct = address(&server);
            let proxy = TestProxy::to(&direct);
            // Once more: where there is a table already, a notice says so.
            let _ = play(&direct);
            let expected = masked(&play(&direct));
            let [said, heard] = masked(&play(proxy.address()));
            assert_eq!(said.last(), Some(&(b'X', Vec::new())));
            assert!(heard.len() > 90, "{} messages", heard.len());
            for (ours, theirs) in said.iter().chain(&heard).zip(expected.iter().flatten()) {
                assert_eq!(ours, theirs);
            }
            assert_eq!([said, heard], expected);
            assert!(proxy.metric_sum("pgtally_sessions_blind_total", "") < 0.5);
        },
    );
}
