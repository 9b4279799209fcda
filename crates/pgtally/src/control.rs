//! The control thread: accepts, runs what needs timers, and drains.
//!
//! Everything that happens beside the relay on one runtime that keeps time: acceptors and the startup of sessions, ticks,
//! the admin listener, probers, and the watchdog. When it is asked to stop it accepts nothing more and waits for the
//! sessions that are there. `proxy.rs` puts it together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info};

use crate::admin::{self, AdminState};
use crate::cached::Cache;
use crate::catalog::Catalogs;
use crate::console::Host;
use crate::handover::Elders;
use crate::listener::{Bound, Dispatcher};
use crate::live::Live;
use crate::prober;
use crate::security::certificates;
use crate::service_manager;
use crate::worker::{self, WorkerHandle};

/// How often a drain looks whether the last session is gone.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// How far a proxy is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stop {
    No,
    /// No new sessions; the present ones until then.
    Drain(Instant),
    Now,
}

/// What the control thread works with.
pub(crate) struct Control {
    pub(crate) admin: Option<std::net::TcpListener>,
    /// Not once a successor serves.
    pub(crate) has_sockets: Arc<AtomicBool>,
    pub(crate) bound: Vec<Bound>,
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) catalogs: Arc<Catalogs>,
    pub(crate) elders: Elders,
    pub(crate) is_draining: Arc<AtomicBool>,
    pub(crate) live: Live,
    pub(crate) state: AdminState,
    pub(crate) stops: watch::Receiver<Stop>,
    pub(crate) workers: Vec<WorkerHandle>,
}

impl Control {
    /// Runs until the proxy has stopped.
    pub(crate) fn run(self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => error!(%error, "cannot start the control runtime"),
        }
    }

    async fn serve(mut self) {
        for worker in &self.workers {
            tokio::spawn(worker.clone().tick_on_demand());
        }
        let dispatcher = Arc::new(Dispatcher {
            workers: self.workers.clone(),
            numbers: AtomicU64::new(1),
            live: self.live.clone(),
            host: Arc::new(Host::new(self.state.clone())),
        });
        let acceptors: Vec<_> = std::mem::take(&mut self.bound)
            .into_iter()
            .map(|bound| {
                let dispatcher = Arc::clone(&dispatcher);
                tokio::spawn(async move {
                    if let Err(error) = dispatcher.accept_forever(bound).await {
                        error!(%error, "a listener has failed");
                    }
                })
            })
            .collect();
        drop(dispatcher);
        let admin =
            self.admin.take().map(|listener| tokio::spawn(admin::serve(listener, self.state.clone())));
        tokio::spawn(prober::probe_forever(self.live.clone()));
        tokio::spawn(Arc::clone(&self.catalogs).keep_loaded(self.live.clone()));
        if let Some(cache) = &self.cache {
            tokio::spawn(Arc::clone(cache).settle_forever(self.live.clone()));
            if !self.elders.is_empty() {
                let (cache, elders) = (Arc::clone(cache), self.elders.take());
                tokio::spawn(async move {
                    elders.gone().await;
                    cache.resume().await;
                });
            }
        }
        tokio::spawn(certificates::watch(self.live.clone()));
        // Here, so that this thread's turning is part of what it says.
        let workers = self.workers.clone();
        tokio::spawn(service_manager::keep_watchdog(async move |limit| {
            worker::all_turn(&workers, limit).await
        }));
        let mut stops = self.stops.clone();
        // An error means that `Running` is gone, which also means to stop.
        let _ = stops.wait_for(|stop| *stop != Stop::No).await;
        self.is_draining.store(true, Ordering::Relaxed);
        if !self.has_sockets.load(Ordering::Relaxed) {
            // Questions are for the successor; what was asked already is answered.
            admin.inspect(|admin| admin.abort());
        }
        for acceptor in acceptors {
            acceptor.abort();
            let _ = acceptor.await;
        }
        self.drain(&mut stops).await;
    }

    async fn drain(&self, stops: &mut watch::Receiver<Stop>) {
        let sessions =
            || self.workers.iter().map(|worker| worker.sessions.load(Ordering::Relaxed)).sum::<usize>();
        if sessions() > 0 {
            info!(sessions = sessions(), "no new sessions; waiting for the present ones");
        }
        while sessions() > 0 {
            match *stops.borrow() {
                Stop::Drain(deadline) if Instant::now() < deadline => {}
                _ => break,
            }
            sleep(DRAIN_POLL).await;
        }
        if sessions() > 0 {
            info!(sessions = sessions(), "ending the sessions that are left");
        }
    }
}
