//! Which clause a token stands in, one frame per open parenthesis, and what that says about parameters.

use crate::emit::{Mark, Text};
use crate::keyword::Keyword;
use crate::parameter::Role;
use crate::value::ListHash;

/// Part of a statement, as far as roles differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Clause {
    /// `GROUP BY`, `ORDER BY`: integers are positions of output columns.
    By,
    /// LIMIT, OFFSET, FETCH FIRST.
    Limit,
    /// Select list, FROM, RETURNING, function arguments and all the rest.
    #[default]
    Other,
    /// WHERE, ON.
    Predicate,
    /// HAVING: ranges, but no keys.
    Having,
    /// SET of an UPDATE.
    Set,
    /// VALUES.
    Values,
}

impl Clause {
    /// Role of a parameter that nothing is compared with.
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Limit => Role::Limit,
            Self::Set | Self::Values => Role::Value,
            Self::By | Self::Having | Self::Other | Self::Predicate => Role::Other,
        }
    }

    /// Role of a parameter compared so that it would be `role` in WHERE.
    pub(crate) fn compared(self, role: Role) -> Option<Role> {
        match (self, role) {
            (Self::Predicate, _) | (Self::Having, Role::Range) => Some(role),
            _ => None,
        }
    }

    /// The clause that a keyword opens, if it does.
    pub(crate) fn opened_by(keyword: Keyword) -> Option<Self> {
        use Keyword as K;
        Some(match keyword {
            K::By => Self::By,
            K::Fetch | K::Limit | K::Offset => Self::Limit,
            K::On | K::Where => Self::Predicate,
            K::Having => Self::Having,
            K::Set => Self::Set,
            K::Values => Self::Values,
            K::Except
            | K::For
            | K::From
            | K::Group
            | K::Intersect
            | K::Into
            | K::Join
            | K::Order
            | K::Returning
            | K::Select
            | K::Union
            | K::Using
            | K::Window => Self::Other,
            _ => return None,
        })
    }
}

/// Role of what an operator compares, or `None` when it computes.
pub(crate) fn comparison(operator: &[u8]) -> Option<Role> {
    match operator {
        b"=" => Some(Role::Key),
        b"->" | b"->>" | b"#>" | b"#>>" | b"<<" | b">>" | b"<->" | b":" | b":=" | b".." | b"!" | b"@" => None,
        b"&&" => Some(Role::Range),
        _ if operator.iter().any(|byte| b"<>~!@?".contains(byte)) => Some(Role::Range),
        _ => None,
    }
}

/// What an open parenthesis or bracket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Arguments of a function, or what looks like them.
    Call,
    /// `FILTER (…)`, whose WHERE compares no keys.
    Filter,
    /// Parentheses around an expression, a row or a query; the statement itself.
    Group,
    /// Row of VALUES.
    Row,
    /// Modifiers of a type: `varchar(20)`. Numbers in it stay.
    Type,
}

/// State of one level of parentheses.
pub(crate) struct Frame<T: Text> {
    pub(crate) kind: FrameKind,
    pub(crate) clause: Clause,
    /// Role of a parameter that comes next, set by a comparison.
    pub(crate) expects: Option<Role>,
    /// What was expected before the last token: that may be the name of a function.
    pub(crate) passed: Option<Role>,
    /// What the enclosing level expected where this one opened.
    pub(crate) inherited: Option<Role>,
    /// A parameter that a predicate started with (`$1 = a`): its index.
    pub(crate) lead: Option<usize>,
    /// Nothing of the current predicate has been seen.
    pub(crate) is_predicate_start: bool,
    /// The next AND belongs to BETWEEN.
    pub(crate) is_between: bool,
    /// Tokens directly in this level; a function of one parameter passes its role on.
    pub(crate) tokens: u32,
    /// Where a folded row ends: before the comma that parts it from the row above.
    pub(crate) row_mark: Option<Mark<T::Mark>>,
    /// Hash outside the row while its own is made.
    pub(crate) outer_hash: u64,
    /// VALUES stands at this level, so parentheses in it are rows.
    pub(crate) has_rows: bool,
    /// In VALUES: hash of the row that the next ones are compared with, and its parameters.
    pub(crate) row_hash: Option<u64>,
    /// Index of the row's first parameter.
    pub(crate) row_parameters: usize,
    /// Literals of the rows folded into it.
    pub(crate) row_values: ListHash,
}

impl<T: Text> Frame<T> {
    pub(crate) fn new(kind: FrameKind, clause: Clause) -> Self {
        Self {
            kind,
            clause,
            expects: None,
            passed: None,
            inherited: None,
            lead: None,
            is_predicate_start: true,
            is_between: false,
            tokens: 0,
            row_mark: None,
            outer_hash: 0,
            has_rows: false,
            row_hash: None,
            row_parameters: 0,
            row_values: ListHash::new(),
        }
    }

    /// A new predicate begins.
    pub(crate) fn restart_predicate(&mut self) {
        self.expects = None;
        self.passed = None;
        self.lead = None;
        self.is_predicate_start = true;
        self.is_between = false;
    }

    /// A token that neither compares nor parts predicates.
    pub(crate) fn pass(&mut self) {
        self.passed = self.expects.take();
        self.lead = None;
        self.is_predicate_start = false;
    }
}
