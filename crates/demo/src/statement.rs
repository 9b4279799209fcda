//! The comment that ties a statement to its HTTP request, as an instrumented application writes it (sqlcommenter).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What sqlcommenter leaves as it is, beside letters and digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One HTTP request in the eyes of tracing: a trace, in which every statement is a span.
pub(crate) struct Trace {
    route: String,
    trace_id: u128,
    span_id: AtomicU64,
}

impl Trace {
    /// A new trace for one request of `route`.
    pub(crate) fn new(route: &str) -> Self {
        let trace_id = u128::from(random()) << 64 | u128::from(random());
        let route = utf8_percent_encode(route, ENCODED).to_string();
        // Zero is no span.
        Self { route, trace_id, span_id: AtomicU64::new(random() | 1) }
    }

    /// `sql` with the comment of its own span.
    pub(crate) fn commented(&self, sql: &str) -> String {
        let span_id = self.span_id.fetch_add(2, Ordering::Relaxed);
        let Self { route, trace_id, .. } = self;
        format!(
            "{sql} /*db_driver='tokio-postgres',framework='axum',route='{route}',\
             traceparent='00-{trace_id:032x}-{span_id:016x}-01'*/"
        )
    }
}

/// The standard library's hasher keys are random; good enough for ids that only need to differ.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::Trace;

    #[test]
    fn statements_of_a_request_share_the_trace_but_not_the_span() {
        let trace = Trace::new("GET /work-items");
        let [first, second] = ["SELECT 1", "SELECT 1"].map(|sql| trace.commented(sql));
        assert!(first.starts_with("SELECT 1 /*db_driver='tokio-postgres'"), "{first}");
        assert!(first.contains("route='GET%20%2Fwork-items',traceparent='00-"), "{first}");
        assert_ne!(first, second);
        let trace_id = |text: &str| text.split("'00-").nth(1).map(|rest| rest[..32].to_owned());
        assert_eq!(trace_id(&first), trace_id(&second));
        assert_ne!(trace_id(&first), trace_id(&Trace::new("GET /").commented("")));
    }
}
