//! The end of a connection, on record: which side, and why.
//!
//! Every connection has one [`Ending`] from its first moment on, so that none goes without a number in the metrics and a
//! line in the log, however it ends.

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{debug, info};

use crate::admission::Admitted;
use crate::metrics::Metrics;
use crate::relay::RelayEnd;
use crate::startup::NoOpening;
use crate::worker::Counted;

/// Puts the end of a connection on record, when dropped: a drain's deadline and a panic end a session without
/// another word.
pub(crate) struct Ending {
    pub(super) number: u64,
    /// Whom the connection is from; `None` on a Unix socket.
    pub(super) client: Option<SocketAddr>,
    pub(super) reason: Reason,
    metrics: Arc<Metrics>,
    /// Both given up after the record is made.
    pub(super) admitted: Option<Admitted>,
    /// `None` for a console.
    pub(super) counted: Option<Counted>,
}

impl Ending {
    /// Of a connection that was just accepted.
    pub(crate) fn of(number: u64, counted: Counted, metrics: &Arc<Metrics>) -> Self {
        metrics.connections_opened.inc();
        Self {
            number,
            client: None,
            reason: Reason::Aborted,
            metrics: Arc::clone(metrics),
            admitted: None,
            counted: Some(counted),
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let reason = self.reason.name();
        let (session, side) = (self.number, self.reason.side());
        if self.reason.is_untold_fault() {
            info!(session, side, reason, "session ended");
        } else {
            debug!(session, side, reason, "session ended");
        }
        self.metrics.connections_closed.with_label_values(&[reason]).inc();
    }
}

/// Why a connection ended. A closed set: it is a metric label.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reason {
    /// By a drain's deadline, or by a bug of ours.
    Aborted,
    AuthFailed,
    Cancel,
    ClientClosed,
    ClientLost,
    Console,
    /// Too many others were silent at the same time.
    HalfOpenLimit,
    ProxyHeaderInvalid,
    SessionLimit,
    StartupInvalid,
    StartupTimeout,
    TlsFailed,
    TlsMissing,
    UpstreamClosed,
    UpstreamLost,
    UpstreamUnreachable,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::AuthFailed => "auth_failed",
            Self::Cancel => "cancel",
            Self::ClientClosed => "client_closed",
            Self::ClientLost => "client_lost",
            Self::Console => "console",
            Self::HalfOpenLimit => "half_open_limit",
            Self::ProxyHeaderInvalid => "proxy_header_invalid",
            Self::SessionLimit => "session_limit",
            Self::StartupInvalid => "startup_invalid",
            Self::StartupTimeout => "startup_timeout",
            Self::TlsFailed => "tls_failed",
            Self::TlsMissing => "tls_missing",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamLost => "upstream_lost",
            Self::UpstreamUnreachable => "upstream_unreachable",
        }
    }
}

impl Reason {
    /// Whether it is a fault that nothing else has told of. Those that come in floods are told of where they are counted.
    const fn is_untold_fault(self) -> bool {
        matches!(self, Self::StartupInvalid | Self::StartupTimeout | Self::TlsMissing)
    }

    /// Who ended it, or whose fault it was.
    const fn side(self) -> &'static str {
        match self {
            Self::Aborted => "proxy",
            Self::UpstreamClosed | Self::UpstreamLost | Self::UpstreamUnreachable => "upstream",
            _ => "client",
        }
    }
}

impl From<NoOpening> for Reason {
    fn from(refusal: NoOpening) -> Self {
        match refusal {
            NoOpening::Gone => Self::ClientClosed,
            NoOpening::Length | NoOpening::RepeatedRequest | NoOpening::UnencryptedData => {
                Self::StartupInvalid
            }
            NoOpening::TimedOut => Self::StartupTimeout,
            NoOpening::TlsFailed => Self::TlsFailed,
            NoOpening::TlsMissing => Self::TlsMissing,
        }
    }
}

pub(super) fn relay_reason(ended: &RelayEnd) -> Reason {
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
