//! Sticky label slots: which values of an open-ended label get a time series of their own.
//!
//! A value gets a slot at its third sighting and keeps it while it is used at least once in 24 hours; until then, and
//! when all slots are taken, it counts as `other`. This bounds series over time, which ranking the busiest at each
//! scrape does not: a series that comes and goes is a new series each time.

use std::sync::Arc;

use pgtally_analysis::Moment;
use rustc_hash::FxHashMap;

/// Label of values without a slot.
pub(crate) const OTHER: &str = "other";
/// Sightings that earn a slot: one-off values (scanners, typos) must not take one for a day.
const SIGHTINGS: u64 = 3;
/// Idle time after which a slot may be given away, in nanoseconds.
const IDLE_NS: u64 = 24 * 60 * 60 * 1_000_000_000;
/// Values counted towards a slot at one time. When full, counting starts over.
const CANDIDATES_MAX: usize = 1_000;
/// Bytes of the longest label value.
const VALUE_BYTES_MAX: usize = 100;

/// The slots of one label.
#[derive(Debug)]
pub(crate) struct Slots {
    capacity: usize,
    used: FxHashMap<Arc<str>, Moment>,
    candidates: FxHashMap<Box<str>, u64>,
}

/// What became of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The value to use.
    pub(crate) value: Arc<str>,
    /// It had earned a slot and there was none.
    pub(crate) is_overflow: bool,
    /// The value that lost its slot to this one; its series must be removed.
    pub(crate) evicted: Option<Arc<str>>,
}

impl Slots {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, used: FxHashMap::default(), candidates: FxHashMap::default() }
    }

    /// The label of `value`, seen `times` times `now`.
    pub(crate) fn label(&mut self, value: &str, times: u64, now: Moment) -> Label {
        let value = clean(value);
        if let Some((label, _)) = self.used.get_key_value(value.as_str()) {
            let label = Arc::clone(label);
            self.used.insert(Arc::clone(&label), now);
            return Label { value: label, is_overflow: false, evicted: None };
        }
        if !self.has_earned_a_slot(&value, times) {
            return other(false);
        }
        let mut evicted = None;
        if self.used.len() >= self.capacity {
            let Some(idle) = self.idle_slot(now) else { return other(true) };
            self.used.remove(&idle);
            evicted = Some(idle);
        }
        self.candidates.remove(value.as_str());
        let label: Arc<str> = value.into();
        self.used.insert(Arc::clone(&label), now);
        Label { value: label, is_overflow: false, evicted }
    }

    fn has_earned_a_slot(&mut self, value: &str, times: u64) -> bool {
        if self.candidates.len() >= CANDIDATES_MAX && !self.candidates.contains_key(value) {
            self.candidates.clear();
        }
        let sightings = self.candidates.entry(value.into()).or_insert(0);
        *sightings = sightings.saturating_add(times);
        *sightings >= SIGHTINGS
    }

    fn idle_slot(&self, now: Moment) -> Option<Arc<str>> {
        let (value, last) = self.used.iter().min_by_key(|(_, last)| **last)?;
        (now.since(*last) >= IDLE_NS).then(|| Arc::clone(value))
    }
}

fn other(is_overflow: bool) -> Label {
    Label { value: OTHER.into(), is_overflow, evicted: None }
}

/// A label value fit for any dashboard: no control characters, not too long, not empty.
fn clean(value: &str) -> String {
    let mut cleaned = String::with_capacity(value.len().min(VALUE_BYTES_MAX));
    for character in value.chars() {
        let character = if character.is_control() { '_' } else { character };
        if cleaned.len() + character.len_utf8() > VALUE_BYTES_MAX {
            break;
        }
        cleaned.push(character);
    }
    if cleaned.is_empty() { "none".into() } else { cleaned }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(slots: &mut Slots, value: &str, times: usize, now: Moment) -> Vec<String> {
        (0..times).map(|_| slots.label(value, 1, now).value.to_string()).collect()
    }

    #[test]
    fn a_value_gets_its_slot_at_the_third_sighting() {
        let mut slots = Slots::new(2);
        assert_eq!(labels(&mut slots, "/a", 4, Moment(0)), ["other", "other", "/a", "/a"]);
    }

    #[test]
    fn without_a_free_slot_a_value_is_other_and_counted() {
        let mut slots = Slots::new(1);
        labels(&mut slots, "/a", 3, Moment(0));
        labels(&mut slots, "/b", 2, Moment(1));
        let label = slots.label("/b", 1, Moment(1));
        assert_eq!((&*label.value, label.is_overflow), ("other", true));
        assert_eq!(labels(&mut slots, "/a", 1, Moment(2)), ["/a"], "the slot is sticky");
    }

    #[test]
    fn an_idle_slot_is_given_away_after_a_day() {
        let mut slots = Slots::new(1);
        labels(&mut slots, "/a", 3, Moment(0));
        labels(&mut slots, "/b", 2, Moment(IDLE_NS));
        let label = slots.label("/b", 1, Moment(IDLE_NS));
        assert_eq!((&*label.value, label.evicted.as_deref()), ("/b", Some("/a")));
    }

    #[test]
    fn values_are_cleaned_and_cut() {
        let check = |value: &str, expected: &str| assert_eq!(clean(value), expected);
        check("/a\nb\u{7f}", "/a_b_");
        check("", "none");
        check(&"é".repeat(80), &"é".repeat(50));
    }

    #[test]
    fn a_million_hostile_values_take_no_more_than_their_bounds() {
        let mut slots = Slots::new(100);
        let long = "é".repeat(5_000);
        for n in 0..1_000_000 {
            let filler = if n % 1_000 == 0 { &*long } else { "\u{1b}[2J\n\u{0}" };
            // Every seventh comes often enough to want a slot.
            let times = if n % 7 == 0 { SIGHTINGS } else { 1 };
            slots.label(&format!("/{n}{filler}"), times, Moment(n));
        }
        assert!(slots.candidates.len() <= CANDIDATES_MAX);
        assert_eq!(slots.used.len(), 100);
        let is_fit = |value: &str| value.len() <= VALUE_BYTES_MAX && !value.contains(char::is_control);
        assert!(slots.used.keys().all(|value| is_fit(value)));
        assert!(slots.candidates.keys().all(|value| is_fit(value)));
    }
}
