//! Durations of one shape in buckets an eighth of a power of two wide: percentiles to 12 %, in 370 bytes.

use crate::limits::{LATENCY_SAMPLES_MAX, LATENCY_SAMPLES_MIN};

/// Sub-buckets per power of two, as a power of two.
const SUB_BITS: u32 = 3;
/// Durations below 2^14 ns (16 µs) share the first bucket.
const LOW_BITS: u32 = 14;
/// Durations from 2^37 ns (137 s) on share the last.
const HIGH_BITS: u32 = 37;
const BUCKETS: usize = ((HIGH_BITS - LOW_BITS) << SUB_BITS) as usize + 1;

#[derive(Debug)]
pub(super) struct Latency {
    buckets: Box<[u16; BUCKETS]>,
    total: u32,
    used: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), total: 0, used: 0 }
    }
}

impl Latency {
    /// Number of the request that used it last.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn observe(&mut self, duration_ns: u64, used: u64) {
        self.used = used;
        if self.total >= LATENCY_SAMPLES_MAX {
            self.fade();
        }
        if let Some(count) = self.buckets.get_mut(bucket(duration_ns)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// Halves what is known: what was slow a thousand executions ago says little about now.
    fn fade(&mut self) {
        self.buckets.iter_mut().for_each(|count| *count /= 2);
        self.total = self.buckets.iter().map(|count| u32::from(*count)).sum();
    }

    /// Upper bound of the bucket that holds the 95th percentile; `None` while too little is known.
    pub(super) fn p95_ns(&self) -> Option<u64> {
        if self.total < LATENCY_SAMPLES_MIN {
            return None;
        }
        let wanted = self.total - self.total / 20;
        let mut seen = 0;
        let index = self.buckets.iter().position(|count| {
            seen += u32::from(*count);
            seen >= wanted
        })?;
        Some(upper_bound(index))
    }
}

fn bucket(duration_ns: u64) -> usize {
    let bits = duration_ns.max(1).ilog2();
    if bits < LOW_BITS {
        return 0;
    }
    let sub = (duration_ns >> (bits - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    let index = u64::from((bits - LOW_BITS) << SUB_BITS) + sub + 1;
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn upper_bound(index: usize) -> u64 {
    let Some(index) = (index as u64).checked_sub(1) else { return 1 << LOW_BITS };
    let (bits, sub) = (LOW_BITS as u64 + (index >> SUB_BITS), index & ((1 << SUB_BITS) - 1));
    ((1 << SUB_BITS) + sub + 1) << (bits - u64::from(SUB_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close() {
        let mut latency = Latency::default();
        for n in 1..=1_000_u64 {
            latency.observe(n * 100_000, n);
        }
        let p95 = latency.p95_ns().expect("enough");
        assert!((95_000_000..107_000_000).contains(&p95), "{p95}");
    }

    #[test]
    fn few_samples_say_nothing_and_many_fade() {
        let mut latency = Latency::default();
        for n in 0..LATENCY_SAMPLES_MIN - 1 {
            latency.observe(1_000_000, n.into());
        }
        assert_eq!(latency.p95_ns(), None);
        for n in 0..LATENCY_SAMPLES_MAX * 3 {
            latency.observe(8_000_000, n.into());
        }
        assert!(latency.total <= LATENCY_SAMPLES_MAX);
        assert!(latency.p95_ns().is_some_and(|p95| (8_000_000..9_500_000).contains(&p95)));
    }

    #[test]
    fn every_duration_has_a_bucket_that_bounds_it() {
        for bits in 0..64 {
            for duration in [1_u64 << bits, (1 << bits) + 1, (1 << bits) - 1] {
                let index = bucket(duration);
                assert!(index < BUCKETS);
                assert!(index == BUCKETS - 1 || duration < upper_bound(index), "{duration}");
            }
        }
    }
}
