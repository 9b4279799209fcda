//! Says when two SQL texts are the same statement, without parsing SQL.
//!
//! [`Scan`] walks one text as a client sent it (possibly several statements, comments, literals) and says for
//! each statement: its [`Fingerprint`], its [`Command`], its parameters with their [`Role`]s, the setting or cursor
//! it names. A `Scan` is reused from text to text, so a text of a known shape costs no allocation.
//! [`normalize`] writes the text of a new shape once; [`tags`] reads the comments.
//!
//! Deliberately absent: a parser. What needs a parse tree (tables, volatility) comes from libpg_query, off the hot
//! path, as [`ShapeFacts`].
//!
//! Read next: `lexer.rs`, then `scan.rs`.

mod facts;
mod scan;

pub use facts::{Compared, Function, OutputColumn, ShapeFacts, Table};
pub use scan::{
    Command, Dialect, Fingerprint, Kind, Parameter, Role, Scan, Setting, SettingScope, StatementScan, Value,
};

/// Bytes of the longest normalized text kept. Longer ones are cut; they can't be parsed then.
pub const NORMALIZED_BYTES_MAX: usize = 16 * 1024;
