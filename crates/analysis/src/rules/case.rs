//! A request as the rules need it: its statements in groups of one shape, what each shape does, and what never counts.

mod undone;

use std::cell::OnceCell;
use std::hash::{Hash, Hasher};

use pgtally_fingerprint::{Command, Fingerprint, Kind, ShapeFacts, Table};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use super::reread::WrittenKeys;
use super::sequential::SampledValues;
use crate::affinity::Named;
use crate::catalog::{Catalog, ColumnName};
use crate::finding::Growth;
use crate::history::History;
use crate::linkage::{Child, Keys, Link, Pool};
use crate::merge::{Recorded, Request};
use crate::record::{KeyValue, Moment, SampleColumn, StatementRecord};
use crate::settings::FindingSettings;
use crate::shape::KnownShape;
use undone::Rollbacks;

/// One request under judgement.
pub(super) struct Case<'a> {
    pub(super) request: &'a Request,
    pub(super) settings: &'a FindingSettings,
    catalog: &'a Catalog,
    /// What is known of the request's shapes.
    known: FxHashMap<Fingerprint, KnownShape>,
    pool: OnceCell<Pool>,
    pub(super) members: Vec<Member<'a>>,
    writes: OnceCell<Vec<(usize, Written)>>,
    rollbacks: OnceCell<Rollbacks>,
    written_keys: OnceCell<WrittenKeys>,
    sampled_values: OnceCell<SampledValues>,
    pub(super) history: &'a History,
}

/// One recorded statement and its place in the request.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    /// Place in the order of sending.
    pub(super) position: usize,
    pub(super) session: u64,
    pub(super) statement: &'a StatementRecord,
    pub(super) keys: &'a [KeyValue],
}

/// Successful statements of one known shape in one environment (`search_path`, role).
pub(super) struct Group<'a> {
    pub(super) known: KnownShape,
    pub(super) kind: Kind,
    pub(super) members: Vec<Member<'a>>,
}

/// What a statement writes.
#[derive(Clone)]
pub(super) enum Written {
    /// Nobody knows what: a procedure, DDL, a text that could not be parsed.
    Anything,
    Nothing,
    Tables(Vec<Table>),
}

impl<'a> Case<'a> {
    pub(super) fn new(
        request: &'a Request,
        shapes: &'a dyn Fn(Fingerprint) -> Option<KnownShape>,
        catalog: &'a Catalog,
        settings: &'a FindingSettings,
        history: &'a History,
    ) -> Self {
        let member = |(position, it): (usize, Recorded<'a>)| Member {
            position,
            session: it.session,
            statement: it.statement,
            keys: it.keys,
        };
        let members: Vec<Member<'a>> = request.records().enumerate().map(member).collect();
        Self {
            request,
            settings,
            catalog,
            known: known_shapes(request, &members, shapes),
            pool: OnceCell::new(),
            members,
            writes: OnceCell::new(),
            rollbacks: OnceCell::new(),
            written_keys: OnceCell::new(),
            sampled_values: OnceCell::new(),
            history,
        }
    }

    pub(super) fn shape(&self, fingerprint: Fingerprint) -> Option<&KnownShape> {
        self.known.get(&fingerprint)
    }

    /// Groups in order of first use. Left out are failed statements, attempts that were rolled back to be retried,
    /// and shapes that could not be parsed, as no exclusion could be checked for them.
    pub(super) fn groups(&self) -> Vec<Group<'a>> {
        let mut index: FxHashMap<(Fingerprint, u32), usize> = FxHashMap::default();
        let mut lists: Vec<Vec<Member<'a>>> = Vec::new();
        for member in &self.members {
            let it = member.statement;
            if it.error.is_some() || it.is_retried {
                continue;
            }
            let at = *index.entry((it.fingerprint, it.environment)).or_insert_with(|| {
                lists.push(Vec::new());
                lists.len() - 1
            });
            if let Some(list) = lists.get_mut(at) {
                list.push(*member);
            }
        }
        lists.into_iter().filter_map(|members| self.group(members)).collect()
    }

    /// The group of one shape, without its members.
    pub(super) fn group_of(&self, fingerprint: Fingerprint) -> Option<Group<'a>> {
        let known = self.shape(fingerprint)?.clone();
        Some(Group { known, kind: Kind::Select, members: Vec::new() })
    }

    fn group(&self, members: Vec<Member<'a>>) -> Option<Group<'a>> {
        let first = members.first()?.statement;
        let known = self.shape(first.fingerprint).filter(|known| known.facts.is_parsed)?.clone();
        Some(Group { known, kind: first.kind, members })
    }

    /// The source of the keys, when it is proven.
    pub(super) fn link(&self, group: &Group<'_>, members: &[Member<'_>], keys: &KeyList) -> Option<Link> {
        let pool = self.pool.get_or_init(|| {
            Pool::new(self.request, self.catalog, &mut |fingerprint| self.shape(fingerprint).cloned())
        });
        let facts = &group.known.facts;
        let mut columns = facts.compared.iter().chain(&facts.inserted);
        let compared = columns.find(|it| it.parameter == keys.parameter);
        let column = compared.map(|it| Named { table: it.table.as_deref(), column: &it.column });
        let child =
            Child { fingerprint: group.known.shape.fingerprint, second_sent: members.get(1)?.statement.sent };
        let keys = Keys { column, distinct: &keys.distinct };
        pool.link(&child, &keys, self.settings.coverage_min)
    }

    /// The best name of a result column.
    pub(super) fn column_name(&self, known: &KnownShape, column: &SampleColumn) -> ColumnName {
        self.catalog.name(&self.request.origin().database, Some(&known.facts), column)
    }

    /// How the executions of `child` depend on the rows of `parent` over the route's requests.
    pub(super) fn growth(&self, parent: Option<Fingerprint>, child: Fingerprint) -> Option<Growth> {
        self.history.growth(self.request.route(), parent, child, &self.settings.growth)
    }

    /// The read of this shape as a parent without a column.
    pub(super) fn list_of(&self, fingerprint: Fingerprint) -> Link {
        let members = self.members.iter().filter(|it| it.statement.fingerprint == fingerprint);
        let (rows, executions) = members.fold((0_u64, 0_u32), |(rows, executions), it| {
            (rows.saturating_add(it.statement.rows.into()), executions.saturating_add(1))
        });
        Link { fingerprint, column: String::new(), rows, executions, score: 0 }
    }

    /// Keys of rows the request has written.
    pub(super) fn written_keys(&self) -> &WrittenKeys {
        self.written_keys.get_or_init(|| WrittenKeys::of(self, self.request))
    }

    /// Values of all sampled rows of a shape.
    pub(super) fn sampled_values(&self, fingerprint: Fingerprint) -> impl Iterator<Item = u32> + '_ {
        let all = self.sampled_values.get_or_init(|| {
            let mut all = SampledValues::default();
            for (_, sample) in self.request.samples() {
                let values = sample.values.iter().filter(|value| **value != 0);
                all.entry(sample.fingerprint).or_default().extend(values);
            }
            all
        });
        all.get(&fingerprint).into_iter().flatten().copied()
    }

    /// Whether the members are units of work claimed from a queue: each in a transaction that has read with SKIP
    /// LOCKED. A loop inside one such unit stays a loop.
    pub(super) fn is_claimed_work(&self, members: &[Member<'_>]) -> bool {
        let claims = |it: &&Member<'_>| {
            it.statement.transaction != 0
                && self.shape(it.statement.fingerprint).is_some_and(|known| known.facts.has_skip_locked)
        };
        let place = |it: &Member<'_>| (it.session, it.statement.transaction);
        let claimed: FxHashSet<(u64, u32)> = self.members.iter().filter(claims).map(place).collect();
        let units: FxHashSet<(u64, u32)> =
            members.iter().map(place).filter(|place| claimed.contains(place)).collect();
        units.len() * 2 > members.len()
    }

    /// Places behind which the tables may hold something else, in order, and which tables: of the statements that
    /// write, of rollbacks, and of the ends of transactions that other sessions cannot look into.
    pub(super) fn writes(&self) -> &[(usize, Written)] {
        self.writes.get_or_init(|| {
            let all = self.members.iter().map(|member| (member.position, self.written_by(member)));
            let mut all: Vec<_> = all.filter(|(_, it)| !matches!(it, Written::Nothing)).collect();
            undone::add_ends(self, &mut all);
            all.sort_by_key(|(position, _)| *position);
            all
        })
    }

    fn written_by(&self, member: &Member<'_>) -> Written {
        Written::by(member.statement.kind, self.shape(member.statement.fingerprint))
    }

    /// When what this statement wrote was taken back, if it was.
    pub(super) fn undone(&self, member: &Member<'_>) -> Option<Moment> {
        self.rollbacks().behind(member)
    }

    fn rollbacks(&self) -> &Rollbacks {
        self.rollbacks.get_or_init(|| Rollbacks::of(self.request))
    }
}

/// What is known of the shapes of statements and samples, each asked once.
fn known_shapes(
    request: &Request,
    members: &[Member<'_>],
    shapes: &dyn Fn(Fingerprint) -> Option<KnownShape>,
) -> FxHashMap<Fingerprint, KnownShape> {
    let mut known = FxHashMap::default();
    let mut asked = FxHashSet::default();
    let sampled = request.samples().map(|(_, sample)| sample.fingerprint);
    for fingerprint in members.iter().map(|it| it.statement.fingerprint).chain(sampled) {
        if asked.insert(fingerprint)
            && let Some(shape) = shapes(fingerprint)
        {
            known.insert(fingerprint, shape);
        }
    }
    known
}

impl Group<'_> {
    /// Whether the shape is never a finding, whatever its number: catalog reads, no table at all, queue polling.
    pub(super) fn is_exempt(&self) -> bool {
        let facts = &self.known.facts;
        let has_tables = !facts.tables_read.is_empty() || !facts.tables_written.is_empty();
        !facts.has_from || !has_tables || facts.is_catalog_only || facts.has_skip_locked
    }

    /// Whether it is a read whose repetition can be a finding.
    pub(super) fn is_read(&self) -> bool {
        self.kind == Kind::Select && self.known.facts.tables_written.is_empty()
    }
}

/// The varying values of one key parameter.
pub(super) struct KeyList {
    /// 1-based number in the normalized text.
    pub(super) parameter: u16,
    /// Distinct values in order of first use, NULLs left out.
    pub(super) distinct: Vec<u32>,
    is_list: bool,
}

/// The key parameters that vary among `members`.
pub(super) fn varying_keys(members: &[Member<'_>], list_elements_min: u32) -> Vec<KeyList> {
    let width = members.first().map_or(0, |member| member.keys.len());
    (0..width).filter_map(|index| varying_key(members, index, list_elements_min)).collect()
}

fn varying_key(members: &[Member<'_>], index: usize, list_elements_min: u32) -> Option<KeyList> {
    let values: Vec<&KeyValue> = members.iter().filter_map(|member| member.keys.get(index)).collect();
    let first = values.first()?;
    if values.iter().all(|it| (it.value, it.list_hash) == (first.value, first.list_hash)) {
        return None;
    }
    let mut seen = FxHashSet::default();
    let distinct =
        values.iter().map(|it| it.value).filter(|value| *value != 0 && seen.insert(*value)).collect();
    Some(KeyList { parameter: first.parameter, distinct, is_list: is_list(&values, list_elements_min) })
}

/// Whether a key that matters is a list: a prefetch, or a batch in chunks.
pub(super) fn has_list_key(keys: &[KeyList]) -> bool {
    keys.iter().any(|key| key.is_list)
}

/// Whether any key parameter is a list, whether it varies or not.
pub(super) fn has_list_key_anywhere(members: &[Member<'_>], list_elements_min: u32) -> bool {
    let width = members.first().map_or(0, |member| member.keys.len());
    (0..width).any(|index| {
        let values: Vec<&KeyValue> = members.iter().filter_map(|member| member.keys.get(index)).collect();
        is_list(&values, list_elements_min)
    })
}

/// Whether all key parameters are lists.
pub(super) fn has_only_list_keys(members: &[Member<'_>], list_elements_min: u32) -> bool {
    let width = members.first().map_or(0, |member| member.keys.len());
    let is_list_at = |index| {
        let values: Vec<&KeyValue> = members.iter().filter_map(|member| member.keys.get(index)).collect();
        is_list(&values, list_elements_min)
    };
    width > 0 && (0..width).all(is_list_at)
}

fn is_list(values: &[&KeyValue], list_elements_min: u32) -> bool {
    median(values.iter().map(|it| u64::from(it.elements))) >= u64::from(list_elements_min)
}

/// Distinct tuples of key values.
pub(super) fn distinct_keys(members: &[Member<'_>]) -> u32 {
    let hash = |member: &Member<'_>| {
        let mut hasher = FxHasher::default();
        member.keys.iter().for_each(|it| (it.value, it.list_hash).hash(&mut hasher));
        hasher.finish()
    };
    let tuples: FxHashSet<u64> = members.iter().map(hash).collect();
    u32::try_from(tuples.len()).unwrap_or(u32::MAX)
}

/// Whether the members cost latency one by one. Pipelined ones (executemany, batches) wait once for all.
pub(super) fn are_round_trips(members: &[Member<'_>], least: usize) -> bool {
    let trips = members.iter().filter(|member| member.statement.is_round_trip).count();
    trips >= least && trips * 2 >= members.len()
}

/// Whether the client lets time pass between the repeats, as a poller or a worker does.
pub(super) fn is_polling(members: &[Member<'_>], settings: &FindingSettings) -> bool {
    let gaps = members.iter().skip(1).map(|member| member.statement.turnaround.ns());
    median(gaps) >= settings.polling_gap_ns
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    if values.is_empty() {
        return 0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable(middle).1
}

impl Written {
    pub(super) fn by(kind: Kind, known: Option<&KnownShape>) -> Self {
        let facts = known.map(|known| &*known.facts).filter(|facts| facts.is_parsed);
        match (kind, facts) {
            (Kind::Tx, _) => Self::Nothing,
            (Kind::Select, Some(facts)) => Self::tables(facts),
            // A read that libpg_query doesn't know may be a WITH that writes, or one of a newer PostgreSQL.
            (Kind::Select, None) => Self::Anything,
            (Kind::Ddl, _) | (_, None) => Self::Anything,
            (Kind::Other, Some(_)) if !known.is_some_and(is_harmless) => Self::Anything,
            (_, Some(facts)) => Self::tables(facts),
        }
    }

    /// Both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Anything, _) | (_, Self::Anything) => Self::Anything,
            (Self::Nothing, it) | (it, Self::Nothing) => it,
            (Self::Tables(mut tables), Self::Tables(others)) => {
                tables.extend(others);
                Self::Tables(tables)
            }
        }
    }

    fn tables(facts: &ShapeFacts) -> Self {
        if facts.tables_written.is_empty() {
            Self::Nothing
        } else {
            Self::Tables(facts.tables_written.clone())
        }
    }

    /// Whether a read of `tables` may answer differently afterwards.
    pub(super) fn touches(&self, tables: &[Table]) -> bool {
        match self {
            Self::Anything => true,
            Self::Nothing => false,
            Self::Tables(written) => written.iter().any(|it| tables.iter().any(|table| are_same(it, table))),
        }
    }
}

/// Tables without a schema are looked up on a `search_path` that the tree doesn't know: they may be any of that name.
fn are_same(a: &Table, b: &Table) -> bool {
    let has_equal_schema = a.schema.is_none() || b.schema.is_none() || a.schema == b.schema;
    a.name == b.name && has_equal_schema
}

/// Statements of kind "other" that change no data.
fn is_harmless(known: &KnownShape) -> bool {
    matches!(
        known.shape.command,
        Command::CloseCursor
            | Command::Explain
            | Command::Fetch
            | Command::Listen
            | Command::Lock
            | Command::Move
            | Command::Notify
            | Command::Prepare
            | Command::Reset
            | Command::Set
            | Command::Show
            | Command::Unlisten
    )
}
