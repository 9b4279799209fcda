//! Watches one session: bytes of both directions in, request parts and counts out.
//!
//! The relay calls [`SessionObserver::frontend`] and [`SessionObserver::backend`] with every chunk it has already
//! forwarded. A statement is *sent* when its last byte was forwarded. Nothing here does I/O or reads a clock; an
//! error means that the session can no longer be observed.
//!
//! Read next: `recording.rs` (what is recorded), `attribution.rs` (which request), `texts.rs` (which shape).

use std::rc::Rc;
use std::sync::Arc;

use pgtally_fingerprint::{Command, name_hash};
use pgtally_protocol::frontend::{self, Bind, Parse, Target, Text};
use pgtally_protocol::startup::Startup;
use pgtally_protocol::{Conversation, Desync, Frame, FrameReader, NameHash, TransactionStatus, backend};

use crate::attribution::Attributor;
use crate::counters::Dropped;
use crate::exchange::{Asked, Deferred, answered_rows, asked};
use crate::execution::{Execution, Mark, Observed, PreparedEntry};
use crate::limits::{CROWDED_PENDING, NAME_BYTES_MAX, PART_AGE_NS, PART_IDLE_NS};
use crate::part::{PartRecorder, cut};
use crate::record::{Moment, Origin, RequestPart};
use crate::recording::{EVERY_STATEMENT, Recording};
use crate::texts::{Statement, WorkerShape};
use crate::worker::Worker;

/// Observer of one session.
#[derive(Debug)]
pub struct SessionObserver {
    frontend_frames: FrameReader,
    backend_frames: FrameReader,
    conversation: Conversation<Observed>,
    recording: Recording,
    deferred: Deferred,
}

impl SessionObserver {
    /// Observer of session number `session`, whose startup packet has just been forwarded.
    #[must_use]
    pub fn new(session: u64, startup: &Startup, worker: &mut Worker) -> Self {
        let text = |bytes: &[u8]| Arc::from(cut(&String::from_utf8_lossy(bytes), NAME_BYTES_MAX));
        let origin = Origin {
            database: text(startup.database()),
            application_name: text(startup.parameter("application_name").unwrap_or(b"")),
            ..Origin::default()
        };
        let request = startup_setting(startup, "pgtally.request");
        let mut attributor = Attributor::new(session, worker.settings.idle_gap_ns, request.as_deref());
        for name in ["role", "search_path"] {
            if let Some(value) = startup_setting(startup, name) {
                attributor.start_with(name, &value);
            }
        }
        Self {
            frontend_frames: FrameReader::new(frontend::body_limit),
            backend_frames: FrameReader::new(backend::body_limit),
            conversation: Conversation::new(),
            recording: Recording::new(session, origin, attributor, worker),
            deferred: Deferred::default(),
        }
    }

    /// Leaves `ending` out of the application's name, wherever the server reports that of the startup packet: it was
    /// told there who the client is, and a name with an address in it would tell every session from the next.
    pub fn leave_out_of_name(&mut self, ending: &str) {
        self.recording.leave_out_of_name(ending);
    }

    /// Looks at bytes that were forwarded to the upstream at `now`.
    ///
    /// # Errors
    /// The reason why this session can no longer be observed.
    pub fn frontend(&mut self, chunk: &[u8], now: Moment, worker: &mut Worker) -> Result<(), Desync> {
        if self.can_wait(chunk, now, worker) {
            self.deferred.hold(chunk, now);
            return Ok(());
        }
        self.catch_up(worker)?;
        self.client_sent(chunk, now, worker)
    }

    fn client_sent(&mut self, mut chunk: &[u8], now: Moment, worker: &mut Worker) -> Result<(), Desync> {
        while let Some(frame) = self.frontend_frames.next(&mut chunk)? {
            sent(&mut self.conversation, &self.recording, &frame, now, worker)?;
        }
        Ok(())
    }

    /// Whether it is enough to look at a client's chunk once its answer has come: most likely only to count it.
    fn can_wait(&self, chunk: &[u8], now: Moment, worker: &Worker) -> bool {
        self.deferred.has_room(chunk)
            && self.recording.only_counts(now, worker)
            && self.conversation.is_at_rest()
            && self.frontend_frames.is_between_frames()
            && self.backend_frames.is_between_frames()
    }

    /// Looks at the chunk that has waited for nothing.
    fn catch_up(&mut self, worker: &mut Worker) -> Result<(), Desync> {
        if !self.deferred.is_waiting() {
            return Ok(());
        }
        let mut deferred = std::mem::take(&mut self.deferred);
        let sent = self.client_sent(deferred.chunk(), deferred.sent, worker);
        deferred.clear();
        self.deferred = deferred;
        sent
    }

    /// Counts the statement of the chunk that waits, where `answer` is all that the server says of it, and where
    /// nothing else has to be known of it. Returns whether that is so.
    fn count_exchange(&mut self, answer: &[u8], now: Moment, worker: &mut Worker) -> bool {
        // Its part may have been handed over while the server was at it.
        if !self.recording.takes_no_more(worker) {
            return false;
        }
        let Some(rows) = answered_rows(answer) else { return false };
        let Some((shape, command)) = self.known_statement(worker) else { return false };
        self.recording.count_exchange((&shape, command), rows, self.deferred.sent, now, worker);
        self.deferred.clear();
        true
    }

    /// The statement that the chunk that waits has run, where it is a plain one that has been met before.
    fn known_statement(&mut self, worker: &mut Worker) -> Option<(Rc<WorkerShape>, Command)> {
        let Recording { dialect, database, .. } = self.recording;
        let plain = |statement: &Statement| {
            statement.is_plain().then(|| (Rc::clone(&statement.shape), statement.command))
        };
        match asked(self.deferred.chunk())? {
            Asked::Query(text) => worker.texts.known_query(text, dialect).and_then(plain),
            Asked::Portal { parse, statement } => {
                let prepared = self.conversation.statement(NameHash::of(statement))?;
                let text = match parse {
                    Some(parse) => worker.texts.known_prepared(&parse, dialect, database)?,
                    None => &prepared.text,
                };
                let known = text.text.untagged_statement().and_then(plain)?;
                if parse.is_some() {
                    prepared.text = Rc::clone(text);
                }
                Some(known)
            }
        }
    }

    /// Looks at bytes that were forwarded to the client at `now`.
    ///
    /// # Errors
    /// As for [`SessionObserver::frontend`].
    pub fn backend(&mut self, chunk: &[u8], now: Moment, worker: &mut Worker) -> Result<(), Desync> {
        if self.deferred.is_waiting() && self.count_exchange(chunk, now, worker) {
            return Ok(());
        }
        self.catch_up(worker)?;
        self.server_sent(chunk, now, worker)
    }

    fn server_sent(&mut self, mut chunk: &[u8], now: Moment, worker: &mut Worker) -> Result<(), Desync> {
        let mut is_ready = false;
        while let Some(frame) = self.backend_frames.next(&mut chunk)? {
            if frame.tag == backend::PARAMETER_STATUS {
                let (name, value) = backend::parameter_status(frame.body)?;
                self.recording.parameter_status(name, value);
                continue;
            }
            let step = self.conversation.answer(frame.tag, frame.body)?;
            if let Some(status) = self.recording.step(step, &frame, now, worker) {
                is_ready = true;
                self.recording.ready(status, worker);
                let gone = self.recording.take_deallocated();
                if !gone.is_empty() {
                    let is_all = gone.contains(&EVERY_STATEMENT);
                    self.conversation.forget_statements(|it| is_all || gone.contains(&it.name_hash));
                }
            }
            if self.recording.has_seen_enough_rows() {
                self.pass_rows(&mut chunk);
            }
        }
        if is_ready && self.conversation.pending() == 0 {
            self.frontend_frames.shrink();
            self.backend_frames.shrink();
        }
        Ok(())
    }

    /// Looks at an answer that the cache gave at `now`: as [`SessionObserver::backend`], but its statements are counted
    /// as the cache's.
    ///
    /// # Errors
    /// As for [`SessionObserver::frontend`].
    pub fn served(&mut self, chunk: &[u8], now: Moment, worker: &mut Worker) -> Result<(), Desync> {
        self.backend(chunk, now, worker.serving().0)
    }

    /// Counts the rows at the beginning of `chunk`; those before them were of the same result.
    fn pass_rows(&mut self, chunk: &mut &[u8]) {
        let Some(tag) = chunk.first().copied().filter(|tag| is_row(*tag)) else { return };
        if let Some(execution) = self.conversation.row_of() {
            let (rows, bytes) = self.backend_frames.pass_over(tag, chunk);
            execution.run.rows += rows;
            execution.run.bytes += bytes;
        }
    }

    /// Hands over the current part when it is idle or old. A statement whose rows still come in keeps its part.
    pub fn sweep(&mut self, now: Moment, worker: &mut Worker) {
        if self.recording.is_within_statement() {
            return;
        }
        let Some(recorder) = self.recording.recorder() else { return };
        let part = recorder.part();
        let is_idle = now.since(part.ended) >= PART_IDLE_NS && !self.is_running();
        let is_old = now.since(part.started) >= PART_AGE_NS;
        if is_idle {
            // The transaction may go on idling for long: what is known by now is worth telling.
            self.recording.note_pause(now, worker);
        }
        if is_idle || is_old {
            self.recording.hand_over(worker);
            self.deferred.shrink();
        }
    }

    /// Hands over what is left: the session has ended.
    pub fn close(&mut self, worker: &mut Worker) {
        self.recording.hand_over(worker);
    }

    /// Whether a request is being recorded.
    #[must_use]
    pub fn has_open_request(&self) -> bool {
        self.recording.recorder().is_some()
    }

    /// A copy of the part being recorded.
    #[must_use]
    pub fn open_part(&self) -> Option<RequestPart> {
        self.recording.recorder().map(PartRecorder::part).cloned()
    }

    /// The part being recorded.
    #[must_use]
    pub fn current_part(&self) -> Option<&RequestPart> {
        self.recording.recorder().map(PartRecorder::part)
    }

    /// Transaction status, as the server told it last.
    #[must_use]
    pub const fn status(&self) -> TransactionStatus {
        self.conversation.status()
    }

    /// Whether a statement is running.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.conversation.is_running() || self.deferred.is_waiting()
    }
}

const fn is_row(tag: u8) -> bool {
    matches!(tag, backend::DATA_ROW | backend::COPY_DATA)
}

/// A client's message was forwarded.
fn sent(
    conversation: &mut Conversation<Observed>,
    recording: &Recording,
    frame: &Frame<'_>,
    now: Moment,
    worker: &mut Worker,
) -> Result<(), Desync> {
    let mark = Mark { sent: now, is_round_trip: !conversation.is_running() };
    match frame.tag {
        frontend::QUERY => {
            let text = noted(frontend::query(frame)?, worker);
            let analysed = worker.texts.query(text, recording.dialect, &mut worker.tag_sets);
            let is_crowded = conversation.pending() >= CROWDED_PENDING;
            conversation.query(Execution::of_query(analysed, is_crowded), mark)
        }
        frontend::PARSE => sent_parse(conversation, recording, frame, worker),
        frontend::BIND => sent_bind(conversation, frame, now),
        frontend::EXECUTE => conversation.execute(NameHash::of(frontend::execute(frame)?), mark),
        frontend::SYNC => conversation.sync(),
        frontend::DESCRIBE => match frontend::target(frame)? {
            Some(Target::Portal(name)) => conversation.describe_portal(NameHash::of(name)),
            Some(Target::Statement(name)) => conversation.describe_statement(NameHash::of(name)),
            None => Ok(()),
        },
        frontend::CLOSE => match frontend::target(frame)? {
            Some(Target::Portal(name)) => conversation.close_portal(NameHash::of(name)),
            Some(Target::Statement(name)) => conversation.close_statement(NameHash::of(name)),
            None => Ok(()),
        },
        frontend::FUNCTION_CALL => conversation.function_call(),
        frontend::COPY_DONE | frontend::COPY_FAIL => conversation.copy_end(),
        _ => Ok(()),
    }
}

/// The text itself; a cut one is counted.
fn noted<'a>(text: Text<'a>, worker: &mut Worker) -> Text<'a> {
    if text.is_cut {
        worker.counters.count_dropped(Dropped::TextCut, 1);
    }
    text
}

fn sent_parse(
    conversation: &mut Conversation<Observed>,
    recording: &Recording,
    frame: &Frame<'_>,
    worker: &mut Worker,
) -> Result<(), Desync> {
    let parse = Parse::read(frame)?;
    let text = noted(parse.text, worker);
    let text =
        worker.texts.prepare(text, parse.types, recording.dialect, recording.database, &mut worker.tag_sets);
    let name_hash = if parse.name.is_empty() { EVERY_STATEMENT } else { name_hash(parse.name) };
    let prepared = PreparedEntry { text, name_hash, is_fresh: true };
    if !conversation.parse(NameHash::of(parse.name), prepared)? {
        worker.counters.count_dropped(Dropped::Statements, 1);
    }
    Ok(())
}

fn sent_bind(
    conversation: &mut Conversation<Observed>,
    frame: &Frame<'_>,
    now: Moment,
) -> Result<(), Desync> {
    let bind = Bind::read(frame)?;
    let execution = match conversation.statement(NameHash::of(bind.statement)) {
        Some(prepared) => Execution::of_bind(prepared, &bind, now.0)?,
        None => Execution::unknown(),
    };
    conversation.bind(NameHash::of(bind.portal), execution)
}

/// A setting of the startup packet: as a parameter of its own, or in `options` as `-c` or `--`.
fn startup_setting(startup: &Startup, name: &str) -> Option<Vec<u8>> {
    if let Some(value) = startup.parameter(name) {
        return Some(value.to_vec());
    }
    let options = startup.parameter("options")?;
    let mut words = option_words(options).into_iter();
    let mut found = None;
    while let Some(word) = words.next() {
        let setting = match word.as_slice() {
            b"-c" => words.next()?,
            [b'-', b'c', setting @ ..] | [b'-', b'-', setting @ ..] => setting.to_vec(),
            _ => continue,
        };
        let value = setting.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        found = value.map(<[u8]>::to_vec).or(found);
    }
    found
}

/// Splits `options` at white space; a backslash takes the next byte literally (`pg_split_opts`).
fn option_words(options: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    let mut bytes = options.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, words.last_mut()) {
            (b'\\', Some(word)) => word.extend(bytes.next()),
            (b' ' | b'\t' | b'\n' | b'\r', Some(word)) if !word.is_empty() => words.push(Vec::new()),
            (b' ' | b'\t' | b'\n' | b'\r', _) => {}
            (_, Some(word)) => word.push(byte),
            (_, None) => {}
        }
    }
    words
}

#[cfg(test)]
mod tests;
