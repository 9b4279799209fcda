//! The fail-open wrapper around the analysis: whatever goes wrong in it ends observation, never traffic.
//!
//! [`Observation`] belongs to one session and sees the bytes the relay has already forwarded. [`Observatory`] belongs
//! to one worker thread: it holds what its sessions share, sweeps the active ones on a tick, and hands what they
//! produced to the aggregator. A session whose observer fails or panics is *blind* from then on: counted, logged
//! once, relayed as before.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use pgtally_analysis::{Moment, ObserverSettings, RequestPart, SessionObserver, Worker};
use pgtally_protocol::startup::Startup;
use pgtally_protocol::{Desync, TransactionStatus};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, mpsc};
use tracing::warn;

use crate::aggregator::{Batch, Message};
use crate::backlog::{Backlog, Side};
use crate::clock::Clock;
use crate::hearing::Hearing;
use crate::limits::WAITING_PARTS_MAX;
use crate::login_watch::LoginWatch;
use crate::lookups::SessionRow;
use crate::metrics::Metrics;
use crate::sessions::About;
use crate::tap::TapSwitch;
use crate::worker::Local;

/// Why a session is blind when the analysis has panicked.
const PANIC: &str = "panic";

/// What the observed sessions of one thread share.
pub(crate) struct Observatory {
    is_on: bool,
    worker: RefCell<Worker>,
    /// Forwarded and not yet observed.
    backlog: RefCell<Backlog>,
    /// Parts on their way to the aggregator.
    waiting: RefCell<Vec<RequestPart>>,
    /// Sessions with traffic since the last tick, or with an open request: the only ones a tick visits.
    active: RefCell<Vec<Rc<Slot>>>,
    /// All sessions of the thread, for those who ask.
    sessions: RefCell<FxHashMap<u64, Rc<Slot>>>,
    taps: TapSwitch,
    /// Whether the live tap may tell values.
    tells_values: bool,
    is_ticking: Cell<bool>,
    /// Signalled when a tick is wanted and none is on its way.
    wants_tick: Arc<Notify>,
    bytes_to_upstream: Cell<u64>,
    bytes_to_client: Cell<u64>,
}

/// One session's observer, shared between its session and the tick.
pub(crate) struct Slot {
    session: u64,
    about: About,
    state: Cell<State>,
    is_active: Cell<bool>,
    /// Boxed: a blind session keeps none of its state.
    observer: RefCell<Option<Box<SessionObserver>>>,
    /// Only where values may be told.
    hearing: RefCell<Option<Box<Hearing>>>,
}

/// State of a session in metrics, as of the last tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Blind,
    Idle,
    InTransaction,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Blind => "blind",
            Self::Idle => "idle",
            Self::InTransaction => "in_transaction",
        }
    }

    fn of(observer: &SessionObserver) -> Self {
        match observer.status() {
            _ if observer.is_running() => Self::Active,
            TransactionStatus::Idle => Self::Idle,
            TransactionStatus::Open | TransactionStatus::Failed => Self::InTransaction,
        }
    }
}

impl Slot {
    /// Of a session that is not observed.
    pub(crate) fn blind(session: u64, about: About) -> Self {
        Self {
            session,
            about,
            state: Cell::new(State::Blind),
            is_active: Cell::new(false),
            observer: RefCell::new(None),
            hearing: RefCell::default(),
        }
    }

    /// Number of the session.
    #[cfg(test)]
    pub(crate) const fn session(&self) -> u64 {
        self.session
    }

    fn show(&self, state: State, metrics: &Metrics) {
        let before = self.state.replace(state);
        if before != state {
            metrics.session_gauge(before.name()).dec();
            metrics.session_gauge(state.name()).inc();
        }
    }

    /// Gives the observer up for lost.
    fn go_blind(&self, reason: &'static str, metrics: &Metrics) {
        self.show(State::Blind, metrics);
        metrics.sessions_blind.with_label_values(&[reason]).inc();
        metrics.dropped_because("session_blind", 1);
        warn!(session = self.session, reason, "session is no longer observed; its traffic goes on");
    }
}

impl Observatory {
    /// `settings` is `None` when the analysis is switched off.
    pub(crate) fn new(settings: Option<ObserverSettings>, wants_tick: Arc<Notify>, taps: TapSwitch) -> Self {
        Self {
            is_on: settings.is_some(),
            worker: RefCell::new(Worker::new(settings.unwrap_or_default())),
            backlog: RefCell::default(),
            waiting: RefCell::default(),
            active: RefCell::default(),
            sessions: RefCell::default(),
            taps,
            tells_values: false,
            is_ticking: Cell::new(false),
            wants_tick,
            bytes_to_upstream: Cell::new(0),
            bytes_to_client: Cell::new(0),
        }
    }

    /// Lets the live tap tell values.
    pub(crate) fn telling_values(self, tells_values: bool) -> Self {
        Self { tells_values, ..self }
    }

    /// Asks the control thread for a tick, if none is on its way.
    pub(crate) fn want_tick(&self) {
        if !self.is_ticking.replace(true) {
            self.wants_tick.notify_one();
        }
    }

    /// Observes what waits for it.
    pub(crate) fn observe_waiting(&self, metrics: &Metrics) {
        self.backlog.borrow_mut().drain(|waiting, chunk| {
            self.look(&waiting.slot, metrics, |observer, worker| {
                self.show(&waiting.slot, observer, (waiting.side, chunk, waiting.moment), worker)
            });
        });
    }

    /// Has a session's observer look at something, and gives it up when that fails.
    fn look(
        &self,
        slot: &Rc<Slot>,
        metrics: &Metrics,
        look: impl FnOnce(&mut SessionObserver, &mut Worker) -> Result<(), Desync>,
    ) {
        let mut place = slot.observer.borrow_mut();
        let Some(observer) = place.as_mut() else { return };
        if !slot.is_active.replace(true) {
            self.active.borrow_mut().push(Rc::clone(slot));
        }
        let seen = catch_unwind(AssertUnwindSafe(|| look(observer, &mut self.worker.borrow_mut())));
        let reason = match seen {
            Ok(Ok(())) => return,
            Ok(Err(desync)) => {
                // What was seen before the trouble is sound and stays.
                close(observer, self);
                desync.name()
            }
            Err(_) => PANIC,
        };
        *place = None;
        slot.go_blind(reason, metrics);
    }

    /// Has an observer look at a chunk, and where values may be told, whoever hears them.
    fn show(
        &self,
        slot: &Slot,
        observer: &mut SessionObserver,
        (side, chunk, moment): (Side, &[u8], Moment),
        worker: &mut Worker,
    ) -> Result<(), Desync> {
        if !self.tells_values {
            return show(observer, side, chunk, moment, worker);
        }
        let mut hearing = slot.hearing.borrow_mut();
        let Some(hearing) = hearing.as_mut() else { return show(observer, side, chunk, moment, worker) };
        let before = worker.tapped_mut().len();
        if matches!(side, Side::Client) {
            hearing.client(chunk, self.taps.is_on())?;
        }
        show(observer, side, chunk, moment, worker)?;
        hearing.tell(worker.tapped_mut().iter_mut().skip(before));
        if !matches!(side, Side::Client) && !observer.is_running() {
            hearing.idle();
        }
        Ok(())
    }

    /// Closes what has been idle for long enough and hands over what is finished. Asks for another tick when one is
    /// needed although no session may send anything until then.
    pub(crate) fn tick(&self, now: Moment, sink: &mpsc::Sender<Message>, metrics: &Metrics) {
        self.observe_waiting(metrics);
        let has_open = self.sweep(now, metrics);
        let is_handed_over = self.hand_over(sink, metrics);
        self.worker.borrow_mut().set_tapped(self.taps.is_on());
        self.is_ticking.set(false);
        if has_open || !is_handed_over {
            self.want_tick();
        }
    }

    /// Lets observers of active sessions see the time; true when any has something open.
    fn sweep(&self, now: Moment, metrics: &Metrics) -> bool {
        let mut active = self.active.borrow_mut();
        active.retain(|slot| {
            let mut place = slot.observer.borrow_mut();
            let swept = place.as_mut().map(|observer| {
                catch_unwind(AssertUnwindSafe(|| {
                    observer.sweep(now, &mut self.worker.borrow_mut());
                    (observer.has_open_request(), State::of(observer))
                }))
            });
            let has_open = match swept {
                None => false,
                Some(Ok((has_open, state))) => {
                    slot.show(state, metrics);
                    has_open
                }
                Some(Err(_)) => {
                    *place = None;
                    slot.go_blind(PANIC, metrics);
                    false
                }
            };
            slot.is_active.set(has_open);
            has_open
        });
        !active.is_empty()
    }

    /// Sends one batch to the aggregator; false when it had no room and something has to wait.
    ///
    /// Counters and shapes stay in the worker until there is room: they are sums and sets, and nothing of them is
    /// lost. Parts are dropped beyond a bound, and counted.
    pub(crate) fn hand_over(&self, sink: &mpsc::Sender<Message>, metrics: &Metrics) -> bool {
        metrics.relay_bytes_to_upstream.inc_by(self.bytes_to_upstream.take());
        metrics.relay_bytes_to_client.inc_by(self.bytes_to_client.take());
        let mut worker = self.worker.borrow_mut();
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() && !worker.has_news() {
            return true;
        }
        waiting.append(&mut worker.take_parts());
        if let Ok(permit) = sink.try_reserve() {
            permit.send(Message::Batch(Box::new(Batch {
                shapes: worker.take_new_shapes(),
                parts: std::mem::take(&mut waiting),
                tapped: worker.take_tapped(),
                counters: worker.take_counters(),
            })));
            return true;
        }
        if let Some(excess) = waiting.len().checked_sub(WAITING_PARTS_MAX).filter(|excess| *excess > 0) {
            // The latest go: what waits longest is closest to being counted.
            waiting.truncate(WAITING_PARTS_MAX);
            metrics.dropped_because("aggregator_queue", excess as u64);
        }
        false
    }

    /// All sessions of the thread, for the API.
    pub(crate) fn sessions(&self, clock: &Clock) -> Vec<SessionRow> {
        let sessions = self.sessions.borrow();
        let rows = sessions.values().map(|slot| {
            let observer = slot.observer.borrow();
            let part = observer.as_ref().and_then(|observer| observer.current_part());
            slot.about.row(slot.session, slot.state.get().name(), part, clock)
        });
        rows.collect()
    }

    /// Copies of the requests that are open right now, for the API.
    pub(crate) fn open_parts(&self) -> Vec<RequestPart> {
        let active = self.active.borrow();
        let parts = active.iter().filter_map(|slot| {
            let observer = slot.observer.borrow();
            catch_unwind(AssertUnwindSafe(|| observer.as_ref()?.open_part())).ok().flatten()
        });
        parts.take(WAITING_PARTS_MAX).collect()
    }
}

/// One session's view of its own bytes.
pub(crate) struct Observation {
    slot: Rc<Slot>,
    local: Rc<Local>,
    /// Until the server has let the client in, or has not.
    login: Option<Box<LoginWatch>>,
}

impl Observation {
    /// Begins to observe a session, or not to: a startup packet that could not be understood, a replication
    /// connection and an analysis that is off are relayed blind by design.
    pub(crate) fn begin(
        session: u64,
        startup: Option<&Startup>,
        client: Option<SocketAddr>,
        local: &Rc<Local>,
    ) -> Self {
        let (metrics, observatory) = (&local.metrics, &local.observatory);
        let observer = match startup {
            _ if !observatory.is_on => Err("analysis_off"),
            None => Err("startup_unknown"),
            Some(startup) if startup.is_replication() => Err("replication"),
            Some(startup) => {
                let worker = &observatory.worker;
                let begun = catch_unwind(AssertUnwindSafe(|| {
                    SessionObserver::new(session, startup, &mut worker.borrow_mut())
                }));
                begun.map(Box::new).map_err(|_| PANIC)
            }
        };
        if let Err(reason) = &observer {
            metrics.sessions_blind.with_label_values(&[reason]).inc();
            if *reason == PANIC {
                metrics.dropped_because("session_blind", 1);
                warn!(session, reason, "session is not observed; its traffic goes on");
            }
        }
        let state = if observer.is_ok() { State::Active } else { State::Blind };
        metrics.session_gauge(state.name()).inc();
        let about = About::new(startup, client, local.clock.now());
        let slot = Rc::new(Slot {
            state: Cell::new(state),
            hearing: RefCell::new(
                (observatory.tells_values && observer.is_ok()).then(|| Box::new(Hearing::new())),
            ),
            observer: RefCell::new(observer.ok()),
            ..Slot::blind(session, about)
        });
        observatory.sessions.borrow_mut().insert(session, Rc::clone(&slot));
        Self { slot, local: Rc::clone(local), login: Some(Box::new(LoginWatch::new())) }
    }

    /// The session's number.
    pub(crate) fn session(&self) -> u64 {
        self.slot.session
    }

    /// Leaves `ending` out of the application's name: see [`SessionObserver::leave_out_of_name`].
    pub(crate) fn leave_out_of_name(&self, ending: &str) {
        if let Some(observer) = &mut *self.slot.observer.borrow_mut() {
            observer.leave_out_of_name(ending);
        }
    }

    /// Takes note of bytes that went to the upstream.
    pub(crate) fn frontend(&mut self, chunk: &[u8], now: Moment) {
        add(&self.local.observatory.bytes_to_upstream, chunk.len());
        self.note(Side::Client, chunk, now);
    }

    /// Takes note of bytes that went to the client.
    pub(crate) fn backend(&mut self, chunk: &[u8], now: Moment) {
        add(&self.local.observatory.bytes_to_client, chunk.len());
        if let Some(login) = &mut self.login
            && login.is_over(chunk, self.slot.session, &self.local.metrics)
        {
            self.login = None;
        }
        self.note(Side::Upstream, chunk, now);
    }

    /// Takes note of bytes that were answered from the cache: when they came, the answer, and when that went out.
    pub(crate) fn served(&mut self, question: (&[u8], Moment), answer: (&[u8], Moment)) {
        add(&self.local.observatory.bytes_to_client, answer.0.len());
        self.note(Side::Client, question.0, question.1);
        self.note(Side::Cache, answer.0, answer.1);
    }

    fn note(&mut self, side: Side, chunk: &[u8], now: Moment) {
        let Local { observatory, metrics, .. } = &*self.local;
        observatory.want_tick();
        if self.slot.observer.borrow().is_none() {
            return;
        }
        if observatory.backlog.borrow().has_room(chunk) {
            return observatory.backlog.borrow_mut().push(&self.slot, side, chunk, now);
        }
        observatory.observe_waiting(metrics);
        observatory.look(&self.slot, metrics, |observer, worker| {
            observatory.show(&self.slot, observer, (side, chunk, now), worker)
        });
    }
}

impl Drop for Observation {
    /// The session is over, in whatever way.
    fn drop(&mut self) {
        let observatory = &self.local.observatory;
        observatory.observe_waiting(&self.local.metrics);
        if let Some(mut observer) = self.slot.observer.borrow_mut().take() {
            close(&mut observer, observatory);
        }
        observatory.sessions.borrow_mut().remove(&self.slot.session);
        observatory.want_tick();
        self.local.metrics.session_gauge(self.slot.state.get().name()).dec();
    }
}

/// Has an observer look at a chunk.
fn show(
    observer: &mut SessionObserver,
    side: Side,
    chunk: &[u8],
    moment: Moment,
    worker: &mut Worker,
) -> Result<(), Desync> {
    match side {
        Side::Cache => observer.served(chunk, moment, worker),
        Side::Client => observer.frontend(chunk, moment, worker),
        Side::Upstream => observer.backend(chunk, moment, worker),
    }
}

/// Has an observer hand over what it has. A panic costs that.
fn close(observer: &mut SessionObserver, observatory: &Observatory) {
    let _ = catch_unwind(AssertUnwindSafe(|| observer.close(&mut observatory.worker.borrow_mut())));
}

fn add(counter: &Cell<u64>, bytes: usize) {
    counter.set(counter.get() + bytes as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_the_analysis_blinds_its_session_and_no_other() {
        let local = Rc::new(Local {
            desk: None,
            clock: Clock::start(),
            metrics: Arc::new(Metrics::new().unwrap()),
            observatory: Observatory::new(
                Some(ObserverSettings::default()),
                Arc::default(),
                TapSwitch::default(),
            ),
            overhead: crate::overhead::Overhead::default(),
            scratch: RefCell::default(),
            stalls: crate::stalls::Stalls::default(),
        });
        let startup = Startup { major: 3, minor: 0, parameters: Vec::new() };
        let mut sick = Observation::begin(1, Some(&startup), None, &local);
        let mut healthy = Observation::begin(2, Some(&startup), None, &local);
        let observatory = &local.observatory;
        observatory.look(&sick.slot, &local.metrics, |_, _| panic!("a bug in the analysis"));
        for observation in [&mut sick, &mut healthy] {
            observation.backend(b"Z\0\0\0\x05I", Moment(1));
        }
        observatory.observe_waiting(&local.metrics);
        assert!(sick.slot.observer.borrow().is_none());
        assert!(healthy.slot.observer.borrow().is_some());
        assert_eq!(local.metrics.sessions_blind.with_label_values(&[PANIC]).get(), 1);
    }
}
