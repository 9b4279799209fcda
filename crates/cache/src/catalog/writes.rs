//! Everything that may change when a statement is executed.

use pgtally_fingerprint::{Access, Effect, Function, Table};
use rustc_hash::FxHashSet;

use super::rows::{FunctionId, RelationKind, Routine, Volatility};
use super::{Catalog, builtin, is_system, is_temporary};
use crate::facts::{TableId, WriteSet};

/// What a statement writes, and whether it may change its session.
pub(super) struct Written {
    pub(super) set: WriteSet,
    pub(super) changes_session: bool,
}

pub(super) fn closure(catalog: &Catalog, access: &Access) -> Written {
    let mut closure = Closure::new(catalog);
    closure.statement(access);
    closure.finish()
}

/// What these functions write.
pub(super) fn of_functions(catalog: &Catalog, functions: &[FunctionId]) -> WriteSet {
    let mut closure = Closure::new(catalog);
    functions.iter().for_each(|id| closure.follow(Step::Function(*id)));
    closure.follow_all();
    closure.finish().set
}

/// One thing to follow.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Function(FunctionId),
    /// Rows are added and nothing else: no key's action follows.
    Inserted(TableId),
    /// The policies of a table are applied.
    Policed(TableId),
    /// A view's query is executed.
    Viewed(TableId),
    Written(TableId),
}

struct Closure<'c> {
    catalog: &'c Catalog,
    tables: Vec<TableId>,
    is_everything: bool,
    is_catalog: bool,
    may_define: bool,
    changes_session: bool,
    seen: FxHashSet<Step>,
    pending: Vec<Step>,
}

impl<'c> Closure<'c> {
    fn new(catalog: &'c Catalog) -> Self {
        Self {
            catalog,
            tables: Vec::new(),
            is_everything: false,
            is_catalog: false,
            may_define: false,
            changes_session: false,
            seen: FxHashSet::default(),
            pending: Vec::new(),
        }
    }

    fn finish(self) -> Written {
        let changes_session = self.changes_session;
        let set = match self {
            Self { is_catalog: true, .. } => WriteSet::catalog(),
            Self { may_define: true, .. } => WriteSet::unknown(),
            Self { is_everything: true, .. } => WriteSet::everything(),
            Self { tables, .. } => WriteSet::of(tables),
        };
        Written { set, changes_session }
    }

    fn statement(&mut self, access: &Access) {
        self.access(access);
        self.follow_all();
    }

    fn follow_all(&mut self) {
        while let Some(step) = self.pending.pop() {
            match step {
                Step::Function(id) => self.function(id),
                Step::Inserted(id) => self.table(id, false),
                Step::Policed(id) => self.policies(id),
                Step::Viewed(id) => self.view_is_read(id),
                Step::Written(id) => self.table(id, true),
            }
        }
    }

    fn follow(&mut self, step: Step) {
        if self.seen.insert(step) {
            self.pending.push(step);
        }
    }

    /// Rows of any table.
    fn any_table(&mut self) {
        (self.is_everything, self.changes_session) = (true, true);
    }

    /// Text that nobody has read.
    fn unknown(&mut self) {
        self.any_table();
        self.may_define = true;
    }

    /// A statement, or all those of a function's body.
    fn access(&mut self, access: &Access) {
        match access.effect {
            Effect::Catalog => (self.is_catalog, self.changes_session) = (true, true),
            Effect::Everything | Effect::Execute => {
                self.any_table();
                self.may_define |= self.catalog.may_define;
            }
            Effect::Session => self.changes_session = true,
            Effect::Nothing | Effect::Prepare | Effect::Rows | Effect::Transaction => {}
        }
        for table in &access.writes {
            self.written(table, access.only_inserts);
        }
        for table in &access.reads {
            self.read(table);
        }
        for function in &access.functions {
            self.call(function);
        }
        for function in self.catalog.implied(access) {
            self.follow(Step::Function(function));
        }
    }

    fn written(&mut self, table: &Table, only_inserts: bool) {
        if is_temporary(table) {
            return;
        }
        if is_system(table) {
            // A write to `pg_settings` is a `SET`.
            (self.is_catalog, self.changes_session) = (true, true);
            return;
        }
        let ids: Vec<TableId> = self.catalog.tables(table.schema.as_deref(), &table.name).collect();
        if ids.is_empty() {
            self.any_table();
        }
        for id in ids {
            self.follow(if only_inserts { Step::Inserted(id) } else { Step::Written(id) });
        }
    }

    /// Reading writes nothing, but what a view or a policy calls is called.
    fn read(&mut self, table: &Table) {
        let catalog = self.catalog;
        for relation in catalog.named(table.schema.as_deref(), &table.name) {
            match relation.kind {
                RelationKind::View => self.follow(Step::Viewed(relation.id)),
                _ if relation.has_row_security => self.follow(Step::Policed(relation.id)),
                _ => {}
            }
        }
    }

    fn policies(&mut self, id: TableId) {
        let catalog = self.catalog;
        catalog.policies.get(&id).into_iter().flatten().for_each(|policy| self.access(&policy.access));
    }

    fn view_is_read(&mut self, id: TableId) {
        match self.catalog.views.get(&id) {
            Some(access) => self.access(access),
            None => self.unknown(),
        }
    }

    fn table(&mut self, id: TableId, moves_keys: bool) {
        let catalog = self.catalog;
        let Some(relation) = catalog.relation(id) else {
            self.unknown();
            return;
        };
        self.tables.push(id);
        match relation.kind {
            // Who knows where it writes to: it may be another table of this database.
            RelationKind::Foreign => self.any_table(),
            RelationKind::View => self.view_is_written(id, moves_keys),
            RelationKind::Materialized | RelationKind::Sequence | RelationKind::Table => {}
        }
        if relation.has_rules {
            self.unknown();
        }
        if relation.has_row_security {
            self.follow(Step::Policed(id));
        }
        let step = if moves_keys { Step::Written } else { Step::Inserted };
        for child in catalog.children_of(id) {
            self.follow(step(*child));
        }
        if moves_keys {
            for child in catalog.cascades.get(&id).into_iter().flatten() {
                self.follow(Step::Written(*child));
            }
        }
        for function in catalog.calls.get(&id).into_iter().flatten() {
            self.follow(Step::Function(*function));
        }
    }

    /// PostgreSQL writes to one of the tables of the view's query; which one is not asked.
    fn view_is_written(&mut self, id: TableId, moves_keys: bool) {
        let catalog = self.catalog;
        if let Some(access) = catalog.views.get(&id) {
            access.reads.iter().for_each(|table| self.written(table, !moves_keys));
        }
        self.follow(Step::Viewed(id));
    }

    fn call(&mut self, function: &Function) {
        let catalog = self.catalog;
        let mut routines = catalog.called(function).peekable();
        if routines.peek().is_none() {
            self.unknown();
        }
        for routine in routines {
            self.follow(Step::Function(routine.id));
        }
    }

    fn function(&mut self, id: FunctionId) {
        match self.catalog.routine(id) {
            Some(routine) => self.routine(routine),
            None => self.unknown(),
        }
    }

    fn routine(&mut self, routine: &'c Routine) {
        let is_volatile = routine.volatility == Volatility::Volatile;
        self.changes_session |= routine.is_builtin && routine.name == "set_config";
        match &routine.body {
            _ if routine.is_builtin && builtin::writes_no_rows(&routine.name, is_volatile) => {}
            // Nothing keeps a STABLE one from calling `set_config`, or a function that writes.
            None if !routine.is_builtin && routine.volatility == Volatility::Immutable => {}
            Some(body) => self.access(body),
            None => {
                self.any_table();
                self.may_define |= routine.may_define;
            }
        }
    }
}
