//! What is kept of a counted statement.

use pgtally_fingerprint::Kind;

use super::Recording;
use crate::columns::WideCells;
use crate::execution::{Execution, Mark};
use crate::part::{RecordPlace, narrow};
use crate::record::{Moment, ShortDuration, StatementRecord, WideColumn};

impl Recording {
    /// The record of a statement, without its place in the lists of keys and cells.
    pub(super) fn record_of(
        &self,
        execution: &Execution,
        mark: Mark,
        rows: u64,
        error: Option<[u8; 5]>,
        now: Moment,
    ) -> StatementRecord {
        let run = &execution.run;
        let statement = execution.statement();
        StatementRecord {
            fingerprint: self.last_fingerprint,
            sent: mark.sent,
            parameters_hash: statement.map_or(0, |it| it.values.hash),
            others_hash: statement.map_or(0, |it| fold(it.values.others_hash)),
            environment: fold(self.attributor.environment()),
            server: ShortDuration::from_ns(run.first_answer.since(run.sent)),
            transfer: ShortDuration::from_ns(now.since(run.first_answer)),
            turnaround: ShortDuration::from_ns(self.turnaround(mark.sent)),
            rows: narrow(rows),
            bytes: narrow(run.bytes),
            kind: statement.map_or(Kind::Other, |it| it.command.kind()),
            transaction: self.attributor.transaction(),
            is_round_trip: mark.is_round_trip && execution.is_first(),
            error,
            ..StatementRecord::default()
        }
    }

    /// Records a statement, its keys, and the cells of its only row.
    pub(super) fn record(&mut self, execution: &Execution, record: StatementRecord) -> Option<RecordPlace> {
        let recorder = self.recorder.as_deref_mut()?;
        let run = &execution.run;
        let cells = match &execution.columns {
            Some(plan) if run.has_held_row => {
                let cells = run.first_row.get(..plan.columns.len()).unwrap_or_default();
                if !cells.is_empty() {
                    recorder.name_cells(record.fingerprint, &plan.columns);
                }
                cells
            }
            _ => &[],
        };
        if let Some(wide) = run.wide {
            recorder.widen(wide_column(execution, wide));
        }
        let keys = execution.statement().map_or(&[][..], |statement| statement.values.keys());
        Some(recorder.record(record, keys, cells))
    }

    /// Nanoseconds the client took since the last answer, within the current request; its statement has been counted.
    fn turnaround(&self, sent: Moment) -> u64 {
        let is_first = self.recorder.as_ref().is_none_or(|recorder| recorder.part().statements <= 1);
        let since_end = |end| sent.since(end);
        if is_first { 0 } else { self.attributor.last_end().map_or(0, since_end) }
    }
}

/// Half of a hash; 0 stays 0, and nothing else becomes it.
const fn fold(hash: u64) -> u32 {
    let folded = (hash ^ (hash >> 32)) as u32;
    if folded == 0 && hash != 0 { 1 } else { folded }
}

fn wide_column(execution: &Execution, wide: WideCells) -> WideColumn {
    WideColumn {
        fingerprint: execution.statement().map(|it| it.shape.fingerprint).unwrap_or_default(),
        position: wide.position,
        label: execution.columns.as_ref().map_or("", |plan| plan.label(wide.position)).into(),
        column_bytes: wide.column_bytes,
        row_bytes: wide.row_bytes,
        executions: 1,
    }
}
