//! Which of a client's prepared statements run as which of the server's, and which answers are outstanding.
//!
//! A name is *own* when the server knows it, *shared* when its text is that of another name, its *home*, or was until
//! the home was closed. A shared name that has lost its home gets a statement of its own the next time it is used, by
//! a Parse whose answer the client doesn't see. Only statements whose text carried tags are remembered.
//!
//! What a client has closed it may use again only once it knows that the Close was skipped, and what it prepares in one
//! group of messages counts as prepared in the next although the first may fail; a shared name that a DISCARD ALL takes
//! away works until its answer is there. Drivers do none of that.
//!
//! Answers come in the order of the questions, or not at all up to the next ReadyForQuery; see [`Names::ready`].

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::limits::{LIFTED_BYTES_MAX, LIFTED_NAME_BYTES_MAX, LIFTED_NAMES_MAX, LIFTED_PENDING_MAX};

/// What makes two prepared statements one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Text {
    pub(super) sql: Box<[u8]>,
    /// The end of a Parse as it was sent: number and OIDs of the declared types.
    pub(super) types: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Its Parse was sent, and is not answered yet.
    Asked,
    Own,
    Shared,
}

#[derive(Debug)]
struct Named {
    text: Arc<Text>,
    place: Place,
    /// Which Parse of this name it is from.
    serial: u64,
    /// The client has sent a Close, which may be skipped yet.
    is_closing: bool,
    /// Group in which it was last given a statement of its own.
    revived: Option<u64>,
}

impl Named {
    /// Whether the server doesn't know the name, or may not: a Parse of ours in an earlier group may be skipped yet.
    fn needs_help(&self, group: u64) -> bool {
        let is_unknown = match self.place {
            Place::Asked => self.revived.is_some_and(|revived| revived != group),
            Place::Own => false,
            Place::Shared => true,
        };
        is_unknown && !self.is_closing
    }

    /// Whether messages that name it have to be looked at.
    fn counts(&self) -> bool {
        self.place == Place::Shared || (self.place == Place::Asked && self.revived.is_some())
    }
}

/// A question that is answered by a message of its own, or the end of a group of them.
#[derive(Debug)]
enum Pending {
    Close {
        name: Arc<[u8]>,
        serial: u64,
        is_parse: bool,
    },
    /// Of ours, before a Parse of ours.
    CloseHidden,
    /// The client has ended a COPY.
    CopyEnd,
    Parse {
        name: Arc<[u8]>,
        serial: u64,
        is_hidden: bool,
    },
    /// A Query or a FunctionCall: answered by a ReadyForQuery.
    Query,
    Sync,
}

/// How to forward a Parse.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Prepare {
    /// As a Close of its name: the server has its text under another.
    Close,
    /// As a Parse.
    Parse,
}

/// What the server must be told to run a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Run {
    AsIs,
    /// Under this name.
    As(Arc<[u8]>),
    /// After a Parse of this text under its own name.
    Parse(Revival),
}

/// A statement that the server doesn't know under a name, or may not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Revival {
    pub(super) text: Arc<Text>,
    /// An earlier attempt may have succeeded: to be closed first.
    pub(super) is_again: bool,
}

/// What a CloseComplete completes for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Close,
    Nothing,
    Parse,
}

/// The prepared statements of one session.
///
/// `names.len() <= LIFTED_NAMES_MAX`; the texts are at most `LIFTED_BYTES_MAX` bytes; each home is an own name.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: FxHashMap<Arc<[u8]>, Named>,
    homes: FxHashMap<Arc<Text>, Arc<[u8]>>,
    /// Names that the server may not know.
    shared: usize,
    bytes: usize,
    serial: u64,
    /// Statements up to this one may have been deallocated: they become nobody's home.
    doubted: u64,
    pending: VecDeque<Pending>,
    /// Groups that were sent and are not over: Queries and Syncs among `pending`.
    groups: usize,
    /// Groups that were sent in all.
    group: u64,
    /// The open transaction has failed: the server refuses a Parse, so it must see it.
    is_failed: bool,
    stripped_count: u64,
    shared_count: u64,
}

impl Names {
    /// Whether no more questions should be taken until some are answered.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= LIFTED_PENDING_MAX
    }

    /// Whether messages that name statements have to be looked at.
    pub(super) fn has_shared(&self) -> bool {
        self.shared > 0
    }

    /// Whether a text that manages statements would matter.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Statements remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Parses whose tags were removed, forwarded and shared, since the last call.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.stripped_count), std::mem::take(&mut self.shared_count))
    }

    /// A Parse from whose text tags were removed.
    pub(super) fn prepare(&mut self, name: &[u8], sql: &[u8], types: &[u8]) -> Prepare {
        let text = Arc::new(Text { sql: sql.into(), types: types.into() });
        self.forget(name);
        let name: Arc<[u8]> = name.into();
        let serial = self.next_serial();
        // Nobody knows yet whether an unanswered group fails the transaction.
        let may_share = !self.is_failed && self.groups == 0;
        let home = self.homes.get_key_value(&text).filter(|_| may_share);
        let home = home.map(|(text, _)| Arc::clone(text));
        let size = name.len() + text.sql.len() + text.types.len();
        let has_room = self.names.len() < LIFTED_NAMES_MAX && self.bytes + size <= LIFTED_BYTES_MAX;
        if name.is_empty() || name.len() > LIFTED_NAME_BYTES_MAX || !has_room {
            self.stripped_count += 1;
            self.pending.push_back(Pending::Parse { name, serial, is_hidden: false });
            return Prepare::Parse;
        }
        self.bytes += size;
        let (text, place) = home.map_or((text, Place::Asked), |text| (text, Place::Shared));
        self.names.insert(Arc::clone(&name), Named { text, place, serial, is_closing: false, revived: None });
        if place == Place::Shared {
            self.shared += 1;
            self.shared_count += 1;
            self.pending.push_back(Pending::Close { name, serial, is_parse: true });
            return Prepare::Close;
        }
        self.stripped_count += 1;
        self.pending.push_back(Pending::Parse { name, serial, is_hidden: false });
        Prepare::Parse
    }

    /// A Parse that is forwarded as it is. The server decides about a name that is taken.
    pub(super) fn prepare_unlifted(&mut self, name: &[u8]) {
        self.forget(name);
        self.pending.push_back(Pending::Parse { name: Arc::from(&b""[..]), serial: 0, is_hidden: false });
    }

    /// A message is about to run or describe the statement of this name.
    pub(super) fn run(&mut self, name: &[u8]) -> Run {
        let group = self.group;
        let Some(named) = self.names.get(name).filter(|named| named.needs_help(group)) else {
            return Run::AsIs;
        };
        if let Some(home) = self.homes.get(&named.text).filter(|_| named.place == Place::Shared) {
            return Run::As(Arc::clone(home));
        }
        self.materialise(name).map_or(Run::AsIs, Run::Parse)
    }

    /// A Close of a statement, forwarded as it is: closing a name that the server doesn't know is no error.
    pub(super) fn close(&mut self, name: &[u8]) {
        self.evict(name);
        let serial = self.names.get_mut(name).map_or(0, |named| {
            named.is_closing = true;
            named.serial
        });
        self.pending.push_back(Pending::Close { name: name.into(), serial, is_parse: false });
    }

    pub(super) fn sync(&mut self) {
        self.groups += 1;
        self.group += 1;
        self.pending.push_back(Pending::Sync);
    }

    pub(super) fn query(&mut self) {
        self.groups += 1;
        self.group += 1;
        self.pending.push_back(Pending::Query);
    }

    pub(super) fn copy_end(&mut self) {
        // Outside a COPY nobody answers them: one is enough.
        if !matches!(self.pending.back(), Some(Pending::CopyEnd)) {
            self.pending.push_back(Pending::CopyEnd);
        }
    }

    /// A text may deallocate statements: nobody else may rely on them from here on.
    pub(super) fn doubt_homes(&mut self) {
        self.homes.clear();
        self.doubted = self.serial;
    }

    /// Shared names that occur in a text which may name statements, whatever the letters' case.
    pub(super) fn shared_in(&self, text: &[u8]) -> Vec<Arc<[u8]>> {
        let text = text.to_ascii_lowercase();
        let shared = self.names.iter().filter(|(_, named)| named.needs_help(self.group));
        let finds = |name: &[u8]| memchr::memmem::find(&text, &name.to_ascii_lowercase()).is_some();
        let mut found: Vec<_> =
            shared.filter(|(name, _)| finds(name)).map(|(name, _)| Arc::clone(name)).collect();
        found.sort();
        found
    }

    /// As [`Self::run`], for a statement that SQL is about to name: no other's will do.
    pub(super) fn materialise(&mut self, name: &[u8]) -> Option<Revival> {
        let (serial, group) = (self.next_serial(), self.group);
        let named = self.names.get_mut(name).filter(|named| named.needs_help(group))?;
        let is_again = named.place == Place::Asked;
        (named.place, named.serial, named.revived) = (Place::Asked, serial, Some(group));
        let text = Arc::clone(&named.text);
        if is_again {
            self.pending.push_back(Pending::CloseHidden);
        }
        self.pending.push_back(Pending::Parse { name: name.into(), serial, is_hidden: true });
        Some(Revival { text, is_again })
    }

    /// ParseComplete. Tells whether the client must not see it.
    pub(super) fn parse_complete(&mut self) -> bool {
        let pending = self.next(|it| matches!(it, Pending::Parse { .. }));
        let Some(Pending::Parse { name, serial, is_hidden }) = pending else { return false };
        if let Some(named) = self.names.get_mut(&name).filter(|named| named.serial == serial) {
            self.shared -= usize::from(named.counts());
            named.place = Place::Own;
            if serial > self.doubted {
                self.homes.entry(Arc::clone(&named.text)).or_insert(name);
            }
        }
        is_hidden
    }

    /// CloseComplete.
    pub(super) fn close_complete(&mut self) -> Shown {
        match self.next(|it| matches!(it, Pending::Close { .. } | Pending::CloseHidden)) {
            Some(Pending::Close { is_parse: true, .. }) => Shown::Parse,
            Some(Pending::Close { name, serial, .. }) => {
                self.forget_serial(&name, serial);
                Shown::Close
            }
            Some(Pending::CloseHidden) => Shown::Nothing,
            _ => Shown::Close,
        }
    }

    /// Whether the transaction has failed, as the last ReadyForQuery says.
    pub(super) fn set_failed(&mut self, is_failed: bool) {
        self.is_failed = is_failed;
    }

    /// ReadyForQuery: what was asked before its Sync or Query and is unanswered was skipped after an error.
    pub(super) fn ready(&mut self) {
        while let Some(pending) = self.pending.pop_front() {
            match pending {
                Pending::Query | Pending::Sync => {
                    self.groups -= 1;
                    return;
                }
                // The client takes the name for one that exists.
                Pending::Parse { name, serial, is_hidden: true } => {
                    if let Some(named) = self.names.get_mut(&name).filter(|it| it.serial == serial)
                        && named.place == Place::Asked
                    {
                        named.place = Place::Shared;
                    }
                }
                Pending::Parse { name, serial, .. } | Pending::Close { name, serial, is_parse: true } => {
                    self.forget_serial(&name, serial);
                }
                Pending::Close { name, serial, is_parse: false } => {
                    if let Some(named) = self.names.get_mut(&name).filter(|it| it.serial == serial) {
                        named.is_closing = false;
                    }
                }
                Pending::CloseHidden | Pending::CopyEnd => {}
            }
        }
    }

    /// CopyInResponse: a Sync that was sent along with the COPY is ignored by the server.
    pub(super) fn copy_in(&mut self) {
        let end = self.pending.iter().position(|it| matches!(it, Pending::CopyEnd | Pending::Query));
        let end = end.unwrap_or(self.pending.len());
        let mut index = 0;
        let before = self.pending.len();
        self.pending.retain(|it| {
            index += 1;
            index > end || !matches!(it, Pending::Sync)
        });
        self.groups -= before - self.pending.len();
    }

    /// All statements are gone, but for those asked for since.
    pub(super) fn all_deallocated(&mut self) {
        let later: FxHashSet<u64> = self
            .pending
            .iter()
            .filter_map(|it| match it {
                Pending::Parse { serial, .. } | Pending::Close { serial, is_parse: true, .. } => {
                    Some(*serial)
                }
                _ => None,
            })
            .collect();
        let gone = self.names.iter().filter(|(_, named)| !later.contains(&named.serial));
        let gone: Vec<Arc<[u8]>> = gone.map(|(name, _)| Arc::clone(name)).collect();
        gone.iter().for_each(|name| self.forget(name));
    }

    /// The next question of a kind that was answered. Groups whose ReadyForQuery never came are over by then.
    fn next(&mut self, is_kind: impl Fn(&Pending) -> bool) -> Option<Pending> {
        while let Some(pending) = self.pending.pop_front() {
            if is_kind(&pending) {
                return Some(pending);
            }
            self.groups -= usize::from(matches!(pending, Pending::Query | Pending::Sync));
        }
        None
    }

    /// No other name runs as this one any more.
    fn evict(&mut self, name: &[u8]) {
        if let Some(named) = self.names.get(name)
            && self.homes.get(&named.text).is_some_and(|home| **home == *name)
        {
            self.homes.remove(&named.text);
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn forget_serial(&mut self, name: &[u8], serial: u64) {
        if self.names.get(name).is_some_and(|named| named.serial == serial) {
            self.forget(name);
        }
    }

    fn forget(&mut self, name: &[u8]) {
        self.evict(name);
        if let Some(named) = self.names.remove(name) {
            self.shared -= usize::from(named.counts());
            self.bytes -= name.len() + named.text.sql.len() + named.text.types.len();
        }
    }
}
