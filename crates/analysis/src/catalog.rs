//! Names of tables and columns by their OIDs, learned from what passes by.
//!
//! `RowDescription` says of every result column which table and attribute it is, as numbers, through any alias,
//! subquery or CTE. A statement whose tree names a column's table teaches what the number stands for; from then on
//! every statement's columns have names. Nobody asks the server.
//!
//! Read next: `linkage.rs`, which names the parent's column this way.

use std::sync::Arc;

use pgtally_fingerprint::{Fingerprint, ShapeFacts};
use rustc_hash::FxHashMap;

use crate::limits::{CATALOG_COLUMNS_MAX, CATALOG_TABLES_MAX};
use crate::merge::Request;
use crate::record::SampleColumn;
use crate::shape::KnownShape;

/// What the numbers in `RowDescription` stand for.
#[derive(Debug, Default)]
pub struct Catalog {
    databases: FxHashMap<Arc<str>, Names>,
    tables: usize,
    columns: usize,
    is_full: bool,
}

#[derive(Debug, Default)]
struct Names {
    tables: FxHashMap<u32, Box<str>>,
    columns: FxHashMap<(u32, i16), Box<str>>,
}

/// A result column by name, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnName {
    /// Table (not alias).
    pub(crate) table: Option<Box<str>>,
    /// Column in that table, or the result's label where that is not known.
    pub(crate) column: Box<str>,
}

impl ColumnName {
    /// `table.column`, or the column alone.
    pub(crate) fn display(&self) -> String {
        display(self.table.as_deref(), &self.column)
    }
}

/// `table.column`, or the column alone.
pub(crate) fn display(table: Option<&str>, column: &str) -> String {
    table.map_or_else(|| column.to_owned(), |table| format!("{table}.{column}"))
}

impl Catalog {
    /// A catalog that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns from the result columns of one statement. Columns whose table the tree doesn't tell teach nothing.
    pub fn learn(&mut self, database: &Arc<str>, facts: &ShapeFacts, columns: &[SampleColumn]) {
        for column in columns.iter().filter(|column| column.table_oid != 0) {
            if let ColumnName { table: Some(table), column: name } = told_by_tree(facts, column) {
                self.learn_table(database, column.table_oid, &table);
                self.learn_column(database, (column.table_oid, column.attribute), &name);
            }
        }
    }

    /// Learns from every sampled result of a request.
    pub fn learn_request(&mut self, request: &Request, shapes: &dyn Fn(Fingerprint) -> Option<KnownShape>) {
        let samples = request.samples().map(|(_, sample)| (sample.fingerprint, &sample.columns));
        for (fingerprint, columns) in samples.chain(request.row_columns()) {
            if let Some(known) = shapes(fingerprint) {
                self.learn(&request.origin().database, &known.facts, columns);
            }
        }
    }

    /// Whether a bound was reached and names were not learned.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// The best name of a result column: the tree's where it tells the table, else the learned one, else the label.
    pub(crate) fn name(
        &self,
        database: &str,
        facts: Option<&ShapeFacts>,
        column: &SampleColumn,
    ) -> ColumnName {
        let told = facts.map(|facts| told_by_tree(facts, column));
        if let Some(told @ ColumnName { table: Some(_), .. }) = told {
            return told;
        }
        let names = self.databases.get(database).filter(|_| column.table_oid != 0);
        let table = names.and_then(|names| names.tables.get(&column.table_oid));
        let known = names.and_then(|names| names.columns.get(&(column.table_oid, column.attribute)));
        let column = known.cloned().or(told.map(|told| told.column)).unwrap_or_else(|| column.label.clone());
        ColumnName { table: table.cloned(), column }
    }

    fn learn_table(&mut self, database: &Arc<str>, oid: u32, name: &str) {
        let names = self.databases.entry(Arc::clone(database)).or_default();
        let is_new = !names.tables.contains_key(&oid);
        if is_new && self.tables == CATALOG_TABLES_MAX {
            self.is_full = true;
            return;
        }
        self.tables += usize::from(is_new);
        names.tables.insert(oid, name.into());
    }

    fn learn_column(&mut self, database: &Arc<str>, key: (u32, i16), name: &str) {
        let names = self.databases.entry(Arc::clone(database)).or_default();
        let is_new = !names.columns.contains_key(&key);
        if is_new && self.columns == CATALOG_COLUMNS_MAX {
            self.is_full = true;
            return;
        }
        self.columns += usize::from(is_new);
        names.columns.insert(key, name.into());
    }
}

/// What the statement's own text says about a result column. A `*` shows the columns' real names as labels; it
/// belongs to one table when the statement has only one.
fn told_by_tree(facts: &ShapeFacts, column: &SampleColumn) -> ColumnName {
    if let Some(output) = facts.outputs.get(usize::from(column.position)) {
        let name = output.column.as_deref().map_or_else(|| column.label.clone(), Box::from);
        return ColumnName { table: output.table.as_deref().map(Box::from), column: name };
    }
    let mut tables = facts.tables_read.iter().chain(&facts.tables_written);
    let table = match (tables.next(), tables.next()) {
        (Some(only), None) if facts.has_star && column.table_oid != 0 => Some(only.name.as_str().into()),
        _ => None,
    };
    ColumnName { table, column: column.label.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(position: u16, table_oid: u32, attribute: i16, label: &str) -> SampleColumn {
        SampleColumn { position, table_oid, attribute, type_oid: 23, label: label.into() }
    }

    fn name(catalog: &Catalog, text: &str, column: &SampleColumn) -> String {
        catalog.name("shop", Some(&pgtally_parsetree::facts(text)), column).display()
    }

    #[test]
    fn numbers_get_names_from_any_statement_that_tells_them() {
        let mut catalog = Catalog::new();
        let database: Arc<str> = "shop".into();
        let opaque = "WITH p AS (SELECT * FROM posts JOIN users u ON u.id = author_id) SELECT * FROM p";
        let hidden = column(0, 77, 2, "x");
        assert_eq!(name(&catalog, opaque, &hidden), "x");
        let facts = pgtally_parsetree::facts("SELECT p.author_id AS x FROM posts p JOIN users u ON true");
        catalog.learn(&database, &facts, &[column(0, 77, 2, "x")]);
        assert_eq!(name(&catalog, opaque, &hidden), "posts.author_id");
        assert_eq!(catalog.name("other", None, &hidden).display(), "x");
    }

    #[test]
    fn a_star_of_one_table_teaches_its_labels() {
        let mut catalog = Catalog::new();
        let database: Arc<str> = "shop".into();
        catalog.learn(
            &database,
            &pgtally_parsetree::facts("SELECT * FROM posts"),
            &[column(1, 77, 2, "author_id")],
        );
        assert_eq!(catalog.name("shop", None, &column(5, 77, 2, "y")).display(), "posts.author_id");
        let two = pgtally_parsetree::facts("SELECT * FROM posts, users");
        catalog.learn(&database, &two, &[column(0, 78, 1, "id")]);
        assert_eq!(catalog.name("shop", None, &column(5, 78, 1, "y")).display(), "y");
    }

    #[test]
    fn expressions_keep_their_label() {
        let catalog = Catalog::new();
        assert_eq!(name(&catalog, "SELECT count(*) FROM t", &column(0, 0, 0, "count")), "count");
    }

    #[test]
    fn bounds_hold() {
        let mut catalog = Catalog::new();
        let facts = pgtally_parsetree::facts("SELECT * FROM posts");
        for oid in 1..=CATALOG_TABLES_MAX as u32 + 5 {
            catalog.learn(&"shop".into(), &facts, &[column(0, oid, 1, "id")]);
        }
        assert!(catalog.is_full() && catalog.tables == CATALOG_TABLES_MAX);
    }
}
