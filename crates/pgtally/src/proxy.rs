//! Puts a proxy together and takes it apart: threads, sockets, order of shutdown.
//!
//! Threads: one *control* (acceptor, startup, ticks, admin listener), the *workers* (relay), one *aggregator*. All state hangs off
//! [`Running`]; several proxies fit into one process.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pgtally_cache::Versions;
use pgtally_report::Capture;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tracing::error;

use crate::admin::AdminState;
use crate::aggregator::{self, WarmUp};
use crate::api::{Asker, FindingsAnswer, RequestsAnswer};
use crate::cached::Cache;
use crate::cached::views::{self, CacheAnswer};
use crate::catalog::Catalogs;
use crate::clock::Clock;
use crate::config::{Config, ConfigErrors};
use crate::control::{Control, Stop};
use crate::handover::{Elders, Inherited, Socket, Sockets};
use crate::limits::BATCHES_MAX;
use crate::listener::{self, Bound};
use crate::live::StartupSetting;
use crate::metrics::Metrics;
use crate::reload::{Reloader, Reloading};
use crate::socket::Address;
use crate::tap::TapSwitch;
use crate::web::login::CookieKey;
use crate::worker::{self, Setting};

/// Why a proxy did not start. Nothing is left behind.
#[derive(Debug, Error)]
pub enum StartError {
    /// The admin listener could not be bound.
    #[error("cannot listen on {address} for metrics and the API (admin.listen)")]
    Admin {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file named by the configuration is no longer what it was when the configuration was read.
    #[error("the configuration is not usable")]
    Config(#[from] ConfigErrors),
    /// A socket from another process is of no use.
    #[error("cannot use the listening sockets that were handed over")]
    Inherited(#[source] io::Error),
    /// A listener for clients could not be bound.
    #[error("cannot listen on {address} for clients (relay.listen)")]
    Listen {
        /// Where it was to listen.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The metrics contradict each other.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The admin listener that was handed over is open to other machines, and there is no token.
    #[error("the admin listener handed over, {address}, can be reached from other machines: set admin.token")]
    OpenAdmin {
        /// Where it listens.
        address: SocketAddr,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// A proxy that is not running yet.
pub struct Proxy;

impl Proxy {
    /// Binds everything, then starts. Returns as soon as clients can connect.
    ///
    /// # Errors
    /// When an address cannot be bound or a thread cannot be started.
    pub fn start(config: &Config) -> Result<Running, StartError> {
        Self::start_with(config, Inherited::default())
    }

    /// As [`Proxy::start`], with `inherited` sockets in the place of the configured ones.
    ///
    /// # Errors
    /// As [`Proxy::start`]; and when an inherited admin listener can be reached from elsewhere without a token.
    pub fn start_with(config: &Config, inherited: Inherited) -> Result<Running, StartError> {
        let metrics = Arc::new(Metrics::new()?);
        let are_files_ours = Arc::new(AtomicBool::new(true));
        let elders = inherited.elders().map_err(StartError::Inherited)?;
        let bound = bind_clients(config, inherited.clients, &are_files_ours)?;
        let admin = bind_admin(config, inherited.admin)?;
        let mut sockets = Sockets::default();
        sockets.add_elders(&elders).map_err(StartError::Inherited)?;
        for socket in &bound {
            socket.share(&mut sockets).map_err(StartError::Inherited)?;
        }
        if let Some((listener, _)) = &admin {
            sockets.add_admin(listener).map_err(StartError::Inherited)?;
        }
        start_threads(config, metrics, Listeners { bound, admin, are_files_ours, sockets, elders })
    }
}

/// Everything that listens.
struct Listeners {
    bound: Vec<Bound>,
    admin: Option<(std::net::TcpListener, SocketAddr)>,
    are_files_ours: Arc<AtomicBool>,
    /// Duplicates for a successor.
    sockets: Sockets,
    elders: Elders,
}

fn bind_clients(
    config: &Config,
    inherited: Vec<Socket>,
    are_files_ours: &Arc<AtomicBool>,
) -> Result<Vec<Bound>, StartError> {
    if !inherited.is_empty() {
        return inherited
            .into_iter()
            .map(Bound::inherited)
            .collect::<io::Result<_>>()
            .map_err(StartError::Inherited);
    }
    let mut bound = Vec::new();
    for address in &config.listen {
        let listening = |source| StartError::Listen { address: address.clone(), source };
        bound.extend(listener::bind(address, are_files_ours).map_err(listening)?);
    }
    Ok(bound)
}

fn bind_admin(
    config: &Config,
    inherited: Option<std::net::TcpListener>,
) -> Result<Option<(std::net::TcpListener, SocketAddr)>, StartError> {
    let Some(address) = config.admin else { return Ok(None) };
    let refused = |source| StartError::Admin { address, source };
    let listener = match inherited {
        Some(listener) => {
            listener.set_nonblocking(true).map_err(refused)?;
            listener
        }
        None => listener::bind_tcp(address).map_err(refused)?,
    };
    let address = listener.local_addr().map_err(refused)?;
    if !address.ip().is_loopback() && config.admin_token.is_none() {
        return Err(StartError::OpenAdmin { address });
    }
    Ok(Some((listener, address)))
}

fn start_threads(
    config: &Config,
    metrics: Arc<Metrics>,
    listeners: Listeners,
) -> Result<Running, StartError> {
    let Listeners { bound, admin, are_files_ours, sockets, elders } = listeners;
    let addresses = bound.iter().map(Bound::address).collect::<io::Result<Vec<_>>>();
    let listen_addrs = addresses.map_err(StartError::Inherited)?;
    let clock = Clock::start();
    let (sink, messages) = mpsc::channel(BATCHES_MAX);
    let mut threads = Vec::new();
    let aggregator = aggregator::start(clock, Arc::clone(&metrics), config, messages);
    threads.push(aggregator.map_err(StartError::Thread)?);
    let taps = TapSwitch::default();
    let catalogs = Arc::new(Catalogs::new(Arc::new(Versions::with_fault(config.cache.fault))));
    let cache = Cache::new(&config.cache, Arc::clone(&catalogs));
    if let Some(cache) = cache.as_ref().filter(|_| !elders.is_empty()) {
        cache.suspend();
    }
    let setting = Setting {
        cache: cache.clone(),
        clock,
        metrics: Arc::clone(&metrics),
        taps: taps.clone(),
        tells_values: config.tells_values,
        observer: config.is_analysis_on.then(|| config.observer.clone()),
        sink: sink.clone(),
    };
    let mut workers = Vec::new();
    for number in 0..config.workers {
        let (handle, thread) = worker::start(number, setting.clone()).map_err(StartError::Thread)?;
        workers.push(handle);
        threads.push(thread);
    }
    let is_draining = Arc::new(AtomicBool::new(false));
    let first = StartupSetting::first(config, clock, Arc::clone(&metrics))?;
    let (next, live) = watch::channel(Arc::new(first));
    let reloading = Reloading::new(config, next, Arc::clone(&metrics), sink.clone());
    if let Some(cache) = cache.clone() {
        Reloader(Arc::downgrade(&reloading)).on_reload(move |config| cache.reload(&config.cache));
    }
    let asker = Asker { cache: cache.clone(), clock, metrics, sink, taps, workers: workers.clone() };
    let state = AdminState {
        asker: asker.clone(),
        catalogs: Arc::clone(&catalogs),
        cookie_key: CookieKey::generate().map(Arc::new),
        inspecting: Arc::default(),
        is_draining: Arc::clone(&is_draining),
        listen: shown(&listen_addrs),
        live: live.clone(),
        reloading: Arc::clone(&reloading),
    };
    let (stop, stops) = watch::channel(Stop::No);
    let admin_addr = admin.as_ref().map(|(_, address)| *address);
    let admin = admin.map(|(listener, _)| listener);
    let has_sockets = Arc::clone(&are_files_ours);
    let control = Control {
        admin,
        cache,
        elders,
        has_sockets,
        bound,
        catalogs,
        is_draining,
        live,
        state,
        stops,
        workers,
    };
    let control = thread::Builder::new().name("control".into()).spawn(move || control.run());
    threads.push(control.map_err(StartError::Thread)?);
    Ok(Running {
        admin_addr,
        are_files_ours,
        asker: Some(asker),
        listen_addrs,
        reloading: Some(reloading),
        sockets,
        stop,
        threads,
    })
}

/// The first listener that has a port, as a client on this machine would write it.
fn shown(addresses: &[Address]) -> Arc<str> {
    let with_port = addresses.iter().find_map(|address| match address {
        Address::Tcp(host, port) if ["0.0.0.0", "::", "[::]"].contains(&host.as_str()) => {
            Some(format!("localhost:{port}"))
        }
        Address::Tcp(..) => Some(address.to_string()),
        Address::Unix(_) => None,
    });
    with_port.or_else(|| addresses.first().map(ToString::to_string)).unwrap_or_default().into()
}

/// A running proxy. Dropping it ends all sessions at once.
pub struct Running {
    admin_addr: Option<SocketAddr>,
    /// Until a successor has them.
    are_files_ours: Arc<AtomicBool>,
    /// Gone once it stops: it holds the channels that keep the threads alive.
    asker: Option<Asker>,
    listen_addrs: Vec<Address>,
    /// As `asker`.
    reloading: Option<Arc<Reloading>>,
    /// Duplicates for a successor. Given up with the first word of a stop, or nobody would refuse new clients.
    sockets: Sockets,
    stop: watch::Sender<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Where clients connect.
    #[must_use]
    pub fn listen_addrs(&self) -> &[Address] {
        &self.listen_addrs
    }

    /// Where metrics and the API are served.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// What `/api/v1/cache` answers.
    #[must_use]
    pub fn cache(&self) -> Option<CacheAnswer> {
        self.asker.as_ref().map(|asker| views::answer(asker.cache.as_deref(), asker.clock))
    }

    /// What `/api/v1/findings` answers; `None` when the aggregator does not. Blocks for a moment.
    #[must_use]
    pub fn findings(&self) -> Option<FindingsAnswer> {
        self.ask(async |asker| asker.findings().await)
    }

    /// What `/api/v1/requests` answers; `None` when the aggregator does not. Blocks for a moment.
    #[must_use]
    pub fn requests(&self, route: Option<&str>, limit: usize) -> Option<RequestsAnswer> {
        let route = route.map(str::to_owned);
        self.ask(async move |asker| asker.requests(route, limit).await)
    }

    /// Begins to collect requests for a capture; false when the aggregator does not answer. Blocks for a moment.
    pub(crate) fn collect(&self, warm_up: WarmUp) -> bool {
        self.ask(async move |asker| asker.collect(warm_up).await).is_some()
    }

    /// The capture, as if all requests were over now; `None` when the aggregator does not answer. Blocks for a moment.
    pub(crate) fn capture(&self) -> Option<Capture> {
        self.ask(async |asker| asker.capture().await)
    }

    /// Sessions that are open, those that are starting too.
    pub(crate) fn open_sessions(&self) -> usize {
        let workers = self.asker.iter().flat_map(|asker| &asker.workers);
        workers.map(|worker| worker.sessions.load(Ordering::Relaxed)).sum()
    }

    /// Connections that clients have opened until now.
    pub(crate) fn sessions_seen(&self) -> u64 {
        self.asker.as_ref().map_or(0, |asker| asker.metrics.connections_opened.get())
    }

    /// What `/metrics` answers. Blocks for a moment.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.ask(async |asker| Some(asker.metrics().await)).unwrap_or_default()
    }

    /// Asks on a thread of its own: the caller may be inside a runtime, where blocking on another is refused.
    fn ask<T: Send>(&self, question: impl AsyncFnOnce(&Asker) -> Option<T> + Send) -> Option<T> {
        let asker = self.asker.as_ref()?;
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
            runtime.block_on(question(asker))
        };
        thread::scope(|scope| scope.spawn(ask).join().ok().flatten())
    }

    /// A handle that can reload the configuration.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader(self.reloading.as_ref().map_or_else(Weak::new, Arc::downgrade))
    }

    /// A handle that can end the proxy from elsewhere, such as a second signal.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    /// Stops accepting, lets sessions end for at most `timeout`, then ends everything and waits for it.
    pub fn shutdown(self, timeout: Duration) {
        self.end(Stop::Drain(Instant::now() + timeout));
    }

    /// A successor serves the listening sockets: whatever ends this proxy from here on leaves their files alone.
    pub(crate) fn leave_sockets(&self) {
        self.are_files_ours.store(false, Ordering::Relaxed);
        if let Some(asker) = &self.asker {
            asker.release();
        }
    }

    /// Nothing is served from the cache from here on, until it is [resumed](Cache::resume).
    pub(crate) fn suspend_cache(&self) -> Option<Arc<Cache>> {
        let cache = self.asker.as_ref()?.cache.clone()?;
        cache.suspend();
        Some(cache)
    }

    /// The listening sockets, for a successor.
    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    fn end(mut self, how: Stop) {
        self.sockets = Sockets::default();
        self.stop.send_if_modified(|stop| {
            let is_first = *stop == Stop::No;
            if is_first {
                *stop = how;
            }
            is_first
        });
        self.join();
    }

    fn join(&mut self) {
        // The control thread goes first: it holds the workers' handles. The workers hold the aggregator's.
        if let Some(control) = self.threads.pop() {
            end_of(control);
        }
        self.asker = None;
        self.reloading = None;
        self.threads.drain(..).rev().for_each(end_of);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(Stop::Now);
        self.join();
    }
}

fn end_of(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        error!(thread = name, "a thread ended by a panic");
    }
}

/// Ends a proxy from elsewhere.
#[derive(Clone)]
pub struct Stopper(watch::Sender<Stop>);

impl Stopper {
    /// Gives the sessions of a drain in progress `timeout` from now on.
    pub fn hurry(&self, timeout: Duration) {
        self.0.send_replace(Stop::Drain(Instant::now() + timeout));
    }

    /// Ends all sessions at once, a drain in progress too.
    pub fn stop_now(&self) {
        self.0.send_replace(Stop::Now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_successor_stay_however_this_proxy_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        for is_succeeded in [false, true] {
            let flags = [("relay.listen", path.to_str().unwrap()), ("admin.listen", "off")];
            let flags = flags.map(|(path, value)| (path, vec![value.to_owned()]));
            let running = Proxy::start(&Config::load(None, [], flags).unwrap()).unwrap();
            if is_succeeded {
                running.leave_sockets();
            }
            // A signal may come before the end that goes before it has begun.
            running.stopper().hurry(Duration::ZERO);
            running.shutdown(Duration::from_secs(60));
            assert_eq!(path.exists(), is_succeeded);
        }
    }
}
