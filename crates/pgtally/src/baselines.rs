//! The state file of the baselines: kept by a thread of its own, so that a slow disk holds up nobody.
//!
//! One process owns the file, by a lock beside it. Whoever finds the lock taken says so, goes on without the file, and
//! takes it over when the other is gone, as in an upgrade. The file is written to another name, flushed and renamed;
//! what cannot be read is moved aside. Trouble with it never keeps the proxy from its work.
//!
//! Read next: `baselines/format.rs` (the file's contents), `aggregator/baselines.rs` (who learns).

mod format;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tracing::{error, info, warn};

pub(crate) use self::format::{read, write};
use crate::limits::{STATE_BYTES_MAX, STATE_RETRY};
use crate::metrics::Metrics;

/// Something for the thread to do.
enum Order {
    /// Give the file up: another process takes over.
    Release,
    Write(Vec<u8>),
}

/// The thread that keeps the file.
pub(crate) struct Keeper {
    /// `None` once the thread is to end.
    orders: Option<SyncSender<Order>>,
    found: Found,
    thread: Option<JoinHandle<()>>,
}

/// What stood in the file, until somebody takes it.
type Found = Arc<Mutex<Option<Vec<u8>>>>;

impl Keeper {
    /// Takes the file at `path` into possession, and reads it, as far as that is possible.
    ///
    /// # Errors
    /// When there can be no other thread.
    pub(crate) fn start(path: PathBuf, metrics: Arc<Metrics>) -> io::Result<Self> {
        // A second state replaces one that waits: sending never has to wait for the disk.
        let (orders, receiver) = sync_channel(1);
        let found = Found::default();
        let mut owner = Owner { path, lock: None, has_told: false, metrics, found: Arc::clone(&found) };
        owner.claim();
        let thread = thread::Builder::new().name("baselines".into()).spawn(move || owner.run(&receiver))?;
        Ok(Self { orders: Some(orders), found, thread: Some(thread) })
    }

    /// What the file held when it was taken over; once.
    pub(crate) fn take_found(&self) -> Option<Vec<u8>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Has a state written. False when the one before still waits: try again later.
    pub(crate) fn save(&self, state: Vec<u8>) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(Order::Write(state)).is_ok())
    }

    /// Writes `state` and gives the file to whoever waits for it.
    pub(crate) fn release(&self, state: Vec<u8>) {
        if let Some(orders) = &self.orders {
            // A thread that is gone has nothing to give.
            let _ = orders.send(Order::Write(state));
            let _ = orders.send(Order::Release);
        }
    }

    /// Writes `state` and ends.
    pub(crate) fn finish(self, state: Vec<u8>) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(Order::Write(state));
        }
    }
}

impl Drop for Keeper {
    /// The file is free when this is over.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Owner {
    path: PathBuf,
    lock: Option<File>,
    /// That it does not work is told once, until it works.
    has_told: bool,
    metrics: Arc<Metrics>,
    found: Found,
}

impl Owner {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut is_released = false;
        loop {
            match orders.recv_timeout(STATE_RETRY) {
                Ok(Order::Release) => {
                    self.lock = None;
                    is_released = true;
                }
                Ok(Order::Write(_)) if is_released => {}
                Ok(Order::Write(state)) => self.keep(&state),
                Err(RecvTimeoutError::Timeout) if self.lock.is_none() && !is_released => self.claim(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn keep(&mut self, state: &[u8]) {
        if self.lock.is_none() {
            self.claim();
            // What has been found has to be taken in first.
            return;
        }
        match replace(&self.path, state) {
            Ok(()) => {
                self.count("ok");
                if std::mem::take(&mut self.has_told) {
                    info!(file = %self.path.display(), "baselines are written again");
                }
            }
            Err(error) => {
                self.count("failed");
                if !std::mem::replace(&mut self.has_told, true) {
                    warn!(
                        file = %self.path.display(),
                        %error,
                        "baselines cannot be written: what was written last stays, and a restart forgets what was \
                         learned since (baselines.state_file)"
                    );
                }
            }
        }
    }

    /// Tries to become the owner of the file, and reads it then.
    fn claim(&mut self) {
        let lock_path = beside(&self.path, "lock");
        let locked =
            private().truncate(false).open(&lock_path).map_err(TryLockError::Error).and_then(|file| {
                file.try_lock()?;
                Ok(file)
            });
        match locked {
            Ok(file) => {
                self.lock = Some(file);
                if std::mem::take(&mut self.has_told) {
                    info!(file = %self.path.display(), "the file of baselines is ours now");
                }
                self.load();
            }
            Err(problem) => {
                let (result, problem) = match problem {
                    TryLockError::WouldBlock => ("locked", "another pgtally uses it".to_owned()),
                    TryLockError::Error(error) => ("failed", error.to_string()),
                };
                self.count(result);
                if !std::mem::replace(&mut self.has_told, true) {
                    error!(
                        file = %self.path.display(),
                        problem,
                        "baselines are kept in memory only: their file cannot be had; give each pgtally its own \
                         baselines.state_file"
                    );
                }
            }
        }
    }

    fn load(&self) {
        match contents(&self.path) {
            Ok(Some(state)) => match read(&state) {
                Ok(_) => *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(state),
                Err(problem) => self.put_aside(&problem),
            },
            Ok(None) => {}
            Err(error) => self.put_aside(&error.to_string()),
        }
    }

    fn put_aside(&self, problem: &str) {
        let aside = beside(&self.path, "unreadable");
        let moved = std::fs::rename(&self.path, &aside);
        self.count("unreadable");
        error!(
            file = %self.path.display(),
            moved_to = moved.is_ok().then(|| aside.display().to_string()),
            problem,
            "the file of baselines cannot be read: they are learned anew"
        );
    }

    fn count(&self, result: &str) {
        self.metrics.baseline_saves.with_label_values(&[result]).inc();
    }
}

/// The whole file; `None` when there is none.
fn contents(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Ok(file) if file.len() > STATE_BYTES_MAX => Err(io::Error::other("it is too big to be ours")),
        Ok(_) => std::fs::read(path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts `state` in the file's place: whoever reads it finds the old or the new one, whole.
fn replace(path: &Path, state: &[u8]) -> io::Result<()> {
    let new = beside(path, "new");
    let written = private().truncate(true).open(&new).and_then(|mut file| {
        file.write_all(state)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| std::fs::rename(&new, path));
    if replaced.is_err() {
        // On a full disk half a file is half a file too much.
        let _ = std::fs::remove_file(&new);
    }
    replaced?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// For writing; for nobody else to read, as statements stand in it.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
