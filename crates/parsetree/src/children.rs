//! How expressions nest: the direct children of an expression node.
//!
//! Nodes with a meaning of their own (queries, FROM items, column references) are the collector's; here is only what
//! lies between them. An unknown node has no children: its tables stay unseen, nothing breaks.

use pg_query::NodeEnum;
use pg_query::protobuf::{JsonAggConstructor, JsonValueExpr, Node, WindowDef};

/// Direct children of an expression, in order of the text as far as it matters.
pub(crate) fn children(node: &NodeEnum) -> Vec<&Node> {
    let mut out = Children(Vec::new());
    match node {
        NodeEnum::AArrayExpr(it) => out.many(&it.elements),
        NodeEnum::AExpr(it) => out.one(&it.lexpr).one(&it.rexpr),
        NodeEnum::AIndices(it) => out.one(&it.lidx).one(&it.uidx),
        NodeEnum::AIndirection(it) => out.one(&it.arg).many(&it.indirection),
        NodeEnum::BoolExpr(it) => out.many(&it.args),
        NodeEnum::BooleanTest(it) => out.one(&it.arg),
        NodeEnum::CaseExpr(it) => out.one(&it.arg).many(&it.args).one(&it.defresult),
        NodeEnum::CaseWhen(it) => out.one(&it.expr).one(&it.result),
        NodeEnum::CoalesceExpr(it) => out.many(&it.args),
        NodeEnum::CollateClause(it) => out.one(&it.arg),
        NodeEnum::FuncCall(it) => {
            out.many(&it.args).many(&it.agg_order).one(&it.agg_filter).window(it.over.as_deref())
        }
        NodeEnum::GroupingFunc(it) => out.many(&it.args),
        NodeEnum::GroupingSet(it) => out.many(&it.content),
        NodeEnum::JsonArrayAgg(it) => {
            out.json_value(it.arg.as_deref()).json_aggregate(it.constructor.as_deref())
        }
        NodeEnum::JsonArrayConstructor(it) => out.many(&it.exprs),
        NodeEnum::JsonFuncExpr(it) => out.json_value(it.context_item.as_deref()).many(&it.passing),
        NodeEnum::JsonIsPredicate(it) => out.one(&it.expr),
        NodeEnum::JsonKeyValue(it) => out.one(&it.key).json_value(it.value.as_deref()),
        NodeEnum::JsonObjectAgg(it) => {
            if let Some(pair) = it.arg.as_deref() {
                out.one(&pair.key).json_value(pair.value.as_deref());
            }
            out.json_aggregate(it.constructor.as_deref())
        }
        NodeEnum::JsonObjectConstructor(it) => out.many(&it.exprs),
        NodeEnum::JsonValueExpr(it) => out.json_value(Some(it)),
        NodeEnum::List(it) => out.many(&it.items),
        NodeEnum::MinMaxExpr(it) => out.many(&it.args),
        NodeEnum::NamedArgExpr(it) => out.one(&it.arg),
        NodeEnum::NullTest(it) => out.one(&it.arg),
        NodeEnum::ResTarget(it) => out.many(&it.indirection).one(&it.val),
        NodeEnum::RowExpr(it) => out.many(&it.args),
        NodeEnum::SortBy(it) => out.one(&it.node),
        NodeEnum::TypeCast(it) => out.one(&it.arg),
        NodeEnum::WindowDef(it) => out.window(Some(it)),
        NodeEnum::XmlExpr(it) => out.many(&it.named_args).many(&it.args),
        NodeEnum::XmlSerialize(it) => out.one(&it.expr),
        _ => &mut out,
    };
    out.0
}

struct Children<'t>(Vec<&'t Node>);

impl<'t> Children<'t> {
    fn one(&mut self, node: &'t Option<Box<Node>>) -> &mut Self {
        self.0.extend(node.as_deref());
        self
    }

    fn many(&mut self, nodes: &'t [Node]) -> &mut Self {
        self.0.extend(nodes);
        self
    }

    fn window(&mut self, window: Option<&'t WindowDef>) -> &mut Self {
        match window {
            Some(it) => self
                .many(&it.partition_clause)
                .many(&it.order_clause)
                .one(&it.start_offset)
                .one(&it.end_offset),
            None => self,
        }
    }

    fn json_value(&mut self, value: Option<&'t JsonValueExpr>) -> &mut Self {
        match value {
            Some(it) => self.one(&it.raw_expr).one(&it.formatted_expr),
            None => self,
        }
    }

    fn json_aggregate(&mut self, aggregate: Option<&'t JsonAggConstructor>) -> &mut Self {
        match aggregate {
            Some(it) => self.one(&it.agg_filter).many(&it.agg_order).window(it.over.as_deref()),
            None => self,
        }
    }
}
