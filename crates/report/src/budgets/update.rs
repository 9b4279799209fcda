//! Writes measured values into a file of budgets. Comments, order, and everything that was not measured stay.

use toml_edit::{DocumentMut, Item, Table, Value};

use super::{BudgetError, Budgets, not_toml};
use crate::capture::{Capture, Route};

const HEADER: &str = "\
# The most that a request of a route, or a test, may run. `pgtally run --update-budgets` writes measured values here.
";

/// The file's text with the values of `capture` for every route that the application named: budgets that are there
/// follow what was measured, new ones are added at the end. Times are only raised, and never added, as they depend on
/// the machine. What a pattern covers gets no budget of its own.
///
/// # Errors
/// Everything wrong with the file as it is.
pub fn update(text: &str, capture: &Capture) -> Result<String, Vec<BudgetError>> {
    let budgets = Budgets::parse(text)?;
    let mut document: DocumentMut = text.parse().map_err(|error| vec![not_toml(&error, text)])?;
    if text.trim().is_empty() {
        document.decor_mut().set_prefix(HEADER);
    }
    let measured = capture.routes.iter().filter(|route| route.is_named() && route.requests > 0);
    for (name, route) in worst_by_name(measured) {
        let is_covered = || budgets.of(name, true).is_some_and(|budget| budget.name != name);
        let is_own = budgets.budgets.iter().any(|it| it.name == name);
        if is_own || !is_covered() {
            write(&mut document, name, &route);
        }
    }
    Ok(document.to_string())
}

/// What a route needs at most, whatever the level at which its requests were recognised.
struct Measured {
    queries: u64,
    repeat: u64,
    db_ms: f64,
}

fn worst_by_name<'c>(
    routes: impl Iterator<Item = &'c Route>,
) -> std::collections::BTreeMap<&'c str, Measured> {
    let mut all = std::collections::BTreeMap::new();
    for route in routes {
        let it: &mut Measured =
            all.entry(route.route.as_str()).or_insert(Measured { queries: 0, repeat: 0, db_ms: 0.0 });
        it.queries = it.queries.max(route.queries.max);
        it.repeat = it.repeat.max(route.repeat_max.into());
        it.db_ms = it.db_ms.max(route.db_ms_max);
    }
    all
}

fn write(document: &mut DocumentMut, name: &str, measured: &Measured) {
    let budgets = document.as_table_mut().entry("budgets").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let Some(budgets) = budgets.as_table_like_mut() else { return };
    if let Some(own) = budgets.get_mut(name).and_then(Item::as_table_like_mut) {
        for (key, count) in [("max_queries", measured.queries), ("max_repeat", measured.repeat)] {
            if let Some(value) = own.get_mut(key).and_then(Item::as_value_mut) {
                put(value, integer(count).into());
            }
        }
        if let Some(value) = own.get_mut("max_db_ms").and_then(Item::as_value_mut) {
            let allowed = value.as_float().or_else(|| value.as_integer().map(|it| it as f64));
            if allowed.is_some_and(|allowed| allowed < measured.db_ms) {
                put(value, (measured.db_ms.ceil() as i64).into());
            }
        }
        return;
    }
    let mut table = Table::new();
    table.insert("max_queries", toml_edit::value(integer(measured.queries)));
    table.insert("max_repeat", toml_edit::value(integer(measured.repeat)));
    budgets.insert(name, Item::Table(table));
}

/// Replaces a value, not the blanks and comments around it.
fn put(value: &mut Value, new: Value) {
    let decor = value.decor().clone();
    *value = new;
    *value.decor_mut() = decor;
}

fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
