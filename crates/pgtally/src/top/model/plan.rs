//! The plan of a statement: what keys ask for, and what is shown of the answer.

use ratatui::crossterm::event::KeyCode;

use super::{Action, Mode, Model};
use crate::explain::{ExplainError, Question, with_values};
use crate::logging::with_causes;
use crate::web::text::visible;

/// Columns that one key scrolls across.
const ACROSS: u16 = 8;

/// A plan that was asked for.
#[derive(Debug)]
pub(in crate::top) struct Plan {
    pub(in crate::top) question: Question,
    pub(in crate::top) state: PlanState,
    /// Tells its answer from those to earlier questions.
    number: u64,
}

#[derive(Debug)]
pub(in crate::top) enum PlanState {
    Asked,
    Known(String),
    Refused(String),
    /// It was not executed, as it is more than a read.
    Writes,
}

impl Plan {
    /// What stands above it.
    pub(in crate::top) fn title(&self) -> &'static str {
        match (self.question.runs, &self.state) {
            (_, PlanState::Asked) => "asking PostgreSQL …",
            (true, PlanState::Known(_)) => "EXPLAIN ANALYZE, rolled back",
            (true, _) => "EXPLAIN ANALYZE",
            (false, _) if self.question.values.is_some() => "EXPLAIN",
            (false, _) => "EXPLAIN, for any values",
        }
    }

    /// Whether there is a plan; else there are words.
    pub(in crate::top) fn is_known(&self) -> bool {
        matches!(self.state, PlanState::Known(_))
    }

    /// What there is to read, line by line.
    pub(in crate::top) fn text(&self) -> &str {
        match &self.state {
            PlanState::Asked => "",
            PlanState::Known(text) | PlanState::Refused(text) => text,
            PlanState::Writes => {
                "It writes, or locks rows, and was not executed.\n\n\
                 y executes it and rolls it back. Sequences it draws from, and whatever its functions do outside of \
                 the database, are not rolled back."
            }
        }
    }
}

impl Model {
    /// What is to be asked about the row that is selected.
    fn question(&self, runs: bool) -> Option<Question> {
        let row = self.row()?;
        let statement = row.statement.clone()?;
        let (values, database) = (row.values.clone(), row.database.clone());
        Some(Question { statement, values, database, runs, may_write: false })
    }

    /// Keys that say the same in the list, the inspector and the plan.
    pub(super) fn press_for_plan(&mut self, key: KeyCode) -> Option<Action> {
        let (runs, is_edited) = match key {
            KeyCode::Char('x') => (false, false),
            KeyCode::Char('X') => (true, false),
            KeyCode::Char('e') => (false, true),
            KeyCode::Char('E') => (true, true),
            _ => return None,
        };
        let shown = self.plan.as_ref().filter(|_| matches!(self.mode, Mode::Plan { .. }));
        let question = match shown {
            Some(plan) => Some(Question { runs, may_write: false, ..plan.question.clone() }),
            None => self.question(runs),
        };
        Some(match question {
            None => {
                self.message = "there is no statement here to explain".into();
                Action::None
            }
            Some(question) if is_edited => Action::Edit(question),
            Some(question) => self.explain(question),
        })
    }

    /// Asks for a plan, and shows that.
    pub(in crate::top) fn explain(&mut self, question: Question) -> Action {
        self.plans_asked += 1;
        let number = self.plans_asked;
        self.plan = Some(Plan { question: question.clone(), state: PlanState::Asked, number });
        self.mode = Mode::Plan { down: 0, across: 0 };
        Action::Explain(number, question)
    }

    /// Takes in what was answered to the question of this number, unless another one was asked since.
    pub(in crate::top) fn take_plan(&mut self, number: u64, answer: Result<String, ExplainError>) {
        let Some(plan) = self.plan.as_mut().filter(|plan| plan.number == number) else { return };
        plan.state = match answer {
            Ok(text) => PlanState::Known(visible(&text)),
            Err(ExplainError::Writes) => PlanState::Writes,
            Err(error) => PlanState::Refused(visible(&with_causes(&error))),
        };
    }

    pub(super) fn press_in_plan(&mut self, key: KeyCode, down: u16, across: u16) -> Action {
        let (mut down, mut across) = (down, across);
        match key {
            KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter => {
                self.mode = Mode::List;
                return Action::None;
            }
            KeyCode::Char('j') | KeyCode::Down => down = self.lines_of_plan().min(down.saturating_add(1)),
            KeyCode::Char('k') | KeyCode::Up => down = down.saturating_sub(1),
            KeyCode::Char('l') | KeyCode::Right => across = across.saturating_add(ACROSS),
            KeyCode::Char('h') | KeyCode::Left => across = across.saturating_sub(ACROSS),
            KeyCode::Char('g') | KeyCode::Home => (down, across) = (0, 0),
            KeyCode::Char('c') => {
                let text = self.plan.as_ref().map(|plan| plan.text().to_owned()).unwrap_or_default();
                return self.copied(text);
            }
            KeyCode::Char('y') => return self.permit(),
            key => return self.press_for_plan(key).unwrap_or(Action::None),
        }
        self.mode = Mode::Plan { down, across };
        Action::None
    }

    /// Executes a statement that writes, once the user has seen that it does.
    fn permit(&mut self) -> Action {
        let asked = self.plan.as_ref().filter(|plan| matches!(plan.state, PlanState::Writes));
        match asked.map(|plan| plan.question.clone()) {
            Some(question) => self.explain(Question { may_write: true, ..question }),
            None => Action::None,
        }
    }

    /// Lines above the last.
    fn lines_of_plan(&self) -> u16 {
        let lines = self.plan.as_ref().map_or(0, |plan| plan.text().lines().count().saturating_sub(1));
        u16::try_from(lines).unwrap_or(u16::MAX)
    }

    /// The statement that is selected, with its values or, where they are not known, with a place for each.
    pub(super) fn copy_with_values(&mut self) -> Action {
        let Some(question) = self.question(false) else { return Action::None };
        let values = question.values.as_ref().map(|values| values.iter().map(Option::as_deref));
        let text = with_values(&visible(&question.statement), values);
        let action = self.copied(text);
        if question.values.is_none() {
            self.message = "copied for psql; its values are not kept".into();
        }
        action
    }
}
