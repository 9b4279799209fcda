//! Layers of settings as they were written, and the collecting of errors over all of them.
//!
//! The `config` crate reads file and environment; here every value is a list of texts with its origin, so that one
//! parser per setting serves all layers and its error can say where the value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use config::{Environment, File, FileFormat, Source, Value, ValueKind};

use super::Flag;

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Path of the setting, such as `relay.upstream`.
    pub path: String,
    /// Where the value was written.
    pub origin: String,
    /// What is wrong. Never repeats the value, which may be a secret.
    pub problem: String,
    /// What to do, where there is more to say.
    pub hint: String,
}

/// Everything wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}: {} (from {})", error.path, error.problem, error.origin)?;
            if !error.hint.is_empty() {
                write!(f, "; {}", error.hint)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A value as it was written.
struct Written {
    texts: Vec<String>,
    origin: String,
}

/// All layers, the stronger already laid over the weaker.
pub(super) struct Layers {
    written: BTreeMap<String, Written>,
    errors: Vec<ConfigError>,
}

impl Layers {
    pub(super) fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = Flag>,
    ) -> Self {
        let mut layers = Self { written: BTreeMap::new(), errors: Vec::new() };
        let environment: Vec<_> = environment.into_iter().collect();
        let database_url = environment.iter().find(|(name, _)| name == "DATABASE_URL");
        if let Some((name, url)) = database_url {
            let written = Written { texts: vec![url.clone()], origin: name.clone() };
            layers.written.insert("relay.upstream".into(), written);
        }
        if let Some(path) = file {
            layers.read_file(path);
        }
        layers.read_environment(environment);
        for (path, texts) in flags {
            layers.written.insert(path.into(), Written { texts, origin: "the command line".into() });
        }
        layers
    }

    fn read_file(&mut self, path: &Path) {
        let origin = path.display().to_string();
        match File::from(path).format(FileFormat::Toml).collect() {
            Ok(table) => self.flatten("", table, &origin),
            Err(error) => self.errors.push(ConfigError {
                path: "--config".into(),
                origin,
                problem: error.to_string(),
                hint: String::new(),
            }),
        }
    }

    fn read_environment(&mut self, environment: Vec<(String, String)>) {
        let names: BTreeMap<_, _> =
            environment.iter().map(|(name, _)| (name.to_lowercase(), name.clone())).collect();
        let variables = environment.into_iter().collect();
        let source = Environment::with_prefix("PGTALLY").prefix_separator("__").separator("__");
        // Reading a given map cannot fail; a refusal here would be the crate's own change of mind.
        let Ok(table) = source.source(Some(variables)).collect() else { return };
        for (path, value) in table {
            let variable = format!("pgtally__{}", path.replace('.', "__"));
            let origin = names.get(&variable).cloned().unwrap_or_else(|| variable.to_uppercase());
            self.lay(path, value, &origin);
        }
    }

    fn flatten(&mut self, prefix: &str, table: config::Map<String, Value>, origin: &str) {
        for (key, value) in table {
            let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            match value.kind {
                ValueKind::Table(inner) => self.flatten(&path, inner, origin),
                _ => self.lay(path, value, origin),
            }
        }
    }

    fn lay(&mut self, path: String, value: Value, origin: &str) {
        let texts: Result<_, _> = match value.kind {
            ValueKind::Array(values) => values.into_iter().map(Value::into_string).collect(),
            _ => value.into_string().map(|text| vec![text]),
        };
        // What holds more than texts must not count as if nothing had been written.
        let texts = texts.unwrap_or_else(|_| {
            self.push(&path, origin, "not a plain value, nor a list of plain values", "");
            Vec::new()
        });
        self.written.insert(path, Written { texts, origin: origin.into() });
    }

    /// The setting's one value, if it was written and can be read.
    pub(super) fn one<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let written = self.written.remove(path)?;
        match written.texts.as_slice() {
            [text] => self.parse(path, text, &written.origin, &parse),
            _ => {
                self.push(path, &written.origin, "exactly one value is wanted", "");
                None
            }
        }
    }

    /// The setting's values, if it was written and all can be read. A text may hold several, separated by commas.
    pub(super) fn list<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let written = self.written.remove(path)?;
        let texts = written.texts.iter().flat_map(|text| text.split(',')).map(str::trim);
        let texts: Vec<_> = texts.filter(|text| !text.is_empty()).collect();
        let parsed: Vec<_> =
            texts.iter().map(|text| self.parse(path, text, &written.origin, &parse)).collect();
        parsed.into_iter().collect()
    }

    fn parse<T>(
        &mut self,
        path: &str,
        text: &str,
        origin: &str,
        parse: &impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(text.trim()).map_err(|problem| self.push(path, origin, &problem, "")).ok()
    }

    /// Records that a value which can be read is not allowed.
    pub(super) fn refuse(&mut self, path: &str, problem: &str, hint: &str) {
        self.push(path, "the effective configuration", problem, hint);
    }

    fn push(&mut self, path: &str, origin: &str, problem: &str, hint: &str) {
        self.errors.push(ConfigError {
            path: path.into(),
            origin: origin.into(),
            problem: problem.into(),
            hint: hint.into(),
        });
    }

    /// `config`, unless anything was wrong. What no setting has asked for is unknown.
    pub(super) fn finish<T>(mut self, config: T) -> Result<T, ConfigErrors> {
        for (path, written) in std::mem::take(&mut self.written) {
            self.push(&path, &written.origin, "no such setting", "check the spelling");
        }
        if self.errors.is_empty() { Ok(config) } else { Err(ConfigErrors(self.errors)) }
    }
}
