//! The cache: what it saved by tag, what it keeps, why reads were not cached, and why one statement is not.
//!
//! Numbers are those of `/api/v1/cache`; the form that forgets a tag does what `/api/v1/cache/invalidate` does.

use askama::Template;
use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use pgtally_cache::BypassReason;
use serde::Deserialize;

use super::findings::NAME_CHARS;
use super::frame::Frame;
use super::health::{Samples, Table};
use super::login::is_own_form;
use super::text::{bytes, milliseconds, number, short, visible};
use super::{bad_form, not_own_form, page, problem};
use crate::admin::AdminState;
use crate::cached::views::{self, CacheAnswer, EntryView, ReasonView, TagView};
use crate::catalog::explain::{Explained, explain};

#[derive(Template)]
#[template(path = "cache.html")]
struct Page {
    frame: Frame,
    is_on: bool,
    facts: Vec<(&'static str, String)>,
    tags: Vec<Tag>,
    reasons: Vec<Reason>,
    kept: Vec<Kept>,
    is_whole: bool,
    tables: Vec<Table>,
    asked: ExplainQuery,
    /// What was asked about: nothing, or its statements.
    explained: Option<Vec<Explanation>>,
    /// Whether the database's definitions are known.
    is_known: bool,
}

struct Tag {
    name: String,
    whole_name: String,
    can_be_forgotten: bool,
    hits: String,
    misses: String,
    rate: String,
    saved: String,
    entries: String,
    bytes: String,
}

struct Reason {
    name: &'static str,
    words: &'static str,
    count: String,
}

struct Kept {
    fingerprint: String,
    mode: &'static str,
    tags: String,
    hits: String,
    cost: String,
    age: String,
    bytes: String,
    is_current: bool,
}

struct Explanation {
    statement: String,
    verdict: String,
    reads: String,
    writes: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ExplainQuery {
    #[serde(default)]
    database: String,
    #[serde(default)]
    sql: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ForgetForm {
    tag: String,
}

impl Tag {
    fn of(it: &TagView) -> Self {
        let hits = it.hits + it.stale;
        Self {
            name: short(&it.tag, NAME_CHARS),
            whole_name: it.tag.clone(),
            can_be_forgotten: it.entries > 0,
            hits: number(hits),
            misses: number(it.misses),
            rate: rate(hits, it.misses),
            saved: milliseconds(it.saved_ms),
            entries: number(it.entries),
            bytes: bytes(it.bytes as f64),
        }
    }
}

impl Reason {
    fn of(it: &ReasonView) -> Self {
        let known = BypassReason::ALL.into_iter().find(|reason| reason.name() == it.reason);
        Self { name: it.reason, words: known.map(words).unwrap_or_default(), count: number(it.count) }
    }
}

impl Kept {
    fn of(it: &EntryView) -> Self {
        Self {
            fingerprint: it.fingerprint.clone(),
            mode: it.mode,
            tags: short(&it.tags.join(", "), NAME_CHARS),
            hits: number(it.hits),
            cost: milliseconds(it.cost_ms),
            age: milliseconds(it.age_s * 1e3),
            bytes: bytes(it.bytes as f64),
            is_current: it.current,
        }
    }
}

impl Explanation {
    fn of(it: &Explained) -> Self {
        let reason = it.reason.and_then(|name| BypassReason::ALL.into_iter().find(|it| it.name() == name));
        let writes = if it.writes_everything { "any table".to_owned() } else { it.writes.join(", ") };
        Self {
            statement: visible(&it.statement),
            verdict: match reason {
                None => "Its answer may be kept, where a comment or a rule asks for it.".into(),
                Some(reason) => format!("Its answer is not kept: {}.", words(reason)),
            },
            reads: visible(&it.reads.join(", ")),
            writes: visible(&writes),
        }
    }
}

pub(super) async fn show(
    State(state): State<AdminState>,
    asked: Result<Query<ExplainQuery>, QueryRejection>,
) -> Response {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let answer = views::answer(state.asker.cache.as_deref(), state.asker.clock);
    let (explained, is_known) = if answer.enabled && !asked.sql.trim().is_empty() {
        let explanation = explain(&state.catalogs, &asked.database, &asked.sql).await;
        (Some(explanation.statements.iter().map(Explanation::of).collect()), explanation.complete)
    } else {
        (None, true)
    };
    let samples = Samples::of(&state).await;
    let of_cause = |family, title| Table::of(&samples, family, title, "Cause", "None yet.");
    page(&Page {
        is_on: answer.enabled,
        facts: facts(&answer),
        tags: answer.tags.iter().map(Tag::of).collect(),
        reasons: answer.bypassed.iter().map(Reason::of).collect(),
        kept: answer.kept.iter().map(Kept::of).collect(),
        is_whole: answer.complete,
        tables: vec![
            of_cause("pgtally_cache_invalidations_total", "Invalidations"),
            of_cause("pgtally_cache_evictions_total", "Evictions"),
        ],
        asked,
        explained,
        is_known,
        frame: Frame::new(&state, "Cache", "Cache"),
    })
}

/// Makes the answers with a tag old.
pub(super) async fn forget(
    State(state): State<AdminState>,
    headers: HeaderMap,
    form: Result<Form<ForgetForm>, FormRejection>,
) -> Response {
    if !is_own_form(&headers) {
        return not_own_form(&state);
    }
    match (form, &state.asker.cache) {
        (Ok(Form(ForgetForm { tag })), Some(cache)) => {
            cache.invalidate(&[tag], &[], false);
            Redirect::to("/cache").into_response()
        }
        (Err(_), _) => bad_form(&state),
        (_, None) => {
            problem(&state, StatusCode::CONFLICT, "No cache", "There is no cache: cache.enabled is off.")
        }
    }
}

fn facts(answer: &CacheAnswer) -> Vec<(&'static str, String)> {
    let sum = |of: fn(&TagView) -> u64| answer.tags.iter().map(of).sum::<u64>();
    let (hits, misses) = (sum(|tag| tag.hits + tag.stale), sum(|tag| tag.misses));
    vec![
        ("Hit rate", rate(hits, misses)),
        ("Hits", number(hits)),
        ("Misses", number(misses)),
        ("Database time saved", milliseconds(answer.tags.iter().map(|tag| tag.saved_ms).sum())),
        ("Entries", number(answer.entries as u64)),
        ("Bytes", bytes(answer.bytes as f64)),
        ("Bytes at most", bytes(answer.capacity_bytes as f64)),
        ("Hints that mean nothing", number(answer.nonsense)),
    ]
}

fn rate(hits: u64, misses: u64) -> String {
    let all = hits + misses;
    if all == 0 { "–".into() } else { format!("{:.1} %", hits as f64 / all as f64 * 100.0) }
}

/// What a reason means, and what would help, for somebody who has not read the manual.
fn words(reason: BypassReason) -> &'static str {
    match reason {
        BypassReason::Busy => "the session was waiting for other answers",
        BypassReason::CatalogUnknown => {
            "pgtally does not know the database's tables and functions: name a role for it, inspect.user"
        }
        BypassReason::ClientEncoding => "the session's encoding is not safe to read",
        BypassReason::Environment => "the session's settings could not be found out",
        BypassReason::ForeignTable => "it reads a foreign table, and who writes there is not seen",
        BypassReason::Function => "it calls a function that is volatile or unknown",
        BypassReason::Hint => "the statement or a rule says so",
        BypassReason::InTransaction => "it runs in a transaction, which has a view of its own",
        BypassReason::KeepAlive => "the server had to hear from the session again",
        BypassReason::KeyTooLong => "text and parameters are longer than keys may be",
        BypassReason::Locking => "it locks rows",
        BypassReason::LoginTrigger => "it reads a table that every login writes, by a trigger",
        BypassReason::NamedParse => "it defines a prepared statement, which the server has to know",
        BypassReason::NotParsed => "it is too long, or no PostgreSQL",
        BypassReason::NotRead => "it is no plain read",
        BypassReason::Portal => "its portal has a name or is fetched in pieces",
        BypassReason::Refused => "answers of this shape were hardly ever asked for again",
        BypassReason::RowSecurity => {
            "row security makes its rows depend on who asks, and no rule says on which settings (vary)"
        }
        BypassReason::Sequence => "it reads a sequence",
        BypassReason::SeveralStatements => "it came with other statements in one message",
        BypassReason::Standby => "the server is a standby, which may show less than the primary",
        BypassReason::SystemCatalog => "it reads catalogs or statistics",
        BypassReason::TableSample => "it samples a table",
        BypassReason::Temporary => "the session has temporary tables",
        BypassReason::UnknownStatement => "its prepared statement's definition was not seen, or is old",
        BypassReason::UnknownTable => "it reads a table that nobody knows",
        BypassReason::Unlogged => "it reads an unlogged table, whose rows a crash takes away",
        BypassReason::Upgrade => {
            "two processes serve during an upgrade, and neither knows what the other one writes"
        }
    }
}
