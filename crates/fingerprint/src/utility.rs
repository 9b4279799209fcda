//! Commands that are about a name or a setting. Names of savepoints, cursors and prepared statements differ from
//! thread to thread, values of settings from request to request: neither belongs to the shape.

use crate::command::Command;
use crate::emit::Text;
use crate::keyword::Keyword;
use crate::lexer::{Token, TokenKind};
use crate::parameter::{Parameter, Role};
use crate::setting::{self, Setting, SettingScope};
use crate::value;
use crate::walk::{Verb, Walk};

impl<T: Text> Walk<'_, '_, T> {
    /// Takes the command, or its beginning, if `first` starts one of these.
    pub(crate) fn utility(&mut self, first: Token) -> bool {
        use Keyword as K;
        match first.keyword {
            K::Savepoint => self.named(&[("savepoint", K::Savepoint)], Command::Savepoint),
            K::Release => {
                self.named(&[("release", K::Release), ("savepoint", K::Savepoint)], Command::Release)
            }
            K::Abort | K::Rollback => self.rollback(),
            K::Close => self.named(&[("close", K::Close)], Command::CloseCursor),
            K::Deallocate => self.named(&[("deallocate", K::Deallocate)], Command::Deallocate),
            K::Fetch => self.named(&[("fetch", K::Fetch), ("from", K::From)], Command::Fetch),
            K::Move => self.named(&[("move", K::Move), ("from", K::From)], Command::Move),
            K::Declare => self.naming("declare", K::Declare, Command::Declare),
            K::Prepare => self.naming("prepare", K::Prepare, Command::Prepare),
            K::Execute => self.naming("execute", K::Execute, Command::Execute),
            K::Set => self.set(first),
            K::Reset => self.reset(),
            _ => false,
        }
    }

    /// A command whose last word is the name, whatever stands between.
    fn named(&mut self, words: &[(&'static str, Keyword)], command: Command) -> bool {
        let position = self.lexer.position();
        let Some(name) = self.last_name() else {
            self.lexer.rewind(position);
            return false;
        };
        self.begin(command);
        for (word, keyword) in words {
            self.emitter.keyword(word, *keyword);
        }
        let takes_all = matches!(command, Command::CloseCursor | Command::Deallocate);
        if takes_all && name.keyword == Keyword::All {
            self.command = command.second(Keyword::All);
            self.emitter.keyword("all", Keyword::All);
            return true;
        }
        self.name(name);
        true
    }

    fn rollback(&mut self) -> bool {
        let position = self.lexer.position();
        let is_to = self.find(Keyword::To);
        self.lexer.rewind(position);
        is_to
            && self.named(
                &[("rollback", Keyword::Rollback), ("to", Keyword::To), ("savepoint", Keyword::Savepoint)],
                Command::RollbackTo,
            )
    }

    /// A command whose second word is the name; the rest is walked as usual.
    fn naming(&mut self, word: &'static str, keyword: Keyword, command: Command) -> bool {
        let name = self.lexer.peek();
        let is_name = matches!(name.kind, TokenKind::Word | TokenKind::Quoted);
        if !is_name || name.keyword == Keyword::Transaction {
            return false;
        }
        self.lexer.next();
        self.begin(command);
        self.emitter.keyword(word, keyword);
        self.name(name);
        self.previous = TokenKind::Word;
        true
    }

    /// `SET [SESSION | LOCAL] name {= | TO} value`, `SET ROLE x`, `SET SESSION AUTHORIZATION x`.
    ///
    /// The value is one parameter, be it a word: `SET search_path TO tenant_1` is one shape for all tenants.
    fn set(&mut self, first: Token) -> bool {
        let position = self.lexer.position();
        let mut scope = SettingScope::Session;
        let mut token = self.lexer.next();
        if matches!(token.keyword, Keyword::Local | Keyword::Session)
            && self.lexer.peek().keyword != Keyword::Authorization
        {
            if token.keyword == Keyword::Local {
                scope = SettingScope::Local;
            }
            token = self.lexer.next();
        }
        let start = token;
        let name = match token.keyword {
            Keyword::Role if !self.assigns() => Some("role"),
            Keyword::Session if self.lexer.next().keyword == Keyword::Authorization => {
                Some("session_authorization")
            }
            _ if matches!(token.kind, TokenKind::Word | TokenKind::Quoted) => {
                let name = setting::dotted_name(&mut self.lexer, token);
                if !self.assigns() {
                    self.lexer.rewind(position);
                    return false;
                }
                name
            }
            _ => {
                self.lexer.rewind(position);
                return false;
            }
        };
        let name_end = self.lexer.at();
        self.lexer.rewind(position);
        self.begin(Command::Set);
        self.symbolic(first);
        self.emit_name(scope, start, name_end);
        self.assigned(name, scope);
        true
    }

    /// Whether `=` or TO follows; not taken.
    fn assigns(&mut self) -> bool {
        let token = self.lexer.peek();
        token.keyword == Keyword::To || (token.kind == TokenKind::Operator && self.lexer.bytes(token) == b"=")
    }

    /// Emits the setting's name, from its first token up to `end`, and `=` where there is one.
    fn emit_name(&mut self, scope: SettingScope, start: Token, end: usize) {
        if scope == SettingScope::Local {
            self.emitter.keyword("local", Keyword::Local);
        }
        while self.lexer.at() < end {
            let token = self.lexer.next();
            if token.start >= start.start {
                self.symbolic(token);
            }
        }
        if self.assigns() {
            self.lexer.next();
            self.emitter.symbol(TokenKind::Operator, b"=");
        }
    }

    fn symbolic(&mut self, token: Token) {
        match token.kind {
            TokenKind::Word => self.emitter.word(self.lexer.bytes(token), token.hash, token.keyword),
            TokenKind::Quoted => self.emitter.quoted(self.lexer.bytes(token), token.hash),
            _ => self.symbol(token),
        }
    }

    /// The value up to the end of the statement.
    fn assigned(&mut self, name: Option<&'static str>, scope: SettingScope) {
        let Some((first, end)) = self.rest() else { return };
        let is_default = first.keyword == Keyword::Default && first.end == end;
        let value = (!is_default).then(|| super::lexer::offset(first.start)..super::lexer::offset(end));
        if is_default {
            self.symbolic(first);
        } else {
            let bytes = self.lexer.text().get(first.start..end).unwrap_or_default();
            let parameter = match first.kind {
                TokenKind::Placeholder => Parameter::placeholder(Role::Other, first.hash),
                _ => Parameter::literal(Role::Other, value::literal(bytes)),
            };
            self.emitter.parameter();
            self.list(parameter);
        }
        self.setting = name.map(|name| Setting { name, scope, value, placeholder: None });
    }

    /// Notes what `RESET name` resets; the words are walked as usual.
    fn reset(&mut self) -> bool {
        let position = self.lexer.position();
        let token = self.lexer.next();
        let name = match token.keyword {
            Keyword::Session => Some("session_authorization"),
            _ => setting::dotted_name(&mut self.lexer, token),
        };
        self.lexer.rewind(position);
        self.setting =
            name.map(|name| Setting { name, scope: SettingScope::Session, value: None, placeholder: None });
        false
    }

    fn begin(&mut self, command: Command) {
        self.command = command;
        self.verb = Verb::Done;
        self.tokens = 2;
    }

    /// Every name is written `_`.
    fn name(&mut self, name: Token) {
        self.name_hash = setting::token_hash(self.lexer.bytes(name));
        self.emitter.word(b"_", crate::hash::keyword(b"_"), Keyword::Identifier);
    }

    /// Goes to the end of the statement; its last word.
    fn last_name(&mut self) -> Option<Token> {
        let mut name = None;
        while let Some(token) = self.inside() {
            if matches!(token.kind, TokenKind::Word | TokenKind::Quoted) {
                name = Some(token);
            }
        }
        name
    }

    /// Goes to the end of the statement, or behind the keyword if it is found.
    fn find(&mut self, keyword: Keyword) -> bool {
        while let Some(token) = self.inside() {
            if token.keyword == keyword {
                return true;
            }
        }
        false
    }

    /// Goes to the end of the statement; its next token, and where the last one ends.
    fn rest(&mut self) -> Option<(Token, usize)> {
        let first = self.inside()?;
        let mut end = first.end;
        while let Some(token) = self.inside() {
            end = token.end;
        }
        Some((first, end))
    }

    /// The next token unless the statement ends before it.
    fn inside(&mut self) -> Option<Token> {
        let position = self.lexer.position();
        let token = self.lexer.next();
        if matches!(token.kind, TokenKind::End | TokenKind::Semicolon) {
            self.lexer.rewind(position);
            return None;
        }
        Some(token)
    }
}
