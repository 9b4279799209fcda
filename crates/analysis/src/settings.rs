//! Thresholds of the rules: one plain struct, with the values for production and for test runs.

/// From where on something is a finding, and how bad it is.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingSettings {
    /// Executions from which a loop whose keys are proven to be a parent's values is an N+1.
    pub linked_repeats_min: u32,
    /// Share of a loop's distinct keys that must be found in one column of the parent.
    pub coverage_min: f64,
    /// Executions from which a loop without a proven parent is an N+1 candidate.
    pub unlinked_repeats_min: u32,
    /// Share of distinct keys among those executions.
    pub unlinked_distinct_min: f64,
    /// Equal reads from which they are duplicates.
    pub duplicate_repeats_min: u32,
    /// Round trips from which single-row writes are a loop.
    pub write_round_trips_min: u32,
    /// Median length from which a key is a list, and its repeats are chunks of a batch.
    pub list_elements_min: u32,
    /// Nanoseconds between statements from which unlinked repeats are polling, not a loop.
    pub polling_gap_ns: u64,
    /// Nanoseconds from which a statement is slow; `None` where times mean nothing (test runs).
    pub slow_ns: Option<u64>,
    /// Nanoseconds from which a slow statement is critical.
    pub slow_critical_ns: u64,
    /// Repeats below which a finding is information.
    pub warning_repeats_min: u32,
    /// Repeats from which a finding is critical.
    pub critical_repeats_min: u32,
    /// What times make critical; `None` where times mean nothing.
    pub critical_time: Option<CriticalTime>,
}

/// From which cost in time a finding is critical.
#[derive(Clone, Debug, PartialEq)]
pub struct CriticalTime {
    /// Wasted nanoseconds in one request.
    pub wasted_ns: u64,
    /// Share of the request's database time spent on the repeats beyond one.
    pub share: f64,
    /// Nanoseconds the repeats must cost before their share counts: a third of next to nothing is no emergency.
    pub share_floor_ns: u64,
}

const MS: u64 = 1_000_000;

impl Default for FindingSettings {
    /// The thresholds for production.
    fn default() -> Self {
        Self {
            linked_repeats_min: 5,
            coverage_min: 0.9,
            unlinked_repeats_min: 10,
            unlinked_distinct_min: 0.8,
            duplicate_repeats_min: 3,
            write_round_trips_min: 10,
            list_elements_min: 2,
            polling_gap_ns: 100 * MS,
            slow_ns: Some(100 * MS),
            slow_critical_ns: 1_000 * MS,
            warning_repeats_min: 5,
            critical_repeats_min: 50,
            critical_time: Some(CriticalTime { wasted_ns: 100 * MS, share: 0.3, share_floor_ns: 5 * MS }),
        }
    }
}

impl FindingSettings {
    /// The thresholds for test runs: data sets are small, so lower counts; times depend on the machine, so none.
    #[must_use]
    pub fn run_mode() -> Self {
        Self {
            linked_repeats_min: 2,
            unlinked_repeats_min: 5,
            duplicate_repeats_min: 2,
            write_round_trips_min: 5,
            slow_ns: None,
            critical_time: None,
            ..Self::default()
        }
    }
}
