//! What the observer attaches to the messages of a conversation.

use std::rc::Rc;

use pgtally_protocol::frontend::Bind;
use pgtally_protocol::{Attachments, Desync, backend};

use crate::columns::{BinaryColumns, ColumnPlan, RowHashes, WideCells};
use crate::part::RecordPlace;
use crate::record::Moment;
use crate::tagset::TagSet;
use crate::texts::{Analysed, PreparedText, Rest, Statement};
use crate::values::ParameterValues;

/// The attachments of an observed conversation.
#[derive(Debug)]
pub(crate) struct Observed;

impl Attachments for Observed {
    type Prepared = PreparedEntry;
    type Execution = Execution;
    type Mark = Mark;
}

/// When and how a `Query` or `Execute` was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) sent: Moment,
    /// Nothing was running when it was sent.
    pub(crate) is_round_trip: bool,
}

/// A prepared statement of one session.
#[derive(Clone, Debug)]
pub(crate) struct PreparedEntry {
    pub(crate) text: Rc<PreparedText>,
    /// Hash of its name as a DEALLOCATE would tell it.
    pub(crate) name_hash: u64,
    /// Not executed since its Parse: the tags of its text are of the current request.
    pub(crate) is_fresh: bool,
}

impl PreparedEntry {
    /// Takes over the columns of a `RowDescription`.
    pub(crate) fn describe(&self, body: &[u8]) {
        let known = self.text.text.first.as_ref().and_then(|statement| statement.shape.plan.borrow().clone());
        let plan = ColumnPlan::of(body, known.as_ref());
        self.remember(&plan);
    }

    fn remember(&self, plan: &Rc<ColumnPlan>) {
        *self.text.columns.borrow_mut() = Some(Rc::clone(plan));
        if let Some(statement) = &self.text.text.first {
            *statement.shape.plan.borrow_mut() = Some(Rc::clone(plan));
        }
    }

    /// Takes over the types of a `ParameterDescription`.
    pub(crate) fn learn_types(&self, body: &[u8]) {
        let mut types = self.text.types.borrow_mut();
        types.clear();
        backend::parameter_description(body, |oid| types.push(oid));
    }
}

/// Progress of the statement that runs.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) is_begun: bool,
    /// When the server could begin it: sent, and the answer before it complete.
    pub(crate) sent: Moment,
    /// First message of its answer.
    pub(crate) first_answer: Moment,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) first_row: RowHashes,
    /// `first_row` waits for a second row to be sampled with.
    pub(crate) has_held_row: bool,
    /// Recorder's serial and index of the sample its rows go to.
    pub(crate) sample: Option<(u32, usize)>,
    /// The widest column of its wide rows.
    pub(crate) wide: Option<WideCells>,
    /// Where it was recorded.
    pub(crate) place: Option<RecordPlace>,
    /// An earlier Execute of the same portal was suspended.
    is_resumed: bool,
}

impl Run {
    pub(crate) fn begin(&mut self, sent: Moment, now: Moment) {
        self.is_begun = true;
        self.sent = sent;
        self.first_answer = now;
    }

    pub(crate) const fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// The row limit was reached; the next Execute goes on.
    ///
    /// Its sample is looked up again then: others may have taken the place.
    pub(crate) fn suspend(&mut self) {
        *self = Self {
            first_row: self.first_row,
            has_held_row: self.has_held_row,
            place: self.place,
            is_resumed: true,
            ..Self::default()
        };
    }
}

/// A `Query`, or a bound portal.
#[derive(Debug)]
pub(crate) struct Execution {
    first: Option<Statement>,
    rest: Rest,
    /// Statements of the text that have completed.
    done: usize,
    pub(crate) tags: Option<Rc<TagSet>>,
    pub(crate) has_fresh_tags: bool,
    pub(crate) columns: Option<Rc<ColumnPlan>>,
    /// The prepared statement it was bound from: its columns may be described only after the `Bind`.
    source: Option<Rc<PreparedText>>,
    pub(crate) binary_columns: BinaryColumns,
    pub(crate) setting_value: Option<Box<[u8]>>,
    pub(crate) setting_is_local: bool,
    is_query: bool,
    pub(crate) run: Run,
}

impl Execution {
    /// An execution of a statement that is not tracked.
    pub(crate) fn unknown() -> Self {
        Self {
            first: None,
            rest: None,
            done: 0,
            tags: None,
            has_fresh_tags: false,
            columns: None,
            source: None,
            binary_columns: BinaryColumns::default(),
            setting_value: None,
            setting_is_local: false,
            is_query: false,
            run: Run::default(),
        }
    }

    /// `is_crowded`: too much is pending to keep more than the first statement of a text.
    pub(crate) fn of_query(analysed: Analysed, is_crowded: bool) -> Self {
        let (first, rest, tags) = analysed.into_parts();
        let rest = rest.filter(|_| !is_crowded);
        Self { first, rest, tags, has_fresh_tags: true, is_query: true, ..Self::unknown() }
    }

    /// # Errors
    /// [`Desync::MalformedBody`] when the `Bind` does not fit its own lengths.
    pub(crate) fn of_bind(
        prepared: &mut PreparedEntry,
        bind: &Bind<'_>,
        unique: u64,
    ) -> Result<Self, Desync> {
        let mut first = prepared.text.text.first.clone();
        let mut unused = ParameterValues::default();
        let values = first.as_mut().map_or(&mut unused, |first| &mut first.values);
        let bound = prepared.text.bind(bind, unique, values)?;
        Ok(Self {
            first,
            tags: prepared.text.text.tags.clone(),
            has_fresh_tags: std::mem::replace(&mut prepared.is_fresh, false),
            columns: prepared.text.columns.borrow().clone(),
            source: Some(Rc::clone(&prepared.text)),
            binary_columns: bound.binary_columns,
            setting_value: bound.setting_value,
            setting_is_local: bound.setting_is_local,
            ..Self::unknown()
        })
    }

    /// The statement that runs; `None` when its text is not known.
    pub(crate) fn statement(&self) -> Option<&Statement> {
        match self.done.checked_sub(1) {
            None => self.first.as_ref(),
            Some(index) => self.rest.as_ref()?.get(index),
        }
    }

    /// What runs in the place of the `EXECUTE` of its name.
    pub(crate) fn stand_in(&mut self, statement: Statement) {
        let place = match self.done.checked_sub(1) {
            None => self.first.as_mut(),
            Some(index) => self.rest.as_mut().and_then(|rest| Rc::make_mut(rest).get_mut(index)),
        };
        if let Some(place) = place {
            *place = statement;
        }
    }

    /// Takes over the columns of its prepared statement when those of the portal were not described: tokio-postgres
    /// sends `Parse`, `Bind`, `Describe` of the statement, `Execute` in one go.
    pub(crate) fn learn_columns(&mut self) {
        if self.columns.is_none() {
            self.columns = self.source.as_ref().and_then(|source| source.columns.borrow().clone());
        }
    }

    /// Whether the statement that runs is the first of its text.
    pub(crate) const fn is_first(&self) -> bool {
        self.done == 0
    }

    /// Whether this is a `Query` of which nothing has run: an error may concern all of it.
    pub(crate) const fn is_untouched_query(&self) -> bool {
        self.is_query && self.done == 0 && !self.run.is_begun
    }

    /// Takes over the columns of a `RowDescription`.
    pub(crate) fn describe(&mut self, body: &[u8]) {
        let Some(statement) = self.statement() else { return };
        let known = statement.shape.plan.borrow().clone();
        let plan = ColumnPlan::of(body, known.as_ref());
        if !known.is_some_and(|known| Rc::ptr_eq(&known, &plan)) {
            *statement.shape.plan.borrow_mut() = Some(Rc::clone(&plan));
        }
        if self.is_query {
            self.binary_columns = plan.described;
        }
        self.columns = Some(plan);
    }

    /// The statement that ran is over; the next one of the text follows. A portal has none: executing it once more
    /// gives no rows and is no new statement.
    pub(crate) fn advance(&mut self) {
        if !self.is_query {
            return self.run.suspend();
        }
        self.done += 1;
        self.run = Run::default();
        self.columns = None;
    }
}
