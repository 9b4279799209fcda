//! Transactions in which the server waits for the client.
//!
//! A pause ends with the next statement, counted or not; one that has not ended when the part is handed over is noted
//! as far as it has come.

use super::Recording;
use crate::limits::PAUSE_NS;
use crate::record::{Moment, Pause};
use crate::worker::Worker;

impl Recording {
    /// How long the server has waited inside the open transaction, when that is worth noting.
    pub(super) fn pause(&self, until: Moment) -> Option<Pause> {
        let transaction = self.attributor.transaction();
        let began = self.attributor.last_end().filter(|_| transaction != 0)?;
        let waited_ns = until.since(began);
        (waited_ns >= PAUSE_NS).then_some(Pause {
            transaction,
            after: self.last_fingerprint,
            began,
            waited_ns,
            has_written: self.written_transaction == transaction,
        })
    }

    /// Notes a pause that ended with a statement that is not counted, such as COMMIT, or has not ended at all.
    pub(crate) fn note_pause(&mut self, until: Moment, worker: &mut Worker) {
        let Some(pause) = self.pause(until) else { return };
        if let Some(name) = self.attributor.current() {
            self.open(&name, pause.began, worker);
            if let Some(recorder) = &mut self.recorder {
                recorder.pause(pause);
            }
        }
    }
}
