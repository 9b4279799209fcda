//! Finds the statement within a `PREPARE`: what an `EXECUTE` of its name runs.

use std::ops::Range;

use crate::keyword::Keyword;
use crate::lexer::{Lexer, TokenKind};
use crate::scan::{Dialect, StatementScan};

/// Where in `text` the statement begins and ends that `statement`, a `PREPARE name [(types)] AS …`, defines; nothing
/// where it has no `AS`.
pub fn definition(text: &[u8], statement: &StatementScan, dialect: Dialect) -> Option<Range<usize>> {
    let end = statement.text.end as usize;
    let mut comments = Vec::new();
    let start = statement.text.start as usize;
    let mut lexer = Lexer::new(text.get(..end)?, start, dialect.has_standard_strings, &mut comments);
    let mut depth = 0_usize;
    loop {
        let token = lexer.next();
        match token.kind {
            TokenKind::End | TokenKind::Semicolon => return None,
            TokenKind::OpenParen => depth += 1,
            TokenKind::CloseParen => depth = depth.saturating_sub(1),
            TokenKind::Word if depth == 0 && token.keyword == Keyword::As => return Some(lexer.at()..end),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Scan;

    fn defined(text: &str) -> Option<&str> {
        let mut scan = Scan::new();
        scan.scan(text.as_bytes(), Dialect::default(), false);
        text.get(definition(text.as_bytes(), scan.statements.last()?, Dialect::default())?)
    }

    #[test]
    fn the_statement_is_what_follows_as() {
        assert_eq!(defined("prepare p as select 1 as a;"), Some(" select 1 as a"));
        let typed = "BEGIN; PREPARE \"as\" (numeric(3, 2), text) /* as */ AS (VALUES ($1)) -- end";
        assert_eq!(defined(typed), Some(" (VALUES ($1))"));
        assert_eq!(defined("PREPARE p (int"), None);
        assert_eq!(defined("PREPARE p"), None);
    }
}
