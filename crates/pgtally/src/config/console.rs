//! `[console]`: the name of the virtual database, and who may use it.

use std::path::PathBuf;

use super::layers::Layers;
use super::values::some_text;

/// The SQL console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleSettings {
    /// Name of the virtual database; `None` for no console.
    pub database: Option<String>,
    /// Who may do everything.
    pub admins: Vec<String>,
    /// Who may only look.
    pub viewers: Vec<String>,
    /// Their SCRAM verifiers, where logins are not checked here anyway.
    pub auth_file: Option<PathBuf>,
}

/// Reads `[console]`.
pub(super) fn console_settings(layers: &mut Layers) -> ConsoleSettings {
    let database = layers.or("console.database", "pgtally", some_text);
    ConsoleSettings {
        database: Some(database).filter(|database| database != "off"),
        admins: layers.list("console.admins", some_text).unwrap_or_default(),
        viewers: layers.list("console.viewers", some_text).unwrap_or_default(),
        auth_file: layers.one("console.auth_file", some_text).map(PathBuf::from),
    }
}
