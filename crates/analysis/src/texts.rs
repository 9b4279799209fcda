//! From a statement's text to its shape and parameter values, without allocation for what is known.
//!
//! Three tables per worker: templates of texts that differ in their literals only (`templates.rs`), a memo from the hash
//! of a raw text to what scanning it gave (filled when a text is seen the second time, so texts with inlined literals do
//! not fill it), and the shapes by fingerprint in two generations (the older one is dropped when the younger is full, so
//! the table is bounded and keeps what is used).

use std::cell::{Cell, RefCell};
use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Arc;

use pgtally_fingerprint::{
    Command, Dialect, Fingerprint, Parameter, Scan, SettingScope, StatementScan, Value, definition,
    normalize, unquote,
};
use pgtally_protocol::Desync;
use pgtally_protocol::frontend::{Bind, Parse, Text};
use rustc_hash::{FxHashMap, FxHasher};

use crate::columns::{BinaryColumns, ColumnPlan};
use crate::counters::{DatabaseIndex, ShapeCounters};
use crate::definition::{Definition, PlainExecutes};
use crate::limits::{
    KEYS_MAX, MEMO_STATEMENTS_MAX, NEW_SHAPES_MAX, SETTING_BYTES_MAX, SHAPES_MAX, STATEMENTS_PER_TEXT_MAX,
    TEXTS_MAX,
};
use crate::shape::Shape;
use crate::tagset::{TagSet, TagSets};
use crate::templates::Templates;
use crate::values::{BoundKey, KeyPlaceholders, ParameterValues, hash_value, literal_values, mix};

/// A shape as one worker knows it, with what it counted since the last take.
#[derive(Debug)]
pub(crate) struct WorkerShape {
    pub(crate) fingerprint: Fingerprint,
    /// Columns of its last result.
    pub(crate) plan: RefCell<Option<Rc<ColumnPlan>>>,
    counters: Cell<ShapeCounters>,
}

/// A setting that a statement changes.
#[derive(Debug)]
pub(crate) struct SettingChange {
    pub(crate) name: &'static str,
    pub(crate) scope: SettingScope,
    /// `None` for RESET and DEFAULT, and for a bound value.
    pub(crate) value: Option<Box<[u8]>>,
    /// 1-based placeholder of a bound value.
    pub(crate) placeholder: Option<u16>,
}

impl SettingChange {
    /// Whether its value or its scope is an argument.
    const fn has_bound_values(&self) -> bool {
        self.placeholder.is_some() || matches!(self.scope, SettingScope::Bound(_))
    }
}

/// One statement of a text, with the values that stand in the text itself.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) shape: Rc<WorkerShape>,
    pub(crate) command: Command,
    pub(crate) name_hash: u64,
    pub(crate) setting: Option<Rc<SettingChange>>,
    /// Of a `PREPARE`: what it defines.
    pub(crate) definition: Option<Rc<Definition>>,
    pub(crate) values: ParameterValues,
}

/// The statements of a text behind its first, shared by all its executions.
pub(crate) type Rest = Option<Rc<[Statement]>>;

/// What one text means.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnalysedText {
    /// The first statement stands apart so that the usual text needs no allocation.
    pub(crate) first: Option<Statement>,
    pub(crate) rest: Rest,
    pub(crate) tags: Option<Rc<TagSet>>,
    /// Of the first statement: only that of a prepared text has placeholders.
    placeholders: Vec<KeyPlaceholders>,
}

impl AnalysedText {
    /// Its statement, where it has only one, and no tags.
    pub(crate) fn untagged_statement(&self) -> Option<&Statement> {
        self.first.as_ref().filter(|_| self.rest.is_none() && self.tags.is_none())
    }
}

#[cfg(test)]
impl AnalysedText {
    pub(crate) fn placeholder_bytes(&self) -> usize {
        self.placeholders.capacity() * size_of::<KeyPlaceholders>()
    }
}

/// A prepared statement: its text and what describing it told.
#[derive(Debug)]
pub(crate) struct PreparedText {
    pub(crate) text: AnalysedText,
    /// Types by placeholder: declared by Parse, completed by ParameterDescription.
    pub(crate) types: RefCell<Vec<u32>>,
    pub(crate) columns: RefCell<Option<Rc<ColumnPlan>>>,
}

/// Values bound for one execution.
pub(crate) struct Bound {
    pub(crate) binary_columns: BinaryColumns,
    /// The bound value of a `set_config`, as text.
    pub(crate) setting_value: Option<Box<[u8]>>,
    pub(crate) setting_is_local: bool,
}

enum Memo {
    Query(u64, Rc<AnalysedText>),
    Prepared(u64, Rc<PreparedText>),
}

/// The tables of one worker.
pub(crate) struct Texts {
    scan: Scan,
    memo: Box<[Option<Memo>]>,
    /// Hashes of texts seen once, apart so that texts that never return don't drive out those that do.
    seen: Box<[u64]>,
    templates: Templates,
    plain_executes: PlainExecutes,
    young: FxHashMap<Fingerprint, Rc<WorkerShape>>,
    old: FxHashMap<Fingerprint, Rc<WorkerShape>>,
    /// Shapes counted since the last take.
    counted: Vec<Rc<WorkerShape>>,
    new_shapes: Vec<Arc<Shape>>,
    /// New shapes not announced because too many waited.
    dropped_shapes: u64,
}

impl Texts {
    pub(crate) fn new() -> Self {
        Self {
            scan: Scan::new(),
            memo: (0..TEXTS_MAX).map(|_| None).collect(),
            seen: vec![0; TEXTS_MAX].into(),
            templates: Templates::new(),
            plain_executes: PlainExecutes::new(),
            young: FxHashMap::default(),
            old: FxHashMap::default(),
            counted: Vec::new(),
            new_shapes: Vec::new(),
            dropped_shapes: 0,
        }
    }

    /// Shapes first met since the last take.
    pub(crate) fn take_new_shapes(&mut self) -> Vec<Arc<Shape>> {
        std::mem::take(&mut self.new_shapes)
    }

    /// Counts by shape since the last take.
    pub(crate) fn take_counters(&mut self) -> Vec<ShapeCounters> {
        self.counted.drain(..).map(|shape| shape.counters.take()).collect()
    }

    /// New shapes that could not be announced since the last take.
    pub(crate) fn take_dropped_shapes(&mut self) -> u64 {
        std::mem::take(&mut self.dropped_shapes)
    }

    pub(crate) fn count(&mut self, shape: &Rc<WorkerShape>, duration_ns: u64, rows: u64, is_error: bool) {
        let mut counters = shape.counters.get();
        if counters.calls == 0 {
            counters.fingerprint = shape.fingerprint;
            self.counted.push(Rc::clone(shape));
        }
        counters.calls += 1;
        counters.duration_ns = counters.duration_ns.saturating_add(duration_ns);
        counters.rows = counters.rows.saturating_add(rows);
        counters.errors += u64::from(is_error);
        shape.counters.set(counters);
    }

    /// What a `Query` text means.
    pub(crate) fn query(&mut self, text: Text<'_>, dialect: Dialect, tags: &mut TagSets) -> Analysed {
        if let Some(statement) = self.of_template(text, dialect) {
            return Analysed::Fresh(AnalysedText { first: Some(statement), ..AnalysedText::default() });
        }
        let hash = hash_text(text, dialect, &[]);
        if let Some(Some(Memo::Query(known, analysed))) = self.memo.get(slot(hash))
            && *known == hash
        {
            return Analysed::Known(Rc::clone(analysed));
        }
        let analysed = self.analyse(text, dialect, tags);
        if let Some(statement) = &analysed.first
            && analysed.rest.is_none()
            && statement.definition.is_none()
            && !text.is_cut
        {
            self.templates.learn(text.bytes, &self.scan, dialect, statement);
        }
        let others = analysed.rest.as_ref().map_or(0, |rest| rest.len());
        if others < MEMO_STATEMENTS_MAX && self.is_seen_again(hash) {
            let analysed = Rc::new(analysed);
            self.remember(hash, Memo::Query(hash, Rc::clone(&analysed)));
            return Analysed::Known(analysed);
        }
        Analysed::Fresh(analysed)
    }

    /// The statement of a text that differs from an earlier one in its literals only.
    fn of_template(&mut self, text: Text<'_>, dialect: Dialect) -> Option<Statement> {
        if text.is_cut || !dialect.has_standard_strings {
            return None;
        }
        let (statement, parameters) = self.templates.find(text.bytes)?;
        Some(Statement {
            values: literal_values(parameters, statement.command, &mut Vec::new()),
            ..statement
        })
    }

    /// What a `Parse` defines. `types` are its declared OIDs, big-endian.
    pub(crate) fn prepare(
        &mut self,
        text: Text<'_>,
        types: &[u8],
        dialect: Dialect,
        database: DatabaseIndex,
        tags: &mut TagSets,
    ) -> Rc<PreparedText> {
        let hash = prepared_hash(text, types, dialect, database);
        if let Some(Some(Memo::Prepared(known, prepared))) = self.memo.get(slot(hash))
            && *known == hash
        {
            return Rc::clone(prepared);
        }
        let (oids, _) = types.as_chunks::<4>();
        let prepared = Rc::new(PreparedText {
            text: self.analyse(text, dialect, tags),
            types: RefCell::new(oids.iter().map(|oid| u32::from_be_bytes(*oid)).collect()),
            columns: RefCell::new(None),
        });
        if self.is_seen_again(hash) {
            self.remember(hash, Memo::Prepared(hash, Rc::clone(&prepared)));
        }
        prepared
    }

    /// The one statement of a `Query` text that has been met before and carries no tags, with values of no use.
    pub(crate) fn known_query(&mut self, text: Text<'_>, dialect: Dialect) -> Option<&Statement> {
        if !dialect.has_standard_strings || text.is_cut {
            return None;
        }
        let Self { templates, memo, .. } = self;
        templates.statement(text.bytes).or_else(|| {
            let hash = hash_text(text, dialect, &[]);
            match memo.get(slot(hash))? {
                Some(Memo::Query(known, analysed)) if *known == hash => analysed.untagged_statement(),
                _ => None,
            }
        })
    }

    /// What a `Parse` defines that has been met before.
    pub(crate) fn known_prepared(
        &self,
        parse: &Parse<'_>,
        dialect: Dialect,
        database: DatabaseIndex,
    ) -> Option<&Rc<PreparedText>> {
        let hash = prepared_hash(parse.text, parse.types, dialect, database);
        match self.memo.get(slot(hash))? {
            Some(Memo::Prepared(known, prepared)) if *known == hash => Some(prepared),
            _ => None,
        }
    }

    fn is_seen_again(&mut self, hash: u64) -> bool {
        self.seen.get_mut(slot(hash)).is_some_and(|seen| std::mem::replace(seen, hash) == hash)
    }

    fn remember(&mut self, hash: u64, memo: Memo) {
        if let Some(slot) = self.memo.get_mut(slot(hash)) {
            *slot = Some(memo);
        }
    }

    fn analyse(&mut self, text: Text<'_>, dialect: Dialect, tags: &mut TagSets) -> AnalysedText {
        let mut scan = std::mem::take(&mut self.scan);
        scan.scan(text.bytes, dialect, text.is_cut);
        let mut analysed = AnalysedText { tags: tags.of(text.bytes, &scan), ..AnalysedText::default() };
        let mut rest = Vec::new();
        for (number, found) in scan.statements.iter().enumerate().take(STATEMENTS_PER_TEXT_MAX) {
            let (mut statement, placeholders) = self.statement(text.bytes, &scan, found, dialect);
            if found.command == Command::Prepare && !text.is_cut {
                statement.definition = self.define(text.bytes, found, dialect);
            }
            if number == 0 {
                analysed.first = Some(statement);
                analysed.placeholders = placeholders;
            } else {
                rest.push(statement);
            }
        }
        analysed.rest = (!rest.is_empty()).then(|| rest.into());
        self.scan = scan;
        analysed
    }

    fn statement(
        &mut self,
        text: &[u8],
        scan: &Scan,
        found: &StatementScan,
        dialect: Dialect,
    ) -> (Statement, Vec<KeyPlaceholders>) {
        let mut placeholders = Vec::new();
        let statement = Statement {
            shape: self.shape(text, found, dialect),
            command: found.command,
            name_hash: found.name_hash,
            setting: setting(text, found),
            definition: None,
            values: literal_values(parameters(scan, found), found.command, &mut placeholders),
        };
        (statement, placeholders)
    }

    /// What a `PREPARE` defines.
    fn define(&mut self, text: &[u8], prepare: &StatementScan, dialect: Dialect) -> Option<Rc<Definition>> {
        let body = text.get(definition(text, prepare, dialect)?)?;
        let mut scan = Scan::new();
        scan.scan(body, dialect, false);
        let [found] = scan.statements.as_slice() else { return None };
        let (mut statement, placeholders) = self.statement(body, &scan, found, dialect);
        // An argument that sets something is not kept as text.
        statement.setting = statement.setting.filter(|setting| !setting.has_bound_values());
        let numbers = parameters(&scan, found).iter().map(|parameter| match parameter.value {
            Value::Literal(_) => 0,
            Value::Placeholder { first, count } => {
                (usize::from(first) + usize::from(count)).saturating_sub(1)
            }
        });
        let parameters = if found.has_more_parameters { usize::MAX } else { numbers.max().unwrap_or(0) };
        Some(Rc::new(Definition { statement, placeholders, parameters }))
    }

    /// The arguments of an `EXECUTE`, where they are known.
    pub(crate) fn arguments<'s>(&self, execute: &'s Statement) -> Option<&'s ParameterValues> {
        self.plain_executes.arguments(execute)
    }

    fn shape(&mut self, text: &[u8], statement: &StatementScan, dialect: Dialect) -> Rc<WorkerShape> {
        let fingerprint = statement.fingerprint;
        if let Some(shape) = self.young.get(&fingerprint) {
            return Rc::clone(shape);
        }
        let shape = self.old.remove(&fingerprint).unwrap_or_else(|| {
            self.announce(text, statement, dialect);
            Rc::new(WorkerShape { fingerprint, plan: RefCell::new(None), counters: Cell::default() })
        });
        if self.young.len() >= SHAPES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint, Rc::clone(&shape));
        shape
    }

    fn announce(&mut self, text: &[u8], statement: &StatementScan, dialect: Dialect) {
        if self.new_shapes.len() >= NEW_SHAPES_MAX {
            self.dropped_shapes += 1;
            return;
        }
        let mut normalized = normalize(text, statement, dialect);
        if normalized.is_cut {
            // Whoever reads it is to know.
            normalized.text.push('…');
        }
        self.new_shapes.push(Arc::new(Shape {
            fingerprint: statement.fingerprint,
            text: normalized.text.into(),
            command: statement.command,
            roles: normalized.roles.into(),
        }));
    }
}

/// What a `Query` text means: from the memo, or just scanned.
pub(crate) enum Analysed {
    Fresh(AnalysedText),
    Known(Rc<AnalysedText>),
}

impl Analysed {
    pub(crate) fn into_parts(self) -> (Option<Statement>, Rest, Option<Rc<TagSet>>) {
        match self {
            Self::Fresh(text) => (text.first, text.rest, text.tags),
            Self::Known(text) => (text.first.clone(), text.rest.clone(), text.tags.clone()),
        }
    }
}

fn hash_text(text: Text<'_>, dialect: Dialect, types: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text.bytes);
    hasher.write(types);
    hasher.write_usize(
        text.bytes.len() << 2 | usize::from(text.is_cut) << 1 | usize::from(dialect.has_standard_strings),
    );
    hasher.finish()
}

/// What describing it tells, such as OIDs, holds in one database.
fn prepared_hash(text: Text<'_>, types: &[u8], dialect: Dialect, database: DatabaseIndex) -> u64 {
    mix(hash_text(text, dialect, types), database.number())
}

const fn slot(hash: u64) -> usize {
    (hash >> 20) as usize % TEXTS_MAX
}

fn parameters<'s>(scan: &'s Scan, statement: &StatementScan) -> &'s [Parameter] {
    let range = statement.parameters.start as usize..statement.parameters.end as usize;
    scan.parameters.get(range).unwrap_or(&[])
}

fn setting(text: &[u8], statement: &StatementScan) -> Option<Rc<SettingChange>> {
    let setting = statement.setting.as_ref()?;
    let token = setting.value.as_ref().and_then(|range| text.get(range.start as usize..range.end as usize));
    Some(Rc::new(SettingChange {
        name: setting.name,
        scope: setting.scope,
        value: token.map(|token| setting_value(&unquote(token))),
        placeholder: setting.placeholder,
    }))
}

/// What is kept of a setting's value.
fn setting_value(value: &[u8]) -> Box<[u8]> {
    value.get(..SETTING_BYTES_MAX).unwrap_or(value).into()
}

impl Statement {
    /// Whether nothing of it but its count has to be known: it changes no state of its session that is followed here.
    pub(crate) fn is_plain(&self) -> bool {
        let is_stateless = !matches!(self.command, Command::Declare | Command::Execute | Command::Prepare);
        self.command.is_counted() && is_stateless && self.setting.is_none() && self.definition.is_none()
    }

    /// The same statement of unknown values.
    pub(crate) fn without_values(&self) -> Self {
        Self { values: ParameterValues::default(), ..self.clone() }
    }
}

impl PreparedText {
    /// Completes `values`, those of the text, by those of the `Bind`. `unique` tells executions with a cut
    /// `Bind` apart: they must never look equal.
    ///
    /// # Errors
    /// [`Desync::MalformedBody`] when the body does not fit its own lengths.
    pub(crate) fn bind(
        &self,
        bind: &Bind<'_>,
        unique: u64,
        values: &mut ParameterValues,
    ) -> Result<Bound, Desync> {
        let setting = self.text.first.as_ref().and_then(|statement| statement.setting.as_deref());
        let mut setting_value = None;
        let mut setting_is_local = false;
        let mut keys: [Option<BoundKey>; KEYS_MAX] = Default::default();
        let types = self.types.borrow();
        let formats = bind.values(|index, bound| {
            let oid = types.get(index).copied().unwrap_or(0);
            let is_binary = bind.formats.is_binary(index);
            let usage = self.text.placeholders.iter().find(|it| it.numbers.contains(&index));
            let key = usage.and_then(|it| keys.get_mut(usize::from(it.key)));
            let mut push = |hash: u32, key: Option<&mut Option<BoundKey>>| match key {
                Some(key) => key.get_or_insert_with(BoundKey::new).push(hash),
                None => values.others_hash = mix(values.others_hash, u64::from(hash)),
            };
            let hash = bound.map_or(0, |bytes| hash_value(oid, is_binary, bytes));
            values.hash = mix(values.hash, u64::from(hash));
            match (bound, usage.is_some_and(|it| it.is_array), key) {
                (Some(array), true, Some(key)) => {
                    key.get_or_insert_with(BoundKey::new).push_array(array, is_binary)
                }
                (_, _, key) => push(hash, key),
            }
            if let Some(setting) = setting {
                let number = u16::try_from(index + 1).ok();
                if setting.placeholder.is_some() && setting.placeholder == number {
                    setting_value = bound.map(self::setting_value);
                }
                if let SettingScope::Bound(scope) = setting.scope
                    && Some(scope) == number
                {
                    setting_is_local = matches!(bound, Some([1] | [b't', ..] | b"1" | b"on" | b"yes"));
                }
            }
        })?;
        values.take(keys);
        if formats.is_none() {
            values.hash = mix(values.hash, unique);
        }
        let binary_columns = formats.as_ref().map(BinaryColumns::asked).unwrap_or_default();
        Ok(Bound { binary_columns, setting_value, setting_is_local })
    }
}
