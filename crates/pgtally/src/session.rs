//! The life of one client connection: startup, upstream connection, relay, end.
//!
//! Read `relay.rs` for the part that matters most of the time. This file decides who gets relayed to whom, and puts
//! the end of each session into words for the operator: which side, and why. A session begins on the control thread,
//! where there are timers ([`begin`]), and goes to its worker with both sockets when only relaying is left ([`serve`]).

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pgtally_protocol::startup::Startup;
use prometheus::IntGauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::cancel;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::observe::Observation;
use crate::relay::{RelayEnd, relay};
use crate::socket::{Address, Detached, Stream};
use crate::startup::{NoOpening, Opening, fatal, receive};
use crate::worker::{Command, Counted, Local};

/// What a session needs until its worker has it.
pub(crate) struct StartupSetting {
    pub(crate) clock: Clock,
    pub(crate) connect_timeout: Duration,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) upstream: Address,
}

/// A session on its way to its worker. The startup packet has been forwarded, and not a byte behind it was read.
pub(crate) struct Started {
    client: Detached,
    upstream: Detached,
    startup: Option<Startup>,
    starting: Starting,
    // Last, as fields are dropped in order: the sockets are closed when the end is on record.
    ending: Ending,
}

/// Brings one accepted connection to its worker, or to an early end. Needs a runtime that keeps time.
pub(crate) async fn begin(
    mut ending: Ending,
    client: Stream,
    worker: mpsc::Sender<Command>,
    setting: Arc<StartupSetting>,
) {
    let starting = Starting::begin(&setting.metrics);
    match start(client, &setting).await {
        Ok((client, upstream, startup)) => {
            let started = Started { client, upstream, startup, starting, ending };
            // A worker that is gone drops the session, which puts it on record as aborted.
            let _ = worker.send(Command::Serve(Box::new(started))).await;
        }
        Err(reason) => ending.reason = reason,
    }
}

/// Answers with client, upstream and what the startup packet says; or with why there is nothing to relay.
async fn start(
    mut client: Stream,
    setting: &StartupSetting,
) -> Result<(Detached, Detached, Option<Startup>), Reason> {
    let (packet, startup) = match receive(&mut client).await {
        Ok(Opening::Cancel(packet)) => return Err(serve_cancel(&packet, setting).await),
        Ok(Opening::Session { packet, startup }) => (packet, startup),
        Err(refusal) => return Err(refuse(&mut client, &refusal).await),
    };
    let upstream = reach_upstream(&mut client, &packet, setting).await?;
    let client = client.detach().map_err(|_| Reason::ClientLost)?;
    let upstream = upstream.detach().map_err(|_| Reason::UpstreamLost)?;
    Ok((client, upstream, startup))
}

/// Relays a session to its end, on its worker.
pub(crate) async fn serve(started: Box<Started>, local: Rc<Local>) {
    let Started { client, upstream, startup, starting, mut ending } = *started;
    ending.reason = match (Stream::adopt(client), Stream::adopt(upstream)) {
        (Ok(mut client), Ok(mut upstream)) => {
            drop(starting);
            let mut observation = Observation::begin(ending.number, startup.as_ref(), &local);
            // An idle session should own next to nothing.
            drop(startup);
            relay_reason(&relay(&mut client, &mut upstream, &mut observation, &local).await)
        }
        (Err(_), _) => Reason::ClientLost,
        (_, Err(_)) => Reason::UpstreamLost,
    };
}

/// Puts the end of a connection on record, when dropped: a drain's deadline and a panic end a session without
/// another word.
pub(crate) struct Ending {
    number: u64,
    reason: Reason,
    metrics: Arc<Metrics>,
    /// Given up after the record is made.
    _counted: Counted,
}

impl Ending {
    /// Of a connection that was just accepted.
    pub(crate) fn of(number: u64, counted: Counted, metrics: &Arc<Metrics>) -> Self {
        metrics.connections_opened.inc();
        Self { number, reason: Reason::Aborted, metrics: Arc::clone(metrics), _counted: counted }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let reason = self.reason.name();
        debug!(session = self.number, reason, "session ended");
        self.metrics.connections_closed.with_label_values(&[reason]).inc();
    }
}

/// Counts a connection that does not relay yet, however it goes on.
struct Starting(IntGauge);

impl Starting {
    fn begin(metrics: &Metrics) -> Self {
        let gauge = metrics.session_gauge("starting");
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

async fn serve_cancel(packet: &[u8], setting: &StartupSetting) -> Reason {
    let is_delivered = cancel::forward(packet, &setting.upstream, setting.connect_timeout).await;
    let result = if is_delivered { "forwarded" } else { "failed" };
    setting.metrics.cancel_requests.with_label_values(&[result]).inc();
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
async fn reach_upstream(
    client: &mut Stream,
    packet: &[u8],
    setting: &StartupSetting,
) -> Result<Stream, Reason> {
    let (clock, metrics) = (&setting.clock, &setting.metrics);
    let started = clock.now();
    let reached = timeout(setting.connect_timeout, Stream::connect(&setting.upstream)).await;
    let reached = reached.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    metrics.upstream_contact(reached.is_ok(), clock.now());
    let error = match reached {
        Ok(mut upstream) => {
            let seconds = clock.now().since(started) as f64 / 1e9;
            metrics.upstream_connect.observe(seconds);
            match upstream.write_all(packet).await {
                Ok(()) => {
                    metrics.relay_bytes_to_upstream.inc_by(packet.len() as u64);
                    return Ok(upstream);
                }
                Err(error) => error,
            }
        }
        Err(error) => error,
    };
    warn!(side = "upstream", upstream = %setting.upstream, %error, "cannot reach the upstream");
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
