//! Which rows a SELECT is about: its FROM and WHERE, apart from what it tells of them.
//!
//! `SELECT count(*)` and the SELECT of the page after it have one source, whatever their columns, order and limits.
//! Compared is libpg_query's fingerprint of `SELECT 1 FROM … WHERE …`, which looks through aliases and numbering.

use pg_query::protobuf::{AConst, Integer, Node, ResTarget, SelectStmt, SetOperation, a_const};
use pg_query::{DeparseOptions, FingerprintOptions, NodeEnum};
use pgtally_fingerprint::Source;

/// The rows a plain SELECT is about. A count of a subquery's rows is about the subquery's.
pub(crate) fn source(select: &SelectStmt) -> Option<Source> {
    let select = innermost(select);
    let is_plain = select.op == SetOperation::SetopNone as i32 || select.op == SetOperation::Undefined as i32;
    if !is_plain || select.from_clause.is_empty() || select.with_clause.is_some() {
        return None;
    }
    let bare = SelectStmt {
        target_list: vec![one()],
        from_clause: select.from_clause.clone(),
        where_clause: select.where_clause.clone(),
        limit_option: select.limit_option,
        op: select.op,
        ..SelectStmt::default()
    };
    let text = NodeEnum::SelectStmt(Box::new(bare)).deparse(DeparseOptions::default()).ok()?;
    let hash = pg_query::fingerprint(&text, 0, FingerprintOptions::DEFAULT).ok()?.value;
    Some(Source { hash, parameters: parameters(&text) })
}

/// What a count counts: the rows of a subquery, which Doctrine wraps twice.
fn innermost(select: &SelectStmt) -> &SelectStmt {
    (0..SUBQUERIES_MAX).fold(select, |select, _| only_subquery(select).unwrap_or(select))
}

/// Subqueries around a counted one that are looked through: nobody writes more.
const SUBQUERIES_MAX: usize = 3;

/// `SELECT … FROM (SELECT …) AS x` and nothing more.
fn only_subquery(select: &SelectStmt) -> Option<&SelectStmt> {
    let [Node { node: Some(NodeEnum::RangeSubselect(range)) }] = select.from_clause.as_slice() else {
        return None;
    };
    let is_bare = select.where_clause.is_none() && !range.lateral;
    match range.subquery.as_deref().and_then(|query| query.node.as_ref()) {
        Some(NodeEnum::SelectStmt(inner)) if is_bare => Some(inner),
        _ => None,
    }
}

/// Different parameters in the text, which has no literals.
fn parameters(text: &str) -> u16 {
    let mut numbers: Vec<&str> = text
        .split('$')
        .skip(1)
        .map(|tail| tail.get(..tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len()))
        .filter_map(|digits| digits.filter(|digits| !digits.is_empty()))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    u16::try_from(numbers.len()).unwrap_or(u16::MAX)
}

fn one() -> Node {
    let value = AConst { val: Some(a_const::Val::Ival(Integer { ival: 1 })), ..AConst::default() };
    let value = Node { node: Some(NodeEnum::AConst(value)) };
    let target = ResTarget { val: Some(Box::new(value)), ..ResTarget::default() };
    Node { node: Some(NodeEnum::ResTarget(Box::new(target))) }
}
