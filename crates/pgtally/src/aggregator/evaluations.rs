//! Which requests the rules look at when there are more of them than they need.
//!
//! To judge a request costs several times what it costs to count it, and the thousandth request of a route shows what
//! the first one did. So a second has room for a number of judgements, of which every route has a few for itself. What
//! is not judged is counted exactly all the same, and counted as not judged. A request that stands out is always judged:
//! one with a slow statement, or with more statements or rows than any of its route in this second.

use std::sync::Arc;

use pgtally_analysis::{Moment, Request};
use rustc_hash::FxHashMap;

use crate::limits::{EVALUATED_PER_ROUTE, EVALUATED_PER_SECOND};

const SECOND_NS: u64 = 1_000_000_000;

/// What was judged in this second.
#[derive(Default)]
pub(super) struct Evaluations {
    began: Moment,
    judged: u32,
    /// At most as many as requests can be over in a second: emptied with each.
    routes: FxHashMap<Arc<str>, Judged>,
}

#[derive(Default)]
struct Judged {
    requests: u32,
    queries_max: u64,
    rows_max: u64,
}

impl Evaluations {
    /// Whether to judge `request` now. Statements of `slow_ns` nanoseconds and more are slow.
    pub(super) fn admit(&mut self, request: &Request, slow_ns: u64, now: Moment) -> bool {
        if now.since(self.began) >= SECOND_NS {
            self.began = now;
            self.judged = 0;
            self.routes.clear();
        }
        let route = match self.routes.get_mut(request.route()) {
            Some(route) => route,
            None => self.routes.entry(Arc::clone(request.route())).or_default(),
        };
        let (mut rows, mut slowest_ns) = (0, 0);
        for record in request.records() {
            rows += u64::from(record.statement.rows);
            slowest_ns = slowest_ns.max(record.statement.duration_ns());
        }
        let has_room = route.requests < EVALUATED_PER_ROUTE || self.judged < EVALUATED_PER_SECOND;
        let stands_out =
            slowest_ns >= slow_ns || request.queries() > route.queries_max || rows > route.rows_max;
        let is_admitted = has_room || stands_out;
        if is_admitted {
            self.judged += 1;
            route.requests += 1;
            route.queries_max = route.queries_max.max(request.queries());
            route.rows_max = route.rows_max.max(rows);
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use pgtally_analysis::{ShortDuration, StatementRecord};

    use super::*;
    use crate::aggregator::requests::tests::part;

    const SLOW_NS: u64 = 500_000_000;

    /// A request of so many statements, each as long.
    fn request(route: &str, statements: usize, milliseconds: u64) -> Request {
        let server = ShortDuration::from_ns(milliseconds * 1_000_000);
        let mut part = part("a", 0);
        part.route = route.into();
        part.records = vec![StatementRecord { server, ..StatementRecord::default() }; statements];
        Request::new(part)
    }

    fn admitted(evaluations: &mut Evaluations, route: &str, times: u32, now: Moment) -> u32 {
        let request = request(route, 10, 1);
        (0..times).map(|_| u32::from(evaluations.admit(&request, SLOW_NS, now))).sum()
    }

    #[test]
    fn every_route_has_its_part_of_a_second() {
        let mut evaluations = Evaluations::default();
        assert_eq!(admitted(&mut evaluations, "/busy", 10_000, Moment(0)), EVALUATED_PER_SECOND);
        assert_eq!(admitted(&mut evaluations, "/quiet", 10_000, Moment(1)), EVALUATED_PER_ROUTE);
        let later = Moment(SECOND_NS);
        assert_eq!(admitted(&mut evaluations, "/busy", 10_000, later), EVALUATED_PER_SECOND);
    }

    #[test]
    fn what_stands_out_is_always_judged() {
        let mut evaluations = Evaluations::default();
        admitted(&mut evaluations, "/busy", 10_000, Moment(0));
        let (longer, slow) = (request("/busy", 11, 1), request("/busy", 1, 600));
        assert!(evaluations.admit(&longer, SLOW_NS, Moment(1)));
        assert!(!evaluations.admit(&longer, SLOW_NS, Moment(2)), "one of its kind is enough");
        assert!(evaluations.admit(&slow, SLOW_NS, Moment(3)));
        assert!(evaluations.admit(&slow, SLOW_NS, Moment(4)), "each slow one counts");
    }
}
