//! The report: one statement over all events, which a table kept up to date would answer at once.

use serde_json::{Value, json};
use tokio_postgres::{Error, Row};

use super::Request;
use crate::seed::SLOW_REPORT;

pub(super) async fn slow(request: &Request) -> Result<Value, Error> {
    Ok(report_json(&request.rows(SLOW_REPORT, &[]).await?))
}

pub(super) async fn slow_fixed(request: &Request) -> Result<Value, Error> {
    let rows = request.rows("SELECT team_id, events, p95_ms FROM event_report ORDER BY team_id", &[]).await?;
    Ok(report_json(&rows))
}

fn report_json(rows: &[Row]) -> Value {
    let team = |row: &Row| {
        json!({
            "team": row.get::<_, &str>("team_id"),
            "events": row.get::<_, i64>("events"),
            "p95_ms": row.get::<_, i32>("p95_ms"),
        })
    };
    rows.iter().map(team).collect()
}
