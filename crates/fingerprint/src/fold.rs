//! Reads ahead over what folds into one parameter: lists of constants, casts of constants, typed literals.
//!
//! Each function either takes tokens and emits their canonical form, or rewinds the lexer and says so. Only constants
//! are read ahead, so no byte is read more than a few times however lists nest.

use crate::emit::Text;
use crate::keyword::Keyword;
use crate::lexer::{Token, TokenKind};
use crate::parameter::{Parameter, Role, Value};
use crate::value::{self, ListHash};
use crate::walk::Walk;

/// A list of constants that was read.
struct List {
    /// Columns of its rows; 0 for scalars.
    width: u32,
    elements: u32,
    values: ListHash,
    /// First parameter of the first element, widened over the placeholders that follow on.
    first: Option<Parameter>,
}

impl<T: Text> Walk<'_, '_, T> {
    /// After IN: `(1, 2, 3)`, `($1, $2)`, `((1, 2), (3, 4))`.
    pub(crate) fn in_list(&mut self, is_not: bool) {
        let role = if is_not { Role::Range } else { Role::Key };
        let frame = self.frame();
        frame.pass();
        let compared = frame.clause.compared(role);
        let role = compared.unwrap_or_else(|| frame.clause.role());
        if !self.bracketed(TokenKind::OpenParen, TokenKind::CloseParen, role) {
            self.frame().expects = compared;
        }
    }

    /// After ARRAY: `[1, 2, 3]`.
    pub(crate) fn array(&mut self) {
        let role = self.expected_role();
        self.frame().pass();
        self.bracketed(TokenKind::OpenBracket, TokenKind::CloseBracket, role);
    }

    /// At `=` (or `<>`): `= ANY ($1)`, `= ANY ('{1,2}'::int[])`, `= ANY (ARRAY[1, 2])` are `IN ($1)`.
    pub(crate) fn any_list(&mut self, is_not: bool) -> bool {
        if !matches!(self.lexer.upcoming(), Some(b'a' | b'A' | b's' | b'S' | b'/' | b'-')) {
            return false;
        }
        let position = self.lexer.position();
        let word = self.lexer.next().keyword;
        let is_quantified = match word {
            Keyword::Any | Keyword::Some => !is_not,
            Keyword::All => is_not,
            _ => false,
        };
        let start = self.parameters.len();
        let frame = self.frame();
        let role = if is_not { Role::Range } else { Role::Key };
        let role = frame.clause.compared(role).unwrap_or_else(|| frame.clause.role());
        if !is_quantified || self.any_operand(role).is_none() {
            self.lexer.rewind(position);
            self.parameters.truncate(start);
            return false;
        }
        if is_not {
            self.emitter.keyword("not", Keyword::Not);
        }
        self.emitter.keyword("in", Keyword::In);
        self.emitter.symbol(TokenKind::OpenParen, b"(");
        self.emitter.parameter();
        self.emitter.symbol(TokenKind::CloseParen, b")");
        self.frame().pass();
        self.ended_as = Some(TokenKind::CloseParen);
        true
    }

    /// The parenthesised array after ANY.
    fn any_operand(&mut self, role: Role) -> Option<()> {
        const PARENTHESES_MAX: u32 = 4;
        let mut open = 0;
        let mut token = self.lexer.next();
        while token.kind == TokenKind::OpenParen && open < PARENTHESES_MAX {
            open += 1;
            token = self.lexer.next();
        }
        if open == 0 {
            return None;
        }
        match token.kind {
            TokenKind::Placeholder => {
                self.list(Parameter { elements: 0, ..Parameter::placeholder(role, token.hash) });
            }
            TokenKind::String => {
                let parameter = array_literal(role, self.lexer.bytes(token));
                self.list(parameter);
            }
            TokenKind::Word if token.keyword == Keyword::Array => {
                (self.lexer.next().kind == TokenKind::OpenBracket).then_some(())?;
                let list = self.elements(TokenKind::OpenBracket, TokenKind::CloseBracket, role)?;
                (list.width == 0).then_some(())?;
            }
            _ => return None,
        }
        for _ in 0..open {
            self.skip_casts();
            (self.lexer.next().kind == TokenKind::CloseParen).then_some(())?;
        }
        Some(())
    }

    /// A bracketed list of constants, emitted as its first element. Or nothing.
    fn bracketed(&mut self, open: TokenKind, close: TokenKind, role: Role) -> bool {
        let position = self.lexer.position();
        let start = self.parameters.len();
        if self.lexer.next().kind == open
            && let Some(list) = self.elements(open, close, role)
        {
            self.emit_list(open, close, list.width);
            self.ended_as = Some(close);
            return true;
        }
        self.lexer.rewind(position);
        self.parameters.truncate(start);
        false
    }

    fn emit_list(&mut self, open: TokenKind, close: TokenKind, width: u32) {
        let (open_bytes, close_bytes): (&[u8], &[u8]) =
            if open == TokenKind::OpenParen { (b"(", b")") } else { (b"[", b"]") };
        self.emitter.symbol(open, open_bytes);
        if width == 0 {
            self.emitter.parameter();
        } else {
            self.emitter.symbol(open, open_bytes);
            for column in 0..width {
                if column > 0 {
                    self.emitter.symbol(TokenKind::Comma, b",");
                }
                self.emitter.parameter();
            }
            self.emitter.symbol(close, close_bytes);
        }
        self.emitter.symbol(close, close_bytes);
    }

    /// Elements behind the opening bracket up to the closing one; the first element's parameters are listed.
    fn elements(&mut self, open: TokenKind, close: TokenKind, role: Role) -> Option<List> {
        let start = self.parameters.len();
        let mut list = List { width: 0, elements: 0, values: ListHash::new(), first: None };
        loop {
            let token = self.lexer.next();
            let width = if token.kind == open { self.row(close, role, &mut list)? } else { 0 };
            if width == 0 {
                self.element(token, role, &mut list)?;
            }
            if list.elements > 0 && list.width != width {
                return None;
            }
            list.width = width;
            list.elements = list.elements.saturating_add(1);
            match self.lexer.next().kind {
                TokenKind::Comma => {}
                kind if kind == close => break,
                _ => return None,
            }
        }
        let columns = self.parameters.get_mut(start..).unwrap_or_default();
        for column in &mut *columns {
            column.elements = list.elements;
        }
        if let (Some(slot), Some(first)) = (columns.first_mut(), list.first) {
            *slot = Parameter { elements: list.elements, list_hash: list.values.finish(), ..first };
        }
        Some(list)
    }

    /// One row of constants; its width.
    fn row(&mut self, close: TokenKind, role: Role, list: &mut List) -> Option<u32> {
        let mut width = 0_u32;
        loop {
            let token = self.lexer.next();
            self.element(token, role, list)?;
            width = width.saturating_add(1);
            match self.lexer.next().kind {
                TokenKind::Comma => {}
                kind if kind == close => return Some(width),
                _ => return None,
            }
        }
    }

    /// One constant with its sign and casts. Listed as a parameter when it belongs to the first element.
    fn element(&mut self, token: Token, role: Role, list: &mut List) -> Option<()> {
        let mut end = token.end;
        let parameter = match token.kind {
            TokenKind::Placeholder => Parameter::placeholder(role, token.hash),
            TokenKind::Operator if matches!(self.lexer.bytes(token), b"-" | b"+") => {
                let number = self.lexer.next();
                (number.kind == TokenKind::Number).then_some(())?;
                end = number.end;
                self.constant(token.start, end, role)
            }
            TokenKind::Number | TokenKind::String => self.constant(token.start, end, role),
            TokenKind::Word if matches!(token.keyword, Keyword::Null | Keyword::True | Keyword::False) => {
                self.constant(token.start, end, role)
            }
            _ => return None,
        };
        self.skip_casts();
        push_value(&mut list.values, &parameter);
        match &mut list.first {
            Some(first) => follow_on(&mut first.value, parameter.value),
            None => list.first = Some(parameter),
        }
        if list.elements == 0 {
            self.list(parameter);
        }
        Some(())
    }

    fn constant(&self, start: usize, end: usize, role: Role) -> Parameter {
        let token = self.lexer.text().get(start..end).unwrap_or_default();
        Parameter::literal(role, value::literal(token)).at(start, end)
    }

    /// At the name of a type: takes it with the string after it, as in `DATE '2020-01-01'`.
    pub(crate) fn typed_literal(&mut self, name: Token) -> bool {
        let may_follow = matches!(self.lexer.upcoming(), Some(b'\'' | b'(' | b'$' | b'/' | b'-'))
            || self.lexer.upcoming().is_some_and(|byte| byte.is_ascii_alphabetic());
        if !may_follow || matches!(self.previous, TokenKind::Cast | TokenKind::Dot) {
            return false;
        }
        let position = self.lexer.position();
        self.skip_modifiers(name.keyword);
        let literal = self.lexer.next();
        if literal.kind != TokenKind::String {
            self.lexer.rewind(position);
            return false;
        }
        if name.keyword == Keyword::TypeInterval {
            self.skip_words(INTERVAL_FIELDS);
        }
        self.skip_casts();
        self.literal_parameter(literal.start..literal.end);
        true
    }

    /// Behind a constant: `::int`, `::numeric(10, 2)[]`, as many as there are.
    pub(crate) fn skip_casts(&mut self) {
        // Two other bytes may start a comment before the cast.
        while matches!(self.lexer.upcoming(), Some(b':' | b'/' | b'-')) {
            let position = self.lexer.position();
            if self.lexer.next().kind != TokenKind::Cast || !self.skip_type() {
                return self.lexer.rewind(position);
            }
        }
    }

    fn skip_type(&mut self) -> bool {
        let mut name = self.lexer.next();
        loop {
            let is_name = match name.kind {
                TokenKind::Quoted => true,
                TokenKind::Word => !name.keyword.is_upper(),
                _ => false,
            };
            if !is_name {
                return false;
            }
            if self.lexer.peek().kind != TokenKind::Dot {
                break;
            }
            self.lexer.next();
            name = self.lexer.next();
        }
        self.skip_modifiers(name.keyword);
        if name.keyword == Keyword::TypeInterval {
            self.skip_words(INTERVAL_FIELDS);
            self.skip_numbers();
        }
        self.skip_bounds();
        true
    }

    /// What may stand between a type's first word and its array bounds.
    fn skip_modifiers(&mut self, name: Keyword) {
        use Keyword as K;
        match name {
            K::TypeDouble => self.skip_words(&["precision"]),
            K::TypeBit | K::TypeChar | K::TypeCharacter | K::TypeNational | K::TypeNchar => {
                self.skip_words(&["character", "char", "varying"]);
            }
            _ => {}
        }
        self.skip_numbers();
        if matches!(name, K::TypeTime | K::TypeTimestamp) {
            self.skip_time_zone();
        }
    }

    /// `WITH TIME ZONE`; not the one of `AT TIME ZONE`.
    fn skip_time_zone(&mut self) {
        let position = self.lexer.position();
        self.skip_words(&["with", "without"]);
        if self.lexer.at() != position.at() {
            self.skip_words(&["time", "zone"]);
        }
    }

    fn skip_words(&mut self, words: &[&str]) {
        while self.lexer.upcoming().is_some_and(|byte| byte.is_ascii_alphabetic()) {
            let position = self.lexer.position();
            let token = self.lexer.next();
            let word = self.lexer.bytes(token);
            if !words.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word)) {
                return self.lexer.rewind(position);
            }
        }
    }

    /// `(10, 2)`, `(Point, 4326)`
    fn skip_numbers(&mut self) {
        const TOKENS_MAX: u32 = 16;
        if self.lexer.upcoming() != Some(b'(') {
            return;
        }
        let position = self.lexer.position();
        self.lexer.next();
        for _ in 0..TOKENS_MAX {
            match self.lexer.next().kind {
                TokenKind::CloseParen => return,
                TokenKind::Number | TokenKind::Word | TokenKind::Comma | TokenKind::Placeholder => {}
                _ => break,
            }
        }
        self.lexer.rewind(position);
    }

    /// `[]`, `[3]`, as many as there are.
    fn skip_bounds(&mut self) {
        while self.lexer.upcoming() == Some(b'[') {
            let position = self.lexer.position();
            self.lexer.next();
            let mut token = self.lexer.next();
            if token.kind == TokenKind::Number {
                token = self.lexer.next();
            }
            if token.kind != TokenKind::CloseBracket {
                return self.lexer.rewind(position);
            }
        }
    }
}

const INTERVAL_FIELDS: &[&str] = &["year", "month", "day", "hour", "minute", "second", "to"];

/// Adds a literal to a list's hash. Placeholders have no value here.
pub(crate) fn push_value(values: &mut ListHash, parameter: &Parameter) {
    if let Value::Literal(hash) = parameter.value {
        values.push(hash);
    }
}

/// Joins the parameters of a row that folds into the row above.
pub(crate) fn join_rows(shown: &mut [Parameter], folded: &[Parameter], values: &ListHash) {
    for column in &mut *shown {
        column.elements = column.elements.saturating_add(1);
    }
    let Some(first) = shown.first_mut() else { return };
    first.list_hash = values.finish();
    let width = folded.len();
    if let Value::Placeholder { first: number, count } = first.value
        && let Some(Value::Placeholder { first: next, .. }) = folded.first().map(|column| column.value)
    {
        // The first row alone counts one; from the second row on whole rows follow.
        let whole = if count == 1 { u16::try_from(width).unwrap_or(1) } else { count };
        if number.saturating_add(whole) == next {
            let count = whole.saturating_add(u16::try_from(width).unwrap_or(1));
            first.value = Value::Placeholder { first: number, count };
        }
    }
}

/// Widens a run of placeholders by the one that follows it.
fn follow_on(run: &mut Value, next: Value) {
    if let (Value::Placeholder { first, count }, Value::Placeholder { first: next, .. }) = (run, next)
        && first.saturating_add(*count) == next
    {
        *count = count.saturating_add(1);
    }
}

/// `'{1,2,3}'` as the list it is.
fn array_literal(role: Role, token: &[u8]) -> Parameter {
    let whole = Parameter::literal(role, value::literal(token));
    let value::Body::Plain(body) = value::body(token) else { return whole };
    let mut values = ListHash::new();
    let mut first = value::NULL;
    value::array_text(body, |element| {
        let hash = element.map_or(value::NULL, value::hash_text);
        if values.is_empty() {
            first = hash;
        }
        values.push(hash);
    });
    Parameter { elements: values.len(), list_hash: values.finish(), ..Parameter::literal(role, first) }
}
