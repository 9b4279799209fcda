//! The walk through expressions and FROM items: one arm per kind of node, each taken apart whole.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AArrayExpr, AExpr, AExprKind, AIndices, AIndirection, BoolExpr, BooleanTest, CaseExpr, CaseWhen,
    CoalesceExpr, CollateClause, ColumnRef, FuncCall, GroupingFunc, GroupingSet, IndexElem, JoinExpr,
    JsonAggConstructor, JsonArgument, JsonArrayAgg, JsonArrayConstructor, JsonArrayQueryConstructor,
    JsonBehavior, JsonFuncExpr, JsonIsPredicate, JsonKeyValue, JsonObjectAgg, JsonObjectConstructor,
    JsonOutput, JsonParseExpr, JsonScalarExpr, JsonSerializeExpr, JsonTable, JsonTableColumn,
    JsonTablePathSpec, JsonValueExpr, MinMaxExpr, MultiAssignRef, NamedArgExpr, Node, NullTest,
    RangeFunction, RangeSubselect, RangeTableFunc, RangeTableFuncCol, RangeTableSample, ResTarget, RowExpr,
    SortBy, SubLink, TypeCast, TypeName, WindowDef, XmlExpr, XmlSerialize,
};
use pgtally_fingerprint::{Function, Refusal};

use super::{Walk, as_function};
use crate::collector::as_string;

impl<'t> Walk<'t> {
    /// Any node below the outermost statement.
    pub(super) fn node(&mut self, node: &'t Node) {
        self.descend(|walk| match &node.node {
            Some(NodeEnum::DeleteStmt(it)) => walk.delete(it),
            Some(NodeEnum::InsertStmt(it)) => walk.insert(it),
            Some(NodeEnum::MergeStmt(it)) => walk.merge(it),
            Some(NodeEnum::MergeWhenClause(it)) => walk.merge_when(it),
            Some(NodeEnum::SelectStmt(it)) => walk.select(it),
            Some(NodeEnum::UpdateStmt(it)) => walk.update(it),
            Some(inner) => walk.expression(inner),
            // Lists may have holes: an omitted bound of a slice, say.
            None => {}
        });
    }

    fn expression(&mut self, node: &'t NodeEnum) {
        match node {
            NodeEnum::AConst(_) | NodeEnum::ParamRef(_) | NodeEnum::SetToDefault(_) | NodeEnum::AStar(_) => {}
            NodeEnum::String(_) | NodeEnum::Integer(_) | NodeEnum::MergeSupportFunc(_) => {}
            NodeEnum::CurrentOfExpr(_) => {}
            NodeEnum::AArrayExpr(it) => {
                let AArrayExpr { elements, list_start: _, list_end: _, location: _ } = it;
                self.nodes(elements);
            }
            NodeEnum::AExpr(it) => self.applied(it),
            NodeEnum::AIndices(it) => {
                let AIndices { is_slice: _, lidx, uidx } = &**it;
                self.child(lidx);
                self.child(uidx);
            }
            NodeEnum::AIndirection(it) => {
                let AIndirection { arg, indirection } = &**it;
                self.child(arg);
                self.path(indirection);
            }
            NodeEnum::BoolExpr(it) => {
                let BoolExpr { xpr, boolop: _, args, location: _ } = &**it;
                self.child(xpr);
                self.nodes(args);
            }
            NodeEnum::BooleanTest(it) => {
                let BooleanTest { xpr, arg, booltesttype: _, location: _ } = &**it;
                self.child(xpr);
                self.child(arg);
            }
            NodeEnum::CaseExpr(it) => self.case(it),
            NodeEnum::CaseWhen(it) => {
                let CaseWhen { xpr, expr, result, location: _ } = &**it;
                for child in [xpr, expr, result] {
                    self.child(child);
                }
            }
            NodeEnum::CoalesceExpr(it) => {
                let CoalesceExpr { xpr, coalescetype: _, coalescecollid: _, args, location: _ } = &**it;
                self.child(xpr);
                self.nodes(args);
            }
            NodeEnum::CollateClause(it) => {
                let CollateClause { arg, collname: _, location: _ } = &**it;
                self.child(arg);
            }
            NodeEnum::ColumnRef(it) => {
                let ColumnRef { fields, location: _ } = it;
                self.path(fields.get(1..).unwrap_or_default());
            }
            NodeEnum::FuncCall(it) => self.call(it),
            NodeEnum::GroupingFunc(it) => {
                let GroupingFunc { xpr, args, refs, agglevelsup: _, location: _ } = &**it;
                self.child(xpr);
                self.nodes(args);
                self.nodes(refs);
            }
            NodeEnum::GroupingSet(it) => {
                let GroupingSet { kind: _, content, location: _ } = it;
                self.nodes(content);
            }
            NodeEnum::IndexElem(it) => self.index_element(it),
            NodeEnum::List(it) => self.nodes(&it.items),
            NodeEnum::MinMaxExpr(it) => {
                let MinMaxExpr {
                    xpr,
                    minmaxtype: _,
                    minmaxcollid: _,
                    inputcollid: _,
                    op: _,
                    args,
                    location: _,
                } = &**it;
                self.child(xpr);
                self.nodes(args);
            }
            NodeEnum::MultiAssignRef(it) => {
                let MultiAssignRef { source, colno: _, ncolumns: _ } = &**it;
                self.child(source);
            }
            NodeEnum::NamedArgExpr(it) => {
                let NamedArgExpr { xpr, arg, name: _, argnumber: _, location: _ } = &**it;
                self.child(xpr);
                self.child(arg);
            }
            NodeEnum::NullTest(it) => {
                let NullTest { xpr, arg, nulltesttype: _, argisrow: _, location: _ } = &**it;
                self.child(xpr);
                self.child(arg);
            }
            NodeEnum::ResTarget(it) => {
                let ResTarget { name: _, indirection, val, location: _ } = &**it;
                self.path(indirection);
                self.child(val);
            }
            NodeEnum::RowExpr(it) => {
                let RowExpr { xpr, args, row_typeid: _, row_format: _, colnames: _, location: _ } = &**it;
                self.child(xpr);
                self.nodes(args);
            }
            NodeEnum::SortBy(it) => {
                let SortBy { node, sortby_dir: _, sortby_nulls: _, use_op, location: _ } = &**it;
                self.child(node);
                self.operator(use_op);
            }
            NodeEnum::SqlvalueFunction(_) => self.refuse(Refusal::SessionValue),
            NodeEnum::SubLink(it) => self.sublink(it),
            NodeEnum::TypeCast(it) => {
                let TypeCast { arg, type_name, location: _ } = &**it;
                self.child(arg);
                self.type_name(type_name.as_ref());
            }
            NodeEnum::WindowDef(it) => self.window(Some(it)),
            other => self.range_item(other),
        }
    }

    fn range_item(&mut self, node: &'t NodeEnum) {
        match node {
            NodeEnum::JoinExpr(it) => self.join(it),
            NodeEnum::RangeFunction(it) => {
                let RangeFunction {
                    lateral: _,
                    ordinality: _,
                    is_rowsfrom: _,
                    functions,
                    alias: _,
                    coldeflist,
                } = it;
                self.nodes(functions);
                // `AS x(a some_type)`: the types are those the function returns, nothing is cast.
                self.is_unknown |=
                    coldeflist.iter().any(|it| !matches!(it.node, Some(NodeEnum::ColumnDef(_))));
            }
            NodeEnum::RangeSubselect(it) => {
                let RangeSubselect { lateral: _, subquery, alias: _ } = &**it;
                self.child(subquery);
            }
            NodeEnum::RangeTableFunc(it) => {
                let RangeTableFunc {
                    lateral: _,
                    docexpr,
                    rowexpr,
                    namespaces,
                    columns,
                    alias: _,
                    location: _,
                } = &**it;
                self.child(docexpr);
                self.child(rowexpr);
                self.nodes(namespaces);
                self.nodes(columns);
            }
            NodeEnum::RangeTableFuncCol(it) => {
                let RangeTableFuncCol {
                    colname: _,
                    type_name,
                    for_ordinality: _,
                    is_not_null: _,
                    colexpr,
                    coldefexpr,
                    location: _,
                } = &**it;
                self.type_name(type_name.as_ref());
                self.child(colexpr);
                self.child(coldefexpr);
            }
            NodeEnum::RangeTableSample(it) => {
                let RangeTableSample { relation, method: _, args, repeatable, location: _ } = &**it;
                self.refuse(Refusal::TableSample);
                self.child(relation);
                self.nodes(args);
                self.child(repeatable);
            }
            NodeEnum::RangeVar(it) => self.range(it),
            other => self.structured(other),
        }
    }

    /// JSON and XML constructors, and what is not known at all.
    fn structured(&mut self, node: &'t NodeEnum) {
        match node {
            NodeEnum::JsonArgument(it) => {
                let JsonArgument { val, name: _ } = &**it;
                self.json_value(val.as_deref());
            }
            NodeEnum::JsonArrayAgg(it) => {
                let JsonArrayAgg { constructor, arg, absent_on_null: _ } = &**it;
                self.json_aggregate(constructor.as_deref());
                self.json_value(arg.as_deref());
            }
            NodeEnum::JsonArrayConstructor(it) => {
                let JsonArrayConstructor { exprs, output, absent_on_null: _, location: _ } = it;
                self.nodes(exprs);
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonArrayQueryConstructor(it) => {
                let JsonArrayQueryConstructor { query, output, format: _, absent_on_null: _, location: _ } =
                    &**it;
                self.child(query);
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonFuncExpr(it) => self.json_function(it),
            NodeEnum::JsonIsPredicate(it) => {
                let JsonIsPredicate { expr, format: _, item_type: _, unique_keys: _, location: _ } = &**it;
                self.child(expr);
            }
            NodeEnum::JsonKeyValue(it) => self.json_pair(Some(it)),
            NodeEnum::JsonObjectAgg(it) => {
                let JsonObjectAgg { constructor, arg, absent_on_null: _, unique: _ } = &**it;
                self.json_aggregate(constructor.as_deref());
                self.json_pair(arg.as_deref());
            }
            NodeEnum::JsonObjectConstructor(it) => {
                let JsonObjectConstructor { exprs, output, absent_on_null: _, unique: _, location: _ } = it;
                self.nodes(exprs);
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonParseExpr(it) => {
                let JsonParseExpr { expr, output, unique_keys: _, location: _ } = &**it;
                self.json_value(expr.as_deref());
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonScalarExpr(it) => {
                let JsonScalarExpr { expr, output, location: _ } = &**it;
                self.child(expr);
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonSerializeExpr(it) => {
                let JsonSerializeExpr { expr, output, location: _ } = &**it;
                self.json_value(expr.as_deref());
                self.json_output(output.as_ref());
            }
            NodeEnum::JsonTable(it) => self.json_table(it),
            NodeEnum::JsonTableColumn(it) => self.json_table_column(it),
            NodeEnum::JsonValueExpr(it) => self.json_value(Some(it)),
            NodeEnum::XmlExpr(it) => {
                let XmlExpr {
                    xpr,
                    op: _,
                    name: _,
                    named_args,
                    arg_names,
                    args,
                    xmloption: _,
                    indent: _,
                    r#type: _,
                    typmod: _,
                    location: _,
                } = &**it;
                self.child(xpr);
                for list in [named_args, arg_names, args] {
                    self.nodes(list);
                }
            }
            NodeEnum::XmlSerialize(it) => {
                let XmlSerialize { xmloption: _, expr, type_name, indent: _, location: _ } = &**it;
                self.child(expr);
                self.type_name(type_name.as_ref());
            }
            _ => self.is_unknown = true,
        }
    }

    /// An operator with its operands. `BETWEEN` and `NULLIF` have no operator's name in the tree.
    fn applied(&mut self, expression: &'t AExpr) {
        let AExpr { kind, name, lexpr, rexpr, rexpr_list_start: _, rexpr_list_end: _, location: _ } =
            expression;
        let is_between = [
            AExprKind::AexprBetween,
            AExprKind::AexprNotBetween,
            AExprKind::AexprBetweenSym,
            AExprKind::AexprNotBetweenSym,
        ];
        if is_between.iter().any(|between| *between as i32 == *kind) {
            for name in ["<", "<=", ">", ">="] {
                self.operators.insert(Function { schema: None, name: name.into() });
            }
        } else {
            self.operator(name);
        }
        self.child(lexpr);
        self.child(rexpr);
    }

    fn operator(&mut self, path: &'t [Node]) {
        if path.is_empty() {
            return;
        }
        match as_function(path) {
            Some(operator) => {
                self.operators.insert(operator);
            }
            None => self.is_unknown = true,
        }
    }

    fn case(&mut self, case: &'t CaseExpr) {
        let CaseExpr { xpr, casetype: _, casecollid: _, arg, args, defresult, location: _ } = case;
        if arg.is_some() {
            self.operators.insert(Function { schema: None, name: "=".into() });
        }
        for child in [xpr, arg, defresult] {
            self.child(child);
        }
        self.nodes(args);
    }

    fn call(&mut self, call: &'t FuncCall) {
        let FuncCall {
            funcname,
            args,
            agg_order,
            agg_filter,
            over,
            agg_within_group: _,
            agg_star: _,
            agg_distinct: _,
            func_variadic: _,
            funcformat: _,
            location: _,
        } = call;
        match as_function(funcname) {
            Some(function) => {
                self.functions.insert(function);
            }
            None => self.is_unknown = true,
        }
        self.nodes(args);
        self.nodes(agg_order);
        self.child(agg_filter);
        self.window(over.as_deref());
    }

    /// What stands behind a column or a value: `.name`, `[1]`, `.*`.
    fn path(&mut self, path: &'t [Node]) {
        for step in path {
            match as_string(step) {
                Some(name) => {
                    self.fields.insert(name.to_owned());
                }
                None => self.node(step),
            }
        }
    }

    fn sublink(&mut self, link: &'t SubLink) {
        let SubLink { xpr, sub_link_type: _, sub_link_id: _, testexpr, oper_name, subselect, location: _ } =
            link;
        if testexpr.is_some() && oper_name.is_empty() {
            self.operators.insert(Function { schema: None, name: "=".into() });
        }
        self.operator(oper_name);
        for child in [xpr, testexpr, subselect] {
            self.child(child);
        }
    }

    fn type_name(&mut self, name: Option<&'t TypeName>) {
        let Some(name) = name else { return };
        let TypeName {
            names,
            type_oid: _,
            setof: _,
            pct_type,
            typmods,
            typemod: _,
            array_bounds: _,
            location: _,
        } = name;
        match as_function(names) {
            Some(name) if !pct_type => {
                self.types.insert(name);
            }
            _ => self.is_unknown = true,
        }
        self.nodes(typmods);
    }

    fn window(&mut self, window: Option<&'t WindowDef>) {
        let Some(window) = window else { return };
        let WindowDef {
            name: _,
            refname: _,
            partition_clause,
            order_clause,
            frame_options: _,
            start_offset,
            end_offset,
            location: _,
        } = window;
        self.nodes(partition_clause);
        self.nodes(order_clause);
        self.child(start_offset);
        self.child(end_offset);
    }

    fn join(&mut self, join: &'t JoinExpr) {
        let JoinExpr {
            jointype: _,
            is_natural,
            larg,
            rarg,
            using_clause,
            join_using_alias: _,
            quals,
            alias: _,
            rtindex: _,
        } = join;
        if *is_natural || !using_clause.is_empty() {
            self.operators.insert(Function { schema: None, name: "=".into() });
        }
        for child in [larg, rarg, quals] {
            self.child(child);
        }
    }

    fn index_element(&mut self, element: &'t IndexElem) {
        let IndexElem {
            name: _,
            expr,
            indexcolname: _,
            collation: _,
            opclass: _,
            opclassopts: _,
            ordering: _,
            nulls_ordering: _,
        } = element;
        self.child(expr);
    }

    fn json_value(&mut self, value: Option<&'t JsonValueExpr>) {
        if let Some(JsonValueExpr { raw_expr, formatted_expr, format: _ }) = value {
            self.child(raw_expr);
            self.child(formatted_expr);
        }
    }

    fn json_pair(&mut self, pair: Option<&'t JsonKeyValue>) {
        if let Some(JsonKeyValue { key, value }) = pair {
            self.child(key);
            self.json_value(value.as_deref());
        }
    }

    fn json_output(&mut self, output: Option<&'t JsonOutput>) {
        if let Some(JsonOutput { type_name, returning: _ }) = output {
            self.type_name(type_name.as_ref());
        }
    }

    fn json_behavior(&mut self, behavior: Option<&'t JsonBehavior>) {
        if let Some(JsonBehavior { btype: _, expr, coerce: _, location: _ }) = behavior {
            self.child(expr);
        }
    }

    fn json_path(&mut self, path: Option<&'t JsonTablePathSpec>) {
        if let Some(JsonTablePathSpec { string, name: _, name_location: _, location: _ }) = path {
            self.child(string);
        }
    }

    fn json_aggregate(&mut self, aggregate: Option<&'t JsonAggConstructor>) {
        if let Some(JsonAggConstructor { output, agg_filter, agg_order, over, location: _ }) = aggregate {
            self.json_output(output.as_ref());
            self.child(agg_filter);
            self.nodes(agg_order);
            self.window(over.as_deref());
        }
    }

    fn json_function(&mut self, function: &'t JsonFuncExpr) {
        let JsonFuncExpr {
            op: _,
            column_name: _,
            context_item,
            pathspec,
            passing,
            output,
            on_empty,
            on_error,
            wrapper: _,
            quotes: _,
            location: _,
        } = function;
        self.json_value(context_item.as_deref());
        self.child(pathspec);
        self.nodes(passing);
        self.json_output(output.as_ref());
        self.json_behavior(on_empty.as_deref());
        self.json_behavior(on_error.as_deref());
    }

    fn json_table(&mut self, table: &'t JsonTable) {
        let JsonTable {
            context_item,
            pathspec,
            passing,
            columns,
            on_error,
            alias: _,
            lateral: _,
            location: _,
        } = table;
        self.json_value(context_item.as_deref());
        self.json_path(pathspec.as_deref());
        self.nodes(passing);
        self.nodes(columns);
        self.json_behavior(on_error.as_deref());
    }

    fn json_table_column(&mut self, column: &'t JsonTableColumn) {
        let JsonTableColumn {
            coltype: _,
            name: _,
            type_name,
            pathspec,
            format: _,
            wrapper: _,
            quotes: _,
            columns,
            on_empty,
            on_error,
            location: _,
        } = column;
        self.type_name(type_name.as_ref());
        self.json_path(pathspec.as_deref());
        self.nodes(columns);
        self.json_behavior(on_empty.as_deref());
        self.json_behavior(on_error.as_deref());
    }
}
