//! `pgtally top`: findings, routes, statements, sessions and the live tap of a running pgtally, in a terminal.
//!
//! [`Model`] is pure: keys and answers in, and what is to be done. `screen.rs` draws it, `rows.rs` makes rows of
//! answers. Here are the terminal and the thread that asks, so that a slow answer never holds a key.

mod editor;
mod live;
mod model;
mod rows;
mod screen;

use std::io::{self, IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde_json::Value;

use self::live::Follower;
use self::model::{Action, Model, Query};
use crate::client::{AdminArgs, Client};
use crate::explain::{self, ExplainError, Question};
use crate::filter::{Filter, HELP};
use crate::logging::with_causes;

/// How often the list is asked for anew.
const REFRESH: Duration = Duration::from_secs(1);
/// How long a key may wait for an answer to be drawn.
const POLL: Duration = Duration::from_millis(100);
/// Exit code of a command line that makes no sense.
const EXIT_USAGE: u8 = 2;

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Where EXPLAIN is asked: a URL in the form of any framework, or libpq's variables; best by its variable, as
    /// others on this machine see command lines
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    #[arg(help = format!("What to show: {HELP}"), value_name = "FILTER", allow_hyphen_values = true)]
    filter: Vec<String>,
}

/// An answer to what was asked.
struct Answer {
    query: Query,
    result: Result<Value, String>,
}

pub(crate) fn run(args: &TopArgs) -> ExitCode {
    let filter = args.filter.join(" ");
    if let Err(error) = Filter::parse(&filter) {
        eprintln!("pgtally top: {error}");
        return ExitCode::from(EXIT_USAGE);
    }
    if !stdout().is_terminal() {
        eprintln!("pgtally top: this is no terminal; `pgtally tap` prints lines");
        return ExitCode::from(EXIT_USAGE);
    }
    let client = Client::new(&args.admin);
    let mut model = Model::new(client.url(), filter);
    let follower = Follower::new(client.clone());
    let (asks, questions) = channel();
    let (replies, answers) = channel();
    thread::spawn(move || ask(&client, &questions, &replies));
    // Puts the terminal back in every case, a panic too.
    let shown = ratatui::try_init().and_then(|mut terminal| {
        let mut shell = Shell { asks, answers, follower, plans: Plans::new(args.database_url.clone()) };
        let shown = shell.show(&mut terminal, &mut model);
        ratatui::try_restore()?;
        shown
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgtally top: the terminal does not work: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Asks what the model wants to see, at once when that changes and every second else.
fn ask(client: &Client, questions: &Receiver<Query>, replies: &Sender<Answer>) {
    let mut query = None;
    loop {
        match questions.recv_timeout(REFRESH) {
            Ok(next) => query = Some(next),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Only the last of several counts.
        query = questions.try_iter().last().or(query);
        let is_asked = |query: &Query| !query.is_paused && query.followed().is_none();
        let Some(query) = query.clone().filter(is_asked) else { continue };
        let result = client.get(query.path, &query.pairs()).map_err(|error| with_causes(&error));
        if replies.send(Answer { query, result }).is_err() {
            return;
        }
    }
}

/// Plans that were asked for, each by a thread of its own: a statement that runs holds no key.
struct Plans {
    database_url: Option<String>,
    told: Sender<(u64, Result<String, ExplainError>)>,
    news: Receiver<(u64, Result<String, ExplainError>)>,
}

impl Plans {
    fn new(database_url: Option<String>) -> Self {
        let (told, news) = channel();
        Self { database_url, told, news }
    }

    fn ask(&self, number: u64, question: Question) {
        let (url, told) = (self.database_url.clone(), self.told.clone());
        thread::spawn(move || {
            let _ = told.send((number, explain::ask(url.as_deref(), &question)));
        });
    }
}

/// What the model works with.
struct Shell {
    asks: Sender<Query>,
    answers: Receiver<Answer>,
    follower: Follower,
    plans: Plans,
}

impl Shell {
    /// Draws whenever something has changed, until the user has seen enough.
    fn show(&mut self, terminal: &mut DefaultTerminal, model: &mut Model) -> io::Result<()> {
        let mut asked = None;
        let mut is_stale = true;
        loop {
            let query = model.query();
            if asked.as_ref() != Some(&query) {
                asked = Some(query.clone());
                match query.followed() {
                    Some(filter) if !query.is_paused => self.follower.follow(filter),
                    _ => drop(self.follower.stop()),
                }
                let _ = self.asks.send(query);
            }
            if std::mem::take(&mut is_stale) {
                terminal.draw(|frame| screen::draw(frame, model))?;
            }
            if event::poll(POLL)? {
                if let Event::Key(key) = event::read()?
                    && key.kind != KeyEventKind::Release
                {
                    let action = model.press(key);
                    if action == Action::Quit {
                        return Ok(());
                    }
                    self.perform(action, terminal, model)?;
                }
                is_stale = true;
            }
            is_stale |= self.take_news(model);
        }
    }

    fn perform(&self, action: Action, terminal: &mut DefaultTerminal, model: &mut Model) -> io::Result<()> {
        match action {
            Action::Copy(text) => copy(&text)?,
            Action::Edit(question) => match editor::edit(terminal, &question.statement)? {
                Ok(statement) => {
                    // What was edited says its values itself.
                    let values = question.values.filter(|_| statement == question.statement);
                    let action = model.explain(Question { statement, values, ..question });
                    self.perform(action, terminal, model)?;
                }
                Err(problem) => model.say(problem),
            },
            Action::Explain(number, question) => self.plans.ask(number, question),
            Action::Export(text) => model.say(export(model.name(), &text)),
            Action::None | Action::Quit => {}
        }
        Ok(())
    }

    /// Whether there were any.
    fn take_news(&self, model: &mut Model) -> bool {
        let mut is_stale = false;
        let news = self.follower.news();
        if !news.is_empty() {
            model.take_live(news);
            is_stale = true;
        }
        for answer in self.answers.try_iter() {
            model.take(&answer.query, answer.result);
            is_stale = true;
        }
        for (number, answer) in self.plans.news.try_iter() {
            model.take_plan(number, answer);
            is_stale = true;
        }
        is_stale
    }
}

/// Asks the terminal to put a text on the clipboard (OSC 52), which works over ssh too.
fn copy(text: &str) -> io::Result<()> {
    let mut out = stdout();
    write!(out, "\x1b]52;c;{}\x07", STANDARD.encode(text))?;
    out.flush()
}

/// Writes what is shown to a new file; answers with what became of it.
fn export(name: &str, text: &str) -> String {
    let path = (1..).map(|number| format!("pgtally-{name}-{number}.json"));
    let created = path.take(1_000).find_map(|path| {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
        match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            other => Some((path, other)),
        }
    });
    match created {
        Some((path, Ok(mut file))) => match file.write_all(text.as_bytes()) {
            Ok(()) => format!("written to {path}"),
            Err(error) => format!("cannot write {path}: {error}"),
        },
        Some((path, Err(error))) => format!("cannot write {path}: {error}"),
        None => "there are too many exports here already".into(),
    }
}
