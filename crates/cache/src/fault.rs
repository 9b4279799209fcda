//! Mistakes made on purpose, so that the tests that look for them can be seen to find them.
//!
//! Each is one that a cache in front of a database has been shipped with. Without the feature `faults`, which only the
//! tests switch on, [`Fault::is`] is false at compile time and nothing of this is left in the program.

/// What is done wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Answers become old when a write is acknowledged, and not before it can be seen.
    AtAck,
    /// Answers become old when the statement is sent, whenever it commits.
    AtStatement,
    /// An answer is kept whatever was written while it was fetched.
    NoFillCheck,
    /// Users and roles share answers.
    NoRoleInKey,
    /// A `Parse` that was answered from the cache is never told to the server.
    ParseLost,
}

impl Fault {
    /// Whether this mistake is to be made.
    #[must_use]
    pub const fn is(self, other: Self) -> bool {
        cfg!(feature = "faults") && self as u8 == other as u8
    }
}
