//! Copies of what a session runs, for those who listen to the live tap.

use std::sync::Arc;

use pgtally_fingerprint::Kind;

use super::Recording;
use crate::execution::{Execution, Mark};
use crate::finding::ROUTE_UNTAGGED;
use crate::record::{Attribution, Moment, StatementRecord};
use crate::tap::Tapped;
use crate::worker::Worker;

impl Recording {
    /// Copies a statement that is about to be recorded.
    #[cold]
    pub(super) fn tap_counted(&self, record: &StatementRecord, worker: &mut Worker) {
        let tapped = Tapped {
            fingerprint: record.fingerprint,
            kind: record.kind,
            is_counted: true,
            server_ns: record.server.ns(),
            transfer_ns: record.transfer.ns(),
            rows: record.rows.into(),
            bytes: record.bytes.into(),
            is_round_trip: record.is_round_trip,
            error: record.error,
            ..self.tapped(record.sent)
        };
        push(tapped, worker);
    }

    /// Copies a statement that is not counted, and so not recorded. One whose text is not known is left out: nothing
    /// could be shown of it.
    #[cold]
    pub(super) fn tap_control(
        &self,
        execution: &Execution,
        kind: Kind,
        mark: Mark,
        now: Moment,
        worker: &mut Worker,
    ) {
        let Some(statement) = execution.statement() else { return };
        let run = &execution.run;
        let tapped = Tapped {
            fingerprint: statement.shape.fingerprint,
            kind,
            server_ns: run.first_answer.since(run.sent),
            transfer_ns: now.since(run.first_answer),
            rows: run.rows,
            bytes: run.bytes,
            is_round_trip: mark.is_round_trip && execution.is_first(),
            ..self.tapped(mark.sent)
        };
        push(tapped, worker);
    }

    /// A statement of which nothing but its request is known. Between requests it is shown with whatever the session
    /// calls itself.
    fn tapped(&self, sent: Moment) -> Tapped {
        let part = self.recorder().map(|recorder| recorder.part());
        let origin = part.map_or(&self.origin, |part| &part.origin);
        let name = &self.origin.application_name;
        let own_route = || if name.is_empty() { ROUTE_UNTAGGED.into() } else { Arc::clone(name) };
        Tapped {
            session: self.session,
            request: part.map(|part| Arc::clone(&part.key)).unwrap_or_default(),
            attribution: part.map_or(Attribution::Session, |part| part.attribution),
            route: part.map_or_else(own_route, |part| Arc::clone(&part.route)),
            origin: origin.clone(),
            sent,
            fingerprint: Default::default(),
            kind: Kind::Other,
            is_counted: false,
            server_ns: 0,
            transfer_ns: 0,
            rows: 0,
            bytes: 0,
            is_round_trip: false,
            error: None,
            said: None,
        }
    }
}

fn push(tapped: Tapped, worker: &mut Worker) {
    if let Some(tap) = &mut worker.tap {
        tap.push(tapped);
    }
}
