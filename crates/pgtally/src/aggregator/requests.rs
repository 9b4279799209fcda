//! Requests on their way from first part to history.
//!
//! ```text
//!  part ─▶ open ──quiet 300 ms──▶ evaluated ──quiet 2 s──▶ recorded ──quiet 35 s──▶ recent (the API's last 1,000)
//!           ▲                        │                        │
//!           └────────late part───────┴────────────────────────┘
//! ```
//! Findings forgive a second evaluation, histograms don't: a request is recorded once, and a part that comes after
//! that is counted as late. Units guessed from the wire go the same way: a session hands over what it has when it
//! pauses or goes on for long, so that a unit too can come in parts.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use pgtally_analysis::limits::{PART_AGE_NS, PART_IDLE_NS, RECORDS_MAX};
use pgtally_analysis::{Identity, KeyValue, Moment, Request, RequestPart, StatementRecord};
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
    open: FxHashMap<Identity, Open>,
    /// When each open request is to be looked at again.
    due: BTreeSet<(Moment, Identity)>,
    open_bytes: usize,
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    /// Requests that ended before are not to be seen again.
    forgotten_before: Moment,
    /// Requests that are over, while somebody collects them.
    closed: Option<Vec<Arc<Request>>>,
}

struct Recent {
    request: Arc<Request>,
    bytes: usize,
}

struct Open {
    request: Arc<Request>,
    bytes: usize,
    last_part: Moment,
    due: Moment,
    is_evaluated: bool,
    is_recorded: bool,
    /// Session that handed its part over for its age alone: the next one is on its way.
    goes_on: Option<u64>,
}

impl Open {
    fn new(part: RequestPart) -> Self {
        Self {
            request: Arc::new(Request::new(part)),
            bytes: size_of::<Request>(),
            last_part: Moment::default(),
            due: Moment::default(),
            is_evaluated: false,
            is_recorded: false,
            goes_on: None,
        }
    }

    /// Statements of which the request still has room for a record.
    fn room(&self) -> usize {
        let recorded = self.request.queries() - self.request.statements_dropped();
        RECORDS_MAX.saturating_sub(usize::try_from(recorded).unwrap_or(RECORDS_MAX))
    }

    fn note_part(&mut self, session: u64, is_rotated: bool, bytes: usize, now: Moment) {
        if is_rotated {
            self.goes_on = Some(session);
        } else if self.goes_on == Some(session) {
            self.goes_on = None;
        }
        self.bytes += bytes;
        (self.last_part, self.due, self.is_evaluated) = (now, after(now, SETTLE), false);
    }
}

impl Requests {
    /// Adds a part to its request; answers with what that makes due at once.
    pub(super) fn absorb(&mut self, part: RequestPart, now: Moment) -> Steps {
        let mut steps = Vec::new();
        let key = Identity::of(&part);
        self.close_forgotten(&key, part.ended, &mut steps);
        let known = self.open.get_mut(&key);
        let room = known.as_ref().map_or(RECORDS_MAX, |open| open.room());
        let (session, is_rotated, bytes) = (part.session, is_rotated(&part), part_bytes(&part, room));
        let open = match known {
            Some(open) => {
                self.due.remove(&(open.due, key.clone()));
                Arc::make_mut(&mut open.request).absorb(part);
                if open.is_recorded {
                    steps.push((Arc::clone(&open.request), Step::Late));
                }
                open
            }
            None => {
                self.open_bytes += size_of::<Request>();
                self.open.entry(key.clone()).or_insert(Open::new(part))
            }
        };
        open.note_part(session, is_rotated, bytes, now);
        self.due.insert((open.due, key));
        self.open_bytes += bytes;
        while self.open.len() > OPEN_REQUESTS_MAX || self.open_bytes > OPEN_BYTES_MAX {
            let Some((_, key)) = self.due.pop_first() else { break };
            self.close(&key, &mut steps);
        }
        steps
    }

    /// Closes a request of this identity that had ended before the last reset, when its new part had not.
    fn close_forgotten(&mut self, key: &Identity, ended: Moment, steps: &mut Steps) {
        let Some(open) = self.open.get(key) else { return };
        if self.is_forgotten(&open.request) && ended >= self.forgotten_before {
            self.due.remove(&(open.due, key.clone()));
            self.close(key, steps);
        }
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
                let is_waiting = open.is_recorded || open.goes_on.is_some();
                let wait = if is_waiting { REQUEST_LIFE } else { RECORD_AFTER };
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
            self.due.insert((open.due, key));
            return Some((Arc::clone(&open.request), step));
        }
        None
    }

    /// Moves an open request to the recent ones, with the steps it has not taken yet.
    fn close(&mut self, key: &Identity, steps: &mut Steps) {
        let Some(open) = self.open.remove(key) else { return };
        self.open_bytes = self.open_bytes.saturating_sub(open.bytes);
        if !open.is_evaluated {
            steps.push((Arc::clone(&open.request), Step::Evaluate));
        }
        if !open.is_recorded {
            steps.push((Arc::clone(&open.request), Step::Record));
        }
        self.keep(open.request, open.bytes);
    }

    /// Keeps a finished request for the API, as long as there is room.
    fn keep(&mut self, request: Arc<Request>, bytes: usize) {
        if self.is_forgotten(&request) {
            return;
        }
        if let Some(closed) = &mut self.closed {
            closed.push(Arc::clone(&request));
        }
        self.recent_bytes += bytes;
        self.recent.push_back(Recent { request, bytes });
        while self.recent.len() > RECENT_REQUESTS_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes = self.recent_bytes.saturating_sub(oldest.bytes);
        }
    }

    /// Keeps requests that are over for [`Requests::take_closed`] from here on.
    pub(super) fn collect_closed(&mut self) {
        self.closed.get_or_insert_default();
    }

    /// The requests that have become over since the last call.
    pub(super) fn take_closed(&mut self) -> Vec<Arc<Request>> {
        self.closed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Closes all open requests; answers with what they still have before them.
    pub(super) fn close_all(&mut self) -> Steps {
        let mut steps = Vec::new();
        while let Some((_, key)) = self.due.pop_first() {
            self.close(&key, &mut steps);
        }
        steps
    }

    /// Forgets what has ended until now: the same key names another request from here on. Answers with what the
    /// histograms have yet to see.
    pub(super) fn forget(&mut self, now: Moment) -> Steps {
        self.forgotten_before = now;
        let steps = self.close_all();
        self.recent.clear();
        self.recent_bytes = 0;
        steps
    }

    /// Whether a request ended before the last reset.
    pub(super) fn is_forgotten(&self, request: &Request) -> bool {
        request.ended() < self.forgotten_before
    }

    /// All requests with whether more may come, with the parts that sessions have open right now.
    ///
    /// A request counts as open while a session has it open, or while it has not been quiet for long enough to be
    /// evaluated.
    pub(super) fn all(&self, open_parts: Vec<RequestPart>) -> Vec<(Arc<Request>, bool)> {
        let mut all: FxHashMap<Identity, (Arc<Request>, bool)> = FxHashMap::default();
        for Recent { request, .. } in &self.recent {
            all.insert(request.identity().clone(), (Arc::clone(request), false));
        }
        for (key, open) in &self.open {
            all.insert(key.clone(), (Arc::clone(&open.request), !open.is_evaluated));
        }
        for part in open_parts {
            match all.get_mut(&Identity::of(&part)) {
                Some((request, is_open)) => {
                    Arc::make_mut(request).absorb(part);
                    *is_open = true;
                }
                None => {
                    all.insert(Identity::of(&part), (Arc::new(Request::new(part)), true));
                }
            }
        }
        all.into_values().filter(|(request, _)| !self.is_forgotten(request)).collect()
    }
}

fn after(moment: Moment, wait: std::time::Duration) -> Moment {
    Moment(moment.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
}

/// About what a part adds to a request that has room for `room` more records.
fn part_bytes(part: &RequestPart, room: usize) -> usize {
    let records = part.records.iter().take(room).map(|record| {
        let keys = usize::from(record.key_count) * size_of::<KeyValue>();
        size_of::<StatementRecord>() + keys + usize::from(record.cell_count) * size_of::<u32>()
    });
    let samples: usize =
        part.samples.iter().map(|sample| size_of_val(sample) + sample.values.len() * 4).sum();
    let rollbacks = size_of_val(part.rollbacks.as_slice());
    size_of::<RequestPart>() + part.key.len() + rollbacks + records.sum::<usize>() + samples
}

/// Whether a part was handed over for its age, in the middle of things.
fn is_rotated(part: &RequestPart) -> bool {
    part.ended.since(part.started) >= PART_AGE_NS - PART_IDLE_NS
}

#[cfg(test)]
pub(super) mod tests;
