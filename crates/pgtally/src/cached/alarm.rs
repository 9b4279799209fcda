//! Runs things later, on one thread that sleeps while nothing is due: workers keep no time.
//!
//! Used for what is rare: a session that waits for another's answer, and commits of unknown outcome.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

type Task = Box<dyn FnOnce() + Send>;

/// What is due, and when. Tasks of a time run in the order in which they came.
#[derive(Default)]
struct Due {
    times: BinaryHeap<Reverse<(Instant, u64)>>,
    tasks: rustc_hash::FxHashMap<u64, Task>,
    next: u64,
    is_over: bool,
}

#[derive(Default)]
struct Shared {
    due: Mutex<Due>,
    changed: Condvar,
}

/// The thread's other end; dropping it ends the thread, and what was due later is dropped.
pub(super) struct Alarm(Arc<Shared>);

impl Alarm {
    pub(super) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        // Without a thread nothing is ever due: who waits is woken by the answer, and what is held stays held.
        let started = thread::Builder::new().name("cache-alarm".into()).spawn(move || run(&of_thread));
        if let Err(error) = started {
            tracing::error!(%error, "cannot start the cache's alarm; commits of unknown outcome are held for good");
        }
        Self(shared)
    }

    pub(super) fn after(&self, delay: Duration, task: impl FnOnce() + Send + 'static) {
        let mut due = self.0.due.lock().unwrap_or_else(PoisonError::into_inner);
        let number = due.next;
        due.next += 1;
        due.times.push(Reverse((Instant::now() + delay, number)));
        due.tasks.insert(number, Box::new(task));
        self.0.changed.notify_one();
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.due.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.0.changed.notify_one();
    }
}

fn run(shared: &Shared) {
    let mut due = shared.due.lock().unwrap_or_else(PoisonError::into_inner);
    while !due.is_over {
        let now = Instant::now();
        due = match due.times.peek() {
            None => shared.changed.wait(due).unwrap_or_else(PoisonError::into_inner),
            Some(Reverse((at, _))) if *at > now => {
                let rest = *at - now;
                shared.changed.wait_timeout(due, rest).unwrap_or_else(PoisonError::into_inner).0
            }
            Some(_) => {
                let task = due.times.pop().and_then(|Reverse((_, number))| due.tasks.remove(&number));
                drop(due);
                if let Some(task) = task {
                    task();
                }
                shared.due.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn tasks_run_in_the_order_of_their_times() {
        let alarm = Alarm::start();
        let (sender, receiver) = mpsc::channel();
        for (delay, name) in [(60, "late"), (20, "early"), (20, "next")] {
            let sender = sender.clone();
            alarm.after(Duration::from_millis(delay), move || sender.send(name).unwrap());
        }
        let order: Vec<_> = (0..3).map(|_| receiver.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        assert_eq!(order, ["early", "next", "late"]);
        alarm.after(Duration::from_secs(3_600), move || drop(sender));
        drop(alarm);
        // The thread drops what it held.
        assert!(receiver.recv_timeout(Duration::from_secs(10)).is_err());
    }
}
