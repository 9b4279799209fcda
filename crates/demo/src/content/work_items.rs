//! The tree of work items (1 + 3N statements) and the creation of one (which reads again what it has just written).

use std::collections::HashMap;

use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use super::Request;

const EPIC: i32 = 7;
const CHILDREN: &str =
    "SELECT id, title, parent_id, assignee_id, team_id FROM work_items WHERE parent_id = $1 ORDER BY id";
const ITEM: &str = "SELECT id, title, status, team_id FROM work_items WHERE id = $1";
const INSERT: &str = "INSERT INTO work_items (team_id, title, status, points) VALUES ($1, $2, 'open', $3) RETURNING id, title, status, team_id";

pub(super) async fn tree(request: &Request) -> Result<Value, Error> {
    let mut items = Vec::new();
    for item in request.rows(CHILDREN, &[(&EPIC, Type::INT4)]).await? {
        let assignee = assignee_name(request, item.get("assignee_id")).await?;
        let team = team_name(request, item.get("team_id")).await?;
        let parent = title(request, item.get("parent_id")).await?;
        items.push(item_json(&item, assignee, team, parent));
    }
    Ok(json!(items))
}

pub(super) async fn tree_fixed(request: &Request) -> Result<Value, Error> {
    let rows = request.rows(CHILDREN, &[(&EPIC, Type::INT4)]).await?;
    let assignee_ids: Vec<i32> = rows.iter().map(|row| row.get("assignee_id")).collect();
    let team_ids: Vec<String> = rows.iter().map(|row| row.get("team_id")).collect();
    let by_ids = "SELECT id, name FROM users WHERE id = ANY($1)";
    let assignees: HashMap<i32, String> =
        named(request.rows(by_ids, &[(&assignee_ids, Type::INT4_ARRAY)]).await?);
    let by_ids = "SELECT id, name FROM teams WHERE id = ANY($1)";
    let teams: HashMap<String, String> = named(request.rows(by_ids, &[(&team_ids, Type::TEXT_ARRAY)]).await?);
    let parent = title(request, EPIC).await?;
    let items = rows.iter().zip(assignee_ids).zip(team_ids).map(|((row, assignee), team)| {
        item_json(row, assignees.get(&assignee).cloned(), teams.get(&team).cloned(), parent.clone())
    });
    Ok(items.collect())
}

pub(super) async fn create(request: &Request) -> Result<Value, Error> {
    let Some(created) = insert(request).await? else { return Ok(Value::Null) };
    let id: i32 = created.get("id");
    // The model refreshes itself, the permission check loads it, and so does the serializer.
    refreshed(request, id).await?;
    refreshed(request, id).await?;
    Ok(refreshed(request, id).await?.map_or(Value::Null, |row| created_json(&row)))
}

pub(super) async fn create_fixed(request: &Request) -> Result<Value, Error> {
    Ok(insert(request).await?.map_or(Value::Null, |row| created_json(&row)))
}

async fn insert(request: &Request) -> Result<Option<Row>, Error> {
    let (team, title, points) = ("team-2", "Write the release notes", 3_i32);
    request.row(INSERT, &[(&team, Type::TEXT), (&title, Type::TEXT), (&points, Type::INT4)]).await
}

async fn refreshed(request: &Request, id: i32) -> Result<Option<Row>, Error> {
    request.row(ITEM, &[(&id, Type::INT4)]).await
}

async fn assignee_name(request: &Request, id: i32) -> Result<Option<String>, Error> {
    // Applications count in 64 bits where the column has 32.
    let row =
        request.row("SELECT id, name FROM users WHERE id = $1", &[(&i64::from(id), Type::INT8)]).await?;
    Ok(row.map(|row| row.get("name")))
}

async fn team_name(request: &Request, id: String) -> Result<Option<String>, Error> {
    let row = request.row("SELECT id, name FROM teams WHERE id = $1", &[(&id, Type::TEXT)]).await?;
    Ok(row.map(|row| row.get("name")))
}

async fn title(request: &Request, id: i32) -> Result<Option<String>, Error> {
    let row = request.row("SELECT id, title FROM work_items WHERE id = $1", &[(&id, Type::INT4)]).await?;
    Ok(row.map(|row| row.get("title")))
}

fn named<K>(rows: Vec<Row>) -> HashMap<K, String>
where
    K: std::hash::Hash + Eq + for<'a> tokio_postgres::types::FromSql<'a>,
{
    rows.iter().map(|row| (row.get("id"), row.get("name"))).collect()
}

fn item_json(item: &Row, assignee: Option<String>, team: Option<String>, parent: Option<String>) -> Value {
    json!({
        "id": item.get::<_, i32>("id"),
        "title": item.get::<_, &str>("title"),
        "assignee": assignee,
        "team": team,
        "parent": parent,
    })
}

fn created_json(item: &Row) -> Value {
    let [title, status, team] = ["title", "status", "team_id"].map(|column| item.get::<_, &str>(column));
    json!({ "title": title, "status": status, "team": team })
}
