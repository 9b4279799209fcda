//! Plays a scenario to observers as the wire would bring it, and asks the rules.

use std::collections::BTreeMap;

use pgtally_analysis::{
    Catalog, Confidence, FindingSettings, History, KnownShape, Moment, ObserverSettings, Request,
    SessionObserver, Worker, evaluate,
};
use pgtally_fingerprint::Fingerprint;
use pgtally_protocol::startup::{Packet, Startup, parse};

use crate::scenario::{Expected, Scenario, Step, substitute};
use crate::wire::{Value, message, type_oid};
use crate::{backend, frontend};

const MS: u64 = 1_000_000;

/// What the rules say about a scenario, each finding once, in order of kind.
///
/// # Panics
/// When the scenario makes no sense.
#[must_use]
pub fn play(scenario: &Scenario) -> Vec<Expected> {
    let mut player = Player::new();
    player.steps(&scenario.steps).unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
    let mode = if scenario.is_run_mode { FindingSettings::run_mode() } else { FindingSettings::default() };
    player.judge(&mode)
}

struct Player {
    worker: Worker,
    sessions: BTreeMap<u64, Session>,
    current: u64,
    now: Moment,
    variables: Vec<(String, i64)>,
    tag: String,
    cost_ns: u64,
    think_ns: u64,
    /// Bytes of both directions held back while a pipeline is written.
    pipeline: Option<(Vec<u8>, Vec<u8>)>,
}

struct Session {
    observer: SessionObserver,
    status: u8,
}

impl Player {
    fn new() -> Self {
        let worker = Worker::new(ObserverSettings::default());
        let mut player = Self {
            worker,
            sessions: BTreeMap::new(),
            current: 1,
            now: Moment(1_000_000 * MS),
            variables: Vec::new(),
            tag: String::new(),
            cost_ns: MS / 2,
            think_ns: MS / 10,
            pipeline: None,
        };
        player.open("");
        player
    }

    /// Opens the current session with `name=value` parameters.
    fn open(&mut self, parameters: &str) {
        let words = parameters.split_whitespace().filter_map(|word| word.split_once('='));
        let startup: Vec<_> = [("user", "app"), ("database", "shop")].into_iter().chain(words).collect();
        let startup: Startup = match parse(&frontend::startup(&startup)) {
            Ok(Packet::Startup(startup)) => startup,
            other => panic!("not a startup packet: {other:?}"),
        };
        let mut observer = SessionObserver::new(self.current, &startup, &mut self.worker);
        observer.backend(&backend::greeting(), self.now, &mut self.worker).expect("a greeting");
        if let Some(mut old) = self.sessions.insert(self.current, Session { observer, status: b'I' }) {
            old.observer.close(&mut self.worker);
        }
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), String> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Command(line) => self.command(&substitute(line, &self.variables)?),
            Step::For(name, from, to, steps) => {
                for value in *from..=*to {
                    self.variables.push((name.clone(), value));
                    self.steps(steps)?;
                    self.variables.pop();
                }
                Ok(())
            }
            Step::Pipeline(steps) => {
                self.pipeline = Some(Default::default());
                self.steps(steps)?;
                let (sent, answered) = self.pipeline.take().unwrap_or_default();
                self.exchange(&sent, &answered)
            }
            Step::Statement { is_extended, text, answer } => {
                let text = substitute(text, &self.variables)?;
                let answer = self.answer(&text, answer)?;
                self.statement(*is_extended, &text, &answer)
            }
        }
    }

    fn command(&mut self, line: &str) -> Result<(), String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let ns =
            || rest.parse::<f64>().map(|ms| (ms * MS as f64) as u64).map_err(|_| format!("no time: {line}"));
        match verb {
            "comment" => self.tag = format!(" /*{rest}*/"),
            "cost" => self.cost_ns = ns()?,
            "gap" => {
                self.now.0 += ns()?;
                for session in self.sessions.values_mut() {
                    session.observer.sweep(self.now, &mut self.worker);
                }
            }
            "open" => self.open(rest),
            "request" => {
                let (number, route) = rest.split_once(' ').unwrap_or((rest, "/page"));
                let number: u32 = number.parse().map_err(|_| format!("no number: {line}"))?;
                self.tag = format!(" /*route='{route}',traceparent='00-{number:032x}-b7ad6b7169203331-01'*/");
            }
            "session" => {
                self.current = rest.parse().map_err(|_| format!("no number: {line}"))?;
                if !self.sessions.contains_key(&self.current) {
                    self.open("");
                }
            }
            "think" => self.think_ns = ns()?,
            "untagged" => self.tag.clear(),
            _ => return Err(format!("no such command: {line}")),
        }
        Ok(())
    }

    fn statement(&mut self, is_extended: bool, text: &str, answer: &Answer) -> Result<(), String> {
        let status = self.status_after(text, answer);
        let complete = |rows: &[Vec<u8>]| [rows.concat(), answer.end.clone()].concat();
        let ready = backend::ready(status);
        if !is_extended {
            let sent = frontend::query(&format!("{text}{}", self.tag));
            let described = answer.description.clone().unwrap_or_default();
            let answered = [described, complete(&answer.rows), ready].concat();
            return self.exchange(&sent, &answered);
        }
        let (text, values) = text.split_once(" ; ").unwrap_or((text, ""));
        let values: Vec<Value> =
            values.split(", ").map(str::trim).filter(|it| !it.is_empty()).map(value).collect();
        let sent = frontend::extended(&format!("{text}{}", self.tag), &[], &values, false);
        let described = answer.description.clone().unwrap_or_else(|| message(b'n', b""));
        let begun = [message(b'1', b""), message(b'2', b"")].concat();
        self.exchange(&sent, &[begun, described, complete(&answer.rows), ready].concat())
    }

    fn exchange(&mut self, sent: &[u8], answered: &[u8]) -> Result<(), String> {
        if let Some((waiting, answers)) = &mut self.pipeline {
            waiting.extend(sent);
            answers.extend(answered);
            return Ok(());
        }
        let session = self.sessions.get_mut(&self.current).ok_or("no session")?;
        self.now.0 += self.think_ns;
        let seen = session.observer.frontend(sent, self.now, &mut self.worker);
        seen.map_err(|error| error.to_string())?;
        self.now.0 += self.cost_ns;
        let seen = session.observer.backend(answered, self.now, &mut self.worker);
        seen.map_err(|error| error.to_string())
    }

    fn status_after(&mut self, text: &str, answer: &Answer) -> u8 {
        let Some(session) = self.sessions.get_mut(&self.current) else { return b'I' };
        let word = text.split([' ', ';']).next().unwrap_or("").to_ascii_uppercase();
        session.status = match word.as_str() {
            "BEGIN" | "START" => b'T',
            "COMMIT" | "END" => b'I',
            "ROLLBACK" if !text.to_ascii_uppercase().contains(" TO ") => b'I',
            "ROLLBACK" if session.status != b'I' => b'T',
            _ if answer.is_error && session.status != b'I' => b'E',
            _ => session.status,
        };
        session.status
    }

    fn answer(&self, text: &str, answer: &str) -> Result<Answer, String> {
        let answer = substitute_head(answer, &self.variables)?;
        let word = text.split([' ', ';']).next().unwrap_or("").to_ascii_uppercase();
        if let Some(sqlstate) = answer.strip_prefix("error ") {
            let end = backend::report(b'E', "ERROR", sqlstate, "refused");
            return Ok(Answer { end, is_error: true, ..Answer::default() });
        }
        if text.trim().trim_end_matches(';').is_empty() {
            return Ok(Answer { end: message(b'I', b""), ..Answer::default() });
        }
        let gives_rows = matches!(word.as_str(), "FETCH" | "SELECT" | "SHOW" | "WITH");
        let (columns, rows) = match (answer.is_empty(), answer.strip_prefix("affected ")) {
            (true, _) if gives_rows => ("value:text", vec!["v".to_owned()]),
            (true, _) | (_, Some(_)) => ("", Vec::new()),
            (false, None) => {
                let (columns, rows) = answer.split_once('|').unwrap_or((&answer, ""));
                (columns, self.rows(rows)?)
            }
        };
        let affected = answer.strip_prefix("affected ").and_then(|it| it.parse().ok());
        let count = affected.unwrap_or(if rows.is_empty() && !gives_rows { 1 } else { rows.len() });
        let end = backend::command_complete(&complete_tag(&word, text, count));
        let columns: Vec<&str> = columns.split_whitespace().collect();
        let described: Vec<_> = columns.iter().map(|it| column(it)).collect();
        let row = |row: &String| backend::data_row(&row.split_whitespace().map(cell).collect::<Vec<_>>());
        Ok(Answer {
            description: (!columns.is_empty()).then(|| backend::row_description(&described)),
            rows: rows.iter().map(row).collect(),
            end,
            is_error: false,
        })
    }

    fn rows(&self, text: &str) -> Result<Vec<String>, String> {
        let mut rows = Vec::new();
        for part in text.split('|').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((range, pattern)) = part.split_once(" : ") else {
                rows.push(substitute(part, &self.variables)?);
                continue;
            };
            let (from, to) = range.split_once("..").ok_or_else(|| format!("no range: {part}"))?;
            let number = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("no number: {part}"));
            for n in number(from)?..=number(to)? {
                let mut variables = self.variables.clone();
                variables.push(("n".into(), n));
                rows.push(substitute(pattern, &variables)?);
            }
        }
        Ok(rows)
    }

    /// Everything that was observed, request by request, as the aggregator would have it judged.
    fn judge(mut self, settings: &FindingSettings) -> Vec<Expected> {
        for session in self.sessions.values_mut() {
            session.observer.close(&mut self.worker);
        }
        let mut requests: Vec<Request> = Vec::new();
        for part in self.worker.take_parts() {
            match requests.iter_mut().find(|it| *it.key() == part.key) {
                Some(request) => request.absorb(part),
                None => requests.push(Request::new(part)),
            }
        }
        let shapes: BTreeMap<Fingerprint, KnownShape> =
            self.worker.take_new_shapes().into_iter().map(known).collect();
        let shapes = |fingerprint: Fingerprint| shapes.get(&fingerprint).cloned();
        let (mut catalog, mut history) = (Catalog::new(), History::new());
        let mut found = BTreeMap::new();
        for request in &requests {
            catalog.learn_request(request, &shapes);
            history.observe(request, &shapes);
            for it in evaluate(request, &shapes, &catalog, settings, &history) {
                let column = it.parent.map(|parent| parent.column).filter(|column| !column.is_empty());
                let confidence = match it.confidence {
                    Confidence::High => "high",
                    Confidence::Medium => "medium",
                    Confidence::Info => "info",
                };
                let kind = it.kind.name().to_owned();
                found.insert(it.id, Expected { kind, confidence: Some(confidence.into()), column });
            }
        }
        let mut found: Vec<Expected> = found.into_values().collect();
        found.sort_by(|one, other| (&one.kind, &one.column).cmp(&(&other.kind, &other.column)));
        found
    }
}

#[derive(Default)]
struct Answer {
    description: Option<Vec<u8>>,
    rows: Vec<Vec<u8>>,
    end: Vec<u8>,
    is_error: bool,
}

fn known(shape: std::sync::Arc<pgtally_analysis::Shape>) -> (Fingerprint, KnownShape) {
    let facts = pgtally_parsetree::facts(&shape.text).into();
    (shape.fingerprint, KnownShape { shape, facts })
}

/// Rows that stand for many are substituted row by row.
fn substitute_head(answer: &str, variables: &[(String, i64)]) -> Result<String, String> {
    if answer.contains(" : ") { Ok(answer.to_owned()) } else { substitute(answer, variables) }
}

fn complete_tag(word: &str, text: &str, count: usize) -> String {
    match word {
        "BEGIN" | "COMMIT" | "FETCH" | "ROLLBACK" | "SELECT" | "SHOW" | "WITH" => match word {
            "FETCH" => format!("FETCH {count}"),
            "SELECT" | "WITH" => format!("SELECT {count}"),
            _ => word.to_owned(),
        },
        "CLOSE" => "CLOSE CURSOR".into(),
        "DECLARE" => "DECLARE CURSOR".into(),
        "DISCARD" => "DISCARD ALL".into(),
        "INSERT" => format!("INSERT 0 {count}"),
        "COPY" | "DELETE" | "UPDATE" => format!("{word} {count}"),
        "CREATE" | "ALTER" | "DROP" => text.split(' ').take(2).collect::<Vec<_>>().join(" "),
        _ => word.to_owned(),
    }
}

/// `table.column:type`; OIDs follow from the names.
fn column(text: &str) -> backend::Column<'_> {
    let (name, type_name) = text.split_once(':').unwrap_or((text, "int4"));
    let number = |text: &str| text.bytes().fold(7_u32, |all, byte| (all * 31 + u32::from(byte)) % 9_973);
    let (label, origin) = match name.split_once('.') {
        Some((table, column)) => (column, (16_384 + number(table), number(column) as u16 + 1)),
        None => (name, (0, 0)),
    };
    backend::Column { label, type_oid: type_oid(type_name).unwrap_or(25), origin }
}

/// A bound value; `[1,2]` is an array.
fn value(text: &str) -> Value {
    Value::text(text.replace('[', "{").replace(']', "}"))
}

fn cell(text: &str) -> Value {
    match text.split_once(':') {
        Some(("wide", length)) => Value::text("x".repeat(length.parse().unwrap_or(0))),
        _ if text == "null" => Value::Null,
        _ => Value::text(text),
    }
}
