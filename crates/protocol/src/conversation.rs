//! Pairs the two directions of a session: which answer belongs to which message.
//!
//! ```text
//!  client ── Query / Parse / Bind / Describe / Execute / Close / Sync / FunctionCall ──▶ pushed to `pending`
//!  server ── answers, in the same order ──▶ pops or advances the front of `pending`
//!
//!            ErrorResponse to an extended-protocol message
//!  tracking ───────────────────────────────────────────────▶ skipping: everything up to the next Sync is dropped,
//!     ▲                                                        as the server does
//!     └──────────────── Sync (pushed) / ReadyForQuery ◀────────┘
//!
//!  CopyInResponse ──▶ copying in: Sync and Flush are ignored by the server until CopyDone / CopyFail
//! ```
//!
//! `ReadyForQuery` is the truth: whatever is still pending before its `Sync` or `Query` is over. Definitions of
//! prepared statements take effect when sent, so that a pipelined `Bind` finds its `Parse`, and are taken back when
//! the server skips them. Rules: <https://www.postgresql.org/docs/current/protocol-flow.html>.
//!
//! Knows nothing of SQL: the caller attaches what it wants to prepared statements and executions.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};

use crate::slots::{SlotId, Slots};
use crate::{Desync, backend, limits};

/// Hash of a statement's or portal's name; names themselves are not kept. The unnamed one is `NameHash::UNNAMED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NameHash(u64);

impl NameHash {
    /// The unnamed statement or portal.
    pub const UNNAMED: Self = Self(0);

    /// Hash of `name`, cut as PostgreSQL cuts it (`NAMEDATALEN`): longer names that begin alike are one.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::UNNAMED;
        }
        let mut hasher = FxHasher::default();
        hasher.write(name.get(..limits::NAME_BYTES_MAX).unwrap_or(name));
        Self(hasher.finish() | 1)
    }
}

/// What the caller attaches.
pub trait Attachments {
    /// To a prepared statement.
    type Prepared: Clone + fmt::Debug;
    /// To a `Query`, or to a `Bind` and the portal it makes.
    type Execution: fmt::Debug;
    /// To each `Query` and `Execute`: when and how it was sent.
    type Mark: Copy + fmt::Debug;
}

/// Transaction status of `ReadyForQuery`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Outside a transaction block.
    #[default]
    Idle,
    /// In a transaction block.
    Open,
    /// In a failed transaction block.
    Failed,
}

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// `CommandComplete`.
    Completed(backend::CommandComplete<'a>),
    /// `EmptyQueryResponse`: there was no statement.
    Empty,
    /// `PortalSuspended`: the row limit was reached, the portal may go on.
    Suspended,
}

/// What a `RowDescription` describes.
#[derive(Debug)]
pub enum Described<'a, A: Attachments> {
    /// A running `Query`, or a portal.
    Execution(&'a mut A::Execution),
    /// A prepared statement.
    Prepared(A::Prepared),
}

/// What an `ErrorResponse` ended.
#[derive(Debug)]
pub enum Failure<'a, A: Attachments> {
    /// A statement while it ran.
    Execution(&'a mut A::Execution, A::Mark),
    /// Anything else: a definition, a description, the session itself.
    Other,
}

/// What one answer means.
#[derive(Debug)]
pub enum Step<'a, A: Attachments> {
    /// A statement ended.
    Completed(&'a mut A::Execution, A::Mark, Outcome<'a>),
    /// Columns were described.
    Described(Described<'a, A>),
    /// Something failed.
    Failed(Failure<'a, A>, backend::ErrorFields),
    /// The types of a prepared statement's parameters.
    ParameterTypes(A::Prepared),
    /// Nothing to do.
    Passed,
    /// The server waits for the next message.
    Ready(TransactionStatus),
    /// A `DataRow` or `CopyData` of a running statement.
    Row(&'a mut A::Execution, A::Mark),
    /// A statement ended whose portal was beyond [`limits::PORTALS_MAX`].
    Untracked,
}

#[derive(Debug)]
enum Pending<A: Attachments> {
    Bind { portal: NameHash, execution: SlotId },
    ClosePortal(NameHash),
    CloseStatement,
    CopyEnd,
    DescribePortal(NameHash),
    DescribeStatement(Option<A::Prepared>),
    Execute(NameHash, A::Mark),
    FunctionCall,
    Parse,
    Query(A::Mark, SlotId),
    Startup,
    Sync,
}

/// What a pending `Parse` or `Close` of a statement changed: the name, and what it stood for before.
type Redefinition<A> = (NameHash, Option<<A as Attachments>::Prepared>);

/// State of one session's conversation. See the module's drawing.
#[derive(Debug)]
pub struct Conversation<A: Attachments> {
    pending: VecDeque<Pending<A>>,
    /// Of the pending `Parse`s and `Close`s of statements, in their order; apart, to keep `pending` small.
    redefinitions: VecDeque<Redefinition<A>>,
    /// Attachments of the pending `Bind`s and `Query`s, and of the portals.
    executions: Slots<A::Execution>,
    statements: FxHashMap<NameHash, A::Prepared>,
    portals: Vec<(NameHash, SlotId)>,
    status: TransactionStatus,
    /// Pending `Query` and `Execute` messages.
    running: u32,
    is_skipping: bool,
    is_copying_in: bool,
}

impl<A: Attachments> Default for Conversation<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Attachments> Conversation<A> {
    /// The conversation of a session whose startup packet has just been sent.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pending: VecDeque::from([Pending::Startup]),
            redefinitions: VecDeque::new(),
            executions: Slots::new(),
            statements: FxHashMap::default(),
            portals: Vec::new(),
            status: TransactionStatus::Idle,
            running: 0,
            is_skipping: false,
            is_copying_in: false,
        }
    }

    /// Transaction status told by the last `ReadyForQuery`.
    #[must_use]
    pub const fn status(&self) -> TransactionStatus {
        self.status
    }

    /// Whether a `Query` or `Execute` waits for its answer.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.running > 0
    }

    /// Whether nothing is unanswered, outside a transaction block.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.pending.is_empty() && !self.is_skipping && self.status == TransactionStatus::Idle
    }

    /// Messages that wait for an answer.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The prepared statement that a `Bind` sent now would find.
    #[must_use]
    pub fn statement(&mut self, name: NameHash) -> Option<&mut A::Prepared> {
        self.statements.get_mut(&name)
    }

    /// Forgets prepared statements, as `DISCARD ALL`, `DEALLOCATE ALL` and `DEALLOCATE` do: those that `is_gone`
    /// tells, unless a client that did not wait may have defined one again. (A stale entry does no harm: the server
    /// refuses to bind it.)
    pub fn forget_statements(&mut self, mut is_gone: impl FnMut(&A::Prepared) -> bool) {
        let is_defining = |pending: &Pending<A>| matches!(pending, Pending::Parse);
        // Looking through a long pipeline for each statement of it would take quadratic time.
        if self.pending.len() <= PENDING_KEPT && !self.pending.iter().any(is_defining) {
            self.statements.retain(|_, prepared| !is_gone(prepared));
            if self.statements.is_empty() {
                self.statements = FxHashMap::default();
            }
        }
    }

    fn push(&mut self, pending: Pending<A>) -> Result<(), Desync> {
        if self.pending.len() >= limits::PENDING_MAX {
            return Err(Desync::PendingOverflow);
        }
        self.pending.push_back(pending);
        Ok(())
    }

    /// A `Query` was sent.
    ///
    /// # Errors
    /// This and the other sending methods: [`Desync::PendingOverflow`].
    pub fn query(&mut self, execution: A::Execution, mark: A::Mark) -> Result<(), Desync> {
        if self.is_skipping {
            return Ok(());
        }
        self.running += 1;
        let execution = self.executions.insert(execution);
        self.push(Pending::Query(mark, execution))
    }

    /// A `Parse` was sent. Returns whether the statement is tracked; beyond [`limits::STATEMENTS_MAX`] it is not.
    pub fn parse(&mut self, name: NameHash, prepared: A::Prepared) -> Result<bool, Desync> {
        if self.is_skipping {
            return Ok(true);
        }
        let is_full = self.statements.len() >= limits::STATEMENTS_MAX;
        let (previous, is_tracked) = match self.statements.entry(name) {
            Entry::Occupied(mut entry) => (Some(entry.insert(prepared)), true),
            Entry::Vacant(_) if is_full => (None, false),
            Entry::Vacant(entry) => {
                entry.insert(prepared);
                (None, true)
            }
        };
        self.redefinitions.push_back((name, previous));
        self.push(Pending::Parse)?;
        Ok(is_tracked)
    }

    /// A `Bind` was sent.
    pub fn bind(&mut self, portal: NameHash, execution: A::Execution) -> Result<(), Desync> {
        if self.is_skipping {
            return Ok(());
        }
        let execution = self.executions.insert(execution);
        self.push(Pending::Bind { portal, execution })
    }

    /// A `Describe` of a portal was sent.
    pub fn describe_portal(&mut self, portal: NameHash) -> Result<(), Desync> {
        if self.is_skipping { Ok(()) } else { self.push(Pending::DescribePortal(portal)) }
    }

    /// A `Describe` of a prepared statement was sent.
    pub fn describe_statement(&mut self, name: NameHash) -> Result<(), Desync> {
        if self.is_skipping {
            return Ok(());
        }
        let prepared = self.statements.get(&name).cloned();
        self.push(Pending::DescribeStatement(prepared))
    }

    /// An `Execute` was sent.
    pub fn execute(&mut self, portal: NameHash, mark: A::Mark) -> Result<(), Desync> {
        if self.is_skipping {
            return Ok(());
        }
        self.running += 1;
        self.push(Pending::Execute(portal, mark))
    }

    /// A `Close` of a portal was sent.
    pub fn close_portal(&mut self, portal: NameHash) -> Result<(), Desync> {
        if self.is_skipping { Ok(()) } else { self.push(Pending::ClosePortal(portal)) }
    }

    /// A `Close` of a prepared statement was sent.
    pub fn close_statement(&mut self, name: NameHash) -> Result<(), Desync> {
        if self.is_skipping {
            return Ok(());
        }
        let previous = self.statements.remove(&name);
        self.redefinitions.push_back((name, previous));
        self.push(Pending::CloseStatement)
    }

    /// A `Sync` was sent.
    pub fn sync(&mut self) -> Result<(), Desync> {
        if self.is_copying_in {
            return Ok(());
        }
        self.is_skipping = false;
        self.push(Pending::Sync)
    }

    /// A `FunctionCall` was sent.
    pub fn function_call(&mut self) -> Result<(), Desync> {
        if self.is_skipping { Ok(()) } else { self.push(Pending::FunctionCall) }
    }

    /// A `CopyDone` or `CopyFail` was sent.
    pub fn copy_end(&mut self) -> Result<(), Desync> {
        if self.is_copying_in {
            self.is_copying_in = false;
            return Ok(());
        }
        // The server has not said yet that it copies in; without a running statement it just drops the message.
        if self.is_skipping || self.running == 0 { Ok(()) } else { self.push(Pending::CopyEnd) }
    }

    /// A message arrived from the server.
    ///
    /// # Errors
    /// The [`Desync`] that ends observation.
    pub fn answer<'a>(&'a mut self, tag: u8, body: &'a [u8]) -> Result<Step<'a, A>, Desync> {
        match tag {
            backend::DATA_ROW | backend::COPY_DATA => self.row(),
            backend::COMMAND_COMPLETE => {
                self.completed(Outcome::Completed(backend::CommandComplete::read(body)))
            }
            backend::READY_FOR_QUERY => self.ready(body),
            backend::BIND_COMPLETE => self.bind_complete(),
            backend::PARSE_COMPLETE => self.parse_complete(),
            backend::ROW_DESCRIPTION => self.described(),
            backend::NO_DATA => self
                .pop(|pending| matches!(pending, Pending::DescribePortal(_) | Pending::DescribeStatement(_))),
            backend::PARAMETER_DESCRIPTION => self.parameter_types(),
            backend::CLOSE_COMPLETE => self.close_complete(),
            backend::ERROR_RESPONSE => Ok(self.failed(backend::ErrorFields::read(body))),
            backend::EMPTY_QUERY_RESPONSE => self.completed(Outcome::Empty),
            backend::PORTAL_SUSPENDED => self.completed(Outcome::Suspended),
            backend::COPY_IN_RESPONSE => self.copy_in(),
            backend::COPY_BOTH_RESPONSE => Err(Desync::CopyBoth),
            backend::NEGOTIATE_PROTOCOL_VERSION => {
                let (_, minor) = backend::negotiated_version(body)?;
                if minor > 2 { Err(Desync::UnknownVersion) } else { Ok(Step::Passed) }
            }
            _ => Ok(Step::Passed),
        }
    }

    /// The front of `pending`, markers of an already finished copy dropped.
    fn front(&mut self) -> Option<&mut Pending<A>> {
        while matches!(self.pending.front(), Some(Pending::CopyEnd)) {
            self.pending.pop_front();
        }
        self.pending.front_mut()
    }

    fn pop(&mut self, is_expected: impl Fn(&Pending<A>) -> bool) -> Result<Step<'_, A>, Desync> {
        match self.front() {
            Some(front) if is_expected(front) => {
                self.pending.pop_front();
                Ok(Step::Passed)
            }
            _ => Err(Desync::UnexpectedAnswer),
        }
    }

    fn portal(&mut self, name: NameHash) -> Option<&mut A::Execution> {
        let (_, execution) = self.portals.iter().find(|(portal, _)| *portal == name)?;
        self.executions.get_mut(*execution)
    }

    /// The statement that a row sent now would belong to.
    pub fn row_of(&mut self) -> Option<&mut A::Execution> {
        match self.row() {
            Ok(Step::Row(execution, _)) => Some(execution),
            _ => None,
        }
    }

    fn row(&mut self) -> Result<Step<'_, A>, Desync> {
        match self.front() {
            Some(&mut Pending::Query(mark, execution)) => {
                let execution = self.executions.get_mut(execution);
                Ok(execution.map_or(Step::Passed, |execution| Step::Row(execution, mark)))
            }
            Some(&mut Pending::Execute(portal, mark)) => {
                Ok(self.portal(portal).map_or(Step::Passed, |execution| Step::Row(execution, mark)))
            }
            _ => Err(Desync::UnexpectedAnswer),
        }
    }

    fn completed<'a>(&'a mut self, outcome: Outcome<'a>) -> Result<Step<'a, A>, Desync> {
        let step = |execution, mark| Step::Completed(execution, mark, outcome);
        match self.front() {
            Some(&mut Pending::Query(mark, execution)) => {
                self.is_copying_in = false;
                let execution = self.executions.get_mut(execution);
                Ok(execution.map_or(Step::Passed, |execution| step(execution, mark)))
            }
            Some(&mut Pending::Execute(portal, mark)) => {
                self.is_copying_in = false;
                self.pending.pop_front();
                self.running -= 1;
                Ok(self.portal(portal).map_or(Step::Untracked, |execution| step(execution, mark)))
            }
            _ => Err(Desync::UnexpectedAnswer),
        }
    }

    fn parse_complete(&mut self) -> Result<Step<'_, A>, Desync> {
        self.redefinitions.pop_front();
        self.pop(|pending| matches!(pending, Pending::Parse))
    }

    fn bind_complete(&mut self) -> Result<Step<'_, A>, Desync> {
        let Some(&mut Pending::Bind { portal, execution }) = self.front() else {
            return Err(Desync::UnexpectedAnswer);
        };
        self.pending.pop_front();
        if let Some((_, slot)) = self.portals.iter_mut().find(|(name, _)| *name == portal) {
            self.executions.remove(std::mem::replace(slot, execution));
        } else if self.portals.len() < limits::PORTALS_MAX {
            self.portals.push((portal, execution));
        } else {
            self.executions.remove(execution);
        }
        Ok(Step::Passed)
    }

    fn close_complete(&mut self) -> Result<Step<'_, A>, Desync> {
        match self.front() {
            Some(&mut Pending::ClosePortal(portal)) => {
                if let Some(at) = self.portals.iter().position(|(name, _)| *name == portal) {
                    let (_, execution) = self.portals.swap_remove(at);
                    self.executions.remove(execution);
                }
            }
            Some(Pending::CloseStatement) => drop(self.redefinitions.pop_front()),
            _ => return Err(Desync::UnexpectedAnswer),
        }
        self.pending.pop_front();
        Ok(Step::Passed)
    }

    fn parameter_types(&mut self) -> Result<Step<'_, A>, Desync> {
        match self.front() {
            Some(Pending::DescribeStatement(prepared)) => {
                Ok(prepared.clone().map_or(Step::Passed, Step::ParameterTypes))
            }
            _ => Err(Desync::UnexpectedAnswer),
        }
    }

    fn described(&mut self) -> Result<Step<'_, A>, Desync> {
        let described = match self.front() {
            Some(&mut Pending::Query(_, execution)) => {
                self.executions.get_mut(execution).map(Described::Execution)
            }
            Some(&mut Pending::DescribePortal(portal)) => {
                self.pending.pop_front();
                self.portal(portal).map(Described::Execution)
            }
            Some(Pending::DescribeStatement(prepared)) => {
                let prepared = prepared.take();
                self.pending.pop_front();
                prepared.map(Described::Prepared)
            }
            _ => return Err(Desync::UnexpectedAnswer),
        };
        Ok(described.map_or(Step::Passed, Step::Described))
    }

    /// `CopyInResponse`: the server reads copy data now and ignores every `Sync` sent until its end.
    fn copy_in(&mut self) -> Result<Step<'_, A>, Desync> {
        if !matches!(self.front(), Some(Pending::Query(..) | Pending::Execute(..))) {
            return Err(Desync::UnexpectedAnswer);
        }
        self.is_copying_in = true;
        while self.is_copying_in && matches!(self.pending.get(1), Some(Pending::Sync | Pending::CopyEnd)) {
            self.is_copying_in = !matches!(self.pending.remove(1), Some(Pending::CopyEnd));
        }
        Ok(Step::Passed)
    }

    fn failed(&mut self, error: backend::ErrorFields) -> Step<'_, A> {
        self.is_copying_in = false;
        let failure = match self.front() {
            Some(&mut Pending::Query(mark, execution)) => {
                self.executions.get_mut(execution).map(|execution| Failure::Execution(execution, mark))
            }
            Some(&mut Pending::Execute(portal, mark)) => {
                self.skip_to_sync();
                self.portal(portal).map(|execution| Failure::Execution(execution, mark))
            }
            None | Some(Pending::FunctionCall | Pending::Startup | Pending::Sync) => None,
            Some(_) => {
                self.skip_to_sync();
                None
            }
        };
        Step::Failed(failure.unwrap_or(Failure::Other), error)
    }

    /// Drops what the server skips after an error in the extended protocol.
    fn skip_to_sync(&mut self) {
        let sync = self.pending.iter().position(|pending| matches!(pending, Pending::Sync));
        self.is_skipping = sync.is_none();
        self.discard(sync.unwrap_or(self.pending.len()));
    }

    /// Drops the first `count` pending messages and takes back what they defined, last one first.
    fn discard(&mut self, count: usize) {
        let mut redefined = 0;
        for pending in self.pending.drain(..count) {
            match pending {
                Pending::Bind { execution, .. } => self.executions.remove(execution),
                Pending::CloseStatement | Pending::Parse => redefined += 1,
                Pending::Execute(..) => self.running -= 1,
                Pending::Query(_, execution) => {
                    self.running -= 1;
                    self.executions.remove(execution);
                }
                _ => {}
            }
        }
        for (name, previous) in self.redefinitions.drain(..redefined).rev() {
            match previous {
                Some(prepared) => drop(self.statements.insert(name, prepared)),
                None => drop(self.statements.remove(&name)),
            }
        }
    }

    fn ready(&mut self, body: &[u8]) -> Result<Step<'_, A>, Desync> {
        self.status = match body {
            b"I" => TransactionStatus::Idle,
            b"T" => TransactionStatus::Open,
            b"E" => TransactionStatus::Failed,
            _ => return Err(Desync::MalformedBody),
        };
        let ends = |pending: &Pending<A>| {
            matches!(pending, Pending::FunctionCall | Pending::Query(..) | Pending::Startup | Pending::Sync)
        };
        let end = self.pending.iter().position(ends);
        if end != Some(0) {
            self.discard(end.unwrap_or(self.pending.len()));
        }
        match self.pending.pop_front() {
            Some(Pending::Query(_, execution)) => {
                self.running -= 1;
                self.executions.remove(execution);
            }
            Some(_) => {}
            None => self.is_skipping = false,
        }
        if self.status != TransactionStatus::Open {
            self.portals.drain(..).for_each(|(_, execution)| self.executions.remove(execution));
        }
        if self.pending.is_empty() {
            self.rest();
        }
        Ok(Step::Ready(self.status))
    }

    /// Nothing is unanswered: gives back what a long pipeline needed, and begins anew at the same places.
    fn rest(&mut self) {
        self.is_copying_in = false;
        self.pending.clear();
        if self.pending.capacity() > PENDING_KEPT {
            self.pending.shrink_to(PENDING_KEPT);
        }
        if self.redefinitions.capacity() > PENDING_KEPT {
            self.redefinitions.shrink_to(PENDING_KEPT);
        }
        if self.portals.is_empty() {
            self.portals.shrink_to(PENDING_KEPT);
            self.executions.clear();
        } else {
            self.executions.compact(self.portals.iter_mut().map(|(_, execution)| execution));
        }
    }
}

/// Slots an idle session keeps: Parse, Bind, Describe, Execute, Sync and a little more.
const PENDING_KEPT: usize = 16;

#[cfg(test)]
mod tests;
