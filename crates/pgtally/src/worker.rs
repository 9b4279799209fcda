//! A worker thread: one single-threaded runtime with its sessions, and nothing shared on the path of a message.
//!
//! Sessions stay on the thread they were given to, so their state is `Rc` and `Cell`. The rest of the process talks
//! to a worker through a channel of [`Command`]s, once per connection, API call or tick.
//!
//! A worker's runtime keeps no time: tokio's timers read the clock four times whenever a thread goes to sleep, which
//! is once per message. What needs a deadline runs on the control thread (`session.rs`: everything before the relay),
//! and ticks come from there too, only while they are wanted.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use pgtally_analysis::{ObserverSettings, RequestPart};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::aggregator::Message;
use crate::cached::{Cache, Desk};
use crate::clock::Clock;
use crate::limits::{ACCEPTED_MAX, SCRATCH_BYTES, TICK};
use crate::lookups::SessionRow;
use crate::metrics::Metrics;
use crate::observe::Observatory;
use crate::overhead::Overhead;
use crate::session::{self, Started};
use crate::stalls::Stalls;
use crate::tap::TapSwitch;

/// What a worker needs from the rest of the process.
#[derive(Clone)]
pub(crate) struct Setting {
    /// `None` without a cache.
    pub(crate) cache: Option<Arc<Cache>>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) observer: Option<ObserverSettings>,
    pub(crate) taps: TapSwitch,
    /// Whether the live tap tells values.
    pub(crate) tells_values: bool,
    pub(crate) sink: mpsc::Sender<Message>,
}

/// What the sessions of one thread share.
pub(crate) struct Local {
    /// `None` without a cache.
    pub(crate) desk: Option<Rc<Desk>>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) observatory: Observatory,
    pub(crate) overhead: Overhead,
    /// One read buffer for all sessions of the thread, borrowed inside a poll only.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    pub(crate) stalls: Stalls,
}

/// Something for a worker to do.
pub(crate) enum Command {
    /// Hand over what is finished, and answer with copies of what is open.
    Flush(oneshot::Sender<Vec<RequestPart>>),
    /// Answer, to show that the thread turns.
    Pulse(oneshot::Sender<()>),
    /// Relay a session to its end.
    Serve(Box<Started>),
    /// Answer with all sessions.
    Sessions(oneshot::Sender<Vec<SessionRow>>),
    /// Look at the time: close what is over and hand it on.
    Tick,
}

/// The process's side of a worker.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    /// Sessions meant for it and not over, those that are still starting too.
    pub(crate) sessions: Arc<AtomicUsize>,
    /// Signalled by the worker.
    wants_tick: Arc<Notify>,
}

impl WorkerHandle {
    /// Counts a session of this worker until the answer is dropped.
    pub(crate) fn count(&self) -> Counted {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.sessions))
    }

    /// Sends ticks while the worker wants them: with nothing open anywhere, no timer is armed. Needs a runtime that
    /// keeps time.
    pub(crate) async fn tick_on_demand(self) {
        loop {
            self.wants_tick.notified().await;
            sleep(TICK).await;
            if self.commands.send(Command::Tick).await.is_err() {
                return;
            }
        }
    }
}

/// Whether every worker that has not ended takes a command and answers it within `limit`.
pub(crate) async fn all_turn(workers: &[WorkerHandle], limit: Duration) -> bool {
    let asked = async {
        let mut answers = Vec::with_capacity(workers.len());
        for worker in workers {
            let (reply, answer) = oneshot::channel();
            if worker.commands.send(Command::Pulse(reply)).await.is_ok() {
                answers.push(answer);
            }
        }
        for answer in answers {
            let _ = answer.await;
        }
    };
    timeout(limit, asked).await.is_ok()
}

/// Starts a worker. It ends, and its sessions with it, when all its handles are gone.
pub(crate) fn start(number: usize, setting: Setting) -> io::Result<(WorkerHandle, thread::JoinHandle<()>)> {
    let (commands, receiver) = mpsc::channel(ACCEPTED_MAX);
    let wants_tick = Arc::new(Notify::new());
    let handle = WorkerHandle { commands, sessions: Arc::default(), wants_tick: Arc::clone(&wants_tick) };
    let mut builder = Builder::new_current_thread();
    builder.enable_io();
    let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        // A local runtime cannot change threads, so it is built here. Should that fail, the handle's channel is
        // closed and the acceptor passes this worker over.
        match builder.build_local(LocalOptions::default()) {
            Ok(runtime) => {
                let local = Rc::new(Local {
                    desk: setting.cache.map(|cache| Rc::new(Desk::new(cache))),
                    clock: setting.clock,
                    metrics: setting.metrics,
                    observatory: Observatory::new(setting.observer, wants_tick, setting.taps)
                        .telling_values(setting.tells_values),
                    overhead: Overhead::default(),
                    scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
                    stalls: Stalls::default(),
                });
                runtime.block_on(run(&local, receiver, &setting.sink));
                // Ends the sessions that are left; their observers close.
                drop(runtime);
                local.observatory.hand_over(&setting.sink, &local.metrics);
            }
            Err(error) => tracing::error!(%error, "cannot start a worker's runtime"),
        }
    })?;
    Ok((handle, thread))
}

async fn run(local: &Rc<Local>, mut commands: mpsc::Receiver<Command>, sink: &mpsc::Sender<Message>) {
    let observatory = &local.observatory;
    while let Some(command) = commands.recv().await {
        match command {
            Command::Flush(reply) => {
                observatory.tick(local.clock.now(), sink, &local.metrics);
                // A caller that stopped waiting needs no answer.
                let _ = reply.send(observatory.open_parts());
            }
            Command::Pulse(reply) => drop(reply.send(())),
            Command::Serve(started) => drop(spawn_local(session::serve(started, Rc::clone(local)))),
            Command::Sessions(reply) => drop(reply.send(observatory.sessions(&local.clock))),
            Command::Tick => {
                let now = local.clock.now();
                observatory.tick(now, sink, &local.metrics);
                if local.stalls.tick(now, &local.metrics) {
                    observatory.want_tick();
                }
            }
        }
    }
}

/// Takes a session off its worker's count when it ends, by a panic too.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_turn_is_noticed() {
        let (commands, receiver) = mpsc::channel(1);
        let worker = WorkerHandle { commands, sessions: Arc::default(), wants_tick: Arc::default() };
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            assert!(
                !all_turn(std::slice::from_ref(&worker), Duration::from_millis(20)).await,
                "nobody answers"
            );
            assert!(
                !all_turn(std::slice::from_ref(&worker), Duration::from_millis(20)).await,
                "the channel is full"
            );
            drop(receiver);
            assert!(
                all_turn(&[worker], Duration::from_secs(1)).await,
                "it has ended, which is seen elsewhere"
            );
        });
    }
}
