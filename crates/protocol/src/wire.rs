//! Reading fields of a message body: every read is checked, none can panic.

use crate::Desync;

/// A cursor over a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Desync> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Desync::MalformedBody)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Desync> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Desync::MalformedBody)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Desync> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn int16(&mut self) -> Result<i16, Desync> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn uint16(&mut self) -> Result<u16, Desync> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn int32(&mut self) -> Result<i32, Desync> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn uint32(&mut self) -> Result<u32, Desync> {
        self.array().map(u32::from_be_bytes)
    }

    /// A zero-terminated string, without its terminator.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Desync> {
        // Most names are empty.
        if let [0, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(&[]);
        }
        let end = memchr::memchr(0, self.rest).ok_or(Desync::MalformedBody)?;
        let text = self.bytes(end)?;
        self.byte()?;
        Ok(text)
    }

    /// A value with its length in front; `None` is NULL.
    pub(crate) fn value(&mut self) -> Result<Option<&'a [u8]>, Desync> {
        match self.int32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Desync::MalformedBody)?;
                self.bytes(length).map(Some)
            }
        }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}
