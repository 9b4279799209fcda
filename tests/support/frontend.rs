//! Encoders of the messages a client sends.

use crate::wire::{Value, count, message, put_string, untagged};

/// `StartupMessage` of protocol 3.0.
#[must_use]
pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    startup_version(0x3_0000, parameters)
}

/// `StartupMessage` of any version.
#[must_use]
pub fn startup_version(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        put_string(&mut body, name);
        put_string(&mut body, value);
    }
    body.push(0);
    untagged(&body)
}

/// `SSLRequest`.
#[must_use]
pub fn ssl_request() -> Vec<u8> {
    untagged(&80_877_103_u32.to_be_bytes())
}

/// `GSSENCRequest`.
#[must_use]
pub fn gssenc_request() -> Vec<u8> {
    untagged(&80_877_104_u32.to_be_bytes())
}

/// `CancelRequest` with everything behind the code: process id and key.
#[must_use]
pub fn cancel_request(key_data: &[u8]) -> Vec<u8> {
    untagged(&[&80_877_102_u32.to_be_bytes()[..], key_data].concat())
}

/// `Query`.
#[must_use]
pub fn query(text: &str) -> Vec<u8> {
    query_bytes(text.as_bytes())
}

/// `Query` in any encoding.
#[must_use]
pub fn query_bytes(text: &[u8]) -> Vec<u8> {
    message(b'Q', &[text, b"\0"].concat())
}

/// `Parse` with the parameter types the client declares.
#[must_use]
pub fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, name);
    put_string(&mut body, text);
    body.extend(count(types.len()));
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b'P', &body)
}

/// `Bind`; all result columns in binary format, or in text.
#[must_use]
pub fn bind(portal: &str, statement: &str, values: &[Value], is_result_binary: bool) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, portal);
    put_string(&mut body, statement);
    body.extend(count(values.len()));
    body.extend(values.iter().flat_map(|value| value.format().to_be_bytes()));
    body.extend(count(values.len()));
    values.iter().for_each(|value| value.write(&mut body));
    if is_result_binary {
        body.extend([0, 1, 0, 1]);
    } else {
        body.extend([0, 0]);
    }
    message(b'B', &body)
}

/// `Describe`; `kind` is `P` or `S`.
#[must_use]
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    target(b'D', kind, name)
}

/// `Close`; `kind` is `P` or `S`.
#[must_use]
pub fn close(kind: u8, name: &str) -> Vec<u8> {
    target(b'C', kind, name)
}

fn target(tag: u8, kind: u8, name: &str) -> Vec<u8> {
    let mut body = vec![kind];
    put_string(&mut body, name);
    message(tag, &body)
}

/// `Execute`; 0 rows are all.
#[must_use]
pub fn execute(portal: &str, rows_max: u32) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, portal);
    body.extend(rows_max.to_be_bytes());
    message(b'E', &body)
}

/// `Parse` (unnamed), `Bind`, `Describe`, `Execute`, `Sync`.
#[must_use]
pub fn extended(text: &str, types: &[u32], values: &[Value], is_result_binary: bool) -> Vec<u8> {
    let parts = [
        parse("", text, types),
        bind("", "", values, is_result_binary),
        describe(b'P', ""),
        execute("", 0),
        sync(),
    ];
    parts.concat()
}

/// `FunctionCall` without arguments and with a text result.
#[must_use]
pub fn function_call(oid: u32) -> Vec<u8> {
    message(b'F', &[&oid.to_be_bytes()[..], &[0; 6]].concat())
}

/// `FunctionCall` with binary arguments and a binary result.
#[must_use]
pub fn function_call_with(oid: u32, arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut body = [&oid.to_be_bytes()[..], &[0, 1, 0, 1], &count(arguments.len())].concat();
    for argument in arguments {
        body.extend(u32::try_from(argument.len()).expect("a length").to_be_bytes());
        body.extend(argument);
    }
    body.extend([0, 1]);
    message(b'F', &body)
}

/// `CopyData`.
#[must_use]
pub fn copy_data(data: &[u8]) -> Vec<u8> {
    message(b'd', data)
}

/// `CopyDone`.
#[must_use]
pub fn copy_done() -> Vec<u8> {
    message(b'c', b"")
}

/// `CopyFail`.
#[must_use]
pub fn copy_fail(reason: &str) -> Vec<u8> {
    message(b'f', &[reason.as_bytes(), b"\0"].concat())
}

/// `Flush`.
#[must_use]
pub fn flush() -> Vec<u8> {
    message(b'H', b"")
}

/// `Sync`.
#[must_use]
pub fn sync() -> Vec<u8> {
    message(b'S', b"")
}

/// `Terminate`.
#[must_use]
pub fn terminate() -> Vec<u8> {
    message(b'X', b"")
}
