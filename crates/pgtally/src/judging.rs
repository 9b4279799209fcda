//! The files around a capture: budgets, baseline, and reports in their formats.
//!
//! Everything is read before anything runs, so that a mistake in a file costs no test run; what is judged and how it
//! looks is the work of `pgtally-report`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use pgtally_report::{BaselineFile, Budgets, Capture, FailOn, Judging, Report};

/// Files that are used when they are there and no other is named.
const BUDGETS_FILE: &str = "pgtally.budgets.toml";
/// See [`BUDGETS_FILE`].
pub(crate) const BASELINE_FILE: &str = "pgtally.baseline.json";

/// What a capture is judged by.
#[derive(Clone, Debug, Args)]
pub(crate) struct JudgeArgs {
    /// Budgets of routes or tests [default: pgtally.budgets.toml if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) budgets: Option<PathBuf>,
    /// Write what was measured into the budgets, comments and order kept
    #[arg(long)]
    pub(crate) update_budgets: bool,
    /// What routes ran before [default: pgtally.baseline.json if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Make what was captured the baseline
    #[arg(long)]
    pub(crate) update_baseline: bool,
    /// Severity from which a new finding is a failure
    #[arg(long, value_name = "SEVERITY", default_value = "info")]
    pub(crate) fail_on: Severity,
}

/// As [`FailOn`], for the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Severity {
    Info,
    Warning,
    Critical,
    Never,
}

/// Where reports go.
#[derive(Clone, Debug, Args)]
pub(crate) struct OutputArgs {
    /// Write a report: text, json, markdown, junit, sarif or html; may be repeated
    #[arg(long = "report", value_name = "FORMAT=FILE", value_parser = format_and_file)]
    reports: Vec<(Format, PathBuf)>,
}

/// A report's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Html,
    Json,
    Junit,
    Markdown,
    Sarif,
    Text,
}

fn format_and_file(text: &str) -> Result<(Format, PathBuf), String> {
    let wrong = || "write FORMAT=FILE, such as junit=pgtally.xml".to_owned();
    let (format, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or_else(wrong)?;
    Ok((Format::from_str(format, true)?, file.into()))
}

/// What was read of [`JudgeArgs`].
pub(crate) struct Judged {
    pub(crate) judging: Judging,
    /// Text of the file of budgets.
    budgets_text: String,
}

impl JudgeArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// Everything wrong with them, in words.
    pub(crate) fn read(&self) -> Result<Judged, String> {
        let mut problems = Vec::new();
        let mut judging = Judging { fail_on: self.fail_on.into(), ..Judging::default() };
        let budgets_text = match read_optional(self.budgets.as_deref(), BUDGETS_FILE, self.update_budgets) {
            Ok(text) => text,
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        if let Some(text) = &budgets_text {
            let path = self.budgets_path();
            match Budgets::parse(text) {
                Ok(budgets) => judging.budgets = Some(budgets),
                Err(errors) => {
                    problems.extend(errors.iter().map(|error| format!("{}: {error}", path.display())));
                }
            }
        }
        match read_optional(self.baseline.as_deref(), BASELINE_FILE, self.update_baseline) {
            Ok(None) => {}
            Ok(Some(text)) => match BaselineFile::read(&text) {
                Ok(baseline) => judging.baseline = Some(baseline),
                // What is replaced need not be readable.
                Err(_) if self.update_baseline => {}
                Err(error) => problems.push(format!("{}: {error}", self.baseline_path().display())),
            },
            Err(problem) => problems.push(problem),
        }
        if problems.is_empty() {
            Ok(Judged { judging, budgets_text: budgets_text.unwrap_or_default() })
        } else {
            Err(problems.join("\n"))
        }
    }

    fn budgets_path(&self) -> PathBuf {
        self.budgets.clone().unwrap_or_else(|| BUDGETS_FILE.into())
    }

    fn baseline_path(&self) -> PathBuf {
        self.baseline.clone().unwrap_or_else(|| BASELINE_FILE.into())
    }
}

impl Judged {
    /// The report on a capture; updates the files that are to be updated first, so that it is judged by them.
    pub(crate) fn report(&self, capture: &Capture, args: &JudgeArgs) -> anyhow::Result<Report> {
        let mut judging = self.judging.clone();
        let mut notes = Vec::new();
        if (args.update_budgets || args.update_baseline) && !capture.complete {
            notes.push("budgets and baseline stay as they are, as the capture is incomplete".to_owned());
        } else {
            if args.update_budgets {
                let path = args.budgets_path();
                let text = pgtally_report::update_budgets(&self.budgets_text, capture).unwrap_or_default();
                write_file(&path, &text)?;
                judging.budgets = Budgets::parse(&text).ok();
                notes.push(format!("{} holds what was measured", path.display()));
            }
            if args.update_baseline {
                let path = args.baseline_path();
                let baseline = BaselineFile::of(capture);
                write_file(&path, &baseline.write())?;
                judging.baseline = Some(baseline);
                notes.push(format!("{} is the new baseline", path.display()));
            }
        }
        let mut report = pgtally_report::judge(capture, &judging);
        report.notes.extend(notes);
        Ok(report)
    }
}

impl OutputArgs {
    /// Writes the reports asked for; and, where GitHub Actions runs this, its summary and annotations. What cannot be
    /// written keeps nothing else from being written.
    pub(crate) fn write(&self, report: &Report) -> anyhow::Result<()> {
        let mut written = Ok(());
        for (format, path) in &self.reports {
            written = written.and(write_file(path, &format.render(report)));
        }
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = set("GITHUB_STEP_SUMMARY") {
            written = written.and(append(Path::new(&path), &pgtally_report::markdown(report)));
        }
        if set("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
            // Standard output may be somebody's data; GitHub reads both.
            eprint!("{}", pgtally_report::annotations(report));
        }
        written
    }
}

impl Format {
    pub(crate) fn render(self, report: &Report) -> String {
        match self {
            Self::Html => pgtally_report::html(report),
            Self::Json => report.write(),
            Self::Junit => pgtally_report::junit(report),
            Self::Markdown => pgtally_report::markdown(report),
            Self::Sarif => pgtally_report::sarif(report),
            Self::Text => pgtally_report::text(report),
        }
    }
}

impl From<Severity> for FailOn {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
            Severity::Never => Self::Never,
        }
    }
}

/// The text of a named file; of the usual one only if it is there. One that is to be written may be missing.
fn read_optional(named: Option<&Path>, usual: &str, may_be_missing: bool) -> Result<Option<String>, String> {
    let path = named.unwrap_or(Path::new(usual));
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && (named.is_none() || may_be_missing) => {
            Ok(None)
        }
        Err(error) => Err(format!("{}: cannot be read: {error}", path.display())),
    }
}

/// Adds to a file that others write to as well.
fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = fs::OpenOptions::new().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file whole or not at all.
pub(crate) fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        if path.is_file() || !path.exists() {
            let mut beside = path.as_os_str().to_owned();
            beside.push(".new");
            fs::write(&beside, text)?;
            if let Ok(old) = fs::metadata(path) {
                fs::set_permissions(&beside, old.permissions())?;
            }
            return fs::rename(&beside, path);
        }
        // A pipe or device is written to as it is.
        fs::write(path, text)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
