//! The findings of this process: detections of many requests, deduplicated by their stable id.
//!
//! A finding keeps what the worst request showed, and totals over all. A request that is judged again (a late part
//! arrived) counts once. Time comes in as seconds of the wall clock, as people read it.
//!
//! Deliberately absent: what acknowledgements say (`acks.rs`), and anything that survives the process.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use pgtally_fingerprint::Fingerprint;
use rustc_hash::FxHashMap;

use crate::finding::{Detection, FindingId};
use crate::limits::{FINDING_KEYS_MAX, FINDINGS_MAX, TIMELINE_MAX};
use crate::merge::{Identity, Request};
use crate::record::Attribution;

/// Whether somebody has dealt with a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FindingState {
    /// Acknowledged, with a reason, by an entry in a file.
    Acked,
    /// Part of the baseline.
    Known,
    /// Not seen before.
    New,
}

impl FindingState {
    /// Name in metrics and API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Known => "known",
            Self::New => "new",
        }
    }
}

/// One problem, seen in one request or in many.
#[derive(Clone, Debug)]
pub struct Finding {
    /// As the request with the most wasted time showed it.
    pub worst: Detection,
    /// Whether somebody has dealt with it.
    pub state: FindingState,
    /// The reason that an acknowledgement gives.
    pub reason: Option<Arc<str>>,
    /// How the worst request was attributed.
    pub attribution: Attribution,
    /// Where in the application's source the worst request's statements came from, as its tags say.
    pub source_location: Option<Arc<str>>,
    /// The worst request was a background job's.
    pub is_background: bool,
    /// The worst request.
    pub worst_request: Identity,
    /// What the worst request ran, in order, at most [`TIMELINE_MAX`] statements.
    pub timeline: Vec<TimelineEntry>,
    /// Requests that showed it.
    pub requests: u64,
    /// Unix seconds of the first request that showed it.
    pub first_seen: u64,
    /// Unix seconds of the last one.
    pub last_seen: u64,
    /// Executions in the request that had the most.
    pub repeat_max: u32,
    /// Executions in the last request.
    pub repeat_last: u32,
    /// Distinct keys in the request that had the most.
    pub distinct_max: u32,
    /// Distinct keys in the last request.
    pub distinct_last: u32,
    /// Wasted nanoseconds, summed over requests; of a slow statement, its durations.
    pub wasted_ns: u64,
    /// The last requests counted, with what each added to `wasted_ns`.
    recent: VecDeque<(Identity, u64)>,
}

/// One statement of a finding's worst request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    /// Its shape.
    pub fingerprint: Fingerprint,
    /// Number of the session it ran on.
    pub session: u64,
    /// Nanoseconds from the request's start to its sending.
    pub offset_ns: u64,
    /// Nanoseconds from its sending to its completion.
    pub duration_ns: u64,
    /// Rows returned or affected.
    pub rows: u64,
}

/// What a request changed in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absorbed {
    /// Findings seen for the first time: to be logged.
    pub opened: Vec<FindingId>,
    /// Findings this request shows for the first time, the opened ones included: to be counted.
    pub counted: Vec<FindingId>,
}

/// Every finding since the start or the last reset, at most [`FINDINGS_MAX`] unless told otherwise.
#[derive(Debug)]
pub struct FindingStore {
    findings: FxHashMap<FindingId, Finding>,
    most: usize,
    evicted: u64,
}

impl Default for FindingStore {
    fn default() -> Self {
        Self::with_room(FINDINGS_MAX)
    }
}

impl FindingStore {
    /// A store without findings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that keeps `most` findings: a test run has many routes, and ends.
    #[must_use]
    pub fn with_room(most: usize) -> Self {
        Self { findings: FxHashMap::default(), most, evicted: 0 }
    }

    /// Takes what the rules found in `request`, at `now` (Unix seconds).
    pub fn absorb(&mut self, request: &Request, detections: Vec<Detection>, now: u64) -> Absorbed {
        let mut absorbed = Absorbed::default();
        for detection in detections {
            let id = detection.id;
            match self.findings.get_mut(&id) {
                Some(finding) => {
                    if finding.absorb(request, detection, now) {
                        absorbed.counted.push(id);
                    }
                }
                None => {
                    self.make_room();
                    self.findings.insert(id, Finding::new(request, detection, now));
                    absorbed.opened.push(id);
                    absorbed.counted.push(id);
                }
            }
        }
        absorbed
    }

    /// Asks anew for the state of every finding, or of some, and the reason.
    pub fn judge(
        &mut self,
        some: Option<&[FindingId]>,
        state: impl Fn(&Finding) -> (FindingState, Option<Arc<str>>),
    ) {
        let judge = |finding: &mut Finding| (finding.state, finding.reason) = state(finding);
        match some {
            Some(ids) => {
                for id in ids {
                    self.findings.get_mut(id).map(judge);
                }
            }
            None => self.findings.values_mut().for_each(judge),
        }
    }

    /// Findings, the most severe first, then the most wasteful.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Finding> {
        let mut all: Vec<&Finding> = self.findings.values().collect();
        all.sort_by_key(|it| (Reverse((it.worst.severity, it.wasted_ns)), it.worst.id));
        all
    }

    /// Findings in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.findings.values()
    }

    /// The finding with this id.
    #[must_use]
    pub fn find(&self, id: FindingId) -> Option<&Finding> {
        self.findings.get(&id)
    }

    /// Gives up a finding that is over.
    pub fn remove(&mut self, id: FindingId) {
        self.findings.remove(&id);
    }

    /// Number of findings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Findings given up because there was no room, since the start.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets all findings. The count of evicted ones stays.
    pub fn reset(&mut self) {
        self.findings.clear();
    }

    /// Gives up the least severe finding, of these the one not seen for longest.
    fn make_room(&mut self) {
        if self.findings.len() < self.most {
            return;
        }
        let weight = |it: &Finding| (it.worst.severity, it.last_seen, Reverse(it.worst.id));
        if let Some(id) = self.findings.values().min_by_key(|it| weight(it)).map(|it| it.worst.id) {
            self.findings.remove(&id);
            self.evicted += 1;
        }
    }
}

impl Finding {
    fn new(request: &Request, detection: Detection, now: u64) -> Self {
        Self {
            state: FindingState::New,
            reason: None,
            attribution: request.attribution(),
            source_location: source_location(request),
            is_background: request.is_background(),
            worst_request: request.identity().clone(),
            timeline: timeline(request),
            requests: 1,
            first_seen: now,
            last_seen: now,
            repeat_max: detection.repeat,
            repeat_last: detection.repeat,
            distinct_max: detection.distinct,
            distinct_last: detection.distinct,
            wasted_ns: detection.wasted_ns,
            recent: VecDeque::from([(request.identity().clone(), detection.wasted_ns)]),
            worst: detection,
        }
    }

    /// Whether the request is counted for the first time.
    fn absorb(&mut self, request: &Request, detection: Detection, now: u64) -> bool {
        let is_new = self.count(request.identity(), detection.wasted_ns);
        self.last_seen = self.last_seen.max(now);
        self.repeat_last = detection.repeat;
        self.repeat_max = self.repeat_max.max(detection.repeat);
        self.distinct_last = detection.distinct;
        self.distinct_max = self.distinct_max.max(detection.distinct);
        let is_worst_again = *request.identity() == self.worst_request;
        if is_worst_again || rank(&detection) > rank(&self.worst) {
            self.attribution = request.attribution();
            self.source_location = source_location(request);
            self.is_background = request.is_background();
            self.worst_request = request.identity().clone();
            self.timeline = timeline(request);
            self.worst = detection;
        }
        is_new
    }

    /// Adds the request to the totals, or corrects what it had added before.
    fn count(&mut self, request: &Identity, wasted_ns: u64) -> bool {
        if let Some((_, added)) = self.recent.iter_mut().find(|(known, _)| known == request) {
            self.wasted_ns = self.wasted_ns.saturating_sub(*added).saturating_add(wasted_ns);
            *added = wasted_ns;
            return false;
        }
        self.requests += 1;
        self.wasted_ns = self.wasted_ns.saturating_add(wasted_ns);
        if self.recent.len() == FINDING_KEYS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((request.clone(), wasted_ns));
        true
    }
}

/// What makes one request's evidence better than another's.
fn rank(detection: &Detection) -> (crate::finding::Severity, u64, u32) {
    (detection.severity, detection.wasted_ns, detection.repeat)
}

fn source_location(request: &Request) -> Option<Arc<str>> {
    Some(Arc::clone(&request.origin().source_location)).filter(|location| !location.is_empty())
}

fn timeline(request: &Request) -> Vec<TimelineEntry> {
    let entry = |it: crate::merge::Recorded<'_>| TimelineEntry {
        fingerprint: it.statement.fingerprint,
        session: it.session,
        offset_ns: it.statement.sent.since(request.started()),
        duration_ns: it.statement.duration_ns(),
        rows: it.statement.rows.into(),
    };
    request.records().take(TIMELINE_MAX).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;
    use crate::record::RequestPart;
    use crate::settings::FindingSettings;
    use crate::testing::Script;

    fn duplicate(repeats: u32) -> Script {
        let mut script = Script::new();
        script.repeat(repeats, |script, _| {
            script.keyed("SELECT v FROM settings WHERE k = $1", 1);
        });
        script
    }

    fn absorb(store: &mut FindingStore, script: &Script, key: &str, now: u64) -> Absorbed {
        let request = Request::new(RequestPart { key: key.into(), ..script.part() });
        let detections = script.evaluate_request(&request, &FindingSettings::default());
        store.absorb(&request, detections, now)
    }

    #[test]
    fn requests_add_up_and_the_worst_is_kept() {
        let mut store = FindingStore::new();
        let first = absorb(&mut store, &duplicate(4), "a", 100);
        assert_eq!((first.opened.len(), first.counted.len()), (1, 1));
        let second = absorb(&mut store, &duplicate(30), "b", 110);
        assert_eq!((second.opened.len(), second.counted.len()), (0, 1));
        absorb(&mut store, &duplicate(5), "c", 120);
        let finding = store.sorted()[0];
        assert_eq!((finding.requests, finding.first_seen, finding.last_seen), (3, 100, 120));
        assert_eq!((finding.repeat_max, finding.repeat_last, &*finding.worst_request.key), (30, 5, "b"));
        assert_eq!(finding.timeline.len(), 30);
        let of_worst = finding.worst.wasted_ns;
        assert!(finding.wasted_ns > of_worst && finding.wasted_ns < 2 * of_worst);
    }

    #[test]
    fn a_request_judged_again_counts_once() {
        let mut store = FindingStore::new();
        absorb(&mut store, &duplicate(4), "a", 100);
        let before = store.sorted()[0].wasted_ns;
        let again = absorb(&mut store, &duplicate(8), "a", 101);
        assert!(again.counted.is_empty() && again.opened.is_empty());
        let finding = store.sorted()[0];
        assert_eq!((finding.requests, finding.repeat_max), (1, 8));
        assert!(finding.wasted_ns > before && finding.wasted_ns == finding.worst.wasted_ns);
        for n in 0..FINDING_KEYS_MAX + 1 {
            absorb(&mut store, &duplicate(4), &format!("b{n}"), 102);
        }
        assert_eq!(store.sorted()[0].recent.len(), FINDING_KEYS_MAX);
    }

    #[test]
    fn the_least_severe_and_oldest_makes_room() {
        let mut store = FindingStore::new();
        let script = duplicate(6);
        let request = Request::new(script.part());
        let pattern = script.evaluate(&FindingSettings::default()).remove(0);
        for n in 0..FINDINGS_MAX as u64 + 3 {
            let severity = if n < 3 { Severity::Critical } else { Severity::Warning };
            let detection = Detection { id: FindingId(n), severity, ..pattern.clone() };
            store.absorb(&request, vec![detection], n);
        }
        assert_eq!((store.len(), store.evicted()), (FINDINGS_MAX, 3));
        assert!(store.find(FindingId(0)).is_some() && store.find(FindingId(3)).is_none());
        store.reset();
        assert!(store.is_empty() && store.evicted() == 3);
    }

    #[test]
    fn timelines_are_bounded() {
        let mut store = FindingStore::new();
        absorb(&mut store, &duplicate(500), "a", 1);
        assert_eq!(store.sorted()[0].timeline.len(), TIMELINE_MAX);
    }
}
