//! What each page does to the database. Faults are written the way they come about: a helper that looks right where
//! it stands is called once per row.

mod catalogue;
mod contacts;
mod export;
mod profile;
mod reports;
mod teams;
mod work_items;

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use crate::page::Content;
use crate::statement::Trace;

/// One HTTP request with its connection.
pub(crate) struct Request {
    pub(crate) client: Client,
    pub(crate) trace: Trace,
}

impl Request {
    /// Rows of an unnamed statement with typed parameters: one round trip.
    async fn rows(&self, sql: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Error> {
        self.client.query_typed(&self.trace.commented(sql), parameters).await
    }

    /// The same for the one row that a key or an aggregate gives.
    async fn row(&self, sql: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Option<Row>, Error> {
        Ok(self.rows(sql, parameters).await?.pop())
    }
}

/// Makes a page.
pub(crate) async fn of(content: Content, request: &mut Request) -> Result<Value, Error> {
    match content {
        Content::Breakdown => teams::breakdown(request).await,
        Content::BreakdownFixed => teams::breakdown_fixed(request).await,
        Content::Catalogue => catalogue::catalogue(request).await,
        Content::Create => work_items::create(request).await,
        Content::CreateFixed => work_items::create_fixed(request).await,
        Content::Export => export::export(request).await,
        Content::ExportFixed => export::export_fixed(request).await,
        Content::Import => contacts::import(request).await,
        Content::ImportFixed => contacts::import_fixed(request).await,
        Content::Profile => profile::profile(request).await,
        Content::ProfileFixed => profile::profile_fixed(request).await,
        Content::Reprice => catalogue::reprice(request).await,
        Content::SlowReport => reports::slow(request).await,
        Content::SlowReportFixed => reports::slow_fixed(request).await,
        Content::WorkItems => work_items::tree(request).await,
        Content::WorkItemsFixed => work_items::tree_fixed(request).await,
    }
}
