//! `pgtally doctor`: looks at what a configuration needs from the world, and says what is missing and what to do.
//!
//! The upstreams as a session would reach them, TLS and its certificates, limits of the system, and the pgtally that
//! may be running with this configuration: is it ready, and did traffic pass? Nothing is changed anywhere; PostgreSQL
//! sees a connection that says who it is and goes away before it logs in.

mod running;
mod upstream;

use std::fmt;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Resource, getrlimit};

use crate::config::{ClientTls, Config, UpstreamTls};
use crate::listener;
use crate::logging::with_causes;
use crate::security::Snapshot;
use crate::socket::Address;

/// Files that a process needs beside two per session.
const OTHER_FILES: u64 = 64;
/// Sessions that a service without a limit of its own should have room for.
const SESSIONS_WANTED: u64 = 1_000;

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Fine,
    /// Works, and somebody should look at it.
    Doubtful,
    Broken,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Diagnosis {
    health: Health,
    subject: String,
    words: String,
    /// What to do; empty where there is nothing to do.
    remedy: String,
}

impl Diagnosis {
    fn fine(subject: &str, words: impl Into<String>) -> Self {
        Self { health: Health::Fine, subject: subject.into(), words: words.into(), remedy: String::new() }
    }

    fn doubtful(subject: &str, words: impl Into<String>, remedy: &str) -> Self {
        Self { health: Health::Doubtful, subject: subject.into(), words: words.into(), remedy: remedy.into() }
    }

    fn broken(subject: &str, words: impl Into<String>, remedy: &str) -> Self {
        Self { health: Health::Broken, ..Self::doubtful(subject, words, remedy) }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let health = match self.health {
            Health::Fine => "ok",
            Health::Doubtful => "warn",
            Health::Broken => "FAIL",
        };
        write!(f, "{health:<5} {}: {}", self.subject, self.words)?;
        if !self.remedy.is_empty() {
            write!(f, "\n      {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Looks at everything, or with `is_running_only` at the running pgtally alone. The exit code is not 0 when something
/// does not work.
pub(crate) fn run(config: &Config, is_running_only: bool) -> ExitCode {
    let diagnoses = if is_running_only { running::alone(config) } else { everything(config) };
    for diagnosis in &diagnoses {
        println!("{diagnosis}");
    }
    let is_broken = diagnoses.iter().any(|diagnosis| diagnosis.health == Health::Broken);
    if is_broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn everything(config: &Config) -> Vec<Diagnosis> {
    let mut diagnoses = Vec::new();
    match Snapshot::first(config) {
        Ok(security) => {
            diagnoses.extend(certificates(&security));
            diagnoses.extend(upstream::all(config, &security));
        }
        Err(errors) => {
            let subject = "TLS and passwords";
            diagnoses.push(Diagnosis::broken(subject, with_causes(&errors), "check the files it names"));
        }
    }
    diagnoses.extend(plain_legs(config));
    diagnoses.push(files(config));
    diagnoses.extend(workers(config));
    let running = running::look(config);
    if running.is_empty() {
        diagnoses.extend(config.listen.iter().map(port));
    }
    diagnoses.extend(running);
    diagnoses
}

fn certificates(security: &Snapshot) -> Option<Diagnosis> {
    let leaf = &security.client.as_ref()?.leaf;
    Some(upstream::expiry("certificate for clients", leaf, "renew tls.certificate, then reload"))
}

/// Legs over a network without TLS.
fn plain_legs(config: &Config) -> Vec<Diagnosis> {
    let mut diagnoses = Vec::new();
    if config.tls.upstream_tls == UpstreamTls::Disable {
        for upstream in config.upstreams.iter().filter(|address| !is_local(address)) {
            diagnoses.push(Diagnosis::doubtful(
                &format!("upstream {upstream}"),
                "the way there is not encrypted",
                "set tls.upstream_tls = \"verify-full\", unless the network is your own",
            ));
        }
    }
    if config.tls.client_tls == ClientTls::Disable {
        for listen in config.listen.iter().filter(|address| !is_local(address)) {
            diagnoses.push(Diagnosis::doubtful(
                &format!("listener {listen}"),
                "clients of other machines connect without encryption",
                "set tls.certificate and tls.key, or listen on 127.0.0.1",
            ));
        }
    }
    diagnoses
}

fn is_local(address: &Address) -> bool {
    match address {
        Address::Tcp(host, _) => {
            host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        Address::Unix(_) => true,
    }
}

/// Whether there may be as many files as sessions need.
fn files(config: &Config) -> Diagnosis {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = limit.saturating_sub(OTHER_FILES) / 2;
    let words = format!("{limit}, enough for {room} sessions");
    let remedy = "raise LimitNOFILE of the service, or ulimit -n, or lower limits.max_sessions";
    match config.limits.total.map(u64::from) {
        Some(wanted) if wanted > room => Diagnosis::broken("open files", words, remedy),
        None if room < SESSIONS_WANTED => Diagnosis::doubtful("open files", words, remedy),
        _ => Diagnosis::fine("open files", words),
    }
}

fn workers(config: &Config) -> Option<Diagnosis> {
    let cores = std::thread::available_parallelism().ok()?.get();
    (config.workers > cores).then(|| {
        let words = format!("{} on {cores} cores", config.workers);
        Diagnosis::doubtful("workers", words, "leave relay.workers out: one per core is best")
    })
}

/// Whether pgtally could listen there. Asked only while none is running.
fn port(address: &Address) -> Diagnosis {
    let subject = format!("listener {address}");
    let Address::Tcp(..) = address else {
        return Diagnosis::fine(&subject, "a socket's file");
    };
    match listener::bind(address, &Arc::new(AtomicBool::new(true))) {
        Ok(_) => Diagnosis::fine(&subject, "free"),
        Err(error) => Diagnosis::broken(
            &subject,
            format!("cannot listen there: {error}"),
            "end what listens there, or choose another relay.listen",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[(&'static str, &str)]) -> Config {
        let flags = flags.iter().map(|(path, value)| (*path, vec![(*value).to_owned()]));
        Config::load(None, [], flags).unwrap()
    }

    #[test]
    fn a_limit_on_sessions_beyond_the_open_files_is_broken() {
        assert_eq!(files(&config(&[("limits.max_sessions", "4294967295")])).health, Health::Broken);
        assert_eq!(files(&config(&[("limits.max_sessions", "1")])).health, Health::Fine);
    }

    #[test]
    fn plain_legs_over_a_network_are_told() {
        let remote = config(&[("relay.upstream", "db.example:5432"), ("relay.listen", "0.0.0.0:6432")]);
        assert_eq!(plain_legs(&remote).len(), 2);
        assert_eq!(plain_legs(&config(&[("relay.upstream", "localhost:5432")])), []);
        assert_eq!(plain_legs(&config(&[("relay.upstream", "/run/postgresql/.s.PGSQL.5432")])), []);
    }

    #[test]
    fn a_taken_port_is_broken() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp("127.0.0.1".into(), taken.local_addr().unwrap().port());
        assert_eq!(port(&address).health, Health::Broken);
        drop(taken);
        assert_eq!(port(&address).health, Health::Fine);
    }

    #[test]
    fn a_remedy_stands_below_its_trouble() {
        let diagnosis = Diagnosis::broken("port", "taken", "choose another");
        assert_eq!(diagnosis.to_string(), "FAIL  port: taken\n      choose another");
        assert_eq!(Diagnosis::fine("port", "free").to_string(), "ok    port: free");
    }
}
