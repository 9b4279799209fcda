//! Walks one statement's tree once and writes down what the rules need.
//!
//! The walk goes through queries level by level (`Scopes` knows the aliases of each) and through expressions by
//! `children`. Its depth is bounded by [`DEPTH_MAX`]; a deeper tree is "unknown", as facts of half a tree would lie.
//!
//! Read next: `compare.rs` (which columns are compared with parameters).

use std::collections::BTreeSet;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CommonTableExpr, DeleteStmt, InsertStmt, LockWaitPolicy, LockingClause, MergeStmt, Node, ParseResult,
    RangeVar, ReturningClause, SelectStmt, UpdateStmt, WithClause,
};
use pgtally_fingerprint::{Function, ShapeFacts, Table};

use crate::children::children;
use crate::compare::Filter;
use crate::scope::Scopes;
use crate::{names, outputs};

/// Nested tree nodes followed. prost already refuses messages deeper than 100.
const DEPTH_MAX: u32 = 200;

/// Facts of the only statement in `tree`; unknown when there are none or several.
pub(crate) fn collect(tree: &ParseResult) -> ShapeFacts {
    let [statement] = tree.stmts.as_slice() else { return ShapeFacts::default() };
    let Some(node) = statement.stmt.as_deref() else { return ShapeFacts::default() };
    let mut collector = Collector::default();
    collector.outermost(node);
    collector.finish()
}

#[derive(Default)]
pub(crate) struct Collector<'t> {
    pub(crate) facts: ShapeFacts,
    pub(crate) scopes: Scopes,
    read: BTreeSet<Table>,
    written: BTreeSet<Table>,
    functions: BTreeSet<Function>,
    /// Names of CTEs in force; truncated when their statement ends.
    ctes: Vec<&'t str>,
    depth: u32,
    is_too_deep: bool,
}

impl<'t> Collector<'t> {
    fn finish(self) -> ShapeFacts {
        if self.is_too_deep {
            return ShapeFacts::default();
        }
        let mut facts = self.facts;
        facts.is_parsed = true;
        let mut tables = self.read.iter().chain(&self.written).peekable();
        facts.is_catalog_only = tables.peek().is_some() && tables.all(names::is_catalog);
        facts.is_volatile = self.functions.iter().any(names::is_volatile);
        facts.tables_read = self.read.into_iter().collect();
        facts.tables_written = self.written.into_iter().collect();
        facts.functions = self.functions.into_iter().collect();
        facts
    }

    /// The statement itself, or the one inside DECLARE, PREPARE, EXPLAIN or COPY (query): its select list is the
    /// one whose rows the client sees.
    fn outermost(&mut self, node: &'t Node) {
        match &node.node {
            Some(NodeEnum::CopyStmt(it)) => {
                if let Some(table) = &it.relation {
                    if it.is_from { self.write(table) } else { self.read(table) }
                }
                self.nested_outermost(it.query.as_deref());
            }
            Some(NodeEnum::DeclareCursorStmt(it)) => self.nested_outermost(it.query.as_deref()),
            Some(NodeEnum::DeleteStmt(it)) => self.delete(it, true),
            Some(NodeEnum::ExplainStmt(it)) => self.nested_outermost(it.query.as_deref()),
            Some(NodeEnum::InsertStmt(it)) => self.insert(it, true),
            Some(NodeEnum::MergeStmt(it)) => self.merge(it, true),
            Some(NodeEnum::PrepareStmt(it)) => self.nested_outermost(it.query.as_deref()),
            Some(NodeEnum::SelectStmt(it)) => self.select(it, true),
            Some(NodeEnum::TruncateStmt(it)) => {
                for relation in &it.relations {
                    if let Some(NodeEnum::RangeVar(table)) = &relation.node {
                        self.write(table);
                    }
                }
            }
            Some(NodeEnum::UpdateStmt(it)) => self.update(it, true),
            _ => {}
        }
    }

    fn nested_outermost(&mut self, query: Option<&'t Node>) {
        if let Some(query) = query {
            self.descend(|walk| walk.outermost(query));
        }
    }

    /// Any node below the outermost statement.
    pub(crate) fn node(&mut self, node: &'t Node, filter: Filter) {
        self.descend(|walk| match &node.node {
            Some(NodeEnum::DeleteStmt(it)) => walk.delete(it, false),
            Some(NodeEnum::InsertStmt(it)) => walk.insert(it, false),
            Some(NodeEnum::MergeStmt(it)) => walk.merge(it, false),
            Some(NodeEnum::SelectStmt(it)) => walk.select(it, false),
            Some(NodeEnum::UpdateStmt(it)) => walk.update(it, false),
            Some(NodeEnum::SubLink(it)) => {
                walk.nodes(it.testexpr.as_deref(), filter);
                walk.nodes(it.subselect.as_deref(), Filter::No);
            }
            Some(inner) => walk.expression(inner, filter),
            None => {}
        });
    }

    pub(crate) fn nodes(&mut self, nodes: impl IntoIterator<Item = &'t Node>, filter: Filter) {
        nodes.into_iter().for_each(|node| self.node(node, filter));
    }

    fn expression(&mut self, node: &'t NodeEnum, filter: Filter) {
        match node {
            NodeEnum::AExpr(it) if filter == Filter::Yes => self.comparison(it),
            NodeEnum::FuncCall(it) => self.call(&it.funcname),
            _ => {}
        }
        self.nodes(children(node), filter);
    }

    fn descend(&mut self, walk: impl FnOnce(&mut Self)) {
        if self.depth >= DEPTH_MAX {
            self.is_too_deep = true;
            return;
        }
        self.depth += 1;
        walk(self);
        self.depth -= 1;
    }

    fn select(&mut self, select: &'t SelectStmt, is_outermost: bool) {
        let ctes = self.with(select.with_clause.as_ref());
        self.scopes.enter();
        self.facts.has_from |= !select.from_clause.is_empty();
        self.from(&select.from_clause);
        if is_outermost {
            outputs::describe_select(self, select);
        }
        for arm in [select.larg.as_deref(), select.rarg.as_deref()].into_iter().flatten() {
            self.descend(|walk| walk.select(arm, false));
        }
        self.nodes(&select.distinct_clause, Filter::No);
        self.nodes(&select.target_list, Filter::No);
        self.nodes(select.where_clause.as_deref(), Filter::Yes);
        self.nodes(&select.group_clause, Filter::No);
        self.nodes(select.having_clause.as_deref(), Filter::Yes);
        self.nodes(&select.window_clause, Filter::No);
        self.nodes(&select.values_lists, Filter::No);
        self.nodes(&select.sort_clause, Filter::No);
        self.nodes(select.limit_count.as_deref(), Filter::No);
        self.nodes(select.limit_offset.as_deref(), Filter::No);
        self.locking(&select.locking_clause);
        self.scopes.leave();
        self.ctes.truncate(ctes);
    }

    fn insert(&mut self, insert: &'t InsertStmt, is_outermost: bool) {
        let ctes = self.with(insert.with_clause.as_ref());
        if let Some(table) = &insert.relation {
            self.write(table);
        }
        if let Some(source) = insert.select_stmt.as_deref() {
            if is_outermost {
                self.facts.inserted = outputs::inserted(insert, source);
            }
            self.facts.is_multi_row_insert |= is_outermost && outputs::is_multi_row(source);
            self.node(source, Filter::No);
        }
        self.scopes.enter();
        self.add_target(insert.relation.as_ref());
        if let Some(conflict) = insert.on_conflict_clause.as_deref() {
            self.nodes(&conflict.target_list, Filter::No);
            self.nodes(conflict.where_clause.as_deref(), Filter::No);
        }
        self.returning(insert.returning_clause.as_ref(), is_outermost);
        self.scopes.leave();
        self.ctes.truncate(ctes);
    }

    fn update(&mut self, update: &'t UpdateStmt, is_outermost: bool) {
        let ctes = self.with(update.with_clause.as_ref());
        self.scopes.enter();
        self.add_target(update.relation.as_ref());
        self.from(&update.from_clause);
        self.nodes(&update.target_list, Filter::No);
        self.key_filter(update.where_clause.as_deref(), is_outermost);
        self.returning(update.returning_clause.as_ref(), is_outermost);
        self.scopes.leave();
        self.ctes.truncate(ctes);
    }

    fn delete(&mut self, delete: &'t DeleteStmt, is_outermost: bool) {
        let ctes = self.with(delete.with_clause.as_ref());
        self.scopes.enter();
        self.add_target(delete.relation.as_ref());
        self.from(&delete.using_clause);
        self.key_filter(delete.where_clause.as_deref(), is_outermost);
        self.returning(delete.returning_clause.as_ref(), is_outermost);
        self.scopes.leave();
        self.ctes.truncate(ctes);
    }

    fn merge(&mut self, merge: &'t MergeStmt, is_outermost: bool) {
        let ctes = self.with(merge.with_clause.as_ref());
        self.scopes.enter();
        self.add_target(merge.relation.as_ref());
        self.from(merge.source_relation.as_deref());
        self.nodes(merge.join_condition.as_deref(), Filter::Yes);
        for clause in &merge.merge_when_clauses {
            if let Some(NodeEnum::MergeWhenClause(it)) = &clause.node {
                self.nodes(it.condition.as_deref(), Filter::No);
                self.nodes(&it.target_list, Filter::No);
                self.nodes(&it.values, Filter::No);
            }
        }
        self.returning(merge.returning_clause.as_ref(), is_outermost);
        self.scopes.leave();
        self.ctes.truncate(ctes);
    }

    /// Walks the CTEs and brings their names into force; returns how many names were in force before.
    fn with(&mut self, with: Option<&'t WithClause>) -> usize {
        let before = self.ctes.len();
        let Some(with) = with else { return before };
        let ctes: Vec<&CommonTableExpr> = with.ctes.iter().filter_map(as_cte).collect();
        if with.recursive {
            self.ctes.extend(ctes.iter().map(|cte| cte.ctename.as_str()));
        }
        for cte in ctes {
            // Without RECURSIVE, `WITH f AS (SELECT * FROM f)` reads the table `f`.
            self.nodes(cte.ctequery.as_deref(), Filter::No);
            self.ctes.push(&cte.ctename);
        }
        before
    }

    fn from(&mut self, items: impl IntoIterator<Item = &'t Node>) {
        items.into_iter().for_each(|item| self.descend(|walk| walk.range_item(item)));
    }

    fn range_item(&mut self, item: &'t Node) {
        match &item.node {
            Some(NodeEnum::JoinExpr(it)) => {
                self.from(it.larg.as_deref());
                self.from(it.rarg.as_deref());
                self.nodes(it.quals.as_deref(), Filter::Yes);
            }
            Some(NodeEnum::RangeFunction(it)) => {
                self.nodes(&it.functions, Filter::No);
                self.scopes.add(it.alias.as_ref().map_or("", |alias| &alias.aliasname), None);
            }
            Some(NodeEnum::RangeSubselect(it)) => {
                self.nodes(it.subquery.as_deref(), Filter::No);
                self.scopes.add(it.alias.as_ref().map_or("", |alias| &alias.aliasname), None);
            }
            Some(NodeEnum::RangeTableSample(it)) => {
                // Its rows are picked at random: two reads need not be equal.
                self.functions.insert(Function { schema: None, name: "random".into() });
                self.from(it.relation.as_deref());
            }
            Some(NodeEnum::RangeVar(it)) => self.range(it),
            Some(NodeEnum::JsonTable(it)) => {
                self.nodes(
                    it.context_item.as_deref().and_then(|value| value.raw_expr.as_deref()),
                    Filter::No,
                );
                self.scopes.add(it.alias.as_ref().map_or("", |alias| &alias.aliasname), None);
            }
            Some(NodeEnum::RangeTableFunc(it)) => {
                self.nodes(it.docexpr.as_deref(), Filter::No);
                self.scopes.add(it.alias.as_ref().map_or("", |alias| &alias.aliasname), None);
            }
            _ => {}
        }
    }

    /// A relation in FROM: a table, unless a CTE has that name.
    fn range(&mut self, range: &'t RangeVar) {
        let alias = range.alias.as_ref().map_or(range.relname.as_str(), |alias| &alias.aliasname);
        if range.schemaname.is_empty() && self.ctes.contains(&range.relname.as_str()) {
            self.scopes.add(alias, None);
        } else {
            self.read(range);
            self.scopes.add(alias, Some(&range.relname));
        }
    }

    fn add_target(&mut self, relation: Option<&'t RangeVar>) {
        if let Some(relation) = relation {
            self.write(relation);
            let alias = relation.alias.as_ref().map_or(relation.relname.as_str(), |alias| &alias.aliasname);
            self.scopes.add(alias, Some(&relation.relname));
        }
    }

    fn key_filter(&mut self, condition: Option<&'t Node>, is_outermost: bool) {
        let before = self.facts.compared.len();
        self.nodes(condition, Filter::Yes);
        self.facts.has_key |= is_outermost && self.facts.compared.len() > before;
    }

    fn returning(&mut self, returning: Option<&'t ReturningClause>, is_outermost: bool) {
        let Some(returning) = returning else { return };
        if is_outermost {
            outputs::describe_list(self, &returning.exprs);
        }
        self.nodes(&returning.exprs, Filter::No);
    }

    fn locking(&mut self, clauses: &[Node]) {
        for clause in clauses {
            if let Some(NodeEnum::LockingClause(LockingClause { wait_policy, .. })) = &clause.node {
                self.facts.has_locking = true;
                let waits = *wait_policy == LockWaitPolicy::LockWaitBlock as i32;
                self.facts.has_skip_locked |= !waits;
            }
        }
    }

    fn call(&mut self, path: &[Node]) {
        let mut parts = path.iter().rev().filter_map(as_string);
        if let Some(name) = parts.next() {
            let schema = parts.next().map(str::to_owned);
            self.functions.insert(Function { schema, name: name.to_ascii_lowercase() });
        }
    }

    fn read(&mut self, range: &RangeVar) {
        self.read.insert(as_table(range));
    }

    fn write(&mut self, range: &RangeVar) {
        self.facts.has_from = true;
        self.written.insert(as_table(range));
    }
}

/// The text of a String node.
pub(crate) fn as_string(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(it)) => Some(&it.sval),
        _ => None,
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
