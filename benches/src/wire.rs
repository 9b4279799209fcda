//! Writes the PostgreSQL messages that the scenarios are made of, both directions.
//!
//! pgtally itself only forwards what it reads, so nothing outside benches and tests needs an encoder. Layouts:
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use pgtally_protocol::{backend, frontend};

/// OID of `int4`.
pub const INT4: u32 = 23;
/// OID of `text`.
pub const TEXT: u32 = 25;
/// OID that the scenarios' one table has.
const TABLE: u32 = 16_384;

/// Appends a message of type `tag`; its length field is filled in behind `body`.
fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let length_at = out.len();
    out.extend([0; 4]);
    body(out);
    let length = (out.len() - length_at) as u32;
    if let Some(field) = out.get_mut(length_at..length_at + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}

fn value(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u32).to_be_bytes());
    out.extend(text.as_bytes());
}

/// `Query`.
pub fn query(out: &mut Vec<u8>, text: &str) {
    message(out, frontend::QUERY, |out| string(out, text));
}

/// `Parse` without parameter types.
pub fn parse(out: &mut Vec<u8>, name: &str, text: &str) {
    message(out, frontend::PARSE, |out| {
        string(out, name);
        string(out, text);
        out.extend([0, 0]);
    });
}

/// `Bind` of one parameter, all in text format, to the unnamed portal.
pub fn bind(out: &mut Vec<u8>, statement: &str, parameter: &str) {
    message(out, frontend::BIND, |out| {
        string(out, "");
        string(out, statement);
        out.extend([0, 0, 0, 1]);
        value(out, parameter);
        out.extend([0, 0]);
    });
}

/// `Describe` of the unnamed portal.
pub fn describe(out: &mut Vec<u8>) {
    message(out, frontend::DESCRIBE, |out| string(out, "P"));
}

/// `Execute` of the unnamed portal, all rows.
pub fn execute(out: &mut Vec<u8>) {
    message(out, frontend::EXECUTE, |out| out.extend([0; 5]));
}

/// `Sync`.
pub fn sync(out: &mut Vec<u8>) {
    message(out, frontend::SYNC, |_| {});
}

/// A backend message without a body: `ParseComplete`, `BindComplete`.
pub fn empty(out: &mut Vec<u8>, tag: u8) {
    message(out, tag, |_| {});
}

/// `AuthenticationOk`.
pub fn authentication_ok(out: &mut Vec<u8>) {
    message(out, backend::AUTHENTICATION, |out| out.extend([0; 4]));
}

/// `RowDescription` of columns of one table, in text format.
pub fn row_description(out: &mut Vec<u8>, columns: &[(&str, u32)]) {
    message(out, backend::ROW_DESCRIPTION, |out| {
        out.extend((columns.len() as u16).to_be_bytes());
        for (attribute, (name, type_oid)) in (1_u16..).zip(columns) {
            string(out, name);
            out.extend(TABLE.to_be_bytes());
            out.extend(attribute.to_be_bytes());
            out.extend(type_oid.to_be_bytes());
            // Size and modifier of the type, and the format, say nothing that anybody reads.
            out.extend([0; 8]);
        }
    });
}

/// `DataRow`.
pub fn data_row(out: &mut Vec<u8>, cells: &[&str]) {
    message(out, backend::DATA_ROW, |out| {
        out.extend((cells.len() as u16).to_be_bytes());
        for cell in cells {
            value(out, cell);
        }
    });
}

/// `CommandComplete`.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, backend::COMMAND_COMPLETE, |out| string(out, tag));
}

/// `ReadyForQuery` outside a transaction.
pub fn ready(out: &mut Vec<u8>) {
    message(out, backend::READY_FOR_QUERY, |out| out.push(b'I'));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_length_of_its_body_and_itself() {
        let mut out = Vec::new();
        query(&mut out, "SELECT 1");
        assert_eq!(out, b"Q\0\0\0\x0dSELECT 1\0");
        out.clear();
        data_row(&mut out, &["7", "ann"]);
        assert_eq!(out, b"D\0\0\0\x12\0\x02\0\0\0\x017\0\0\0\x03ann");
    }
}
