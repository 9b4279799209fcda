//! The life of one client connection: startup, upstream connection, relay, end.
//!
//! Read `relay.rs` for the part that matters most of the time. This file decides who gets relayed to whom, and puts
//! the end of each session into words for the operator: which side, and why. A session begins on the control thread,
//! where there are timers ([`begin`]), and goes to its worker with both sockets when only relaying is left ([`serve`]).

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pgtally_protocol::startup::Startup;
use prometheus::IntGauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::admission::Admitted;
use crate::cancel;
use crate::client_addr;
use crate::live::StartupSetting;
use crate::metrics::Metrics;
use crate::observe::Observation;
use crate::proxy_header::{self, ProxyHeaderError};
use crate::relay::{RelayEnd, relay};
use crate::socket::{Address, Detached, Stream};
use crate::startup::{NoOpening, Opening, fatal, receive};
use crate::worker::{Command, Counted, Local};

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
///
/// `peer` is who connected; `None` on a Unix socket.
pub(crate) async fn begin(
    mut ending: Ending,
    client: Stream,
    peer: Option<SocketAddr>,
    worker: mpsc::Sender<Command>,
    setting: Arc<StartupSetting>,
) {
    let starting = Starting::begin(&setting.metrics);
    match start(client, peer, &setting, &mut ending).await {
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
    peer: Option<SocketAddr>,
    setting: &StartupSetting,
    ending: &mut Ending,
) -> Result<(Detached, Detached, Option<Startup>), Reason> {
    client.tune(&setting.socket);
    let deadline = Instant::now() + setting.startup_timeout;
    let peer = client_address(&mut client, peer, setting, deadline).await?;
    let (packet, startup) = match receive(&mut client, deadline).await {
        Ok(Opening::Cancel(packet)) => return Err(serve_cancel(&packet, setting).await),
        Ok(Opening::Session { packet, startup }) => (packet, startup),
        Err(refusal) => return Err(refuse(&mut client, &refusal).await),
    };
    ending.admitted = Some(admit(&mut client, startup.as_ref(), peer, setting).await?);
    let rewritten = startup
        .as_ref()
        .and_then(|startup| client_addr::rewritten(&packet, startup, peer, setting.client_addr));
    let upstream = reach_upstream(&mut client, &rewritten.unwrap_or(packet), setting).await?;
    let client = client.detach().map_err(|_| Reason::ClientLost)?;
    let upstream = upstream.detach().map_err(|_| Reason::UpstreamLost)?;
    Ok((client, upstream, startup))
}

/// Whom this connection is from: `peer`, or whom a header of the PROXY protocol names.
async fn client_address(
    client: &mut Stream,
    peer: Option<SocketAddr>,
    setting: &StartupSetting,
    deadline: Instant,
) -> Result<Option<SocketAddr>, Reason> {
    let Some(header) = &setting.proxy_header else { return Ok(peer) };
    let is_from =
        |peer: SocketAddr| header.from.iter().any(|network| network.contains(&peer.ip().to_canonical()));
    if !header.from.is_empty() && !peer.is_some_and(is_from) {
        info!(side = "client", "refused: not among relay.proxy_protocol_from");
        return Err(Reason::ProxyHeaderInvalid);
    }
    match timeout_at(deadline, proxy_header::read(client)).await {
        Ok(Ok(named)) => Ok(named.or(peer)),
        Ok(Err(ProxyHeaderError::Io(_))) => Err(Reason::ClientClosed),
        Ok(Err(error @ ProxyHeaderError::Malformed)) => {
            info!(side = "client", %error, "connection ended");
            Err(Reason::ProxyHeaderInvalid)
        }
        Err(_) => Err(Reason::StartupTimeout),
    }
}

/// Counts the session, or tells the client that there are too many.
async fn admit(
    client: &mut Stream,
    startup: Option<&Startup>,
    peer: Option<SocketAddr>,
    setting: &StartupSetting,
) -> Result<Admitted, Reason> {
    let user = startup.and_then(|startup| startup.parameter("user")).unwrap_or_default();
    let source = peer.map(|peer| peer.ip().to_canonical());
    match setting.admission.admit(&setting.limits, user, source) {
        Ok(admitted) => Ok(admitted),
        Err(limit) => {
            setting.metrics.sessions_refused.with_label_values(&[limit.name()]).inc();
            info!(side = "client", limit = limit.name(), "session refused");
            let _ = client.write_all(&fatal("53300", &limit.message(user), None)).await;
            let _ = client.shutdown().await;
            Err(Reason::SessionLimit)
        }
    }
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
    /// Both given up after the record is made.
    admitted: Option<Admitted>,
    _counted: Counted,
}

impl Ending {
    /// Of a connection that was just accepted.
    pub(crate) fn of(number: u64, counted: Counted, metrics: &Arc<Metrics>) -> Self {
        metrics.connections_opened.inc();
        Self {
            number,
            reason: Reason::Aborted,
            metrics: Arc::clone(metrics),
            admitted: None,
            _counted: counted,
        }
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
    ProxyHeaderInvalid,
    SessionLimit,
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
            Self::ProxyHeaderInvalid => "proxy_header_invalid",
            Self::SessionLimit => "session_limit",
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
    let is_delivered = cancel::forward(packet, setting).await;
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

/// Connects to an upstream and forwards the startup packet; tells the client when that fails.
async fn reach_upstream(
    client: &mut Stream,
    packet: &[u8],
    setting: &StartupSetting,
) -> Result<Stream, Reason> {
    let (clock, metrics, upstreams) = (&setting.clock, &setting.metrics, &setting.upstreams);
    let candidates = upstreams.candidates(clock.now(), setting.socket.connect_timeout).await;
    if candidates.is_empty() {
        warn!(side = "upstream", wanted = upstreams.attrs().name(), "no upstream is what sessions want");
    }
    for server in candidates {
        let started = clock.now();
        let reached = open_session(&server.address, packet, setting).await;
        server.contacted(reached.is_ok(), clock.now());
        metrics.upstream_contact(reached.is_ok(), clock.now());
        match reached {
            Ok(upstream) => {
                metrics.upstream_connect.observe(clock.now().since(started) as f64 / 1e9);
                metrics.relay_bytes_to_upstream.inc_by(packet.len() as u64);
                return Ok(upstream);
            }
            Err(error) => {
                warn!(side = "upstream", upstream = %server.address, %error, "cannot reach the upstream");
            }
        }
    }
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

/// Connects to one server and sends it the startup packet: the last moment at which another could be tried.
async fn open_session(address: &Address, packet: &[u8], setting: &StartupSetting) -> io::Result<Stream> {
    let connected = timeout(setting.socket.connect_timeout, Stream::connect(address)).await;
    let mut upstream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    upstream.tune(&setting.socket);
    upstream.write_all(packet).await?;
    Ok(upstream)
}
