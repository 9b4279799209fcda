//! An observed session that runs the same statement again and again, with another value each time.
//!
//! A request has [`REQUEST_STATEMENTS`] statements. Tagged, each request has a trace id of its own; untagged, a pause
//! ends it. The worker is emptied at the pace of the proxy's tick. All of that is part of what a statement costs.
//!
//! A *busy* scenario is one of sessions that take turns without a pause, as under a load test: nothing tells requests
//! apart, and past the first records of each their statements are only counted.

use pgtally_analysis::{Moment, ObserverSettings, SessionObserver, Worker};
use pgtally_protocol::startup::Startup;
use pgtally_protocol::{Desync, backend};

use crate::wire;

/// Statements of one request: a page of an ordinary application.
pub const REQUEST_STATEMENTS: u64 = 20;
/// Statements between two visits of the worker's tick.
const TICK_STATEMENTS: u64 = 1_000;
const ANSWER_NS: u64 = 50_000;
const TURNAROUND_NS: u64 = 20_000;
/// Longer than any gap within a request, shorter than a part's life.
const PAUSE_NS: u64 = 200_000_000;
/// As many as the clients of the load benches.
const BUSY_SESSIONS: usize = 32;

/// Digits of a number that changes: the literal or parameter of each statement, the trace id of each request.
const DIGITS: usize = 8;
const LITERAL: &str = "17654321";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d13572468";

/// How the statement reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A `Query` with a literal.
    Simple,
    /// `Parse`, `Bind`, `Describe`, `Execute`, `Sync` with the unnamed statement.
    Extended,
    /// `Bind`, `Execute`, `Sync` of a named statement.
    Prepared,
}

/// What one statement of a session is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Name in baselines.
    pub name: &'static str,
    /// Protocol used.
    pub mode: Mode,
    /// Whether its text has a comment in the form of sqlcommenter.
    pub is_tagged: bool,
    /// Rows of its result.
    pub rows: u32,
    /// Sessions that take turns; with more than one, no pause ends a request.
    pub sessions: usize,
}

impl Scenario {
    const fn new(name: &'static str, mode: Mode, is_tagged: bool, rows: u32) -> Self {
        Self { name, mode, is_tagged, rows, sessions: 1 }
    }

    const fn busy(name: &'static str, mode: Mode) -> Self {
        Self { sessions: BUSY_SESSIONS, ..Self::new(name, mode, false, 1) }
    }

    /// All that are measured.
    pub const ALL: [Self; 14] = [
        Self::new("observer/simple", Mode::Simple, false, 1),
        Self::new("observer/simple-50-rows", Mode::Simple, false, 50),
        Self::new("observer/simple-tagged", Mode::Simple, true, 1),
        Self::new("observer/simple-tagged-50-rows", Mode::Simple, true, 50),
        Self::new("observer/extended", Mode::Extended, false, 1),
        Self::new("observer/extended-50-rows", Mode::Extended, false, 50),
        Self::new("observer/extended-tagged", Mode::Extended, true, 1),
        Self::new("observer/extended-tagged-50-rows", Mode::Extended, true, 50),
        Self::new("observer/prepared", Mode::Prepared, false, 1),
        Self::new("observer/prepared-50-rows", Mode::Prepared, false, 50),
        // More than anybody samples: what a row costs that is only counted.
        Self::new("observer/prepared-1000-rows", Mode::Prepared, false, 1_000),
        Self::busy("observer/simple-busy", Mode::Simple),
        Self::busy("observer/extended-busy", Mode::Extended),
        Self::busy("observer/prepared-busy", Mode::Prepared),
    ];
}

/// Sessions under observation and the bytes of their next statement.
pub struct Session {
    scenario: Scenario,
    observers: Vec<SessionObserver>,
    worker: Worker,
    now: u64,
    statements: u64,
    requests: u64,
    sent: Vec<u8>,
    literal_at: usize,
    trace_at: Option<usize>,
    answer: Vec<u8>,
}

impl Session {
    /// A session that has logged in, and prepared its statement where the scenario has one.
    ///
    /// # Errors
    /// When the observer takes the login for something else.
    pub fn start(scenario: Scenario) -> Result<Self, Desync> {
        let parameters = [("user", "app"), ("database", "shop"), ("application_name", "bench")];
        let parameters = parameters.map(|(name, value)| (name.into(), value.into())).to_vec();
        let mut worker = Worker::new(ObserverSettings::default());
        let startup = Startup { major: 3, minor: 0, parameters };
        let observers = (1..=scenario.sessions as u64)
            .map(|number| SessionObserver::new(number, &startup, &mut worker))
            .collect();
        let sent = statement(scenario);
        let mut session = Self {
            scenario,
            observers,
            worker,
            now: 1,
            statements: 0,
            requests: 0,
            literal_at: position(&sent, LITERAL).unwrap_or(0),
            trace_at: position(&sent, TRACE_ID).map(|at| at + TRACE_ID.len() - DIGITS),
            sent,
            answer: answer(scenario),
        };
        session.log_in()?;
        Ok(session)
    }

    fn log_in(&mut self) -> Result<(), Desync> {
        let mut greeting = Vec::new();
        wire::authentication_ok(&mut greeting);
        wire::ready(&mut greeting);
        let (mut parse, mut done) = (Vec::new(), Vec::new());
        wire::parse(&mut parse, "S_1", &text(self.scenario));
        wire::sync(&mut parse);
        wire::empty(&mut done, backend::PARSE_COMPLETE);
        wire::ready(&mut done);
        for observer in &mut self.observers {
            observer.backend(&greeting, Moment(self.now), &mut self.worker)?;
            if self.scenario.mode == Mode::Prepared {
                observer.frontend(&parse, Moment(self.now), &mut self.worker)?;
                observer.backend(&done, Moment(self.now), &mut self.worker)?;
            }
        }
        Ok(())
    }

    /// Runs the next statement, and what the shell does around it: requests begin, the tick passes.
    ///
    /// # Errors
    /// When the observer goes blind.
    pub fn run(&mut self) -> Result<(), Desync> {
        if self.scenario.sessions == 1 && self.statements.is_multiple_of(REQUEST_STATEMENTS) {
            self.begin_request();
        }
        if self.statements.is_multiple_of(TICK_STATEMENTS) {
            self.tick();
        }
        self.run_in_request()
    }

    /// Runs the next statement of the current request.
    ///
    /// # Errors
    /// When the observer goes blind.
    pub fn run_in_request(&mut self) -> Result<(), Desync> {
        self.statements += 1;
        write_digits(&mut self.sent, self.literal_at, self.statements);
        self.now += TURNAROUND_NS;
        let turn = self.statements as usize % self.observers.len();
        let Some(observer) = self.observers.get_mut(turn) else { return Ok(()) };
        observer.frontend(&self.sent, Moment(self.now), &mut self.worker)?;
        self.now += ANSWER_NS;
        observer.backend(&self.answer, Moment(self.now), &mut self.worker)
    }

    /// What separates two requests.
    pub fn begin_request(&mut self) {
        self.requests += 1;
        match self.trace_at {
            Some(at) => write_digits(&mut self.sent, at, self.requests),
            None => self.now += PAUSE_NS,
        }
    }

    /// What the proxy's tick does with a worker; returns the statements it counted.
    pub fn tick(&mut self) -> u64 {
        let parts = self.worker.take_parts();
        drop((self.worker.take_new_shapes(), self.worker.take_counters()));
        parts.iter().map(|part| u64::from(part.statements)).sum()
    }

    /// Ends the session; returns the statements counted since the last tick.
    pub fn end(mut self) -> u64 {
        for observer in &mut self.observers {
            observer.close(&mut self.worker);
        }
        self.tick()
    }
}

fn text(scenario: Scenario) -> String {
    let value = if scenario.mode == Mode::Simple { LITERAL } else { "$1" };
    let mut text = format!("SELECT id, name, city FROM customers WHERE id = {value}");
    if scenario.is_tagged {
        let traceparent = format!("00-{TRACE_ID}-00f067aa0ba902b7-01");
        text += &format!(" /*framework='django%3A5.1',route='%2Fcustomers',traceparent='{traceparent}'*/");
    }
    text
}

fn statement(scenario: Scenario) -> Vec<u8> {
    let mut sent = Vec::new();
    match scenario.mode {
        Mode::Simple => wire::query(&mut sent, &text(scenario)),
        Mode::Extended => {
            wire::parse(&mut sent, "", &text(scenario));
            wire::bind(&mut sent, "", LITERAL);
            wire::describe(&mut sent);
            wire::execute(&mut sent);
            wire::sync(&mut sent);
        }
        Mode::Prepared => {
            wire::bind(&mut sent, "S_1", LITERAL);
            wire::describe(&mut sent);
            wire::execute(&mut sent);
            wire::sync(&mut sent);
        }
    }
    sent
}

fn answer(scenario: Scenario) -> Vec<u8> {
    let mut answer = Vec::new();
    if scenario.mode == Mode::Extended {
        wire::empty(&mut answer, backend::PARSE_COMPLETE);
    }
    if scenario.mode != Mode::Simple {
        wire::empty(&mut answer, backend::BIND_COMPLETE);
    }
    wire::row_description(&mut answer, &[("id", wire::INT4), ("name", wire::TEXT), ("city", wire::TEXT)]);
    data_rows(&mut answer, scenario.rows);
    wire::command_complete(&mut answer, &format!("SELECT {}", scenario.rows));
    wire::ready(&mut answer);
    answer
}

/// `count` rows as the scenarios' statement returns them.
pub fn data_rows(out: &mut Vec<u8>, count: u32) {
    for id in 1..=count {
        wire::data_row(out, &[&id.to_string(), &format!("customer {id}"), "Berlin"]);
    }
}

fn position(haystack: &[u8], needle: &str) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle.as_bytes())
}

/// Writes `number` over the 8 digits at `at`; the first stays 1, so that no length changes.
fn write_digits(bytes: &mut [u8], at: usize, mut number: u64) {
    let Some(digits) = bytes.get_mut(at + 1..at + DIGITS) else { return };
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_observer_counts_every_statement_of_every_scenario() {
        for scenario in Scenario::ALL {
            let mut session = Session::start(scenario).unwrap();
            let mut counted = 0;
            for _ in 0..2 * REQUEST_STATEMENTS {
                session.run().unwrap();
                counted += session.tick();
            }
            assert_eq!(counted + session.end(), 2 * REQUEST_STATEMENTS, "{}", scenario.name);
        }
    }
}
