//! Layers of settings as they were written, and the collecting of errors over all of them.
//!
//! The `config` crate reads file and environment; here every value is a list of texts with its origin, so that one
//! parser per setting serves all layers and its error can say where the value came from. What takes effect is kept
//! beside the parsed values (`effective.rs`), for `check-config` and to see what a reload changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use config::{Environment, File, FileFormat, Source, Value, ValueKind};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::Flag;
use super::effective::Effective;
use super::secret::Secret;

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
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

impl Serialize for ConfigErrors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut errors = serializer.serialize_struct("ConfigErrors", 1)?;
        errors.serialize_field("errors", &self.0)?;
        errors.end()
    }
}

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
    effective: Vec<Effective>,
    errors: Vec<ConfigError>,
}

impl Layers {
    pub(super) fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = Flag>,
    ) -> Self {
        let mut layers = Self { written: BTreeMap::new(), effective: Vec::new(), errors: Vec::new() };
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
                problem: without_excerpt(&error.to_string()),
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
        let Some(written) = self.written.remove(path) else {
            self.effective.push(Effective::unset(path));
            return None;
        };
        self.effective.push(Effective::written(path, &written.texts, &written.origin));
        match written.texts.as_slice() {
            [text] => self.parse(path, text, &written.origin, &parse),
            _ => {
                self.push(path, &written.origin, "exactly one value is wanted", "");
                None
            }
        }
    }

    /// As [`Layers::one`], with the value that counts where nothing else was written or could be read.
    ///
    /// `default` is text, so that it is read and shown like any other value.
    #[expect(
        clippy::expect_used,
        reason = "defaults are constants of the program, and every test reads them all"
    )]
    pub(super) fn or<T>(
        &mut self,
        path: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.default_to(path, default);
        self.one(path, &parse).unwrap_or_else(|| parse(default).expect("a default that can be read"))
    }

    /// A secret: its text, or what the file named by `<path>_file` holds, without the line's end.
    pub(super) fn secret(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<String, String>,
    ) -> Option<Secret> {
        let read = |file: &str| {
            let text = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
            parse(text.trim_end_matches(['\r', '\n']))
        };
        let is_written = self.written.contains_key(path);
        let text = self.one(path, &parse);
        let file_path = format!("{path}_file");
        let from_file = self.one(&file_path, read);
        if is_written && from_file.is_some() {
            self.push(&file_path, "the effective configuration", "the secret is written in two places", "");
        }
        text.or(from_file).map(Secret::new)
    }

    /// The setting's values, if it was written and all can be read. A text may hold several, separated by commas.
    pub(super) fn list<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Some(written) = self.written.remove(path) else {
            self.effective.push(Effective::unset(path));
            return None;
        };
        let texts = written.texts.iter().flat_map(|text| text.split(',')).map(str::trim);
        let texts: Vec<_> = texts.filter(|text| !text.is_empty()).map(str::to_owned).collect();
        self.effective.push(Effective::written(path, &texts, &written.origin));
        let parsed: Vec<_> =
            texts.iter().map(|text| self.parse(path, text, &written.origin, &parse)).collect();
        parsed.into_iter().collect()
    }

    /// The setting's values where each text may mean several and commas are part of them.
    pub(super) fn each<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<Vec<T>, String>,
    ) -> Option<Vec<T>> {
        let written = self.written.remove(path)?;
        self.effective.push(Effective::written(path, &written.texts, &written.origin));
        let parsed: Vec<_> =
            written.texts.iter().map(|text| self.parse(path, text, &written.origin, &parse)).collect();
        Some(parsed.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// As [`Layers::one`], for a section that may be below another: there only what was written is shown.
    pub(super) fn one_of<T>(
        &mut self,
        section: &str,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let path = format!("{section}.{name}");
        let is_shown = !section.contains('.') || self.written.contains_key(&path);
        is_shown.then(|| self.one(&path, parse)).flatten()
    }

    /// Names and paths of the tables below `path`, whose names may hold dots: those of settings do not.
    pub(super) fn tables_under(&self, path: &str) -> Vec<(String, String)> {
        let prefix = format!("{path}.");
        let names = self.written.keys().filter_map(|key| key.strip_prefix(&prefix)?.rsplit_once('.'));
        // Settings of `a` may stand on both sides of those of `a.b`.
        let names: BTreeSet<&str> = names.map(|(name, _)| name).collect();
        names.into_iter().map(|name| (name.to_owned(), format!("{prefix}{name}"))).collect()
    }

    /// The setting's texts, not read yet.
    pub(super) fn texts(&self, path: &str) -> &[String] {
        self.written.get(path).map_or(&[], |written| &written.texts)
    }

    /// Lays `text` under all layers: what counts, and is shown, where nothing was written.
    pub(super) fn default_to(&mut self, path: &str, text: &str) {
        self.default_from(path, text, DEFAULT);
    }

    /// As [`Layers::default_to`], for a default that follows from what was written in `origin`.
    pub(super) fn default_from(&mut self, path: &str, text: &str, origin: &str) {
        let default = || Written { texts: vec![text.into()], origin: origin.into() };
        self.written.entry(path.into()).or_insert_with(default);
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

    fn push(&mut self, path: &str, origin: &str, problem: &str, hint: &str) {
        self.errors.push(ConfigError {
            path: path.into(),
            origin: origin.into(),
            problem: problem.into(),
            hint: hint.into(),
        });
    }

    /// What takes effect, and everything wrong with how it was written. What no setting has asked for is unknown.
    pub(super) fn finish(mut self) -> (Vec<Effective>, Vec<ConfigError>) {
        for (path, written) in std::mem::take(&mut self.written) {
            self.push(&path, &written.origin, "no such setting", "check the spelling");
        }
        (self.effective, self.errors)
    }
}

/// What a parser says, without the lines of the file that it shows: there may be a secret in them.
fn without_excerpt(problem: &str) -> String {
    let is_excerpt = |line: &&str| {
        line.trim_start_matches(|c: char| c.is_ascii_digit() || c.is_whitespace()).starts_with('|')
    };
    let words: Vec<&str> = problem.lines().filter(|line| !is_excerpt(line)).collect();
    words.join(": ")
}

/// Whether an environment variable can be a setting.
pub(super) fn is_variable(name: &str) -> bool {
    name == "DATABASE_URL" || name.to_ascii_uppercase().starts_with("PGTALLY__")
}

/// Origin of a value that nobody has written.
pub(super) const DEFAULT: &str = "default";
