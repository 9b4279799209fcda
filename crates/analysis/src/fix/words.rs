//! Advice about everything that is not a loop.

use super::Orm;
use crate::shape::KnownShape;

const fn ms(ns: u64) -> u64 {
    ns / 1_000_000
}

/// What to do about a slow statement; tells the server's time from the rest.
pub(crate) fn slow_advice(server_ns: u64, transfer_ns: u64, rows: u64, p95_ns: Option<u64>) -> String {
    let times = format!("{} ms to the first byte, {} ms of transfer", ms(server_ns), ms(transfer_ns));
    let usual = p95_ns.map_or_else(String::new, |p95| match ms(p95) {
        0 => " (usually below 1 ms)".to_owned(),
        p95 => format!(" (usually below {p95} ms)"),
    });
    let remedy = if transfer_ns > server_ns {
        "select fewer rows and columns, or page through them"
    } else {
        "look at its plan with EXPLAIN (ANALYZE, BUFFERS), and at indexes for the columns it filters by"
    };
    format!("{times}{usual}, {rows} rows: {remedy}.")
}

/// What to do about a request of many statements, or one that mostly waits for the client inside transactions.
pub(crate) fn chatty_advice(queries: u64, waiting_ns: Option<u64>) -> String {
    let waits = waiting_ns.map(|waiting| {
        format!(
            "The server waited {} ms for the client inside transactions: compute and call others before or after them.",
            ms(waiting)
        )
    });
    waits.unwrap_or_else(|| {
        format!("{queries} statements for one request: load what belongs together at once, and keep what is read again.")
    })
}

/// What to do about a transaction that waits.
pub(crate) fn idle_advice(waited_ns: u64, has_written: bool) -> String {
    let harm = if has_written {
        "its locks block others, and vacuum waits for it"
    } else {
        "it holds a connection, and vacuum waits for it"
    };
    format!(
        "The transaction stood open for {} ms without a statement; {harm}. Commit before slow work such as calls to \
         other services, and set idle_in_transaction_session_timeout.",
        ms(waited_ns)
    )
}

pub(super) fn count_then_select(orm: Option<Orm>, known: &KnownShape) -> &'static str {
    match orm {
        Some(Orm::ActiveRecord) => "Load the relation once and ask it for its `size` (not `count`).",
        Some(Orm::Django) => {
            "Evaluate the queryset once and take `len(…)`; for pages, a paginator that doesn't count."
        }
        Some(Orm::Hibernate) => {
            "Ask for a `Slice` in place of a `Page`, or count only when the total is shown."
        }
        Some(Orm::Laravel) => "Use `simplePaginate(…)`, or count the loaded collection.",
        _ if known.facts.tables_read.len() > 1 => {
            "Take `count(*) OVER ()` along with the rows, or count what was read."
        }
        _ => {
            "Count the rows that were read; for pages, read one row more than is shown, or `count(*) OVER ()`."
        }
    }
}

pub(super) fn over_fetch(orm: Option<Orm>, columns: &[String]) -> String {
    let remedy = match orm {
        Some(Orm::ActiveRecord) => "`select(…)` the columns that are used",
        Some(Orm::Django) => "`defer(…)` or `only(…)`",
        Some(Orm::Hibernate) => "a projection, or a lazy basic attribute",
        Some(Orm::Prisma) => "`select` or `omit`",
        Some(Orm::Sequelize) => "`attributes`",
        Some(Orm::SqlAlchemy) => "`defer(…)` or `load_only(…)`",
        Some(_) | None => "select the columns that are used",
    };
    format!("Most of the bytes are {}: leave it out where it is not shown ({remedy}).", columns.join(", "))
}

pub(super) fn reread(orm: Option<Orm>, spans_transactions: bool) -> &'static str {
    match orm {
        Some(Orm::SqlAlchemy) if spans_transactions => {
            "Objects are read again after each commit: `expire_on_commit=False`, or use what was written."
        }
        Some(Orm::SqlAlchemy) => "Use what was written; `eager_defaults=True` takes defaults by RETURNING.",
        Some(Orm::Django) => {
            "Use the object that was saved in place of `refresh_from_db()` or a new `get()`."
        }
        Some(Orm::ActiveRecord) => "Use the object that was saved in place of `reload` or a new `find`.",
        Some(Orm::Hibernate) => {
            "Use the managed entity; `refresh` only what the database computes (`@Generated`)."
        }
        Some(_) | None => "Use what was written; take what the database computes by RETURNING.",
    }
}

pub(super) fn sequential(known: &KnownShape) -> &'static str {
    if known.facts.is_parsed {
        "None of these reads needs another's values: send them together (a pipeline, or one statement), or side by side."
    } else {
        "Send these reads together."
    }
}

pub(super) fn unbounded(orm: Option<Orm>, rows: u64) -> String {
    let remedy = match orm {
        Some(Orm::ActiveRecord) => "`limit`, `find_each` or `in_batches`",
        Some(Orm::Django) => "a slice, a paginator or `iterator()`",
        Some(Orm::Hibernate) => "`setMaxResults`, a page, or a scrolled result",
        Some(Orm::Laravel) => "`limit`, `chunkById` or `lazy`",
        Some(Orm::Prisma) => "`take` and a cursor",
        Some(Orm::SqlAlchemy) => "`limit(…)`, or `yield_per(…)` with a server-side cursor",
        Some(_) | None => "a LIMIT with a key to go on from, an aggregate in SQL, or a cursor",
    };
    format!("{rows} rows without a LIMIT, and more with each row that is added: {remedy}.")
}
