//! `pgtally tap`: statements of a running pgtally as lines of JSON.

use std::convert::Infallible;
use std::io::{self, BufRead, ErrorKind, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::client::{AdminArgs, Client, ClientError};
use crate::filter::{Filter, HELP};
use crate::logging::with_causes;

/// Exit code of a command line that makes no sense.
const EXIT_USAGE: u8 = 2;

#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Show transaction control, settings and pings too
    #[arg(long)]
    all: bool,
    #[arg(help = format!("What to show: {HELP}"), value_name = "FILTER", allow_hyphen_values = true)]
    filter: Vec<String>,
}

pub(crate) fn run(args: &TapArgs) -> ExitCode {
    let filter = args.filter.join(" ");
    // Said here, with nothing asked: the place of a mistake is seen best where it was typed.
    if let Err(error) = Filter::parse(&filter) {
        eprintln!("pgtally tap: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    let client = Client::new(&args.admin);
    match follow(&client, &filter, args.all) {
        Err(Problem::Ended(cause)) => {
            let cause = cause.map(|error| format!(" ({error})")).unwrap_or_default();
            eprintln!(
                "pgtally tap: the stream has ended: pgtally at {} has stopped, or the way there is broken{cause}",
                client.url()
            );
            ExitCode::FAILURE
        }
        // Whoever reads has seen enough.
        Err(Problem::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Problem::Output(error)) => {
            eprintln!("pgtally tap: cannot write: {error}");
            ExitCode::FAILURE
        }
        Err(Problem::Client(error)) => {
            eprintln!("pgtally tap: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

enum Problem {
    Client(ClientError),
    /// It had begun.
    Ended(Option<io::Error>),
    Output(io::Error),
}

/// Copies events until either end has had enough.
fn follow(client: &Client, filter: &str, all: bool) -> Result<Infallible, Problem> {
    let query = [("filter", filter), ("all", if all { "true" } else { "false" })];
    let mut lines = client.stream("tap", &query).map_err(Problem::Client)?;
    let mut out = io::stdout().lock();
    let mut line = String::new();
    loop {
        line.clear();
        match lines.read_line(&mut line) {
            Ok(0) => return Err(Problem::Ended(None)),
            Ok(_) => {}
            Err(error) => return Err(Problem::Ended(Some(error))),
        }
        let Some(json) = line.strip_prefix("data: ") else { continue };
        match dropped(json) {
            Some(dropped) => eprintln!("pgtally tap: {dropped} statements not shown: too many at once"),
            None => out.write_all(json.as_bytes()).and_then(|()| out.flush()).map_err(Problem::Output)?,
        }
    }
}

/// How many statements an event says are missing; `None` for a statement.
pub(crate) fn dropped(json: &str) -> Option<u64> {
    let event: Value = json.starts_with("{\"dropped\"").then(|| serde_json::from_str(json).ok()).flatten()?;
    event.get("dropped")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_from_a_statement() {
        assert_eq!(dropped("{\"dropped\":12}\n"), Some(12));
        assert_eq!(dropped("{\"at\":\"x\",\"statement\":\"{\\\"dropped\\\":1}\"}\n"), None);
        assert_eq!(dropped("{\"dropped\""), None);
    }
}
