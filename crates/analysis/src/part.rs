//! The part of a request that is being recorded on a session.

use std::rc::Rc;
use std::sync::Arc;

use pgtally_fingerprint::Fingerprint;

use crate::attribution::RequestName;
use crate::columns::{ColumnPlan, RowHashes};
use crate::counters::{Counters, Dropped};
use crate::limits::{
    BUSY_RECORDS_MAX, CELLS_MAX, KEYS_MAX, PAUSES_MAX, RECORDS_MAX, ROW_COLUMNS_MAX, SAMPLE_BYTES_MAX,
    SAMPLE_ROWS_MAX, SAMPLES_MAX, WIDE_COLUMNS_MAX,
};
use crate::record::{
    Attribution, KeyValue, Moment, Origin, Pause, RequestPart, Rollback, RowSample, SampleColumn,
    ShortDuration, StatementRecord, WideColumn,
};
use crate::tagset::TagSet;

// Records hold their places in the lists of keys and cells in 16 bits.
const _: () = assert!(RECORDS_MAX * KEYS_MAX <= u16::MAX as usize);
const _: () = assert!(CELLS_MAX <= u16::MAX as usize);

/// `text` cut to at most `bytes_max` bytes, at a character.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

fn fill(slot: &mut Arc<str>, value: Option<&Arc<str>>) {
    if let Some(value) = value
        && slot.is_empty()
    {
        *slot = Arc::clone(value);
    }
}

/// Rows or bytes as a record holds them.
pub(crate) fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Grows a list fourfold: doubling would copy a long request's records three times as often, each time to memory that
/// no cache holds.
fn make_room<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(3 * list.capacity()).max(8));
    }
}

/// Recording of one request on one session.
#[derive(Debug)]
pub(crate) struct PartRecorder {
    part: RequestPart,
    /// Distinguishes this recorder from earlier ones of its session.
    pub(crate) serial: u32,
    /// Last use of each sample, for giving up the longest unused one.
    sample_uses: Vec<u32>,
    sample_values: usize,
    uses: u32,
    /// Shapes with a result of one row so far, and those of them whose columns are noted; a bit for each remainder.
    rows_seen: u64,
    rows_named: u64,
    has_tagged_route: bool,
    is_full: bool,
}

/// Where a record stands: recorder and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordPlace {
    pub(crate) serial: u32,
    pub(crate) index: u32,
}

impl PartRecorder {
    pub(crate) fn new(name: &RequestName, serial: u32, session: u64, origin: Origin, sent: Moment) -> Self {
        let part = RequestPart {
            key: Arc::clone(&name.key),
            attribution: name.attribution,
            route: name.route_or(&origin.application_name),
            origin,
            session,
            started: sent,
            ended: sent,
            statements: 0,
            database_ns: 0,
            records: Vec::new(),
            keys: Vec::new(),
            samples: Vec::new(),
            samples_dropped: 0,
            cells: Vec::new(),
            row_columns: Vec::new(),
            pauses: Vec::new(),
            rollbacks: Vec::new(),
            wide_columns: Vec::new(),
        };
        Self {
            part,
            serial,
            sample_uses: Vec::new(),
            sample_values: 0,
            uses: 0,
            rows_seen: 0,
            rows_named: 0,
            is_full: false,
            has_tagged_route: false,
        }
    }

    pub(crate) fn part(&self) -> &RequestPart {
        &self.part
    }

    pub(crate) fn into_part(self) -> RequestPart {
        self.part
    }

    pub(crate) fn is_of(&self, name: &RequestName) -> bool {
        let is_same_key = Arc::ptr_eq(&self.part.key, &name.key) || self.part.key == name.key;
        is_same_key && self.part.attribution.is_request() == name.attribution.is_request()
    }

    /// Takes over how the request is known by now: a transaction may turn out to be only a part of its unit.
    pub(crate) fn relabel(&mut self, attribution: Attribution) {
        self.part.attribution = attribution;
    }

    /// Takes over what a statement's tags tell beyond the request's name.
    pub(crate) fn learn(&mut self, tags: &TagSet) {
        if let Some(route) = &tags.route
            && self.part.route != *route
            && !self.has_tagged_route
        {
            self.part.route = Arc::clone(route);
        }
        self.has_tagged_route |= tags.route.is_some();
        let origin = &mut self.part.origin;
        origin.is_job |= tags.is_job;
        fill(&mut origin.framework, tags.framework.as_ref());
        fill(&mut origin.version, tags.version.as_ref());
        fill(&mut origin.source_location, tags.source_location.as_ref());
    }

    /// Whether nothing more is recorded, only counted.
    pub(crate) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Index the next record will have.
    pub(crate) fn next_index(&self) -> u32 {
        self.part.records.len() as u32
    }

    /// Counts a statement. Returns whether there is room to record it: there is less while the worker `is_busy`.
    pub(crate) fn count(
        &mut self,
        duration_ns: u64,
        ended: Moment,
        is_busy: bool,
        counters: &mut Counters,
    ) -> bool {
        self.part.statements += 1;
        self.part.database_ns = self.part.database_ns.saturating_add(duration_ns);
        self.part.ended = ended;
        let is_sampled = is_busy && self.part.attribution == Attribution::Session;
        let records_max = if is_sampled { BUSY_RECORDS_MAX } else { RECORDS_MAX };
        self.is_full |= self.part.records.len() >= records_max;
        if self.is_full {
            let is_sampled = self.part.records.len() < RECORDS_MAX;
            counters.count_dropped(if is_sampled { Dropped::Sampled } else { Dropped::Records }, 1);
        }
        !self.is_full
    }

    /// Records the statement counted last. `cells` are those of its only row.
    pub(crate) fn record(
        &mut self,
        mut record: StatementRecord,
        keys: &[KeyValue],
        cells: &[u32],
    ) -> RecordPlace {
        let index = self.next_index();
        (record.keys_start, record.key_count) = (self.part.keys.len() as u16, keys.len() as u8);
        make_room(&mut self.part.keys, keys.len());
        self.part.keys.extend_from_slice(keys);
        if self.part.cells.len() + cells.len() <= CELLS_MAX {
            (record.cells_start, record.cell_count) = (self.part.cells.len() as u16, cells.len() as u8);
            make_room(&mut self.part.cells, cells.len());
            self.part.cells.extend_from_slice(cells);
        }
        make_room(&mut self.part.records, 1);
        self.part.records.push(record);
        RecordPlace { serial: self.serial, index }
    }

    /// Notes what the cells of a result of one row are, once its shape comes again: the rows of a loop's look-ups are
    /// the parents of the loop inside. Two shapes with one bit cost a name, never a count.
    pub(crate) fn name_cells(&mut self, fingerprint: Fingerprint, columns: &Arc<[SampleColumn]>) {
        let bit = 1 << (fingerprint.0 & 63);
        if self.rows_seen & bit == 0 {
            self.rows_seen |= bit;
        } else if self.rows_named & bit == 0 && self.part.row_columns.len() < ROW_COLUMNS_MAX {
            self.rows_named |= bit;
            self.part.row_columns.push((fingerprint, Arc::clone(columns)));
        }
    }

    /// The server has waited for the client inside a transaction.
    pub(crate) fn pause(&mut self, pause: Pause) {
        self.part.ended = self.part.ended.max(Moment(pause.began.0.saturating_add(pause.waited_ns)));
        let pauses = &mut self.part.pauses;
        if pauses.len() < PAUSES_MAX {
            pauses.push(pause);
        } else if let Some(shortest) = pauses.iter_mut().min_by_key(|it| it.waited_ns)
            && shortest.waited_ns < pause.waited_ns
        {
            *shortest = pause;
        }
    }

    /// An execution gave wide rows, most of which is one column.
    pub(crate) fn widen(&mut self, wide: WideColumn) {
        let is_same =
            |it: &&mut WideColumn| it.fingerprint == wide.fingerprint && it.position == wide.position;
        if let Some(known) = self.part.wide_columns.iter_mut().find(is_same) {
            known.column_bytes = known.column_bytes.saturating_add(wide.column_bytes);
            known.row_bytes = known.row_bytes.saturating_add(wide.row_bytes);
            known.executions = known.executions.saturating_add(1);
        } else if self.part.wide_columns.len() < WIDE_COLUMNS_MAX {
            self.part.wide_columns.push(wide);
        }
    }

    /// The transaction with this ordinal has to be run again.
    pub(crate) fn note_retry(&mut self, transaction: u32) {
        let last = self.part.records.iter_mut().rev();
        for record in last.take_while(|record| record.transaction == transaction && transaction != 0) {
            record.is_retried = true;
        }
    }

    /// What the transaction has written, or some of it, is taken back. Where nothing was recorded since the last
    /// rollback, there is nothing to tell.
    pub(crate) fn note_rollback(&mut self, rollback: Rollback) {
        let transaction = rollback.transaction;
        let told = self.part.rollbacks.last();
        let is_news = match self.part.records.last() {
            None => told.is_none(),
            Some(last) => {
                let is_told = told.is_some_and(|it| it.transaction == transaction && last.sent <= it.sent);
                last.transaction == transaction && !is_told
            }
        };
        if is_news {
            self.part.rollbacks.push(rollback);
        }
    }

    /// Adds rows and time that a later FETCH or Execute gave to a recorded statement.
    pub(crate) fn extend(
        &mut self,
        place: RecordPlace,
        rows: u64,
        bytes: u64,
        duration_ns: u64,
        ended: Moment,
    ) {
        if place.serial != self.serial {
            return;
        }
        if let Some(record) = self.part.records.get_mut(place.index as usize) {
            record.rows = record.rows.saturating_add(narrow(rows));
            record.bytes = record.bytes.saturating_add(narrow(bytes));
            record.transfer = ShortDuration::from_ns(record.transfer.ns() + duration_ns);
            record.is_fetched_in_pieces = true;
            self.part.database_ns = self.part.database_ns.saturating_add(duration_ns);
            self.part.ended = ended;
        }
    }

    /// The sample of `fingerprint`'s rows with these columns, ready for rows of another execution.
    pub(crate) fn open_sample(
        &mut self,
        fingerprint: Fingerprint,
        plan: &Rc<ColumnPlan>,
        record: u32,
        is_new_execution: bool,
    ) -> usize {
        self.uses += 1;
        let matches =
            |sample: &RowSample| sample.fingerprint == fingerprint && sample.columns == plan.columns;
        let index = self.part.samples.iter().position(matches).unwrap_or_else(|| {
            let sample = RowSample {
                fingerprint,
                first_record: record,
                executions: 0,
                rows: 0,
                columns: Arc::clone(&plan.columns),
                values: Vec::new(),
            };
            self.add_sample(sample)
        });
        if let Some(sample) = self.part.samples.get_mut(index) {
            sample.executions += u32::from(is_new_execution);
        }
        if let Some(last_use) = self.sample_uses.get_mut(index) {
            *last_use = self.uses;
        }
        index
    }

    fn add_sample(&mut self, sample: RowSample) -> usize {
        if self.part.samples.len() < SAMPLES_MAX {
            self.part.samples.push(sample);
            self.sample_uses.push(0);
            return self.part.samples.len() - 1;
        }
        let uses = self.sample_uses.iter().enumerate();
        let index = uses.min_by_key(|(_, last_use)| **last_use).map_or(0, |(index, _)| index);
        if let Some(slot) = self.part.samples.get_mut(index) {
            self.sample_values -= slot.values.len();
            self.part.samples_dropped += 1;
            *slot = sample;
        }
        index
    }

    /// Adds one row to the sample at `index`.
    pub(crate) fn sample_row(&mut self, index: usize, row: &RowHashes) {
        let Some(sample) = self.part.samples.get_mut(index) else { return };
        sample.rows += 1;
        let columns = sample.columns.len();
        if columns == 0 || sample.values.len() >= SAMPLE_ROWS_MAX * columns {
            return;
        }
        sample.values.extend_from_slice(row.get(..columns).unwrap_or(row));
        self.sample_values += columns;
        while self.sample_values * size_of::<u32>() > SAMPLE_BYTES_MAX {
            self.give_up_sample(index);
        }
    }

    /// Adds rows to the size of the sample at `index` that were not looked at.
    pub(crate) fn count_rows(&mut self, index: usize, rows: u64) {
        if let Some(sample) = self.part.samples.get_mut(index) {
            sample.rows = sample.rows.saturating_add(rows);
        }
    }

    /// Empties the longest unused sample that holds rows, or the given one when no other does.
    fn give_up_sample(&mut self, current: usize) {
        let holds =
            |index: &usize| self.part.samples.get(*index).is_some_and(|sample| !sample.values.is_empty());
        let victim = (0..self.part.samples.len())
            .filter(|index| *index != current && holds(index))
            .min_by_key(|index| self.sample_uses.get(*index).copied().unwrap_or(0))
            .unwrap_or(current);
        if let Some(sample) = self.part.samples.get_mut(victim) {
            self.sample_values -= sample.values.len();
            self.part.samples_dropped += 1;
            sample.values = Vec::new();
        }
    }
}
