//! What the names in a FROM clause stand for, per query level.
//!
//! Only tables are told apart from "something derived" (subquery, function, CTE): a column of the latter has no table
//! that the tree alone could name.

/// One query level's FROM items by the name that columns use for them.
#[derive(Default)]
pub(crate) struct Scope {
    items: Vec<Item>,
}

struct Item {
    alias: String,
    /// Real name; `None` for a derived table.
    table: Option<String>,
}

/// The query levels around the current place, outermost first.
#[derive(Default)]
pub(crate) struct Scopes {
    levels: Vec<Scope>,
}

impl Scopes {
    pub(crate) fn enter(&mut self) {
        self.levels.push(Scope::default());
    }

    pub(crate) fn leave(&mut self) {
        self.levels.pop();
    }

    /// Adds a FROM item to the innermost level.
    pub(crate) fn add(&mut self, alias: &str, table: Option<&str>) {
        if let Some(level) = self.levels.last_mut() {
            level.items.push(Item { alias: alias.to_owned(), table: table.map(str::to_owned) });
        }
    }

    /// The table behind `alias`, looked up from the innermost level outwards.
    pub(crate) fn table_of(&self, alias: &str) -> Option<String> {
        let mut items = self.levels.iter().rev().flat_map(|level| &level.items);
        items.find(|item| item.alias == alias)?.table.clone()
    }

    /// The table of a column without qualifier: told only when its level has a single FROM item.
    pub(crate) fn only_table(&self) -> Option<String> {
        match self.levels.last()?.items.as_slice() {
            [item] => item.table.clone(),
            _ => None,
        }
    }
}
