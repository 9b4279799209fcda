//! A server that lets everybody in and answers every statement with nothing; and the client's side of a session.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::PATIENCE;

pub(crate) const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// A message with its tag and length.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

/// Starts one; answers with where it listens. It ends with the test.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            // Small stacks: there may be thousands.
            thread::Builder::new().stack_size(64 * 1024).spawn(move || answer_all(stream)).unwrap();
        }
    });
    address
}

/// Ends without a word when the other side does.
fn answer_all(mut stream: TcpStream) -> Option<()> {
    let ready = message(b'Z', b"I");
    read_body(&mut stream)?;
    // A clear-text password, so that one passes.
    stream.write_all(&message(b'R', &3_u32.to_be_bytes())).ok()?;
    loop {
        let mut tag = [0];
        stream.read_exact(&mut tag).ok()?;
        if tag[0] == b'd' {
            skip_body(&mut stream)?;
            continue;
        }
        let body = read_body(&mut stream)?;
        let answer = match tag[0] {
            b'Q' if body == HUGE_QUERY => {
                // No row that could be understood; nobody has to.
                send_huge_as(&mut stream, b'D').ok()?;
                [message(b'C', b"SELECT 1\0"), ready.clone()].concat()
            }
            b'Q' if body.starts_with(b"COPY") => message(b'G', &[0, 0, 0]),
            b'c' => [message(b'C', b"COPY 1\0"), ready.clone()].concat(),
            b'p' => [message(b'R', &0_u32.to_be_bytes()), ready.clone()].concat(),
            b'Q' if body.ends_with(b"'unterminated\0") => {
                [message(b'E', b"SERROR\0C42601\0Munterminated quoted string\0\0"), ready.clone()].concat()
            }
            b'Q' => [message(b'C', b"SELECT 0\0"), ready.clone()].concat(),
            b'P' => message(b'1', b""),
            b'B' => message(b'2', b""),
            b'E' => message(b'C', b"SELECT 0\0"),
            b'S' => ready.clone(),
            _ => Vec::new(),
        };
        stream.write_all(&answer).ok()?;
    }
}

/// Asks for a row of [`HUGE_BYTES`].
const HUGE_QUERY: &[u8] = b"SELECT document FROM files\0";
/// About the longest value there can be.
pub(crate) const HUGE_BYTES: usize = 1_000 * 1024 * 1024;

/// A message of one tag with [`HUGE_BYTES`] in it, in pieces.
pub(crate) fn send_huge_as(stream: &mut TcpStream, tag: u8) -> io::Result<()> {
    let piece = vec![b'x'; 1024 * 1024];
    stream.write_all(&[tag])?;
    stream.write_all(&u32::try_from(4 + HUGE_BYTES).unwrap().to_be_bytes())?;
    (0..HUGE_BYTES / piece.len()).try_for_each(|_| stream.write_all(&piece))
}

/// Reads over a message's body; answers with its length.
pub(crate) fn skip_body(stream: &mut TcpStream) -> Option<u64> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let body_bytes = u64::from(u32::from_be_bytes(length)).checked_sub(4)?;
    let skipped = io::copy(&mut stream.take(body_bytes), &mut io::sink()).ok()?;
    (skipped == body_bytes).then_some(skipped)
}

/// What stands behind a length that counts itself.
fn read_body(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

/// A session of `ann` that has been let in with `password`.
pub(crate) fn connect(address: SocketAddr, password: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let startup = format!("\0\x03\0\0user\0ann\0options\0-c app.key={password}\0\0");
    let length = u32::try_from(startup.len() + 4).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], startup.as_bytes()].concat())?;
    let mut request = [0; 9];
    stream.read_exact(&mut request)?;
    stream.write_all(&message(b'p', format!("{password}\0").as_bytes()))?;
    until_ready(&mut stream)?;
    Ok(stream)
}

/// Sends a simple query and reads its whole answer.
pub(crate) fn query(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    stream.write_all(&message(b'Q', format!("{text}\0").as_bytes()))?;
    until_ready(stream)
}

/// Reads messages up to and including the next ReadyForQuery.
pub(crate) fn until_ready(stream: &mut TcpStream) -> io::Result<()> {
    loop {
        let mut tag = [0];
        stream.read_exact(&mut tag)?;
        read_body(stream).ok_or(io::ErrorKind::UnexpectedEof)?;
        if tag[0] == b'Z' {
            return Ok(());
        }
    }
}
