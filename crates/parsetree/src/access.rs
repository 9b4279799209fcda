//! Walks one statement's tree for the cache: everything it reads, calls and writes, or "unknown".
//!
//! The other walk (`collector.rs`) may overlook things; this one may not. Every struct is taken apart field by field,
//! without `..`, so that a new version of the grammar does not compile until somebody has decided what its new
//! fields mean, and a kind of node that has no arm makes the whole statement unknown.
//!
//! Read next: `access/expressions.rs`; `crates/cache/src/catalog.rs` for what the names mean.

mod expressions;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CommonTableExpr, CopyStmt, DeleteStmt, InferClause, InsertStmt, MergeStmt, MergeWhenClause, Node,
    OnConflictClause, ParseResult, RangeVar, ReturningClause, SelectStmt, UpdateStmt, WithClause,
};
use pgtally_fingerprint::{Access, Effect, Function, Refusal, Table};

use crate::collector::as_string;

/// Nested tree nodes followed. prost already refuses messages deeper than 100.
const DEPTH_MAX: u32 = 200;

/// First words of statements that change neither rows nor definitions nor settings. What `FETCH` and `MOVE` run was
/// told when their cursor was declared, or their portal bound.
const NO_EFFECT: [&str; 12] = [
    "analyze",
    "checkpoint",
    "close",
    "deallocate",
    "fetch",
    "listen",
    "lock",
    "move",
    "notify",
    "show",
    "unlisten",
    "vacuum",
];

/// First words of statements with a tree that is walked.
const WALKED: [&str; 12] = [
    "copy", "declare", "delete", "explain", "insert", "merge", "prepare", "select", "table", "update",
    "values", "with",
];

/// What a statement's first word alone says of it; `None` when its tree has to be walked.
///
/// Trees of definitions are not walked: every one of them voids everything, and the wrapper's own walk over them
/// indexes lists that hostile texts can leave empty.
pub(crate) fn by_first_word(text: &str) -> Option<Access> {
    let start = text.trim_start_matches(|c: char| c == '(' || c.is_whitespace());
    let mut words = start.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_ascii_lowercase();
    let second = words.next().unwrap_or_default();
    let is_two_phase = match first.as_str() {
        "commit" | "rollback" => second.eq_ignore_ascii_case("prepared"),
        "prepare" => second.eq_ignore_ascii_case("transaction"),
        _ => false,
    };
    match first.as_str() {
        // What was prepared may have been prepared by anybody: who knows better has looked before asking here.
        _ if is_two_phase => Some(Access::of(Effect::Everything)),
        word if WALKED.binary_search(&word).is_ok() => None,
        word if NO_EFFECT.binary_search(&word).is_ok() => Some(Access::of(Effect::Nothing)),
        "" => Some(Access::default()),
        "abort" | "begin" | "commit" | "end" | "release" | "rollback" | "savepoint" | "start" => {
            Some(Access::of(Effect::Transaction))
        }
        "call" | "do" => Some(Access::of(Effect::Everything)),
        "discard" | "reset" | "set" => Some(Access::of(Effect::Session)),
        "execute" => Some(Access::of(Effect::Execute)),
        _ => Some(Access::of(Effect::Catalog)),
    }
}

/// Access of the only statement in `tree`; unknown when there are none or several.
pub(crate) fn collect(tree: &ParseResult) -> Access {
    let [statement] = tree.stmts.as_slice() else { return Access::default() };
    let Some(node) = statement.stmt.as_deref() else { return Access::default() };
    let mut walk = Walk::default();
    let effect = walk.outermost(node);
    walk.finish(effect)
}

#[derive(Default)]
struct Walk<'t> {
    reads: BTreeSet<Table>,
    writes: BTreeSet<Table>,
    functions: BTreeSet<Function>,
    operators: BTreeSet<Function>,
    types: BTreeSet<Function>,
    fields: BTreeSet<String>,
    /// The first reason found.
    refusal: Option<Refusal>,
    is_unknown: bool,
    creates: bool,
    /// An UPDATE, DELETE, MERGE or ON CONFLICT DO UPDATE was seen.
    replaces: bool,
    /// Names of `WITH` queries in force; truncated when their statement ends.
    ctes: Vec<&'t str>,
    depth: u32,
}

impl<'t> Walk<'t> {
    fn finish(self, effect: Effect) -> Access {
        if self.is_unknown {
            return Access::default();
        }
        let effect = match effect {
            _ if self.creates => Effect::Catalog,
            Effect::Nothing if !self.writes.is_empty() => Effect::Rows,
            effect => effect,
        };
        Access {
            effect,
            refusal: self.refusal,
            only_inserts: !self.writes.is_empty() && !self.replaces,
            reads: self.reads.into_iter().collect(),
            writes: self.writes.into_iter().collect(),
            functions: self.functions.into_iter().collect(),
            operators: self.operators.into_iter().collect(),
            types: self.types.into_iter().collect(),
            fields: self.fields.into_iter().collect(),
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    /// The statement itself, or the one inside COPY, DECLARE, EXPLAIN or PREPARE.
    fn outermost(&mut self, node: &'t Node) -> Effect {
        match &node.node {
            Some(NodeEnum::SelectStmt(it)) => {
                self.select(it);
                return Effect::Nothing;
            }
            Some(NodeEnum::InsertStmt(_) | NodeEnum::UpdateStmt(_)) => self.node(node),
            Some(NodeEnum::DeleteStmt(_) | NodeEnum::MergeStmt(_)) => self.node(node),
            Some(NodeEnum::CopyStmt(it)) => self.copy(it),
            Some(NodeEnum::DeclareCursorStmt(it)) => self.nested(it.query.as_deref()),
            Some(NodeEnum::ExplainStmt(it)) => self.nested(it.query.as_deref()),
            Some(NodeEnum::PrepareStmt(it)) => {
                self.nested(it.query.as_deref());
                self.refuse(Refusal::NotSelect);
                return Effect::Prepare;
            }
            _ => self.is_unknown = true,
        }
        self.refuse(Refusal::NotSelect);
        Effect::Nothing
    }

    fn nested(&mut self, query: Option<&'t Node>) {
        match query {
            Some(query) => self.descend(|walk| {
                walk.outermost(query);
            }),
            None => self.is_unknown = true,
        }
        self.refuse(Refusal::NotSelect);
    }

    fn descend(&mut self, walk: impl FnOnce(&mut Self)) {
        if self.depth >= DEPTH_MAX {
            self.is_unknown = true;
            return;
        }
        self.depth += 1;
        walk(self);
        self.depth -= 1;
    }

    fn nodes(&mut self, nodes: impl IntoIterator<Item = &'t Node>) {
        nodes.into_iter().for_each(|node| self.node(node));
    }

    /// An optional child, as the fields of most nodes are.
    fn child(&mut self, node: &'t Option<Box<Node>>) {
        self.nodes(node.as_deref());
    }

    fn select(&mut self, select: &'t SelectStmt) {
        let SelectStmt {
            distinct_clause,
            into_clause,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            group_distinct: _,
            having_clause,
            window_clause,
            values_lists,
            sort_clause,
            limit_offset,
            limit_count,
            limit_option: _,
            locking_clause,
            with_clause,
            op: _,
            all: _,
            larg,
            rarg,
        } = select;
        let ctes = self.with(with_clause.as_ref());
        if into_clause.is_some() {
            self.creates = true;
            self.refuse(Refusal::Into);
        }
        if !locking_clause.is_empty() {
            self.refuse(Refusal::Locking);
        }
        for arm in [larg.as_deref(), rarg.as_deref()].into_iter().flatten() {
            self.descend(|walk| walk.select(arm));
        }
        // `SELECT DISTINCT` without ON is a list of one empty node.
        self.nodes(distinct_clause.iter().filter(|node| node.node.is_some()));
        for list in [target_list, from_clause, group_clause, window_clause, values_lists, sort_clause] {
            self.nodes(list);
        }
        for child in [where_clause, having_clause, limit_offset, limit_count] {
            self.child(child);
        }
        self.ctes.truncate(ctes);
    }

    fn insert(&mut self, insert: &'t InsertStmt) {
        let InsertStmt {
            relation,
            cols,
            select_stmt,
            on_conflict_clause,
            returning_clause,
            with_clause,
            r#override: _,
        } = insert;
        let ctes = self.with(with_clause.as_ref());
        self.write(relation.as_ref());
        self.nodes(cols);
        self.child(select_stmt);
        if let Some(clause) = on_conflict_clause.as_deref() {
            let OnConflictClause { action: _, infer, target_list, where_clause, location: _ } = clause;
            if let Some(InferClause { index_elems, where_clause, conname: _, location: _ }) = infer.as_deref()
            {
                self.nodes(index_elems);
                self.child(where_clause);
            }
            self.replaces |= !target_list.is_empty();
            self.nodes(target_list);
            self.child(where_clause);
        }
        self.returning(returning_clause.as_ref());
        self.ctes.truncate(ctes);
    }

    fn update(&mut self, update: &'t UpdateStmt) {
        let UpdateStmt { relation, target_list, where_clause, from_clause, returning_clause, with_clause } =
            update;
        self.replaces = true;
        let ctes = self.with(with_clause.as_ref());
        self.write(relation.as_ref());
        self.nodes(from_clause);
        self.nodes(target_list);
        self.child(where_clause);
        self.returning(returning_clause.as_ref());
        self.ctes.truncate(ctes);
    }

    fn delete(&mut self, delete: &'t DeleteStmt) {
        let DeleteStmt { relation, using_clause, where_clause, returning_clause, with_clause } = delete;
        self.replaces = true;
        let ctes = self.with(with_clause.as_ref());
        self.write(relation.as_ref());
        self.nodes(using_clause);
        self.child(where_clause);
        self.returning(returning_clause.as_ref());
        self.ctes.truncate(ctes);
    }

    fn merge(&mut self, merge: &'t MergeStmt) {
        let MergeStmt {
            relation,
            source_relation,
            join_condition,
            merge_when_clauses,
            returning_clause,
            with_clause,
        } = merge;
        self.replaces = true;
        let ctes = self.with(with_clause.as_ref());
        self.write(relation.as_ref());
        self.child(source_relation);
        self.child(join_condition);
        self.nodes(merge_when_clauses);
        self.returning(returning_clause.as_ref());
        self.ctes.truncate(ctes);
    }

    fn merge_when(&mut self, clause: &'t MergeWhenClause) {
        let MergeWhenClause { match_kind: _, command_type: _, r#override: _, condition, target_list, values } =
            clause;
        self.child(condition);
        self.nodes(target_list);
        self.nodes(values);
    }

    fn copy(&mut self, copy: &'t CopyStmt) {
        let CopyStmt {
            relation,
            query,
            attlist: _,
            is_from,
            is_program: _,
            filename: _,
            options: _,
            where_clause,
        } = copy;
        match (relation, query.as_deref()) {
            (Some(_), None) if *is_from => self.write(relation.as_ref()),
            (Some(table), None) => self.range(table),
            (None, Some(query)) => self.nested(Some(query)),
            _ => self.is_unknown = true,
        }
        self.child(where_clause);
    }

    fn returning(&mut self, returning: Option<&'t ReturningClause>) {
        if let Some(ReturningClause { options: _, exprs }) = returning {
            self.nodes(exprs);
        }
    }

    /// Walks the `WITH` queries and brings their names into force; returns how many were in force before.
    fn with(&mut self, with: Option<&'t WithClause>) -> usize {
        let before = self.ctes.len();
        let Some(WithClause { ctes, recursive, location: _ }) = with else { return before };
        let queries: Vec<&CommonTableExpr> = ctes.iter().filter_map(as_cte).collect();
        self.is_unknown |= queries.len() != ctes.len();
        if *recursive {
            self.ctes.extend(queries.iter().map(|query| query.ctename.as_str()));
        }
        for query in queries {
            // Without RECURSIVE, `WITH f AS (SELECT * FROM f)` reads the table `f`.
            self.child(&query.ctequery);
            self.ctes.push(&query.ctename);
        }
        before
    }

    /// A relation in FROM, unless a `WITH` query has that name.
    fn range(&mut self, range: &'t RangeVar) {
        let is_cte = range.schemaname.is_empty() && self.ctes.contains(&range.relname.as_str());
        if !is_cte {
            self.reads.insert(as_table(range));
        }
    }

    fn write(&mut self, relation: Option<&'t RangeVar>) {
        match relation {
            Some(table) => {
                self.writes.insert(as_table(table));
                self.refuse(Refusal::Writes);
            }
            None => self.is_unknown = true,
        }
    }
}

fn as_cte(node: &Node) -> Option<&CommonTableExpr> {
    match &node.node {
        Some(NodeEnum::CommonTableExpr(it)) => Some(it),
        _ => None,
    }
}

fn as_table(range: &RangeVar) -> Table {
    let schema = (!range.schemaname.is_empty()).then(|| range.schemaname.clone());
    Table { schema, name: range.relname.clone() }
}

/// The last two parts of a dotted name, as the name of a function, operator or type.
fn as_function(path: &[Node]) -> Option<Function> {
    let mut parts = path.iter().rev().map(as_string);
    let name = parts.next()??.to_owned();
    let schema = match parts.next() {
        Some(schema) => Some(schema?.to_owned()),
        None => None,
    };
    Some(Function { schema, name })
}
