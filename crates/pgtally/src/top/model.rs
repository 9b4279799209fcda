//! What `top` shows and what keys do, without a terminal.

mod plan;

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

pub(super) use self::plan::Plan;
use super::live::Told;
use super::rows::{Row, rows, tapped};
use crate::explain::Question;
use crate::filter::{Filter, has};

/// One list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Findings,
    Routes,
    Statements,
    Sessions,
    /// Statements as they end.
    Tap,
}

impl View {
    pub(super) const ALL: [Self; 5] =
        [Self::Findings, Self::Routes, Self::Statements, Self::Sessions, Self::Tap];

    /// Name in the API, and of the list in its answers.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Findings => "findings",
            Self::Routes => "routes",
            Self::Statements => "statements",
            Self::Sessions => "sessions",
            Self::Tap => "tap",
        }
    }

    /// Orders of the list, the first being its own.
    const fn orders(self) -> &'static [&'static str] {
        match self {
            Self::Findings | Self::Sessions => &[""],
            Self::Routes => &["queries", "requests", "total", "duration", "similar", "errors"],
            Self::Statements => &["total", "calls", "mean", "p95", "rows", "errors"],
            Self::Tap => &["", BY_DURATION],
        }
    }
}

/// Order of the live stream: the slowest first instead of the latest.
const BY_DURATION: &str = "duration";
/// Statements of the live stream that are kept.
const LIVE_MAX: usize = 1_000;

/// What is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) path: &'static str,
    pub(super) is_paused: bool,
    filter: String,
    order: &'static str,
}

impl Query {
    /// The filter of what is to be followed, where this is the live stream.
    pub(super) fn followed(&self) -> Option<&str> {
        (self.path == View::Tap.name()).then_some(self.filter.as_str())
    }

    pub(super) fn pairs(&self) -> Vec<(&str, &str)> {
        let order = (!self.order.is_empty()).then_some(("sort", self.order));
        [("filter", &*self.filter), ("limit", "500")].into_iter().chain(order).collect()
    }
}

/// What a key asks the terminal to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Copy(String),
    /// In the user's editor, before it is explained.
    Edit(Question),
    /// With the number of its answer.
    Explain(u64, Question),
    Export(String),
    None,
    Quit,
}

/// What the keys go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A row with all that is known of it.
    Detail {
        scroll: u16,
    },
    /// The filter is typed.
    Filter(String),
    Help {
        scroll: u16,
    },
    List,
    /// The plan of a statement.
    Plan {
        down: u16,
        across: u16,
    },
    /// A text to look for in what is shown is typed.
    Search,
}

/// All of it.
pub(super) struct Model {
    pub(super) url: String,
    pub(super) view: View,
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) search: String,
    pub(super) is_paused: bool,
    /// What went wrong, or what was done, last.
    pub(super) message: String,
    pub(super) is_complete: bool,
    pub(super) selected: usize,
    order: usize,
    all: Vec<Row>,
    answer: Value,
    /// Statements of the live stream, latest first.
    live: VecDeque<Value>,
    /// The one asked for last.
    pub(super) plan: Option<Plan>,
    plans_asked: u64,
}

impl Model {
    pub(super) fn new(url: &str, filter: String) -> Self {
        Self {
            url: url.to_owned(),
            view: View::Findings,
            mode: Mode::List,
            filter,
            search: String::new(),
            is_paused: false,
            message: "asking …".into(),
            is_complete: true,
            selected: 0,
            order: 0,
            all: Vec::new(),
            answer: Value::Null,
            live: VecDeque::new(),
            plan: None,
            plans_asked: 0,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.view.name()
    }

    pub(super) fn order(&self) -> &'static str {
        self.view.orders().get(self.order).copied().unwrap_or_default()
    }

    pub(super) fn query(&self) -> Query {
        Query {
            path: self.view.name(),
            is_paused: self.is_paused,
            filter: self.filter.clone(),
            // The stream comes as it comes.
            order: if self.view == View::Tap { "" } else { self.order() },
        }
    }

    pub(super) fn say(&mut self, message: String) {
        self.message = message;
    }

    /// Takes an answer in, unless something else is wanted by now.
    pub(super) fn take(&mut self, query: &Query, result: Result<Value, String>) {
        if *query != self.query() {
            return;
        }
        match result {
            Ok(answer) => {
                self.is_complete = answer.get("complete").and_then(Value::as_bool).unwrap_or(true);
                self.all = rows(self.view, &answer);
                self.answer = answer;
                self.message.clear();
                self.select(self.selected);
            }
            Err(problem) => self.message = problem,
        }
    }

    /// Takes in what the live stream has told.
    pub(super) fn take_live(&mut self, news: Vec<Told>) {
        if self.view != View::Tap || self.is_paused {
            return;
        }
        let row = self.row().map(|row| row.cells.clone());
        let is_held = self.selected > 0 || matches!(self.mode, Mode::Detail { .. } | Mode::Plan { .. });
        self.message.clear();
        for told in news {
            match told {
                Told::Dropped(dropped) => {
                    self.message = format!("{dropped} statements not shown: too many at once, filter");
                }
                Told::Problem(problem) => self.message = problem,
                Told::Statement(statement) => self.live.push_front(statement),
            }
        }
        self.live.truncate(LIVE_MAX);
        self.all = self.live.iter().map(tapped).collect();
        // Whoever looks at a row keeps it; at the head of the list the newest is shown.
        let held =
            row.filter(|_| is_held).and_then(|cells| self.rows().iter().position(|it| it.cells == cells));
        self.select(held.unwrap_or(self.selected));
    }

    /// The rows that the search lets through.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let wanted = self.search.to_lowercase();
        let fits = |row: &&Row| wanted.is_empty() || row.cells.iter().any(|cell| has(cell, &wanted));
        let mut rows: Vec<&Row> = self.all.iter().filter(fits).collect();
        if self.view == View::Tap && self.order() == BY_DURATION {
            rows.sort_by(|one, two| two.duration_ms.total_cmp(&one.duration_ms));
        }
        rows
    }

    pub(super) fn row(&self) -> Option<&Row> {
        self.rows().get(self.selected).copied()
    }

    fn select(&mut self, index: usize) {
        self.selected = index.min(self.rows().len().saturating_sub(1));
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: KeyEvent) -> Action {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Action::Quit;
        }
        match self.mode.clone() {
            Mode::Detail { scroll } => self.press_in_detail(key.code, scroll),
            Mode::Filter(text) => self.press_in_filter(key.code, text),
            Mode::Help { scroll } => {
                self.mode = match key.code {
                    KeyCode::Char('j') | KeyCode::Down => Mode::Help { scroll: scroll.saturating_add(1) },
                    KeyCode::Char('k') | KeyCode::Up => Mode::Help { scroll: scroll.saturating_sub(1) },
                    _ => Mode::List,
                };
                Action::None
            }
            Mode::List => self.press_in_list(key.code, is_control),
            Mode::Plan { down, across } => self.press_in_plan(key.code, down, across),
            Mode::Search => self.press_in_search(key.code),
        }
    }

    fn press_in_list(&mut self, key: KeyCode, is_control: bool) -> Action {
        const PAGE: usize = 10;
        match key {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('d') if is_control => self.select(self.selected + PAGE),
            KeyCode::Char('u') if is_control => self.select(self.selected.saturating_sub(PAGE)),
            KeyCode::PageDown => self.select(self.selected + PAGE),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(PAGE)),
            KeyCode::Char('j') | KeyCode::Down => self.select(self.selected + 1),
            KeyCode::Char('k') | KeyCode::Up => self.select(self.selected.saturating_sub(1)),
            KeyCode::Char('g') | KeyCode::Home => self.select(0),
            KeyCode::Char('G') | KeyCode::End => self.select(usize::MAX),
            KeyCode::Enter if self.row().is_some() => self.mode = Mode::Detail { scroll: 0 },
            KeyCode::Char('/') => self.mode = Mode::Search,
            KeyCode::Char('f') => self.mode = Mode::Filter(self.filter.clone()),
            KeyCode::Char('?') => self.mode = Mode::Help { scroll: 0 },
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => self.order = (self.order + 1) % self.view.orders().len(),
            KeyCode::Char('a') => self.change_view(View::Statements),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.step_view(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => self.step_view(View::ALL.len() - 1),
            KeyCode::Char('t') => self.change_view(View::Tap),
            KeyCode::Char(digit @ '1'..='5') => {
                let index = digit as usize - '1' as usize;
                if let Some(view) = View::ALL.get(index) {
                    self.change_view(*view);
                }
            }
            KeyCode::Char('c') => return self.copy(),
            KeyCode::Char('C') => return self.copy_with_values(),
            KeyCode::Char('w') => {
                return Action::Export(self.shown());
            }
            KeyCode::Esc => {
                self.search.clear();
                self.filter.clear();
                self.select(0);
            }
            key => return self.press_for_plan(key).unwrap_or(Action::None),
        }
        Action::None
    }

    /// What is shown, as JSON.
    fn shown(&self) -> String {
        let text = match self.view {
            View::Tap => serde_json::to_string_pretty(&self.live),
            _ => serde_json::to_string_pretty(&self.answer),
        };
        text.unwrap_or_default()
    }

    fn press_in_detail(&mut self, key: KeyCode, scroll: u16) -> Action {
        match key {
            KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter => self.mode = Mode::List,
            KeyCode::Char('j') | KeyCode::Down => {
                self.mode = Mode::Detail { scroll: scroll.saturating_add(1) }
            }
            KeyCode::Char('k') | KeyCode::Up => self.mode = Mode::Detail { scroll: scroll.saturating_sub(1) },
            KeyCode::Char('c') => return self.copy(),
            KeyCode::Char('C') => return self.copy_with_values(),
            key => return self.press_for_plan(key).unwrap_or(Action::None),
        }
        Action::None
    }

    fn press_in_filter(&mut self, key: KeyCode, mut text: String) -> Action {
        match key {
            KeyCode::Enter => match Filter::parse(&text) {
                Ok(_) => {
                    self.filter = text;
                    self.selected = 0;
                    self.mode = Mode::List;
                }
                Err(error) => self.message = error.to_string(),
            },
            KeyCode::Esc => self.mode = Mode::List,
            _ => {
                self.message.clear();
                edit(&mut text, key);
                self.mode = Mode::Filter(text);
            }
        }
        Action::None
    }

    fn press_in_search(&mut self, key: KeyCode) -> Action {
        match key {
            KeyCode::Enter => self.mode = Mode::List,
            KeyCode::Esc => {
                self.search.clear();
                self.mode = Mode::List;
            }
            _ => edit(&mut self.search, key),
        }
        self.select(0);
        Action::None
    }

    fn copy(&mut self) -> Action {
        match self.row().map(|row| row.copy.clone()) {
            Some(text) => self.copied(text),
            None => Action::None,
        }
    }

    fn copied(&mut self, text: String) -> Action {
        self.message = "copied, where the terminal allows it".into();
        Action::Copy(text)
    }

    fn step_view(&mut self, step: usize) {
        let at = View::ALL.iter().position(|view| *view == self.view).unwrap_or(0);
        if let Some(view) = View::ALL.get((at + step) % View::ALL.len()) {
            self.change_view(*view);
        }
    }

    fn change_view(&mut self, view: View) {
        if self.view != view {
            self.view = view;
            (self.order, self.selected) = (0, 0);
            (self.all, self.answer) = (Vec::new(), Value::Null);
            self.live.clear();
            self.message = if view == View::Tap { String::new() } else { "asking …".into() };
        }
    }
}

/// Characters of a filter or a search.
const INPUT_CHARS: usize = 300;

fn edit(text: &mut String, key: KeyCode) {
    match key {
        KeyCode::Backspace => drop(text.pop()),
        KeyCode::Char(character) if text.chars().count() < INPUT_CHARS => text.push(character),
        _ => {}
    }
}
