//! What can be answered from the cache: one simple query, or one group `[Parse] Bind [Describe] Execute Sync`.
//!
//! A unit is a whole chunk of the client's, nothing before and nothing behind: drivers send a group with one write, and
//! whoever sends more at once gets no answer sooner by a part of it. Reading one costs a look at the first and the
//! last bytes for chunks that are none.

use pgtally_protocol::{Frame, frontend};

use crate::facts::BypassReason;

/// `Sync`.
const SYNC: &[u8] = b"S\0\0\0\x04";

/// One unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit<'a> {
    /// A `Query`.
    Simple {
        /// Its text.
        text: &'a [u8],
    },
    /// A group.
    Extended {
        /// Text and declared types of the unnamed `Parse`, where the group has one.
        parse: Option<Definition<'a>>,
        /// The statement that is bound.
        statement: &'a [u8],
        /// The `Bind` behind its names: formats, values, and the formats of the result.
        bound: &'a [u8],
        /// Whether the columns are asked for.
        is_described: bool,
    },
}

/// A `Parse` of the unnamed statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition<'a> {
    /// The whole message.
    pub message: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    /// Big-endian OIDs of the declared types.
    pub types: &'a [u8],
}

impl<'a> Unit<'a> {
    /// The unit that `chunk` is; `Ok(None)` where it is none or broken, an error where only its form forbids it.
    ///
    /// # Errors
    /// [`BypassReason::NamedParse`] and [`BypassReason::Portal`].
    pub fn read(chunk: &'a [u8]) -> Result<Option<Self>, BypassReason> {
        match chunk.first() {
            Some(&frontend::QUERY) => Ok(simple(chunk)),
            Some(&(frontend::PARSE | frontend::BIND)) if chunk.ends_with(SYNC) => Group::read(chunk),
            _ => Ok(None),
        }
    }
}

/// The next message of `rest` with all its bytes.
fn message<'a>(rest: &mut &'a [u8]) -> Option<(Frame<'a>, &'a [u8])> {
    let before = *rest;
    let (&[tag, a, b, c, d], _) = before.split_first_chunk::<5>()?;
    let length = (u32::from_be_bytes([a, b, c, d]) as usize).checked_add(1)?;
    let (whole, behind) = before.split_at_checked(length)?;
    *rest = behind;
    let body = whole.get(5..)?;
    Some((Frame { tag, length: u32::try_from(body.len()).ok()?, body }, whole))
}

fn simple(chunk: &[u8]) -> Option<Unit<'_>> {
    let mut rest = chunk;
    let (frame, _) = message(&mut rest)?;
    let text = frontend::query(&frame).ok().filter(|_| rest.is_empty())?;
    // Bytes behind the terminator make the server refuse it.
    (text.bytes.len() + 1 == frame.body.len()).then_some(Unit::Simple { text: text.bytes })
}

#[derive(Default)]
struct Group<'a> {
    parse: Option<Definition<'a>>,
    bind: Option<(&'a [u8], &'a [u8])>,
    is_described: bool,
    is_executed: bool,
}

impl<'a> Group<'a> {
    fn read(chunk: &'a [u8]) -> Result<Option<Unit<'a>>, BypassReason> {
        let mut group = Self::default();
        let mut rest = chunk;
        while let Some((frame, whole)) = message(&mut rest) {
            if frame.tag == frontend::SYNC {
                return Ok(group.unit().filter(|_| rest.is_empty() && frame.body.is_empty()));
            }
            if !group.take(&frame, whole)? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// False where the message has no place in a unit.
    fn take(&mut self, frame: &Frame<'a>, whole: &'a [u8]) -> Result<bool, BypassReason> {
        let is_next = match frame.tag {
            frontend::PARSE => self.parse.is_none() && self.bind.is_none(),
            frontend::BIND => self.bind.is_none(),
            frontend::DESCRIBE => self.bind.is_some() && !self.is_described && !self.is_executed,
            frontend::EXECUTE => self.bind.is_some() && !self.is_executed,
            _ => false,
        };
        if !is_next {
            return Ok(false);
        }
        match frame.tag {
            frontend::PARSE => self.take_parse(frame, whole),
            frontend::BIND => self.take_bind(frame),
            frontend::DESCRIBE => match frame.body {
                b"P\0" => {
                    self.is_described = true;
                    Ok(true)
                }
                [b'P', ..] => Err(BypassReason::Portal),
                _ => Ok(false),
            },
            _ => match frame.body {
                b"\0\0\0\0\0" => {
                    self.is_executed = true;
                    Ok(true)
                }
                _ => Err(BypassReason::Portal),
            },
        }
    }

    fn take_parse(&mut self, frame: &Frame<'a>, whole: &'a [u8]) -> Result<bool, BypassReason> {
        let Ok(parse) = frontend::Parse::read(frame) else { return Ok(false) };
        if !parse.name.is_empty() {
            return Err(BypassReason::NamedParse);
        }
        // Name, text, their terminators, the number of types, types.
        if frame.body.len() != 1 + parse.text.bytes.len() + 1 + 2 + parse.types.len() {
            return Ok(false);
        }
        self.parse = Some(Definition { message: whole, text: parse.text.bytes, types: parse.types });
        Ok(true)
    }

    fn take_bind(&mut self, frame: &Frame<'a>) -> Result<bool, BypassReason> {
        let mut names = frame.body.splitn(3, |byte| *byte == 0);
        let (Some(portal), Some(statement), Some(bound)) = (names.next(), names.next(), names.next()) else {
            return Ok(false);
        };
        if !portal.is_empty() {
            return Err(BypassReason::Portal);
        }
        if self.parse.is_some() && !statement.is_empty() {
            return Ok(false);
        }
        self.bind = Some((statement, bound));
        Ok(true)
    }

    fn unit(self) -> Option<Unit<'a>> {
        let (statement, bound) = self.bind.filter(|_| self.is_executed)?;
        Some(Unit::Extended { parse: self.parse, statement, bound, is_described: self.is_described })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
    }

    fn group(messages: &[(u8, &[u8])]) -> Vec<u8> {
        messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect()
    }

    const PARSE: (u8, &[u8]) = (b'P', b"\0SELECT 1\0\0\x01\0\0\0\x17");
    const BIND: (u8, &[u8]) = (b'B', b"\0\0\0\0\0\x01\0\0\0\x011\0\0");
    const DESCRIBE: (u8, &[u8]) = (b'D', b"P\0");
    const EXECUTE: (u8, &[u8]) = (b'E', b"\0\0\0\0\0");
    const SYNC: (u8, &[u8]) = (b'S', b"");

    #[test]
    fn groups_as_drivers_send_them_are_units() {
        let chunk = group(&[PARSE, BIND, DESCRIBE, EXECUTE, SYNC]);
        let Ok(Some(Unit::Extended { parse: Some(parse), statement, bound, is_described: true })) =
            Unit::read(&chunk)
        else {
            panic!("no unit");
        };
        assert_eq!(
            (parse.text, parse.types, parse.message),
            (&b"SELECT 1"[..], &b"\0\0\0\x17"[..], &message(b'P', PARSE.1)[..])
        );
        assert_eq!((statement, bound), (&b""[..], &BIND.1[2..]));
        let chunk = group(&[(b'B', b"\0s1\0\0\0\0\0\0\0"), EXECUTE, SYNC]);
        let expected = Unit::Extended { parse: None, statement: b"s1", bound: &[0; 6], is_described: false };
        assert_eq!(Unit::read(&chunk), Ok(Some(expected)));
        assert_eq!(Unit::read(b"Q\0\0\0\x06x\0"), Ok(Some(Unit::Simple { text: b"x" })));
    }

    #[test]
    fn everything_else_is_none() {
        let none: [&[(u8, &[u8])]; 9] = [
            &[PARSE, BIND, EXECUTE],
            &[PARSE, BIND, EXECUTE, SYNC, SYNC],
            &[BIND, EXECUTE, EXECUTE, SYNC],
            &[BIND, EXECUTE, DESCRIBE, SYNC],
            &[BIND, SYNC],
            &[PARSE, (b'D', b"S\0"), BIND, EXECUTE, SYNC],
            &[PARSE, (b'B', b"\0s1\0\0\0\0\0\0\0"), EXECUTE, SYNC],
            &[(b'Q', b"x\0y"), SYNC],
            &[BIND, EXECUTE, (b'H', b""), SYNC],
        ];
        for messages in none {
            assert_eq!(Unit::read(&group(messages)), Ok(None), "{messages:?}");
        }
        let portal = BypassReason::Portal;
        for (messages, reason) in [
            (&[(b'P', &b"s1\0x\0\0\0"[..]), BIND, EXECUTE, SYNC][..], BypassReason::NamedParse),
            (&[BIND, (b'E', b"\0\0\0\0\x05"), SYNC], portal),
            (&[(b'B', b"p\0\0\0\0\0\0\0\0"), EXECUTE, SYNC], portal),
            (&[BIND, (b'D', b"Pp\0"), EXECUTE, SYNC], portal),
        ] {
            assert_eq!(Unit::read(&group(messages)), Err(reason));
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..60), first in prop::sample::select(b"QPB".to_vec())) {
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            let _ = Unit::read(&bytes);
            bytes.extend_from_slice(super::SYNC);
            let _ = Unit::read(&bytes);
        }
    }
}
