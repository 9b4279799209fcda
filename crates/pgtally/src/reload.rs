//! Replaces the configuration of a running proxy: everything is checked first, then everything is swapped.
//!
//! A session keeps what it began with; limits and thresholds hold from the reload on. Where anything is wrong the old
//! configuration stays, in all parts, and the log says so. Asked for by SIGHUP (`cli.rs`) and `POST /api/v1/reload`.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use pgtally_report::NewAck;
use thiserror::Error;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::admin::acks::{AckError, add_to_file};
use crate::aggregator::Message;
use crate::config::{Config, ConfigErrors, Reloaded};
use crate::limits::RELOAD_TIMEOUT;
use crate::live::StartupSetting;
use crate::metrics::Metrics;

/// Why nothing was reloaded.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The new configuration is not usable.
    #[error("the configuration is not usable")]
    Config(#[from] ConfigErrors),
    /// A file it needs cannot be read in time, now or since an earlier reload.
    #[error("a file of the configuration cannot be read in time")]
    Slow,
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
    #[must_use]
    pub fn config(&self) -> Option<Config> {
        Some(self.0.upgrade()?.config())
    }

    /// Has `hook` told of every configuration that is taken over: what belongs to the process and not to the proxy.
    pub fn on_reload(&self, hook: impl Fn(&Config) + Send + Sync + 'static) {
        if let Some(reloading) = self.0.upgrade() {
            reloading.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
        }
    }
}

/// What was read.
struct Read {
    config: Config,
    reloaded: Reloaded,
    next: Box<StartupSetting>,
}

/// The parts of a proxy that a reload reaches.
pub(crate) struct Reloading {
    running: Mutex<Config>,
    /// Has one reload wait for the other. Whoever reads the files has it, however long they take.
    reading: Arc<AsyncMutex<()>>,
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
        let running = Mutex::new(config.clone());
        Arc::new(Self { running, reading: Arc::default(), hooks: Mutex::default(), live, metrics, sink })
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
        let read = self.aside(|old, live| -> Result<Read, ConfigErrors> {
            let (config, reloaded) = old.reread().and_then(|new| old.merged_with(new))?;
            Ok(Read { next: Box::new(live.next(&config)?), config, reloaded })
        });
        let (read, _turn) = read.await?;
        let Read { config, reloaded, next } = read?;
        // The last moment at which whoever asked can leave: what follows happens as a whole.
        let place = self.sink.reserve().await.map_err(|_| ReloadError::Stopping)?;
        place.send(Message::Settings(Box::new(config.findings.clone()), Box::new(config.baselines.clone())));
        self.live.send_replace(Arc::new(*next));
        for hook in self.hooks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            hook(&config);
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(reloaded)
    }

    /// Adds an entry to the file of acknowledgements and has it count at once; nothing else is read anew. Answers with
    /// the file and its entries.
    pub(crate) async fn acknowledge(&self, entry: NewAck) -> Result<(String, usize), AckError> {
        let added = self.aside(move |mut config, _| {
            let path = config.acknowledgements_file().ok_or(AckError::NoFile)?;
            let acks = add_to_file(&path, &entry)?;
            let entries = acks.entries().len();
            config.set_acknowledgements(acks);
            Ok::<_, AckError>((config, path.display().to_string(), entries))
        });
        let (added, _turn) = added.await?;
        let (config, file, entries) = added?;
        let place = self.sink.reserve().await.map_err(|_| AckError::Stopping)?;
        let (findings, baselines) = (config.findings.clone(), config.baselines.clone());
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = config;
        place.send(Message::Settings(Box::new(findings), Box::new(baselines)));
        info!(file, entries, "acknowledgement added");
        Ok((file, entries))
    }

    /// Does `work` with what runs, on a thread that nobody has to wait for: this one may accept connections, and a file
    /// system that is gone may never answer. One at a time, until the second answer is dropped.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(Config, Arc<StartupSetting>) -> T + Send + 'static,
    ) -> Result<(T, OwnedMutexGuard<()>), ReloadError> {
        let done = async {
            let turn = Arc::clone(&self.reading).lock_owned().await;
            let (config, live) = (self.config(), Arc::clone(&self.live.borrow()));
            let (reply, answer) = oneshot::channel();
            // Nobody may be waiting any more.
            let work = move || drop(reply.send((work(config, live), turn)));
            thread::Builder::new().name("files".into()).spawn(work).map_err(|_| ReloadError::Slow)?;
            answer.await.map_err(|_| ReloadError::Stopping)
        };
        timeout(RELOAD_TIMEOUT, done).await.map_err(|_| ReloadError::Slow)?
    }

    /// The configuration that runs.
    pub(crate) fn config(&self) -> Config {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
