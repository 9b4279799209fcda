//! Borrowed views of the messages a client sends, and their tags.

use crate::wire::Fields;
use crate::{Desync, Frame, limits};

/// `Bind`.
pub const BIND: u8 = b'B';
/// `Close`.
pub const CLOSE: u8 = b'C';
/// `CopyDone` (the tag is the same in both directions).
pub const COPY_DONE: u8 = b'c';
/// `CopyFail`.
pub const COPY_FAIL: u8 = b'f';
/// `Describe`.
pub const DESCRIBE: u8 = b'D';
/// `Execute`.
pub const EXECUTE: u8 = b'E';
/// `FunctionCall`.
pub const FUNCTION_CALL: u8 = b'F';
/// `Parse`.
pub const PARSE: u8 = b'P';
/// `Query`.
pub const QUERY: u8 = b'Q';
/// `Sync`.
pub const SYNC: u8 = b'S';

/// Bytes of a client's message body worth keeping.
#[must_use]
pub const fn body_limit(tag: u8) -> usize {
    match tag {
        BIND => limits::BIND_BYTES_MAX,
        QUERY | PARSE => limits::TEXT_BYTES_MAX,
        CLOSE | DESCRIBE | EXECUTE => limits::OTHER_BYTES_MAX,
        _ => 0,
    }
}

/// A statement text, possibly cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// Bytes of the text, in the client's encoding.
    pub bytes: &'a [u8],
    /// More text follows that was not kept.
    pub is_cut: bool,
}

impl<'a> Text<'a> {
    fn read(fields: &mut Fields<'a>, is_whole: bool) -> Result<Self, Desync> {
        if is_whole {
            return Ok(Self { bytes: fields.string()?, is_cut: false });
        }
        let rest = fields.rest();
        let end = memchr::memchr(0, rest);
        Ok(Self { bytes: end.and_then(|end| rest.get(..end)).unwrap_or(rest), is_cut: end.is_none() })
    }
}

/// The text of a `Query`.
///
/// # Errors
/// [`Desync::MalformedBody`] when the body does not hold a terminated string.
#[inline]
pub fn query<'a>(frame: &Frame<'a>) -> Result<Text<'a>, Desync> {
    Text::read(&mut Fields::new(frame.body), frame.is_whole())
}

/// `Parse`: defines a prepared statement.
#[derive(Clone, Copy, Debug)]
pub struct Parse<'a> {
    /// Name; empty for the unnamed statement.
    pub name: &'a [u8],
    /// Its text.
    pub text: Text<'a>,
    /// Big-endian OIDs of the parameter types the client declares, 4 bytes each; 0 where it leaves them open.
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads the body of a `Parse`.
    ///
    /// # Errors
    /// [`Desync::MalformedBody`] when its fields do not fit.
    #[inline]
    pub fn read(frame: &Frame<'a>) -> Result<Self, Desync> {
        let mut fields = Fields::new(frame.body);
        let name = fields.string()?;
        let text = Text::read(&mut fields, frame.is_whole())?;
        let types = if frame.is_whole() {
            let count = usize::from(fields.uint16()?);
            fields.bytes(count * 4)?
        } else {
            &[]
        };
        Ok(Self { name, text, types })
    }
}

/// Format code of a binary value.
const BINARY: [u8; 2] = [0, 1];

/// Formats of values: none (all text), one for all, or one each.
#[derive(Clone, Copy, Debug)]
pub struct Formats<'a> {
    codes: &'a [u8],
}

impl<'a> Formats<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Desync> {
        let count = usize::from(fields.uint16()?);
        Ok(Self { codes: fields.bytes(count * 2)? })
    }

    /// Those of a body cut among them: drivers send a code for each of up to 65,535 parameters.
    fn read_cut(fields: &mut Fields<'a>) -> Self {
        let codes = fields.rest();
        Self::read(fields).unwrap_or_else(|_| {
            *fields = Fields::new(&[]);
            Self { codes: codes.get(2..).unwrap_or_default() }
        })
    }

    /// One bit for each of the first 64 values, set where it is binary.
    #[must_use]
    pub fn mask(&self) -> u64 {
        match self.codes.as_chunks::<2>() {
            ([], _) => 0,
            ([all], []) => {
                if *all == BINARY {
                    u64::MAX
                } else {
                    0
                }
            }
            (each, _) => {
                each.iter().take(64).rev().fold(0, |mask, code| mask << 1 | u64::from(*code == BINARY))
            }
        }
    }

    /// Whether value number `index` (0-based) is binary.
    #[must_use]
    pub fn is_binary(&self, index: usize) -> bool {
        let code = match self.codes.as_chunks::<2>() {
            ([all], []) => Some(all),
            (each, _) => each.get(index),
        };
        code == Some(&BINARY)
    }
}

/// `Bind`: gives a prepared statement its parameters and makes a portal of it.
#[derive(Clone, Copy, Debug)]
pub struct Bind<'a> {
    /// Name of the portal; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Name of the prepared statement.
    pub statement: &'a [u8],
    /// Formats of the parameter values.
    pub formats: Formats<'a>,
    values: Fields<'a>,
    count: u16,
    is_whole: bool,
}

impl<'a> Bind<'a> {
    /// Names of the portal and of the prepared statement.
    ///
    /// # Errors
    /// [`Desync::MalformedBody`] when they are not there.
    pub fn names(frame: &Frame<'a>) -> Result<(&'a [u8], &'a [u8]), Desync> {
        let mut fields = Fields::new(frame.body);
        Ok((fields.string()?, fields.string()?))
    }

    /// Reads the body of a `Bind`. A cut body is accepted as far as it goes.
    ///
    /// # Errors
    /// [`Desync::MalformedBody`] when the fields in front of the values do not fit.
    pub fn read(frame: &Frame<'a>) -> Result<Self, Desync> {
        let mut fields = Fields::new(frame.body);
        let portal = fields.string()?;
        let statement = fields.string()?;
        let is_whole = frame.is_whole();
        let (formats, count) = if is_whole {
            (Formats::read(&mut fields)?, fields.uint16()?)
        } else {
            (Formats::read_cut(&mut fields), fields.uint16().unwrap_or(u16::MAX))
        };
        Ok(Self { portal, statement, formats, values: fields, count, is_whole })
    }

    /// Hands every value with its 0-based index to `each`, NULL as `None`, and returns the formats asked for the
    /// result columns; `None` when the body was cut before its end.
    ///
    /// # Errors
    /// [`Desync::MalformedBody`] when a whole body's fields do not fit.
    pub fn values(
        &self,
        mut each: impl FnMut(usize, Option<&'a [u8]>),
    ) -> Result<Option<Formats<'a>>, Desync> {
        let mut fields = self.values;
        let mut read = || -> Result<Formats<'a>, Desync> {
            for index in 0..usize::from(self.count) {
                each(index, fields.value()?);
            }
            Formats::read(&mut fields)
        };
        match read() {
            Ok(formats) => Ok(Some(formats)),
            Err(_) if !self.is_whole => Ok(None),
            Err(desync) => Err(desync),
        }
    }
}

/// What a `Describe` or `Close` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The portal of this name.
    Portal(&'a [u8]),
    /// The prepared statement of this name.
    Statement(&'a [u8]),
}

/// The target of a `Describe` or `Close`; `None` for a kind the server will refuse.
///
/// # Errors
/// [`Desync::MalformedBody`] when the body does not hold a kind and a terminated name.
pub fn target<'a>(frame: &Frame<'a>) -> Result<Option<Target<'a>>, Desync> {
    let mut fields = Fields::new(frame.body);
    let kind = fields.byte()?;
    let name = fields.string()?;
    Ok(match kind {
        b'P' => Some(Target::Portal(name)),
        b'S' => Some(Target::Statement(name)),
        _ => None,
    })
}

/// The portal an `Execute` runs.
///
/// # Errors
/// [`Desync::MalformedBody`] when the body does not hold a terminated name.
#[inline]
pub fn execute<'a>(frame: &Frame<'a>) -> Result<&'a [u8], Desync> {
    Fields::new(frame.body).string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_cut_among_its_formats_is_read_as_far_as_it_goes() {
        // `p`, `s`, 40,000 binary parameters: the codes alone are longer than what is kept.
        let body = [&b"p\0s\0"[..], &40_000_u16.to_be_bytes(), &[0, 1].repeat(40_000)].concat();
        let length = u32::try_from(body.len() + 500_000).unwrap();
        for kept in [5, 6, 7, 9, limits::BIND_BYTES_MAX, body.len(), body.len() + 1] {
            let body = [&body[..], b"\x9c"].concat();
            let frame = Frame { tag: BIND, length, body: &body[..kept.min(body.len())] };
            let bind = Bind::read(&frame).unwrap();
            assert_eq!((bind.portal, bind.statement), (&b"p"[..], &b"s"[..]));
            assert_eq!(bind.formats.is_binary(1), kept >= 10, "{kept}");
            assert_eq!(bind.formats.mask() >> 1 & 1 == 1, kept >= 10, "{kept}");
            let mut seen = 0;
            assert!(bind.values(|_, _| seen += 1).unwrap().is_none());
            assert_eq!(seen, 0);
        }
        let whole = Frame { tag: BIND, length: 6, body: b"p\0s\0\x9c\x40" };
        assert_eq!(Bind::read(&whole).unwrap_err(), Desync::MalformedBody);
    }
}
