//! The checker finds what it looks for: each mistake that caches in front of databases have been shipped with, made on
//! purpose, is caught by it.

use std::time::Duration;

use pgtally_cache::Fault;

use crate::checker::{COMMIT, Run};

/// Far more than any of them needs, on a machine that has other work as well.
const PATIENCE: Duration = Duration::from_secs(240);

#[track_caller]
fn check(fault: Fault, expected: &[&str]) {
    let found = Run { fault, ..COMMIT }.find(PATIENCE);
    let found = found.unwrap_or_else(|| panic!("{fault:?} was not found"));
    assert!(expected.iter().any(|kind| found.starts_with(kind)), "{fault:?}: {found}");
}

#[test]
fn dropping_answers_at_the_statement_is_caught() {
    check(Fault::AtStatement, &["I1", "I3", "I4", "own write"]);
}

#[test]
fn dropping_answers_at_the_acknowledgement_is_caught() {
    check(Fault::AtAck, &["I3"]);
}

#[test]
fn keeping_what_was_overtaken_is_caught() {
    check(Fault::NoFillCheck, &["I1", "I3", "I4", "own write"]);
}

#[test]
fn sharing_answers_between_roles_is_caught() {
    check(Fault::NoRoleInKey, &["I5"]);
}

#[test]
fn forgetting_a_parse_is_caught() {
    check(Fault::ParseLost, &["I6"]);
}
