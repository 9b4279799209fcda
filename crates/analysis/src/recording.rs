//! Recording what a session's statements do: which request each belongs to, its timing, rows and keys.
//!
//! A statement *begins* with the first message of its answer (that is when its request is decided, in the order
//! the server runs statements) and *ends* with its completion.

mod exchange;
mod pauses;
mod records;
mod rows;
mod taps;

use std::rc::Rc;
use std::sync::Arc;

use pgtally_fingerprint::{Command, Dialect, Fingerprint, Kind, SettingScope};
use pgtally_protocol::{Described, Failure, Frame, Outcome, Step, TransactionStatus, backend};

use crate::attribution::{Arrival, Attributor, RequestName};
use crate::counters::{DatabaseIndex, Dropped};
use crate::definition::Definitions;
use crate::execution::{Execution, Mark, Observed, Run};
use crate::limits::{CURSORS_MAX, DEALLOCATED_MAX, NAME_BYTES_MAX};
use crate::part::{PartRecorder, RecordPlace, cut};
use crate::record::{Moment, Origin, Rollback};
use crate::texts::{Statement, WorkerShape};
use crate::worker::Worker;

/// SQLSTATE of a text that is no SQL: nothing ran.
const SYNTAX_ERROR: [u8; 5] = *b"42601";
/// Serialization failure and deadlock: the application runs the transaction again.
const RETRIED: [[u8; 5]; 2] = [*b"40001", *b"40P01"];

/// Stands for all prepared statements among the deallocated ones; no name has this hash.
pub(crate) const EVERY_STATEMENT: u64 = 0;

/// An open cursor: where its DECLARE was recorded.
#[derive(Debug)]
struct Cursor {
    name_hash: u64,
    shape: Rc<WorkerShape>,
    place: RecordPlace,
    /// A FETCH of it gave rows: all its FETCHes are one execution.
    has_rows: bool,
}

/// What is being recorded on one session.
#[derive(Debug)]
pub(crate) struct Recording {
    session: u64,
    pub(crate) database: DatabaseIndex,
    origin: Origin,
    /// What the shell has put behind the application's name, and the name without it.
    added_to_name: Option<(Box<[u8]>, Arc<str>)>,
    pub(crate) dialect: Dialect,
    attributor: Attributor,
    recorder: Option<Box<PartRecorder>>,
    /// Recorders so far.
    serial: u32,
    cursors: Vec<Cursor>,
    definitions: Definitions,
    /// Prepared statements deallocated since the last `ReadyForQuery`, by the hash of their names.
    deallocated: Vec<u64>,
    /// The statement whose answer comes in has been assigned to the request being recorded.
    is_within_statement: bool,
    has_seen_enough_rows: bool,
    /// Shape of the last counted statement.
    last_fingerprint: Fingerprint,
    /// Ordinal of the last transaction that wrote.
    written_transaction: u32,
}

impl Recording {
    pub(crate) fn new(session: u64, origin: Origin, attributor: Attributor, worker: &mut Worker) -> Self {
        Self {
            session,
            database: worker.counters.database(&origin.database),
            origin,
            added_to_name: None,
            dialect: Dialect::default(),
            attributor,
            recorder: None,
            serial: 0,
            cursors: Vec::new(),
            definitions: Definitions::default(),
            deallocated: Vec::new(),
            is_within_statement: false,
            has_seen_enough_rows: false,
            last_fingerprint: Fingerprint::default(),
            written_transaction: 0,
        }
    }

    pub(crate) fn recorder(&self) -> Option<&PartRecorder> {
        self.recorder.as_deref()
    }

    /// Hands the current part over.
    pub(crate) fn hand_over(&mut self, worker: &mut Worker) {
        if let Some(recorder) = self.recorder.take() {
            let samples_dropped = recorder.part().samples_dropped;
            if samples_dropped > 0 {
                worker.counters.count_dropped(Dropped::Samples, samples_dropped.into());
                worker.has_counts = true;
            }
            worker.parts.push(recorder.into_part());
        }
    }

    /// Takes in what an answer means. Returns the status when the server is ready.
    pub(crate) fn step(
        &mut self,
        step: Step<'_, Observed>,
        frame: &Frame<'_>,
        now: Moment,
        worker: &mut Worker,
    ) -> Option<TransactionStatus> {
        self.has_seen_enough_rows = false;
        match step {
            Step::Row(execution, mark) => self.row(execution, mark, frame, now, worker),
            Step::Completed(execution, mark, outcome) => {
                self.completed(execution, mark, outcome, now, worker)
            }
            Step::Described(Described::Execution(execution)) => {
                self.stand_in(execution, now, worker);
                execution.describe(frame.body);
            }
            Step::Described(Described::Prepared(prepared)) => prepared.describe(frame.body),
            Step::ParameterTypes(prepared) => prepared.learn_types(frame.body),
            Step::Failed(failure, error) => self.failed(failure, error, now, worker),
            Step::Ready(status) => return Some(status),
            Step::Untracked => worker.counters.count_dropped(Dropped::Statements, 1),
            Step::Passed => {}
        }
        None
    }

    /// Takes in a setting the server reports.
    pub(crate) fn parameter_status(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"standard_conforming_strings" => self.dialect.has_standard_strings = value == b"on",
            b"application_name" if let Some(name) = self.name_of_startup(value) => {
                self.origin.application_name = name;
            }
            b"application_name" => {
                self.origin.application_name = cut(&String::from_utf8_lossy(value), NAME_BYTES_MAX).into();
            }
            _ => {}
        }
    }

    /// Leaves `ending` out of the application's name of the startup packet, wherever the server reports it.
    pub(crate) fn leave_out_of_name(&mut self, ending: &str) {
        self.added_to_name = Some((ending.as_bytes().into(), Arc::clone(&self.origin.application_name)));
    }

    fn name_of_startup(&self, reported: &[u8]) -> Option<Arc<str>> {
        let (ending, name) = self.added_to_name.as_ref()?;
        reported.ends_with(ending).then(|| Arc::clone(name))
    }

    /// The server is ready.
    pub(crate) fn ready(&mut self, status: TransactionStatus, worker: &mut Worker) {
        self.is_within_statement = false;
        if self.attributor.ready(status) && self.is_recording_unit() {
            self.hand_over(worker);
        }
    }

    /// Prepared statements deallocated since the last call, by the hash of their names; [`EVERY_STATEMENT`] is all.
    pub(crate) fn take_deallocated(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.deallocated)
    }

    /// Whether the answer to a statement has begun and is not complete: its request must not be handed over.
    pub(crate) const fn is_within_statement(&self) -> bool {
        self.is_within_statement
    }

    /// Whether more rows of the result whose row was the last message are only counted.
    pub(crate) const fn has_seen_enough_rows(&self) -> bool {
        self.has_seen_enough_rows
    }

    fn is_recording_unit(&self) -> bool {
        self.recorder.as_ref().is_some_and(|recorder| !recorder.part().attribution.is_request())
    }

    /// Has the statement that PREPARE has named take the place of its EXECUTE.
    fn stand_in(&self, execution: &mut Execution, now: Moment, worker: &Worker) {
        if let Some(execute) = execution.statement().filter(|it| it.command == Command::Execute)
            && let Some(definition) = self.definitions.find(execute.name_hash)
        {
            let statement = definition.execute(worker.texts.arguments(execute), now.0);
            execution.stand_in(statement);
        }
    }

    /// The first message of a statement's answer: decides its request.
    fn begin(&mut self, execution: &mut Execution, mark: Mark, now: Moment, worker: &mut Worker) {
        if !self.begin_run(execution, mark, now) {
            return;
        }
        self.stand_in(execution, now, worker);
        let statement = execution.statement();
        let command = statement.map_or(Command::Other, |statement| statement.command);
        if !command.is_counted() || execution.run.is_resumed() {
            return;
        }
        let arrival = Arrival {
            command,
            tags: execution.tags.as_ref(),
            has_fresh_tags: execution.has_fresh_tags,
            sent: mark.sent,
        };
        let name = self.attributor.attribute(arrival);
        self.open(&name, mark.sent, worker);
        if let Some(pause) = self.pause(mark.sent)
            && let Some(recorder) = &mut self.recorder
        {
            recorder.pause(pause);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.relabel(name.attribution);
        }
        if let (Some(recorder), Some(tags)) = (&mut self.recorder, &execution.tags) {
            recorder.learn(tags);
        }
    }

    /// Makes `name` the request that is being recorded.
    fn open(&mut self, name: &RequestName, sent: Moment, worker: &mut Worker) {
        if !self.recorder.as_ref().is_some_and(|recorder| recorder.is_of(name)) {
            self.hand_over(worker);
            self.serial += 1;
            let recorder = PartRecorder::new(name, self.serial, self.session, self.origin.clone(), sent);
            self.recorder = Some(Box::new(recorder));
        }
    }

    /// Notes when a statement's answer began; false when that was before.
    fn begin_run(&mut self, execution: &mut Execution, mark: Mark, now: Moment) -> bool {
        if execution.run.is_begun {
            return false;
        }
        execution.run.begin(self.begins_at(mark.sent), now);
        self.is_within_statement = true;
        true
    }

    /// When the server could begin what was sent then.
    fn begins_at(&self, sent: Moment) -> Moment {
        self.attributor.last_end().map_or(sent, |end| sent.max(end))
    }

    fn completed(
        &mut self,
        execution: &mut Execution,
        mark: Mark,
        outcome: Outcome<'_>,
        now: Moment,
        worker: &mut Worker,
    ) {
        if outcome == Outcome::Empty {
            // Not `begin`: there is no statement a request could begin with.
            self.begin_run(execution, mark, now);
            return self.control(Command::Empty, execution, mark, now, worker);
        }
        self.begin(execution, mark, now, worker);
        self.count_unsampled(&execution.run);
        let rows = match outcome {
            Outcome::Completed(complete) => complete.rows(),
            Outcome::Empty | Outcome::Suspended => execution.run.rows,
        };
        let command = match execution.statement().map(|statement| statement.command) {
            // What the server says of a COMMIT in a failed transaction.
            Some(Command::Commit) if command_of(outcome) == Command::Rollback => Command::Rollback,
            Some(command) => command,
            None => command_of(outcome),
        };
        if command.is_counted() {
            self.counted(execution, mark, rows, None, now, worker);
        } else {
            self.control(command, execution, mark, now, worker);
        }
        if outcome == Outcome::Suspended { execution.run.suspend() } else { execution.advance() }
    }

    fn failed(
        &mut self,
        failure: Failure<'_, Observed>,
        error: backend::ErrorFields,
        now: Moment,
        worker: &mut Worker,
    ) {
        worker.counters.count_error(self.database, error.sqlstate);
        let Failure::Execution(execution, mark) = failure else { return };
        let is_no_sql = error.sqlstate == SYNTAX_ERROR && execution.is_untouched_query();
        let command = execution.statement().map_or(Command::Other, |statement| statement.command);
        if command.is_counted() && !is_no_sql {
            self.begin(execution, mark, now, worker);
            self.counted(execution, mark, 0, Some(error.sqlstate), now, worker);
        } else {
            if let Some(recorder) = &mut self.recorder
                && RETRIED.contains(&error.sqlstate)
            {
                recorder.note_retry(self.attributor.transaction());
            }
            if command == Command::Commit {
                self.note_rollback(mark.sent);
            }
            if self.attributor.failed(command, mark.sent) && self.is_recording_unit() {
                self.hand_over(worker);
            }
            self.ended(now);
        }
    }

    /// A counted statement ended: records it, or adds to its record when an earlier piece of it was recorded.
    fn counted(
        &mut self,
        execution: &mut Execution,
        mark: Mark,
        rows: u64,
        error: Option<[u8; 5]>,
        now: Moment,
        worker: &mut Worker,
    ) {
        let run = &execution.run;
        let duration_ns = now.since(run.sent);
        if run.is_resumed() {
            if let (Some(place), Some(recorder)) = (run.place, self.recorder.as_deref_mut()) {
                recorder.extend(place, run.rows, run.bytes, duration_ns, now);
            }
            worker.counters.rows += rows;
            return self.ended(now);
        }
        let statement = execution.statement();
        if statement.is_none() {
            worker.counters.count_dropped(Dropped::Statements, 1);
        }
        let command = statement.map_or(Command::Other, |statement| statement.command);
        let fingerprint = statement.map(|statement| statement.shape.fingerprint).unwrap_or_default();
        let has_room = self.count_in_part(fingerprint, command, duration_ns, now, worker);
        let mut place = None;
        if has_room || worker.tap.is_some() {
            let record = self.record_of(execution, mark, rows, error, now);
            if worker.tap.is_some() {
                self.tap_counted(&record, worker);
            }
            if has_room {
                place = self.record(execution, record);
            }
        }
        if let Some(recorder) = self.recorder.as_deref_mut()
            && error.is_some_and(|error| RETRIED.contains(&error))
        {
            recorder.note_retry(self.attributor.transaction());
        }
        if let Some(statement) = statement {
            self.remember_cursor(statement, place);
            if let Some(definition) = statement.definition.as_ref().filter(|_| error.is_none())
                && !self.definitions.define(statement.name_hash, definition)
            {
                worker.counters.count_dropped(Dropped::Statements, 1);
            }
        }
        let shape = statement.map(|statement| &statement.shape);
        self.count_in_totals(shape, command.kind(), (duration_ns, rows), error.is_some(), worker);
        self.change_setting(execution, error.is_some());
        self.ended(now);
        execution.run.place = place;
    }

    /// Counts a statement in the part being recorded. Returns whether that has room for a record of it.
    fn count_in_part(
        &mut self,
        fingerprint: Fingerprint,
        command: Command,
        duration_ns: u64,
        now: Moment,
        worker: &mut Worker,
    ) -> bool {
        self.last_fingerprint = fingerprint;
        if is_row_write(command) {
            self.written_transaction = self.attributor.transaction();
        }
        let is_busy = worker.load.is_busy(self.session, now);
        let recorder = self.recorder.as_deref_mut();
        recorder.is_some_and(|it| it.count(duration_ns, now, is_busy, &mut worker.counters))
    }

    /// Counts a statement of this duration and so many rows for its shape, its database and its worker.
    fn count_in_totals(
        &self,
        shape: Option<&Rc<WorkerShape>>,
        kind: Kind,
        (duration_ns, rows): (u64, u64),
        is_error: bool,
        worker: &mut Worker,
    ) {
        if let Some(shape) = shape {
            worker.texts.count(shape, duration_ns, rows, is_error);
        }
        worker.has_counts = true;
        worker.counters.count_query(self.database, kind, duration_ns);
        worker.counters.rows += rows;
    }

    fn ended(&mut self, now: Moment) {
        self.is_within_statement = false;
        self.attributor.ended(now);
    }

    fn remember_cursor(&mut self, statement: &Statement, place: Option<RecordPlace>) {
        let Some(place) = place.filter(|_| statement.command == Command::Declare) else { return };
        self.cursors.retain(|cursor| cursor.name_hash != statement.name_hash);
        if self.cursors.len() >= CURSORS_MAX {
            self.cursors.remove(0);
        }
        self.cursors.push(Cursor {
            name_hash: statement.name_hash,
            shape: Rc::clone(&statement.shape),
            place,
            has_rows: false,
        });
    }

    /// A statement that is not counted ended.
    fn control(
        &mut self,
        command: Command,
        execution: &mut Execution,
        mark: Mark,
        now: Moment,
        worker: &mut Worker,
    ) {
        let run = &execution.run;
        let duration_ns = now.since(run.sent);
        if let Some(statement) = execution.statement() {
            self.extend_cursor(statement, run, now);
        }
        self.note_pause(mark.sent, worker);
        if matches!(command, Command::Rollback | Command::RollbackTo) {
            self.note_rollback(mark.sent);
        }
        let arrival = Arrival {
            command,
            tags: execution.tags.as_ref(),
            has_fresh_tags: execution.has_fresh_tags,
            sent: mark.sent,
        };
        if self.attributor.control(arrival) && self.is_recording_unit() {
            self.hand_over(worker);
        }
        if matches!(command, Command::Release | Command::RollbackTo | Command::Savepoint) {
            let name_hash = execution.statement().map_or(0, |statement| statement.name_hash);
            self.attributor.savepoint(command, name_hash);
        }
        self.change_setting(execution, false);
        match command {
            Command::DiscardAll | Command::DeallocateAll => self.definitions.forget_all(),
            Command::Deallocate => {
                let name_hash = execution.statement().map_or(0, |statement| statement.name_hash);
                self.definitions.forget(name_hash);
            }
            _ => {}
        }
        let deallocated = match command {
            Command::DiscardAll | Command::DeallocateAll => Some(EVERY_STATEMENT),
            Command::Deallocate => execution.statement().map(|statement| statement.name_hash),
            _ => None,
        };
        if self.deallocated.len() < DEALLOCATED_MAX {
            self.deallocated.extend(deallocated);
        }
        let kind = if command == Command::Ping { Kind::Other } else { command.kind() };
        worker.has_counts = true;
        worker.counters.count_query(self.database, kind, duration_ns);
        self.ended(now);
        if worker.tap.is_some() && command != Command::Empty {
            self.tap_control(execution, kind, mark, now, worker);
        }
    }

    /// What the open transaction has written is taken back, or what it has written since a savepoint.
    fn note_rollback(&mut self, sent: Moment) {
        let transaction = self.attributor.transaction();
        if let Some(recorder) = self.recorder.as_deref_mut()
            && transaction != 0
        {
            recorder.note_rollback(Rollback { transaction, sent });
        }
    }

    /// A FETCH's rows and time belong to the DECLARE of its cursor.
    fn extend_cursor(&mut self, statement: &Statement, run: &Run, now: Moment) {
        if statement.command == Command::CloseCursor {
            self.cursors.retain(|cursor| cursor.name_hash != statement.name_hash);
        }
        let cursor = self.cursors.iter().find(|cursor| is_fetch_of(statement, cursor));
        if let (Some(cursor), Some(recorder)) = (cursor, self.recorder.as_deref_mut()) {
            recorder.extend(cursor.place, run.rows, run.bytes, now.since(run.sent), now);
        }
    }

    fn change_setting(&mut self, execution: &Execution, is_failed: bool) {
        let Some(setting) = execution.statement().and_then(|statement| statement.setting.as_deref()) else {
            return;
        };
        if is_failed {
            return;
        }
        let scope = match setting.scope {
            SettingScope::Bound(_) if execution.setting_is_local => SettingScope::Local,
            SettingScope::Bound(_) => SettingScope::Session,
            scope => scope,
        };
        let value = if setting.placeholder.is_some() { &execution.setting_value } else { &setting.value };
        self.attributor.set(setting.name, scope, value.as_deref());
    }
}

/// Whether the statement's rows, if it gives any, are rows it has written.
const fn is_row_write(command: Command) -> bool {
    matches!(command, Command::Delete | Command::Insert | Command::Merge | Command::Update)
}

fn is_fetch_of(statement: &Statement, cursor: &Cursor) -> bool {
    statement.command == Command::Fetch && statement.name_hash == cursor.name_hash
}

/// The command of a statement whose text is not known, as its completion tells.
fn command_of(outcome: Outcome<'_>) -> Command {
    let Outcome::Completed(complete) = outcome else { return Command::Other };
    match complete.command() {
        b"BEGIN" | b"START TRANSACTION" => Command::Begin,
        b"CLOSE CURSOR" | b"CLOSE CURSOR ALL" => Command::CloseCursor,
        b"COMMIT" => Command::Commit,
        b"DEALLOCATE" => Command::Deallocate,
        b"DEALLOCATE ALL" => Command::DeallocateAll,
        b"DISCARD ALL" => Command::DiscardAll,
        b"FETCH" => Command::Fetch,
        b"LISTEN" => Command::Listen,
        b"MOVE" => Command::Move,
        b"RELEASE" => Command::Release,
        b"RESET" => Command::Reset,
        b"ROLLBACK" => Command::Rollback,
        b"SAVEPOINT" => Command::Savepoint,
        b"SET" => Command::Set,
        b"SHOW" => Command::Show,
        b"UNLISTEN" => Command::Unlisten,
        _ => Command::Other,
    }
}
