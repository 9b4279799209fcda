//! The walk over one statement: canonical tokens go to the [`Emitter`], parameters and their roles to a list.
//!
//! One pass with little look-ahead. Lists of constants are folded by reading ahead (`fold.rs`); rows of VALUES are
//! walked and taken back when they equal the row above. Commands that name something, and SET, have walks of their
//! own in `utility.rs`.

use std::ops::Range;

use crate::clause::{self, Clause, Frame, FrameKind};
use crate::command::Command;
use crate::emit::{Emitter, Mark, Text};
use crate::keyword::Keyword;
use crate::lexer::{Lexer, Token, TokenKind, offset};
use crate::parameter::{Parameter, Role, Value};
use crate::scan::StatementScan;
use crate::setting::Setting;
use crate::{setting, value};

/// Levels of parentheses tracked; deeper ones are treated as part of the last. Reason: memory per session.
pub(crate) const DEPTH_MAX: usize = 96;

/// How far the command is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Done,
    /// The second word may change it.
    First,
    None,
    /// Behind WITH, at this depth.
    With(usize),
}

pub(crate) struct Walk<'t, 'b, T: Text> {
    pub(crate) lexer: Lexer<'t, 'b>,
    pub(crate) emitter: Emitter<T>,
    pub(crate) parameters: &'b mut Vec<Parameter>,
    /// Parameters listed per statement.
    parameters_max: usize,
    pub(crate) frames: &'b mut Vec<Frame<T>>,
    /// Parentheses open beyond [`DEPTH_MAX`].
    pub(crate) overflow: usize,
    pub(crate) first_parameter: usize,
    /// Tokens seen of this statement.
    pub(crate) tokens: u32,
    pub(crate) verb: Verb,
    pub(crate) command: Command,
    pub(crate) name_hash: u64,
    pub(crate) setting: Option<Setting>,
    has_set_config: bool,
    /// The token before, and the keyword before that.
    pub(crate) previous: TokenKind,
    pub(crate) previous_keyword: Keyword,
    before_keyword: Keyword,
    /// The last token was part of a type's name after `::`.
    pub(crate) is_after_cast: bool,
    pub(crate) comma_mark: Option<Mark<T::Mark>>,
    /// What the tokens taken by the last step look like from behind, when they were folded.
    pub(crate) ended_as: Option<TokenKind>,
    /// Open `CASE … END` and `BEGIN ATOMIC … END`.
    atomic_depth: u32,
}

impl<'t, 'b, T: Text> Walk<'t, 'b, T> {
    pub(crate) fn new(
        lexer: Lexer<'t, 'b>,
        text: T,
        parameters: &'b mut Vec<Parameter>,
        parameters_max: usize,
        frames: &'b mut Vec<Frame<T>>,
    ) -> Self {
        frames.clear();
        let first_parameter = parameters.len();
        Self {
            lexer,
            emitter: Emitter::new(text),
            parameters,
            parameters_max,
            frames,
            overflow: 0,
            first_parameter,
            tokens: 0,
            verb: Verb::None,
            command: Command::Other,
            name_hash: 0,
            setting: None,
            has_set_config: false,
            previous: TokenKind::End,
            previous_keyword: Keyword::Identifier,
            before_keyword: Keyword::Identifier,
            is_after_cast: false,
            comma_mark: None,
            ended_as: None,
            atomic_depth: 0,
        }
    }

    /// Walks the next statement, its semicolon included. `None` at the end of the text.
    pub(crate) fn statement(&mut self, is_cut: bool) -> Option<StatementScan> {
        let mut token = self.lexer.next();
        while token.kind == TokenKind::Semicolon {
            token = self.lexer.next();
        }
        if token.kind == TokenKind::End {
            return None;
        }
        self.restart();
        let start = token.start;
        let mut end = token.end;
        if self.utility(token) {
            end = self.lexer.at().max(end);
            token = self.lexer.next();
        }
        while !self.ends(token) {
            self.step(token);
            end = self.lexer.at();
            token = self.lexer.next();
        }
        let text = offset(start)..offset(end);
        Some(self.finish(text, is_cut && token.kind == TokenKind::End))
    }

    fn restart(&mut self) {
        self.emitter.hash = crate::hash::SEED;
        self.emitter.parameters = 0;
        self.frames.clear();
        self.frames.push(Frame::new(FrameKind::Group, Clause::Other));
        self.overflow = 0;
        self.first_parameter = self.parameters.len();
        self.tokens = 0;
        self.verb = Verb::None;
        self.command = Command::Other;
        self.name_hash = 0;
        self.setting = None;
        self.has_set_config = false;
        self.previous = TokenKind::End;
        self.previous_keyword = Keyword::Identifier;
        self.before_keyword = Keyword::Identifier;
        self.is_after_cast = false;
        self.comma_mark = None;
        self.ended_as = None;
        self.atomic_depth = 0;
    }

    fn finish(&mut self, text: Range<u32>, is_truncated: bool) -> StatementScan {
        let bytes = self.lexer.text().get(text.start as usize..text.end as usize).unwrap_or_default();
        if self.has_set_config {
            let found = setting::in_select(bytes, text.start);
            if let Some((setting, is_alone)) = found {
                if is_alone && setting.name == setting::REQUEST {
                    self.command = Command::Set;
                }
                self.setting = Some(setting);
            }
        }
        let is_literal = matches!(
            self.parameters.get(self.first_parameter),
            Some(Parameter { value: Value::Literal(_), .. })
        );
        if self.command == Command::Select && self.tokens == 2 && is_literal {
            self.command = Command::Ping;
        }
        let listed = self.parameters.len() - self.first_parameter;
        StatementScan {
            fingerprint: crate::Fingerprint(self.emitter.fingerprint(is_truncated)),
            command: self.command,
            text,
            parameters: offset(self.first_parameter)..offset(self.parameters.len()),
            has_more_parameters: self.emitter.parameters as usize > listed,
            is_truncated,
            name_hash: self.name_hash,
            setting: self.setting.take(),
        }
    }

    fn ends(&self, token: Token) -> bool {
        match token.kind {
            TokenKind::End => true,
            TokenKind::Semicolon => self.frames.len() <= 1 && self.atomic_depth == 0,
            _ => false,
        }
    }

    /// Takes one token, and more of them where they fold into one.
    fn step(&mut self, token: Token) {
        self.tokens = self.tokens.saturating_add(1);
        if token.kind != TokenKind::CloseParen {
            self.frame().tokens += 1;
        }
        let (keyword, before) = (token.keyword, self.previous_keyword);
        match token.kind {
            TokenKind::Word => self.word(token),
            TokenKind::Quoted => {
                self.emitter.quoted(self.lexer.bytes(token), token.hash);
                self.frame().pass();
            }
            TokenKind::Number | TokenKind::String | TokenKind::Placeholder => self.value(token),
            TokenKind::Operator => self.operator(token),
            TokenKind::Comma => self.comma(token),
            TokenKind::OpenParen => self.open(token),
            TokenKind::CloseParen => self.close(token),
            TokenKind::Cast => {
                self.symbol(token);
                self.is_after_cast = true;
            }
            TokenKind::Semicolon => {
                self.symbol(token);
                let frame = self.frame();
                frame.clause = Clause::Other;
                frame.restart_predicate();
            }
            TokenKind::Dot => self.symbol(token),
            _ => {
                self.symbol(token);
                self.is_after_cast = false;
                self.frame().pass();
            }
        }
        let ended_as = self.ended_as.take();
        self.previous = ended_as.unwrap_or(token.kind);
        self.before_keyword = before;
        self.previous_keyword = if ended_as.is_some() { Keyword::Identifier } else { keyword };
    }

    fn word(&mut self, token: Token) {
        if self.verb != Verb::Done {
            self.decide(token.keyword);
        }
        if token.keyword == Keyword::Identifier {
            self.emitter.word(self.lexer.bytes(token), token.hash, token.keyword);
            self.frame().pass();
            return;
        }
        if token.keyword.is_upper() {
            self.is_after_cast = false;
        }
        if token.keyword.is_type() && self.typed_literal(token) {
            return;
        }
        if self.row_constant(token) {
            return;
        }
        self.keyword(token);
    }

    /// NULL, TRUE and FALSE in a row of VALUES: client-side binding writes them where `$1` stands else.
    fn row_constant(&mut self, token: Token) -> bool {
        let is_constant = matches!(token.keyword, Keyword::Null | Keyword::True | Keyword::False);
        let is_element = matches!(self.previous, TokenKind::OpenParen | TokenKind::Comma);
        if !is_constant || !is_element || self.frame().kind != FrameKind::Row {
            return false;
        }
        self.skip_casts();
        self.literal_parameter(token.start..token.end);
        true
    }

    fn keyword(&mut self, token: Token) {
        use Keyword as K;
        let previous = self.previous_keyword;
        self.emitter.word(self.lexer.bytes(token), token.hash, token.keyword);
        match token.keyword {
            K::In => return self.in_list(previous == K::Not),
            K::Array => return self.array(),
            K::All | K::Any | K::Cast | K::Some => return,
            K::From if previous == K::Distinct && matches!(self.before_keyword, K::Is | K::Not) => {
                let role = if self.before_keyword == K::Not { Role::Key } else { Role::Range };
                return self.frame().expects = Some(role);
            }
            K::Between | K::Like | K::Ilike | K::To | K::Symmetric | K::Asymmetric => {
                let is_between = token.keyword == K::Between;
                self.compare(Role::Range);
                let frame = self.frame();
                return frame.is_between |= is_between;
            }
            K::And if self.frame().is_between => {
                let frame = self.frame();
                frame.is_between = false;
                return frame.expects = Some(Role::Range);
            }
            K::And | K::Or | K::Not | K::When | K::Then | K::Else => self.frame().restart_predicate(),
            K::SetConfig => self.has_set_config = true,
            K::Begin | K::Atomic | K::Case | K::End => self.atomic(token.keyword, previous),
            _ => self.frame().pass(),
        }
        self.clause(token.keyword);
    }

    fn clause(&mut self, keyword: Keyword) {
        let Some(clause) = Clause::opened_by(keyword) else { return };
        let is_first = self.tokens == 1;
        let frame = self.frame();
        // SET as a command, and the WHERE of an aggregate's FILTER, are not what they look like.
        if (is_first && keyword == Keyword::Set) || frame.kind == FrameKind::Filter {
            return;
        }
        frame.clause = clause;
        frame.has_rows = clause == Clause::Values;
        frame.row_hash = None;
        frame.restart_predicate();
    }

    /// Function bodies in SQL's own syntax contain semicolons.
    fn atomic(&mut self, keyword: Keyword, previous: Keyword) {
        match keyword {
            Keyword::Atomic if previous == Keyword::Begin && self.command == Command::Ddl => {
                self.atomic_depth = 1;
            }
            Keyword::Case if self.atomic_depth > 0 => self.atomic_depth += 1,
            Keyword::End => self.atomic_depth = self.atomic_depth.saturating_sub(1),
            _ => {}
        }
        self.frame().pass();
    }

    fn decide(&mut self, keyword: Keyword) {
        let depth = self.frames.len();
        match self.verb {
            Verb::None if keyword == Keyword::With => self.verb = Verb::With(depth),
            Verb::None => {
                self.command = Command::first(keyword);
                self.verb = Verb::First;
            }
            Verb::First => {
                self.command = self.command.second(keyword);
                self.verb = Verb::Done;
            }
            Verb::With(at) if at == depth => {
                if let Some(command) = Command::main_verb(keyword) {
                    self.command = command;
                    self.verb = Verb::Done;
                }
            }
            Verb::With(_) | Verb::Done => {}
        }
    }

    fn operator(&mut self, token: Token) {
        let operator = self.lexer.bytes(token);
        if matches!(operator, b"-" | b"+") && self.sign(token) {
            return;
        }
        self.is_after_cast = false;
        match operator {
            b"=" if self.any_list(false) => return,
            b"<>" | b"!=" if self.any_list(true) => return,
            _ => {}
        }
        self.symbol(token);
        match clause::comparison(operator) {
            Some(role) => self.compare(role),
            None => self.frame().pass(),
        }
    }

    /// A comparison: what came before it (`$1 = a`) and what comes next have this role.
    fn compare(&mut self, role: Role) {
        let frame = self.frame();
        frame.expects = frame.clause.compared(role);
        frame.is_predicate_start = false;
        let (lead, expects) = (frame.lead.take(), frame.expects);
        let lead = lead.and_then(|at| self.parameters.get_mut(at));
        if let (Some(parameter), Some(role)) = (lead, expects) {
            parameter.role = role;
        }
    }

    /// A sign that belongs to the number after it.
    fn sign(&mut self, token: Token) -> bool {
        let is_unary = match self.previous {
            TokenKind::Word => self.previous_keyword.allows_sign(),
            TokenKind::Operator | TokenKind::OpenParen | TokenKind::OpenBracket | TokenKind::Comma => true,
            TokenKind::End => true,
            _ => false,
        };
        if !is_unary {
            return false;
        }
        let position = self.lexer.position();
        let number = self.lexer.next();
        if number.kind != TokenKind::Number {
            self.lexer.rewind(position);
            return false;
        }
        self.skip_casts();
        self.literal_parameter(token.start..number.end);
        true
    }

    fn value(&mut self, token: Token) {
        if self.stays(token) {
            self.emitter.literal(self.lexer.bytes(token));
            return self.frame().pass();
        }
        self.skip_casts();
        if token.kind == TokenKind::Placeholder {
            let role = self.expected_role();
            self.parameter(Parameter::placeholder(role, token.hash));
        } else {
            self.literal_parameter(token.start..token.end);
        }
    }

    /// Constants that are part of the shape, because SQL takes no parameter there.
    fn stays(&mut self, token: Token) -> bool {
        let previous = self.previous;
        let is_extract = self.before_keyword == Keyword::Extract;
        let frame = self.frame();
        match token.kind {
            TokenKind::Number if frame.kind == FrameKind::Type => true,
            TokenKind::Number if frame.clause == Clause::By => {
                matches!(previous, TokenKind::Word | TokenKind::Comma)
            }
            TokenKind::String => is_extract && previous == TokenKind::OpenParen,
            _ => false,
        }
    }

    pub(crate) fn literal_parameter(&mut self, token: Range<usize>) {
        let role = self.expected_role();
        let (start, end) = (token.start, token.end);
        let token = self.lexer.text().get(token).unwrap_or_default();
        self.parameter(Parameter::literal(role, value::literal(token)).at(start, end));
    }

    pub(crate) fn expected_role(&mut self) -> Role {
        let frame = self.frame();
        frame.expects.unwrap_or_else(|| frame.clause.role())
    }

    fn parameter(&mut self, parameter: Parameter) {
        self.emitter.parameter();
        let at = self.list(parameter);
        let frame = self.frame();
        frame.lead = at.filter(|_| frame.is_predicate_start);
        frame.is_predicate_start = false;
        frame.expects = None;
        self.is_after_cast = false;
        self.ended_as = Some(TokenKind::Placeholder);
    }

    /// Appends to the list unless it is full; says where.
    pub(crate) fn list(&mut self, parameter: Parameter) -> Option<usize> {
        let at = self.parameters.len();
        (at - self.first_parameter < self.parameters_max).then(|| {
            self.parameters.push(parameter);
            at
        })
    }

    pub(crate) fn symbol(&mut self, token: Token) {
        let symbol = self.lexer.bytes(token);
        match token.kind {
            TokenKind::Cast | TokenKind::Operator => self.emitter.symbol(token.kind, symbol),
            _ => self.emitter.single(token.kind, symbol),
        }
    }

    pub(crate) fn frame(&mut self) -> &mut Frame<T> {
        if self.frames.is_empty() {
            self.frames.push(Frame::new(FrameKind::Group, Clause::Other));
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }
}
