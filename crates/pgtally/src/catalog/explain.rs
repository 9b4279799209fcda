//! `GET /api/v1/cache/explain`: what a statement reads and writes as the cache sees it, and why its answer is not kept.
//!
//! The statement is not executed. Its text goes no further than the parser.

use std::sync::Arc;
use std::time::Duration;

use pgtally_cache::catalog::facts_without_catalog;
use pgtally_cache::{BypassReason, Catalog, StatementFacts, TableId};
use pgtally_fingerprint::{Dialect, Scan, normalize};
use serde::Serialize;

use super::{Catalogs, Snapshot, database_id};
use crate::SCHEMA_VERSION;

/// Time to wait for definitions that are being read.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is answered.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    schema_version: u32,
    /// False where the database's definitions are unknown.
    pub(crate) complete: bool,
    /// Why they are unknown.
    problem: Option<String>,
    /// Which reading of the definitions this is; a later one has a greater number.
    definitions: Option<u64>,
    pub(crate) statements: Vec<Explained>,
}

/// One statement of the text.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    pub(crate) statement: String,
    /// Its answer may be kept, if a tag or a rule wants it to be.
    cacheable: bool,
    /// Why not.
    pub(crate) reason: Option<&'static str>,
    /// Settings that a rule has to name in `vary`, or its reason is row security.
    vary: Vec<String>,
    /// Tables the answer depends on, with their schemas.
    pub(crate) reads: Vec<String>,
    /// Tables it may change, triggers and keys included.
    pub(crate) writes: Vec<String>,
    /// It may change any table.
    pub(crate) writes_everything: bool,
    /// It may change definitions or rights: all answers of all databases become old.
    changes_catalog: bool,
    /// It may change the settings of its session.
    changes_session: bool,
}

/// Explains all statements of a text in a database.
pub(crate) async fn explain(catalogs: &Catalogs, database: &str, text: &str) -> Explanation {
    let snapshot = catalogs.wait(database_id(database), database, PATIENCE).await;
    let (snapshot, problem) = match snapshot {
        Ok(snapshot) => (Some(snapshot), None),
        Err(problem) => (None, Some(problem)),
    };
    let definitions = snapshot.as_ref().map(|snapshot| snapshot.number);
    let text = text.to_owned();
    // The parser takes its time for a long text, and this is the thread that accepts sessions.
    let explained = tokio::task::spawn_blocking(move || explained(snapshot.as_ref(), &text)).await;
    let statements = explained.unwrap_or_default();
    Explanation {
        schema_version: SCHEMA_VERSION,
        complete: definitions.is_some(),
        problem,
        definitions,
        statements,
    }
}

fn explained(snapshot: Option<&Arc<Snapshot>>, text: &str) -> Vec<Explained> {
    let mut scan = Scan::new();
    let dialect = Dialect::default();
    scan.scan(text.as_bytes(), dialect, false);
    let texts = scan.statements.iter().map(|it| normalize(text.as_bytes(), it, dialect).text);
    let catalog = snapshot.map(|snapshot| &snapshot.catalog);
    texts.map(|text| one(catalog, text)).collect()
}

fn one(catalog: Option<&Catalog>, statement: String) -> Explained {
    let access = pgtally_parsetree::access(&statement);
    let facts = catalog.map_or_else(|| facts_without_catalog(&access), |catalog| catalog.facts(&access));
    let named = |tables: &[TableId]| {
        let names = tables.iter().filter_map(|table| catalog?.name_of(*table));
        let mut names: Vec<String> = names.map(|(schema, name)| format!("{schema}.{name}")).collect();
        names.sort();
        names
    };
    let StatementFacts { read, writes, can_commit: _, can_roll_back: _, can_change_session } = &facts;
    let security = read.as_ref().ok().and_then(|read| read.security());
    let reason = read.as_ref().err().copied().or(security.map(|_| BypassReason::RowSecurity));
    Explained {
        statement,
        cacheable: reason.is_none(),
        reason: reason.map(BypassReason::name),
        vary: security.unwrap_or_default().iter().map(ToString::to_string).collect(),
        reads: read.as_ref().map(|read| named(read.tables())).unwrap_or_default(),
        writes: named(writes.tables()),
        writes_everything: writes.is_everything(),
        changes_catalog: writes.is_catalog(),
        changes_session: *can_change_session,
    }
}
