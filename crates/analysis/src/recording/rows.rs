//! Rows of a statement's result: counted all, looked at as far as they may be somebody's parents.

use pgtally_fingerprint::Command;
use pgtally_protocol::{Frame, backend};

use super::{Recording, is_fetch_of, is_row_write};
use crate::columns::WideCells;
use crate::execution::{Execution, Mark, Run};
use crate::limits::{SAMPLE_ROWS_MAX, WIDE_ROW_BYTES};
use crate::record::Moment;
use crate::worker::Worker;

impl Recording {
    /// A row arrived.
    pub(super) fn row(
        &mut self,
        execution: &mut Execution,
        mark: Mark,
        frame: &Frame<'_>,
        now: Moment,
        worker: &mut Worker,
    ) {
        self.begin(execution, mark, now, worker);
        let run = &mut execution.run;
        run.rows += 1;
        run.bytes += u64::from(frame.length);
        self.has_seen_enough_rows = frame.tag == backend::COPY_DATA || run.rows >= SAMPLE_ROWS_MAX as u64;
        if frame.tag == backend::DATA_ROW && run.rows <= SAMPLE_ROWS_MAX as u64 {
            execution.learn_columns();
            if frame.length >= WIDE_ROW_BYTES {
                execution.run.wide = WideCells::add(execution.run.wide, frame.body, frame.length);
            }
            self.sample(execution, frame.body);
        }
    }

    /// Hashes the key-like cells of a row that belongs to a result of several rows.
    fn sample(&mut self, execution: &mut Execution, body: &[u8]) {
        let (Some(plan), Some(statement)) = (&execution.columns, execution.statement()) else { return };
        let Some(recorder) = self.recorder.as_deref_mut().filter(|_| !plan.columns.is_empty()) else {
            return;
        };
        if recorder.is_full() && execution.run.place.is_none() && self.cursors.is_empty() {
            return;
        }
        let mut cursor = self.cursors.iter_mut().find(|cursor| is_fetch_of(statement, cursor));
        let is_first_fetch =
            cursor.as_mut().is_some_and(|cursor| !std::mem::replace(&mut cursor.has_rows, true));
        let (shape, record) = match &cursor {
            Some(cursor) if cursor.place.serial == recorder.serial => (&cursor.shape, cursor.place.index),
            Some(_) => return,
            None if statement.command == Command::Fetch => return,
            None => {
                (&statement.shape, execution.run.place.map_or(recorder.next_index(), |place| place.index))
            }
        };
        let hashes = plan.hash_row(body, execution.binary_columns);
        let run = &execution.run;
        let is_piece = cursor.is_some() || run.is_resumed();
        let is_alone = run.rows == 1 && !is_piece;
        if is_alone && !is_row_write(statement.command) {
            // A result of one row is nobody's parent: wait for the second.
            (execution.run.first_row, execution.run.has_held_row) = (hashes, true);
            return;
        }
        let fingerprint = shape.fingerprint;
        let sample = match run.sample {
            Some((serial, index)) if serial == recorder.serial => index,
            _ => {
                let is_new = run.has_held_row || is_first_fetch || is_alone;
                let index = recorder.open_sample(fingerprint, plan, record, is_new);
                if run.has_held_row {
                    recorder.sample_row(index, &run.first_row);
                }
                index
            }
        };
        recorder.sample_row(sample, &hashes);
        execution.run.sample = Some((recorder.serial, sample));
        execution.run.has_held_row = false;
    }

    /// Rows beyond those looked at still belong to the sample's size.
    pub(super) fn count_unsampled(&mut self, run: &Run) {
        if let (Some((serial, index)), Some(recorder)) = (run.sample, self.recorder.as_deref_mut())
            && serial == recorder.serial
        {
            recorder.count_rows(index, run.rows.saturating_sub(SAMPLE_ROWS_MAX as u64));
        }
    }
}
