//! Removes what a request has written into a statement's text: the tags in comments before and after it.
//!
//! Lifted texts of one statement are equal whatever the request, so that one prepared statement serves all. Only
//! comments at the ends go, where libraries put them: there nothing separates tokens. Hints (`/*+ … */`), line
//! comments and comments without a tag stay.
//!
//! Read next: `tags.rs`.

use memchr::{memchr, memmem};

use crate::lexer::{Lexer, TokenKind};
use crate::tags;

/// `text` without its tags; `None` where there is nothing to remove, or no certainty about where a literal ends.
///
/// Whether a backslash escapes the quote after it depends on a setting (`standard_conforming_strings`), so comments
/// behind one stay. The text may be in any encoding that PostgreSQL takes from a client.
///
/// ```
/// use pgtally_fingerprint::lift;
/// assert_eq!(lift(b"SELECT 1 /*route='%2Fa'*/;").as_deref(), Some(&b"SELECT 1;"[..]));
/// assert_eq!(lift(b"/*+ SeqScan(t) */ SELECT 1"), None);
/// ```
pub fn lift(text: &[u8]) -> Option<Vec<u8>> {
    memmem::find(text, b"/*")?;
    let mut comments = Vec::new();
    let mut lexer = Lexer::new(text, 0, true, &mut comments);
    let mut statement: Option<(usize, usize)> = None;
    loop {
        let token = lexer.next();
        match token.kind {
            TokenKind::End => break,
            TokenKind::Semicolon => {}
            _ => statement = Some((statement.map_or(token.start, |(start, _)| start), token.end)),
        }
    }
    let (start, end) = statement?;
    let certain = memchr(b'\\', text).unwrap_or(text.len());
    let mut lifted = Vec::with_capacity(text.len());
    let mut kept = 0;
    for comment in &comments {
        let (from, to) = (comment.start as usize, comment.end as usize);
        let is_block = from.checked_sub(2).and_then(|open| text.get(open..from)) == Some(b"/*")
            && text.get(to..to + 2) == Some(b"*/");
        let (from, to) = (from.saturating_sub(2), to + 2);
        let is_outside = to <= start || from >= end;
        if !is_block || !is_outside || from > certain || !has_tags(text.get(from + 2..to - 2)) {
            continue;
        }
        let before = text.get(kept..from).unwrap_or_default();
        // Blanks on the side of the statement go too; line ends stay, as a line comment may need them.
        lifted.extend_from_slice(if to <= start { before } else { trim_end(before) });
        kept = if to <= start { to + blanks(text.get(to..)) } else { to };
    }
    if kept == 0 {
        return None;
    }
    lifted.extend_from_slice(text.get(kept..).unwrap_or_default());
    Some(lifted)
}

fn has_tags(comment: Option<&[u8]>) -> bool {
    comment.is_some_and(|comment| tags::parse(comment).next().is_some())
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

fn blanks(text: Option<&[u8]>) -> usize {
    text.unwrap_or_default().iter().take_while(|byte| is_blank(**byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let lifted = lift(text.as_bytes()).map(|it| String::from_utf8(it).expect("as it was"));
        assert_eq!(lifted.as_deref(), expected, "{text}");
    }

    const TAG: &str =
        "/*route='%2Fa',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/";

    #[test]
    fn tags_go_wherever_libraries_put_them() {
        check(&format!("SELECT 1 {TAG}"), Some("SELECT 1"));
        check(&format!("SELECT 1{TAG}"), Some("SELECT 1"));
        check(&format!("SELECT 1 {TAG};"), Some("SELECT 1;"));
        check(&format!("SELECT 1; {TAG}"), Some("SELECT 1;"));
        check(&format!("{TAG} SELECT 1"), Some("SELECT 1"));
        check(&format!("{TAG}SELECT 1 {TAG}"), Some("SELECT 1"));
        check(&format!(" {TAG} /*controller:a*/ SELECT 1"), Some(" SELECT 1"));
        check("/* dddbs='x',dde='y' */ SELECT 1", Some("SELECT 1"));
        check("SELECT $1 /*request_id:7*/ /*job:mail*/", Some("SELECT $1"));
    }

    #[test]
    fn what_is_no_tag_stays() {
        check("SELECT 1", None);
        check("/* load the users */ SELECT 1", None);
        check("/*+ SeqScan(t) */ SELECT 1", None);
        check(&format!("/*+ SeqScan(t) */ SELECT 1 {TAG}"), Some("/*+ SeqScan(t) */ SELECT 1"));
        check("SELECT 1 -- a='1'", None);
        check(&format!("SELECT '{}'", TAG.replace('\'', "''")), None);
        check("SELECT $$ /*a='1'*/ $$, \"/*b='1'*/\"", None);
        check("SELECT /*a='1'*/ 1", None);
        check("SELECT 'a'\n/*a='1'*/\n'b'", None);
        check("/*a='1'*/", None);
        check("", None);
    }

    #[test]
    fn line_comments_keep_their_line_ends() {
        check("-- note\n/*a='1'*/ SELECT 1", Some("-- note\nSELECT 1"));
        check("SELECT 1 -- note\n /*a='1'*/;", Some("SELECT 1 -- note\n;"));
        check("SELECT 1 -- /*a='1'*/\n", None);
    }

    #[test]
    fn doubt_keeps_the_comment() {
        check("SELECT 'a\\' /*a='1'*/", None);
        check("SELECT E'a\\'' /*a='1'*/", None);
        check("/*a='1'*/ SELECT E'\\n' /*b='2'*/", Some("SELECT E'\\n' /*b='2'*/"));
        check("SELECT 'open /*a='1'*/", None);
        check("SELECT 1 /*a='1'", None);
        check("SELECT 1 /*a='1' /* inner */", None);
        check("SELECT 1 /*a='1' /* inner */ */", Some("SELECT 1"));
    }

    #[test]
    fn lifting_twice_changes_nothing_more() {
        for text in [
            "SELECT 1 /*a='1'*/",
            "/*a='1'*/ /*b='1'*/ SELECT 1 /*a:1*/;;",
            " /*a='1'*/\t/*b='1'*/\n SELECT 1",
        ] {
            let once = lift(text.as_bytes()).expect("tags");
            assert_eq!(lift(&once), None, "{text}");
        }
    }
}
