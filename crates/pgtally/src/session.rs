//! The life of one client connection: startup, upstream connection, relay, end.
//!
//! Read `relay.rs` for the part that matters most of the time. This file decides who gets relayed to whom, and puts
//! the end of each session into words for the operator: which side, and why.

use std::io;
use std::rc::Rc;

use prometheus::IntGauge;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::cancel;
use crate::observe::Observation;
use crate::relay::{RelayEnd, relay};
use crate::socket::{Accepted, Stream};
use crate::startup::{NoOpening, Opening, fatal, receive};
use crate::worker::Local;

/// Serves one accepted connection to its end.
pub(crate) async fn serve(accepted: Accepted, number: u64, local: Rc<Local>) {
    local.metrics.connections_opened.inc();
    let starting = Starting::begin(&local);
    let reason = match Stream::adopt(accepted) {
        Ok(mut client) => match receive(&mut client).await {
            Ok(Opening::Cancel(packet)) => {
                drop(starting);
                return end(&local, number, serve_cancel(&packet, &local).await);
            }
            Ok(Opening::Session { packet, startup }) => {
                match reach_upstream(&mut client, &packet, &local).await {
                    Ok(mut upstream) => {
                        drop(starting);
                        let mut observation = Observation::begin(number, startup.as_ref(), &local);
                        drop((packet, startup));
                        let ended = relay(&mut client, &mut upstream, &mut observation, &local).await;
                        return end(&local, number, relay_reason(&ended));
                    }
                    Err(reason) => reason,
                }
            }
            Err(refusal) => refuse(&mut client, &refusal).await,
        },
        Err(_) => Reason::ClientLost,
    };
    drop(starting);
    end(&local, number, reason);
}

/// Counts a connection that does not relay yet, however it goes on.
struct Starting(IntGauge);

impl Starting {
    fn begin(local: &Local) -> Self {
        let gauge = local.metrics.session_gauge("starting");
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Why a connection ended. A closed set: it is a metric label.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Cancel,
    ClientClosed,
    ClientLost,
    StartupInvalid,
    StartupTimeout,
    UpstreamClosed,
    UpstreamLost,
    UpstreamUnreachable,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::ClientClosed => "client_closed",
            Self::ClientLost => "client_lost",
            Self::StartupInvalid => "startup_invalid",
            Self::StartupTimeout => "startup_timeout",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamLost => "upstream_lost",
            Self::UpstreamUnreachable => "upstream_unreachable",
        }
    }
}

fn end(local: &Local, number: u64, reason: Reason) {
    debug!(session = number, reason = reason.name(), "session ended");
    local.metrics.connections_closed.with_label_values(&[reason.name()]).inc();
}

fn relay_reason(ended: &RelayEnd) -> Reason {
    match ended {
        RelayEnd::ClientClosed => Reason::ClientClosed,
        RelayEnd::ClientLost(error) => {
            debug!(side = "client", %error, "connection lost");
            Reason::ClientLost
        }
        RelayEnd::UpstreamClosed => Reason::UpstreamClosed,
        RelayEnd::UpstreamLost(error) => {
            info!(side = "upstream", %error, "connection lost");
            Reason::UpstreamLost
        }
    }
}

async fn serve_cancel(packet: &[u8], local: &Local) -> Reason {
    let is_delivered = cancel::forward(packet, &local.upstream.address, local.upstream.connect_timeout).await;
    let result = if is_delivered { "forwarded" } else { "failed" };
    local.metrics.cancel_requests.with_label_values(&[result]).inc();
    Reason::Cancel
}

/// Answers a client that did not get as far as a startup packet, where PostgreSQL would.
async fn refuse(client: &mut Stream, refusal: &NoOpening) -> Reason {
    match refusal {
        NoOpening::Gone => Reason::ClientClosed,
        NoOpening::Length => Reason::StartupInvalid,
        NoOpening::RepeatedRequest => {
            let answer =
                fatal("0A000", "unsupported frontend protocol: encryption was requested twice", None);
            // Nothing is left to do for a client that is gone meanwhile.
            let _ = client.write_all(&answer).await;
            Reason::StartupInvalid
        }
        NoOpening::TimedOut => Reason::StartupTimeout,
    }
}

/// Connects to the upstream and forwards the startup packet; tells the client when that fails.
async fn reach_upstream(client: &mut Stream, packet: &[u8], local: &Local) -> Result<Stream, Reason> {
    let started = local.clock.now();
    let reached = timeout(local.upstream.connect_timeout, Stream::connect(&local.upstream.address)).await;
    let reached = reached.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    local.metrics.upstream_contact(reached.is_ok(), local.clock.now());
    let error = match reached {
        Ok(mut upstream) => {
            let seconds = local.clock.now().since(started) as f64 / 1e9;
            local.metrics.upstream_connect.observe(seconds);
            match upstream.write_all(packet).await {
                Ok(()) => return Ok(upstream),
                Err(error) => error,
            }
        }
        Err(error) => error,
    };
    warn!(side = "upstream", upstream = %local.upstream.address, %error, "cannot reach the upstream");
    // The client learns neither the address nor the system's error: both are the operator's business.
    let answer = fatal(
        "08001",
        "pgtally cannot reach the database server",
        Some("Check that the upstream PostgreSQL is running; pgtally's log names the cause."),
    );
    let _ = client.write_all(&answer).await;
    let _ = client.shutdown().await;
    Err(Reason::UpstreamUnreachable)
}
