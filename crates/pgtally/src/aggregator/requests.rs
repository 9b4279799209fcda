//! Requests on their way from first part to history.
//!
//! ```text
//!  part ─▶ open ──quiet 300 ms──▶ evaluated ──quiet 2 s──▶ recorded ──quiet 30 s──▶ recent (the API's last 1,000)
//!           ▲                        │                        │
//!           └────────late part───────┴────────────────────────┘
//! ```
//! Findings forgive a second evaluation, histograms don't: a request is recorded once, and a part that comes after
//! that is counted as late. Units guessed from the wire have one part and go to *recent* at once.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use pgtally_analysis::{KeyValue, Moment, Request, RequestPart, StatementRecord};
use rustc_hash::FxHashMap;

use crate::limits::{
    OPEN_BYTES_MAX, OPEN_REQUESTS_MAX, RECENT_BYTES_MAX, RECENT_REQUESTS_MAX, RECORD_AFTER, REQUEST_LIFE,
    SETTLE,
};

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Let the rules look at it.
    Evaluate,
    /// A part came too late for the histograms.
    Late,
    /// Enter it into the histograms.
    Record,
}

/// Steps that have become due, in order.
pub(super) type Steps = Vec<(Arc<Request>, Step)>;

#[derive(Default)]
pub(super) struct Requests {
    open: FxHashMap<Arc<str>, Open>,
    /// When each open request is to be looked at again.
    due: BTreeSet<(Moment, Arc<str>)>,
    open_bytes: usize,
    recent: VecDeque<Arc<Request>>,
    recent_bytes: usize,
}

struct Open {
    request: Arc<Request>,
    bytes: usize,
    last_part: Moment,
    due: Moment,
    is_evaluated: bool,
    is_recorded: bool,
}

impl Requests {
    /// Adds a part to its request; answers with what that makes due at once.
    pub(super) fn absorb(&mut self, part: RequestPart, now: Moment) -> Steps {
        let mut steps = Vec::new();
        let bytes = part_bytes(&part);
        let due = after(now, SETTLE);
        match self.open.get_mut(&part.key) {
            Some(open) => {
                self.due.remove(&(open.due, Arc::clone(&part.key)));
                self.due.insert((due, Arc::clone(&part.key)));
                Arc::make_mut(&mut open.request).absorb(part);
                open.bytes += bytes;
                (open.last_part, open.due, open.is_evaluated) = (now, due, false);
                if open.is_recorded {
                    steps.push((Arc::clone(&open.request), Step::Late));
                }
            }
            None => {
                let key = Arc::clone(&part.key);
                let request = Arc::new(Request::new(part));
                let open =
                    Open { request, bytes, last_part: now, due, is_evaluated: false, is_recorded: false };
                self.due.insert((due, Arc::clone(&key)));
                self.open.insert(key, open);
            }
        }
        self.open_bytes += bytes;
        while self.open.len() > OPEN_REQUESTS_MAX || self.open_bytes > OPEN_BYTES_MAX {
            let Some((_, key)) = self.due.pop_first() else { break };
            self.close(&key, &mut steps);
        }
        steps
    }

    /// When something is to be done next.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The next step that is due, if any. A request whose life is over goes to the recent ones on the way.
    pub(super) fn take_due(&mut self, now: Moment) -> Option<(Arc<Request>, Step)> {
        while self.next_due().is_some_and(|due| due <= now) {
            let (_, key) = self.due.pop_first()?;
            let Some(open) = self.open.get_mut(&key) else { continue };
            let step = if !open.is_evaluated {
                open.is_evaluated = true;
                let wait = if open.is_recorded { REQUEST_LIFE } else { RECORD_AFTER };
                open.due = after(open.last_part, wait);
                Step::Evaluate
            } else if !open.is_recorded {
                open.is_recorded = true;
                open.due = after(open.last_part, REQUEST_LIFE);
                Step::Record
            } else {
                self.close(&key, &mut Vec::new());
                continue;
            };
            self.due.insert((open.due, Arc::clone(&key)));
            return Some((Arc::clone(&open.request), step));
        }
        None
    }

    /// Moves an open request to the recent ones, with the steps it has not taken yet.
    fn close(&mut self, key: &Arc<str>, steps: &mut Steps) {
        let Some(open) = self.open.remove(key) else { return };
        self.open_bytes = self.open_bytes.saturating_sub(open.bytes);
        if !open.is_evaluated {
            steps.push((Arc::clone(&open.request), Step::Evaluate));
        }
        if !open.is_recorded {
            steps.push((Arc::clone(&open.request), Step::Record));
        }
        self.keep(open.request);
    }

    /// Keeps a finished request for the API, as long as there is room.
    pub(super) fn keep(&mut self, request: Arc<Request>) {
        self.recent_bytes += request_bytes(&request);
        self.recent.push_back(request);
        while self.recent.len() > RECENT_REQUESTS_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes = self.recent_bytes.saturating_sub(request_bytes(&oldest));
        }
    }

    /// All requests with whether more may come, with the parts that sessions have open right now.
    ///
    /// A request counts as open while a session has it open, or while it has not been quiet for long enough to be
    /// evaluated.
    pub(super) fn all(&self, open_parts: Vec<RequestPart>) -> Vec<(Arc<Request>, bool)> {
        let mut all: FxHashMap<Arc<str>, (Arc<Request>, bool)> = FxHashMap::default();
        for request in &self.recent {
            all.insert(Arc::clone(request.key()), (Arc::clone(request), false));
        }
        for (key, open) in &self.open {
            all.insert(Arc::clone(key), (Arc::clone(&open.request), !open.is_evaluated));
        }
        for part in open_parts {
            match all.get_mut(&part.key) {
                Some((request, is_open)) => {
                    Arc::make_mut(request).absorb(part);
                    *is_open = true;
                }
                None => {
                    all.insert(Arc::clone(&part.key), (Arc::new(Request::new(part)), true));
                }
            }
        }
        all.into_values().collect()
    }
}

fn after(moment: Moment, wait: std::time::Duration) -> Moment {
    Moment(moment.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
}

fn part_bytes(part: &RequestPart) -> usize {
    let samples: usize =
        part.samples.iter().map(|sample| size_of_val(sample) + sample.values.len() * 4).sum();
    size_of::<RequestPart>()
        + part.key.len()
        + part.records.len() * size_of::<StatementRecord>()
        + part.keys.len() * size_of::<KeyValue>()
        + samples
}

/// About what a request occupies: its statements make up nearly all of it.
fn request_bytes(request: &Request) -> usize {
    let recorded = request.queries().saturating_sub(request.statements_dropped());
    size_of::<Request>() + recorded as usize * (size_of::<StatementRecord>() + 2 * size_of::<KeyValue>())
}

#[cfg(test)]
mod tests {
    use pgtally_analysis::{Attribution, Origin};

    use super::*;

    fn part(key: &str, started_ms: u64) -> RequestPart {
        let started = Moment(started_ms * 1_000_000);
        RequestPart {
            key: key.into(),
            attribution: Attribution::Trace,
            route: "/a".into(),
            origin: Origin::default(),
            session: 1,
            started,
            ended: started,
            statements: 1,
            database_ns: 1,
            records: Vec::new(),
            keys: Vec::new(),
            samples: Vec::new(),
            samples_dropped: 0,
        }
    }

    fn at_ms(milliseconds: u64) -> Moment {
        Moment(milliseconds * 1_000_000)
    }

    fn steps_until(requests: &mut Requests, now: Moment) -> Vec<(u64, Step)> {
        std::iter::from_fn(|| requests.take_due(now))
            .map(|(request, step)| (request.queries(), step))
            .collect()
    }

    #[test]
    fn a_request_is_evaluated_when_quiet_and_recorded_once() {
        let mut requests = Requests::default();
        requests.absorb(part("a", 0), at_ms(0));
        requests.absorb(part("a", 5), at_ms(200));
        assert_eq!(steps_until(&mut requests, at_ms(499)), []);
        assert_eq!(steps_until(&mut requests, at_ms(500)), [(2, Step::Evaluate)]);
        assert_eq!(steps_until(&mut requests, at_ms(2_200)), [(2, Step::Record)]);
        let late = requests.absorb(part("a", 10), at_ms(3_000));
        assert_eq!(late.iter().map(|(_, step)| *step).collect::<Vec<_>>(), [Step::Late]);
        assert_eq!(steps_until(&mut requests, at_ms(10_000)), [(3, Step::Evaluate)]);
        assert_eq!(steps_until(&mut requests, at_ms(60_000)), []);
        assert!(requests.open.is_empty() && requests.next_due().is_none());
        assert_eq!((requests.open_bytes, requests.recent.len()), (0, 1));
    }

    #[test]
    fn open_requests_are_bounded_and_none_is_lost() {
        let mut requests = Requests::default();
        let mut steps = 0;
        for n in 0..OPEN_REQUESTS_MAX as u64 + 10 {
            steps += requests.absorb(part(&n.to_string(), n), at_ms(n)).len();
        }
        assert_eq!((requests.open.len(), steps), (OPEN_REQUESTS_MAX, 20), "the oldest are finished early");
    }

    #[test]
    fn the_recent_ones_are_bounded() {
        let mut requests = Requests::default();
        for n in 0..RECENT_REQUESTS_MAX as u64 * 2 {
            requests.keep(Arc::new(Request::new(part(&n.to_string(), n))));
        }
        assert_eq!(requests.recent.len(), RECENT_REQUESTS_MAX);
        assert!(requests.recent_bytes <= RECENT_BYTES_MAX);
    }

    #[test]
    fn parts_that_are_open_right_now_are_shown_with_the_rest() {
        let mut requests = Requests::default();
        requests.absorb(part("a", 0), at_ms(0));
        requests.keep(Arc::new(Request::new(part("b", 1))));
        let mut all: Vec<_> = requests.all(vec![part("a", 2), part("c", 3)]);
        all.sort_by_key(|(request, _)| Arc::clone(request.key()));
        let shown: Vec<_> =
            all.iter().map(|(request, is_open)| (&**request.key(), request.queries(), *is_open)).collect();
        assert_eq!(shown, [("a", 2, true), ("b", 1, false), ("c", 1, true)]);
        assert_eq!(requests.open["a"].request.queries(), 1, "a question changes nothing");
    }
}
