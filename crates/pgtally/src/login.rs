//! From the startup packet to the relay: a connection to an upstream, and authentication where it must be understood.
//!
//! Relayed authentication is the relay's business like everything else, with one exception: a plain client in front of a
//! server with TLS (see [`pass_offer`]). Terminated authentication happens here: the client first, then the server, so
//! that nobody reaches the server who has not shown a password.

use std::io;

use pgtally_protocol::startup::Startup;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::admission::Admitted;
use crate::auth::{Denied, LogInError, Proven, Refusal, Route, Verifiers, authenticate, log_in, pass_offer};
use crate::live::StartupSetting;
use crate::logging::with_causes;
use crate::session::{self, Reason};
use crate::socket::{Address, Stream};
use crate::startup::{farewell, fatal, fatal_with_detail};
use crate::tls::{ConnectError, Leg, connect};

/// A session ready to be relayed.
pub(crate) struct LoggedIn {
    pub(crate) client: Stream,
    pub(crate) upstream: Stream,
    /// What the client was already sent in the server's name: for the observer.
    pub(crate) prelude: Vec<u8>,
}

/// Connects to an upstream, forwards the startup packet, and does what must be done about authentication.
///
/// `deadline` is the client's, for all that it has to say.
pub(crate) async fn begin(
    mut client: Stream,
    packet: &[u8],
    startup: Option<&Startup>,
    admitted: &mut Admitted,
    setting: &StartupSetting,
    deadline: Instant,
) -> Result<LoggedIn, Reason> {
    if let Some(verifiers) = &setting.security.verifiers {
        let user = user(startup).map_err(Denied::Refused);
        let shown = match user {
            Ok(user) => {
                let shown = Box::pin(show_password(&mut client, &user, verifiers, setting));
                timeout_at(deadline, shown).await.unwrap_or(Err(Denied::TimedOut))
            }
            Err(denied) => Err(denied),
        };
        return match shown {
            Ok(proven) => begin_terminated(client, packet, proven, admitted, setting).await,
            Err(denied) => Err(deny(client, denied, setting).await),
        };
    }
    let user = startup.and_then(|startup| startup.parameter("user")).unwrap_or_default();
    if let Err(limit) = admitted.name_user(&setting.limits, user) {
        return Err(session::refuse(client, limit, user, setting).await);
    }
    let (mut client, mut leg) = reach_upstream(client, packet, setting).await?;
    match &leg.certificate {
        Some(certificate) if client.is_tls() => setting.security.tell_mismatch(certificate),
        Some(_) => {
            let passing = Box::pin(pass_offer(&mut leg, &mut client));
            let passed = timeout(setting.startup_timeout, passing).await;
            return match passed.unwrap_or_else(|_| Err(LogInError::Lost(io::ErrorKind::TimedOut.into()))) {
                Ok(prelude) => Ok(LoggedIn { client, upstream: leg.stream, prelude }),
                Err(error) => Err(give_up(client, error, None, setting).await),
            };
        }
        None => {}
    }
    Ok(LoggedIn { client, upstream: leg.stream, prelude: Vec::new() })
}

/// The user who wants to log in.
pub(crate) fn user(startup: Option<&Startup>) -> Result<String, Refusal> {
    let refusal = |sqlstate, message: &str| Refusal {
        sqlstate,
        message: message.into(),
        detail: None,
        reason: "malformed",
    };
    // What cannot be understood is otherwise PostgreSQL's to answer; but here nobody gets there without a password.
    let startup = startup.ok_or_else(|| refusal("0A000", "unsupported frontend protocol"))?;
    match startup.parameter("user") {
        Some(user) if !user.is_empty() => std::str::from_utf8(user)
            .map(str::to_owned)
            .map_err(|_| refusal("28000", "the name of the user is not UTF-8")),
        _ => Err(refusal("28000", "no PostgreSQL user name specified in startup packet")),
    }
}

/// Has a client show that it knows `user`'s password.
pub(crate) async fn show_password(
    client: &mut Stream,
    user: &str,
    verifiers: &Verifiers,
    setting: &StartupSetting,
) -> Result<(String, Proven), Denied> {
    let security = &setting.security;
    let own_leg = security.client.as_ref().filter(|_| client.is_tls());
    let end_point = own_leg.and_then(|leg| leg.end_point.clone());
    let patience = setting.socket.connect_timeout;
    let servers = setting.upstreams.candidates(setting.clock.now(), patience).await;
    let tls = security.upstream.as_ref();
    let routes: Vec<_> =
        servers.iter().map(|server| Route { address: &server.address, tls, patience }).collect();
    let proven = authenticate(client, user, end_point, verifiers, &routes).await?;
    Ok((user.to_owned(), proven))
}

async fn begin_terminated(
    client: Stream,
    packet: &[u8],
    (user, proven): (String, Proven),
    admitted: &mut Admitted,
    setting: &StartupSetting,
) -> Result<LoggedIn, Reason> {
    if let Err(limit) = admitted.name_user(&setting.limits, user.as_bytes()) {
        return Err(session::refuse(client, limit, user.as_bytes(), setting).await);
    }
    let (mut client, mut leg) = reach_upstream(client, packet, setting).await?;
    let logging_in = Box::pin(log_in(&mut leg, &mut client, &proven));
    let logged_in = timeout(setting.startup_timeout, logging_in).await;
    match logged_in.unwrap_or_else(|_| Err(LogInError::Lost(io::ErrorKind::TimedOut.into()))) {
        Ok(prelude) => Ok(LoggedIn { client, upstream: leg.stream, prelude }),
        Err(error) => Err(give_up(client, error, Some(&user), setting).await),
    }
}

/// Tells a client why it is not let in.
pub(crate) async fn deny(client: Stream, denied: Denied, setting: &StartupSetting) -> Reason {
    let failures = &setting.metrics.auth_failures;
    match denied {
        Denied::Gone => return Reason::ClientClosed,
        Denied::TimedOut => {
            failures.with_label_values(&["client", "timed_out"]).inc();
            return Reason::StartupTimeout;
        }
        Denied::Refused(refusal) => {
            failures.with_label_values(&["client", refusal.reason]).inc();
            info!(side = "client", reason = refusal.reason, "login refused");
            let Refusal { sqlstate, message, detail, .. } = refusal;
            farewell(client, &fatal_with_detail(sqlstate, &message, detail, None)).await;
        }
        Denied::Unavailable(error) => {
            failures.with_label_values(&["upstream", "verifier_unavailable"]).inc();
            warn!(side = "upstream", error = with_causes(&error), "cannot look up a verifier");
            let message = "pgtally cannot check passwords at the moment";
            farewell(client, &fatal("58000", message, Some("pgtally's log names the cause."))).await;
        }
    }
    Reason::AuthFailed
}

/// Ends a session whose login at the server failed. `user` is given where the login was ours.
async fn give_up(client: Stream, error: LogInError, user: Option<&str>, setting: &StartupSetting) -> Reason {
    let failures = &setting.metrics.auth_failures;
    let explanation = with_causes(&error);
    match error {
        LogInError::ClientGone => Reason::ClientClosed,
        LogInError::Refused(answer) => {
            // Its own words, which may be about anything: a missing database, too many clients.
            failures.with_label_values(&["upstream", "refused"]).inc();
            info!(side = "upstream", "the server refused a login that pgtally has allowed");
            farewell(client, &answer).await;
            Reason::AuthFailed
        }
        LogInError::Lost(_) => {
            warn!(side = "upstream", error = explanation, "connection lost during login");
            farewell(client, &fatal("08006", "the database server broke off the login", None)).await;
            Reason::UpstreamLost
        }
        LogInError::Failure(failure) => {
            failures.with_label_values(&["upstream", failure.name()]).inc();
            warn!(side = "upstream", error = explanation, "cannot log in at the server");
            let message = match user {
                Some(user) => format!("password authentication failed for user \"{user}\""),
                None => "pgtally cannot understand how the database server authenticates".to_owned(),
            };
            farewell(client, &fatal("28P01", &message, Some("pgtally's log names the cause."))).await;
            Reason::AuthFailed
        }
    }
}

/// Connects to an upstream and forwards the startup packet; tells the client when that fails.
async fn reach_upstream(
    client: Stream,
    packet: &[u8],
    setting: &StartupSetting,
) -> Result<(Stream, Leg), Reason> {
    let (clock, metrics, upstreams) = (&setting.clock, &setting.metrics, &setting.upstreams);
    let candidates = upstreams.candidates(clock.now(), setting.socket.connect_timeout).await;
    if candidates.is_empty() {
        warn!(side = "upstream", wanted = upstreams.attrs().name(), "no upstream is what sessions want");
    }
    let mut answer = fatal(
        "08001",
        "pgtally cannot reach the database server",
        Some("Check that the upstream PostgreSQL is running; pgtally's log names the cause."),
    );
    for server in candidates {
        let started = clock.now();
        let reached = Box::pin(open_session(&server.address, packet, setting)).await;
        server.contacted(reached.is_ok(), clock.now());
        metrics.upstream_contact(reached.is_ok(), clock.now());
        match reached {
            Ok(leg) => {
                metrics.upstream_connect.observe(clock.now().since(started) as f64 / 1e9);
                metrics.relay_bytes_to_upstream.inc_by(packet.len() as u64);
                return Ok((client, leg));
            }
            Err(error) => {
                let cause = with_causes(&error);
                warn!(side = "upstream", upstream = %server.address, error = cause, "cannot reach the upstream");
                answer = answer_for(error, setting).unwrap_or(answer);
            }
        }
    }
    // The client learns neither the address nor the system's error: both are the operator's business.
    farewell(client, &answer).await;
    Err(Reason::UpstreamUnreachable)
}

/// What the client is told, where it is not just that the server cannot be reached.
fn answer_for(error: ConnectError, setting: &StartupSetting) -> Option<Vec<u8>> {
    match error {
        // Where nothing was to be checked, the server's words may pass as they would without us (CVE-2024-10977).
        ConnectError::ErrorAnswer(answer) if !setting.security.is_upstream_tls_required() => Some(answer),
        error if error.is_tls() => Some(fatal(
            "08001",
            "pgtally cannot establish TLS with the database server",
            Some("pgtally's log names the cause."),
        )),
        _ => None,
    }
}

/// Connects to one server and sends it the startup packet: the last moment at which another could be tried.
async fn open_session(
    address: &Address,
    packet: &[u8],
    setting: &StartupSetting,
) -> Result<Leg, ConnectError> {
    let connecting = connect(address, setting.security.upstream.as_ref());
    let connected = timeout(setting.socket.connect_timeout, connecting).await;
    let connected = connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
    let handshakes = &setting.metrics.tls_handshakes;
    match &connected {
        Ok(leg) if leg.certificate.is_some() => handshakes.with_label_values(&["upstream", "ok"]).inc(),
        Err(ConnectError::Refused) => handshakes.with_label_values(&["upstream", "declined"]).inc(),
        Err(error) if error.is_tls() => handshakes.with_label_values(&["upstream", "failed"]).inc(),
        _ => {}
    }
    let mut leg = connected?;
    leg.stream.tune(&setting.socket);
    crate::auth::send(&mut leg.stream, packet).await?;
    Ok(leg)
}
