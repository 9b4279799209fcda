//! The corpus in `fixtures/findings/`: what the frameworks send, and what the rules should and should not say about it.
//! Prints precision and recall for each kind; neither may fall.

use std::collections::BTreeMap;
use std::fs;

use support::scenario::{Expected, Scenario, read};
use support::scenario_play::play;

/// Lowest precision and recall over all kinds.
const PRECISION_MIN: f64 = 0.98;
const RECALL_MIN: f64 = 0.95;

#[derive(Clone, Copy, Default)]
struct Score {
    right: u32,
    wrong: u32,
    missed: u32,
}

impl Score {
    fn precision(self) -> f64 {
        share(self.right, self.wrong)
    }

    fn recall(self) -> f64 {
        share(self.right, self.missed)
    }
}

fn share(right: u32, other: u32) -> f64 {
    if right + other == 0 { 1.0 } else { f64::from(right) / f64::from(right + other) }
}

fn scenarios() -> Vec<(String, Scenario)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/findings");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let of_file = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let read = read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        read.into_iter().map(move |scenario| (name.clone(), scenario)).collect::<Vec<_>>()
    };
    paths.into_iter().flat_map(of_file).collect()
}

fn fits(expected: &Expected, found: &Expected) -> bool {
    expected.kind == found.kind
        && (expected.confidence.is_none() || expected.confidence == found.confidence)
        && (expected.column.is_none() || expected.column == found.column)
}

/// Takes from `found` what was expected or is allowed; the rest is wrong.
fn score(scenario: &Scenario, scores: &mut BTreeMap<String, Score>) -> Option<String> {
    let mut found = play(scenario);
    let all = format!("{found:?}");
    let mut problems = Vec::new();
    for expected in &scenario.expected {
        let score = scores.entry(expected.kind.clone()).or_default();
        match found.iter().position(|it| fits(expected, it)) {
            Some(at) => {
                found.remove(at);
                score.right += 1;
            }
            None => {
                score.missed += 1;
                problems.push(format!("missed {expected:?}"));
            }
        }
    }
    for wrong in found.iter().filter(|it| !scenario.allowed.contains(&it.kind)) {
        scores.entry(wrong.kind.clone()).or_default().wrong += 1;
        problems.push(format!("wrong {wrong:?}"));
    }
    (!problems.is_empty()).then(|| format!("{}\n    found {all}", problems.join("; ")))
}

#[test]
fn the_corpus_is_judged_rightly() {
    let mut scores = BTreeMap::new();
    let mut problems = Vec::new();
    let scenarios = scenarios();
    let silent = scenarios.iter().filter(|(_, it)| it.expected.is_empty()).count();
    for (file, scenario) in &scenarios {
        if let Some(problem) = score(scenario, &mut scores) {
            problems.push(format!("{file}: {}: {problem}", scenario.name));
        }
    }
    println!("{} scenarios, {silent} of them without a fault", scenarios.len());
    println!("{:<24} right wrong missed precision recall", "kind");
    let mut total = Score::default();
    for (kind, score) in &scores {
        let Score { right, wrong, missed } = *score;
        println!(
            "{kind:<24} {right:>5} {wrong:>5} {missed:>6} {:>9.3} {:>6.3}",
            score.precision(),
            score.recall()
        );
        total =
            Score { right: total.right + right, wrong: total.wrong + wrong, missed: total.missed + missed };
    }
    println!("{:<24} precision {:.3}, recall {:.3}", "all", total.precision(), total.recall());
    let problems = problems.join("\n");
    println!("{problems}");
    assert!(total.precision() >= PRECISION_MIN && total.recall() >= RECALL_MIN, "{problems}");
}

#[test]
fn a_third_of_the_corpus_is_without_a_fault() {
    let scenarios = scenarios();
    let silent = scenarios.iter().filter(|(_, it)| it.expected.is_empty()).count();
    assert!(silent * 3 >= scenarios.len(), "{silent} of {}", scenarios.len());
}
