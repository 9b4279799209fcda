//! A small client that survives what the nemesis does: every answer is a value, also the end of the connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use pgtally::Address;
use support::frontend;

/// Longest wait for an answer. A nemesis may hold a leg for less.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came until ReadyForQuery.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// First column of each row, as text.
    pub(crate) cells: Vec<Option<String>>,
    /// Message and SQLSTATE of the first error.
    pub(crate) error: Option<String>,
    /// Everything, tags and bodies.
    pub(crate) frames: Vec<(u8, Vec<u8>)>,
}

impl Answer {
    /// The first cell as a number.
    pub(crate) fn number(&self) -> Option<i64> {
        self.cells.first()?.as_deref()?.parse().ok()
    }
}

/// A session.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Logs in with trust authentication.
    pub(crate) fn connect(address: &Address, user: &str, name: &str) -> io::Result<Self> {
        let Address::Tcp(host, port) = address else { return Err(io::ErrorKind::Unsupported.into()) };
        let stream = TcpStream::connect((host.as_str(), *port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { stream };
        let parameters = [("user", user), ("database", "postgres"), ("application_name", name)];
        match client.exchange(&frontend::startup(&parameters))?.error {
            Some(error) => Err(io::Error::other(error)),
            None => Ok(client),
        }
    }

    /// Sends a text as one simple query.
    pub(crate) fn query(&mut self, text: &str) -> io::Result<Answer> {
        self.exchange(&frontend::query(text))
    }

    /// Sends bytes and reads until ReadyForQuery.
    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(bytes)?;
        self.answer()
    }

    /// Reads until ReadyForQuery.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = Answer::default();
        loop {
            let (tag, body) = self.frame()?;
            match tag {
                b'D' => answer.cells.push(first_cell(&body)),
                b'E' => {
                    answer.error.get_or_insert_with(|| String::from_utf8_lossy(&body).replace('\0', " "));
                }
                _ => {}
            }
            answer.frames.push((tag, body));
            if tag == b'Z' {
                return Ok(answer);
            }
        }
    }

    /// Reads one message.
    pub(crate) fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok((header[0], body))
    }

    /// Sends bytes whose answer is not waited for.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }
}

fn first_cell(body: &[u8]) -> Option<String> {
    let length = i32::from_be_bytes(body.get(2..6)?.try_into().ok()?);
    let end = 6 + usize::try_from(length).ok()?;
    Some(String::from_utf8_lossy(body.get(6..end)?).into_owned())
}
