//! The export: rows through a server-side cursor, so that memory stays small, and each row's author on its own.

use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{Error, SimpleQueryMessage, SimpleQueryRow, Transaction};

use super::Request;
use crate::statement::Trace;

const POSTS: &str = "SELECT id, title, author_id FROM posts ORDER BY id";
const POSTS_WITH_AUTHORS: &str =
    "SELECT p.id, p.title, a.name FROM posts p JOIN authors a ON a.id = p.author_id ORDER BY p.id";
const AUTHOR: &str = "SELECT name FROM authors WHERE id = $1";

pub(super) async fn export(request: &mut Request) -> Result<Value, Error> {
    let trace = &request.trace;
    let transaction = request.client.transaction().await?;
    declare(&transaction, trace, POSTS).await?;
    let mut posts = Vec::new();
    loop {
        let rows = fetch(&transaction, trace).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let author_id: i64 = row.get("author_id").and_then(|text| text.parse().ok()).unwrap_or_default();
            let author =
                transaction.query_typed(&trace.commented(AUTHOR), &[(&author_id, Type::INT8)]).await?;
            posts.push(post_json(&row, author.first().map(|author| author.get("name"))));
        }
    }
    finish(transaction, trace).await?;
    Ok(json!(posts))
}

pub(super) async fn export_fixed(request: &mut Request) -> Result<Value, Error> {
    let trace = &request.trace;
    let transaction = request.client.transaction().await?;
    declare(&transaction, trace, POSTS_WITH_AUTHORS).await?;
    let mut posts = Vec::new();
    loop {
        let rows = fetch(&transaction, trace).await?;
        if rows.is_empty() {
            break;
        }
        posts.extend(rows.iter().map(|row| post_json(row, row.get("name"))));
    }
    finish(transaction, trace).await?;
    Ok(json!(posts))
}

async fn declare(transaction: &Transaction<'_>, trace: &Trace, query: &str) -> Result<(), Error> {
    let declare = format!("DECLARE export_rows NO SCROLL CURSOR FOR {query}");
    transaction.batch_execute(&trace.commented(&declare)).await
}

async fn fetch(transaction: &Transaction<'_>, trace: &Trace) -> Result<Vec<SimpleQueryRow>, Error> {
    let messages = transaction.simple_query(&trace.commented("FETCH FORWARD 50 FROM export_rows")).await?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows.collect())
}

async fn finish(transaction: Transaction<'_>, trace: &Trace) -> Result<(), Error> {
    transaction.batch_execute(&trace.commented("CLOSE export_rows")).await?;
    transaction.commit().await
}

fn post_json(post: &SimpleQueryRow, author: Option<&str>) -> Value {
    json!({ "id": post.get("id"), "title": post.get("title"), "author": author })
}
