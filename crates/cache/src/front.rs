//! Follows one session closely enough to know, before a message goes out, what it may commit, and whether an answer
//! from the cache could take its place.
//!
//! ```text
//!  idle ── statement that writes ──▶ marked, forwarded ──▶ ReadyForQuery: finished, then told
//!   │
//!   └─ BEGIN ──▶ open ── statement that writes ──▶ remembered ── COMMIT ──▶ marked, forwarded ──▶ ReadyForQuery
//! ```
//!
//! Inside a transaction that is surely open, writes are only remembered: nobody else sees them yet. Whatever is not
//! sure (a pipeline, a procedure, a message in pieces) marks at once, and marks stay until nothing is unanswered.
//! The names of prepared statements, and what the client believes of the unnamed one, are followed too.
//!
//! Deliberately absent: sockets, and what statements mean (see [`Statement`]).

use std::cell::Cell;

use pgtally_fingerprint::name_hash;
use pgtally_protocol::frontend::{self, Bind, Parse, Target, Text};
use pgtally_protocol::limits::PORTALS_MAX;
use pgtally_protocol::{
    Attachments, Conversation, Desync, Frame, FrameReader, NameHash, OpenFrame, Step, TransactionStatus,
    backend,
};

use crate::facts::{StatementFacts, WriteSet};
use crate::two_phase::TwoPhase;
use crate::versions::{DatabaseId, OpenCommit, Versions};

/// Which prepared statements a statement forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgets {
    /// `DEALLOCATE ALL`, `DISCARD ALL`.
    All,
    /// `DEALLOCATE` or `PREPARE` of the name with this hash.
    One(u64),
}

/// A text, as its session needs to know it.
pub trait Statement: std::fmt::Debug {
    /// What it may change.
    fn facts(&self) -> &StatementFacts;
    /// Which prepared statements it forgets.
    fn forgets(&self) -> Option<Forgets>;
    /// What it does to a prepared transaction.
    fn two_phase(&self) -> Option<&TwoPhase>;
    /// Number of the definitions that its facts follow from.
    fn definitions(&self) -> u64;
}

impl<S: Statement> Statement for std::rc::Rc<S> {
    fn facts(&self) -> &StatementFacts {
        S::facts(self)
    }

    fn forgets(&self) -> Option<Forgets> {
        S::forgets(self)
    }

    fn two_phase(&self) -> Option<&TwoPhase> {
        S::two_phase(self)
    }

    fn definitions(&self) -> u64 {
        S::definitions(self)
    }
}

/// Says what texts mean.
pub trait Reader<S> {
    /// The statements of a text that the client sends.
    fn read(&mut self, text: Text<'_>) -> S;
    /// What a statement read earlier means now; `None` where that has not changed.
    fn renewed(&mut self, statement: &S) -> Option<S>;
}

#[derive(Debug)]
struct Followed<S>(std::marker::PhantomData<S>);

/// A prepared statement.
#[derive(Clone, Debug)]
pub struct Prepared<S> {
    /// Its text.
    pub statement: S,
    /// Big-endian OIDs of the declared types.
    pub types: Box<[u8]>,
    name_hash: u64,
    /// Number of the session's last statement that may have redefined names, as of the definition.
    doubts: u32,
    /// Number of the session's settings, as of the definition.
    settings: Cell<u64>,
}

impl<S: Statement + Clone> Attachments for Followed<S> {
    type Prepared = Prepared<S>;
    type Execution = Option<S>;
    type Mark = ();
}

/// What a chunk from the server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Nothing is unanswered any more.
    pub is_answered: bool,
    /// A setting has changed, or may have.
    pub is_changed: bool,
    /// SQLSTATE with which the server leaves.
    pub farewell: Option<[u8; 5]>,
    /// The server's process for this session.
    pub backend_pid: Option<u32>,
    /// Something was written and has its outcome: number of the definitions that said what, 0 for none.
    pub written_by: Option<u64>,
}

/// One session.
#[derive(Debug)]
pub struct Front<S: Statement + Clone> {
    client: FrameReader,
    upstream: FrameReader,
    conversation: Conversation<Followed<S>>,
    database: DatabaseId,
    /// What the open transaction has written.
    transaction: WriteSet,
    /// Number of the definitions that say so.
    definitions: Option<u64>,
    open: OpenCommit,
    /// The session is in a transaction block, and nothing sent since could have ended it.
    is_surely_open: bool,
    /// Settings, role or temporary tables may have changed since the last [`Front::take_change`].
    is_changed: bool,
    /// Statements so far that may have redefined names without a message.
    doubts: u32,
    /// Number of the settings of now; no other ones have it.
    settings: u64,
    /// The highest number so far.
    settings_last: u64,
    /// A setting has changed that the end of the transaction may change back.
    may_change_back: bool,
    forgets: Vec<Forgets>,
    portals: Portals<S>,
    /// A `Parse` of the unnamed statement is unanswered: failing, it takes the one before with it.
    is_redefining: bool,
    is_in_message: bool,
    has_left: bool,
    has_standard_strings: bool,
}

impl<S: Statement + Clone> Front<S> {
    /// A session of `database` whose startup packet has just been sent.
    #[must_use]
    pub fn new(database: DatabaseId) -> Self {
        Self {
            client: FrameReader::new(frontend::body_limit),
            upstream: FrameReader::new(body_limit),
            conversation: Conversation::new(),
            database,
            transaction: WriteSet::nothing(),
            definitions: None,
            open: OpenCommit::default(),
            is_surely_open: false,
            is_changed: true,
            doubts: 0,
            settings: 0,
            settings_last: 0,
            may_change_back: false,
            forgets: Vec::new(),
            portals: Portals(Vec::new()),
            is_redefining: false,
            is_in_message: false,
            has_left: false,
            has_standard_strings: true,
        }
    }

    /// Whether the server waits for the next message, outside a transaction, and the last ones of both were whole: the
    /// server may be in the middle of a notification.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.conversation.pending() == 0
            && self.conversation.status() == TransactionStatus::Idle
            && !self.is_in_message
            && self.upstream.is_between_frames()
    }

    /// Whether the client's next byte begins a message.
    #[must_use]
    pub const fn is_between_messages(&self) -> bool {
        !self.is_in_message
    }

    /// Whether the session is in a transaction block, as far as was heard.
    #[must_use]
    pub fn is_in_transaction(&self) -> bool {
        self.conversation.status() != TransactionStatus::Idle
    }

    /// What the transaction has written, where it is surely open, has not failed, and nothing is unanswered: the moment
    /// for asking the server what it has locked.
    #[must_use]
    pub fn held_writes(&mut self) -> Option<&mut WriteSet> {
        let is_held = self.is_surely_open
            && self.conversation.status() == TransactionStatus::Open
            && self.conversation.pending() == 0
            && !self.is_in_message
            && self.upstream.is_between_frames()
            && !self.transaction.is_nothing();
        is_held.then_some(&mut self.transaction)
    }

    /// The prepared statement of this name, where the server surely has it.
    #[must_use]
    pub fn prepared(&mut self, name: &[u8]) -> Option<&Prepared<S>> {
        let doubts = self.doubts;
        let prepared = self.conversation.statement(NameHash::of(name))?;
        (prepared.doubts == doubts).then_some(&*prepared)
    }

    /// Whether the session's settings are those with which `prepared` was defined: the server has made constants of
    /// its literals then.
    #[must_use]
    pub fn has_settings_of(&self, prepared: &Prepared<S>) -> bool {
        prepared.settings.get() == self.settings
    }

    /// Number of the settings of now.
    #[must_use]
    pub const fn settings(&self) -> u64 {
        self.settings
    }

    /// The settings of now have turned out to be those of number `known`: what was prepared with either is of both.
    pub fn settings_are(&mut self, known: u64) {
        let now = std::mem::replace(&mut self.settings, known);
        self.conversation.forget_statements(|prepared| {
            if prepared.settings.get() == now {
                prepared.settings.set(known);
            }
            false
        });
    }

    /// Settings may be others from here on.
    pub fn settings_changed(&mut self) {
        self.settings_last = self.settings_last.wrapping_add(1);
        self.settings = self.settings_last;
    }

    /// What has come of a frame of the server's that has not ended.
    #[must_use]
    pub fn open_frame(&self) -> OpenFrame<'_> {
        self.upstream.open_frame()
    }

    /// Whether settings may have changed since the last call.
    pub fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Follows `chunk`, which is about to be forwarded: marks what it may commit. `reader` says what texts mean.
    ///
    /// # Errors
    /// Why the session cannot be followed; then everything it does from now on is unknown.
    pub fn client(
        &mut self,
        mut chunk: &[u8],
        versions: &Versions,
        reader: &mut impl Reader<S>,
    ) -> Result<(), Desync> {
        let mut whole = 0;
        let length = chunk.len();
        while let Some(frame) = self.client.next(&mut chunk)? {
            whole = length - chunk.len();
            self.has_left |= frame.tag == TERMINATE;
            self.is_redefining |= frame.tag == frontend::PARSE && frame.body.first() == Some(&0);
            let sent = sent(
                &mut self.conversation,
                &mut self.portals,
                &frame,
                (self.doubts, self.settings),
                reader,
            )?;
            self.note(sent, versions);
        }
        // What lies behind the last whole message is the beginning of another, or the middle of a long one.
        self.is_in_message = whole < length;
        Ok(())
    }

    fn note(&mut self, sent: Sent<S>, versions: &Versions) {
        match sent {
            Sent::Nothing => {}
            Sent::Statement(statement) => {
                if let Some(forgets) = statement.forgets() {
                    self.forgets.push(forgets);
                }
                self.note_definitions(statement.definitions());
                match statement.two_phase() {
                    None => self.note_facts(statement.facts(), versions),
                    Some(two_phase) => self.note_two_phase(two_phase, statement.facts(), versions),
                }
            }
            Sent::Bound(statement) => {
                let facts = statement.facts();
                if !facts.writes.is_nothing() || facts.can_change_session {
                    let facts = StatementFacts { can_commit: false, can_roll_back: false, ..facts.clone() };
                    self.note_facts(&facts, versions);
                }
            }
            Sent::Unknown => {
                versions.forget_prepared();
                let facts = StatementFacts::unknown(crate::BypassReason::UnknownStatement);
                self.note_facts(&facts, versions);
            }
        }
    }

    /// A statement that waits for a lock runs by the definitions of later: where they have changed since the transaction's
    /// first statement, it may have fired what nobody knew.
    fn note_definitions(&mut self, number: u64) {
        if self.definitions.replace(number).is_some_and(|known| known != number) {
            self.transaction.merge(&WriteSet::unknown());
        }
    }

    fn note_two_phase(&mut self, two_phase: &TwoPhase, facts: &StatementFacts, versions: &Versions) {
        let prepared = &versions.prepared;
        let writes = match two_phase {
            TwoPhase::Commit(gid) => prepared.take(self.database, gid).unwrap_or_else(WriteSet::catalog),
            TwoPhase::Prepare(gid) if self.is_surely_open => {
                prepared.add(self.database, gid, &self.transaction);
                WriteSet::nothing()
            }
            TwoPhase::Rollback(gid) => {
                prepared.take(self.database, gid);
                WriteSet::nothing()
            }
            TwoPhase::Prepare(_) | TwoPhase::Unknown => {
                prepared.clear();
                WriteSet::catalog()
            }
        };
        self.note_facts(&StatementFacts { writes, can_change_session: false, ..facts.clone() }, versions);
    }

    fn note_facts(&mut self, facts: &StatementFacts, versions: &Versions) {
        self.is_changed |= facts.can_change_session;
        self.may_change_back |= facts.can_change_session;
        if facts.can_change_session {
            self.settings_changed();
        }
        // What runs any SQL by itself may prepare and forget statements too.
        self.doubts += u32::from(facts.can_change_session && facts.can_commit);
        if !facts.writes.is_nothing() {
            versions.stated(self.database, &facts.writes);
            self.transaction.merge(&facts.writes);
        }
        if facts.can_commit || facts.can_roll_back {
            self.is_surely_open = false;
        }
        // What was written before a rollback is forgotten with it, unless more is written before its outcome is known.
        let may_be_seen = facts.can_commit || !facts.writes.is_nothing();
        if may_be_seen && !self.is_surely_open && !self.transaction.is_nothing() {
            versions.begin(self.database, &self.transaction, &mut self.open);
        }
    }

    /// A query was answered without the server: it ends the unnamed statement. Whether there was one.
    pub fn serve_query(&mut self) -> bool {
        let had_unnamed = self.conversation.statement(NameHash::UNNAMED).is_some();
        self.conversation.forget_statements(|prepared| prepared.name_hash == UNNAMED);
        had_unnamed
    }

    /// A group was answered without the server that defines the unnamed statement. Only while nothing is unanswered.
    pub fn serve_parse(&mut self, statement: S, types: &[u8]) {
        let prepared = Prepared {
            statement,
            types: types.into(),
            name_hash: UNNAMED,
            doubts: self.doubts,
            settings: Cell::new(self.settings),
        };
        // Nothing is pending, so the answer is that to this message, and neither can fail.
        let is_defined = self.conversation.parse(NameHash::UNNAMED, prepared).is_ok();
        let answered = self.conversation.answer(backend::PARSE_COMPLETE, &[]).map(drop);
        debug_assert!(is_defined && answered.is_ok());
    }

    /// How the server reads string literals, as it has told.
    #[must_use]
    pub const fn has_standard_strings(&self) -> bool {
        self.has_standard_strings
    }

    /// Whether the client has said that it leaves.
    #[must_use]
    pub const fn has_left(&self) -> bool {
        self.has_left
    }

    /// Follows `chunk`, which is about to be delivered to the client: finishes what has got its outcome.
    ///
    /// # Errors
    /// As for [`Front::client`].
    pub fn upstream(&mut self, mut chunk: &[u8], versions: &Versions) -> Result<Heard, Desync> {
        let mut heard = Heard::default();
        while let Some(frame) = self.upstream.next(&mut chunk)? {
            if frame.tag == BACKEND_KEY_DATA {
                let pid = frame.body.first_chunk().map(|pid| u32::from_be_bytes(*pid));
                heard.backend_pid = pid.or(heard.backend_pid);
            }
            if frame.tag == backend::PARAMETER_STATUS {
                if let Ok((b"standard_conforming_strings", value)) = backend::parameter_status(frame.body) {
                    self.has_standard_strings = value == b"on";
                }
                self.is_changed = true;
                self.settings_changed();
                heard.is_changed = true;
                continue;
            }
            let status = match self.conversation.answer(frame.tag, frame.body)? {
                Step::Ready(status) => status,
                Step::Failed(_, error) => {
                    if error.is_fatal {
                        heard.farewell = Some(error.sqlstate);
                    }
                    if self.is_redefining {
                        self.conversation.forget_statements(|prepared| prepared.name_hash == UNNAMED);
                    }
                    continue;
                }
                _ => continue,
            };
            if self.conversation.pending() == 0 {
                heard.is_answered = true;
                if !self.open.is_empty() {
                    heard.written_by = Some(self.definitions.unwrap_or(0));
                }
                self.answered(status, versions);
            }
        }
        Ok(heard)
    }

    fn answered(&mut self, status: TransactionStatus, versions: &Versions) {
        if !self.open.is_empty() {
            versions.finish(std::mem::take(&mut self.open));
        }
        self.is_redefining = false;
        self.is_surely_open = status != TransactionStatus::Idle;
        if status == TransactionStatus::Idle {
            self.portals.0.clear();
            self.definitions = None;
            if std::mem::take(&mut self.may_change_back) {
                self.settings_changed();
            }
            if !self.transaction.is_nothing() {
                self.transaction = WriteSet::nothing();
            }
        }
        for forgets in self.forgets.drain(..) {
            self.conversation.forget_statements(|prepared| match forgets {
                Forgets::All => true,
                Forgets::One(name_hash) => prepared.name_hash == name_hash,
            });
        }
        if self.forgets.capacity() > 16 {
            self.forgets = Vec::new();
        }
        self.client.shrink();
        self.upstream.shrink();
    }

    /// The session is over, or can no longer be followed: commits whose outcome nobody will tell.
    pub fn into_open(self) -> OpenCommit {
        self.open
    }
}

/// What a client's message makes the server do.
enum Sent<S> {
    Nothing,
    Statement(S),
    /// A portal with a name: text may run it (`FETCH`), in this transaction.
    Bound(S),
    Unknown,
}

fn sent<S: Statement + Clone>(
    conversation: &mut Conversation<Followed<S>>,
    portals: &mut Portals<S>,
    frame: &Frame<'_>,
    (doubts, settings): (u32, u64),
    reader: &mut impl Reader<S>,
) -> Result<Sent<S>, Desync> {
    match frame.tag {
        frontend::QUERY => {
            let statement = reader.read(frontend::query(frame)?);
            conversation.query(Some(statement.clone()), ())?;
            // It ends the unnamed statement. Looking at all others costs something where there are many.
            if conversation.statement(NameHash::UNNAMED).is_some() {
                conversation.forget_statements(|prepared| prepared.name_hash == UNNAMED);
            }
            return Ok(Sent::Statement(statement));
        }
        frontend::PARSE => {
            let parse = Parse::read(frame)?;
            let statement = reader.read(parse.text);
            let name_hash = if parse.name.is_empty() { UNNAMED } else { name_hash(parse.name) };
            let prepared = Prepared {
                statement,
                types: parse.types.into(),
                name_hash,
                doubts,
                settings: Cell::new(settings),
            };
            conversation.parse(NameHash::of(parse.name), prepared)?;
        }
        frontend::BIND => {
            let bind = Bind::read(frame)?;
            let prepared = conversation.statement(NameHash::of(bind.statement));
            let statement = prepared.map(|prepared| prepared.statement.clone());
            let portal = NameHash::of(bind.portal);
            portals.bind(portal, statement.clone());
            conversation.bind(portal, statement.clone())?;
            if !bind.portal.is_empty() {
                let Some(statement) = statement else { return Ok(Sent::Unknown) };
                return Ok(Sent::Bound(reader.renewed(&statement).unwrap_or(statement)));
            }
        }
        frontend::EXECUTE => {
            let portal = NameHash::of(frontend::execute(frame)?);
            conversation.execute(portal, ())?;
            let Some(statement) = portals.statement(portal) else { return Ok(Sent::Unknown) };
            return Ok(Sent::Statement(reader.renewed(&statement).unwrap_or(statement)));
        }
        frontend::SYNC => conversation.sync()?,
        frontend::DESCRIBE => match frontend::target(frame)? {
            Some(Target::Portal(name)) => conversation.describe_portal(NameHash::of(name))?,
            Some(Target::Statement(name)) => conversation.describe_statement(NameHash::of(name))?,
            None => {}
        },
        frontend::CLOSE => match frontend::target(frame)? {
            Some(Target::Portal(name)) => {
                portals.close(NameHash::of(name));
                conversation.close_portal(NameHash::of(name))?;
            }
            Some(Target::Statement(name)) => conversation.close_statement(NameHash::of(name))?,
            None => {}
        },
        frontend::FUNCTION_CALL => {
            conversation.function_call()?;
            return Ok(Sent::Unknown);
        }
        frontend::COPY_DONE | frontend::COPY_FAIL => conversation.copy_end()?,
        _ => {}
    }
    Ok(Sent::Nothing)
}

/// What the portals of a session run, from their `Bind` on. What is not listed is unknown.
#[derive(Debug)]
struct Portals<S>(Vec<(NameHash, Option<S>)>);

impl<S: Clone> Portals<S> {
    fn bind(&mut self, name: NameHash, statement: Option<S>) {
        let has_room = self.0.len() < PORTALS_MAX;
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) if name == NameHash::UNNAMED => *known = statement,
            // The server refuses a name that is taken, unless it was closed: which of the two it has is not known.
            Some((_, known)) => *known = None,
            None if has_room => self.0.push((name, statement)),
            None => {}
        }
    }

    fn statement(&self, name: NameHash) -> Option<S> {
        self.0.iter().find(|(known, _)| *known == name)?.1.clone()
    }

    fn close(&mut self, name: NameHash) {
        self.0.retain(|(known, _)| *known != name);
    }
}

/// Bytes of a server's message body worth keeping.
const fn body_limit(tag: u8) -> usize {
    if tag == BACKEND_KEY_DATA { size_of::<u32>() } else { backend::body_limit(tag) }
}

/// `BackendKeyData`.
const BACKEND_KEY_DATA: u8 = b'K';
/// `Terminate`.
const TERMINATE: u8 = b'X';
/// Stands for the unnamed statement among the hashes of names.
const UNNAMED: u64 = u64::MAX;

#[cfg(test)]
mod tests;
