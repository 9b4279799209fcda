//! Rules of the repository that a compiler does not check: which crate may know which, what pure crates lack, how
//! files open, and words that have no place here.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every crate of ours with the crates of ours it may use. Dependencies point one way: shell, analysis, bottom.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("analysis", &["fingerprint", "protocol"]),
    ("cache", &["fingerprint", "protocol"]),
    ("demo", &[]),
    ("fingerprint", &[]),
    ("parsetree", &["fingerprint"]),
    (
        "pgtally",
        &["analysis", "cache", "demo", "fingerprint", "parsetree", "protocol", "report", "throwaway"],
    ),
    ("protocol", &[]),
    ("report", &["analysis", "fingerprint"]),
    ("throwaway", &[]),
];

/// Crates without I/O, clocks or a runtime, and what they may use of others.
const PURE: [&str; 5] = ["analysis", "cache", "fingerprint", "parsetree", "protocol"];
/// Crates of others that pure crates may use.
const PURE_DEPENDENCIES: [&str; 6] =
    ["memchr", "pg_query", "quick_cache", "regex", "rustc-hash", "thiserror"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Names in the `[dependencies]` section of a crate; `[dev-dependencies]` are its own business.
fn dependencies(krate: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("crates").join(krate).join("Cargo.toml")).unwrap();
    let section =
        manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]")).unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split(['.', '=', ' ']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

/// All files of the repository: those git knows, or without git (in an unpacked archive) all there are.
fn repository() -> Vec<PathBuf> {
    let listed = Command::new("git").arg("-C").arg(root()).args(["ls-files", "-z"]).output();
    if let Some(listed) = listed.ok().filter(|listed| listed.status.success()) {
        let names = String::from_utf8_lossy(&listed.stdout).into_owned();
        let paths = names.split('\0').filter(|name| !name.is_empty()).map(|name| root().join(name));
        // What is deleted and not yet committed is still listed.
        return paths.filter(|path| path.is_file()).collect();
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    const SKIPPED: [&str; 3] = ["target", ".cache", "node_modules"];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_skipped = path.file_name().is_some_and(|name| SKIPPED.iter().any(|skipped| name == *skipped));
        if path.is_dir() && !is_skipped {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

#[test]
fn crates_know_only_what_they_may() {
    let folders = fs::read_dir(root().join("crates")).unwrap();
    let folders: BTreeSet<String> =
        folders.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    let listed: BTreeSet<String> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(folders, listed, "a new crate needs a place in the order");
    for (krate, allowed) in ALLOWED {
        for dependency in dependencies(krate) {
            let Some(ours) = dependency.strip_prefix("pgtally-") else { continue };
            assert!(allowed.contains(&ours), "{krate} may not know {ours}");
        }
    }
}

#[test]
fn pure_crates_stay_pure() {
    for krate in PURE {
        for dependency in dependencies(krate) {
            let is_fine =
                dependency.starts_with("pgtally-") || PURE_DEPENDENCIES.contains(&dependency.as_str());
            assert!(is_fine, "{krate} uses {dependency}");
        }
        let clippy = root().join("crates").join(krate).join("clippy.toml");
        let bans = fs::read_to_string(&clippy).unwrap_or_default();
        assert!(krate == "parsetree" || bans.contains("Instant::now"), "{krate} bans no clocks");
    }
}

/// A step of the wall clock changes no lifetime: nobody there looks at one.
#[test]
fn the_cache_knows_monotonic_time_only() {
    let folder = root().join("crates/pgtally/src/cached");
    let paths: Vec<_> = repository().into_iter().filter(|path| path.starts_with(&folder)).collect();
    assert!(paths.len() > 5);
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for word in ["SystemTime", "unix_seconds"] {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let paths = repository();
    let sources = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut silent = Vec::new();
    for path in sources {
        let text = fs::read_to_string(path).unwrap();
        // A `tests.rs` is read beside the file it tests.
        if !text.starts_with("//!") && path.file_name().is_some_and(|name| name != "tests.rs") {
            silent.push(path.clone());
        }
    }
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn nothing_speaks_of_the_place_where_it_was_written() {
    // Put together here, so that this file does not hold them either.
    let words =
        [["/wo", "rk/"], ["/tmp/", "target"], ["/ro", "ot/"], ["/bri", "efs"], ["static.crates", ".io"]];
    let paths = repository();
    let mut found = Vec::new();
    for path in paths.iter().filter(|path| path.file_name().is_some_and(|name| name != "Cargo.lock")) {
        let Ok(text) = fs::read_to_string(path) else { continue };
        for word in words.iter().map(|parts| parts.concat()).filter(|word| text.contains(word)) {
            found.push(format!("{word} in {}", path.display()));
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn transcripts_have_an_outcome() {
    let folder = root().join("tests/fixtures/transcripts");
    let paths: Vec<_> = repository().into_iter().filter(|path| path.starts_with(&folder)).collect();
    assert!(paths.len() > 30);
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{} does not say what it shows", path.display());
        assert!(text.contains("\n== outcome\n"), "{}", path.display());
    }
}

#[test]
fn no_leftovers_of_tools_are_kept() {
    let is_leftover = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default();
        ["orig", "rej", "bak", "swp", "pyc", "profraw"].iter().any(|leftover| extension == *leftover)
    };
    let leftovers: Vec<_> = repository().into_iter().filter(is_leftover).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

/// Endings that Prometheus adds to a histogram's name.
const HISTOGRAM_ENDINGS: [&str; 3] = ["_bucket", "_count", "_sum"];

#[test]
fn metrics_named_in_documents_exist() {
    let metrics = fs::read_to_string(root().join("crates/pgtally/src/metrics.rs")).unwrap();
    let exists = |name: &str| metrics.contains(&format!("\"{name}\""));
    let paths = repository();
    let files: BTreeSet<&str> = paths.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|it| it == "md")) {
        let text = fs::read_to_string(path).unwrap();
        let words = text.split(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_');
        for name in words.filter_map(|word| word.strip_prefix("pgtally_")) {
            let family = HISTOGRAM_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
            let full = format!("pgtally_{name}");
            let is_known = exists(name) || exists(&full) || family.is_some_and(exists);
            // Names of crates, and of files to copy, are written like metrics.
            let is_crate = ALLOWED.iter().any(|(krate, _)| *krate == name) || name == "benches";
            let is_file = files.contains(full.as_str());
            let of_histogram = family.is_some_and(|family| exists(&format!("pgtally_{family}")));
            assert!(
                is_known || is_crate || is_file || of_histogram,
                "{}: no metric is called {full}",
                path.display()
            );
        }
    }
}
