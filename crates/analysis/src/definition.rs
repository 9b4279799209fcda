//! Statements that `PREPARE` has named, and the `EXECUTE`s that stand for them.
//!
//! To requests and findings an `EXECUTE` is the statement it runs, with its arguments as that one's parameters: else all
//! of them would be one shape. Statements that the protocol's own Parse has named are `execution.rs`'s.

use std::rc::Rc;

use pgtally_fingerprint::{Command, Dialect, Fingerprint, Scan};
use rustc_hash::FxHashMap;

use crate::limits::{DEFINITIONS_MAX, KEYS_MAX};
use crate::texts::Statement;
use crate::values::{KeyPlaceholders, ParameterValues};

/// The statement within a `PREPARE`.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) statement: Statement,
    pub(crate) placeholders: Vec<KeyPlaceholders>,
    /// Arguments it takes.
    pub(crate) parameters: usize,
}

impl Definition {
    /// The statement as an `EXECUTE` of its name runs it: with these arguments, or with some that nobody knows, which
    /// are never like others. `unique` tells those apart.
    pub(crate) fn execute(&self, arguments: Option<&ParameterValues>, unique: u64) -> Statement {
        let mut statement = self.statement.clone();
        let known = arguments.map(ParameterValues::keys).filter(|keys| {
            let has_lists = self.placeholders.iter().any(|it| it.is_array);
            keys.len() == self.parameters && !has_lists
        });
        match known {
            Some(arguments) => {
                let values = arguments.iter().map(|argument| argument.value);
                statement.values.complete(&self.placeholders, values);
            }
            None => statement.values.make_unique(unique),
        }
        statement
    }
}

/// What the `PREPARE`s of one session have defined, by the hash of the name; at most [`DEFINITIONS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Definitions(Option<Box<FxHashMap<u64, Rc<Definition>>>>);

impl Definitions {
    /// Whether there was room for it.
    pub(crate) fn define(&mut self, name_hash: u64, definition: &Rc<Definition>) -> bool {
        let known = self.0.get_or_insert_default();
        let has_room = known.len() < DEFINITIONS_MAX || known.contains_key(&name_hash);
        if has_room {
            known.insert(name_hash, Rc::clone(definition));
        }
        has_room
    }

    pub(crate) fn find(&self, name_hash: u64) -> Option<&Rc<Definition>> {
        self.0.as_ref()?.get(&name_hash)
    }

    pub(crate) fn forget(&mut self, name_hash: u64) {
        if let Some(known) = &mut self.0 {
            known.remove(&name_hash);
        }
    }

    pub(crate) fn forget_all(&mut self) {
        self.0 = None;
    }
}

/// The shapes of `EXECUTE`s whose arguments are literals and nothing else, by their number: of an expression the
/// literals in it tell nothing.
#[derive(Debug)]
pub(crate) struct PlainExecutes([Fingerprint; KEYS_MAX + 1]);

impl PlainExecutes {
    pub(crate) fn new() -> Self {
        let mut scan = Scan::new();
        Self(std::array::from_fn(|count| {
            let arguments = vec!["1"; count].join(",");
            let text = if count == 0 { "EXECUTE p".to_owned() } else { format!("EXECUTE p({arguments})") };
            scan.scan(text.as_bytes(), Dialect::default(), false);
            scan.statements.first().map(|it| it.fingerprint).unwrap_or_default()
        }))
    }

    /// The arguments of an `EXECUTE`, where they are known.
    pub(crate) fn arguments<'s>(&self, statement: &'s Statement) -> Option<&'s ParameterValues> {
        debug_assert_eq!(statement.command, Command::Execute);
        let plain = self.0.get(statement.values.keys().len());
        (plain == Some(&statement.shape.fingerprint)).then_some(&statement.values)
    }
}
