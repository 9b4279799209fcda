//! Encoders of the messages a server sends.

use crate::wire::{Value, count, message, put_string};

/// A column of a `RowDescription`.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// Its label.
    pub label: &'a str,
    /// OID of its type.
    pub type_oid: u32,
    /// OID of its table and number in it; zeroes for an expression.
    pub origin: (u32, u16),
}

/// `AuthenticationOk`.
#[must_use]
pub fn authentication_ok() -> Vec<u8> {
    message(b'R', &[0; 4])
}

/// `BackendKeyData`: process id and a key of any length.
#[must_use]
pub fn backend_key_data(process: u32, key: &[u8]) -> Vec<u8> {
    message(b'K', &[&process.to_be_bytes()[..], key].concat())
}

/// `ParameterStatus`.
#[must_use]
pub fn parameter_status(name: &str, value: &str) -> Vec<u8> {
    message(b'S', format!("{name}\0{value}\0").as_bytes())
}

/// `ReadyForQuery` with status `I`, `T` or `E`.
#[must_use]
pub fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

/// What a server sends to a client it has let in.
#[must_use]
pub fn greeting() -> Vec<u8> {
    let parts = [
        authentication_ok(),
        parameter_status("server_version", "15.0"),
        parameter_status("standard_conforming_strings", "on"),
        backend_key_data(4_711, &[1, 2, 3, 4]),
        ready(b'I'),
    ];
    parts.concat()
}

/// `RowDescription` in text format.
#[must_use]
pub fn row_description(columns: &[Column<'_>]) -> Vec<u8> {
    let mut body = count(columns.len()).to_vec();
    for column in columns {
        put_string(&mut body, column.label);
        body.extend(column.origin.0.to_be_bytes());
        body.extend(column.origin.1.to_be_bytes());
        body.extend(column.type_oid.to_be_bytes());
        // Type size, modifier and format tell an observer nothing it may rely on before a Bind.
        body.extend([0xff; 6]);
        body.extend([0, 0]);
    }
    message(b'T', &body)
}

/// `DataRow`.
#[must_use]
pub fn data_row(values: &[Value]) -> Vec<u8> {
    let mut body = count(values.len()).to_vec();
    values.iter().for_each(|value| value.write(&mut body));
    message(b'D', &body)
}

/// `CommandComplete`.
#[must_use]
pub fn command_complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

/// `CommandComplete` and `ReadyForQuery` outside a transaction.
#[must_use]
pub fn done(tag: &str) -> Vec<u8> {
    [command_complete(tag), ready(b'I')].concat()
}

/// `ErrorResponse` (`E`) or `NoticeResponse` (`N`).
#[must_use]
pub fn report(tag: u8, severity: &str, sqlstate: &str, text: &str) -> Vec<u8> {
    message(tag, format!("S{severity}\0V{severity}\0C{sqlstate}\0M{text}\0\0").as_bytes())
}

/// `NotificationResponse`.
#[must_use]
pub fn notification(process: u32, channel: &str, payload: &str) -> Vec<u8> {
    message(b'A', &[&process.to_be_bytes()[..], format!("{channel}\0{payload}\0").as_bytes()].concat())
}

/// `ParameterDescription`.
#[must_use]
pub fn parameter_description(types: &[u32]) -> Vec<u8> {
    let mut body = count(types.len()).to_vec();
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b't', &body)
}

/// `CopyInResponse` (`G`), `CopyOutResponse` (`H`) or `CopyBothResponse` (`W`) in text format.
#[must_use]
pub fn copy_response(tag: u8, columns: usize) -> Vec<u8> {
    let formats = vec![0; columns * 2];
    message(tag, &[&[0][..], &count(columns), &formats].concat())
}

/// `NegotiateProtocolVersion` without unrecognised options.
#[must_use]
pub fn negotiate(minor: u32) -> Vec<u8> {
    message(b'v', &[minor.to_be_bytes(), [0; 4]].concat())
}
