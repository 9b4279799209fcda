//! `pgtally demo`: a throwaway PostgreSQL, the proxy in front of it, and an application with planted faults.
//!
//! Prints what it does while it does it, then the findings. They are compared with what was planted: a fault that was
//! not found, or a finding on a repaired page, is said in words and is the exit code. Then the cache shows what it can
//! (`demo/catalogue.rs`).

mod catalogue;

use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use pgtally_demo::{App, Fault, Page, Planted};
use pgtally_throwaway::Throwaway;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::api::FindingView;
use crate::config::{Config, DEFAULT_ADMIN, DEFAULT_LISTEN, LogFormat};
use crate::listener;
use crate::logging;
use crate::proxy::{Proxy, Running};
use crate::report;

/// Visits of every page: enough for the rules, and over in seconds.
const ROUNDS: usize = 3;
/// Time findings may take after the last visit, and time in which a wrong one would show.
const FINDINGS_WITHIN: Duration = Duration::from_secs(5);
/// See [`FINDINGS_WITHIN`].
const QUIET_FOR: Duration = Duration::from_millis(1_500);
/// Where the throwaway server's binaries are, when not where they usually are.
const BINARIES_VARIABLE: &str = "PGTALLY_PG_BIN";

/// Runs the demo; with `is_once` it ends after the report.
pub(crate) fn run(is_once: bool) -> ExitCode {
    // The report is the output; logs of the proxy would only be in between.
    logging::install(LogFormat::Auto, "error");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(play(is_once)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pgtally demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything planted was found, and nothing else.
async fn play(is_once: bool) -> anyhow::Result<bool> {
    say("starting a throwaway PostgreSQL … ");
    let binaries = std::env::var_os(BINARIES_VARIABLE).map(Into::into);
    let started = tokio::task::spawn_blocking(move || Throwaway::builder().binaries(binaries).start());
    let mut postgres = started.await?.context("cannot start PostgreSQL")?;
    say(&format!("version {}, filling it … ", postgres.version()));
    pgtally_demo::seed(&postgres.url("postgres")).await.context("cannot fill the database")?;
    say("done\n");
    let proxy = start_proxy(&postgres)?;
    let (url, port) = proxied_url(&proxy)?;
    println!("postgres {} on 127.0.0.1:{}   {}", postgres.version(), postgres.port(), addresses(&proxy));
    let app = App::start(&url).await.context("cannot start the sample application")?;
    println!("sample application on http://{}/", app.address());
    visit_all(&app, &proxy).await?;
    let findings = await_findings(&proxy).await?;
    println!("\n{}", report::text(&findings));
    let is_right = compare(&findings) & catalogue::show(&app, &proxy).await?;
    println!("try:  psql \"host=127.0.0.1 port={port} user=postgres dbname=postgres\"");
    if !is_once {
        println!("stop: Ctrl-C");
        until_signalled().await?;
    }
    app.stop().await;
    tokio::task::spawn_blocking(move || {
        proxy.shutdown(Duration::from_secs(2));
        // What is left behind is a directory in /tmp; no reason to call the demo a failure.
        let _ = postgres.stop_fast();
    })
    .await?;
    Ok(is_right)
}

fn say(text: &str) {
    print!("{text}");
    // Progress that cannot be shown is no reason to stop.
    let _ = stdout().flush();
}

fn start_proxy(postgres: &Throwaway) -> anyhow::Result<Running> {
    let upstream = vec![format!("127.0.0.1:{}", postgres.port())];
    // The usual ports where they are free, so that what the documentation says works.
    let free = |wanted: &str| {
        let is_free = wanted.parse().is_ok_and(|address| listener::bind_tcp(address).is_ok());
        vec![if is_free { wanted.to_owned() } else { "127.0.0.1:0".to_owned() }]
    };
    let flags = [
        ("relay.upstream", upstream),
        ("relay.listen", free(DEFAULT_LISTEN)),
        ("admin.listen", free(DEFAULT_ADMIN)),
        ("cache.enabled", vec!["on".to_owned()]),
        ("inspect.user", vec![pgtally_demo::READER.to_owned()]),
        ("inspect.explain", vec!["on".to_owned()]),
    ];
    let config = Config::load(None, [], flags)?;
    Proxy::start(&config).context("cannot start the proxy")
}

fn proxied_url(proxy: &Running) -> anyhow::Result<(String, u16)> {
    let port = proxy.listen_addrs().iter().find_map(|address| match address {
        crate::Address::Tcp(_, port) => Some(*port),
        crate::Address::Unix(_) => None,
    });
    let port = port.context("the proxy has no port")?;
    Ok((format!("postgres://postgres@127.0.0.1:{port}/postgres"), port))
}

fn addresses(proxy: &Running) -> String {
    let listen: Vec<_> = proxy.listen_addrs().iter().map(ToString::to_string).collect();
    let admin = proxy.admin_addr().map(|address| format!("   api http://{address}/")).unwrap_or_default();
    format!("proxy on {}{admin}", listen.join(", "))
}

async fn visit_all(app: &App, proxy: &Running) -> anyhow::Result<()> {
    let is_terminal = stdout().is_terminal();
    let mut shown = 0;
    let visits = pgtally_demo::visit(app.address(), ROUNDS, |progress| {
        // A line that is rewritten on a terminal, and a few lines in a file.
        let tenth = progress.done * 10 / progress.total.max(1);
        if is_terminal {
            say(&format!("\rvisiting its pages … {} of {} requests", progress.done, progress.total));
        } else if tenth > shown {
            shown = tenth;
            println!("visiting its pages … {} of {} requests", progress.done, progress.total);
        }
    })
    .await?;
    let queries = counted(&proxy.metrics());
    println!(
        "{}{} requests, {queries} statements",
        if is_terminal { "\r\x1b[K" } else { "" },
        visits.requests
    );
    Ok(())
}

/// Statements counted so far.
fn counted(metrics: &str) -> u64 {
    let samples = metrics.lines().filter(|line| line.starts_with("pgtally_queries_total{"));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

/// Waits until everything planted is found and wrong findings had their time too.
async fn await_findings(proxy: &Running) -> anyhow::Result<Vec<FindingView>> {
    let started = Instant::now();
    loop {
        sleep(Duration::from_millis(100)).await;
        let findings = proxy.findings().context("the proxy does not answer")?.findings;
        let is_complete = missing(&findings).is_empty() && started.elapsed() >= QUIET_FOR;
        if is_complete || started.elapsed() >= FINDINGS_WITHIN {
            return Ok(findings);
        }
    }
}

/// Says what was not found and what should not have been.
fn compare(findings: &[FindingView]) -> bool {
    let missing = missing(findings);
    for (route, planted) in &missing {
        let column = planted.parent_column.map(|column| format!(", parent {column}")).unwrap_or_default();
        println!("NOT FOUND: {} of {} on {route}{column}", planted.fault.name(), planted.table);
    }
    let wrong = wrong(findings);
    for finding in &wrong {
        println!("WRONG: {} on the repaired page {}", finding.kind, finding.route);
    }
    let is_right = missing.is_empty() && wrong.is_empty();
    if is_right {
        let planted: usize = Page::ALL.iter().map(|page| page.planted.len()).sum();
        println!("all {planted} planted faults found; the repaired pages are silent\n");
    }
    is_right
}

/// Planted faults without a finding. Faults that are planted several times need as many findings.
fn missing(findings: &[FindingView]) -> Vec<(String, &'static Planted)> {
    let mut unused: Vec<&FindingView> = findings.iter().collect();
    let mut missing = Vec::new();
    for page in Page::ALL {
        for planted in page.planted {
            let route = page.route();
            match unused.iter().position(|finding| is_finding_of(finding, &route, planted)) {
                Some(found) => drop(unused.swap_remove(found)),
                None => missing.push((route, planted)),
            }
        }
    }
    missing
}

fn is_finding_of(finding: &FindingView, route: &str, planted: &Planted) -> bool {
    let has_table = finding.statement.as_deref().is_some_and(|statement| statement.contains(planted.table));
    let has_column = match planted.fault {
        Fault::NPlusOne => finding.linked_column.as_deref() == planted.parent_column,
        _ => true,
    };
    finding.kind == planted.fault.name() && finding.route == route && has_table && has_column
}

fn wrong(findings: &[FindingView]) -> Vec<&FindingView> {
    let repaired: Vec<String> = Page::ALL.iter().filter(|page| page.is_repaired).map(Page::route).collect();
    findings.iter().filter(|finding| repaired.contains(&finding.route)).collect()
}

async fn until_signalled() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
