//! Says when two SQL texts are the same statement, without parsing SQL.
//!
//! [`Scan`] walks one text as a client sent it (possibly several statements, comments, literals) and says for
//! each statement: its [`Fingerprint`], its [`Command`], its parameters with their [`Role`]s, the setting or cursor
//! it names. A `Scan` is reused from text to text, so a text of a known shape costs no allocation.
//! [`Template`] recognises a text that differs from an earlier one in its literals only.
//! [`lift()`] takes the tags out of a text. [`normalize()`] writes the text of a new shape once; [`tags`] reads the comments.
//!
//! Deliberately absent: a parser. What needs a parse tree (tables, volatility) comes from libpg_query, off the hot
//! path, as [`ShapeFacts`] and, for the cache, as [`Access`].
//!
//! Read next: `lexer.rs`, then `walk.rs`.

mod access;
mod bytes;
mod clause;
mod command;
mod definition;
mod emit;
mod facts;
mod fold;
mod hash;
mod keyword;
mod level;
mod lexer;
mod lift;
mod normalize;
mod parameter;
mod scan;
mod setting;
pub mod tags;
mod template;
mod utility;
pub mod value;
mod walk;

use std::borrow::Cow;

pub use access::{Access, Effect, Refusal};
pub use command::{Command, Kind};
pub use definition::definition;
pub use facts::{Compared, Function, OutputColumn, ShapeFacts, Source, Table};
pub use lift::lift;
pub use normalize::{NORMALIZED_BYTES_MAX, Normalized, WHOLE_BYTES_MAX, normalize};
pub use parameter::{Parameter, Role, Value};
pub use scan::{Dialect, Fingerprint, Scan, StatementScan};
pub use setting::{Setting, SettingScope, name_hash};
pub use template::{TEMPLATE_BYTES_MAX, Template};

/// The value of a literal or identifier as it stands in a statement: quotes removed, escapes resolved, a bare word
/// in lower case.
pub fn unquote(token: &[u8]) -> Cow<'_, [u8]> {
    match value::body(token) {
        value::Body::Plain(bare) if bare.len() == token.len() && bare.iter().any(u8::is_ascii_uppercase) => {
            Cow::Owned(bare.to_ascii_lowercase())
        }
        value::Body::Plain(body) => Cow::Borrowed(body),
        value::Body::Escaped(decoder) => Cow::Owned(decoder.collect()),
    }
}
