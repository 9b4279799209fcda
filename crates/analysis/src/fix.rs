//! What to do about a finding, in the words of the application's ORM.
//!
//! The ORM is recognised by the `framework` or driver tag, else by its SQL dialect: most write their statements in a
//! way nobody else does. Where neither tells, the advice is the rewritten statement.
//!
//! Deliberately absent: certainty. A wrong guess costs a misleading word, so each dialect asks for two signs.

mod dialect;
mod words;

use crate::finding::FindingKind;
use crate::shape::KnownShape;
pub(crate) use dialect::Orm;
pub(crate) use words::{chatty_advice, idle_advice, slow_advice};
use words::{count_then_select, over_fetch, reread, sequential, unbounded};

/// What the advice depends on.
pub(crate) struct Occasion<'a> {
    pub(crate) kind: FindingKind,
    pub(crate) known: &'a KnownShape,
    /// The `framework` tag, may be empty.
    pub(crate) framework: &'a str,
    /// `table.column` of the parent whose values are the keys.
    pub(crate) column: Option<&'a str>,
    /// What the reader must know about the rewrite.
    pub(crate) note: Option<&'static str>,
    pub(crate) has_rewrite: bool,
    pub(crate) is_parallel: bool,
    pub(crate) spans_transactions: bool,
    /// The columns the finding is about.
    pub(crate) columns: &'a [String],
    /// Rows of the statements.
    pub(crate) rows: u64,
}

/// What to do, in one to three sentences.
pub(crate) fn advice(it: &Occasion<'_>) -> String {
    let orm = Orm::recognise(it.framework, &it.known.shape.text);
    let mut text = match it.kind {
        FindingKind::CountThenSelect => count_then_select(orm, it.known).to_owned(),
        FindingKind::Duplicate => duplicate(orm, it.spans_transactions).to_owned(),
        FindingKind::NPlusOne => n_plus_one(orm, it),
        FindingKind::NPlusOneWrite => write_loop(orm).to_owned(),
        FindingKind::OverFetch => over_fetch(orm, it.columns),
        FindingKind::RereadAfterWrite => reread(orm, it.spans_transactions).to_owned(),
        FindingKind::SequentialIndependent => sequential(it.known).to_owned(),
        FindingKind::UnboundedResult => unbounded(orm, it.rows),
        FindingKind::ChattyRequest
        | FindingKind::IdleInTransaction
        | FindingKind::QueryCountRegression
        | FindingKind::SlowStatement => String::new(),
    };
    if it.has_rewrite {
        text.push_str(" The rewrite does it in one statement");
        text.push_str(&it.note.map_or_else(String::new, |note| format!(" ({note})")));
        text.push('.');
    }
    if it.is_parallel {
        text.push_str(" The repeats run side by side on several connections.");
    }
    text
}

fn n_plus_one(orm: Option<Orm>, it: &Occasion<'_>) -> String {
    let relation = it.column.and_then(|column| column.rsplit('.').next()).unwrap_or("");
    let relation = relation.trim_end_matches("_id").trim_end_matches("Id");
    // An aggregate is not a relation that could be loaded ahead.
    if it.known.facts.has_aggregate {
        return aggregate(orm).to_owned();
    }
    let of = |call: &str| {
        let names_relation = !relation.is_empty() && !relation.eq_ignore_ascii_case("id");
        if names_relation { format!("{call} for `{relation}`") } else { call.to_owned() }
    };
    match orm {
        Some(Orm::ActiveRecord) => {
            format!("Load the association ahead: {} on the parent query.", of("`includes(…)`"))
        }
        Some(Orm::Django) => format!(
            "Load the relation ahead on the parent's queryset: {} for a foreign key, `prefetch_related(…)` for many.",
            if relation.is_empty() || relation == "id" {
                "`select_related(…)`".to_owned()
            } else {
                format!("`select_related('{relation}')`")
            }
        ),
        Some(Orm::Drizzle) => format!(
            "Load the relation ahead: {} in a relational query, or `leftJoin(…)` in the parent query.",
            of("`with`")
        ),
        Some(Orm::Ecto) => format!("Load the association ahead: {} in the parent query.", of("`preload:`")),
        Some(Orm::EfCore) => {
            format!("Load the navigation ahead: {} on the parent query.", of("`Include(…)`"))
        }
        Some(Orm::Gorm) => format!("Load the association ahead: {} on the parent query.", of("`Preload(…)`")),
        Some(Orm::Hibernate) => format!(
            "Fetch the association with its parent: {}, an entity graph, or `@BatchSize` on it.",
            of("`JOIN FETCH`")
        ),
        Some(Orm::Knex) => {
            "Read all keys at once: `whereIn(…)`, `join(…)` in the parent query, or `withGraphFetched(…)` of Objection."
                .to_owned()
        }
        Some(Orm::Laravel) => format!("Load the relation ahead: {} on the parent query.", of("`with(…)`")),
        Some(Orm::Prisma) => format!("Load the relation ahead: {} in the parent query.", of("`include`")),
        Some(Orm::Sequelize) => {
            format!("Load the association ahead: {} in the parent query.", of("`include`"))
        }
        Some(Orm::SqlAlchemy) => format!(
            "Load the relationship ahead: {}, or `joinedload(…)` for a single row, in the parent query's options.",
            of("`selectinload(…)`")
        ),
        Some(Orm::TypeOrm) => {
            format!(
                "Load the relation ahead: {} or `leftJoinAndSelect` in the parent query.",
                of("`relations`")
            )
        }
        None => "Read all keys at once: join to the parent's query, or ask with a list of keys.".to_owned(),
    }
}

fn aggregate(orm: Option<Orm>) -> &'static str {
    match orm {
        Some(Orm::ActiveRecord) => {
            "Compute it for all parents at once: `group(…)`, or a counter cache for counts."
        }
        Some(Orm::Django) => "Compute it for all parents at once: `annotate(…)` on the parent's queryset.",
        Some(Orm::Laravel) => "Compute it for all parents at once: `withCount(…)` or `withSum(…)`.",
        Some(Orm::Prisma) => {
            "Compute it for all parents at once: `groupBy`, or `_count` in the parent's `select`."
        }
        Some(_) | None => "Compute it for all parents at once: GROUP BY the key.",
    }
}

fn duplicate(orm: Option<Orm>, spans_transactions: bool) -> &'static str {
    match orm {
        Some(Orm::SqlAlchemy) if spans_transactions => {
            "Objects are read again after each commit: `expire_on_commit=False`, or commit once per request."
        }
        Some(Orm::Django) => {
            "Keep the result for the request: evaluate the queryset once, or use `cached_property`."
        }
        Some(Orm::ActiveRecord) => {
            "Keep the result for the request: memoize it, and check that the query cache is on."
        }
        Some(_) | None => "Read it once per request and pass the result on.",
    }
}

fn write_loop(orm: Option<Orm>) -> &'static str {
    match orm {
        Some(Orm::ActiveRecord) => "Write the rows at once: `insert_all`, `upsert_all` or `update_all`.",
        Some(Orm::Django) => {
            "Write the rows at once: `bulk_create`, `bulk_update` or a queryset's `update()`."
        }
        Some(Orm::Drizzle) => {
            "Write the rows at once: `insert(…).values([...])`, or one `update(…)` for all."
        }
        Some(Orm::Ecto) => "Write the rows at once: `Repo.insert_all` or `Repo.update_all`.",
        Some(Orm::EfCore) => "Write the rows at once: one `SaveChanges` for all, or `ExecuteUpdate`.",
        Some(Orm::Gorm) => "Write the rows at once: `CreateInBatches`, or one `Updates` with a WHERE.",
        Some(Orm::Hibernate) => {
            "Write the rows in batches: `hibernate.jdbc.batch_size`, and ids that allow it."
        }
        Some(Orm::Knex) => {
            "Write the rows at once: `insert([...])`, `batchInsert(…)`, or `whereIn(…)` for an update."
        }
        Some(Orm::Laravel) => "Write the rows at once: `insert([...])`, `upsert(…)` or one `update(…)`.",
        Some(Orm::Prisma) => "Write the rows at once: `createMany` or `updateMany`.",
        Some(Orm::Sequelize) => "Write the rows at once: `bulkCreate`, or one `update` with a `where`.",
        Some(Orm::SqlAlchemy) => {
            "Write the rows at once: `insert(…).values([...])` or `session.execute` with a list."
        }
        Some(Orm::TypeOrm) => "Write the rows at once: `insert([...])` or a query builder's `update`.",
        None => "Write the rows at once: several VALUES rows, UNNEST of arrays, COPY, or a pipelined batch.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::known;

    fn occasion<'a>(kind: FindingKind, known: &'a KnownShape, column: Option<&'a str>) -> Occasion<'a> {
        Occasion {
            kind,
            known,
            framework: "",
            column,
            note: None,
            has_rewrite: false,
            is_parallel: false,
            spans_transactions: false,
            columns: &[],
            rows: 0,
        }
    }

    #[test]
    fn advice_speaks_the_orms_language() {
        let django = known(
            "SELECT \"shop_author\".\"id\", \"shop_author\".\"name\" FROM \"shop_author\" WHERE \"shop_author\".\"id\" = $1 LIMIT $2",
        );
        let text = advice(&occasion(FindingKind::NPlusOne, &django, Some("shop_post.author_id")));
        assert!(text.contains("`select_related('author')`") && text.contains("prefetch_related"), "{text}");
        let plain = known("SELECT name FROM authors WHERE id = $1");
        let tagged = Occasion { framework: "rails", ..occasion(FindingKind::NPlusOne, &plain, None) };
        assert!(advice(&tagged).contains("`includes(…)`"));
        let bare = Occasion {
            has_rewrite: true,
            note: Some("a note"),
            ..occasion(FindingKind::NPlusOne, &plain, None)
        };
        let text = advice(&bare);
        assert!(
            text.contains("join to the parent's query") && text.ends_with("one statement (a note)."),
            "{text}"
        );
    }

    #[test]
    fn reads_after_commit_are_told_apart() {
        let shape =
            known("SELECT users.id AS users_id, users.name AS users_name FROM users WHERE users.id = $1");
        let again = Occasion { spans_transactions: true, ..occasion(FindingKind::Duplicate, &shape, None) };
        assert!(advice(&again).contains("expire_on_commit=False"));
        assert!(!advice(&occasion(FindingKind::Duplicate, &shape, None)).contains("expire"));
    }

    #[test]
    fn slow_advice_tells_server_from_transfer() {
        assert!(
            slow_advice(200_000_000, 1_000_000, 3, None)
                .starts_with("200 ms to the first byte, 1 ms of transfer")
        );
        assert!(slow_advice(1, 200_000_000, 90_000, None).contains("fewer rows"));
    }
}
