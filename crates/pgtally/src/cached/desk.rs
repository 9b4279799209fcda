//! What texts mean to the cache, remembered per worker: what they write, whether they are to be cached, under what key.
//!
//! A text is looked up as it is; a new one is scanned, and its shape looked up by fingerprint; a new shape is parsed
//! (libpg_query, once per worker and shape, texts of bounded length). What a shape reads and writes follows from its
//! tree and a snapshot of the catalog; a meaning derived from an older snapshot or older rules is not used.

use std::cell::{Cell, RefCell};
use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgtally_cache::catalog::body::may_define;
use pgtally_cache::catalog::facts_without_catalog;
use pgtally_cache::clock_words::may_name_time;
use pgtally_cache::{
    BypassReason, DatabaseId, Decision, Forgets, Hint, Plan, Reader, Statement, StatementFacts, Subject,
    TwoPhase, WriteSet, bare, write_skeleton,
};
use pgtally_fingerprint::{Access, Command, Dialect, Effect, Fingerprint, Scan, StatementScan, normalize};
use pgtally_protocol::frontend::Text;
use rustc_hash::{FxHashMap, FxHasher};

use super::Cache;
use super::totals::TagTotals;
use crate::catalog::{Snapshot, database_id};
use crate::clock::LazyMoment;

/// Texts remembered per database and user; then all are forgotten, as applications with fixed texts have few.
const TEXTS_MAX: usize = 4_096;
/// Bytes of the longest text remembered.
const TEXT_BYTES_MAX: usize = 8 * 1024;
/// Skeletons remembered per database and user; then all are forgotten.
const SKELETONS_MAX: usize = 4_096;
/// Bytes of the longest text whose skeleton is looked for.
const SKELETON_TEXT_BYTES_MAX: usize = 2 * 1024;
/// Hashes of texts seen once: a text that never returns is not remembered.
const SEEN: usize = 4_096;
/// Shapes remembered; then all are forgotten.
const SHAPES_MAX: usize = 10_000;
/// Pairs of database and user that remember their texts.
const PLACES_MAX: usize = 256;
/// Comments that a scan lists.
const COMMENTS_MAX: usize = 64;
/// Time between two questions for a snapshot that is not there.
const SNAPSHOT_RETRY_NS: u64 = 20_000_000;
/// Lookups of a text after which its hits tell whether keeping its answers pays.
const PROBATION: u32 = 1_000;
/// Lookups after which a text that was refused gets another chance.
const REFUSAL: u32 = 10_000;

/// Database and user.
type PlaceName = (Arc<str>, Arc<str>);

/// What the sessions of one worker remember together.
pub(crate) struct Desk {
    pub(super) cache: Arc<Cache>,
    scan: RefCell<Scan>,
    skeleton: RefCell<Vec<u8>>,
    shapes: RefCell<FxHashMap<Fingerprint, Rc<Shape>>>,
    places: RefCell<FxHashMap<PlaceName, Rc<Place>>>,
}

/// A database as one user sees it.
pub(super) struct Place {
    pub(super) database: Arc<str>,
    pub(super) id: DatabaseId,
    user: Arc<str>,
    snapshot: RefCell<Option<Arc<Snapshot>>>,
    ask_again_ns: Cell<u64>,
    texts: RefCell<FxHashMap<Box<[u8]>, Rc<Meaning>>>,
    /// What texts of the simple protocol mean whose literals tell nothing.
    skeletons: RefCell<FxHashMap<Box<[u8]>, Rc<Meaning>>>,
    seen: RefCell<Box<[u64]>>,
}

struct Shape {
    normalized: String,
    command: Command,
    access: Access,
    facts: RefCell<Option<(u64, Rc<StatementFacts>)>>,
}

/// What one text means.
#[derive(Debug)]
pub(super) struct Meaning {
    text: Box<[u8]>,
    pub(super) facts: Rc<StatementFacts>,
    forgets: Option<Forgets>,
    two_phase: Option<TwoPhase>,
    pub(super) asked: Asked,
    /// Of the snapshot it was derived from, 0 for none; and of the rules.
    snapshot: u64,
    policy: u64,
    /// Words of its hint that mean nothing or ask for too much.
    nonsense: u32,
    /// Any text with the same skeleton does the same, and is not to be cached either.
    is_plain: bool,
}

impl Meaning {
    /// The text, with its comments.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }
}

impl Statement for Meaning {
    fn facts(&self) -> &StatementFacts {
        &self.facts
    }

    fn forgets(&self) -> Option<Forgets> {
        self.forgets
    }

    fn two_phase(&self) -> Option<&TwoPhase> {
        self.two_phase.as_ref()
    }

    fn definitions(&self) -> u64 {
        self.snapshot
    }
}

/// Whether a text is to be cached.
#[derive(Debug)]
pub(super) enum Asked {
    Cache(Planned),
    Off,
    Unasked,
}

/// How a text's answers are kept.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) plan: Plan,
    /// The text without its comments.
    pub(super) bare: Box<[u8]>,
    pub(super) fingerprint: Fingerprint,
    pub(super) tags: Arc<[Box<str>]>,
    pub(super) totals: Arc<TagTotals>,
    /// A literal may mean the time at which the text is executed.
    pub(super) may_name_time: bool,
    lookups: Cell<u32>,
    hits: Cell<u32>,
}

impl Planned {
    pub(super) fn count_lookup(&self, is_hit: bool) {
        self.lookups.set(self.lookups.get().saturating_add(1));
        self.hits.set(self.hits.get().saturating_add(u32::from(is_hit)));
    }

    /// Whether its answers are hardly ever asked for again: below a fifth of many lookups were hits.
    pub(super) fn is_refused(&self) -> bool {
        let (lookups, hits) = (self.lookups.get(), self.hits.get());
        if lookups >= REFUSAL {
            self.lookups.set(0);
            self.hits.set(0);
            return false;
        }
        lookups >= PROBATION && hits < lookups / 5
    }
}

impl Desk {
    pub(crate) fn new(cache: Arc<Cache>) -> Self {
        Self {
            cache,
            scan: RefCell::default(),
            skeleton: RefCell::default(),
            shapes: RefCell::default(),
            places: RefCell::default(),
        }
    }

    pub(super) fn place(&self, database: &str, user: &str) -> Rc<Place> {
        let mut places = self.places.borrow_mut();
        let key = (Arc::from(database), Arc::from(user));
        if let Some(place) = places.get(&key) {
            return Rc::clone(place);
        }
        let place = Rc::new(Place {
            database: Arc::clone(&key.0),
            id: database_id(database),
            user: Arc::clone(&key.1),
            snapshot: RefCell::default(),
            ask_again_ns: Cell::new(0),
            texts: RefCell::default(),
            skeletons: RefCell::default(),
            seen: RefCell::new(vec![0; SEEN].into_boxed_slice()),
        });
        // Places that no session is in have to go first.
        if places.len() >= PLACES_MAX {
            places.retain(|_, place| Rc::strong_count(place) > 1);
        }
        if places.len() < PLACES_MAX {
            places.insert(key, Rc::clone(&place));
        }
        place
    }

    /// Makes sure that the place's snapshot is one of now, or none.
    pub(super) fn refresh(&self, place: &Place, now: &LazyMoment<'_>) {
        if self.has_current_snapshot(place) {
            return;
        }
        *place.snapshot.borrow_mut() = None;
        let now_ns = now.get().0;
        if now_ns >= place.ask_again_ns.get() {
            place.ask_again_ns.set(now_ns + SNAPSHOT_RETRY_NS);
            *place.snapshot.borrow_mut() = self.cache.catalogs.current(place.id, &place.database);
        }
    }

    /// As [`Desk::refresh`], however short ago it was that there was none.
    pub(super) fn refresh_at_once(&self, place: &Place, now: &LazyMoment<'_>) {
        place.ask_again_ns.set(0);
        self.refresh(place, now);
    }

    /// Whether definitions are known, and none has changed since they were read.
    pub(super) fn has_current_snapshot(&self, place: &Place) -> bool {
        place.snapshot.borrow().as_ref().is_some_and(|snapshot| snapshot.is_current(&self.cache.versions))
    }

    /// Whether what follows from the definitions of this number is what follows from those of now. Without any, what
    /// was marked is everything that could be.
    pub(super) fn are_current(&self, place: &Place, number: u64) -> bool {
        number == 0 || (self.has_current_snapshot(place) && self.numbers(place).0 == number)
    }

    fn numbers(&self, place: &Place) -> (u64, u64) {
        let snapshot = place.snapshot.borrow().as_ref().map_or(0, |snapshot| snapshot.number);
        (snapshot, self.cache.policy_number.load(Ordering::Relaxed))
    }

    /// What a text means now.
    pub(super) fn read(&self, place: &Place, text: &[u8], dialect: Dialect) -> Rc<Meaning> {
        let numbers = self.numbers(place);
        if !dialect.has_standard_strings || text.len() > TEXT_BYTES_MAX {
            return Rc::new(self.derive(place, text, dialect, numbers));
        }
        if let Some(known) = place.texts.borrow().get(text)
            && (known.snapshot, known.policy) == numbers
        {
            return Rc::clone(known);
        }
        let meaning = Rc::new(self.derive(place, text, dialect, numbers));
        if place.has_seen(text) {
            let mut texts = place.texts.borrow_mut();
            if texts.len() >= TEXTS_MAX {
                texts.clear();
            }
            texts.insert(text.into(), Rc::clone(&meaning));
        } else {
            self.cache.totals.nonsense.fetch_add(u64::from(meaning.nonsense), Ordering::Relaxed);
        }
        meaning
    }

    /// As [`Desk::read`], for a text of the simple protocol, which is seldom met twice: its meaning may be that of another
    /// one with other literals.
    pub(super) fn read_query(&self, place: &Place, text: &[u8], dialect: Dialect) -> Rc<Meaning> {
        let numbers = self.numbers(place);
        let mut skeleton = self.skeleton.borrow_mut();
        let has_skeleton = dialect.has_standard_strings
            && text.len() <= SKELETON_TEXT_BYTES_MAX
            && write_skeleton(text, &mut skeleton);
        if !has_skeleton {
            return self.read(place, text, dialect);
        }
        if let Some(known) = place.skeletons.borrow().get(&**skeleton)
            && (known.snapshot, known.policy) == numbers
        {
            return Rc::clone(known);
        }
        let meaning = self.read(place, text, dialect);
        if meaning.is_plain && !self.cache.policy().reads_shapes() {
            let mut skeletons = place.skeletons.borrow_mut();
            if skeletons.len() >= SKELETONS_MAX {
                skeletons.clear();
            }
            skeletons.insert(skeleton.as_slice().into(), Rc::clone(&meaning));
        }
        meaning
    }

    fn derive(&self, place: &Place, text: &[u8], dialect: Dialect, numbers: (u64, u64)) -> Meaning {
        let mut scan = self.scan.borrow_mut();
        scan.scan(text, dialect, false);
        let comments =
            scan.comments.iter().filter_map(|body| text.get(body.start as usize..body.end as usize));
        let hint = Hint::read(comments, scan.comments.len() < COMMENTS_MAX);
        let shapes: Vec<Rc<Shape>> =
            scan.statements.iter().map(|statement| self.shape(text, statement, dialect)).collect();
        let mut facts = self.facts(place, &shapes);
        let runs_text =
            shapes.iter().any(|it| matches!(it.access.effect, Effect::Everything | Effect::Execute));
        if runs_text && may_define(&String::from_utf8_lossy(text)) {
            facts = Rc::new(StatementFacts { writes: WriteSet::catalog(), ..(*facts).clone() });
        }
        let two_phase = two_phase(text, &scan.statements);
        if !hint.invalidates.is_empty() || hint.is_invalidation_unreadable {
            facts = Rc::new(with_invalidations(&facts, &hint));
        }
        let first = scan.statements.first();
        let (asked, refused) = match (shapes.first(), first) {
            (Some(shape), Some(statement)) => {
                self.asked(place, &hint, shape, statement.fingerprint, || bare(text, &scan.comments))
            }
            _ => (Asked::Unasked, 0),
        };
        let nonsense = hint.nonsense + refused;
        let forgets = first.and_then(|statement| match statement.command {
            Command::DeallocateAll | Command::DiscardAll | Command::Discard => Some(Forgets::All),
            Command::Deallocate | Command::Prepare if shapes.len() == 1 => {
                Some(Forgets::One(statement.name_hash))
            }
            _ => None,
        });
        let may_forget = |it: &StatementScan| {
            matches!(
                it.command,
                Command::Deallocate | Command::DeallocateAll | Command::DiscardAll | Command::Prepare
            )
        };
        let forgets = forgets
            .or_else(|| (shapes.len() > 1 && scan.statements.iter().any(may_forget)).then_some(Forgets::All));
        let (snapshot, policy) = numbers;
        let is_plain =
            matches!(asked, Asked::Unasked) && forgets.is_none() && two_phase.is_none() && !runs_text;
        Meaning { text: text.into(), facts, forgets, two_phase, asked, snapshot, policy, nonsense, is_plain }
    }

    fn asked(
        &self,
        place: &Place,
        hint: &Hint,
        shape: &Shape,
        fingerprint: Fingerprint,
        bare: impl FnOnce() -> Option<Box<[u8]>>,
    ) -> (Asked, u32) {
        let subject = Subject {
            database: &place.database,
            user: &place.user,
            fingerprint,
            normalized: &shape.normalized,
            tables: &shape.access.reads,
        };
        let (decision, refused) = self.cache.policy().decide(hint, &subject);
        let asked = match decision {
            Decision::Unasked => Asked::Unasked,
            Decision::Off => Asked::Off,
            Decision::Cache(plan) => match bare() {
                None => Asked::Off,
                Some(bare) => {
                    let tags: Arc<[Box<str>]> = plan.tags.clone().into();
                    let totals = self.cache.totals.of_tag(&tags);
                    let (lookups, hits) = (Cell::new(0), Cell::new(0));
                    let may_name_time = may_name_time(&bare);
                    Asked::Cache(Planned {
                        plan,
                        bare,
                        may_name_time,
                        fingerprint,
                        tags,
                        totals,
                        lookups,
                        hits,
                    })
                }
            },
        };
        (asked, refused)
    }

    fn shape(&self, text: &[u8], statement: &StatementScan, dialect: Dialect) -> Rc<Shape> {
        let mut shapes = self.shapes.borrow_mut();
        if let Some(shape) = shapes.get(&statement.fingerprint) {
            return Rc::clone(shape);
        }
        let normalized = normalize(text, statement, dialect).text;
        let access = pgtally_parsetree::access(&normalized);
        let facts = RefCell::default();
        let shape = Rc::new(Shape { normalized, command: statement.command, access, facts });
        if shapes.len() >= SHAPES_MAX {
            shapes.clear();
        }
        shapes.insert(statement.fingerprint, Rc::clone(&shape));
        shape
    }

    /// What all statements of a text do.
    fn facts(&self, place: &Place, shapes: &[Rc<Shape>]) -> Rc<StatementFacts> {
        let snapshot = place.snapshot.borrow();
        let of = |shape: &Shape| shape.facts(snapshot.as_deref());
        let nothing = |reason| StatementFacts {
            read: Err(reason),
            writes: WriteSet::nothing(),
            can_commit: false,
            can_roll_back: false,
            can_change_session: false,
        };
        match shapes {
            [] => Rc::new(nothing(BypassReason::NotRead)),
            [one] => of(one),
            several => {
                let mut all = nothing(BypassReason::SeveralStatements);
                for facts in several.iter().map(|shape| of(shape)) {
                    all.writes.merge(&facts.writes);
                    all.can_commit |= facts.can_commit;
                    all.can_roll_back |= facts.can_roll_back;
                    all.can_change_session |= facts.can_change_session;
                }
                Rc::new(all)
            }
        }
    }
}

impl Place {
    /// Whether the text was seen before, as far as one slot remembers.
    fn has_seen(&self, text: &[u8]) -> bool {
        let mut hasher = FxHasher::default();
        hasher.write(text);
        let hash = hasher.finish() | 1;
        let mut seen = self.seen.borrow_mut();
        let slot = (hash >> 40) as usize % SEEN;
        seen.get_mut(slot).is_some_and(|slot| std::mem::replace(slot, hash) == hash)
    }
}

impl Shape {
    fn facts(&self, snapshot: Option<&Snapshot>) -> Rc<StatementFacts> {
        let number = snapshot.map_or(0, |snapshot| snapshot.number);
        if let Some((known, facts)) = &*self.facts.borrow()
            && *known == number
        {
            return Rc::clone(facts);
        }
        let mut facts = match snapshot {
            Some(snapshot) => snapshot.catalog.facts(&self.access),
            None => facts_without_catalog(&self.access),
        };
        match self.command {
            Command::Begin | Command::Release | Command::RollbackTo | Command::Savepoint => {
                (facts.can_commit, facts.can_roll_back) = (false, false);
            }
            Command::PrepareTransaction | Command::Rollback => {
                (facts.can_commit, facts.can_roll_back) = (false, true);
            }
            _ => {}
        }
        let facts = Rc::new(facts);
        *self.facts.borrow_mut() = Some((number, Rc::clone(&facts)));
        facts
    }
}

/// What the text does to a prepared transaction; unknown where it does more than that.
fn two_phase(text: &[u8], statements: &[StatementScan]) -> Option<TwoPhase> {
    let read = |statement: &StatementScan| {
        let range = statement.text.start as usize..statement.text.end as usize;
        // The second word tells, so most statements cost a look at one.
        let is_candidate = matches!(
            statement.command,
            Command::Commit | Command::Prepare | Command::PrepareTransaction | Command::Rollback
        );
        let text = text.get(range).filter(|_| is_candidate)?;
        TwoPhase::read(&String::from_utf8_lossy(text))
    };
    match statements {
        [one] => read(one),
        several => several.iter().any(|it| read(it).is_some()).then_some(TwoPhase::Unknown),
    }
}

fn with_invalidations(facts: &StatementFacts, hint: &Hint) -> StatementFacts {
    let mut facts = facts.clone();
    hint.invalidates.iter().for_each(|tag| facts.writes.add_tag(tag));
    if hint.is_invalidation_unreadable {
        facts.writes.merge(&WriteSet::catalog());
    }
    facts
}

/// Reads the texts of one session.
pub(super) struct SessionReader<'a> {
    pub(super) desk: &'a Desk,
    pub(super) place: &'a Place,
    pub(super) dialect: Dialect,
    /// The last text that is to be cached.
    pub(super) wanted: Option<Rc<Meaning>>,
    /// What the only text of the chunk means, where that was asked before.
    pub(super) decided: Option<Rc<Meaning>>,
}

impl SessionReader<'_> {
    fn note(&mut self, meaning: &Rc<Meaning>) {
        if !matches!(meaning.asked, Asked::Unasked) {
            self.wanted = Some(Rc::clone(meaning));
        }
    }
}

impl Reader<Rc<Meaning>> for SessionReader<'_> {
    fn read(&mut self, text: Text<'_>) -> Rc<Meaning> {
        let decided = self.decided.take();
        if let Some(meaning) = decided.filter(|it| (it.snapshot, it.policy) == self.desk.numbers(self.place))
        {
            self.note(&meaning);
            return meaning;
        }
        let meaning = if text.is_cut {
            // The shape of what was seen might be that of another statement.
            Rc::new(Meaning {
                text: Box::default(),
                facts: Rc::new(StatementFacts::unknown(BypassReason::NotParsed)),
                forgets: None,
                two_phase: Some(TwoPhase::Unknown),
                asked: Asked::Unasked,
                snapshot: u64::MAX,
                policy: u64::MAX,
                nonsense: 0,
                is_plain: false,
            })
        } else {
            self.desk.read(self.place, text.bytes, self.dialect)
        };
        self.note(&meaning);
        meaning
    }

    fn renewed(&mut self, statement: &Rc<Meaning>) -> Option<Rc<Meaning>> {
        self.note(statement);
        let is_old = statement.snapshot != u64::MAX
            && (statement.snapshot, statement.policy) != self.desk.numbers(self.place);
        is_old.then(|| self.desk.read(self.place, &statement.text, self.dialect))
    }
}
