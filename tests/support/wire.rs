//! Frames and values as the tests write and read them. Independent of pgtally's own protocol crate on purpose: a
//! mistake there must not hide itself here.

use std::fmt;
use std::io::Read;

/// One tagged message.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its tag.
    pub tag: u8,
    /// Its body, without tag and length.
    pub body: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", char::from(self.tag), String::from_utf8_lossy(&self.body))
    }
}

impl Frame {
    /// Receives one tagged message.
    ///
    /// # Panics
    /// When the stream ends or fails before the message is complete.
    pub(crate) fn receive(stream: &mut impl Read) -> Self {
        let mut head = [0; 5];
        stream.read_exact(&mut head).expect("a message");
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body).expect("the rest of the message");
        Self { tag: head[0], body }
    }

    /// Receives messages up to and including the next ReadyForQuery.
    pub(crate) fn receive_until_ready(stream: &mut impl Read) -> Vec<Self> {
        let mut frames = Vec::new();
        while frames.last().is_none_or(|frame: &Self| frame.tag != b'Z') {
            frames.push(Self::receive(stream));
        }
        frames
    }

    /// Value of a field of an ErrorResponse or NoticeResponse, such as `C` for the SQLSTATE.
    #[must_use]
    pub fn field(&self, code: u8) -> Option<String> {
        let fields = self.body.split(|byte| *byte == 0);
        let found = fields.filter_map(|field| field.split_first()).find(|(first, _)| **first == code);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }
}

/// Tags of `frames`, as text.
#[must_use]
pub fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|frame| char::from(frame.tag)).collect()
}

/// A message: tag, length, body.
#[must_use]
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &untagged(body)].concat()
}

/// A packet without a tag, as startup packets are.
#[must_use]
pub fn untagged(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], body].concat()
}

/// One value of a Bind or DataRow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// In binary format.
    Binary(Vec<u8>),
    /// NULL.
    Null,
    /// In text format.
    Text(Vec<u8>),
}

impl Value {
    /// A value in text format.
    #[must_use]
    pub fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string().into_bytes())
    }

    pub(crate) fn write(&self, body: &mut Vec<u8>) {
        match self {
            Self::Null => body.extend((-1_i32).to_be_bytes()),
            Self::Binary(bytes) | Self::Text(bytes) => {
                body.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
                body.extend(bytes);
            }
        }
    }

    pub(crate) fn format(&self) -> u16 {
        u16::from(matches!(self, Self::Binary(_)))
    }
}

/// Type OIDs by the names the tests use.
#[must_use]
pub fn type_oid(name: &str) -> Option<u32> {
    Some(match name {
        "bool" => 16,
        "int2" => 21,
        "int4" => 23,
        "int8" => 20,
        "text" => 25,
        "unknown" => 705,
        "varchar" => 1043,
        "uuid" => 2950,
        _ => return name.parse().ok(),
    })
}

pub(crate) fn put_string(body: &mut Vec<u8>, text: &str) {
    body.extend(text.as_bytes());
    body.push(0);
}

pub(crate) fn count(items: usize) -> [u8; 2] {
    u16::try_from(items).unwrap_or(u16::MAX).to_be_bytes()
}
