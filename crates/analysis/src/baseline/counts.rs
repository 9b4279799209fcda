//! How many requests ran how many statements: exact where it matters, bounded everywhere.

use std::collections::BTreeMap;

/// Counts up to here are kept as they are. Above, 6 significant bits are: at most 1,600 different counts.
const EXACT_MAX: u64 = 128;
/// Significant bits of counts above.
const SIGNIFICANT_BITS: u32 = 6;

/// A distribution of counts. Those above 128 are rounded up to about 3 %; the extremes are exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountDistribution {
    counts: BTreeMap<u64, u64>,
    extremes: Option<(u64, u64)>,
}

impl CountDistribution {
    /// A distribution as [`CountDistribution::iter`] showed it, with its extremes. Empty without counts.
    #[must_use]
    pub fn of(counts: impl IntoIterator<Item = (u64, u64)>, min: u64, max: u64) -> Self {
        let mut distribution = Self::default();
        for (count, requests) in counts {
            distribution.add(count, requests);
        }
        distribution.extremes = distribution.extremes.map(|_| (min.min(max), max.max(min)));
        distribution
    }

    /// Adds `requests` that ran `count` statements each.
    pub fn add(&mut self, count: u64, requests: u64) {
        if requests == 0 {
            return;
        }
        let (min, max) = self.extremes.unwrap_or((count, count));
        self.extremes = Some((min.min(count), max.max(count)));
        let requests_so_far = self.counts.entry(rounded(count)).or_default();
        *requests_so_far = requests_so_far.saturating_add(requests);
    }

    /// Adds another distribution.
    pub fn absorb(&mut self, other: &Self) {
        let (Some((min, max)), own) = (other.extremes, self.extremes) else { return };
        for (count, requests) in &other.counts {
            self.add(*count, *requests);
        }
        let (own_min, own_max) = own.unwrap_or((min, max));
        self.extremes = Some((own_min.min(min), own_max.max(max)));
    }

    /// The fewest; 0 when empty.
    #[must_use]
    pub fn min(&self) -> u64 {
        self.extremes.map_or(0, |(min, _)| min)
    }

    /// The most; 0 when empty.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.extremes.map_or(0, |(_, max)| max)
    }

    /// Requests in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().fold(0, |sum, requests| sum.saturating_add(*requests))
    }

    /// The count that `share` (0 to 1) of the requests do not exceed; 0 when empty.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.total() as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0_u64;
        for (count, requests) in &self.counts {
            seen = seen.saturating_add(*requests);
            if seen >= rank {
                return (*count).clamp(self.min(), self.max());
            }
        }
        self.max()
    }

    /// The middle one.
    #[must_use]
    pub fn median(&self) -> u64 {
        self.quantile(0.5)
    }

    /// Counts with the number of their requests, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().map(|(count, requests)| (*count, *requests))
    }
}

/// A large count with few significant bits, rounded up so that it hides no growth.
fn rounded(count: u64) -> u64 {
    if count <= EXACT_MAX {
        return count;
    }
    let unit = 1_u64 << (64 - count.leading_zeros()).saturating_sub(SIGNIFICANT_BITS);
    count.checked_next_multiple_of(unit).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_counts_are_exact_and_large_ones_close() {
        let mut counts = CountDistribution::default();
        for count in [3, 3, 128, 1_000, 1_001] {
            counts.add(count, 1);
        }
        assert_eq!(counts.iter().collect::<Vec<_>>(), [(3, 2), (128, 1), (1_008, 2)]);
        assert_eq!((counts.min(), counts.max(), counts.median(), counts.total()), (3, 1_001, 128, 5));
        assert_eq!((counts.quantile(0.0), counts.quantile(1.0)), (3, 1_001));
        assert_eq!(CountDistribution::of(counts.iter(), 3, 1_001), counts);
    }

    #[test]
    fn any_counts_take_bounded_room() {
        let mut counts = CountDistribution::default();
        for bits in 0..64 {
            for low in 0..200_u64 {
                counts.add(
                    (1_u64 << bits).saturating_add(low.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (63 - bits)),
                    1,
                );
            }
        }
        counts.add(u64::MAX, 1);
        assert!(counts.counts.len() <= 2_100, "{}", counts.counts.len());
        assert_eq!((counts.max(), CountDistribution::default().median()), (u64::MAX, 0));
    }

    #[test]
    fn two_make_the_same_as_one() {
        let (mut one, mut two, mut all) = Default::default();
        for (distribution, count) in [(&mut one, 5), (&mut two, 1_001)] {
            CountDistribution::add(distribution, count, 3);
            CountDistribution::add(&mut all, count, 3);
        }
        one.absorb(&two);
        assert_eq!(one, all);
        one.absorb(&CountDistribution::default());
        assert_eq!(one, all);
    }
}
