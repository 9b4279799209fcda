//! The breakdown of a team: four aggregates per member, with the member in another position each time.
//!
//! These statements are prepared under a name for each execution, as some drivers do by default.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use super::Request;

const TEAM: &str = "team-3";
const OPEN_ITEMS: &str = "SELECT count(*) FROM work_items WHERE assignee_id = $1 AND status = $2";
const POINTS_DONE: &str =
    "SELECT coalesce(sum(points), 0) FROM work_items WHERE status = $1 AND assignee_id = $2";
const COMMENTS: &str =
    "SELECT count(*) FROM comments WHERE created_at >= $1 AND created_at < $2 AND author_id = $3";
const LARGEST: &str =
    "SELECT coalesce(max(points), 0) FROM work_items WHERE points > $1 AND assignee_id = $2";
const BREAKDOWN: &str = "SELECT u.id, u.name, coalesce(w.open_items, 0) AS open_items, \
     coalesce(w.points_done, 0) AS points_done, coalesce(c.comments, 0) AS comments, coalesce(w.largest, 0) AS largest \
     FROM users u \
     LEFT JOIN (SELECT assignee_id, count(*) FILTER (WHERE status = 'open') AS open_items, \
                       coalesce(sum(points) FILTER (WHERE status = 'done'), 0) AS points_done, \
                       coalesce(max(points) FILTER (WHERE points > $1), 0) AS largest \
                FROM work_items GROUP BY assignee_id) w ON w.assignee_id = u.id \
     LEFT JOIN (SELECT author_id, count(*) AS comments FROM comments \
                WHERE created_at >= $2 AND created_at < $3 GROUP BY author_id) c ON c.author_id = u.id \
     WHERE u.team_id = $4 ORDER BY u.id";

/// Smallest estimate that counts as one.
const POINTS_ABOVE: i32 = 2;

pub(super) async fn breakdown(request: &Request) -> Result<Value, Error> {
    let (client, trace) = (&request.client, &request.trace);
    let (from, until) = period();
    let mut members = Vec::new();
    let list = "SELECT id, name FROM users WHERE team_id = $1 ORDER BY id";
    for member in request.rows(list, &[(&TEAM, Type::TEXT)]).await? {
        let id: i32 = member.get("id");
        let open_items = client.query_one(&trace.commented(OPEN_ITEMS), &[&id, &"open"]).await?;
        let points_done = client.query_one(&trace.commented(POINTS_DONE), &[&"done", &id]).await?;
        let comments = client.query_one(&trace.commented(COMMENTS), &[&from, &until, &id]).await?;
        let largest = client.query_one(&trace.commented(LARGEST), &[&POINTS_ABOVE, &id]).await?;
        let [open_items, points_done, comments] = [open_items, points_done, comments].map(|row| row.get(0));
        members.push(member_json(&member, open_items, points_done, comments, largest.get(0)));
    }
    Ok(json!(members))
}

pub(super) async fn breakdown_fixed(request: &Request) -> Result<Value, Error> {
    let (from, until) = period();
    let text = request.trace.commented(BREAKDOWN);
    let rows = request.client.query(&text, &[&POINTS_ABOVE, &from, &until, &TEAM]).await?;
    let members = rows.iter().map(|row| {
        let [open_items, points_done, comments] =
            ["open_items", "points_done", "comments"].map(|column| row.get(column));
        member_json(row, open_items, points_done, comments, row.get("largest"))
    });
    Ok(members.collect())
}

/// January and February of 2026, in which the comments were written.
fn period() -> (SystemTime, SystemTime) {
    let day = |number: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(number * 24 * 60 * 60);
    (day(20_454), day(20_513))
}

fn member_json(member: &Row, open_items: i64, points_done: i64, comments: i64, largest: i32) -> Value {
    json!({
        "id": member.get::<_, i32>("id"),
        "name": member.get::<_, &str>("name"),
        "open_items": open_items,
        "points_done": points_done,
        "comments": comments,
        "largest": largest,
    })
}
