//! Borrowed views of the messages a server sends, and their tags.

use crate::wire::Fields;
use crate::{Desync, limits};

/// `AuthenticationOk` and kin.
pub const AUTHENTICATION: u8 = b'R';
/// `BindComplete`.
pub const BIND_COMPLETE: u8 = b'2';
/// `CloseComplete`.
pub const CLOSE_COMPLETE: u8 = b'3';
/// `CommandComplete`.
pub const COMMAND_COMPLETE: u8 = b'C';
/// `CopyBothResponse`.
pub const COPY_BOTH_RESPONSE: u8 = b'W';
/// `CopyInResponse`.
pub const COPY_IN_RESPONSE: u8 = b'G';
/// `CopyData` (the tag is the same in both directions).
pub const COPY_DATA: u8 = b'd';
/// `DataRow`.
pub const DATA_ROW: u8 = b'D';
/// `EmptyQueryResponse`.
pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
/// `ErrorResponse`.
pub const ERROR_RESPONSE: u8 = b'E';
/// `NegotiateProtocolVersion`.
pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
/// `NoData`.
pub const NO_DATA: u8 = b'n';
/// `ParameterDescription`.
pub const PARAMETER_DESCRIPTION: u8 = b't';
/// `ParameterStatus`.
pub const PARAMETER_STATUS: u8 = b'S';
/// `ParseComplete`.
pub const PARSE_COMPLETE: u8 = b'1';
/// `PortalSuspended`.
pub const PORTAL_SUSPENDED: u8 = b's';
/// `ReadyForQuery`.
pub const READY_FOR_QUERY: u8 = b'Z';
/// `RowDescription`.
pub const ROW_DESCRIPTION: u8 = b'T';

/// Bytes of a server's message body worth keeping.
#[must_use]
pub const fn body_limit(tag: u8) -> usize {
    match tag {
        DATA_ROW => limits::ROW_BYTES_MAX,
        COMMAND_COMPLETE
        | ERROR_RESPONSE
        | NEGOTIATE_PROTOCOL_VERSION
        | PARAMETER_DESCRIPTION
        | PARAMETER_STATUS
        | READY_FOR_QUERY
        | ROW_DESCRIPTION => limits::OTHER_BYTES_MAX,
        _ => 0,
    }
}

/// One column of a `RowDescription`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Label.
    pub name: &'a [u8],
    /// OID of the table it comes from, 0 for an expression.
    pub table_oid: u32,
    /// Attribute number in that table, 0 for an expression.
    pub attribute: i16,
    /// OID of its data type.
    pub type_oid: u32,
    /// Whether its values are binary. Always false in the answer to a Describe of a statement.
    pub is_binary: bool,
}

/// Hands every column of a `RowDescription` to `each`. A cut body ends early.
pub fn row_description<'a>(body: &'a [u8], mut each: impl FnMut(Field<'a>)) {
    let mut fields = Fields::new(body);
    let mut read = || -> Result<(), Desync> {
        for _ in 0..fields.uint16()? {
            let name = fields.string()?;
            let table_oid = fields.uint32()?;
            let attribute = fields.int16()?;
            let type_oid = fields.uint32()?;
            fields.bytes(6)?;
            let is_binary = fields.uint16()? == 1;
            each(Field { name, table_oid, attribute, type_oid, is_binary });
        }
        Ok(())
    };
    // A body cut at its limit just describes fewer columns.
    let _ = read();
}

/// The cells of a `DataRow`.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a> {
    fields: Fields<'a>,
    left: u16,
}

impl<'a> Cells<'a> {
    /// Reads the cells of a row, possibly cut.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        let mut fields = Fields::new(body);
        let left = fields.uint16().unwrap_or(0);
        Self { fields, left }
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.fields.value().ok()
    }
}

/// Hands the type OID of every parameter of a `ParameterDescription` to `each`. A cut body ends early.
pub fn parameter_description(body: &[u8], mut each: impl FnMut(u32)) {
    let mut fields = Fields::new(body);
    for _ in 0..fields.uint16().unwrap_or(0) {
        let Ok(oid) = fields.uint32() else { return };
        each(oid);
    }
}

/// What a `CommandComplete` says: the command, and rows returned or affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    text: &'a [u8],
}

impl<'a> CommandComplete<'a> {
    /// Reads the body of a `CommandComplete`.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Self {
        Self { text: body.strip_suffix(&[0]).unwrap_or(body) }
    }

    /// The tag without its numbers: `SELECT`, `INSERT`, `DEALLOCATE ALL`, …
    #[must_use]
    pub fn command(&self) -> &'a [u8] {
        let words_end = self.text.iter().position(u8::is_ascii_digit).unwrap_or(self.text.len());
        self.text.get(..words_end).unwrap_or(self.text).trim_ascii_end()
    }

    /// Its last number, 0 without one.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let (mut rows, mut unit) = (0_u64, Some(1_u64));
        for byte in self.text.iter().rev().take_while(|&&byte| byte != b' ') {
            let digit = byte.wrapping_sub(b'0');
            let added = unit.filter(|_| digit <= 9).and_then(|unit| unit.checked_mul(digit.into()));
            let Some(sum) = added.and_then(|added| rows.checked_add(added)) else { return 0 };
            (rows, unit) = (sum, unit.and_then(|unit| unit.checked_mul(10)));
        }
        rows
    }
}

/// What an `ErrorResponse` says about the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorFields {
    /// SQLSTATE; `XX000` when the server gave none.
    pub sqlstate: [u8; 5],
    /// FATAL or PANIC: the server closes the connection.
    pub is_fatal: bool,
}

impl ErrorFields {
    /// Reads the body of an `ErrorResponse`.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        let mut error = Self { sqlstate: *b"XX000", is_fatal: false };
        let mut fields = Fields::new(body);
        while let Ok(kind @ 1..) = fields.byte() {
            let Ok(value) = fields.string() else { break };
            match kind {
                b'C' => error.sqlstate = value.try_into().unwrap_or(error.sqlstate),
                // 'V' is never localised, 'S' may be; servers before 9.6 send only 'S'.
                b'V' | b'S' => error.is_fatal |= value == b"FATAL" || value == b"PANIC",
                _ => {}
            }
        }
        error
    }
}

/// Name and value of a `ParameterStatus`.
///
/// # Errors
/// [`Desync::MalformedBody`] when the body does not hold two terminated strings.
pub fn parameter_status(body: &[u8]) -> Result<(&[u8], &[u8]), Desync> {
    let mut fields = Fields::new(body);
    Ok((fields.string()?, fields.string()?))
}

/// Newest minor protocol version the server agrees to.
///
/// # Errors
/// [`Desync::MalformedBody`] when the body is too short.
pub fn negotiated_version(body: &[u8]) -> Result<(u16, u16), Desync> {
    let version = Fields::new(body).uint32()?.to_be_bytes();
    let [high1, high2, low1, low2] = version;
    // Servers send either the bare minor number or major and minor packed, depending on their age.
    Ok((u16::from_be_bytes([high1, high2]), u16::from_be_bytes([low1, low2])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_tags_give_command_and_rows() {
        for (body, command, rows) in [
            (&b"SELECT 42\0"[..], &b"SELECT"[..], 42),
            (b"INSERT 0 3\0", b"INSERT", 3),
            (b"DEALLOCATE ALL\0", b"DEALLOCATE ALL", 0),
            (b"BEGIN\0", b"BEGIN", 0),
            (b"COPY 18446744073709551615\0", b"COPY", u64::MAX),
            (b"COPY 99999999999999999999\0", b"COPY", 0),
            (b"", b"", 0),
        ] {
            let complete = CommandComplete::read(body);
            assert_eq!((complete.command(), complete.rows()), (command, rows));
        }
    }

    #[test]
    fn error_fields_are_read_in_any_order() {
        let body = b"SFEHLER\0VERROR\0C23505\0Mduplicate\0\0";
        assert_eq!(ErrorFields::read(body), ErrorFields { sqlstate: *b"23505", is_fatal: false });
        assert!(ErrorFields::read(b"SFATAL\0C57P01\0\0").is_fatal);
        assert_eq!(ErrorFields::read(b"Cxx\0").sqlstate, *b"XX000");
        assert_eq!(ErrorFields::read(b"C").sqlstate, *b"XX000");
    }

    #[test]
    fn cells_of_a_cut_row_end_early() {
        let row = b"\0\x03\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x05ab";
        assert_eq!(Cells::new(row).collect::<Vec<_>>(), vec![Some(&b"a"[..]), None]);
    }
}
