//! The life of one client connection: startup, upstream connection, relay, end.
//!
//! Read `relay.rs` for the part that matters most of the time. This file decides who gets relayed to whom, and puts
//! the end of each session into words for the operator: which side, and why. A session begins on the control thread,
//! where there are timers ([`begin`]), and goes to its worker with both sockets when only relaying is left ([`serve`]).

mod ending;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use pgtally_protocol::startup::Startup;
use prometheus::IntGauge;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::info;

use self::ending::relay_reason;
pub(crate) use self::ending::{Ending, Reason};
use crate::admission::{Admitted, Limit};
use crate::cached::{self, CachedSession};
use crate::cancel;
use crate::client_addr;
use crate::clock::LazyMoment;
use crate::console::{self, Host, Visitor};
use crate::lift::Lifted;
use crate::live::StartupSetting;
use crate::login::{self, LoggedIn};
use crate::metrics::Metrics;
use crate::observe::Observation;
use crate::proxy_header::{self, ProxyHeaderError};
use crate::relay::relay;
use crate::socket::{Detached, Stream};
use crate::startup::{Opening, farewell, fatal, receive};
use crate::worker::{Command, Local};

/// A session on its way to its worker. The startup packet has been forwarded, and not a byte behind it was read.
pub(crate) struct Started {
    client: Detached,
    upstream: Detached,
    startup: Option<Startup>,
    /// What the client was already sent.
    prelude: Vec<u8>,
    lifts_comments: bool,
    /// The server was told the client's address behind the application's name.
    names_client: bool,
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
    host: Arc<Host>,
) {
    let starting = Starting::begin(&setting.metrics);
    match Box::pin(start(client, peer, &setting, &mut ending, &host)).await {
        Ok(Begun { client, upstream, startup, prelude }) => {
            let lifts_comments = setting.lifts_comments;
            let names_client = setting.client_addr.application_name;
            let started = Started {
                client,
                upstream,
                startup,
                prelude,
                lifts_comments,
                names_client,
                starting,
                ending,
            };
            // A worker that is gone drops the session, which puts it on record as aborted.
            let _ = worker.send(Command::Serve(Box::new(started))).await;
        }
        Err(reason) => ending.reason = reason,
    }
}

/// A session that only needs to be relayed.
struct Begun {
    client: Detached,
    upstream: Detached,
    startup: Option<Startup>,
    prelude: Vec<u8>,
}

/// Brings a connection to where it only needs to be relayed; or says why there is nothing to relay.
async fn start(
    client: Stream,
    peer: Option<SocketAddr>,
    setting: &StartupSetting,
    ending: &mut Ending,
    host: &Host,
) -> Result<Begun, Reason> {
    client.tune(&setting.socket);
    let deadline = Instant::now() + setting.startup_timeout;
    let connected = peer;
    let place = setting.entrance.half_open.enter(ending.number);
    let opened = tokio::select! {
        biased;
        opened = Box::pin(open(client, peer, setting, deadline)) => opened?,
        () = place.displaced() => return Err(Reason::HalfOpenLimit),
    };
    drop(place);
    let (client, peer, opening) = opened;
    ending.client = peer;
    let (packet, startup) = match opening {
        Opening::Cancel(packet) => return Err(serve_cancel(client, &packet, peer, setting).await),
        Opening::Session { packet, startup } => (packet, startup),
    };
    if let Some(startup) = startup.as_ref().filter(|startup| console::is_wanted(startup, setting)) {
        // It uses no worker and no upstream: nobody waits for it.
        ending.counted = None;
        let visitor = Visitor { startup, packet: &packet, peers: [peer, connected] };
        return Err(Box::pin(console::serve(client, visitor, setting, deadline, host)).await);
    }
    let (client, admitted) = admit(client, peer, setting).await?;
    let admitted = ending.admitted.insert(admitted);
    let rewritten = startup
        .as_ref()
        .and_then(|startup| client_addr::rewritten(&packet, startup, peer, setting.client_addr));
    let packet = rewritten.unwrap_or(packet);
    let LoggedIn { client, upstream, prelude } =
        login::begin(client, &packet, startup.as_ref(), admitted, setting, deadline).await?;
    let client = client.detach().map_err(|_| Reason::ClientLost)?;
    let upstream = upstream.detach().map_err(|_| Reason::UpstreamLost)?;
    Ok(Begun { client, upstream, startup, prelude })
}

/// Finds out who the client is and what it wants.
async fn open(
    mut client: Stream,
    peer: Option<SocketAddr>,
    setting: &StartupSetting,
    deadline: Instant,
) -> Result<(Stream, Option<SocketAddr>, Opening), Reason> {
    let peer = client_address(&mut client, peer, setting, deadline).await?;
    let (client, opening) = receive(client, &setting.security, &setting.metrics, deadline).await?;
    Ok((client, peer, opening))
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
    client: Stream,
    peer: Option<SocketAddr>,
    setting: &StartupSetting,
) -> Result<(Stream, Admitted), Reason> {
    match setting.entrance.admission.admit(&setting.limits, source(peer)) {
        Ok(admitted) => Ok((client, admitted)),
        Err(limit) => Err(refuse(client, limit, b"", setting).await),
    }
}

/// Whom the limits of sources count.
fn source(peer: Option<SocketAddr>) -> Option<IpAddr> {
    peer.map(|peer| peer.ip().to_canonical())
}

/// Tells a client that a limit does not allow its session.
pub(crate) async fn refuse(client: Stream, limit: Limit, user: &[u8], setting: &StartupSetting) -> Reason {
    setting.metrics.sessions_refused.with_label_values(&[limit.name()]).inc();
    info!(side = "client", limit = limit.name(), "session refused");
    farewell(client, &fatal("53300", &limit.message(user), None)).await;
    Reason::SessionLimit
}

/// A session on its worker. An idle one should own next to nothing: what it begins with is gone before it is relayed.
struct Session {
    observation: Observation,
    /// Boxed, as its relay is below: most proxies have no cache, and their sessions should not pay for it.
    cached: Option<Box<CachedSession>>,
    client: Stream,
    upstream: Stream,
    // Last, as in `Started`.
    ending: Ending,
}

impl Session {
    /// `None` when one of the sockets is of no use any more: the end is on record then.
    fn adopt(started: Box<Started>, local: &Rc<Local>) -> Option<Self> {
        let Started {
            client,
            upstream,
            startup,
            prelude,
            lifts_comments,
            names_client,
            starting,
            mut ending,
        } = *started;
        ending.reason = Reason::ClientLost;
        let client = Stream::adopt(client).ok()?;
        ending.reason = Reason::UpstreamLost;
        let mut upstream = Stream::adopt(upstream).ok()?;
        ending.reason = Reason::Aborted;
        drop(starting);
        if lifts_comments && startup.as_ref().is_some_and(|startup| !startup.is_replication()) {
            upstream = Stream::Lifted(Box::new(Lifted::over(upstream, &prelude, &local.metrics)));
        }
        let mut observation = Observation::begin(ending.number, startup.as_ref(), ending.client, local);
        if names_client {
            observation.leave_out_of_name(&client_addr::endpoint(ending.client));
        }
        let now = local.clock.now();
        let desk = local.desk.as_ref();
        let mut cached = desk.map(|desk| Box::new(CachedSession::begin(desk, startup.as_ref(), now.0)));
        if !prelude.is_empty() {
            observation.backend(&prelude, now);
        }
        if let Some(cached) = &mut cached {
            cached.heard(&prelude, &LazyMoment::of(&local.clock));
        }
        Some(Self { observation, cached, client, upstream, ending })
    }
}

/// Relays a session to its end, on its worker.
pub(crate) async fn serve(started: Box<Started>, local: Rc<Local>) {
    let Some(mut session) = Session::adopt(started, &local) else { return };
    let Session { observation, cached, client, upstream, ending } = &mut session;
    let end = match cached {
        None => relay(client, upstream, observation, &local).await,
        Some(cached) => Box::pin(cached::relay(client, upstream, cached, observation, &local)).await,
    };
    ending.reason = relay_reason(&end);
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

async fn serve_cancel(
    client: Stream,
    packet: &[u8],
    peer: Option<SocketAddr>,
    setting: &StartupSetting,
) -> Reason {
    let result = match setting.entrance.cancels.admit(source(peer)) {
        Ok(_admitted) if cancel::forward(packet, setting).await => "forwarded",
        Ok(_) => "failed",
        Err(limit) => {
            info!(side = "client", limit = limit.name(), "too many cancel requests on their way");
            "refused"
        }
    };
    setting.metrics.cancel_requests.with_label_values(&[result]).inc();
    // Without TLS's own farewell libpq takes the end for a failure.
    farewell(client, b"").await;
    Reason::Cancel
}
