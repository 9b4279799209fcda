//! A session that helps to fill the cache, while it is idle: it takes a question of its own environment, asks it on its
//! own connection, and keeps the answer as it would keep any. See `cached/warming.rs` for who orders that.
//!
//! The client sees nothing of it, except that its next message waits until the answer has ended: for some seconds at most
//! (`cache/src/again.rs`).

use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use pgtally_cache::{
    AnswerCopy, BypassReason, Capture, Entry, Front, HotQuestion, Key, KeyRef, Lead, Question as Hot,
    Refused, Token, Unit,
};

use super::{Asked, CachedSession, Fill, Meaning, Planned, Question};
use crate::cached::warming::{Enrolled, Part};
use crate::clock::LazyMoment;

/// A session's share in filling the cache.
#[derive(Default)]
pub(super) struct Warming {
    /// `None` before the session has asked anything to be cached.
    enrolled: Option<Enrolled>,
    part: Option<Part>,
    /// The environment was asked for the part's sake, and nothing since.
    has_asked: bool,
    is_asking: bool,
    /// The session can ask nothing of what is left.
    is_done: bool,
    refill: Option<Refill>,
}

/// A question that was sent.
struct Refill {
    number: usize,
    key: Key,
    lead: Lead,
    token: Token,
    meaning: Rc<Meaning>,
    sent_ns: u64,
}

impl Warming {
    /// Whether a question is being answered.
    pub(super) fn has_sent(&self) -> bool {
        self.refill.is_some()
    }
}

impl Drop for Warming {
    fn drop(&mut self) {
        if let (Some(part), Some(refill)) = (&self.part, &self.refill) {
            part.finish(refill.number, "aborted");
        }
    }
}

impl CachedSession {
    /// Whether the client has to wait for the end of an answer that is not for it.
    pub(in crate::cached) fn is_warming(&self) -> bool {
        self.warming.is_asking || self.warming.has_sent()
    }

    /// Whether there is an order to fill the cache. A session that has something to do with it can be woken by one.
    pub(in crate::cached) fn has_order(&mut self, waker: &Waker) -> bool {
        let Some(enrolled) = &self.warming.enrolled else {
            if !self.seen.is_empty() {
                self.warming.enrolled = Some(Enrolled::new(&self.desk.cache, waker));
            }
            return false;
        };
        if self.warming.part.is_none() {
            self.warming.part = enrolled.take_order();
            (self.warming.has_asked, self.warming.is_done) = (false, false);
        }
        self.warming.part.is_some()
    }

    /// What to send to the server for the cache's sake. Only while nothing of the client's waits.
    pub(in crate::cached) fn warm(&mut self, now: &LazyMoment<'_>) -> Option<Vec<u8>> {
        let message = self.next_question(now);
        if message.is_none() && !self.is_waiting_to_warm() {
            self.warming.part = None;
        }
        message
    }

    /// Whether the session could ask something if its client left it alone for a moment.
    fn is_waiting_to_warm(&self) -> bool {
        let is_outside = self.front.as_ref().is_some_and(|front| !front.is_in_transaction());
        is_outside && !self.warming.is_done && self.has_question()
    }

    fn has_question(&self) -> bool {
        let environments = self.seen.iter().map(|(environment, _)| environment);
        self.warming.part.as_ref().is_some_and(|part| part.wants(environments))
    }

    fn next_question(&mut self, now: &LazyMoment<'_>) -> Option<Vec<u8>> {
        let is_idle = self.front.as_ref().is_some_and(Front::is_quiet)
            && self.fill.is_none()
            && self.asking.is_none()
            && !self.sieve.is_expecting()
            && !self.is_replication;
        if !is_idle || !self.has_question() {
            return None;
        }
        self.desk.refresh_at_once(&self.place, now);
        let now_ns = now.get().0;
        let known = self.known(now_ns).map(|known| known.map(|known| Arc::clone(&known.environment)));
        let environment = match known {
            Ok(Some(environment)) => environment,
            Ok(None) if !self.warming.has_asked => {
                self.asking = Some(Question::Environment);
                (self.warming.has_asked, self.warming.is_asking) = (true, true);
                return Some(self.ask());
            }
            Ok(None) | Err(_) => {
                self.warming.is_done = true;
                return None;
            }
        };
        self.warming.has_asked = false;
        loop {
            let Some((number, hot)) = self.warming.part.as_ref()?.claim(&environment) else {
                // Others of its questions are of settings that it had before.
                self.warming.is_done = true;
                return None;
            };
            match self.refill(number, &hot, now_ns) {
                Ok(refill) => {
                    self.warming.refill = Some(refill);
                    return Some(hot.question.messages());
                }
                Err(reason) => self.warming.part.as_ref()?.finish(number, reason),
            }
        }
    }

    /// Makes ready for the answer, or says why it could not be kept: by the definitions, rules and settings of now.
    fn refill(&mut self, number: usize, hot: &HotQuestion, now_ns: u64) -> Result<Refill, &'static str> {
        let question = &*hot.question;
        let meaning = self.desk.read(&self.place, question.text(), self.dialect);
        let Asked::Cache(planned) = &meaning.asked else { return Err(BypassReason::Hint.name()) };
        let reads = meaning.facts.read.as_ref().map_err(|reason| reason.name())?;
        let unit = question.unit();
        let environment = self
            .keyed(&unit, &meaning, planned, question.types(), now_ns)
            .map_err(BypassReason::name)?
            .ok_or(BypassReason::Environment.name())?;
        let key = KeyRef { environment: &environment, bytes: &self.key }.to_key();
        if key != hot.key {
            // Its tags, mode or settings are others by now: nobody asks for the old answer.
            return Err("changed");
        }
        let cache = &self.desk.cache;
        let lead = cache.flights.lead(&key).ok_or("being_fetched")?;
        let is_strict = planned.plan.mode == pgtally_cache::Mode::Commit;
        let token =
            cache.versions.token(self.place.id, reads, is_strict, &planned.tags).ok_or("overtaken")?;
        let passed = self.front.as_ref().map(Front::open_frame).unwrap_or_default();
        self.sieve.expect_copy(passed, AnswerCopy::new(planned.plan.bytes_max));
        let meaning = Rc::clone(&meaning);
        Ok(Refill { number, key, lead, token, meaning, sent_ns: now_ns })
    }

    /// A group of pgtally's own is answered.
    pub(super) fn answered(&mut self, now_ns: u64) {
        self.warming.is_asking = false;
        let Some(refill) = self.warming.refill.take() else { return };
        let copied = self.sieve.take_copy().unwrap_or(Err(Refused::Unexpected));
        let number = refill.number;
        let outcome = match copied {
            Ok(capture) => self.keep(refill.into_fill(capture), now_ns),
            Err(refused) => self.desk.cache.totals.count_refused(refused),
        };
        if let Some(part) = &self.warming.part {
            part.finish(number, outcome);
        }
    }

    /// Remembers what was asked, where it is asked often.
    pub(super) fn note_hit(
        &self,
        entry: &Entry,
        key: KeyRef<'_>,
        unit: &Unit<'_>,
        meaning: &Meaning,
        planned: &Planned,
        types: &[u8],
    ) {
        let hits = entry.count_hit();
        self.desk.cache.hot.note(key, hits, || HotQuestion {
            key: key.to_key(),
            question: Arc::new(Hot::of(unit, meaning.text(), types)),
            tags: Arc::clone(&planned.tags),
            ttl: planned.plan.ttl,
            hits: 0,
        });
    }
}

impl Refill {
    fn into_fill(self, capture: Capture) -> Fill {
        let Self { key, lead, token, meaning, sent_ns, .. } = self;
        Fill { key, _lead: Some(lead), capture, token, meaning, sent_ns }
    }
}
