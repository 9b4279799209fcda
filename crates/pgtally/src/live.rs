//! The settings that sessions begin with: one snapshot for each session, replaced as a whole by a reload.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::cancel::Cancels;
use crate::clock::Clock;
use crate::config::{
    ClientAddrForm, Config, ConfigErrors, InspectAccount, ProbeAccount, Secret, SessionLimits, SocketSettings,
};
use crate::half_open::HalfOpen;
use crate::limits::HALF_OPEN_MAX;
use crate::metrics::Metrics;
use crate::security::Snapshot;
use crate::upstreams::Upstreams;

/// What a session needs until its worker has it, and whatever else a reload replaces.
pub(crate) struct StartupSetting {
    pub(crate) admin_token: Option<Secret>,
    pub(crate) client_addr: ClientAddrForm,
    pub(crate) clock: Clock,
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) explains: bool,
    pub(crate) has_tap: bool,
    pub(crate) inspect: Option<InspectAccount>,
    pub(crate) lifts_comments: bool,
    pub(crate) limits: SessionLimits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) probe: Option<ProbeAccount>,
    pub(crate) probe_interval: Duration,
    pub(crate) proxy_header: Option<ProxyHeaderSetting>,
    pub(crate) security: Arc<Snapshot>,
    pub(crate) socket: SocketSettings,
    pub(crate) startup_timeout: Duration,
    pub(crate) upstreams: Upstreams,
}

/// What counts those who come in. Outlives reloads: they do.
pub(crate) struct Entrance {
    pub(crate) admission: Arc<Admission>,
    pub(crate) cancels: Cancels,
    pub(crate) half_open: Arc<HalfOpen>,
}

impl Default for Entrance {
    fn default() -> Self {
        let half_open = HalfOpen::new(HALF_OPEN_MAX);
        Self { admission: Arc::default(), cancels: Cancels::default(), half_open }
    }
}

/// Who may begin a connection with a header of the PROXY protocol; where this is given, everybody allowed must.
pub(crate) struct ProxyHeaderSetting {
    pub(crate) from: Vec<IpNet>,
}

impl StartupSetting {
    /// The first snapshot.
    ///
    /// # Errors
    /// When a file it names is of no use.
    pub(crate) fn first(config: &Config, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, ConfigErrors> {
        let upstreams = Upstreams::new(&config.upstreams, config.session_attrs, None);
        let security = Snapshot::first(config)?;
        Ok(Self::with(config, clock, metrics, Arc::default(), security, upstreams))
    }

    /// The snapshot after this one.
    ///
    /// # Errors
    /// When a file it names is of no use.
    pub(crate) fn next(&self, config: &Config) -> Result<Self, ConfigErrors> {
        let upstreams = Upstreams::new(&config.upstreams, config.session_attrs, Some(&self.upstreams));
        let security = self.security.next(config)?;
        let (metrics, entrance) = (Arc::clone(&self.metrics), Arc::clone(&self.entrance));
        Ok(Self::with(config, self.clock, metrics, entrance, security, upstreams))
    }

    fn with(
        config: &Config,
        clock: Clock,
        metrics: Arc<Metrics>,
        entrance: Arc<Entrance>,
        security: Snapshot,
        upstreams: Upstreams,
    ) -> Self {
        Self {
            admin_token: config.admin_token.clone(),
            client_addr: config.client_addr,
            clock,
            entrance,
            explains: config.explains,
            has_tap: config.has_tap,
            inspect: config.inspect.clone(),
            lifts_comments: config.lifts_comments,
            limits: config.limits,
            metrics,
            probe: config.probe.clone(),
            probe_interval: config.probe_interval,
            proxy_header: config
                .has_proxy_header
                .then(|| ProxyHeaderSetting { from: config.proxy_header_from.clone() }),
            security: Arc::new(security),
            socket: config.socket,
            startup_timeout: config.startup_timeout,
            upstreams,
        }
    }
}

/// The snapshot that counts now, and a signal when it is replaced.
pub(crate) type Live = watch::Receiver<Arc<StartupSetting>>;
