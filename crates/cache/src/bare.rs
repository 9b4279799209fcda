//! A statement's text without its comments: the part of a key that says what was asked.
//!
//! Literals stay, and so does every byte outside comments: a changing `traceparent` must not change a key, and nothing
//! else may be lost from it. Hints to a planner (`/*+ … */`) are no comments here.

use std::ops::Range;

/// Comments of one text that a scan lists; a text with as many may have more.
const COMMENTS_MAX: usize = 64;

/// `text` with one space for each comment; `comments` are the ranges of their bodies, as a scan lists them. `None`
/// where there may be more comments than were listed.
#[must_use]
pub fn bare(text: &[u8], comments: &[Range<u32>]) -> Option<Box<[u8]>> {
    if comments.len() >= COMMENTS_MAX {
        return None;
    }
    let mut kept = Vec::with_capacity(text.len());
    let mut at = 0;
    for body in comments {
        let (start, end) = (body.start as usize, body.end as usize);
        let opening = start.checked_sub(2)?;
        let is_block = text.get(opening..start)? == b"/*";
        kept.extend_from_slice(text.get(at..opening)?);
        kept.push(b' ');
        at = if is_block { (end + 2).min(text.len()) } else { end };
    }
    kept.extend_from_slice(text.get(at..)?);
    kept.truncate(kept.trim_ascii_end().len());
    Some(kept.trim_ascii_start().into())
}

#[cfg(test)]
mod tests {
    use pgtally_fingerprint::{Dialect, Scan};

    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let mut scan = Scan::new();
        scan.scan(text.as_bytes(), Dialect::default(), false);
        let bare = bare(text.as_bytes(), &scan.comments);
        assert_eq!(bare.as_deref().map(String::from_utf8_lossy).as_deref(), expected, "{text}");
    }

    #[test]
    fn comments_go_and_nothing_else() {
        check("SELECT 1", Some("SELECT 1"));
        check(" /* a */ SELECT/*b*/1 /*traceparent='00-1'*/ ", Some("SELECT 1"));
        check("SELECT 1 -- one\n, 2 -- two", Some("SELECT 1  \n, 2"));
        check(
            "SELECT '/*x*/', \"--y\", $$/*z*/$$ /* a /* nested */ b */",
            Some("SELECT '/*x*/', \"--y\", $$/*z*/$$"),
        );
        check("/*+ SeqScan(t) */ SELECT 1", Some("/*+ SeqScan(t) */ SELECT 1"));
        check("SELECT 1 /* never ends", Some("SELECT 1"));
        check("SELECT 'it''s /* no */ comment' /* but this */", Some("SELECT 'it''s /* no */ comment'"));
        check(&format!("SELECT 1 {}", "/**/".repeat(COMMENTS_MAX)), None);
    }
}
