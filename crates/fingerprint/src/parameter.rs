//! Parameters of a statement: what varies between statements of one fingerprint.

use crate::lexer::offset;

/// How a parameter (literal, `$n`, or folded list) takes part in the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Compared by `=`, `IN`, `= ANY`, `IS NOT DISTINCT FROM` in WHERE, ON or USING-like places.
    Key,
    /// `LIMIT`, `OFFSET`, `FETCH FIRST`.
    Limit,
    /// Anything else.
    Other,
    /// Compared by `<`, `>`, `BETWEEN`, `LIKE`, `<>` and kin.
    Range,
    /// Assigned by `SET` of an UPDATE or by `VALUES` of an INSERT.
    Value,
}

/// Where a parameter's value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A literal; its canonical hash (see [`crate::value`]). For a folded list of literals: of the first element.
    Literal(u32),
    /// `$first` (1-based) up to `$first + count - 1`, in ascending order, of a Bind.
    Placeholder {
        /// 1-based number of the first.
        first: u16,
        /// How many in a row; 1 for a scalar.
        count: u16,
    },
}

/// One parameter of a statement, in order of appearance: `parameters[k]` is `$k+1` of the normalized text.
///
/// In a folded list of rows (`VALUES (…), (…)`, `IN ((…), (…))`) the first column's parameter stands for all values
/// of all rows: its `list_hash` and its placeholders cover them. The other columns show the first row's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// How it takes part.
    pub role: Role,
    /// Elements of a folded list as the text shows them; 1 for a scalar; 0 for `= ANY($1)`, whose length only the
    /// bound array tells.
    pub elements: u32,
    /// Hash over the canonical hashes of all literal elements of the list (equal to the literal's own for one);
    /// 0 when there are only placeholders.
    pub list_hash: u64,
    /// The value, or where it comes from.
    pub value: Value,
    /// Start and end of the literal in the text; empty when it is none, or not a single one.
    pub(crate) token: (u32, u32),
}

impl Parameter {
    pub(crate) fn literal(role: Role, hash: u32) -> Self {
        Self { role, elements: 1, list_hash: hash.into(), value: Value::Literal(hash), token: (0, 0) }
    }

    /// Notes where the literal stands.
    pub(crate) fn at(self, start: usize, end: usize) -> Self {
        Self { token: (offset(start), offset(end)), ..self }
    }

    pub(crate) fn placeholder(role: Role, number: u64) -> Self {
        let first = u16::try_from(number).unwrap_or(u16::MAX);
        Self { role, elements: 1, list_hash: 0, value: Value::Placeholder { first, count: 1 }, token: (0, 0) }
    }
}
