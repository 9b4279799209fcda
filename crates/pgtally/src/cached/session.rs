//! What becomes of one session's chunks: served, forwarded with a copy of the answer taken, held for a moment, or just
//! forwarded.
//!
//! Nothing here touches a socket: `relay.rs` beside it does what [`Step`] says. Whatever is not sure is forwarded, and
//! counted by its reason where it was meant to be cached.

mod blind;
mod fill;
mod unnamed;
mod warming;

use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use pgtally_cache::clock_words::has_bound_clock_word;
use pgtally_cache::{
    Answer, BypassReason, Capture, Entry, Front, Key, KeyRef, Lead, Mode, OpenCommit, Sieve, Token, Unit,
    WriteSet, write_key,
};
use pgtally_fingerprint::Dialect;
use pgtally_protocol::startup::Startup;
use pgtally_protocol::{Desync, FrameReader, frontend};

use self::warming::Warming;
use super::desk::{Asked, Desk, Meaning, Place, Planned, SessionReader};
use super::doubts::Doubt;
use super::environment::{self, Known};
use super::locks;
use crate::clock::LazyMoment;

/// Time after which a session is asked again: a reload of the server's configuration changes some settings silently.
const ENVIRONMENT_LIFE_NS: u64 = 30_000_000_000;
/// Environments that a session remembers, to know them again when its settings are changed back.
const ENVIRONMENTS_MAX: usize = 8;
/// `Close` of the unnamed statement.
const CLOSE_UNNAMED: &[u8] = b"C\0\0\0\x06S\0";
/// `Sync`.
const SYNC: &[u8] = b"S\0\0\0\x04";
/// SQLSTATEs with which a server leaves that has lost nothing: a session ended by an administrator, a shutdown in
/// order, timeouts. After a shutdown the server's start time is another, which parts all keys.
const HARMLESS_FAREWELLS: [&[u8; 5]; 4] = [b"57P01", b"57P03", b"57P05", b"25P03"];

/// What to do with a chunk of the client's.
pub(super) enum Step {
    /// Ask the server about the session, and decide again.
    Ask,
    /// Send it on.
    Forward,
    /// Answer it.
    Serve(Served),
    /// Somebody is fetching the answer: wait, and decide again.
    Wait(Key),
}

/// An answer and how much of it is for this client.
pub(super) struct Served {
    entry: Arc<Entry>,
    is_simple: bool,
    has_parse: bool,
}

impl Served {
    pub(super) fn bytes(&self) -> &[u8] {
        self.entry.answer(self.is_simple, self.has_parse)
    }
}

/// What the server is being asked on the session's own connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Environment,
    /// What its transaction has locked.
    Locks,
}

/// What is known of the session's environment.
enum Environment {
    Known(Known),
    Unasked,
    /// Until something changes.
    Unusable(BypassReason),
}

/// An answer that is being copied.
struct Fill {
    key: Key,
    /// Held for whoever waits.
    _lead: Option<Lead>,
    capture: Capture,
    token: Token,
    meaning: Rc<Meaning>,
    sent_ns: u64,
}

/// The cache's side of one session.
pub(crate) struct CachedSession {
    desk: Rc<Desk>,
    place: Rc<Place>,
    dialect: Dialect,
    /// `None` once the session cannot be followed.
    front: Option<Front<Rc<Meaning>>>,
    /// What stays dirty for as long as a session that cannot be followed lives.
    blind: OpenCommit,
    sieve: Sieve,
    environment: Environment,
    /// Whether what was asked last is among `seen`, with no change heard in between.
    is_settled: bool,
    /// Environments of the session so far, with the number of their settings.
    seen: Vec<(Arc<pgtally_cache::Environment>, u64)>,
    asking: Option<Question>,
    /// What the environment is asked for besides, and the number of the rules that want it.
    asked_vary: (Vec<Box<str>>, u64),
    /// The chunk at hand has been asked about.
    has_asked_locks: bool,
    fill: Option<Fill>,
    /// What makes the server believe of the unnamed statement what the client does.
    restore: Option<Vec<u8>>,
    /// When the server last heard from the session.
    upstream_ns: u64,
    /// When the session's last write was acknowledged.
    written_ns: u64,
    /// The reason was counted before the chunk is followed.
    is_counted: bool,
    /// What the form of the last chunk forbids.
    form: Option<BypassReason>,
    /// What the only text of the last chunk means, where the chunk is to be forwarded.
    decided: Option<Rc<Meaning>>,
    /// Its server speaks only the simple protocol: it is asked nothing, and served nothing.
    is_replication: bool,
    /// After a copy in both directions, which the conversation does not follow: looked at for what is SQL again.
    walsender: Option<FrameReader>,
    farewell: Option<[u8; 5]>,
    backend_pid: Option<u32>,
    key: Vec<u8>,
    warming: Warming,
}

impl CachedSession {
    /// Of a session whose startup packet has been forwarded.
    pub(crate) fn begin(desk: &Rc<Desk>, startup: Option<&Startup>, now_ns: u64) -> Self {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let database = text(startup.map(Startup::database));
        let place = desk.place(&database, &text(startup.and_then(|startup| startup.parameter("user"))));
        let mut session = Self {
            front: Some(Front::new(place.id)),
            desk: Rc::clone(desk),
            place,
            dialect: Dialect::default(),
            blind: OpenCommit::default(),
            sieve: Sieve::default(),
            environment: Environment::Unasked,
            is_settled: false,
            seen: Vec::new(),
            asking: None,
            asked_vary: (Vec::new(), 0),
            has_asked_locks: false,
            fill: None,
            restore: None,
            upstream_ns: now_ns,
            written_ns: 0,
            is_counted: false,
            form: None,
            decided: None,
            is_replication: startup.is_some_and(Startup::is_replication),
            walsender: None,
            farewell: None,
            backend_pid: None,
            key: Vec::new(),
            warming: Warming::default(),
        };
        match startup {
            None => session.go_blind(Desync::MalformedBody),
            // Of a physical replica: its commands are not SQL, and what it may write it writes on the other side.
            Some(startup) if startup.is_replication() && !is_logical(startup) => session.front = None,
            Some(_) => {}
        }
        session
    }

    /// Whether the answer to a question of ours is awaited.
    pub(super) fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// What to do with `chunk`, before anything is done with it. `may_wait` is false where waiting has not helped.
    pub(super) fn decide(&mut self, chunk: &[u8], now: &LazyMoment<'_>, may_wait: bool) -> Step {
        let step = self.decided(chunk, now, may_wait);
        if !matches!(step, Step::Forward) {
            // The next chunk to be sent may be another one.
            self.decided = None;
        }
        step
    }

    fn decided(&mut self, chunk: &[u8], now: &LazyMoment<'_>, may_wait: bool) -> Step {
        (self.is_counted, self.form, self.decided) = (false, None, None);
        if self.is_replication {
            return Step::Forward;
        }
        let desk = Rc::clone(&self.desk);
        desk.refresh(&self.place, now);
        if self.must_ask_locks(chunk) {
            self.asking = Some(Question::Locks);
            return Step::Ask;
        }
        let Some(front) = &mut self.front else { return Step::Forward };
        let is_possible =
            matches!(chunk.first(), Some(&(frontend::QUERY | frontend::PARSE | frontend::BIND)))
                && front.is_quiet()
                && self.fill.is_none()
                && !self.sieve.is_expecting();
        if !is_possible {
            return Step::Forward;
        }
        let unit = match Unit::read(chunk) {
            Ok(Some(unit)) => unit,
            Ok(None) => return Step::Forward,
            Err(reason) => {
                self.form = Some(reason);
                return Step::Forward;
            }
        };
        let mut types: Box<[u8]> = Box::default();
        let meaning = match unit {
            Unit::Simple { text } => {
                let meaning = desk.read_query(&self.place, text, self.dialect);
                self.decided = Some(Rc::clone(&meaning));
                meaning
            }
            Unit::Extended { parse: Some(parse), .. } => {
                types = parse.types.into();
                let meaning = desk.read(&self.place, parse.text, self.dialect);
                self.decided = Some(Rc::clone(&meaning));
                meaning
            }
            Unit::Extended { statement, .. } => {
                let Some(prepared) = front.prepared(statement) else { return Step::Forward };
                if matches!(prepared.statement.asked, Asked::Unasked) {
                    return Step::Forward;
                }
                let prepared = prepared.clone();
                if !front.has_settings_of(&prepared) {
                    match self.known(now.get().0).map(|known| known.is_some()) {
                        Ok(true) => {}
                        Ok(false) => {
                            self.asking = Some(Question::Environment);
                            return Step::Ask;
                        }
                        Err(reason) => {
                            self.count(reason);
                            return Step::Forward;
                        }
                    }
                    // They may turn out to have been changed back, as a pool does it.
                    if !self.is_of_now(statement) {
                        self.count(BypassReason::UnknownStatement);
                        return Step::Forward;
                    }
                }
                types = prepared.types;
                let statement = prepared.statement;
                self.renewed(&statement)
            }
        };
        let planned = match &meaning.asked {
            Asked::Unasked => return Step::Forward,
            Asked::Off => {
                self.count(BypassReason::Hint);
                return Step::Forward;
            }
            Asked::Cache(planned) => planned,
        };
        self.look_up(&unit, &meaning, planned, &types, now.get().0, may_wait).unwrap_or_else(|reason| {
            self.count(reason);
            Step::Forward
        })
    }

    /// Whether a prepared statement was defined with the settings of now.
    fn is_of_now(&mut self, statement: &[u8]) -> bool {
        let Some(front) = &mut self.front else { return false };
        let prepared = front.prepared(statement).cloned();
        prepared.is_some_and(|prepared| front.has_settings_of(&prepared))
    }

    fn renewed(&self, statement: &Rc<Meaning>) -> Rc<Meaning> {
        use pgtally_cache::Reader;
        let renewed = self.reader().renewed(statement);
        renewed.unwrap_or_else(|| Rc::clone(statement))
    }

    fn reader(&self) -> SessionReader<'_> {
        SessionReader {
            desk: &self.desk,
            place: &self.place,
            dialect: self.dialect,
            wanted: None,
            decided: None,
        }
    }

    fn count(&mut self, reason: BypassReason) {
        self.is_counted = true;
        self.desk.cache.totals.count_bypass(reason);
    }

    /// Serves, waits, or begins a copy; or says why not.
    fn look_up(
        &mut self,
        unit: &Unit<'_>,
        meaning: &Rc<Meaning>,
        planned: &Planned,
        types: &[u8],
        now_ns: u64,
        may_wait: bool,
    ) -> Result<Step, BypassReason> {
        let reads = meaning.facts.read.as_ref().map_err(|reason| *reason)?;
        let Some(environment) = self.keyed(unit, meaning, planned, types, now_ns)? else {
            self.asking = Some(Question::Environment);
            return Ok(Step::Ask);
        };
        if self.must_be_heard(now_ns) {
            return Err(BypassReason::KeepAlive);
        }
        let bytes = mem::take(&mut self.key);
        let desk = Rc::clone(&self.desk);
        let cache = &desk.cache;
        let key = KeyRef { environment: &environment, bytes: &bytes };
        if let Some(entry) = cache.store.find(key) {
            let age = Duration::from_nanos(now_ns.saturating_sub(entry.sent_ns));
            let is_current = cache.versions.is_current(&entry.token)
                && (planned.plan.mode != Mode::Session || entry.sent_ns >= self.written_ns);
            let is_fresh = age <= planned.plan.ttl;
            let is_stale = !is_fresh && age <= planned.plan.ttl + planned.plan.stale;
            let is_refreshed = is_current && is_stale && cache.flights.is_flying(&key.to_key());
            if is_current && (is_fresh || is_refreshed) {
                self.note_hit(&entry, key, unit, meaning, planned, types);
                self.key = bytes;
                return Ok(self.served(unit, entry, meaning, planned, types, is_stale));
            }
            let met = if is_current { &cache.totals.met_expired } else { &cache.totals.met_overwritten };
            // An answer of use to another session, or while a new one is fetched, stays.
            if !is_stale && planned.plan.mode != Mode::Session {
                met.fetch_add(1, Ordering::Relaxed);
                cache.store.remove(key, &entry);
            }
        }
        if planned.is_refused() {
            planned.count_lookup(false);
            return Err(BypassReason::Refused);
        }
        let key = key.to_key();
        self.key = bytes;
        let lead = cache.flights.lead(&key);
        if lead.is_none() && may_wait && cache.flights.is_flying(&key) {
            return Ok(Step::Wait(key));
        }
        planned.count_lookup(false);
        planned.totals.misses.fetch_add(1, Ordering::Relaxed);
        let is_strict = planned.plan.mode == Mode::Commit;
        match cache.versions.token(self.place.id, reads, is_strict, &planned.tags) {
            Some(token) => {
                self.fill = Some(Fill {
                    key,
                    _lead: lead,
                    capture: Capture::new(planned.plan.bytes_max),
                    token,
                    meaning: Rc::clone(meaning),
                    sent_ns: now_ns,
                });
            }
            None => drop(cache.totals.fills_overtaken.fetch_add(1, Ordering::Relaxed)),
        }
        self.is_counted = true;
        Ok(Step::Forward)
    }

    /// Writes the key of a unit's answer into `self.key`, and answers with its environment; `None` where that has to be
    /// asked for, and an error where the answer may not be kept.
    fn keyed(
        &mut self,
        unit: &Unit<'_>,
        meaning: &Meaning,
        planned: &Planned,
        types: &[u8],
        now_ns: u64,
    ) -> Result<Option<Arc<pgtally_cache::Environment>>, BypassReason> {
        let reads = meaning.facts.read.as_ref().map_err(|reason| *reason)?;
        if !reads.is_covered_by(&planned.plan.vary) {
            return Err(BypassReason::RowSecurity);
        }
        if !self.desk.cache.is_serving() {
            return Err(BypassReason::Upgrade);
        }
        if !meaning.facts.writes.is_nothing() {
            return Err(BypassReason::NotRead);
        }
        if planned.may_name_time
            || matches!(unit, Unit::Extended { bound, .. } if has_bound_clock_word(bound))
        {
            return Err(BypassReason::Function);
        }
        let Some(known) = self.known(now_ns)? else { return Ok(None) };
        if known.is_standby && planned.plan.mode == Mode::Commit {
            return Err(BypassReason::Standby);
        }
        let environment = Arc::clone(&known.environment);
        // Not known where the rules have changed since the text was read; the next time they are.
        let varying = known.values_of(&planned.plan.vary).ok_or(BypassReason::Environment)?;
        let text = (&*planned.bare, types);
        if !write_key(planned.plan.mode, unit, text, &planned.tags, &varying, &mut self.key) {
            return Err(BypassReason::KeyTooLong);
        }
        Ok(Some(environment))
    }

    /// Whether the server would end the session, or forget it on the way, if it heard nothing for longer.
    fn must_be_heard(&self, now_ns: u64) -> bool {
        let idle_timeout = match &self.environment {
            Environment::Known(known) => known.idle_timeout,
            Environment::Unasked | Environment::Unusable(_) => None,
        };
        let half_timeout = idle_timeout.map_or(Duration::MAX, |timeout| timeout / 2);
        let keep_alive = self.desk.cache.settings.keep_alive.min(half_timeout);
        u128::from(now_ns.saturating_sub(self.upstream_ns)) >= keep_alive.as_nanos()
    }

    /// The session's environment; `None` where it has to be asked for.
    fn known(&mut self, now_ns: u64) -> Result<Option<&Known>, BypassReason> {
        if self.front.as_mut().is_some_and(Front::take_change) {
            self.environment = Environment::Unasked;
        }
        if let Environment::Known(known) = &self.environment
            && now_ns.saturating_sub(known.at_ns) >= ENVIRONMENT_LIFE_NS
        {
            self.environment = Environment::Unasked;
        }
        if self.asked_vary.1 != self.desk.cache.policy_number.load(Ordering::Relaxed) {
            self.environment = Environment::Unasked;
        }
        if let (Environment::Known(known), Some(front)) = (&self.environment, &mut self.front)
            && !mem::replace(&mut self.is_settled, true)
        {
            settle(&mut self.seen, &known.environment, front);
        }
        match &self.environment {
            Environment::Unasked => Ok(None),
            Environment::Known(known) => Ok(Some(known)),
            Environment::Unusable(reason) => Err(*reason),
        }
    }

    fn served(
        &mut self,
        unit: &Unit<'_>,
        entry: Arc<Entry>,
        meaning: &Rc<Meaning>,
        planned: &Planned,
        types: &[u8],
        is_stale: bool,
    ) -> Step {
        planned.count_lookup(true);
        planned.totals.count_hit(is_stale, entry.cost);
        let front = self.front.as_mut();
        let (is_simple, has_parse) = match unit {
            Unit::Simple { .. } => {
                let had_unnamed = front.is_some_and(Front::serve_query);
                if had_unnamed || self.restore.is_some() {
                    self.restore = Some(CLOSE_UNNAMED.to_vec());
                }
                (true, false)
            }
            Unit::Extended { parse: Some(parse), .. } => {
                if let Some(front) = front {
                    front.serve_parse(Rc::clone(meaning), types);
                }
                self.restore = Some(parse.message.to_vec());
                (false, true)
            }
            Unit::Extended { .. } => (false, false),
        };
        Step::Serve(Served { entry, is_simple, has_parse })
    }

    /// Whether another session still fetches the answer; then `waker` is woken when it is there.
    pub(super) fn follow(&self, key: &Key, waker: &Waker) -> bool {
        self.desk.cache.flights.follow(key, waker)
    }

    /// Until when to wait for another session's answer; `waker` is woken then.
    pub(super) fn wait_until(&self, now_ns: u64, waker: &Waker) -> u64 {
        let wait = self.desk.cache.settings.wait;
        let waker = waker.clone();
        self.desk.cache.alarm.after(wait, move || waker.wake());
        now_ns.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The question to send. Only where [`Step::Ask`] said so.
    pub(super) fn ask(&mut self) -> Vec<u8> {
        self.expect_group();
        match self.asking {
            Some(Question::Locks) => {
                self.has_asked_locks = true;
                locks::question()
            }
            _ => {
                // The number first: rules that come in between are asked for again.
                let number = self.desk.cache.policy_number.load(Ordering::SeqCst);
                self.asked_vary = (self.desk.cache.policy().vary(), number);
                environment::question(&self.asked_vary.0)
            }
        }
    }

    /// What is sent next is answered up to `ReadyForQuery`, behind what the server is in the middle of.
    fn expect_group(&mut self) {
        self.sieve.expect_group(self.front.as_ref().map(Front::open_frame).unwrap_or_default());
    }

    /// Whether `chunk` ends a transaction whose writes the server is to be asked for.
    fn must_ask_locks(&mut self, chunk: &[u8]) -> bool {
        if !self.desk.cache.settings.asks_locks || mem::take(&mut self.has_asked_locks) {
            return false;
        }
        let is_held = self.front.as_mut().is_some_and(|front| front.held_writes().is_some());
        if !is_held || self.sieve.is_expecting() {
            return false;
        }
        let Ok(Some(unit)) = Unit::read(chunk) else { return false };
        let meaning = match unit {
            Unit::Simple { text } => Some(self.desk.read(&self.place, text, self.dialect)),
            Unit::Extended { parse: Some(parse), .. } => {
                Some(self.desk.read(&self.place, parse.text, self.dialect))
            }
            Unit::Extended { statement, .. } => {
                let front = self.front.as_mut();
                front.and_then(|front| front.prepared(statement)).map(|it| Rc::clone(&it.statement))
            }
        };
        meaning.is_some_and(|meaning| meaning.facts.can_commit && meaning.facts.writes.is_nothing())
    }

    /// Takes the server's word for what the transaction writes. Without one, what was known stays.
    fn learn_locks(&mut self, answer: &Answer) {
        let locked = locks::read(answer);
        let held = self.front.as_mut().and_then(Front::held_writes);
        if let (Some(locked), Some(held)) = (locked, held) {
            held.narrow_to(locked);
        }
    }

    /// Follows `chunk`, which is sent on right after this. Answers with what has to be sent in front of it.
    pub(super) fn sent(&mut self, chunk: &[u8], now: &LazyMoment<'_>) -> Option<Vec<u8>> {
        // Again, as nothing may have been decided on this chunk: what is marked must follow from what is defined now.
        self.desk.refresh(&self.place, now);
        let (is_counted, form) = (mem::take(&mut self.is_counted), self.form.take());
        let restore = self.restoring(chunk);
        let decided = self.decided.take().or_else(|| self.query(chunk));
        let Some(front) = &mut self.front else {
            self.watch_walsender(chunk);
            return restore;
        };
        let was_in_transaction = front.is_in_transaction();
        let (desk, place, dialect) = (&*self.desk, &*self.place, self.dialect);
        let mut reader = SessionReader { desk, place, dialect, wanted: None, decided };
        let followed = front.client(chunk, &desk.cache.versions, &mut reader);
        let wanted = reader.wanted;
        if let Err(desync) = followed {
            self.go_blind(desync);
        }
        if let Some(wanted) = wanted.filter(|_| !is_counted) {
            let reason = match (&wanted.asked, form) {
                (Asked::Off, _) => BypassReason::Hint,
                (_, Some(form)) => form,
                _ if was_in_transaction => BypassReason::InTransaction,
                _ => BypassReason::Busy,
            };
            self.desk.cache.totals.count_bypass(reason);
        }
        restore
    }

    /// `chunk` was sent on.
    pub(super) fn reached_upstream(&mut self, now_ns: u64) {
        self.upstream_ns = now_ns;
    }

    /// What a chunk means that is one simple query.
    fn query(&self, chunk: &[u8]) -> Option<Rc<Meaning>> {
        let is_between = self.front.as_ref().is_some_and(Front::is_between_messages);
        if chunk.first() != Some(&frontend::QUERY) || !is_between {
            return None;
        }
        match Unit::read(chunk) {
            Ok(Some(Unit::Simple { text })) => Some(self.desk.read_query(&self.place, text, self.dialect)),
            _ => None,
        }
    }

    /// Takes answers of ours out of what the server says; `None` where all of `chunk` is for the client.
    pub(super) fn sift(&mut self, chunk: &[u8], now: &LazyMoment<'_>) -> Option<Vec<u8>> {
        if !self.sieve.is_expecting() {
            return None;
        }
        let now_ns = now.get().0;
        let mut out = Vec::new();
        if let Some(answer) = self.sieve.sift(chunk, &mut out) {
            match self.asking.take() {
                Some(Question::Locks) => self.learn_locks(&answer),
                // A restored statement, or a question asked again.
                None => {}
                Some(Question::Environment) => {
                    self.is_settled = false;
                    let (vary, fault) = (mem::take(&mut self.asked_vary.0), self.desk.cache.settings.fault);
                    self.environment = match environment::read(&answer, vary, now_ns, fault) {
                        Ok(known) => Environment::Known(known),
                        Err(reason) => Environment::Unusable(reason),
                    };
                }
            }
            self.upstream_ns = now_ns;
            self.answered(now_ns);
        }
        Some(out)
    }

    /// Follows `chunk`, which is delivered to the client right after this.
    pub(crate) fn heard(&mut self, chunk: &[u8], now: &LazyMoment<'_>) {
        self.copy(chunk, now);
        let versions = &self.desk.cache.versions;
        let Some(front) = &mut self.front else { return };
        let heard = match front.upstream(chunk, versions) {
            Ok(heard) => heard,
            Err(desync) => return self.go_blind(desync),
        };
        self.farewell = heard.farewell.or(self.farewell);
        self.backend_pid = heard.backend_pid.or(self.backend_pid);
        self.dialect.has_standard_strings = front.has_standard_strings();
        if let Some(number) = heard.written_by {
            self.written_ns = now.get().0;
            // A trigger that came with a definition meanwhile may have written more than was marked.
            if !self.desk.are_current(&self.place, number) {
                versions.invalidate(self.place.id, &WriteSet::everything());
            }
        }
    }

    /// The upstream has closed or broken the connection.
    pub(super) fn upstream_ended(&self) {
        let is_harmless = self.farewell.is_some_and(|state| HARMLESS_FAREWELLS.contains(&&state));
        let has_left = self.front.as_ref().is_some_and(Front::has_left);
        if !is_harmless && !has_left && self.front.is_some() {
            self.desk.cache.flush_after_loss();
        }
    }
}

impl Drop for CachedSession {
    fn drop(&mut self) {
        if self.fill.is_some() || self.warming.has_sent() {
            self.desk.cache.totals.fills_aborted.fetch_add(1, Ordering::Relaxed);
        }
        let open = self.front.take().map(Front::into_open);
        for open in [mem::take(&mut self.blind), open.unwrap_or_default()] {
            let database = Arc::clone(&self.place.database);
            self.desk.cache.hold(Doubt { open, backend_pid: self.backend_pid, database });
        }
    }
}

/// Gives the settings of now the number under which they were seen before, or remembers theirs.
fn settle(
    seen: &mut Vec<(Arc<pgtally_cache::Environment>, u64)>,
    environment: &Arc<pgtally_cache::Environment>,
    front: &mut Front<Rc<Meaning>>,
) {
    let now = front.settings();
    if seen.iter().any(|(other, number)| *number == now && other != environment) {
        // They have changed without a word.
        front.settings_changed();
    }
    if let Some((_, number)) = seen.iter().find(|(known, _)| known == environment) {
        front.settings_are(*number);
        return;
    }
    if seen.len() >= ENVIRONMENTS_MAX {
        seen.remove(0);
    }
    seen.push((Arc::clone(environment), front.settings()));
}

/// Whether a replication session belongs to a database: then it understands SQL.
fn is_logical(startup: &Startup) -> bool {
    startup.parameter("replication").is_some_and(|value| value.eq_ignore_ascii_case(b"database"))
}
