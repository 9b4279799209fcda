//! Whether a read's answer depends on tables and its key alone, and on which tables.

use std::collections::BTreeSet;

use pgtally_fingerprint::{Access, Function, Table};
use rustc_hash::FxHashSet;

use super::rows::{FunctionId, Relation, RelationKind, Routine, Volatility};
use super::{Catalog, builtin, is_system, is_temporary, policy, refused};
use crate::facts::{BypassReason, ReadSet, TableId};

/// Tables the answer depends on.
///
/// # Errors
///
/// The first reason found why it depends on more.
pub(super) fn closure(catalog: &Catalog, access: &Access) -> Result<ReadSet, BypassReason> {
    let mut closure = Closure { catalog, seen: FxHashSet::default(), pending: Vec::new(), security: None };
    closure.query(access)?;
    while let Some(relation) = closure.pending.pop() {
        closure.relation(relation)?;
    }
    let tables = ReadSet::of(closure.seen);
    Ok(match closure.security {
        None => tables,
        Some(settings) => tables.secured_by(settings),
    })
}

struct Closure<'c> {
    catalog: &'c Catalog,
    seen: FxHashSet<TableId>,
    pending: Vec<&'c Relation>,
    /// Settings that row security asks for, where there is any.
    security: Option<BTreeSet<Box<str>>>,
}

impl<'c> Closure<'c> {
    /// The statement, or the query of a view.
    fn query(&mut self, access: &Access) -> Result<(), BypassReason> {
        if let Some(reason) = refused(access.refusal) {
            return Err(reason);
        }
        access.reads.iter().try_for_each(|table| self.table(table))?;
        access.functions.iter().try_for_each(|function| self.call(function))?;
        self.catalog.implied(access).try_for_each(|id| self.function(id))?;
        if access.types.iter().any(|it| builtin::is_catalog_type(&it.name)) {
            return Err(BypassReason::SystemCatalog);
        }
        Ok(())
    }

    fn table(&mut self, table: &Table) -> Result<(), BypassReason> {
        if is_temporary(table) {
            return Err(BypassReason::Temporary);
        }
        if is_system(table) {
            return Err(BypassReason::SystemCatalog);
        }
        let mut relations = self.catalog.named(table.schema.as_deref(), &table.name).peekable();
        if relations.peek().is_none() {
            return Err(BypassReason::UnknownTable);
        }
        relations.for_each(|relation| self.follow(relation));
        Ok(())
    }

    fn follow(&mut self, relation: &'c Relation) {
        if self.seen.insert(relation.id) {
            self.pending.push(relation);
        }
    }

    fn relation(&mut self, relation: &'c Relation) -> Result<(), BypassReason> {
        let catalog = self.catalog;
        match relation.kind {
            RelationKind::Foreign => return Err(BypassReason::ForeignTable),
            RelationKind::Sequence => return Err(BypassReason::Sequence),
            RelationKind::View => {
                self.query(catalog.views.get(&relation.id).ok_or(BypassReason::NotParsed)?)?
            }
            RelationKind::Materialized | RelationKind::Table => {}
        }
        if relation.has_row_security {
            self.secured(relation).ok_or(BypassReason::RowSecurity)?;
        }
        if relation.is_unlogged {
            return Err(BypassReason::Unlogged);
        }
        let logins = &catalog.login_writes;
        if logins.is_everything() || logins.tables().contains(&relation.id) {
            return Err(BypassReason::LoginTrigger);
        }
        for child in catalog.children_of(relation.id) {
            self.follow(catalog.relation(*child).ok_or(BypassReason::UnknownTable)?);
        }
        Ok(())
    }

    /// Follows the table's policies; `None` where one of them depends on more than tables, settings and the user.
    fn secured(&mut self, relation: &Relation) -> Option<()> {
        let catalog = self.catalog;
        self.security.get_or_insert_default();
        for policy in catalog.policies.get(&relation.id).into_iter().flatten() {
            let settings = policy.settings.as_ref()?;
            self.policy(&policy.access).ok()?;
            self.security.get_or_insert_default().extend(settings.iter().cloned());
        }
        Some(())
    }

    fn policy(&mut self, access: &Access) -> Result<(), BypassReason> {
        let is_asking = |function: &Function| function.name == policy::ASKS_SETTING;
        // What it asks for is told by `RowPolicy::settings`, and so is whether its refusal counts.
        let (asking, functions): (Vec<_>, Vec<_>) = access.functions.iter().cloned().partition(is_asking);
        let are_own =
            asking.iter().flat_map(|function| self.catalog.called(function)).all(|it| it.is_builtin);
        if !are_own {
            return Err(BypassReason::Function);
        }
        self.query(&Access { functions, refusal: None, ..access.clone() })
    }

    fn call(&self, function: &Function) -> Result<(), BypassReason> {
        let mut routines = self.catalog.called(function).peekable();
        if routines.peek().is_none() {
            return Err(BypassReason::Function);
        }
        routines.try_for_each(may_be_called)
    }

    fn function(&self, id: FunctionId) -> Result<(), BypassReason> {
        may_be_called(self.catalog.routine(id).ok_or(BypassReason::Function)?)
    }
}

fn may_be_called(routine: &Routine) -> Result<(), BypassReason> {
    let is_harmless = match routine.volatility {
        Volatility::Immutable => true,
        Volatility::Stable => routine.is_builtin && builtin::is_stable_by_settings(&routine.name),
        Volatility::Volatile => false,
    };
    if is_harmless { Ok(()) } else { Err(BypassReason::Function) }
}
