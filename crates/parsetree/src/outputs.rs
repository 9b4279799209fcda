//! What the outermost select list (or RETURNING) gives: where its columns come from, whether it aggregates.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, InsertStmt, Node, SelectStmt, SetOperation};
use pgtally_fingerprint::{Compared, OutputColumn};

use crate::children::children;
use crate::collector::{Collector, as_string};
use crate::compare::parameter;
use crate::names;
use crate::source::source;

/// Nested expressions searched for an aggregate.
const AGGREGATE_DEPTH_MAX: u32 = 32;

/// Fills the facts about the outermost select. Its FROM clause is in the collector's scope already.
pub(crate) fn describe_select(collector: &mut Collector<'_>, select: &SelectStmt) {
    collector.facts.has_limit = select.limit_count.as_deref().is_some_and(|count| !is_null(count));
    let is_plain = select.op == SetOperation::SetopNone as i32 || select.op == SetOperation::Undefined as i32;
    if !is_plain {
        // The columns of a set operation come from several places at once.
        return;
    }
    collector.facts.has_aggregate = !select.group_clause.is_empty()
        || select.having_clause.is_some()
        || select.target_list.iter().any(|target| has_aggregate(target, 0));
    collector.facts.is_count = is_count(&select.target_list);
    collector.facts.source = source(select);
    describe_list(collector, &select.target_list);
}

/// Fills `outputs` and `has_star` from a select list.
pub(crate) fn describe_list(collector: &mut Collector<'_>, targets: &[Node]) {
    for target in targets {
        let Some(NodeEnum::ResTarget(target)) = &target.node else { continue };
        let column = match target.val.as_deref().and_then(|value| value.node.as_ref()) {
            Some(NodeEnum::ColumnRef(column)) => column,
            _ => {
                collector.facts.outputs.push(OutputColumn::default());
                continue;
            }
        };
        let Some((table, column)) = collector.resolve(column) else {
            collector.facts.has_star = true;
            return;
        };
        collector.facts.outputs.push(OutputColumn { table, column: Some(column) });
    }
}

/// Which columns the parameters of an INSERT's first VALUES row go to.
pub(crate) fn inserted(insert: &InsertStmt, source: &Node) -> Vec<Compared> {
    let table = insert.relation.as_ref().map(|relation| relation.relname.clone());
    let Some(NodeEnum::SelectStmt(select)) = &source.node else { return Vec::new() };
    let Some(Node { node: Some(NodeEnum::List(row)) }) = select.values_lists.first() else {
        return Vec::new();
    };
    let column = |target: &Node| match &target.node {
        Some(NodeEnum::ResTarget(target)) => Some(target.name.clone()),
        _ => None,
    };
    let pairs = insert.cols.iter().filter_map(column).zip(&row.items);
    let of_parameter =
        |(column, value)| Some(Compared { parameter: parameter(value)?, table: table.clone(), column });
    pairs.filter_map(of_parameter).collect()
}

/// Whether the source of an INSERT can give several rows. A normalized text shows one VALUES row for many.
pub(crate) fn is_multi_row(source: &Node) -> bool {
    let Some(NodeEnum::SelectStmt(select)) = &source.node else { return false };
    if !select.values_lists.is_empty() {
        return select.values_lists.len() > 1;
    }
    !select.from_clause.is_empty() || select.larg.is_some() || select.target_list.iter().any(is_set_returning)
}

fn is_set_returning(target: &Node) -> bool {
    let Some(NodeEnum::ResTarget(target)) = &target.node else { return false };
    match target.val.as_deref().and_then(|value| value.node.as_ref()) {
        Some(NodeEnum::FuncCall(call)) => function_name(call).is_some_and(names::is_set_returning),
        _ => false,
    }
}

/// `count(*)`, `count(constant)` or `count([DISTINCT] column)` and nothing else: paginators write all of them.
fn is_count(targets: &[Node]) -> bool {
    let [Node { node: Some(NodeEnum::ResTarget(target)) }] = targets else { return false };
    let Some(NodeEnum::FuncCall(call)) = target.val.as_deref().and_then(|value| value.node.as_ref()) else {
        return false;
    };
    let counts_rows = match call.args.as_slice() {
        [] => call.agg_star,
        [argument] => matches!(
            argument.node,
            Some(NodeEnum::AConst(_) | NodeEnum::ColumnRef(_) | NodeEnum::ParamRef(_))
        ),
        _ => false,
    };
    function_name(call) == Some("count") && counts_rows && call.over.is_none() && call.agg_filter.is_none()
}

/// Whether the expression aggregates its query's rows; subqueries and window functions don't.
fn has_aggregate(node: &Node, depth: u32) -> bool {
    let Some(inner) = node.node.as_ref() else { return false };
    if depth > AGGREGATE_DEPTH_MAX {
        return false;
    }
    let is_aggregate = match inner {
        NodeEnum::FuncCall(call) => is_aggregate_call(call),
        NodeEnum::JsonArrayAgg(_) | NodeEnum::JsonObjectAgg(_) => true,
        _ => false,
    };
    is_aggregate || children(inner).into_iter().any(|child| has_aggregate(child, depth + 1))
}

fn is_aggregate_call(call: &FuncCall) -> bool {
    let is_written_as_one =
        call.agg_star || call.agg_distinct || call.agg_within_group || call.agg_filter.is_some();
    let is_known = function_name(call).is_some_and(names::is_aggregate);
    call.over.is_none() && (is_written_as_one || is_known || !call.agg_order.is_empty())
}

fn function_name(call: &FuncCall) -> Option<&str> {
    call.funcname.last().and_then(as_string)
}

/// `LIMIT ALL` and `LIMIT NULL`.
fn is_null(node: &Node) -> bool {
    matches!(&node.node, Some(NodeEnum::AConst(it)) if it.isnull)
}
