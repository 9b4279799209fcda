//! Which request a statement belongs to: the levels of trust, decided for one session at a time.
//!
//! Statements arrive in the order the server runs them. What the application says itself comes first (a trace or
//! id tag, `pgtally.request`, a changed `application_name`); without that the statement belongs to a *unit* that
//! begins at a pool's marker or ping, at a transaction, after an idle gap, or with the session.

mod savepoints;

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use pgtally_fingerprint::{Command, SettingScope, tags};
use pgtally_protocol::TransactionStatus;

use crate::limits::{GAPS_MIN, INHERIT_NS, NAME_BYTES_MAX};
use crate::part::cut;
use crate::record::{Attribution, Moment};
use crate::tagset::TagSet;

/// How much longer a gap must be to end a unit that a pool's marker began: markers are exact, gaps are guesses.
const MARKED_GAP_FACTOR: u64 = 10;
/// How much longer than the median gap inside units one must be to end a unit: slow clients pause for longer.
const MEDIAN_GAP_FACTOR: u64 = 20;
/// How far slow clients can raise the idle gap.
const SLOW_GAP_FACTOR: u64 = 5;

/// Identity of a request or unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestName {
    pub(crate) attribution: Attribution,
    pub(crate) key: Arc<str>,
    pub(crate) route: Option<Arc<str>>,
}

impl RequestName {
    fn new(attribution: Attribution, key: Arc<str>, route: Option<Arc<str>>) -> Self {
        Self { attribution, key, route }
    }

    pub(crate) fn route_or(&self, application_name: &Arc<str>) -> Arc<str> {
        match &self.route {
            Some(route) => Arc::clone(route),
            None if application_name.is_empty() => "untagged".into(),
            None => Arc::clone(application_name),
        }
    }
}

/// A statement about to be attributed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) command: Command,
    pub(crate) tags: Option<&'a Rc<TagSet>>,
    /// False for an Execute of a statement prepared and run before: its tags may be another request's.
    pub(crate) has_fresh_tags: bool,
    pub(crate) sent: Moment,
}

/// What a transaction that rolls back takes back.
#[derive(Clone, Debug, Default)]
struct SessionSettings {
    request: Option<Rc<RequestName>>,
    application: Option<Rc<RequestName>>,
    environment: [u64; ENVIRONMENT.len()],
}

/// Settings that decide which rows equal statements mean; hashes of their values stand in this order, 0 where the
/// value is that of the startup.
const ENVIRONMENT: [&str; 3] = ["role", "search_path", "session_authorization"];

/// Attribution state of one session.
#[derive(Debug)]
pub(crate) struct Attributor {
    session: u64,
    idle_gap_ns: u64,
    ordinal: u32,
    startup_request: Option<Rc<RequestName>>,
    settings: SessionSettings,
    startup_environment: [u64; ENVIRONMENT.len()],
    /// Settings when the open transaction began.
    before_transaction: Option<SessionSettings>,
    local_request: Option<Rc<RequestName>>,
    local_environment: [Option<u64>; ENVIRONMENT.len()],
    savepoints: Vec<savepoints::Savepoint>,
    application_names: u32,
    /// About the median of the gaps inside units, and how many were seen.
    median_gap_ns: u64,
    gaps: u8,
    last_tagged: Option<Rc<RequestName>>,
    /// Something that is not counted came too late to inherit: what follows it inherits nothing, however soon.
    is_inheritance_over: bool,
    transaction_request: Option<Rc<RequestName>>,
    last_end: Option<Moment>,
    unit: Option<Rc<RequestName>>,
    next_level: Attribution,
    /// A counted statement ran outside an explicit transaction since the last boundary.
    has_run_outside: bool,
    has_run: bool,
    /// A transaction block is open, as far as the commands seen tell; `ReadyForQuery` corrects it.
    in_transaction: bool,
    /// Something is set that ends with the transaction.
    has_transaction_state: bool,
    /// The open transaction held pings only so far.
    is_ping_transaction: bool,
    /// Ordinal of the open transaction block, 0 outside.
    transactions: u32,
}

impl Attributor {
    pub(crate) fn new(session: u64, idle_gap_ns: u64, startup_request: Option<&[u8]>) -> Self {
        let mut attributor = Self {
            session,
            idle_gap_ns,
            ordinal: 0,
            startup_request: None,
            startup_environment: Default::default(),
            settings: SessionSettings::default(),
            before_transaction: None,
            local_request: None,
            local_environment: [None; ENVIRONMENT.len()],
            savepoints: Vec::new(),
            application_names: 0,
            median_gap_ns: 0,
            gaps: 0,
            last_tagged: None,
            is_inheritance_over: false,
            transaction_request: None,
            last_end: None,
            unit: None,
            next_level: Attribution::Session,
            has_run_outside: false,
            has_run: false,
            in_transaction: false,
            has_transaction_state: false,
            is_ping_transaction: false,
            transactions: 0,
        };
        attributor.startup_request = startup_request.and_then(|value| attributor.named(value));
        attributor.settings.request = attributor.startup_request.clone();
        attributor
    }

    /// Takes over a setting of the startup packet.
    pub(crate) fn start_with(&mut self, name: &str, value: &[u8]) {
        self.set_environment(name, false, Some(value));
        self.startup_environment = self.settings.environment;
    }

    /// What else belongs to the group key of statements that run now.
    pub(crate) fn environment(&self) -> u64 {
        let values = self.local_environment.iter().zip(&self.settings.environment);
        let in_force = values.map(|(local, session)| local.unwrap_or(*session));
        // Rotated, so that equal values of two settings don't cancel each other.
        in_force.fold(0, |all: u64, value| all.rotate_left(21) ^ value)
    }

    fn fresh_key(&mut self) -> Arc<str> {
        self.ordinal += 1;
        format!("{}.{}", self.session, self.ordinal).into()
    }

    /// Ordinal of the open transaction block on this session; 0 in autocommit.
    pub(crate) const fn transaction(&self) -> u32 {
        if self.in_transaction { self.transactions } else { 0 }
    }

    /// The request a counted statement belongs to.
    pub(crate) fn attribute(&mut self, arrival: Arrival<'_>) -> Rc<RequestName> {
        let gap = self.note_gap(arrival.sent);
        let tagged = arrival.tags.and_then(|tags| self.tagged(tags));
        let current = self.current_tagged(gap);
        let own = match tagged {
            Some(own) if arrival.has_fresh_tags => Some(own),
            Some(own) => current.or_else(|| self.is_recent(&own, gap).then_some(own)),
            None => current,
        };
        let name = own.or_else(|| self.set_request()).unwrap_or_else(|| self.unit_of(arrival.tags));
        let is_tagged = matches!(name.attribution, Attribution::Trace | Attribution::Tag);
        self.last_tagged = is_tagged.then(|| Rc::clone(&name));
        if is_tagged && self.in_transaction {
            self.transaction_request = Some(Rc::clone(&name));
        }
        self.note_run();
        name
    }

    /// A counted statement runs.
    fn note_run(&mut self) {
        self.has_run = true;
        self.is_inheritance_over = false;
        self.has_run_outside |= !self.in_transaction;
        self.is_ping_transaction = false;
    }

    /// The unit that goes on with an untagged statement sent now, outside a transaction.
    pub(crate) fn ongoing_unit(&self, sent: Moment) -> Option<&Rc<RequestName>> {
        let is_named = self.in_transaction || self.last_tagged.is_some() || self.set_request().is_some();
        // A transaction turns out to be only a part of its unit.
        let goes_on = |unit: &&Rc<RequestName>| {
            let gap = self.last_end.map_or(0, |end| sent.since(end));
            unit.attribution != Attribution::Transaction && !self.is_over(unit, gap)
        };
        self.unit.as_ref().filter(|_| !is_named).filter(goes_on)
    }

    /// [`Attributor::attribute`] for a statement with which [`Attributor::ongoing_unit`] goes on.
    pub(crate) fn go_on(&mut self, sent: Moment) {
        self.note_inner_gap(self.last_end.map_or(0, |end| sent.since(end)));
        self.note_run();
    }

    /// Whether a gap of so many nanoseconds outside a transaction ends the unit.
    fn is_over(&self, unit: &RequestName, gap: u64) -> bool {
        let factor = if unit.attribution == Attribution::Marker { MARKED_GAP_FACTOR } else { 1 };
        gap >= self.unit_gap_ns().saturating_mul(factor)
    }

    /// Ends the unit when nothing ran for the idle gap outside a transaction. Returns the gap in nanoseconds.
    fn note_gap(&mut self, sent: Moment) -> u64 {
        let gap = self.last_end.map_or(0, |end| sent.since(end));
        if let Some(unit) = &self.unit
            && !self.in_transaction
        {
            if self.is_over(unit, gap) {
                self.begin_unit(Attribution::Idle);
            } else {
                self.note_inner_gap(gap);
            }
        }
        gap
    }

    /// The gap that ends a unit: never less than configured, and more for a client that is slow between statements.
    fn unit_gap_ns(&self) -> u64 {
        if self.gaps < GAPS_MIN {
            return self.idle_gap_ns;
        }
        let usual = self.median_gap_ns.saturating_mul(MEDIAN_GAP_FACTOR);
        usual.clamp(self.idle_gap_ns, self.idle_gap_ns.saturating_mul(SLOW_GAP_FACTOR))
    }

    /// Moves the median by an eighth towards the gap: that needs no memory of gaps.
    fn note_inner_gap(&mut self, gap: u64) {
        if self.gaps == 0 {
            self.median_gap_ns = gap;
        }
        self.gaps = self.gaps.saturating_add(1);
        let step = self.median_gap_ns / 8 + 1_000;
        self.median_gap_ns = if gap > self.median_gap_ns {
            self.median_gap_ns.saturating_add(step)
        } else {
            self.median_gap_ns.saturating_sub(step)
        };
    }

    fn tagged(&self, tags: &TagSet) -> Option<Rc<RequestName>> {
        let (attribution, key) = tags.id.as_ref()?;
        if let Some(last) = &self.last_tagged
            && last.key == *key
            && last.attribution == *attribution
            && (tags.route.is_none() || last.route == tags.route)
        {
            return Some(Rc::clone(last));
        }
        // Where comments name no route, the setting may: a test's statements have its name, whatever traces they carry.
        let set = self.local_request.as_ref().or(self.settings.request.as_ref());
        let route = tags.route.as_ref().or_else(|| set?.route.as_ref());
        Some(Rc::new(RequestName::new(*attribution, Arc::clone(key), route.cloned())))
    }

    /// The tagged request that a statement without a tag inherits.
    fn current_tagged(&self, gap: u64) -> Option<Rc<RequestName>> {
        let of_transaction = self.transaction_request.as_ref().filter(|_| self.in_transaction);
        of_transaction
            .or_else(|| self.last_tagged.as_ref().filter(|_| gap <= INHERIT_NS && !self.is_inheritance_over))
            .cloned()
    }

    /// A tag that may be stale still holds right after its own request.
    fn is_recent(&self, own: &RequestName, gap: u64) -> bool {
        let same = |last: &Rc<RequestName>| last.key == own.key && last.attribution == own.attribution;
        self.last_tagged.as_ref().is_some_and(same) && gap < self.idle_gap_ns
    }

    /// The request of the open transaction or unit, when there is one: that of a statement that is not counted.
    pub(crate) fn current(&self) -> Option<Rc<RequestName>> {
        let tagged = self.transaction_request.as_ref().filter(|_| self.in_transaction);
        tagged.cloned().or_else(|| self.set_request()).or_else(|| self.unit.clone())
    }

    /// The request named by a setting.
    fn set_request(&self) -> Option<Rc<RequestName>> {
        let local = self.local_request.as_ref().or(self.settings.request.as_ref());
        // One application name for good names the program; only one that changes names requests.
        local.or(self.settings.application.as_ref().filter(|_| self.application_names > 1)).cloned()
    }

    fn unit_of(&mut self, tags: Option<&Rc<TagSet>>) -> Rc<RequestName> {
        let route = tags.and_then(|tags| tags.route.clone());
        let is_other =
            |unit: &Rc<RequestName>| route.is_some() && unit.route.is_some() && unit.route != route;
        if let Some(level) = self.unit.as_ref().filter(|unit| is_other(unit)).map(|unit| unit.attribution)
            && !self.in_transaction
        {
            self.begin_unit(level);
        }
        let unit = match self.unit.take() {
            // Something ran outside: the transaction was only a part of this unit.
            Some(unit) if unit.attribution == Attribution::Transaction && !self.in_transaction => {
                let route = unit.route.clone().or(route);
                Rc::new(RequestName::new(self.next_level, Arc::clone(&unit.key), route))
            }
            Some(unit) if unit.route.is_some() || route.is_none() => unit,
            Some(unit) => Rc::new(RequestName::new(unit.attribution, Arc::clone(&unit.key), route)),
            None => {
                let route = route.or_else(|| self.settings.application.as_ref()?.route.clone());
                Rc::new(RequestName::new(self.unit_level(), self.fresh_key(), route))
            }
        };
        self.unit = Some(Rc::clone(&unit));
        unit
    }

    /// Level of a unit that begins with a statement now.
    fn unit_level(&self) -> Attribution {
        let is_guess = matches!(self.next_level, Attribution::Session | Attribution::Idle);
        let is_pure = self.in_transaction && !self.has_run_outside;
        if is_guess && is_pure { Attribution::Transaction } else { self.next_level }
    }

    fn begin_unit(&mut self, level: Attribution) {
        self.unit = None;
        self.next_level = level;
        self.has_run_outside = false;
    }

    /// A statement that is not counted has completed. Tells whether the current unit is over.
    pub(crate) fn control(&mut self, arrival: Arrival<'_>) -> bool {
        self.is_inheritance_over |= self.note_gap(arrival.sent) > INHERIT_NS;
        match arrival.command {
            Command::DiscardAll | Command::ResetAll => {
                self.reset_settings();
                self.begin_unit(Attribution::Marker);
                self.last_tagged = None;
            }
            Command::Ping | Command::Empty if !self.in_transaction => {
                self.begin_unit(Attribution::Ping);
                self.last_tagged = None;
            }
            Command::Ping | Command::Empty => {}
            Command::Begin => {
                let fresh = arrival.tags.filter(|_| arrival.has_fresh_tags);
                self.transaction_request = fresh.and_then(|tags| self.tagged(tags));
                self.begin_transaction();
            }
            Command::Commit | Command::Rollback | Command::PrepareTransaction => {
                if self.is_ping_transaction {
                    self.begin_unit(Attribution::Ping);
                }
                self.end_transaction(arrival.command == Command::Rollback);
            }
            _ => self.is_ping_transaction = false,
        }
        self.unit.is_none()
    }

    fn begin_transaction(&mut self) {
        if !self.in_transaction {
            if self.unit.as_ref().is_some_and(|unit| unit.attribution == Attribution::Transaction) {
                self.begin_unit(self.next_level);
            }
            self.in_transaction = true;
            self.is_ping_transaction = true;
            self.transactions += 1;
            self.before_transaction = Some(self.settings.clone());
        }
    }

    fn end_transaction(&mut self, is_rolled_back: bool) {
        if !self.in_transaction && !self.has_transaction_state {
            return;
        }
        self.has_transaction_state = false;
        let before = self.before_transaction.take();
        if let Some(settings) = before.filter(|_| is_rolled_back) {
            self.settings = settings;
        }
        self.in_transaction = false;
        self.is_ping_transaction = false;
        self.local_request = None;
        self.local_environment = Default::default();
        self.savepoints.clear();
        self.transaction_request = None;
    }

    /// The server is ready: its word on the transaction is the truth. Tells whether the current unit is over.
    pub(crate) fn ready(&mut self, status: TransactionStatus) -> bool {
        match status {
            TransactionStatus::Idle => self.end_transaction(false),
            TransactionStatus::Open | TransactionStatus::Failed => self.begin_transaction(),
        }
        self.unit.is_none()
    }

    /// A statement that is not counted has failed. Tells whether the current unit is over.
    pub(crate) fn failed(&mut self, command: Command, sent: Moment) -> bool {
        self.is_inheritance_over |= self.note_gap(sent) > INHERIT_NS;
        if command == Command::Commit {
            self.end_transaction(true);
        }
        self.unit.is_none()
    }

    /// A setting that attribution reads was changed, successfully.
    pub(crate) fn set(&mut self, name: &str, scope: SettingScope, value: Option<&[u8]>) {
        let is_local = scope == SettingScope::Local;
        self.has_transaction_state |= is_local;
        match name {
            "pgtally.request" => {
                let request = value.and_then(|value| self.named(value));
                if is_local {
                    self.local_request = request;
                } else {
                    self.settings.request =
                        if value.is_some() { request } else { self.startup_request.clone() };
                }
            }
            "application_name" if !is_local => self.set_application_name(value.unwrap_or(b"")),
            "application_name" => {}
            _ => self.set_environment(name, is_local, value),
        }
    }

    fn set_application_name(&mut self, value: &[u8]) {
        let value = String::from_utf8_lossy(value);
        let value = cut(&value, NAME_BYTES_MAX);
        if value.is_empty() {
            self.settings.application = None;
            return;
        }
        // The first name, given before anything ran, is that of the program.
        let is_first = !self.has_run && self.application_names == 0;
        self.application_names = if is_first { 1 } else { self.application_names.max(1) + 1 };
        let key = self.fresh_key();
        self.settings.application =
            Some(Rc::new(RequestName::new(Attribution::ApplicationName, key, Some(value.into()))));
    }

    fn set_environment(&mut self, name: &str, is_local: bool, value: Option<&[u8]>) {
        use std::hash::Hasher;
        let Some(index) = ENVIRONMENT.iter().position(|known| *known == name) else { return };
        let mut hasher = rustc_hash::FxHasher::default();
        hasher.write(value.unwrap_or(b""));
        let startup = self.startup_environment.get(index).copied().unwrap_or(0);
        let hash = value.map_or(startup, |_| hasher.finish());
        let (local, session) = (&mut self.local_environment, &mut self.settings.environment);
        if let (Some(local), Some(session)) = (local.get_mut(index), session.get_mut(index)) {
            *local = is_local.then_some(hash);
            *session = if is_local { *session } else { hash };
        }
    }

    fn reset_settings(&mut self) {
        self.settings = SessionSettings {
            request: self.startup_request.clone(),
            environment: self.startup_environment,
            application: None,
        };
        self.local_request = None;
        self.local_environment = Default::default();
    }

    /// Reads `id` or `route=…,id=…`; an empty value names nothing.
    fn named(&mut self, value: &[u8]) -> Option<Rc<RequestName>> {
        let text = tags::text(value);
        let mut route = None;
        let mut id = None;
        for field in text.split(',') {
            match field.trim().split_once('=') {
                Some(("route", value)) => route = Some(Arc::from(cut(value, NAME_BYTES_MAX))),
                Some(("id", value)) => id = Some(value),
                _ => {}
            }
        }
        let id = id.or_else(|| route.is_none().then_some(text.trim())).filter(|id| !id.is_empty());
        if id.is_none() && route.is_none() {
            return None;
        }
        let key = id.map_or_else(|| self.fresh_key(), |id| format!("guc:{}", whole_id(id)).into());
        Some(Rc::new(RequestName::new(Attribution::Guc, key, route)))
    }

    /// The answer to a statement, counted or not, was complete.
    pub(crate) fn ended(&mut self, now: Moment) {
        self.last_end = Some(now);
    }

    /// The last answer's end.
    pub(crate) const fn last_end(&self) -> Option<Moment> {
        self.last_end
    }
}

/// An id that still differs from others where it is too long to be kept.
fn whole_id(id: &str) -> Cow<'_, str> {
    use std::hash::Hasher;
    const HASH_BYTES: usize = 17;
    if id.len() <= NAME_BYTES_MAX {
        return Cow::Borrowed(id);
    }
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(id.as_bytes());
    Cow::Owned(format!("{}~{:016x}", cut(id, NAME_BYTES_MAX - HASH_BYTES), hasher.finish()))
}

#[cfg(test)]
mod tests;
