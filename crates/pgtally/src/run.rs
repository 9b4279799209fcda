//! `pgtally run -- CMD`: a program, the proxy in front of its database, and what is to be said about both.
//!
//! ```text
//!  read budgets, baseline ─▶ listen ─▶ start the program ─▶ wait, forwarding signals ─▶ capture ─▶ judge ─▶ report
//! ```
//! The listener is bound before the program starts, whose standard input and output are its own. The program's own
//! failure is the exit code; only then 11 (incomplete, or no traffic), then 10 (over budget, new finding).

mod bypass;
mod child;
mod passwords;
pub(crate) mod target;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use pgtally_report::Capture;

use self::bypass::{Bypass, Watcher};
use self::child::{Ending, Forwarding};
use self::passwords::Passwords;
use self::target::{Place, Target};
use crate::Address;
use crate::aggregator::WarmUp;
use crate::config::{ClientTls, Config, Flag};
use crate::judging::{JudgeArgs, Judged, OutputArgs, write_file};
use crate::logging;
use crate::proxy::{Proxy, Running};

/// Time that sessions have to end after the program has.
const SESSIONS_END_WITHIN: Duration = Duration::from_secs(2);
/// Time between two looks at them.
const LOOK: Duration = Duration::from_millis(5);
/// Exit code of a wrong command line.
const EXIT_USAGE: u8 = 2;
/// Exit code of a bad configuration, or bad budgets.
const EXIT_CONFIG: u8 = 64;

/// Arguments of `pgtally run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// PostgreSQL [default: DATABASE_URL, else PGHOST and PGPORT, else 127.0.0.1:5432]
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where the program finds the proxy, HOST:PORT [default: a free port on 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where metrics and the API are served meanwhile, or off [default: a free port on 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Another variable for the program: {host}, {port}, {user}, {password}, {database}, {url} and {jdbc_url} are
    /// filled in; may be repeated
    #[arg(long = "env", value_name = "NAME=TEMPLATE", value_parser = name_and_template)]
    variables: Vec<(String, String)>,
    /// First requests of every route that are not looked at
    #[arg(long, value_name = "N", default_value_t = 0)]
    warm_up: u64,
    /// Save what was captured, for `report`, `diff` and `baseline`
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// File of acknowledged findings [default: pgtally.acks.toml if there is one]
    #[arg(long, value_name = "FILE")]
    acks: Option<PathBuf>,
    #[command(flatten)]
    judging: JudgeArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn name_and_template(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, template)) if !name.is_empty() => Ok((name.to_owned(), template.to_owned())),
        _ => Err("write NAME=TEMPLATE, such as DB_HOST={host}".into()),
    }
}

/// Runs the program.
pub(crate) fn run(args: &RunArgs) -> ExitCode {
    // Standard error belongs to the program and the report.
    logging::install(crate::config::LogFormat::Auto, "error");
    match wrap(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pgtally run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn wrap(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let judged = match args.judging.read() {
        Ok(judged) => judged,
        Err(problems) => {
            eprintln!("pgtally run: {problems}");
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let variable = |name: &str| std::env::var(name).ok();
    let target = Target::read(&variable, args.upstream.as_deref());
    if let Some(problem) =
        target.problem.as_ref().filter(|_| args.upstream.is_none() && target.upstream.is_none())
    {
        eprintln!("pgtally run: {problem}; name PostgreSQL with --upstream postgres://HOST:PORT/DATABASE");
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let config = match configuration(args, &target) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("pgtally run: the configuration is not usable\n{errors}");
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let proxy = Proxy::start(&config)?;
    let place = place_of(&proxy, &config)?;
    // Kept until the program has ended.
    let passwords = Passwords::copy(&variable, &config.upstreams, &place)
        .context("cannot copy the file of passwords for the program")?;
    let variables = match variables(args, &target, &place, passwords.as_ref()) {
        Ok(variables) => variables,
        Err(problem) => {
            eprintln!("pgtally run: {problem}");
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    anyhow::ensure!(proxy.collect(warm_up(args, &judged)), "the proxy does not answer");
    let (ending, bypass) = match play(args, &config, &proxy, &place, &variables) {
        Ok(ended) => ended,
        Err(problem) => {
            eprintln!("pgtally run: {problem:#}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let capture = capture(&proxy, &place, &variables, &bypass)?;
    proxy.shutdown(Duration::ZERO);
    Ok(finish(args, &judged, &capture, ending))
}

fn configuration(args: &RunArgs, target: &Target) -> Result<Config, crate::ConfigErrors> {
    let mut flags: Vec<Flag> = vec![("findings.mode", vec!["run".into()])];
    let mut flag = |path: &'static str, value: &str| flags.push((path, vec![value.to_owned()]));
    flag("relay.listen", args.listen.as_deref().unwrap_or("127.0.0.1:0"));
    flag("admin.listen", args.admin.as_deref().unwrap_or("127.0.0.1:0"));
    if let Some(upstream) = &args.upstream {
        // A URL in a framework's form, or what `serve` takes.
        let url = target::DatabaseUrl::parse(upstream).map(|url| url.upstream());
        flag("relay.upstream", url.as_deref().unwrap_or(upstream));
    }
    let usual = PathBuf::from("pgtally.acks.toml");
    if let Some(acks) = args.acks.as_ref().or(Some(&usual).filter(|path| path.exists())) {
        flag("findings.acknowledgements", &acks.to_string_lossy());
    }
    // `DATABASE_URL` is the weakest layer; here it stands for all that the environment says.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name != "DATABASE_URL")
        .chain(target.upstream.iter().map(|url| ("DATABASE_URL".to_owned(), url.clone())));
    Config::load(args.config.as_deref(), environment, flags)
}

fn warm_up(args: &RunArgs, judged: &Judged) -> WarmUp {
    WarmUp { requests: args.warm_up, budgets: judged.judging.budgets.clone().unwrap_or_default() }
}

/// Where the program finds the proxy.
fn place_of(proxy: &Running, config: &Config) -> anyhow::Result<Place> {
    let address = proxy.listen_addrs().iter().find_map(|address| match address {
        Address::Tcp(host, port) => Some((host.clone(), *port)),
        Address::Unix(_) => None,
    });
    let (host, port) = address.context("--listen needs a host and a port, as programs are given both")?;
    let has_tls = config.tls.client_tls != ClientTls::Disable;
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    Ok(Place {
        // What listens everywhere is reached here.
        host: if host == "0.0.0.0" || host == "::" { "127.0.0.1".into() } else { host },
        port,
        sslmode: if has_tls { "prefer".into() } else { "disable".into() },
        admin_url: proxy.admin_addr().map(|address| format!("http://{address}")),
        system_user: name.filter(|name| !name.is_empty()).unwrap_or_else(|| "postgres".into()),
    })
}

/// What the program's environment differs in.
fn variables(
    args: &RunArgs,
    target: &Target,
    place: &Place,
    passwords: Option<&Passwords>,
) -> Result<Vec<(String, Option<String>)>, String> {
    let mut variables = target.environment(place);
    if let Some(passwords) = passwords {
        variables.push(("PGPASSFILE".into(), Some(passwords.path().to_string_lossy().into_owned())));
    }
    for (name, template) in &args.variables {
        let value = target.fill(template, place).map_err(|problem| format!("--env {name}: {problem}"))?;
        variables.push((name.clone(), Some(value)));
    }
    Ok(variables)
}

/// Starts the program and waits for its end.
fn play(
    args: &RunArgs,
    config: &Config,
    proxy: &Running,
    place: &Place,
    variables: &[(String, Option<String>)],
) -> anyhow::Result<(Ending, Bypass)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut forwarding = Forwarding::listen().context("cannot listen for signals")?;
        let name =
            || args.command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut child =
            child::start(&args.command, variables).with_context(|| format!("cannot start {}", name()))?;
        let has_traffic = Arc::new(AtomicBool::new(false));
        let process = child.id().unwrap_or_default();
        let watcher = Watcher::start(process, &config.upstreams, place.port, Arc::clone(&has_traffic));
        let ending = {
            let wait = forwarding.wait(&mut child);
            let mut wait = std::pin::pin!(wait);
            loop {
                tokio::select! {
                    ending = &mut wait => break ending,
                    () = tokio::time::sleep(LOOK * 20), if !has_traffic.load(Ordering::Relaxed) => {
                        has_traffic.store(proxy.sessions_seen() > 0, Ordering::Relaxed);
                    }
                }
            }
        };
        let seen = watcher.map(Watcher::finish).unwrap_or_default();
        Ok((ending.context("cannot wait for the program")?, seen))
    })
}

/// Waits for the sessions' ends and takes the capture.
fn capture(
    proxy: &Running,
    place: &Place,
    variables: &[(String, Option<String>)],
    bypass: &Bypass,
) -> anyhow::Result<Capture> {
    let until = Instant::now() + SESSIONS_END_WITHIN;
    while proxy.open_sessions() > 0 && Instant::now() < until {
        thread::sleep(LOOK);
    }
    let open = proxy.open_sessions();
    let mut capture = proxy.capture().context("the proxy does not answer")?;
    capture.sessions = proxy.sessions_seen();
    if open > 0 {
        let sessions = if open == 1 { "1 session is".to_owned() } else { format!("{open} sessions are") };
        capture.add_problem(format!(
            "{sessions} still open {} s after the program ended: what it left running is not captured",
            SESSIONS_END_WITHIN.as_secs()
        ));
    }
    let direct: Vec<&str> = bypass.upstream.iter().chain(&bypass.other).map(String::as_str).collect();
    if capture.sessions == 0 {
        capture.add_problem(no_traffic(place, variables, &direct));
    } else if capture.statements == 0 {
        capture.add_problem(format!(
            "no statement was seen in {} of the program: did it get through authentication?",
            if capture.sessions == 1 {
                "the session".to_owned()
            } else {
                format!("{} sessions", capture.sessions)
            }
        ));
    } else if !bypass.upstream.is_empty() {
        let places = bypass.upstream.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        capture.notes.push(format!("the program also connected to {places}, past the proxy"));
    }
    Ok(capture)
}

fn no_traffic(place: &Place, variables: &[(String, Option<String>)], direct: &[&str]) -> String {
    let connected = if direct.is_empty() {
        "no connection to PostgreSQL was seen elsewhere either".to_owned()
    } else {
        format!("it connected to {} instead", direct.join(", "))
    };
    let set = variables.iter().filter(|(_, value)| value.is_some());
    let names: Vec<&str> = set.map(|(name, _)| name.as_str()).collect();
    format!(
        "no traffic was seen: the program did not use the proxy on {}:{}; {connected}\n  it was given {}\n  where it \
         takes its address from elsewhere, name that: --env DB_HOST={{host}} --env DB_PORT={{port}} --env DB_URL={{url}}",
        place.host,
        place.port,
        names.join(", ")
    )
}

/// Judges, reports, writes files, and decides on the exit code: the program's own failure comes first, then what is to be
/// said of its statements, then a file that cannot be written.
fn finish(args: &RunArgs, judged: &Judged, capture: &Capture, ending: Ending) -> ExitCode {
    let saved = args.capture.as_ref().map_or(Ok(()), |path| write_file(path, &capture.write()));
    let judged = judged.report(capture, &args.judging);
    if let Ok(report) = &judged {
        eprint!("\n{}", pgtally_report::text(report));
    }
    match ending {
        Ending::Fine => {}
        Ending::Failed(code) => eprintln!("the program failed with exit code {code}"),
        Ending::Killed(signal) => eprintln!("the program was ended by signal {signal}"),
    }
    let verdict = judged.as_ref().map_or(0, |report| report.exit_code);
    let reported = judged.and_then(|report| args.output.write(&report));
    let mut code = if ending == Ending::Fine { verdict } else { ending.code() };
    for error in [saved, reported].into_iter().filter_map(Result::err) {
        eprintln!("pgtally run: {error:#}");
        code = code.max(1);
    }
    ExitCode::from(code)
}
