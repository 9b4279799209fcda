//! A running proxy and the signals it gets.
//!
//! SIGHUP reloads the configuration. SIGUSR2 starts the program anew with the listening sockets, and once that serves,
//! this process takes no more clients and ends with its last session. SIGTERM and SIGINT drain, and end everything when
//! they come again.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::{error, info};

use crate::handover::{HandoverError, Predecessor, Program, Successor};
use crate::logging::with_causes;
use crate::proxy::Running;
use crate::reload::Reloader;
use crate::service_manager;

/// Why a process stops.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Asked,
    /// Another process serves in its place.
    Succeeded,
}

struct Signals {
    hang_up: Signal,
    interrupt: Signal,
    terminate: Signal,
    upgrade: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Serves until a signal has ended it. When every signal will be heard, `announce`s it and relieves `predecessor`.
pub(crate) fn serve(
    running: Running,
    program: &Program,
    predecessor: Option<Predecessor>,
    announce: impl FnOnce(&Running),
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        announce(&running);
        if let Some(predecessor) = predecessor {
            predecessor.relieve();
        }
        service_manager::ready();
        let reloader = running.reloader();
        let (stop, _successor) = until_stop(&running, &reloader, &mut signals, program).await;
        end(running, stop, &reloader, &mut signals).await;
        Ok(())
    })
}

async fn until_stop(
    running: &Running,
    reloader: &Reloader,
    signals: &mut Signals,
    program: &Program,
) -> (Stop, Option<Successor>) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return (Stop::Asked, None),
            _ = signals.interrupt.recv() => return (Stop::Asked, None),
            _ = signals.hang_up.recv() => {
                service_manager::reloading();
                // What was wrong is in the log.
                let _ = reloader.reload().await;
                service_manager::ready();
            }
            _ = signals.upgrade.recv() => {
                // Before there is another process that takes sessions.
                let suspended = running.suspend_cache();
                match program.succeed(running.sockets(), signals.stop()).await {
                    Ok(successor) => {
                        info!(process = successor.process, "upgraded: a new process serves");
                        running.leave_sockets();
                        service_manager::succeeded_by(successor.process);
                        return (Stop::Succeeded, Some(successor));
                    }
                    Err(HandoverError::Stopped) => return (Stop::Asked, None),
                    Err(error) => {
                        error!(error = with_causes(&error), "not upgraded: this process goes on");
                        if let Some(cache) = suspended {
                            tokio::spawn(async move { cache.resume().await });
                        }
                    }
                }
            }
        }
    }
}

async fn end(running: Running, stop: Stop, reloader: &Reloader, signals: &mut Signals) {
    let config = reloader.config();
    let drain = config.as_ref().map_or(Duration::ZERO, |config| config.drain_timeout);
    let upgrade = config.map_or(Duration::ZERO, |config| config.upgrade_timeout);
    let stopper = running.stopper();
    let mut stopped = match stop {
        Stop::Asked => {
            service_manager::stopping();
            info!(timeout = ?drain, "stopping; a second signal ends at once");
            spawn_blocking(move || running.shutdown(drain))
        }
        Stop::Succeeded => {
            info!(timeout = ?upgrade, "this process ends with its last session");
            spawn_blocking(move || running.shutdown(upgrade))
        }
    };
    let mut is_hurried = stop == Stop::Asked;
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            () = signals.stop() => {
                if is_hurried {
                    stopper.stop_now();
                } else {
                    stopper.hurry(drain);
                }
                is_hurried = true;
            }
        }
    }
}
