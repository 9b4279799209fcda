//! Replaces the configuration of a running proxy: everything is checked first, then everything is swapped.
//!
//! A session keeps what it began with; limits and thresholds hold from the reload on. Where anything is wrong the old
//! configuration stays, in all parts, and the log says so. Asked for by SIGHUP (`cli.rs`) and `POST /api/v1/reload`.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use pgtally_report::NewAck;
use thiserror::Error;
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::admin::acks::{AckError, add_to_file};
use crate::aggregator::Message;
use crate::config::{Config, ConfigErrors, Reloaded};
use crate::live::StartupSetting;
use crate::metrics::Metrics;

/// Why nothing was reloaded.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The new configuration is not usable.
    #[error("the configuration is not usable")]
    Config(#[from] ConfigErrors),
    /// The proxy is stopping.
    #[error("the proxy is stopping")]
    Stopping,
}

/// What a reload cannot do, told at each that finds such a change.
const RESTART_NEEDED: &str = "these settings stay as they were and count from the next start on: stop and start pgtally. An \
    upgrade (SIGUSR2) takes them over as well, except relay.listen and admin.listen, as it keeps the open sockets";

/// Is told of every configuration that was taken over.
type Hook = Box<dyn Fn(&Config) + Send + Sync>;

/// Reloads the configuration of a running proxy; outlives it without keeping it alive.
#[derive(Clone)]
pub struct Reloader(pub(crate) Weak<Reloading>);

impl Reloader {
    /// Reads the configuration anew from where it came from and takes over what can be changed.
    ///
    /// # Errors
    /// When it is not usable: then everything stays as it was.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.0.upgrade().ok_or(ReloadError::Stopping)?.reload().await
    }

    /// The configuration that runs; `None` when the proxy is stopping.
    pub async fn config(&self) -> Option<Config> {
        Some(self.0.upgrade()?.running.lock().await.clone())
    }

    /// Has `hook` told of every configuration that is taken over: what belongs to the process and not to the proxy.
    pub fn on_reload(&self, hook: impl Fn(&Config) + Send + Sync + 'static) {
        if let Some(reloading) = self.0.upgrade() {
            reloading.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
        }
    }
}

/// The parts of a proxy that a reload reaches.
pub(crate) struct Reloading {
    /// Also makes one reload wait for the other.
    running: AsyncMutex<Config>,
    hooks: Mutex<Vec<Hook>>,
    live: watch::Sender<Arc<StartupSetting>>,
    metrics: Arc<Metrics>,
    sink: mpsc::Sender<Message>,
}

impl Reloading {
    pub(crate) fn new(
        config: &Config,
        live: watch::Sender<Arc<StartupSetting>>,
        metrics: Arc<Metrics>,
        sink: mpsc::Sender<Message>,
    ) -> Arc<Self> {
        // Both series exist from the start, so that the first failure is an increase.
        for result in ["failed", "ok"] {
            metrics.config_reloads.with_label_values(&[result]);
        }
        let running = AsyncMutex::new(config.clone());
        Arc::new(Self { running, hooks: Mutex::default(), live, metrics, sink })
    }

    pub(crate) async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let result = self.replace().await;
        let name = if result.is_ok() { "ok" } else { "failed" };
        self.metrics.config_reloads.with_label_values(&[name]).inc();
        match &result {
            Ok(Reloaded { changed, restart_needed }) => {
                let (changed, restart_needed) = (changed.join(", "), restart_needed.join(", "));
                if !restart_needed.is_empty() {
                    warn!(restart_needed, "{RESTART_NEEDED}");
                }
                info!(changed, restart_needed, "configuration reloaded");
            }
            Err(ReloadError::Config(errors)) => {
                error!(%errors, "configuration not reloaded: it is not usable, and the old one stays");
            }
            Err(error) => error!(%error, "configuration not reloaded"),
        }
        result
    }

    async fn replace(&self) -> Result<Reloaded, ReloadError> {
        let mut running = self.running.lock().await;
        let old = running.clone();
        // Files may be slow; this may be the thread that accepts connections.
        let read = spawn_blocking(move || old.reread().and_then(|new| old.merged_with(new)));
        let (config, reloaded) = read.await.map_err(|_| ReloadError::Stopping)??;
        let next = self.live.borrow().next(&config)?;
        self.sink
            .send(Message::Settings(Box::new(config.findings.clone()), Box::new(config.baselines.clone())))
            .await
            .map_err(|_| ReloadError::Stopping)?;
        self.live.send_replace(Arc::new(next));
        for hook in self.hooks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            hook(&config);
        }
        *running = config;
        Ok(reloaded)
    }

    /// Adds an entry to the file of acknowledgements and has it count at once; nothing else is read anew. Answers with
    /// the file and its entries.
    pub(crate) async fn acknowledge(&self, entry: NewAck) -> Result<(String, usize), AckError> {
        let mut running = self.running.lock().await;
        let path = running.acknowledgements_file().ok_or(AckError::NoFile)?;
        let file = path.display().to_string();
        // Files may be slow; this may be the thread that accepts connections.
        let added = spawn_blocking(move || add_to_file(&path, &entry)).await;
        let acks = added.map_err(|_| AckError::Stopping)??;
        let entries = acks.entries().len();
        running.set_acknowledgements(acks);
        let (findings, baselines) = (running.findings.clone(), running.baselines.clone());
        let message = Message::Settings(Box::new(findings), Box::new(baselines));
        self.sink.send(message).await.map_err(|_| AckError::Stopping)?;
        info!(file, entries, "acknowledgement added");
        Ok((file, entries))
    }

    /// The configuration that runs.
    pub(crate) async fn config(&self) -> Config {
        self.running.lock().await.clone()
    }
}
