//! One walk over one SQL text. See the crate docs for what it yields.

use std::fmt;
use std::ops::Range;

use crate::clause::Frame;
use crate::command::Command;
use crate::emit::NoText;
use crate::lexer::Lexer;
use crate::parameter::Parameter;
use crate::setting::Setting;
use crate::walk::Walk;

/// 64-bit hash of the normalized statement. Printed as 16 hexadecimal digits.
///
/// Stable across restarts and platforms (finding ids are made of it): the hash has a fixed seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How the session's server reads string literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// `standard_conforming_strings`: when false, a backslash escapes inside `'…'`.
    pub has_standard_strings: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { has_standard_strings: true }
    }
}

/// One statement of a scanned text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatementScan {
    /// Identity of its shape.
    pub fingerprint: Fingerprint,
    /// What it does.
    pub command: Command,
    /// Its bytes in the text, without surrounding white space, comments and the semicolon.
    pub text: Range<u32>,
    /// Its parameters: range into [`Scan::parameters`].
    pub parameters: Range<u32>,
    /// Parameters beyond [`Scan::PARAMETERS_MAX`] exist; they are in the fingerprint but not listed.
    pub has_more_parameters: bool,
    /// The text was cut inside this statement: the fingerprint is that of the part seen, marked as cut.
    pub is_truncated: bool,
    /// Hash ([`crate::name_hash`]) of the cursor's name (DECLARE, FETCH, MOVE, CLOSE), of the prepared statement's
    /// (PREPARE, EXECUTE, DEALLOCATE) or of the savepoint's; 0 when none.
    pub name_hash: u64,
    /// Setting changed by it.
    pub setting: Option<Setting>,
}

/// Reusable result of scanning one text.
///
/// ```
/// use pgtally_fingerprint::{Command, Dialect, Role, Scan};
///
/// let mut scan = Scan::new();
/// scan.scan(b"BEGIN; SELECT name FROM users WHERE id IN (7, 8)", Dialect::default(), false);
/// let [begin, select] = scan.statements.as_slice() else { panic!("two statements") };
/// assert_eq!((begin.command, select.command), (Command::Begin, Command::Select));
/// assert_eq!(scan.parameters[0].role, Role::Key);
/// assert_eq!(scan.parameters[0].elements, 2);
///
/// let fingerprint = select.fingerprint;
/// scan.scan(b"select \"name\" from users where id = any($1) -- by id", Dialect::default(), false);
/// assert_eq!(scan.statements[0].fingerprint, fingerprint);
/// ```
#[derive(Debug, Default)]
pub struct Scan {
    /// Statements in order. Empty ones between semicolons are left out (the server gives them no answer);
    /// a text without any statement yields none.
    pub statements: Vec<StatementScan>,
    /// Parameters of all statements.
    pub parameters: Vec<Parameter>,
    /// Bodies of comments (without their delimiters), hints `/*+ … */` left out. At most 64.
    pub comments: Vec<Range<u32>>,
    frames: Frames,
}

/// Levels of parentheses; empty between scans.
#[derive(Default)]
struct Frames(Vec<Frame<NoText>>);

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").finish_non_exhaustive()
    }
}

impl Scan {
    /// Parameters listed per statement; more are hashed only. Reason: keys stand early or in small lists.
    pub const PARAMETERS_MAX: usize = 64;

    /// An empty scan.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `text`, in place of what was read before. `is_cut` says that the client sent more than `text`.
    ///
    /// Any bytes are accepted. What lies beyond 4 GiB is not read. Nothing is allocated once the lists have grown to
    /// what the texts need; lists grown by an unusual text are given back with the next one.
    pub fn scan(&mut self, text: &[u8], dialect: Dialect, is_cut: bool) {
        recycle(&mut self.statements);
        recycle(&mut self.parameters);
        recycle(&mut self.comments);
        let whole = text.get(..u32::MAX as usize).unwrap_or(text);
        let lexer = Lexer::new(whole, 0, dialect.has_standard_strings, &mut self.comments);
        let frames = &mut self.frames.0;
        let mut walk = Walk::new(lexer, NoText, &mut self.parameters, Self::PARAMETERS_MAX, frames);
        while let Some(statement) = walk.statement(is_cut) {
            self.statements.push(statement);
        }
    }
}

fn recycle<T>(list: &mut Vec<T>) {
    const KEPT_MAX: usize = 256;
    list.clear();
    list.shrink_to(KEPT_MAX);
}

#[cfg(test)]
mod tests;
