//! One statement that replaces a loop: `WHERE id = $1` becomes `WHERE id = ANY($1)`.
//!
//! Works on the tokens of the normalized text (no literals, no comments), as this crate has no parser. It rewrites
//! what it understands completely and answers `None` otherwise: no rewrite is better than a wrong one.
//!
//! Read next: `rewrite/tokens.rs`.

mod tokens;

use crate::finding::FindingKind;
use crate::shape::KnownShape;
use tokens::{Kind, Text};

/// A statement to use instead of the repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) text: String,
    /// What the reader must know about it.
    pub(crate) note: Option<&'static str>,
}

const NOTE_GROUPED: &str = "it returns one row per key";
const NOTE_LIMIT: &str = "its LIMIT held for one key and is gone: take what each key needs from the rows";
const NOTE_ROWS: &str = "one group of VALUES per row";

/// The statement that does the work of the repeats at once; `key` is the parameter to make a list of.
pub(crate) fn rewrite(kind: FindingKind, known: &KnownShape, key: Option<u16>) -> Option<Rewrite> {
    if !matches!(kind, FindingKind::NPlusOne | FindingKind::NPlusOneWrite) {
        return None;
    }
    let text = Text::new(&known.shape.text)?;
    match (kind, text.word(0)?.as_str()) {
        (FindingKind::NPlusOne, "select") => select(text, key?, known.facts.has_aggregate),
        (FindingKind::NPlusOneWrite, "update" | "delete") => {
            let mut text = text;
            make_list(&mut text, key?)?;
            Some(Rewrite { text: text.finish(), note: None })
        }
        (FindingKind::NPlusOneWrite, "insert") => insert(text),
        _ => None,
    }
}

fn select(mut text: Text<'_>, key: u16, has_aggregate: bool) -> Option<Rewrite> {
    let has_any = |words: &[&str]| words.iter().any(|word| text.find_top(word).is_some());
    if has_any(&["union", "intersect", "except", "into"]) || text.follows_top("distinct", "on") {
        return None;
    }
    // Literals became parameters: an expression that holds one is no longer known to be the same in both places.
    if text.has_parameter_in("group")
        || (text.word(1).as_deref() == Some("distinct") && text.has_parameter_in("order"))
    {
        return None;
    }
    let from = text.find_top("from").filter(|from| text.word(from - 1).as_deref() != Some("distinct"))?;
    let column = make_list(&mut text, key)?;
    let mut note = None;
    if has_aggregate {
        add_group(&mut text, from, &column);
        note = Some(NOTE_GROUPED);
    }
    if !text.lists_column(from, &column) || has_aggregate {
        if text.sorts_by_number() {
            return None;
        }
        let first = if text.word(1).as_deref() == Some("distinct") { 2 } else { 1 };
        text.insert_before(first, &format!("{column}, "));
    }
    let limit = ["limit", "offset", "fetch"].iter().filter_map(|word| text.find_top(word)).min();
    if let Some(limit) = limit {
        text.remove_clause(limit);
        note = note.or(Some(NOTE_LIMIT));
    }
    Some(Rewrite { text: text.finish(), note })
}

/// Turns `column = $key` (or `$key = column`, or a folded `column IN ($key)`) into `column = ANY($key)` and returns
/// the column as written. Only where the comparison is required of every row: in WHERE, not below OR, NOT or a
/// subquery. Windows would no longer be those of one key.
fn make_list(text: &mut Text<'_>, key: u16) -> Option<String> {
    let at = text.only_parameter(key)?;
    let is_in_where = text.find_top("where").is_some_and(|start| start < at);
    let has_any = ["case", "or", "over"].iter().any(|word| text.has_word(word));
    if !is_in_where || has_any || text.negates() || text.is_in_subquery(at) {
        return None;
    }
    let replacement = format!("= ANY(${key})");
    if text.is_symbol(at.checked_sub(1)?, "=") {
        let column = text.column_before(at - 1)?;
        if text.is_symbol(at + 1, "::") {
            return None;
        }
        text.replace(at - 1, at, &replacement);
        return Some(column);
    }
    let is_folded = text.is_symbol(at - 1, "(") && text.is_symbol(at + 1, ")");
    if is_folded && text.word(at.checked_sub(2)?).as_deref() == Some("in") {
        let column = text.column_before(at - 2)?;
        text.replace(at - 2, at + 1, &replacement);
        return Some(column);
    }
    if text.is_symbol(at + 1, "=") {
        let (column, last) = text.column_after(at + 2)?;
        text.replace(at, last, &format!("{column} {replacement}"));
        return Some(column);
    }
    None
}

fn add_group(text: &mut Text<'_>, from: usize, column: &str) {
    if let Some(group) = text.find_top("group").filter(|group| *group > from) {
        text.insert_before(group + 2, &format!("{column}, "));
        return;
    }
    let clauses = ["having", "window", "order", "limit", "fetch", "for"];
    let next = clauses.iter().filter_map(|word| text.find_top(word)).filter(|at| *at > from).min();
    match next {
        Some(next) => text.insert_before(next, &format!("GROUP BY {column} ")),
        None => text.append(&format!(" GROUP BY {column}")),
    }
}

/// Doubles the only VALUES row, to show the form with several.
fn insert(mut text: Text<'_>) -> Option<Rewrite> {
    let values = text.find_top("values")?;
    let end = text.closing(values + 1)?;
    let highest = text.highest_parameter();
    let row = text.renumbered(values + 1, end, highest)?;
    text.insert_after(end, &format!(", {row}"));
    Some(Rewrite { text: text.finish_as_numbered(), note: Some(NOTE_ROWS) })
}

impl Text<'_> {
    /// The column reference that ends just before token `end`: `a`, `t.a` or `s.t.a`.
    fn column_before(&self, end: usize) -> Option<String> {
        let last = end.checked_sub(1)?;
        let mut first = last;
        while first >= 2 && self.is_symbol(first - 1, ".") {
            first -= 2;
        }
        // A cast or an operator before it would make the column part of a bigger expression.
        let before = first.checked_sub(1)?;
        let begins_condition =
            self.is_symbol(before, "(") || matches!(self.word(before).as_deref(), Some("where" | "and"));
        (begins_condition && self.is_column(first, last)).then(|| self.slice(first, last).to_owned())
    }

    /// The column reference that begins at token `first`, and its last token.
    fn column_after(&self, first: usize) -> Option<(String, usize)> {
        let mut last = first;
        while self.is_symbol(last + 1, ".") {
            last += 2;
        }
        let next = self.word(last + 1);
        let ends_condition = self.kind(last + 1).is_none()
            || self.is_symbol(last + 1, ")")
            || matches!(next.as_deref(), Some("and" | "order" | "limit" | "group" | "for" | "fetch"));
        (ends_condition && self.is_column(first, last)).then(|| (self.slice(first, last).to_owned(), last))
    }

    fn is_column(&self, first: usize, last: usize) -> bool {
        (first..=last).step_by(2).all(|at| matches!(self.kind(at), Some(Kind::Name | Kind::Word)))
    }

    /// Whether the select list names the column as it is, or has a star that holds it.
    fn lists_column(&self, from: usize, column: &str) -> bool {
        let (table, bare) = column.rsplit_once('.').unwrap_or(("", column));
        self.top_items(1, from).any(|(first, last)| {
            let first = if self.word(first).as_deref() == Some("distinct") { first + 1 } else { first };
            let mut end = first;
            while end + 2 <= last && self.is_symbol(end + 1, ".") {
                end += 2;
            }
            // A label may follow; an operator would make it another value.
            let has_as = self.word(end + 1).as_deref() == Some("as");
            let labels = last.saturating_sub(end).saturating_sub(usize::from(has_as));
            let name = self.slice(first, end);
            let is_column = labels <= 1 && (name == column || name == bare);
            let star = name.strip_suffix(".*");
            is_column || name == "*" || star.is_some_and(|of| table.is_empty() || of == table)
        })
    }

    /// Whether a parameter stands in the clause that begins with `word` (GROUP BY, ORDER BY).
    fn has_parameter_in(&self, word: &str) -> bool {
        let Some(at) = self.find_top(word) else { return false };
        (at..self.clause_end(at)).any(|at| matches!(self.kind(at), Some(Kind::Parameter(_))))
    }

    /// Where the clause that begins at `at` ends.
    fn clause_end(&self, at: usize) -> usize {
        let clauses = ["having", "order", "limit", "offset", "fetch", "for", "window"];
        let ends = clauses.iter().filter_map(|word| self.find_top(word)).filter(|end| *end > at);
        ends.min().unwrap_or_else(|| self.count())
    }

    /// Whether anything is negated; `IS NOT NULL` is a condition of its own.
    fn negates(&self) -> bool {
        let is_not = |at: &usize| self.word(*at).as_deref() == Some("not");
        let is_after_is =
            |at: usize| at.checked_sub(1).and_then(|before| self.word(before)).as_deref() == Some("is");
        (0..self.count()).filter(is_not).any(|at| !is_after_is(at))
    }

    /// Whether ORDER BY or GROUP BY counts output columns (`ORDER BY 1`): a column more would shift them.
    fn sorts_by_number(&self) -> bool {
        ["group", "order"].iter().filter_map(|word| self.find_top(word)).any(|at| {
            let mut items = self.top_items(at + 2, self.clause_end(at));
            items.any(|(first, _)| matches!(self.kind(first), Some(Kind::Literal | Kind::Parameter(_))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::known;

    #[track_caller]
    fn check(kind: FindingKind, text: &str, key: u16, expected: &str) {
        let known = known(text);
        assert!(known.facts.is_parsed, "{text}");
        let got = rewrite(kind, &known, Some(key)).map_or("-".into(), |it| it.text);
        assert_eq!(got, expected, "{text}");
        assert!(got == "-" || pgtally_parsetree::is_valid(&got), "{got}");
    }

    #[track_caller]
    fn read(text: &str, expected: &str) {
        let key = known(text).facts.compared.last().map_or(1, |it| it.parameter);
        check(FindingKind::NPlusOne, text, key, expected);
    }

    #[test]
    fn a_key_becomes_a_list() {
        read("SELECT id, name FROM authors WHERE id = $1", "SELECT id, name FROM authors WHERE id = ANY($1)");
        read("SELECT name FROM authors WHERE $1 = id", "SELECT id, name FROM authors WHERE id = ANY($1)");
        read("SELECT * FROM a WHERE a.id = $1", "SELECT * FROM a WHERE a.id = ANY($1)");
        read("SELECT a.* FROM a WHERE a.id IN ($1)", "SELECT a.* FROM a WHERE a.id = ANY($1)");
        read("SELECT DISTINCT x FROM a WHERE (k = $1)", "SELECT DISTINCT k, x FROM a WHERE (k = ANY($1))");
        read(
            "SELECT \"shop_author\".\"id\" FROM \"shop_author\" WHERE \"shop_author\".\"id\" = $1 LIMIT $2",
            "SELECT \"shop_author\".\"id\" FROM \"shop_author\" WHERE \"shop_author\".\"id\" = ANY($1)",
        );
        read(
            "SELECT f(a, k, b), a.* FROM a JOIN b ON b.a_id = a.id WHERE b.k = $1",
            "SELECT b.k, f(a, k, b), a.* FROM a JOIN b ON b.a_id = a.id WHERE b.k = ANY($1)",
        );
        read(
            "SELECT k AS key FROM a WHERE k = $1 ORDER BY 1",
            "SELECT k AS key FROM a WHERE k = ANY($1) ORDER BY 1",
        );
        read("SELECT k + 1 AS k FROM a WHERE k = $1", "SELECT k, k + 1 AS k FROM a WHERE k = ANY($1)");
        read("SELECT DISTINCT k, x FROM a WHERE k = $1", "SELECT DISTINCT k, x FROM a WHERE k = ANY($1)");
        read("SELECT k + 1 FROM a WHERE k = $1", "SELECT k, k + 1 FROM a WHERE k = ANY($1)");
        read(
            "SELECT b.x FROM a JOIN b ON b.a_id = a.id WHERE a.kind = 5 AND b.k = $1 ORDER BY b.x",
            "SELECT b.k, b.x FROM a JOIN b ON b.a_id = a.id WHERE a.kind = 5 AND b.k = ANY($1) ORDER BY b.x",
        );
    }

    #[test]
    fn aggregates_are_grouped_by_the_key() {
        read(
            "SELECT count(*) FROM c WHERE post_id = $1",
            "SELECT post_id, count(*) FROM c WHERE post_id = ANY($1) GROUP BY post_id",
        );
        read(
            "SELECT s, sum(x) FROM c WHERE t > $1 AND p = $2 GROUP BY s ORDER BY s",
            "SELECT p, s, sum(x) FROM c WHERE t > $1 AND p = ANY($2) GROUP BY p, s ORDER BY s",
        );
        read(
            "SELECT max(x) FROM c WHERE p = $1 HAVING count(*) > $2",
            "SELECT p, max(x) FROM c WHERE p = ANY($1) GROUP BY p HAVING count(*) > $2",
        );
    }

    #[test]
    fn parameters_are_counted_anew() {
        check(
            FindingKind::NPlusOne,
            "SELECT $1 AS one FROM a WHERE k = $2 LIMIT $3 FOR UPDATE",
            2,
            "SELECT k, $1 AS one FROM a WHERE k = ANY($2) FOR UPDATE",
        );
        check(
            FindingKind::NPlusOne,
            "SELECT public.\"User\".id FROM public.\"User\" WHERE (public.\"User\".id = $1 AND $2 = $3) LIMIT $4 OFFSET $5",
            1,
            "SELECT public.\"User\".id FROM public.\"User\" WHERE (public.\"User\".id = ANY($1) AND $2 = $3)",
        );
    }

    #[test]
    fn writes_are_joined() {
        let write = FindingKind::NPlusOneWrite;
        check(write, "DELETE FROM a WHERE id = $1", 1, "DELETE FROM a WHERE id = ANY($1)");
        check(write, "UPDATE a SET x = $1 WHERE id = $2", 2, "UPDATE a SET x = $1 WHERE id = ANY($2)");
        check(
            write,
            "INSERT INTO a (x, y) VALUES ($1, lower($2)) ON CONFLICT (x) DO UPDATE SET y = $3",
            1,
            "INSERT INTO a (x, y) VALUES ($1, lower($2)), ($4, lower($5)) ON CONFLICT (x) DO UPDATE SET y = $3",
        );
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        for text in [
            "SELECT a FROM t WHERE a = $1 OR b = $2",
            "SELECT a FROM t WHERE NOT (a = $1)",
            "SELECT a FROM t WHERE x IN (SELECT y FROM u WHERE b = $1)",
            "SELECT a FROM t WHERE a = $1 UNION SELECT a FROM u",
            "WITH x AS (SELECT 1) SELECT a FROM t WHERE a = $1",
            "SELECT a FROM t WHERE lower(a) = $1",
            "SELECT a FROM t WHERE a + b = $1",
            "SELECT DISTINCT ON (a) a FROM t WHERE b = $1",
            "SELECT (a = $1), b FROM t",
            "SELECT count(*) FILTER (WHERE a = $1) FROM t",
            "SELECT t.a FROM t LEFT JOIN u ON u.t_id = t.id AND u.k = $1 WHERE t.b = $2",
            "SELECT a, row_number() OVER (ORDER BY a) FROM t WHERE b = $1",
            "SELECT a FROM t WHERE b = $1 ORDER BY 1",
            "SELECT a, sum(x) FROM t WHERE b = $1 GROUP BY $2",
            "SELECT a % $2, sum(x) FROM t WHERE b = $1 GROUP BY a % $3",
            "SELECT DISTINCT a % $2 FROM t WHERE b = $1 ORDER BY a % $3",
            "SELECT a IS DISTINCT FROM c FROM t WHERE b = $1",
            "SELECT a FROM t WHERE x IN (WITH w AS (SELECT 1) SELECT y FROM u WHERE b = $1)",
        ] {
            check(FindingKind::NPlusOne, text, 1, "-");
        }
        check(FindingKind::NPlusOneWrite, "INSERT INTO a DEFAULT VALUES", 1, "-");
        check(FindingKind::Duplicate, "SELECT a FROM t WHERE a = $1", 1, "-");
    }

    #[test]
    fn hostile_texts_do_not_panic() {
        for text in
            ["", "SELECT", "SELECT $", "SELECT $99999", "SELECT 'a", "SELECT \"", "INSERT VALUES (", "é = $1"]
        {
            let mut shape = known("SELECT 1");
            let inner = std::sync::Arc::make_mut(&mut shape.shape);
            inner.text = text.into();
            for kind in [FindingKind::NPlusOne, FindingKind::NPlusOneWrite] {
                assert_eq!(rewrite(kind, &shape, Some(1)), None, "{text}");
            }
        }
    }
}
