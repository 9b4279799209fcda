//! Tells systemd, or whoever started us with `NOTIFY_SOCKET`, how far we are. Without it nothing happens.
//!
//! See `sd_notify(3)`; with `Type=notify-reload` systemd itself waits for the end of a reload.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;
use tracing::{debug, warn};

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

/// Tells a service manager that has set `WatchdogSec=` that we live, for as long as `is_alive` says so.
///
/// `WATCHDOG_PID` is not looked at: it names the process that was started first, and after an upgrade that is another.
pub(crate) async fn keep_watchdog(is_alive: impl AsyncFn(Duration) -> bool) {
    let Some(limit) = watchdog_limit(std::env::var("WATCHDOG_USEC").ok().as_deref()) else { return };
    loop {
        if is_alive(limit / 3).await {
            tell(&[NotifyState::Watchdog]);
        } else {
            warn!(
                "a thread that relays sessions does not turn: the service manager's watchdog is not told that we live"
            );
        }
        sleep(limit / 3).await;
    }
}

fn watchdog_limit(microseconds: Option<&str>) -> Option<Duration> {
    microseconds?.parse().ok().filter(|limit| *limit > 0).map(Duration::from_micros)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_positive_number_switches_the_watchdog_on() {
        assert_eq!(watchdog_limit(Some("30000000")), Some(Duration::from_secs(30)));
        for off in [None, Some(""), Some("0"), Some("soon"), Some("-1")] {
            assert_eq!(watchdog_limit(off), None, "{off:?}");
        }
    }
}
