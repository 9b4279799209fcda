//! Scenarios: what an application sends for one page or job, and what the rules should say about it.
//!
//! ```text
//! == Django: authors of a list, one by one
//! expect n_plus_one high posts.author_id
//! request 1 /posts
//! > SELECT posts.id, posts.author_id FROM posts
//! < posts.id posts.author_id | 1 11 | 2 12
//! for a in 11..12
//! > SELECT authors.name FROM authors WHERE authors.id = {a}
//! < authors.name:text | Ann
//! end
//! ```
//! `>` is a simple query, `$ text ; values` an extended one; `<` its answer: columns (`table.column`, a bare label for
//! an expression, `:type`), then rows; `1..9 : {n} {n*2}` stands for many, `wide:2000` for a long value, `affected 3` and
//! `error 40001` for other answers. Without `<` a SELECT gives one row and a write affects one. `cost`, `think` and
//! `gap` give times in milliseconds; `request N ROUTE` tags what follows, `untagged` and `comment …` change the tag;
//! `session N` changes the session; `pipeline` … `end` sends all before the first answer; `mode run` takes the
//! thresholds of test runs. `expect` and `allow` say what must and what may be found.
//!
//! Read next: `scenario_play.rs`.

/// One scenario as it is written.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// What it shows.
    pub name: String,
    /// What must be found.
    pub expected: Vec<Expected>,
    /// Kinds that may be found as well.
    pub allowed: Vec<String>,
    /// Thresholds of test runs.
    pub is_run_mode: bool,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// `n_plus_one`, …
    pub kind: String,
    /// `high` or `medium`, where it matters.
    pub confidence: Option<String>,
    /// `table.column` of the parent, where it matters.
    pub column: Option<String>,
}

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// A line that is no statement.
    Command(String),
    /// Steps for each number of a range.
    For(String, i64, i64, Vec<Step>),
    /// Statements that are sent before the first answer.
    Pipeline(Vec<Step>),
    /// A statement and its answer, as written.
    Statement {
        /// By the extended protocol.
        is_extended: bool,
        /// Its text, and its values behind a `;` when it is extended.
        text: String,
        /// Empty where nothing is said.
        answer: String,
    },
}

/// Reads a file of scenarios.
///
/// # Errors
/// Line and reason of what cannot be read.
pub fn read(text: &str) -> Result<Vec<Scenario>, String> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut open: Vec<(Step, Vec<Step>)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("line {}: {what}: {line}", index + 1);
        let line = line.trim();
        if let Some(name) = line.strip_prefix("== ") {
            if !open.is_empty() {
                return Err(wrong("something has no end"));
            }
            scenarios.push(Scenario { name: name.into(), ..Scenario::default() });
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let scenario = scenarios.last_mut().ok_or_else(|| wrong("before the first scenario"))?;
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let step = match verb {
            "expect" => {
                scenario.expected.push(expected(rest));
                continue;
            }
            "allow" => {
                scenario.allowed.extend(rest.split(' ').map(str::to_owned));
                continue;
            }
            "mode" => {
                scenario.is_run_mode = rest == "run";
                continue;
            }
            "<" => {
                let steps = open.last_mut().map_or(&mut scenario.steps, |(_, steps)| steps);
                let Some(Step::Statement { answer, .. }) = steps.last_mut() else {
                    return Err(wrong("an answer without a statement"));
                };
                *answer = rest.into();
                continue;
            }
            "for" => {
                let parts: Vec<&str> =
                    rest.split([' ', '.']).filter(|it| !it.is_empty() && *it != "in").collect();
                let [name, from, to] = parts.as_slice() else { return Err(wrong("for NAME in A..B")) };
                let number = |text: &str| text.parse().map_err(|_| wrong("no number"));
                open.push((
                    Step::For((*name).to_owned(), number(from)?, number(to)?, Vec::new()),
                    Vec::new(),
                ));
                continue;
            }
            "pipeline" => {
                open.push((Step::Pipeline(Vec::new()), Vec::new()));
                continue;
            }
            "end" => match open.pop().ok_or_else(|| wrong("nothing to end"))? {
                (Step::For(name, from, to, _), steps) => Step::For(name, from, to, steps),
                (_, steps) => Step::Pipeline(steps),
            },
            ">" | "$" => {
                Step::Statement { is_extended: verb == "$", text: rest.into(), answer: String::new() }
            }
            _ => Step::Command(line.into()),
        };
        open.last_mut().map_or(&mut scenario.steps, |(_, steps)| steps).push(step);
    }
    if open.is_empty() { Ok(scenarios) } else { Err("something has no end".into()) }
}

fn expected(text: &str) -> Expected {
    let mut words = text.split(' ');
    let kind = words.next().unwrap_or_default().to_owned();
    let mut expected = Expected { kind, confidence: None, column: None };
    for word in words {
        let slot = if matches!(word, "high" | "medium" | "info") {
            &mut expected.confidence
        } else {
            &mut expected.column
        };
        *slot = Some(word.to_owned());
    }
    expected
}

/// Replaces `{n}`, `{n+1}`, `{n*2%5+1}` by their values, computed from left to right.
///
/// # Errors
/// The braces that cannot be read.
pub fn substitute(text: &str, variables: &[(String, i64)]) -> Result<String, String> {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inner, tail) = after.split_once('}').ok_or_else(|| format!("an open brace: {text}"))?;
        done.push_str(before);
        done.push_str(&compute(inner, variables)?.to_string());
        rest = tail;
    }
    done.push_str(rest);
    Ok(done)
}

fn compute(text: &str, variables: &[(String, i64)]) -> Result<i64, String> {
    let mut result = 0;
    let mut operator = '+';
    for word in text.split_inclusive(['+', '-', '*', '%', '/']) {
        let (operand, next) = match word.char_indices().last() {
            Some((at, last)) if "+-*%/".contains(last) => (&word[..at], last),
            _ => (word, '+'),
        };
        let known = variables.iter().rev().find(|(name, _)| name == operand).map(|(_, value)| *value);
        let value: i64 = match known {
            Some(value) => value,
            None => operand.parse().map_err(|_| format!("what is {operand}?"))?,
        };
        result = match operator {
            '-' => result - value,
            '*' => result * value,
            '%' => result % value,
            '/' => result / value,
            _ => result + value,
        };
        operator = next;
    }
    Ok(result)
}
