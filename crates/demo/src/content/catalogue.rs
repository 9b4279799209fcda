//! The catalogue: an overview of many rows that hardly ever changes, asked for all the time, and tagged for a cache.

use serde_json::{Value, json};
use tokio_postgres::{Error, SimpleQueryMessage, SimpleQueryRow};

use super::Request;

/// What a cache in front of the database may do with the overview; to the database it is a comment.
const CATALOGUE: &str = "SELECT category, count(*) AS products, round(avg(price), 2) AS price, \
     percentile_disc(0.5) WITHIN GROUP (ORDER BY price) AS median FROM products GROUP BY category ORDER BY category \
     /* pgtally:cache ttl=60s tags=catalogue */";

pub(super) async fn catalogue(request: &Request) -> Result<Value, Error> {
    let messages = request.client.simple_query(&request.trace.commented(CATALOGUE)).await?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let category = |row: &SimpleQueryRow| {
        json!({
            "category": row.get("category"),
            "products": row.get("products"),
            "price": row.get("price"),
            "median": row.get("median"),
        })
    };
    Ok(rows.map(category).collect())
}

pub(super) async fn reprice(request: &Request) -> Result<Value, Error> {
    request.rows("UPDATE products SET price = price + 100 WHERE id = 1", &[]).await?;
    Ok(json!({ "repriced": 1 }))
}
