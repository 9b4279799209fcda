//! Normalized texts of realistic statements, compared with a reviewed snapshot, and fingerprints that may never
//! change. After an intended change, run with `UPDATE_SNAPSHOTS=1` and review the difference as code.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that reads and writes its snapshot"
)]

use std::fmt::Write;
use std::path::Path;

use pgtally_fingerprint::{Dialect, Role, Scan, normalize};

const FILES: [&str; 5] = ["by_hand", "django", "hibernate", "others", "rails"];

#[test]
fn normalized_texts_are_as_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sql");
    let mut rendered = String::new();
    for file in FILES {
        let text = std::fs::read(folder.join(file).with_extension("sql")).unwrap();
        writeln!(rendered, "== {file}").unwrap();
        render(&text, &mut rendered);
    }
    let snapshot = folder.join("normalized.snapshot.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&snapshot, &rendered).unwrap();
    }
    let reviewed = std::fs::read_to_string(&snapshot).unwrap();
    for (now, then) in rendered.lines().zip(reviewed.lines()) {
        assert_eq!(now, then);
    }
    assert_eq!(rendered.lines().count(), reviewed.lines().count());
}

fn render(text: &[u8], out: &mut String) {
    let mut scan = Scan::new();
    scan.scan(text, Dialect::default(), false);
    for statement in &scan.statements {
        let normalized = normalize(text, statement, Dialect::default());
        let mut again = Scan::new();
        again.scan(normalized.text.as_bytes(), Dialect::default(), false);
        assert_eq!(again.statements[0].fingerprint, statement.fingerprint, "{}", normalized.text);
        let twice = normalize(normalized.text.as_bytes(), &again.statements[0], Dialect::default());
        assert_eq!(twice, normalized);
        let roles: String = normalized.roles.iter().map(letter).collect();
        writeln!(out, "{:?} [{roles}] {}", statement.command, normalized.text).unwrap();
    }
}

fn letter(role: &Role) -> char {
    match role {
        Role::Key => 'k',
        Role::Limit => 'l',
        Role::Other => 'o',
        Role::Range => 'r',
        Role::Value => 'v',
    }
}

#[test]
fn fingerprints_never_change() {
    for (text, expected) in GOLDEN {
        let mut scan = Scan::new();
        scan.scan(text.as_bytes(), Dialect::default(), false);
        assert_eq!(scan.statements[0].fingerprint.to_string(), expected, "{text}");
    }
}

/// Finding ids and baselines in users' repositories depend on these.
const GOLDEN: [(&str, &str); 10] = [
    ("BEGIN", "2386acbeb80198ef"),
    ("SELECT 1", "ad05b0f1ff924975"),
    ("SELECT * FROM users WHERE id = 1", "eaf727ddf11cc946"),
    ("SELECT * FROM users WHERE id IN (1, 2)", "af1948559bcacbb0"),
    ("SELECT \"Users\".\"a_rather_long_name\" FROM \"Users\" WHERE x ->> 'k' = 'v'", "82b958a666a87797"),
    ("INSERT INTO t (a, b) VALUES (1, 2), (3, 4) RETURNING id", "9dd0df0c0701cea3"),
    ("UPDATE t SET a = a + 1 WHERE id = $1 AND b <> ALL ($2)", "ed12c3a5a0ca84bb"),
    ("SAVEPOINT s1", "35a36ead78a8c6e2"),
    ("SET LOCAL pgtally.request = 'x'", "9a09ab26bb24bfe0"),
    ("SELECT a::numeric(10, 2) FROM größe ORDER BY 1", "8bfc137ea3f20f20"),
];
