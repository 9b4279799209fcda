//! Parentheses and commas: levels of the walk, and rows of VALUES that fold into the row above.

use crate::clause::{Clause, Frame, FrameKind};
use crate::emit::Text;
use crate::fold;
use crate::keyword::Keyword;
use crate::lexer::{Token, TokenKind};
use crate::value::ListHash;
use crate::walk::{DEPTH_MAX, Walk};

impl<T: Text> Walk<'_, '_, T> {
    pub(crate) fn comma(&mut self, token: Token) {
        self.comma_mark = Some(self.emitter.mark());
        self.symbol(token);
        self.is_after_cast = false;
        let frame = self.frame();
        frame.restart_predicate();
        frame.expects = frame.inherited.filter(|_| frame.kind == FrameKind::Group);
    }

    pub(crate) fn open(&mut self, token: Token) {
        let is_row = self.frame().has_rows && self.follows_values();
        let row_mark = self.comma_mark.filter(|_| is_row && self.previous == TokenKind::Comma);
        self.symbol(token);
        let kind = if is_row { FrameKind::Row } else { self.frame_kind() };
        self.is_after_cast = false;
        if self.frames.len() >= DEPTH_MAX {
            self.overflow += 1;
            return self.frame().pass();
        }
        let next_parameter = self.parameters.len();
        let outer = self.frame();
        let clause = match (kind, outer.clause) {
            (FrameKind::Group | FrameKind::Row, clause) => clause,
            (_, clause @ (Clause::Limit | Clause::Set | Clause::Values)) => clause,
            _ => Clause::Other,
        };
        let mut frame = Frame::new(kind, clause);
        frame.inherited = if kind == FrameKind::Call { outer.passed } else { outer.expects };
        frame.expects = outer.expects.filter(|_| kind == FrameKind::Group);
        frame.row_mark = row_mark;
        frame.row_parameters = next_parameter;
        if is_row {
            frame.outer_hash = self.emitter.begin_part();
        }
        self.frames.push(frame);
    }

    fn follows_values(&self) -> bool {
        self.previous_keyword == Keyword::Values || self.previous == TokenKind::Comma
    }

    fn frame_kind(&self) -> FrameKind {
        let is_name = matches!(self.previous, TokenKind::Word | TokenKind::Quoted);
        match self.previous_keyword {
            _ if !is_name => FrameKind::Group,
            _ if self.is_after_cast => FrameKind::Type,
            Keyword::Filter => FrameKind::Filter,
            Keyword::TypeChar
            | Keyword::TypeCharacter
            | Keyword::TypeVarchar
            | Keyword::TypeVarying
            | Keyword::TypeBpchar
            | Keyword::TypeNchar
            | Keyword::TypeNumeric
            | Keyword::TypeDec
            | Keyword::TypeDecimal
            | Keyword::TypeFloat
            | Keyword::TypeBit
            | Keyword::TypeInterval
            | Keyword::TypeTime
            | Keyword::TypeTimetz
            | Keyword::TypeTimestamp
            | Keyword::TypeTimestamptz
            | Keyword::CurrentTime
            | Keyword::CurrentTimestamp
            | Keyword::Localtime
            | Keyword::Localtimestamp => FrameKind::Type,
            keyword if keyword.groups() => FrameKind::Group,
            _ => FrameKind::Call,
        }
    }

    pub(crate) fn close(&mut self, token: Token) {
        self.symbol(token);
        self.is_after_cast = false;
        if self.overflow > 0 {
            self.overflow -= 1;
            return self.frame().pass();
        }
        if self.frames.len() <= 1 {
            return self.frame().pass();
        }
        let Some(inner) = self.frames.pop() else { return };
        match inner.kind {
            FrameKind::Row => self.close_row(&inner),
            FrameKind::Call => self.pass_role(&inner),
            _ => {}
        }
        self.frame().pass();
    }

    /// `f($1)` is compared as `$1` is.
    fn pass_role(&mut self, call: &Frame<T>) {
        let is_sole = call.tokens == 1 && self.parameters.len() == call.row_parameters + 1;
        if let (true, Some(role), Some(last)) = (is_sole, call.inherited, self.parameters.last_mut()) {
            last.role = role;
        }
    }

    /// A row of the same shape as the row above is taken back.
    fn close_row(&mut self, row: &Frame<T>) {
        let row_hash = self.emitter.end_part(row.outer_hash);
        let start = row.row_parameters;
        let frame_at = self.frames.len() - 1;
        let Some(values) = self.frames.get_mut(frame_at) else { return };
        match row.row_mark.filter(|_| values.row_hash == Some(row_hash)) {
            Some(mark) => {
                self.emitter.reset(mark);
                for parameter in self.parameters.get(start..).unwrap_or_default() {
                    fold::push_value(&mut values.row_values, parameter);
                }
                let (shown, folded) = self.parameters.split_at_mut(start);
                fold::join_rows(
                    shown.get_mut(values.row_parameters..).unwrap_or_default(),
                    folded,
                    &values.row_values,
                );
                self.parameters.truncate(start);
            }
            None => {
                values.row_hash = Some(row_hash);
                values.row_parameters = start;
                values.row_values = ListHash::new();
                for parameter in self.parameters.get(start..).unwrap_or_default() {
                    fold::push_value(&mut values.row_values, parameter);
                }
            }
        }
    }
}
