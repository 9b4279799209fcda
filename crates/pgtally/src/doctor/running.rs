//! The pgtally that runs with this configuration, asked by its admin listener.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::Diagnosis;
use crate::config::Config;

/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the largest answer: some thousand series of 100 bytes, with room.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
const SUBJECT: &str = "running pgtally";

/// Whether a pgtally runs and is ready: what a container's health check asks.
pub(super) fn alone(config: &Config) -> Vec<Diagnosis> {
    let Some(admin) = config.admin else {
        let remedy = "set admin.listen";
        return vec![Diagnosis::broken(SUBJECT, "it cannot be asked: admin.listen is off", remedy)];
    };
    let diagnosis = match readiness(admin) {
        Some(diagnosis) => diagnosis,
        None => Diagnosis::broken(SUBJECT, format!("nobody answers on {admin}"), "is it running?"),
    };
    vec![diagnosis]
}

/// What there is to say about a running pgtally; nothing when none runs.
pub(super) fn look(config: &Config) -> Vec<Diagnosis> {
    let Some(admin) = config.admin else { return Vec::new() };
    let Some(ready) = readiness(admin) else { return Vec::new() };
    let mut diagnoses = vec![ready];
    match get(admin, "/metrics") {
        Ok((200, metrics)) => diagnoses.extend(judge(config, &metrics)),
        _ => diagnoses.push(Diagnosis::doubtful(SUBJECT, "its metrics cannot be read", "")),
    }
    diagnoses
}

/// `None` when nobody listens.
fn readiness(admin: SocketAddr) -> Option<Diagnosis> {
    let (status, body) = get(admin, "/readyz").ok()?;
    let words = body.trim();
    Some(match status {
        200 if words == "ready" => Diagnosis::fine(SUBJECT, format!("ready, on {admin}")),
        503 => Diagnosis::broken(SUBJECT, format!("not ready: {words}"), "its log names the cause"),
        _ => {
            let words = format!("what listens on {admin} is not pgtally");
            Diagnosis::broken(SUBJECT, words, "end it, or choose another admin.listen")
        }
    })
}

/// Status and body; an error when nobody answers.
fn get(admin: SocketAddr, path: &str) -> Result<(u16, String), ureq::Error> {
    let agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
    // Nothing that the environment says of proxies is meant for this.
    let agent: ureq::Agent = agent.proxy(None).build().into();
    let mut answer = agent.get(format!("http://{}{path}", reachable(admin))).call()?;
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
    Ok((answer.status().as_u16(), body))
}

/// An address to connect to, for one to listen on.
fn reachable(mut admin: SocketAddr) -> SocketAddr {
    if admin.ip().is_unspecified() {
        admin.set_ip(if admin.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    admin
}

/// What its metrics say: did traffic pass, and was it all seen?
fn judge(config: &Config, metrics: &str) -> Vec<Diagnosis> {
    let mut diagnoses = Vec::new();
    let queries = sum(metrics, "pgtally_queries_total");
    let opened = sum(metrics, "pgtally_connections_opened_total");
    let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    diagnoses.push(if queries > 0.0 {
        Diagnosis::fine("traffic", format!("{queries} statements on {opened} connections"))
    } else if opened > 0.0 {
        let remedy = "do clients fail to log in, or is relay.analysis off?";
        Diagnosis::doubtful("traffic", format!("{opened} connections and not one statement"), remedy)
    } else {
        let remedy = format!("nobody has connected: point the application to {}", listen.join(" or "));
        Diagnosis::doubtful("traffic", "none has passed", &remedy)
    });
    for (counter, what, meaning) in [
        ("pgtally_sessions_blind_total", "sessions were not observed", "replication is blind by design"),
        ("pgtally_observations_dropped_total", "observations given up", "counts are incomplete"),
    ] {
        let count = sum(metrics, counter);
        if count > 0.0 {
            let remedy = format!("{counter} says why; {meaning}");
            diagnoses.push(Diagnosis::doubtful("observation", format!("{count} {what}"), &remedy));
        }
    }
    diagnoses
}

/// The sum over all series of a family.
fn sum(metrics: &str, family: &str) -> f64 {
    let series = metrics
        .lines()
        .filter(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' '])));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn metrics_tell_whether_traffic_passed_and_was_seen() {
        let config = Config::load(None, [], []).unwrap();
        let check = |metrics: &str, expected: &[Health]| {
            let found: Vec<_> = judge(&config, metrics).iter().map(|diagnosis| diagnosis.health).collect();
            assert_eq!(found, expected, "{metrics}");
        };
        check("", &[Health::Doubtful]);
        check("pgtally_connections_opened_total 3\n", &[Health::Doubtful]);
        check(
            "pgtally_queries_total{kind=\"select\"} 2\npgtally_queries_total{kind=\"tx\"} 1\n",
            &[Health::Fine],
        );
        check(
            "pgtally_queries_total{kind=\"tx\"} 1\npgtally_sessions_blind_total{reason=\"panic\"} 1\n\
             pgtally_observations_dropped_total{reason=\"records\"} 7\n",
            &[Health::Fine, Health::Doubtful, Health::Doubtful],
        );
    }

    #[test]
    fn sums_take_whole_names_only() {
        let metrics = "# TYPE a counter\na{x=\"1\"} 2\na 3\na_total 50\nab 70\na broken\n";
        assert!((sum(metrics, "a") - 5.0).abs() < f64::EPSILON);
    }
}
