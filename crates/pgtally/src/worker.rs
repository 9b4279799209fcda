//! A worker thread: one single-threaded runtime with its sessions, and nothing shared on the path of a message.
//!
//! Sessions stay on the thread they were given to, so their state is `Rc` and `Cell`. The rest of the process talks
//! to a worker through a channel of [`Command`]s, once per connection or API call.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use pgtally_analysis::{ObserverSettings, RequestPart};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::aggregator::Message;
use crate::clock::Clock;
use crate::limits::{ACCEPTED_MAX, SCRATCH_BYTES, TICK};
use crate::metrics::Metrics;
use crate::observe::Observatory;
use crate::session;
use crate::socket::{Accepted, Address};

/// Where sessions go, and how long reaching it may take.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) address: Address,
    pub(crate) connect_timeout: Duration,
}

/// What a worker needs from the rest of the process.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) observer: Option<ObserverSettings>,
    pub(crate) sink: mpsc::Sender<Message>,
    pub(crate) upstream: Upstream,
}

/// What the sessions of one thread share.
pub(crate) struct Local {
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) observatory: Observatory,
    /// One read buffer for all sessions of the thread, borrowed inside a poll only.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    pub(crate) upstream: Upstream,
}

/// Something for a worker to do.
pub(crate) enum Command {
    /// Hand over what is finished, and answer with copies of what is open.
    Flush(oneshot::Sender<Vec<RequestPart>>),
    /// Serve a connection.
    Serve(Accepted, u64),
}

/// The process's side of a worker.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    /// Sessions given to it and not over.
    pub(crate) sessions: Arc<AtomicUsize>,
}

/// Starts a worker. It ends, and its sessions with it, when all its handles are gone.
pub(crate) fn start(number: usize, setting: Setting) -> io::Result<(WorkerHandle, thread::JoinHandle<()>)> {
    let (commands, receiver) = mpsc::channel(ACCEPTED_MAX);
    let sessions = Arc::new(AtomicUsize::new(0));
    let handle = WorkerHandle { commands, sessions: Arc::clone(&sessions) };
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        // A local runtime cannot change threads, so it is built here. Should that fail, the handle's channel is
        // closed and the acceptor passes this worker over.
        match builder.build_local(LocalOptions::default()) {
            Ok(runtime) => {
                let local = Rc::new(Local {
                    clock: setting.clock,
                    metrics: setting.metrics,
                    observatory: Observatory::new(setting.observer),
                    scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
                    upstream: setting.upstream,
                });
                runtime.block_on(run(&local, receiver, &sessions, &setting.sink));
                // Ends the sessions that are left; their observers close.
                drop(runtime);
                local.observatory.hand_over(&setting.sink, &local.metrics);
            }
            Err(error) => tracing::error!(%error, "cannot start a worker's runtime"),
        }
    })?;
    Ok((handle, thread))
}

async fn run(
    local: &Rc<Local>,
    mut commands: mpsc::Receiver<Command>,
    sessions: &Arc<AtomicUsize>,
    sink: &mpsc::Sender<Message>,
) {
    spawn_local(tick_while_busy(Rc::clone(local), sink.clone()));
    while let Some(command) = commands.recv().await {
        match command {
            Command::Flush(reply) => {
                let observatory = &local.observatory;
                observatory.tick(local.clock.now(), sink, &local.metrics);
                // A caller that stopped waiting needs no answer.
                let _ = reply.send(observatory.open_parts());
            }
            Command::Serve(accepted, number) => {
                let counted = Counted(Arc::clone(sessions));
                let local = Rc::clone(local);
                spawn_local(async move {
                    session::serve(accepted, number, local).await;
                    drop(counted);
                });
            }
        }
    }
}

/// Ticks while there is anything to do; an idle thread has no timer.
async fn tick_while_busy(local: Rc<Local>, sink: mpsc::Sender<Message>) {
    loop {
        local.observatory.wake.notified().await;
        loop {
            sleep(TICK).await;
            if !local.observatory.tick(local.clock.now(), &sink, &local.metrics) {
                break;
            }
        }
    }
}

/// Takes a session off the worker's count when it ends, by a panic too.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
