//! What the body of a function in SQL or PL/pgSQL may write, told from its words alone.
//!
//! Triggers that note a change elsewhere or set `updated_at` are everywhere; without a look into them each write of
//! such a table would be one to everything. Nothing is parsed: every word is taken for everything it could be. A name
//! before a parenthesis is a function, each name a view, a type and a row's function as well; the words behind
//! `INSERT INTO`, `UPDATE`, `DELETE FROM` and `MERGE INTO` are tables written. Text that is executed, and any verb
//! beyond these, makes the body unknown. So the result is a superset of what the body can do.
//!
//! Read next: `body/words.rs`, the lexer.

mod words;

use std::collections::BTreeSet;

use pgtally_fingerprint::{Access, Effect, Function, Table};

use self::words::{Word, Words};

/// Bytes of a longer body are not looked at.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Verbs of SQL and PL/pgSQL that do more than can be told from words.
const UNKNOWN: [&str; 18] = [
    "alter", "call", "cluster", "commit", "copy", "create", "discard", "drop", "execute", "grant", "import",
    "load", "prepare", "reassign", "refresh", "revoke", "rollback", "truncate",
];

/// Words behind a `FOR UPDATE` that locks.
const AFTER_LOCKING: [&str; 8] = ["fetch", "for", "limit", "loop", "nowait", "of", "offset", "skip"];

/// Words by which text changes definitions or rights.
const DEFINES: [&str; 7] = ["alter", "create", "drop", "grant", "import", "reassign", "revoke"];

/// Words before a parenthesis that call nothing.
const NO_FUNCTIONS: [&str; 38] = [
    "all",
    "and",
    "any",
    "array",
    "as",
    "by",
    "case",
    "conflict",
    "distinct",
    "else",
    "elsif",
    "exists",
    "filter",
    "from",
    "group",
    "having",
    "if",
    "in",
    "is",
    "like",
    "limit",
    "not",
    "on",
    "or",
    "over",
    "partition",
    "return",
    "returning",
    "row",
    "select",
    "set",
    "some",
    "then",
    "using",
    "values",
    "when",
    "where",
    "while",
];

/// Everything the body of a function may do; `None` where that cannot be told. Only `sql` and `plpgsql` are known.
#[must_use]
pub fn body_access(language: &str, body: &str) -> Option<Access> {
    let is_known = matches!(language, "plpgsql" | "sql");
    // `BEGIN ATOMIC` bodies are kept in another form, and their text is empty.
    if !is_known || body.trim().is_empty() || body.len() > BODY_BYTES_MAX {
        return None;
    }
    let words: Vec<Word<'_>> = Words::of(body).collect::<Option<_>>()?;
    Reader { words: &words, is_sql: language == "sql", ..Reader::default() }.read()
}

/// Whether text that is executed may change definitions: it has a word for it, be it in a literal or a comment.
#[must_use]
pub fn may_define(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.into_iter().any(|word| DEFINES.iter().any(|define| define.eq_ignore_ascii_case(word)))
}

#[derive(Default)]
struct Reader<'w, 'b> {
    words: &'w [Word<'b>],
    is_sql: bool,
    has_merge: bool,
    replaces: bool,
    changes_session: bool,
    writes: BTreeSet<Table>,
    names: BTreeSet<String>,
    functions: BTreeSet<Function>,
    operators: BTreeSet<Function>,
}

impl Reader<'_, '_> {
    fn read(mut self) -> Option<Access> {
        self.has_merge = self.words.iter().any(|word| word.is("merge"));
        for at in 0..self.words.len() {
            self.word(at)?;
        }
        let unqualified = |name: &String| Function { schema: None, name: name.clone() };
        let effect = match (self.changes_session, self.writes.is_empty()) {
            (true, _) => Effect::Session,
            (false, true) => Effect::Nothing,
            (false, false) => Effect::Rows,
        };
        Some(Access {
            only_inserts: !self.writes.is_empty() && !self.replaces,
            reads: self.names.iter().map(|name| Table { schema: None, name: name.clone() }).collect(),
            writes: self.writes.into_iter().collect(),
            functions: self.functions.into_iter().collect(),
            operators: self.operators.into_iter().collect(),
            types: self.names.iter().map(unqualified).collect(),
            fields: self.names.into_iter().collect(),
            ..Access::of(effect)
        })
    }

    fn at(&self, at: usize) -> Option<&Word<'_>> {
        self.words.get(at)
    }

    fn is(&self, at: usize, keyword: &str) -> bool {
        self.at(at).is_some_and(|word| word.is(keyword))
    }

    fn before(&self, at: usize, keyword: &str) -> bool {
        at.checked_sub(1).is_some_and(|before| self.is(before, keyword))
    }

    fn word(&mut self, at: usize) -> Option<()> {
        match self.at(at)? {
            Word::Operator(name) => {
                let name = (*name).to_owned();
                self.operators.insert(Function { schema: None, name });
            }
            Word::Name { text, is_quoted } => {
                let (text, is_quoted) = (text.to_string(), *is_quoted);
                if !is_quoted {
                    self.keyword(at, &text)?;
                }
                if self.is(at + 1, "(") && (is_quoted || !self.is_no_function(at, &text)) {
                    self.functions.insert(Function { schema: self.schema_before(at), name: text.clone() });
                }
                self.names.insert(text);
            }
            Word::Literal | Word::Sign(_) => {}
        }
        Some(())
    }

    /// `None` for a verb whose effect is not known.
    fn keyword(&mut self, at: usize, text: &str) -> Option<()> {
        match text {
            // `ON CONFLICT DO NOTHING` or `… UPDATE`; else it is an anonymous block.
            "do" if !self.is(at + 1, "nothing") && !self.is(at + 1, "update") => return None,
            "insert" if self.is(at + 1, "into") => self.written(at + 2)?,
            "merge" if self.is(at + 1, "into") => {
                self.replaces = true;
                self.written(at + 2)?;
            }
            "delete" if self.is(at + 1, "from") => {
                self.replaces = true;
                self.written(at + 2)?;
            }
            // `FOR UPDATE` and `FOR NO KEY UPDATE` lock; `DO UPDATE SET` and `THEN UPDATE SET` belong to an INSERT or
            // a MERGE.
            "update" if self.before(at, "key") || (self.before(at, "for") && self.is_locking(at)) => {}
            "update" => {
                self.replaces = true;
                if !self.is(at + 1, "set") {
                    self.written(at + 1)?;
                }
            }
            "delete" | "insert" | "merge" if !self.has_merge => return None,
            "into" if self.is_sql && !self.before(at, "insert") && !self.before(at, "merge") => return None,
            "reset" | "set" if self.begins_a_statement(at) => self.changes_session = true,
            _ if UNKNOWN.binary_search(&text).is_ok() => return None,
            _ => {}
        }
        Some(())
    }

    /// Whether the `FOR UPDATE` that ends at `at` locks: `OPEN c FOR UPDATE x SET …` writes.
    fn is_locking(&self, at: usize) -> bool {
        let is_name = self.at(at + 1).is_some_and(|word| word.name().is_some());
        !is_name || (AFTER_LOCKING.iter().any(|word| self.is(at + 1, word)) && !self.is(at + 2, "set"))
    }

    fn begins_a_statement(&self, at: usize) -> bool {
        at == 0 || [";", "begin", "else", "loop", "then"].iter().any(|word| self.before(at, word))
    }

    /// The table whose name begins at `at`.
    fn written(&mut self, at: usize) -> Option<()> {
        let at = if self.is(at, "only") { at + 1 } else { at };
        let name = self.at(at)?.name()?.to_owned();
        let table = if self.is(at + 1, ".") {
            Table { schema: Some(name), name: self.at(at + 2)?.name()?.to_owned() }
        } else {
            Table { schema: None, name }
        };
        self.writes.insert(table);
        Some(())
    }

    fn is_no_function(&self, at: usize, text: &str) -> bool {
        let names_a_table = self.before(at, "into") || self.is_qualified_table(at);
        NO_FUNCTIONS.binary_search(&text).is_ok() || names_a_table
    }

    /// The last part of `INTO schema.table (`.
    fn is_qualified_table(&self, at: usize) -> bool {
        self.before(at, ".") && at.checked_sub(3).is_some_and(|into| self.is(into, "into"))
    }

    fn schema_before(&self, at: usize) -> Option<String> {
        let schema = at.checked_sub(2).filter(|_| self.before(at, "."))?;
        self.at(schema)?.name().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables written and functions called; `unknown` where that cannot be told.
    fn told(language: &str, body: &str) -> String {
        let Some(access) = body_access(language, body) else { return "unknown".into() };
        let table = |it: &Table| match &it.schema {
            Some(schema) => format!("{schema}.{}", it.name),
            None => it.name.clone(),
        };
        let writes: Vec<_> = access.writes.iter().map(table).collect();
        let functions: Vec<_> = access.functions.iter().map(|it| it.name.clone()).collect();
        let session = if access.effect == Effect::Session { " session" } else { "" };
        let inserts = if access.only_inserts { " inserts" } else { "" };
        format!("{}|{}{session}{inserts}", writes.join(","), functions.join(","))
    }

    #[track_caller]
    fn check(body: &str, expected: &str) {
        assert_eq!(told("plpgsql", body), expected, "{body}");
    }

    #[test]
    fn triggers_that_write_nothing_themselves() {
        check("BEGIN NEW.updated_at := now(); RETURN NEW; END", "|now");
        check("BEGIN IF (TG_OP = 'DELETE') THEN RETURN OLD; END IF; RETURN NEW; END", "|");
        check("BEGIN -- EXECUTE x\n /* DROP /* y */ */ RAISE NOTICE 'DROP %', NEW.id; RETURN NULL; END", "|");
        check("BEGIN PERFORM pg_notify('x', NEW.id::text); RETURN NULL; END", "|pg_notify");
        check("BEGIN PERFORM 1 FROM x WHERE id = NEW.id FOR NO KEY UPDATE; RETURN NEW; END", "|");
    }

    #[test]
    fn tables_written_are_named() {
        check("BEGIN INSERT INTO audit (a, b) VALUES (NEW.a, f(NEW.b)); RETURN NEW; END", "audit|f inserts");
        check("BEGIN INSERT INTO log.audit(a) SELECT g(1); RETURN NEW; END", "log.audit|g inserts");
        check(
            "BEGIN UPDATE ONLY totals SET n = n + 1; DELETE FROM \"Odd\" WHERE a; RETURN NULL; END",
            "Odd,totals|",
        );
        check("BEGIN INSERT INTO x VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2; RETURN NULL; END", "x|");
        check(
            "BEGIN MERGE INTO x USING y ON true WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1); END",
            "x|",
        );
        check("BEGIN OPEN c FOR UPDATE x SET a = 1 RETURNING a; END", "x|");
        check("BEGIN FOR r IN SELECT a FROM x FOR UPDATE LOOP NULL; END LOOP; END", "|");
        check("BEGIN PERFORM 1 FROM x FOR UPDATE SKIP LOCKED; END", "|");
        check("BEGIN WITH g AS (DELETE FROM x RETURNING a) INSERT INTO y SELECT a FROM g; END", "x,y|");
        assert_eq!(told("sql", "UPDATE x SET a = $1; SELECT h($2)"), "x|h");
    }

    #[test]
    fn session_settings_are_seen() {
        check("BEGIN SET ROLE x; RETURN NEW; END", "| session");
        check("BEGIN PERFORM set_config('a', 'b', false); END", "|set_config");
    }

    #[test]
    fn text_that_defines_has_a_word_for_it() {
        for text in ["EXECUTE 'CREATE TABLE x ()'", "execute format('drop%I', x)", "x;GRANT"] {
            assert!(may_define(text), "{text}");
        }
        for text in ["EXECUTE 'UPDATE x SET created = 1'", "recreate()", "SELECT granted FROM drops"] {
            assert!(!may_define(text), "{text}");
        }
    }

    #[test]
    fn whatever_cannot_be_told_is_unknown() {
        for body in [
            "BEGIN EXECUTE 'DELETE FROM x'; END",
            "BEGIN CREATE TEMP TABLE y (a int); END",
            "BEGIN TRUNCATE x; END",
            "BEGIN CALL p(); END",
            "BEGIN DELETE x; END",
            "BEGIN INSERT INTO $1; END",
            "BEGIN RETURN 'unfinished",
            "BEGIN RETURN $x$ unfinished $y$; END",
            "BEGIN /* unfinished",
            "DO $$ x $$",
            "",
        ] {
            check(body, "unknown");
        }
        assert_eq!(told("sql", "SELECT 1 INTO x"), "unknown");
        assert_eq!(told("plpython3u", "pass"), "unknown");
        check(&"x ".repeat(BODY_BYTES_MAX), "unknown");
    }

    #[test]
    fn lists_are_sorted_for_binary_search() {
        assert!(UNKNOWN.is_sorted() && NO_FUNCTIONS.is_sorted());
    }
}
