//! Writes the text of a shape. Called once per new fingerprint; allocates as it likes.

use crate::emit::Writer;
use crate::lexer::Lexer;
use crate::parameter::Role;
use crate::scan::{Dialect, StatementScan};
use crate::walk::Walk;

/// Bytes of the longest normalized text kept. Longer ones are cut; they can't be parsed then.
pub const NORMALIZED_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the longest normalized text that is surely whole: a cut may fall before a character of up to four bytes.
pub const WHOLE_BYTES_MAX: usize = NORMALIZED_BYTES_MAX - 4;

/// A statement without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalized {
    /// SQL with `$1`, `$2`, … in order of appearance, single spaces, keywords in upper case.
    pub text: String,
    /// Role of each parameter: `roles[k]` belongs to `$k+1`.
    pub roles: Vec<Role>,
    /// The text is only the beginning: the scanned one was, or it was cut at [`NORMALIZED_BYTES_MAX`].
    pub is_cut: bool,
}

/// Normalizes the statement that [`crate::Scan::scan`] found in `text`.
///
/// Scanning the result gives the same fingerprint, normalizing it changes nothing, and a PostgreSQL parser accepts
/// it wherever it accepts the original, utility commands aside (`SET x = $1`). Both hold unless the text was cut at
/// [`NORMALIZED_BYTES_MAX`] or is not UTF-8, whose broken parts are replaced.
pub fn normalize(text: &[u8], statement: &StatementScan, dialect: Dialect) -> Normalized {
    let mut comments = Vec::new();
    let mut parameters = Vec::new();
    let mut frames = Vec::new();
    let text = text.get(..statement.text.end as usize).unwrap_or(text);
    let lexer = Lexer::new(text, statement.text.start as usize, dialect.has_standard_strings, &mut comments);
    let writer = Writer::new(NORMALIZED_BYTES_MAX);
    let mut walk = Walk::new(lexer, writer, &mut parameters, usize::MAX, &mut frames);
    walk.statement(statement.is_truncated);
    let written = std::mem::take(&mut walk.emitter.text.text);
    let roles = parameters.iter().map(|parameter| parameter.role).collect();
    let is_cut = statement.is_truncated || written.len() > NORMALIZED_BYTES_MAX;
    Normalized { text: cut(written), roles, is_cut }
}

/// A valid text within the limit.
fn cut(written: Vec<u8>) -> String {
    // The writer stops one byte beyond the limit, and broken bytes never get fewer: what was cut is longer than
    // [`WHOLE_BYTES_MAX`], and a last character cut in two lies across the limit.
    let mut text = String::from_utf8_lossy(&written).into_owned();
    text.truncate(text.floor_char_boundary(NORMALIZED_BYTES_MAX));
    text
}
