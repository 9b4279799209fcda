//! libpq 18 as a client, in a Python process that the driver tests' packages bring it to (`tests/run.sh` installs them).
//!
//! The point is to have libpq's own opinion about TLS and channel binding: nobody else's is as strict.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// What comes of a connection attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is refused, by libpq or by who answers.
    Refused(String),
    /// Whether libpq has TLS, and the first value of each statement's result.
    Connected {
        /// Whether libpq's own leg is encrypted.
        is_tls: bool,
        /// `!` and the SQLSTATE in place of a value where a statement fails.
        values: Vec<String>,
    },
}

/// A running libpq.
pub struct Libpq {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Libpq {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no Python with psycopg and libpq 18.
    #[must_use]
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/libpq.py");
        let mut command = Command::new(python());
        command.arg("-u").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGSSLMODE", "PGPASSWORD"] {
            command.env_remove(name);
        }
        let mut child = command.spawn().expect("python3 (tests/run.sh installs what the tests need)");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut libpq = Self { child, orders, answers };
        let version = libpq.answer()["version"].as_u64().unwrap_or_default();
        assert!(version >= 180_000, "libpq {version} is older than 18");
        libpq
    }

    /// Connects with `conninfo` and runs `statements`.
    pub fn connect(&mut self, conninfo: &str, statements: &[&str]) -> Attempt {
        self.order(&json!({ "conninfo": conninfo, "statements": statements }))
    }

    /// As [`Libpq::connect`], with a cancel request soon after; the last value is `cancelled`, or libpq's complaint.
    pub fn connect_and_cancel(&mut self, conninfo: &str, statements: &[&str]) -> Attempt {
        self.order(&json!({ "conninfo": conninfo, "statements": statements, "cancel": true }))
    }

    fn order(&mut self, order: &Value) -> Attempt {
        writeln!(self.orders, "{order}").expect("libpq listens");
        let answer = self.answer();
        match answer["error"].as_str() {
            Some(error) => Attempt::Refused(error.to_owned()),
            None => {
                let values = answer["values"].as_array().into_iter().flatten();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let is_tls = answer["tls"].as_bool().expect("an answer");
                Attempt::Connected { is_tls, values: values.map(text).collect() }
            }
        }
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("libpq answers");
        serde_json::from_str(&line)
            .expect("JSON of libpq; without it, run tests/run.sh, which installs psycopg[binary]")
    }
}

impl Drop for Libpq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python() -> PathBuf {
    if let Some(named) = std::env::var_os("PGTALLY_TEST_PYTHON") {
        return named.into();
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/venv/bin/python");
    if installed.exists() { installed } else { "python3".into() }
}
