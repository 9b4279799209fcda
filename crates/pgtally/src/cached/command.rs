//! `pgtally cache`: what a running pgtally's cache holds, and making it forget.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::warming::RUN_MAX;
use crate::client::{AdminArgs, Client, ClientError};
use crate::logging::with_causes;

#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Make answers old by tag, by table, or all of them
    Invalidate(InvalidateArgs),
    /// Show tags, reasons and answers, those that saved most database time first
    List(ListArgs),
    /// Ask the hottest questions again whose answers are old or gone, as after an invalidation or a deployment
    #[command(after_help = WARM_HELP)]
    Warm(WarmArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct What {
    /// Answers with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Answers that read this table, NAME or SCHEMA.NAME; may be repeated
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Every answer
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct InvalidateArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// As the API answers it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
struct WarmArgs {
    /// Only answers with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Questions at most, those that were answered from the cache most often
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    max: u16,
    /// As the API answers it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What happens then, for those who ask before they do it.
const WARM_HELP: &str = "\
A question is remembered once its answer was given twice. It is asked by a session that is idle and has the same user,
role, database and settings, on that session's own connection: nobody reads more than he may. Its client waits for that
answer before its next one, 5 s at most. Questions without such a session are told, and asked the next time a client does.

  pgtally cache invalidate --all && pgtally cache warm
  pgtally cache warm --tag product --max 20";
/// Time to wait for the answer: somewhat more than an order takes at most.
const WARM_MAX: Duration = RUN_MAX.saturating_add(Duration::from_secs(10));

/// Runs the command.
pub(crate) fn run(args: CacheArgs) -> ExitCode {
    let text = match args.order {
        Order::Invalidate(InvalidateArgs { what, admin }) => invalidate(&Client::new(&admin), &what),
        Order::List(ListArgs { json, admin }) => list(&Client::new(&admin), json),
        Order::Warm(args) => warm(&args),
    };
    match text {
        Ok(text) => {
            // A reader that has seen enough is no failure.
            let _ = writeln!(io::stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pgtally: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn invalidate(client: &Client, what: &What) -> Result<String, ClientError> {
    let order = json!({ "tags": what.tags, "tables": what.tables, "all": what.all });
    let answer = client.post("cache/invalidate", &order)?;
    Ok(format!("{} answers are old now", answer["old_entries"]))
}

fn warm(args: &WarmArgs) -> Result<String, ClientError> {
    let order = json!({ "tags": args.tags, "max": args.max });
    let answer = Client::new(&args.admin).post_within("cache/warm", &order, WARM_MAX)?;
    Ok(if args.json { format!("{answer:#}") } else { warmed(&answer) })
}

/// What has become of an order, for people.
fn warmed(answer: &Value) -> String {
    let mut lines = format!(
        "{} of {} answers filled; {} were good already\n",
        answer["filled"], answer["asked"], answer["current"]
    );
    if answer["without_session"] != 0 {
        lines.push_str(&format!(
            "{} without an idle session of their user and settings\n",
            answer["without_session"]
        ));
    }
    for refused in answer["refused"].as_array().into_iter().flatten() {
        let reason = refused["reason"].as_str().unwrap_or_default();
        lines.push_str(&format!("{} refused: {reason}\n", refused["count"]));
    }
    lines
}

fn list(client: &Client, is_json: bool) -> Result<String, ClientError> {
    let answer = client.get("cache", &[])?;
    Ok(if is_json { format!("{answer:#}") } else { page(&answer) })
}

/// The API's answer for people.
fn page(answer: &Value) -> String {
    if answer["enabled"] == false {
        return "there is no cache: cache.enabled is off".into();
    }
    let mut page = format!(
        "{} answers, {} of {}\n",
        answer["entries"],
        size(&answer["bytes"]),
        size(&answer["capacity_bytes"])
    );
    let rows = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // A JSON value itself takes no notice of the width it is asked for.
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    page.push_str("\ntag                             hits     misses   saved s    answers      size\n");
    for tag in rows("tags") {
        let hits = count(&tag["hits"]) + count(&tag["stale"]);
        let saved = tag["saved_ms"].as_f64().unwrap_or_default() / 1e3;
        page.push_str(&format!(
            "{:<24}{hits:>12}{:>11}{saved:>10.1}{:>11}{:>10}\n",
            text(&tag["tag"]),
            count(&tag["misses"]),
            count(&tag["entries"]),
            size(&tag["bytes"])
        ));
    }
    let bypassed = rows("bypassed");
    if !bypassed.is_empty() {
        page.push_str("\nnot cached, because             reads\n");
    }
    for reason in bypassed {
        page.push_str(&format!("{:<24}{:>13}\n", text(&reason["reason"]), count(&reason["count"])));
    }
    let kept = rows("kept");
    if !kept.is_empty() {
        page.push_str("\nstatement         mode          hits   cost ms     age s      size  tags\n");
    }
    for entry in kept {
        let number = |name: &str| entry[name].as_f64().unwrap_or_default();
        let tags: Vec<_> = entry["tags"].as_array().into_iter().flatten().map(text).collect();
        let old = if entry["current"] == false { " (old)" } else { "" };
        page.push_str(&format!(
            "{:<18}{:<8}{:>10}{:>10.2}{:>10.1}{:>10}  {}{old}\n",
            text(&entry["fingerprint"]),
            text(&entry["mode"]),
            count(&entry["hits"]),
            number("cost_ms"),
            number("age_s"),
            size(&entry["bytes"]),
            tags.join(",")
        ));
    }
    page
}

fn size(bytes: &Value) -> String {
    let bytes = bytes.as_f64().unwrap_or_default();
    match bytes {
        ..1024.0 => format!("{bytes} B"),
        ..1_048_576.0 => format!("{:.1} KiB", bytes / 1024.0),
        _ => format!("{:.1} MiB", bytes / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_to_warm_tell_what_became_of_them() {
        let answer = json!({"filled": 7, "asked": 10, "current": 3, "without_session": 2,
            "refused": [{"reason": "unexpected", "count": 1}]});
        let expected = "7 of 10 answers filled; 3 were good already\n\
            2 without an idle session of their user and settings\n1 refused: unexpected\n";
        assert_eq!(warmed(&answer), expected);
    }

    #[test]
    fn lists_are_for_people() {
        let answer = json!({
            "enabled": true, "bytes": 2048, "capacity_bytes": 67_108_864, "entries": 1,
            "tags": [{"tag": "product", "hits": 9, "stale": 1, "misses": 2, "saved_ms": 1500.0, "entries": 1, "bytes": 700}],
            "bypassed": [{"reason": "in_transaction", "count": 4}],
            "kept": [{"fingerprint": "00000000000000aa", "mode": "commit", "hits": 10, "cost_ms": 150.0, "age_s": 3.0,
                "bytes": 700, "tags": ["product", "x"], "current": false}],
        });
        let page = page(&answer);
        for line in [
            "1 answers, 2.0 KiB of 64.0 MiB",
            "product                           10          2       1.5          1     700 B",
            "in_transaction                      4",
            "00000000000000aa  commit          10    150.00       3.0     700 B  product,x (old)",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert!(super::page(&json!({"enabled": false})).contains("cache.enabled"));
    }
}
