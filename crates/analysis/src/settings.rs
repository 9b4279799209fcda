//! Thresholds of the rules: one plain struct, with the values for production and for test runs, and other values for
//! single routes.
//!
//! Read next: `acks.rs` (which findings somebody has dealt with).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::acks::Acks;

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
    /// What makes a loop by its growth over requests.
    pub growth: GrowthSettings,
    /// Rows from which a read without LIMIT is unbounded.
    pub unbounded_rows_min: u32,
    /// Bytes from which it is, however few its rows.
    pub unbounded_bytes_min: u64,
    /// Executions of a read from which its wide columns are looked at.
    pub wide_repeats_min: u32,
    /// Bytes of wide rows from which they are worth a finding.
    pub wide_bytes_min: u64,
    /// Share of those bytes that one column must make up.
    pub wide_share_min: f64,
    /// Reads in a row, none needing another's values, from which they should have been sent together.
    pub sequential_reads_min: u32,
    /// Counted statements from which a request is chatty.
    pub chatty_statements_min: u32,
    /// What the times of a request must be for a finding; `None` where times mean nothing (test runs).
    pub times: Option<TimeSettings>,
    /// Nanoseconds from which a statement is slow; `None` where times mean nothing (test runs).
    pub slow_ns: Option<u64>,
    /// Nanoseconds from which a slow statement is critical.
    pub slow_critical_ns: u64,
    /// Nanoseconds from which a statement is slow that takes several times its own 95th percentile.
    pub slow_unusual_ns: u64,
    /// How many times.
    pub slow_unusual_factor: u64,
    /// Repeats below which a finding is information.
    pub warning_repeats_min: u32,
    /// Repeats from which a finding is critical.
    pub critical_repeats_min: u32,
    /// What times make critical; `None` where times mean nothing.
    pub critical_time: Option<CriticalTime>,
    /// Thresholds of single routes, in place of these.
    pub routes: BTreeMap<String, FindingSettings>,
    /// Findings that somebody has dealt with.
    pub acks: Arc<Acks>,
}

/// What the number of a statement's executions must do over the requests of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct GrowthSettings {
    /// Requests that must have been seen.
    pub requests_min: u32,
    /// Different sizes of the parent's result among them.
    pub sizes_min: usize,
    /// Executions per row of the parent from which they grow with it.
    pub slope_min: f64,
    /// Share of their variance that the parent's rows must explain (r²).
    pub fit_min: f64,
    /// Executions per row up to which they don't depend on it.
    pub flat_slope_max: f64,
    /// Repeats below which a loop that doesn't grow is information.
    pub flat_repeats_max: u32,
}

/// From where on times are a finding.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeSettings {
    /// Nanoseconds that independent reads must take together.
    pub sequential_ns: u64,
    /// Share of a request's time between statements inside transactions from which it is chatty.
    pub waiting_share: f64,
    /// Nanoseconds which that share must be: a third of next to nothing harms nobody.
    pub waiting_ns: u64,
    /// Nanoseconds a transaction that has written may wait for the client.
    pub idle_written_ns: u64,
    /// Nanoseconds another transaction may.
    pub idle_ns: u64,
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
            growth: GrowthSettings {
                requests_min: 30,
                sizes_min: 3,
                slope_min: 0.5,
                fit_min: 0.9,
                flat_slope_max: 0.02,
                flat_repeats_max: 10,
            },
            unbounded_rows_min: 1_000,
            unbounded_bytes_min: 1024 * 1024,
            wide_repeats_min: 3,
            wide_bytes_min: 32 * 1024,
            wide_share_min: 0.6,
            sequential_reads_min: 5,
            chatty_statements_min: 50,
            times: Some(TimeSettings {
                sequential_ns: 20 * MS,
                waiting_share: 0.3,
                waiting_ns: 100 * MS,
                idle_written_ns: 500 * MS,
                idle_ns: 2_000 * MS,
            }),
            slow_ns: Some(100 * MS),
            slow_critical_ns: 1_000 * MS,
            slow_unusual_ns: 50 * MS,
            slow_unusual_factor: 3,
            warning_repeats_min: 5,
            critical_repeats_min: 50,
            critical_time: Some(CriticalTime { wasted_ns: 100 * MS, share: 0.3, share_floor_ns: 5 * MS }),
            routes: BTreeMap::new(),
            acks: Arc::default(),
        }
    }
}

impl FindingSettings {
    /// The thresholds for requests of `route`.
    #[must_use]
    pub fn of(&self, route: &str) -> &Self {
        self.routes.get(route).unwrap_or(self)
    }

    /// The thresholds for test runs: data sets are small, so lower counts; times depend on the machine, so none.
    #[must_use]
    pub fn run_mode() -> Self {
        Self {
            linked_repeats_min: 2,
            unlinked_repeats_min: 5,
            duplicate_repeats_min: 2,
            write_round_trips_min: 5,
            wide_repeats_min: 2,
            times: None,
            slow_ns: None,
            critical_time: None,
            ..Self::default()
        }
    }
}
