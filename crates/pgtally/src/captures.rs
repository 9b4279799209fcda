//! `pgtally report`, `diff`, `baseline` and `ack`: what can be done with captures after the run.
//!
//! A capture is a file, `-` for standard input, or the address of a running pgtally.

mod filtering;

use std::fs;
use std::io::{Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use pgtally_report::{
    BaselineFile, Capture, Changed, Differences, EXIT_INCOMPLETE, EXIT_OVER, NewAck, Report,
};

use crate::acks;
use crate::filter::Filter;
use crate::judging::{BASELINE_FILE, Format, JudgeArgs, OutputArgs, Severity, write_file};
use crate::limits::API_REQUESTS_MAX;

/// Bytes of one capture: one of every bound at its most is far smaller.
const CAPTURE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of one answer of a running instance.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Time a running instance has for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where captures come from.
#[derive(Debug, Args)]
struct Sources {
    /// A capture's file, - for standard input, or http://HOST:PORT of a running pgtally
    #[arg(value_name = "CAPTURE", required = true)]
    captures: Vec<String>,
    #[command(flatten)]
    access: Access,
}

/// How to get at a running instance.
#[derive(Debug, Args)]
struct Access {
    /// Token of a running pgtally's API
    #[arg(long, value_name = "TOKEN", env = "PGTALLY__ADMIN__TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Arguments of `pgtally report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Captures' files, - for standard input, or http://HOST:PORT of a running pgtally; several are taken together
    #[arg(value_name = "CAPTURE", required_unless_present = "url")]
    captures: Vec<String>,
    /// A running pgtally, http://HOST:PORT
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    access: Access,
    /// Only what fits, such as route:/orders n+1: findings, and routes of which a statement fits
    #[arg(long, default_value = "", hide_default_value = true, value_parser = Filter::parse)]
    filter: Filter,
    /// What to print
    #[arg(long, default_value = "text")]
    format: Format,
    /// Exit with 10 when something is over budget or new, with 11 when the capture is incomplete
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    judging: JudgeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `pgtally diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Before, or with little data: a capture's file, -, or http://HOST:PORT of a running pgtally
    before: String,
    /// After, or with much data
    after: String,
    /// Show only counts that grow from a capture with little data to one with much: these are N+1 patterns
    #[arg(long)]
    growth: bool,
    /// How far a count may be above what it was: a number, or a share such as 10%
    #[arg(long, default_value = "0", value_parser = pgtally_report::parse_tolerance)]
    tolerance: pgtally_analysis::Tolerance,
    /// What to print: text, json or markdown
    #[arg(long, default_value = "text")]
    format: Format,
    /// Exit with 10 when something runs more, with 11 when a capture is incomplete
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    access: Access,
}

/// Arguments of `pgtally baseline`.
#[derive(Debug, Args)]
pub(crate) struct BaselineArgs {
    #[command(subcommand)]
    command: BaselineCommand,
}

#[derive(Debug, Subcommand)]
enum BaselineCommand {
    /// Compare captures with the baseline: added statements first; exit code 10 when there is more, 11 when incomplete
    Check {
        #[command(flatten)]
        sources: Sources,
        /// The baseline
        #[arg(long, value_name = "FILE", default_value = BASELINE_FILE)]
        baseline: PathBuf,
        /// Severity from which a new finding is a failure
        #[arg(long, value_name = "SEVERITY", default_value = "info")]
        fail_on: Severity,
    },
    /// Make captures the baseline
    Save {
        #[command(flatten)]
        sources: Sources,
        /// The file to write
        #[arg(long, value_name = "FILE", default_value = BASELINE_FILE)]
        baseline: PathBuf,
    },
}

/// Arguments of `pgtally ack`.
#[derive(Debug, Args)]
pub(crate) struct AckArgs {
    /// The finding's id, 16 hexadecimal digits
    #[arg(required_unless_present_any = ["kind", "route", "table"])]
    id: Option<String>,
    /// Findings of a kind, such as duplicate
    #[arg(long)]
    kind: Option<String>,
    /// Findings on a route; * stands for any characters
    #[arg(long)]
    route: Option<String>,
    /// Findings whose statement names a table; * stands for any characters
    #[arg(long)]
    table: Option<String>,
    /// Why it is as it should be
    #[arg(long)]
    reason: String,
    /// Last day on which it holds, such as 2027-01-31
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
    /// Repeats up to which it holds
    #[arg(long, value_name = "N")]
    max_repeat: Option<u32>,
    /// The file
    #[arg(long, value_name = "FILE", default_value = "pgtally.acks.toml")]
    file: PathBuf,
}

/// `pgtally report`.
pub(crate) fn report(args: &ReportArgs) -> ExitCode {
    ended("report", || {
        let captures: Vec<String> = args.captures.iter().chain(&args.url).cloned().collect();
        let judged = args.judging.read().map_err(anyhow::Error::msg)?;
        let capture = read_all(&captures, &args.access)?;
        let mut report = judged.report(&capture, &args.judging)?;
        if !args.filter.is_empty() {
            filtering::retain(&mut report, &args.filter);
            report.notes.push("only what fits the filter is shown".into());
        }
        print(&args.format.render(&report))?;
        args.output.write(&report)?;
        Ok(if args.check { report.exit_code } else { 0 })
    })
}

/// `pgtally diff`.
pub(crate) fn diff(args: &DiffArgs) -> ExitCode {
    ended("diff", || {
        let before = read(&args.before, &args.access)?;
        let after = read(&args.after, &args.access)?;
        let changes = if args.growth {
            pgtally_report::growth(&before, &after)
        } else {
            pgtally_report::changes(&before, &after, &args.tolerance)
        };
        let is_worse = changes.iter().any(|it: &Changed| it.regression);
        print(&match args.format {
            Format::Json => Differences::of(changes).write(),
            Format::Markdown => pgtally_report::changes_markdown(&changes, args.growth),
            Format::Text => pgtally_report::changes_text(&changes, args.growth),
            Format::Html | Format::Junit | Format::Sarif => bail!("differences are text, json or markdown"),
        })?;
        let is_complete = before.complete && after.complete;
        if !is_complete {
            eprintln!(
                "pgtally diff: a capture is incomplete: {}",
                [before.problems, after.problems].concat().join("; ")
            );
        }
        Ok(match (args.check, is_complete, is_worse) {
            (true, false, _) => EXIT_INCOMPLETE,
            (true, true, true) => EXIT_OVER,
            _ => 0,
        })
    })
}

/// `pgtally baseline`.
pub(crate) fn baseline(args: &BaselineArgs) -> ExitCode {
    ended("baseline", || match &args.command {
        BaselineCommand::Save { sources, baseline } => {
            let capture = read_all(&sources.captures, &sources.access)?;
            if !capture.complete {
                eprintln!(
                    "pgtally baseline: not saved, as the capture is incomplete: {}",
                    capture.problems.join("; ")
                );
                return Ok(EXIT_INCOMPLETE);
            }
            let file = BaselineFile::of(&capture);
            write_file(baseline, &file.write())?;
            println!(
                "{}: {} routes and tests, {} known findings",
                baseline.display(),
                file.routes.len(),
                file.known.len()
            );
            Ok(0)
        }
        BaselineCommand::Check { sources, baseline, fail_on } => {
            let file = fs::read_to_string(baseline).with_context(|| {
                format!("cannot read {}; `pgtally baseline save` makes one", baseline.display())
            })?;
            let file = BaselineFile::read(&file).with_context(|| baseline.display().to_string())?;
            let capture = read_all(&sources.captures, &sources.access)?;
            let judging = pgtally_report::Judging {
                baseline: Some(file),
                fail_on: (*fail_on).into(),
                ..pgtally_report::Judging::default()
            };
            let report: Report = pgtally_report::judge(&capture, &judging);
            print(&pgtally_report::text(&report))?;
            Ok(report.exit_code)
        }
    })
}

/// `pgtally ack`.
pub(crate) fn ack(args: &AckArgs) -> ExitCode {
    ended("ack", || {
        let text = match fs::read_to_string(&args.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => bail!("cannot read {}: {error}", args.file.display()),
        };
        let entry = NewAck {
            id: args.id.clone(),
            kind: args.kind.clone(),
            route: args.route.clone(),
            table: args.table.clone(),
            reason: args.reason.clone(),
            expires: args.expires.clone(),
            max_repeat: args.max_repeat,
        };
        let added = pgtally_report::add_ack(&text, &entry)
            .map_err(anyhow::Error::msg)
            .with_context(|| args.file.display().to_string())?;
        // The reader of the file knows what an entry must be.
        let acks = acks::parse(&added).map_err(anyhow::Error::msg)?;
        write_file(&args.file, &added)?;
        println!("{}: {} acknowledgements", args.file.display(), acks.entries().len());
        Ok(0)
    })
}

fn ended(command: &str, work: impl FnOnce() -> anyhow::Result<u8>) -> ExitCode {
    match work() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("pgtally {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// To standard output; a reader that has seen enough is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write"),
        _ => Ok(()),
    }
}

fn read_all(sources: &[String], access: &Access) -> anyhow::Result<Capture> {
    let mut all: Option<Capture> = None;
    for source in sources {
        let capture = read(source, access)?;
        match &mut all {
            Some(all) => all.absorb(capture),
            None => all = Some(capture),
        }
    }
    all.context("no capture was named")
}

fn read(source: &str, access: &Access) -> anyhow::Result<Capture> {
    if source.starts_with("http://") || source.starts_with("https://") {
        return ask(source, access).with_context(|| format!("cannot ask {source}"));
    }
    let read = || {
        let mut text = String::new();
        let bytes = match source {
            "-" => stdin().take(CAPTURE_BYTES_MAX).read_to_string(&mut text)?,
            path => fs::File::open(Path::new(path))?.take(CAPTURE_BYTES_MAX).read_to_string(&mut text)?,
        };
        anyhow::ensure!((bytes as u64) < CAPTURE_BYTES_MAX, "longer than {CAPTURE_BYTES_MAX} bytes");
        Ok(Capture::read(&text)?)
    };
    read().with_context(|| if source == "-" { "standard input".to_owned() } else { source.to_owned() })
}

/// The capture of a running instance.
fn ask(url: &str, access: &Access) -> anyhow::Result<Capture> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_TIMEOUT))
        .proxy(None)
        .http_status_as_error(false)
        .build()
        .into();
    let get = |path: &str| {
        let mut request = agent.get(format!("{}/api/v1/{path}", url.trim_end_matches('/')));
        if let Some(token) = &access.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call()?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        match status.as_u16() {
            200 => Ok(text),
            401 => bail!("it wants its token: --token, or PGTALLY__ADMIN__TOKEN"),
            other => bail!("it answers {other}: {}", text.trim()),
        }
    };
    let findings = get("findings")?;
    let requests = get(&format!("requests?limit={API_REQUESTS_MAX}"))?;
    Ok(Capture::from_api(&findings, &requests, API_REQUESTS_MAX)?)
}
