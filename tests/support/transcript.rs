//! Transcripts: text files with one wire conversation each, and what must be observed of it.
//!
//! ```text
//! # What this shows.
//! startup user=ann database=shop
//! < Greeting
//! > Query "SELECT name FROM users WHERE id = 7"
//! +3ms
//! < RowDescription name:text@16384.2
//! < DataRow "Ann"
//! < CommandComplete "SELECT 1"
//! < ReadyForQuery I
//! == outcome
//! …
//! ```
//! `>` is from the client, `<` from the server, `+` advances the clock, `hold N` keeps the last N bytes of the next
//! message back until its sender's one after. Lines of one direction without a `+` between them arrive together.
//! What follows `== outcome` is compared with `outcome.rs`'s text.
//!
//! Read next: `replay.rs`.

use crate::tokens::{Token, tokens};
use crate::wire::{Value, message, type_oid};
use crate::{backend, frontend};

/// Who sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The upstream.
    Upstream,
}

/// One step of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passes, in nanoseconds.
    Advance(u64),
    /// Bytes arrive.
    Bytes(Side, Vec<u8>),
}

/// A transcript that was read.
#[derive(Debug, Default)]
pub struct Transcript {
    /// Parameters of the startup packet.
    pub startup: Vec<(String, String)>,
    /// The conversation; neighbours never have the same side.
    pub events: Vec<Event>,
    /// The file up to the outcome.
    pub conversation_text: String,
    /// What must be observed.
    pub outcome: String,
    held: [Vec<u8>; 2],
    hold_next: usize,
}

/// The line before the outcome.
pub const OUTCOME: &str = "== outcome\n";

impl Transcript {
    /// Reads a transcript.
    ///
    /// # Errors
    /// Line and reason of what cannot be read.
    pub fn read(text: &str) -> Result<Self, String> {
        let (conversation, outcome) = text.split_once(OUTCOME).ok_or("no outcome")?;
        let mut transcript =
            Self { conversation_text: conversation.into(), outcome: outcome.into(), ..Self::default() };
        for (index, line) in conversation.lines().enumerate() {
            transcript.line(line).map_err(|error| format!("line {}: {error}", index + 1))?;
        }
        if transcript.held.iter().any(|held| !held.is_empty()) {
            return Err("bytes are held back to the end".into());
        }
        Ok(transcript)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "" | "#" => Ok(()),
            "<" => self.push(Side::Upstream, rest),
            ">" => self.push(Side::Client, rest),
            "hold" => {
                self.hold_next = rest.parse().map_err(|_| "hold needs a number")?;
                Ok(())
            }
            "startup" => {
                self.startup = rest.split_whitespace().map(parameter).collect::<Result<_, _>>()?;
                Ok(())
            }
            _ => {
                let number = verb.strip_prefix('+').and_then(|verb| verb.strip_suffix("ms"));
                let milliseconds: u64 = number.and_then(|it| it.parse().ok()).ok_or("unknown line")?;
                self.events.push(Event::Advance(milliseconds * 1_000_000));
                Ok(())
            }
        }
    }

    fn push(&mut self, side: Side, line: &str) -> Result<(), String> {
        let tokens = tokens(line)?;
        let (name, arguments) = tokens.split_first().ok_or("no message")?;
        let encoded = match side {
            Side::Client => client_message(&name.text, arguments),
            Side::Upstream => upstream_message(&name.text, arguments),
        };
        let mut bytes = std::mem::take(&mut self.held[side as usize]);
        bytes.extend(encoded.ok_or_else(|| format!("cannot read {line}"))?);
        let hold = std::mem::take(&mut self.hold_next);
        self.held[side as usize] = bytes.split_off(bytes.len().saturating_sub(hold));
        match self.events.last_mut() {
            Some(Event::Bytes(last, chunk)) if *last == side => chunk.extend(bytes),
            _ => self.events.push(Event::Bytes(side, bytes)),
        }
        Ok(())
    }
}

/// `name=value`; a `+` stands for a space.
fn parameter(word: &str) -> Result<(String, String), String> {
    let (name, value) = word.split_once('=').ok_or("a startup parameter has no =")?;
    Ok((name.to_owned(), value.replace('+', " ")))
}

fn client_message(name: &str, arguments: &[Token]) -> Option<Vec<u8>> {
    let text = |index: usize| arguments.get(index).map(|token| token.text.as_str());
    Some(match name {
        "Bind" => {
            let end = arguments.iter().position(|token| !token.is_quoted && token.text == "->");
            let values = arguments.get(2..end.unwrap_or(arguments.len()))?;
            let values = values.iter().map(value).collect::<Option<Vec<_>>>()?;
            frontend::bind(text(0)?, text(1)?, &values, end.is_some())
        }
        "Close" => frontend::close(target(text(0)?)?, text(1)?),
        "CopyData" => frontend::copy_data(text(0)?.as_bytes()),
        "CopyDone" => frontend::copy_done(),
        "CopyFail" => frontend::copy_fail(text(0)?),
        "Describe" => frontend::describe(target(text(0)?)?, text(1)?),
        "Execute" => frontend::execute(text(0)?, text(1).map_or(Some(0), |rows| rows.parse().ok())?),
        "Flush" => frontend::flush(),
        "FunctionCall" => frontend::function_call(text(0)?.parse().ok()?),
        "Parse" => frontend::parse(text(0)?, text(1)?, &types(arguments.get(2..)?)?),
        "Query" => frontend::query(text(0)?),
        "Raw" => hex(text(0)?)?,
        "Sync" => frontend::sync(),
        "Terminate" => frontend::terminate(),
        _ => return None,
    })
}

fn upstream_message(name: &str, arguments: &[Token]) -> Option<Vec<u8>> {
    let text = |index: usize| arguments.get(index).map(|token| token.text.as_str());
    let columns = || text(0)?.parse::<usize>().ok();
    Some(match name {
        "AuthenticationOk" => backend::authentication_ok(),
        "BindComplete" => message(b'2', b""),
        "CloseComplete" => message(b'3', b""),
        "CommandComplete" => backend::command_complete(text(0)?),
        "CopyBothResponse" => backend::copy_response(b'W', columns()?),
        "CopyData" => frontend::copy_data(text(0)?.as_bytes()),
        "CopyDone" => frontend::copy_done(),
        "CopyInResponse" => backend::copy_response(b'G', columns()?),
        "CopyOutResponse" => backend::copy_response(b'H', columns()?),
        "DataRow" => backend::data_row(&arguments.iter().map(value).collect::<Option<Vec<_>>>()?),
        "EmptyQueryResponse" => message(b'I', b""),
        "Error" => backend::report(b'E', "ERROR", text(0)?, text(1)?),
        "Fatal" => backend::report(b'E', "FATAL", text(0)?, text(1)?),
        "FunctionCallResponse" => message(b'V', &[&1_u32.to_be_bytes()[..], b"7"].concat()),
        "Greeting" => backend::greeting(),
        "NegotiateProtocolVersion" => backend::negotiate(text(0)?.parse().ok()?),
        "NoData" => message(b'n', b""),
        "Notice" => backend::report(b'N', "NOTICE", text(0)?, text(1)?),
        "Notification" => backend::notification(4_712, text(0)?, text(1)?),
        "ParameterDescription" => backend::parameter_description(&types(arguments)?),
        "ParameterStatus" => backend::parameter_status(text(0)?, text(1)?),
        "ParseComplete" => message(b'1', b""),
        "PortalSuspended" => message(b's', b""),
        "Raw" => hex(text(0)?)?,
        "ReadyForQuery" => backend::ready(*text(0)?.as_bytes().first()?),
        "RowDescription" => {
            let columns = arguments.iter().map(column).collect::<Option<Vec<_>>>()?;
            backend::row_description(&columns)
        }
        _ => return None,
    })
}

fn target(kind: &str) -> Option<u8> {
    match kind {
        "portal" => Some(b'P'),
        "statement" => Some(b'S'),
        _ => None,
    }
}

fn types(tokens: &[Token]) -> Option<Vec<u32>> {
    tokens.iter().map(|token| type_oid(&token.text)).collect()
}

/// `label:type`, with `@table.attribute` for a column of a table.
fn column(token: &Token) -> Option<backend::Column<'_>> {
    let (label, rest) = token.text.split_once(':')?;
    let (type_name, origin) = rest.split_once('@').unwrap_or((rest, "0.0"));
    let (table, attribute) = origin.split_once('.')?;
    let origin = (table.parse().ok()?, attribute.parse().ok()?);
    Some(backend::Column { label, type_oid: type_oid(type_name)?, origin })
}

/// Quoted or bare text, `null`, or a binary value such as `int4:7` or `uuid:…`.
fn value(token: &Token) -> Option<Value> {
    let word = token.text.as_str();
    if token.is_quoted {
        return Some(Value::text(word));
    }
    let Some((kind, body)) = word.split_once(':') else {
        return Some(if word == "null" { Value::Null } else { Value::text(word) });
    };
    let bytes = match kind {
        "int2" => body.parse::<i16>().ok()?.to_be_bytes().to_vec(),
        "int4" => body.parse::<i32>().ok()?.to_be_bytes().to_vec(),
        "int8" => body.parse::<i64>().ok()?.to_be_bytes().to_vec(),
        "text" => body.as_bytes().to_vec(),
        "uuid" => hex(&body.replace('-', ""))?,
        _ => return None,
    };
    Some(Value::Binary(bytes))
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}
