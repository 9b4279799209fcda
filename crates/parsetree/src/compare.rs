//! Which columns are compared with parameters by equality: `a = $1`, `IN`, `= ANY`, `IS NOT DISTINCT FROM`, and rows
//! of such columns.
//!
//! Casts, COLLATE and functions of one argument around either side are looked through: `lower(a) = lower($1)` still
//! looks a row up by `a`.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExpr, AExprKind, ColumnRef, Node};
use pgtally_fingerprint::Compared;

use crate::collector::{Collector, as_string};

/// Casts and calls looked through around a column or parameter.
const WRAPPINGS_MAX: usize = 4;

/// Whether an expression stands where rows are chosen (WHERE, ON, HAVING).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// It does not.
    No,
    /// It does: comparisons in it are keys.
    Yes,
}

impl Collector<'_> {
    /// Notes the columns that this comparison ties to parameters.
    pub(crate) fn comparison(&mut self, expression: &AExpr) {
        let is_equality = match AExprKind::try_from(expression.kind) {
            Ok(AExprKind::AexprOp | AExprKind::AexprOpAny | AExprKind::AexprIn) => {
                matches!(expression.name.as_slice(), [name] if as_string(name) == Some("="))
            }
            Ok(AExprKind::AexprNotDistinct) => true,
            _ => false,
        };
        if let (true, Some(left), Some(right)) = (is_equality, &expression.lexpr, &expression.rexpr) {
            self.pair(left, right);
        }
    }

    fn pair(&mut self, left: &Node, right: &Node) {
        match (bare(left), bare(right)) {
            (Some(NodeEnum::RowExpr(columns)), Some(NodeEnum::RowExpr(values))) => {
                columns.args.iter().zip(&values.args).for_each(|(column, value)| self.pair(column, value));
            }
            // A folded list: its elements are compared one by one with the left side.
            (Some(NodeEnum::RowExpr(_)), Some(NodeEnum::List(list))) => {
                list.items.iter().for_each(|row| self.row(left, row));
            }
            (Some(NodeEnum::ColumnRef(column)), Some(value)) => self.column(column, value),
            (Some(value), Some(NodeEnum::ColumnRef(column))) => self.column(column, value),
            _ => {}
        }
    }

    fn row(&mut self, left: &Node, row: &Node) {
        if matches!(bare(row), Some(NodeEnum::RowExpr(_))) {
            self.pair(left, row);
        }
    }

    fn column(&mut self, column: &ColumnRef, value: &NodeEnum) {
        let Some((table, name)) = self.resolve(column) else { return };
        for parameter in parameters(value) {
            self.facts.compared.push(Compared { parameter, table: table.clone(), column: name.clone() });
        }
    }

    /// Table and name of a column; `None` for `*`.
    pub(crate) fn resolve(&self, column: &ColumnRef) -> Option<(Option<String>, String)> {
        let mut path = column.fields.iter().rev();
        let name = as_string(path.next()?)?.to_owned();
        let table = match (path.next().and_then(as_string), path.next()) {
            (None, _) => self.scopes.only_table(),
            (Some(alias), None) => self.scopes.table_of(alias),
            (Some(table), Some(_schema)) => Some(table.to_owned()),
        };
        Some((table, name))
    }
}

/// The expression without casts, COLLATE and functions of one argument around it.
fn bare(node: &Node) -> Option<&NodeEnum> {
    let mut inner = node.node.as_ref()?;
    for _ in 0..WRAPPINGS_MAX {
        let next = match inner {
            NodeEnum::CollateClause(it) => it.arg.as_deref(),
            NodeEnum::FuncCall(it) => match it.args.as_slice() {
                [only] => Some(only),
                _ => None,
            },
            NodeEnum::TypeCast(it) => it.arg.as_deref(),
            _ => None,
        };
        match next.and_then(|node| node.node.as_ref()) {
            Some(next) => inner = next,
            None => break,
        }
    }
    Some(inner)
}

/// Numbers of the parameters that a scalar, list or array consists of.
fn parameters(value: &NodeEnum) -> Vec<u16> {
    let elements = match value {
        NodeEnum::AArrayExpr(it) => it.elements.as_slice(),
        NodeEnum::List(it) => it.items.as_slice(),
        NodeEnum::ParamRef(it) => return u16::try_from(it.number).into_iter().collect(),
        _ => return Vec::new(),
    };
    elements.iter().filter_map(parameter).collect()
}

/// Number of the parameter that a value is, casts and wrappings looked through.
pub(crate) fn parameter(node: &Node) -> Option<u16> {
    match bare(node)? {
        NodeEnum::ParamRef(it) => u16::try_from(it.number).ok(),
        _ => None,
    }
}
