//! The command line: what was asked for, and exit codes. See `signals.rs` for what happens while it runs.
//!
//! Exit codes: 0 fine, 1 anything else, 2 usage, 64 bad configuration; of judged captures 10 over budget or new
//! finding, 11 incomplete; `run` ends with its program's own failure.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing::{error, info};

use crate::cached::command::{self, CacheArgs};
use crate::captures::{self, AckArgs, BaselineArgs, DiffArgs, ReportArgs};
use crate::config::{Config, ConfigErrors, Flag};
use crate::demo;
use crate::doctor;
use crate::handover::{Inherited, Program};
use crate::logging::{self, with_causes};
use crate::proxy::{Proxy, Running};
use crate::run::{self, RunArgs};
use crate::security::check_certificates;
use crate::signals;
use crate::tap::{self, command::TapArgs};
use crate::top::{self, TopArgs};

/// Exit code of a bad configuration (`EX_USAGE` of sysexits.h).
const EXIT_CONFIG: u8 = 64;

/// Transparent PostgreSQL proxy that counts statements per request and proves N+1 patterns.
#[derive(Debug, Parser)]
#[command(name = "pgtally", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Acknowledge a finding, with a reason, in a file
    Ack(AckArgs),
    /// Save what captures ran as the baseline, or compare with it
    Baseline(BaselineArgs),
    /// Show what a running pgtally's cache holds, or make it forget
    Cache(CacheArgs),
    /// Say whether a configuration is usable, with every error at once, and print what takes effect
    CheckConfig(ServeArgs),
    /// Show pgtally at work: a throwaway PostgreSQL, a sample application with planted faults, the findings
    Demo(DemoArgs),
    /// Look at what a configuration needs: upstream, TLS, limits, and whether traffic passes
    Doctor(DoctorArgs),
    /// Show what is different in another capture
    Diff(DiffArgs),
    /// Show captures, or a running pgtally, as a report
    Report(Box<ReportArgs>),
    /// Run a program, such as a test suite, and say what its requests did to the database
    Run(Box<RunArgs>),
    /// Relay clients to PostgreSQL and watch
    Serve(ServeArgs),
    /// Print what a running pgtally sees, one statement a line, as JSON
    Tap(TapArgs),
    /// Watch a running pgtally: findings, routes, statements, sessions
    Top(TopArgs),
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Exit when the findings are printed; the exit code says whether they are the planted ones
    #[arg(long)]
    once: bool,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Only ask the running pgtally whether it is ready, as a container's health check does
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// PostgreSQL: postgres://HOST:PORT, HOST:PORT or a socket's path
    /// [default: DATABASE_URL, else 127.0.0.1:5432]
    #[arg(long, value_name = "URL", verbatim_doc_comment)]
    upstream: Option<String>,
    /// Where clients connect, HOST:PORT or a socket's path; may be repeated [default: 127.0.0.1:6432]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Where metrics and the API are served, or off [default: 127.0.0.1:9187]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Bearer token of the API; better given as PGTALLY__ADMIN__TOKEN
    #[arg(long, value_name = "TOKEN")]
    admin_token: Option<String>,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Whether to watch, or only to relay [default: on]
    #[arg(long, value_name = "on|off")]
    analysis: Option<String>,
    /// text, json or auto [default: text on a terminal, else json]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ServeArgs {
    fn flags(self) -> Vec<Flag> {
        let one = |path, value: Option<String>| value.map(|value| (path, vec![value]));
        let listen = (!self.listen.is_empty()).then_some(("relay.listen", self.listen));
        [
            one("relay.upstream", self.upstream),
            listen,
            one("admin.listen", self.admin),
            one("admin.token", self.admin_token),
            one("relay.workers", self.workers),
            one("relay.analysis", self.analysis),
            one("log.format", self.log_format),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Cache(args) => command::run(args),
        Command::CheckConfig(args) => check_config(args),
        Command::Demo(args) => demo::run(args.once),
        Command::Doctor(args) => match load(args.serve) {
            Ok(config) => doctor::run(&config, args.running),
            Err(code) => code,
        },
        Command::Ack(args) => captures::ack(&args),
        Command::Baseline(args) => captures::baseline(&args),
        Command::Diff(args) => captures::diff(&args),
        Command::Report(args) => captures::report(&args),
        Command::Run(args) => run::run(&args),
        Command::Serve(args) => serve(args),
        Command::Tap(args) => tap::command::run(&args),
        Command::Top(args) => top::run(&args),
    }
}

/// Reads the configuration, or says everything that is wrong with it.
fn load(args: ServeArgs) -> Result<Config, ExitCode> {
    let file = args.config.clone();
    // Variables that are no UTF-8 cannot be ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::load(file.as_deref(), environment, args.flags()).map_err(|errors| {
        eprintln!("pgtally: the configuration is not usable\n{errors}");
        ExitCode::from(EXIT_CONFIG)
    })
}

fn check_config(args: ServeArgs) -> ExitCode {
    match load(args) {
        Ok(config) => {
            // A reader that has seen enough is no failure.
            let _ = print_effective(&config);
            // The one combination that only the server's certificate shows.
            match check_certificates(&config) {
                Some(error) => {
                    eprintln!("{}", ConfigErrors(vec![error]));
                    ExitCode::from(EXIT_CONFIG)
                }
                None => ExitCode::SUCCESS,
            }
        }
        Err(code) => code,
    }
}

fn print_effective(config: &Config) -> io::Result<()> {
    let mut out = io::stdout().lock();
    config.effective().into_iter().try_for_each(|setting| writeln!(out, "{setting}"))
}

fn serve(args: ServeArgs) -> ExitCode {
    let config = match load(args) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let level = logging::install(config.log_format, &config.log_level);
    logging::log_panics();
    let started = Program::current().and_then(|program| Ok((program, Inherited::take()?)));
    let (program, mut inherited) = match started {
        Ok(started) => started,
        Err(error) => {
            error!(%error, "pgtally cannot start: what it was started with is not usable");
            return ExitCode::FAILURE;
        }
    };
    let predecessor = inherited.take_predecessor();
    let running = match Proxy::start_with(&config, inherited) {
        Ok(running) => running,
        Err(error) => {
            error!(error = %with_causes(&error), "pgtally cannot start");
            return ExitCode::FAILURE;
        }
    };
    running.reloader().on_reload(move |config| level.set(&config.log_level));
    match signals::serve(running, &program, predecessor, |running| announce(running, &config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "cannot wait for signals");
            ExitCode::FAILURE
        }
    }
}

fn announce(running: &Running, config: &Config) {
    let listen: Vec<_> = running.listen_addrs().iter().map(ToString::to_string).collect();
    let upstreams: Vec<_> = config.upstreams.iter().map(ToString::to_string).collect();
    let admin = running.admin_addr().map_or_else(|| "off".to_owned(), |address| format!("http://{address}/"));
    info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = listen.join(", "),
        upstream = upstreams.join(", "),
        admin,
        workers = config.workers,
        analysis = config.is_analysis_on,
        "pgtally is ready"
    );
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::config::{DEFAULT_ADMIN, DEFAULT_LISTEN, DEFAULT_UPSTREAM};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_tells_the_real_defaults() {
        let mut command = Cli::command();
        let help = command.find_subcommand_mut("serve").unwrap().render_long_help().to_string();
        for default in [DEFAULT_ADMIN, DEFAULT_LISTEN, DEFAULT_UPSTREAM] {
            assert!(help.contains(default), "{default} is not in\n{help}");
        }
    }
}
