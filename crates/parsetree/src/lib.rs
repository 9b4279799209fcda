//! Asks libpg_query what a new statement shape reads, writes and calls.
//!
//! [`facts`] (and for the cache [`access()`]) is called once per new shape, off the hot path, with the normalized text;
//! it answers with plain data that the pure crates use without knowing the C library. Whatever libpg_query refuses is
//! "unknown", never an error.
//!
//! Deliberately absent: any use of the raw text a client sent (it may hold secrets), and any memory of earlier calls.
//!
//! Read next: `collector.rs` (the walk), `access.rs` (the stricter one), `scope.rs` (what an alias stands for),
//! `children.rs` (how expressions nest).

mod access;
mod children;
mod collector;
mod compare;
mod names;
mod outputs;
mod scope;
mod source;

use std::thread;

use pg_query::FingerprintOptions;
use pgtally_fingerprint::{Access, ShapeFacts, WHOLE_BYTES_MAX};

/// Stack of the thread that parses. libpg_query measures the stack it runs on and refuses deeper trees by an error
/// of its own; prost refuses messages nested deeper than 100. Both need well below this.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// What the parse tree of one normalized statement tells.
///
/// Texts that are longer than [`WHOLE_BYTES_MAX`], hold no or several statements, nest too deeply or are no
/// PostgreSQL give [`ShapeFacts::default`], which says "unknown". DDL and other utility statements are parsed for
/// validity only.
///
/// ```
/// let facts = pgtally_parsetree::facts("SELECT p.author_id FROM posts p WHERE p.id = $1");
/// assert_eq!(facts.tables_read[0].name, "posts");
/// assert_eq!(facts.outputs[0].column.as_deref(), Some("author_id"));
/// ```
#[must_use]
pub fn facts(normalized: &str) -> ShapeFacts {
    if !is_acceptable(normalized) {
        return ShapeFacts::default();
    }
    on_own_stack(|| facts_here(normalized)).unwrap_or_default()
}

/// What one normalized statement reads, calls and writes, for the cache: all of it, or "unknown".
///
/// Texts that [`facts`] does not understand, and trees with anything this crate has no opinion on, give
/// [`Access::default`]: such a statement may do everything, and its answer may not be remembered. Definitions are
/// told by their first word.
///
/// ```
/// use pgtally_fingerprint::Effect;
///
/// let access = pgtally_parsetree::access("WITH gone AS (DELETE FROM carts RETURNING id) SELECT * FROM gone");
/// assert_eq!((access.effect, access.writes[0].name.as_str()), (Effect::Rows, "carts"));
/// ```
#[must_use]
pub fn access(normalized: &str) -> Access {
    if !is_acceptable(normalized) {
        return Access::default();
    }
    if let Some(access) = access::by_first_word(normalized) {
        return access;
    }
    let parsed = on_own_stack(|| pg_query::parse(normalized, 0).ok().map(|it| access::collect(&it.protobuf)));
    parsed.flatten().unwrap_or_default()
}

/// The fingerprint of libpg_query (16 hexadecimal digits), for interoperability with tools that use it; `None` where
/// it can't be computed.
#[must_use]
pub fn fingerprint(text: &str) -> Option<String> {
    if !is_acceptable(text) {
        return None;
    }
    on_own_stack(|| pg_query::fingerprint(text, 0, FingerprintOptions::DEFAULT).ok().map(|it| it.hex))?
}

/// Whether PostgreSQL's grammar accepts the text (which may hold `$n` parameters).
#[must_use]
pub fn is_valid(text: &str) -> bool {
    fingerprint(text).is_some()
}

fn is_acceptable(text: &str) -> bool {
    !text.is_empty() && text.len() <= WHOLE_BYTES_MAX && !text.contains('\0')
}

fn facts_here(normalized: &str) -> ShapeFacts {
    if !names::is_walkable(normalized) {
        let is_parsed = pg_query::fingerprint(normalized, 0, FingerprintOptions::DEFAULT).is_ok();
        return ShapeFacts { is_parsed, ..ShapeFacts::default() };
    }
    match pg_query::parse(normalized, 0) {
        Ok(result) => collector::collect(&result.protobuf),
        Err(_) => ShapeFacts::default(),
    }
}

/// Runs `work` on a thread with a stack of known size. A panic inside, or no thread to be had, is `None`: an
/// unknown shape must not end the caller.
fn on_own_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("parsetree".into()).stack_size(STACK_BYTES);
        builder.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

#[cfg(test)]
mod tests;
