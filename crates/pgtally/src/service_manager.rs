//! Tells systemd, or whoever started us with `NOTIFY_SOCKET`, how far we are. Without it nothing happens.
//!
//! See `sd_notify(3)`; with `Type=notify-reload` systemd itself waits for the end of a reload.

use sd_notify::NotifyState;
use tracing::debug;

/// Clients can connect; also ends a reload.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read anew.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "the monotonic clock cannot be read"),
    }
}

/// Another process serves from now on.
pub(crate) fn succeeded_by(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

/// No new sessions; the present ones may finish.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager cannot be told");
    }
}
