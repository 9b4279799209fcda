//! Statements that are only counted.

use std::rc::Rc;

use pgtally_fingerprint::Command;

use super::Recording;
use crate::attribution::RequestName;
use crate::record::Moment;
use crate::texts::WorkerShape;
use crate::worker::Worker;

impl Recording {
    /// Whether an untagged statement sent now, outside a transaction, would be counted and nothing else: its unit goes
    /// on, and has all the records it may have.
    pub(crate) fn only_counts(&self, sent: Moment, worker: &Worker) -> bool {
        let goes_on = |unit: &Rc<RequestName>| self.recorder.as_ref().is_some_and(|it| it.is_of(unit));
        self.takes_no_more(worker) && self.attributor.ongoing_unit(sent).is_some_and(goes_on)
    }

    /// Whether the part being recorded has all the records it may have, and nobody listens.
    pub(crate) fn takes_no_more(&self, worker: &Worker) -> bool {
        worker.tap.is_none() && self.recorder.as_ref().is_some_and(|it| it.is_full())
    }

    /// Counts a statement of which [`Recording::only_counts`] is true; its answer was complete at `now`.
    pub(crate) fn count_exchange(
        &mut self,
        (shape, command): (&Rc<WorkerShape>, Command),
        rows: u64,
        sent: Moment,
        now: Moment,
        worker: &mut Worker,
    ) {
        let begun = self.begins_at(sent);
        self.attributor.go_on(sent);
        let duration_ns = now.since(begun);
        self.count_in_part(shape.fingerprint, command, duration_ns, now, worker);
        self.count_in_totals(Some(shape), command.kind(), (duration_ns, rows), false, worker);
        self.ended(now);
    }
}
