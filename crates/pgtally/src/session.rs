//! The life of one client connection: startup, upstream connection, relay, end.
//!
//! Read `relay.rs` for the part that matters most of the time. This file decides who gets relayed to whom, and puts
//! the end of each session into words for the operator: which side, and why.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    // Counts the end on drop: a drain's deadline and a panic end this future without another word.
    let mut ending = Ending { number, reason: Reason::Aborted, local: Rc::clone(&local) };
    ending.reason = match Stream::adopt(accepted) {
        Ok(client) => serve_client(client, number, &local).await,
        Err(_) => Reason::ClientLost,
    };
}

async fn serve_client(mut client: Stream, number: u64, local: &Rc<Local>) -> Reason {
    let starting = Starting::begin(local);
    let (packet, startup) = match receive(&mut client).await {
        Ok(Opening::Cancel(packet)) => return serve_cancel(&packet, local).await,
        Ok(Opening::Session { packet, startup }) => (packet, startup),
        Err(refusal) => return refuse(&mut client, &refusal).await,
    };
    let mut upstream = match reach_upstream(&mut client, &packet, local).await {
        Ok(upstream) => upstream,
        Err(reason) => return reason,
    };
    drop(starting);
    let mut observation = Observation::begin(number, startup.as_ref(), local);
    // An idle session should own next to nothing.
    drop((packet, startup));
    relay_reason(&relay(&mut client, &mut upstream, &mut observation, local).await)
}

/// Puts the end of a connection on record.
struct Ending {
    number: u64,
    reason: Reason,
    local: Rc<Local>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let reason = self.reason.name();
        debug!(session = self.number, reason, "session ended");
        self.local.metrics.connections_closed.with_label_values(&[reason]).inc();
    }
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
    /// By a drain's deadline, or by a bug of ours.
    Aborted,
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
            Self::Aborted => "aborted",
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
        NoOpening::Length => {
            // As PostgreSQL, which has read what had arrived: unread bytes would turn the close into a reset.
            let mut unread = vec![0; REFUSED_BYTES_MAX];
            let _ = timeout(REFUSED_WAIT, client.read(&mut unread)).await;
            Reason::StartupInvalid
        }
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

/// Bytes of a refused packet that are read before closing, and the time to wait for them. PostgreSQL's receive buffer
/// has 8 KiB; what arrives later resets the connection there too.
const REFUSED_BYTES_MAX: usize = 1_024;
/// See [`REFUSED_BYTES_MAX`].
const REFUSED_WAIT: Duration = Duration::from_millis(5);

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
                Ok(()) => {
                    local.metrics.relay_bytes_to_upstream.inc_by(packet.len() as u64);
                    return Ok(upstream);
                }
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
