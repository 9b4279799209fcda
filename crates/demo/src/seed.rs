//! Fills an empty database with the application's tables and rows.
//!
//! The events table is made as big as the machine needs: the slow report must be slow on a fast one, too.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

/// Statement behind the slow report.
pub(crate) const SLOW_REPORT: &str = "SELECT team_id, count(*) AS events, \
     percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95_ms \
     FROM events GROUP BY team_id ORDER BY team_id";

/// Half as much again as what counts as slow. The table grows by half until then, so 225 ms is the most.
const SLOW_REPORT_AT_LEAST: Duration = Duration::from_millis(150);
/// First size of the events table.
const EVENTS_MIN: i64 = 50_000;
/// A bound for a machine on which no size is slow; some 130 MB.
const EVENTS_MAX: i64 = 3_000_000;

/// The database could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// No connection.
    #[error("can't connect to the database that is to be filled")]
    Connect(#[source] tokio_postgres::Error),
    /// A statement failed; that the tables exist already is the usual reason.
    #[error("can't fill the database (it must be empty)")]
    Statement(#[from] tokio_postgres::Error),
}

/// Role that may log in and read the tables, and nothing else; no page uses it.
pub const READER: &str = "pgtally_inspect";

/// Makes and fills the application's tables and [`READER`], in a second or two, over its own connection.
///
/// # Errors
///
/// When the database can't be reached, or has such tables already.
pub async fn seed(database_url: &str) -> Result<(), SeedError> {
    let (client, connection) =
        tokio_postgres::connect(database_url, NoTls).await.map_err(SeedError::Connect)?;
    // An error of the connection is seen by the statement that waits for an answer.
    let connection = tokio::spawn(connection);
    let outcome = fill(&client).await;
    drop(client);
    let _ = connection.await;
    Ok(outcome?)
}

async fn fill(client: &Client) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(include_str!("schema.sql")).await?;
    let mut rows = 0;
    let mut more = EVENTS_MIN;
    while rows < EVENTS_MAX && slow_report_duration(client).await? < SLOW_REPORT_AT_LEAST {
        client
            .execute(
                "INSERT INTO events SELECT 'team-' || 1 + n % 8, (n * 7919) % 1000 FROM generate_series(1, $1::bigint) n",
                &[&more],
            )
            .await?;
        rows += more;
        more = rows / 2;
    }
    client.batch_execute(&format!("CREATE TABLE event_report AS {SLOW_REPORT}")).await?;
    // Else autovacuum does it while the pages are being visited.
    client.batch_execute("VACUUM ANALYZE").await
}

/// The better of two, because the first one also warms up.
async fn slow_report_duration(client: &Client) -> Result<Duration, tokio_postgres::Error> {
    let mut best = Duration::MAX;
    for _ in 0..2 {
        let start = Instant::now();
        client.query(SLOW_REPORT, &[]).await?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}
