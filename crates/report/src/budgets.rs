//! Budgets: the most that a request of a route, or a test, may run, as a file in git says.
//!
//! ```toml
//! [defaults]                      # for requests without a budget of their own; all optional
//! tolerance = "10%"
//!
//! [budgets."GET /orders"]         # a route or a test's id; * stands for any characters
//! max_queries = 7                 # counted statements of one request
//! max_repeat = 2                  # executions of one statement in one request
//! max_db_ms = 50                  # milliseconds of its statements
//! tolerance = 1                   # statements, or a share such as "10%"
//! warm_up = 1                     # first requests that are not looked at
//! ```
//!
//! Read next: `update.rs` (writing measured values into the file, comments and order kept).

mod update;

use std::fmt;

use pgtally_analysis::{Tolerance, is_like};
use toml_edit::{Document, Item, TableLike};

pub use self::update::update;

/// Budgets of one file: one with more is no longer read by people.
const BUDGETS_MAX: usize = 20_000;
const KEYS: &str = "max_queries, max_repeat, max_db_ms, tolerance and warm_up";

/// What a file of budgets says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budgets {
    /// For requests without a budget of their own.
    pub defaults: Budget,
    /// Single ones in the order of the file.
    pub budgets: Vec<Budget>,
}

/// The most that one request may run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// Route or test; `*` stands for any characters. Empty for the defaults.
    pub name: String,
    /// Counted statements.
    pub max_queries: Option<u64>,
    /// Executions of one statement.
    pub max_repeat: Option<u64>,
    /// Milliseconds of all statements.
    pub max_db_ms: Option<f64>,
    /// How far above these it may be.
    pub tolerance: Option<Tolerance>,
    /// First requests that are not looked at.
    pub warm_up: Option<u64>,
}

/// One thing wrong with a file of budgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetError {
    /// Path in the file, such as `budgets."GET /orders".max_queries`.
    pub path: String,
    /// 1-based line, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.problem)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

impl Budgets {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Everything wrong with it at once.
    pub fn parse(text: &str) -> Result<Self, Vec<BudgetError>> {
        let document = Document::parse(text).map_err(|error| vec![not_toml(&error, text)])?;
        let mut reading = Reading { text, errors: Vec::new() };
        let mut budgets = Self::default();
        for (name, item) in document.as_table() {
            match (name, item.as_table_like()) {
                ("defaults", Some(table)) => budgets.defaults = reading.budget("defaults", "", table),
                ("budgets", Some(table)) => budgets.budgets = reading.budgets(table),
                ("budgets" | "defaults", None) => reading.refuse(name, item, "not a table", ""),
                _ => reading.refuse(name, item, "no such section", "there are defaults and budgets.\"NAME\""),
            }
        }
        if budgets.budgets.len() > BUDGETS_MAX {
            let problem = format!("more than {BUDGETS_MAX} budgets");
            reading.errors.push(BudgetError {
                path: "budgets".into(),
                line: None,
                problem,
                hint: String::new(),
            });
        }
        if reading.errors.is_empty() { Ok(budgets) } else { Err(reading.errors) }
    }

    /// The budget of a route: its own, else that of the longest pattern that fits, else the defaults where the
    /// application named the request itself. What it leaves open, the defaults say.
    #[must_use]
    pub fn of(&self, route: &str, is_named: bool) -> Option<Budget> {
        let exact = self.budgets.iter().find(|it| it.name == route);
        let pattern = || {
            let fitting = self.budgets.iter().filter(|it| it.name.contains('*') && is_like(route, &it.name));
            fitting.max_by_key(|it| it.name.len())
        };
        // Units are guessed from the wire: only what names them on purpose holds them to anything.
        let own = exact.or_else(|| is_named.then(pattern).flatten());
        match own {
            Some(own) => Some(own.or(&self.defaults, is_named)),
            None => is_named.then(|| Budget { name: route.into(), ..self.defaults.clone() }),
        }
    }
}

impl Budget {
    fn or(&self, defaults: &Budget, is_named: bool) -> Budget {
        let limits = if is_named { defaults.clone() } else { Budget::default() };
        Budget {
            name: self.name.clone(),
            max_queries: self.max_queries.or(limits.max_queries),
            max_repeat: self.max_repeat.or(limits.max_repeat),
            max_db_ms: self.max_db_ms.or(limits.max_db_ms),
            tolerance: self.tolerance.or(defaults.tolerance),
            warm_up: self.warm_up.or(defaults.warm_up),
        }
    }

    /// Whether it limits anything.
    #[must_use]
    pub fn is_limiting(&self) -> bool {
        self.max_queries.is_some() || self.max_repeat.is_some() || self.max_db_ms.is_some()
    }
}

struct Reading<'t> {
    text: &'t str,
    errors: Vec<BudgetError>,
}

impl Reading<'_> {
    fn refuse(&mut self, path: &str, item: &Item, problem: &str, hint: &str) {
        let line = item.span().and_then(|span| line_of(self.text, span.start));
        self.errors.push(BudgetError { path: path.into(), line, problem: problem.into(), hint: hint.into() });
    }

    fn budgets(&mut self, table: &dyn TableLike) -> Vec<Budget> {
        let mut budgets = Vec::new();
        for (name, item) in table.iter() {
            let path = format!("budgets.\"{name}\"");
            match item.as_table_like() {
                Some(table) => budgets.push(self.budget(&path, name, table)),
                None => self.refuse(&path, item, "not a table", "write [budgets.\"NAME\"] above its limits"),
            }
        }
        budgets
    }

    fn budget(&mut self, path: &str, name: &str, table: &dyn TableLike) -> Budget {
        let mut budget = Budget { name: name.into(), ..Budget::default() };
        for (key, item) in table.iter() {
            let path = format!("{path}.{key}");
            match key {
                "max_queries" => budget.max_queries = self.count(&path, item),
                "max_repeat" => budget.max_repeat = self.count(&path, item),
                "max_db_ms" => budget.max_db_ms = self.milliseconds(&path, item),
                "tolerance" => budget.tolerance = self.tolerance(&path, item),
                "warm_up" => budget.warm_up = self.count(&path, item),
                _ => self.refuse(&path, item, "no such setting", &format!("there are {KEYS}")),
            }
        }
        budget
    }

    fn count(&mut self, path: &str, item: &Item) -> Option<u64> {
        let count = item.as_integer().and_then(|it| u64::try_from(it).ok());
        if count.is_none() {
            self.refuse(path, item, "not a number of 0 or more", "write a whole number without quotes");
        }
        count
    }

    fn milliseconds(&mut self, path: &str, item: &Item) -> Option<f64> {
        let number = item.as_float().or_else(|| item.as_integer().map(|it| it as f64));
        let number = number.filter(|it| it.is_finite() && *it >= 0.0);
        if number.is_none() {
            self.refuse(path, item, "not a number of milliseconds", "write a number without quotes");
        }
        number
    }

    fn tolerance(&mut self, path: &str, item: &Item) -> Option<Tolerance> {
        let text = item.as_integer().map(|it| it.to_string()).or_else(|| item.as_str().map(str::to_owned));
        let read = text.as_deref().map(parse_tolerance);
        if let Some(Ok(tolerance)) = read {
            return Some(tolerance);
        }
        self.refuse(path, item, "neither a number of statements nor a share", "write 2 or \"10%\"");
        None
    }
}

/// Reads `2` (statements) or `10%`.
///
/// # Errors
/// Words that say how it is written.
pub fn parse_tolerance(text: &str) -> Result<Tolerance, String> {
    let wrong = || "write a number of statements, or a share such as 10%".to_owned();
    match text.trim().strip_suffix('%') {
        Some(share) => {
            let share = share.trim().parse::<f64>().ok().filter(|it| (0.0..=1_000.0).contains(it));
            Ok(Tolerance { count: 0, share: share.ok_or_else(wrong)? / 100.0 })
        }
        None => Ok(Tolerance { count: text.trim().parse().map_err(|_| wrong())?, share: 0.0 }),
    }
}

fn not_toml(error: &toml_edit::TomlError, text: &str) -> BudgetError {
    BudgetError {
        path: String::new(),
        line: error.span().and_then(|span| line_of(text, span.start)),
        problem: format!("this is no TOML: {}", error.message().replace('\n', " ")),
        hint: "names with dots, slashes or blanks need quotes: [budgets.\"GET /orders\"]".into(),
    }
}

fn line_of(text: &str, offset: usize) -> Option<usize> {
    Some(text.get(..offset)?.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests;
