//! The only clock of the shell: monotonic moments for the pure crates, wall time for people.
//!
//! One `Clock` is made per proxy and copied into every thread. The hot loop reads it once per chunk; nothing else
//! on the path of a message does.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pgtally_analysis::Moment;

/// Turns the process's clocks into [`Moment`]s and back into wall time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    wall_origin: SystemTime,
}

impl Clock {
    /// A clock whose first moment is now.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now(), wall_origin: SystemTime::now() }
    }

    /// Now, on the monotonic clock.
    pub(crate) fn now(&self) -> Moment {
        let elapsed = self.origin.elapsed();
        // 584 years fit in 64 bits of nanoseconds.
        Moment(elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos()))
    }

    /// Seconds since 1970 of `moment`, as the wall clock stood when this clock was started.
    pub(crate) fn unix_seconds(&self, moment: Moment) -> f64 {
        let at = self.wall_origin + Duration::from_nanos(moment.0);
        at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}

/// A moment that is read from the clock when it is first asked for, and not at all where nobody asks.
#[derive(Debug)]
pub(crate) struct LazyMoment<'a> {
    clock: &'a Clock,
    read: Cell<Option<Moment>>,
}

impl<'a> LazyMoment<'a> {
    /// Not read yet.
    pub(crate) const fn of(clock: &'a Clock) -> Self {
        Self { clock, read: Cell::new(None) }
    }

    /// The moment of the first call.
    pub(crate) fn get(&self) -> Moment {
        let now = self.read.get().unwrap_or_else(|| self.clock.now());
        self.read.set(Some(now));
        now
    }
}

/// `2026-01-31T12:34:56.789Z` for seconds since 1970.
pub(crate) fn rfc3339(unix_seconds: f64) -> String {
    let milliseconds = (unix_seconds.max(0.0) * 1_000.0).round() as u64;
    let (seconds, milliseconds) = (milliseconds / 1_000, milliseconds % 1_000);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// Gregorian date of a number of days since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_the_wall_clock_are_no_time() {
        let clock = Clock::start();
        let before = clock.now();
        for stepped in [UNIX_EPOCH, SystemTime::now() + Duration::from_secs(86_400)] {
            let stepped = Clock { wall_origin: stepped, ..clock };
            assert!(Duration::from_nanos(stepped.now().since(before)) < Duration::from_secs(60));
        }
    }

    #[test]
    fn a_lazy_moment_is_that_of_its_first_reading() {
        let clock = Clock::start();
        let lazy = LazyMoment::of(&clock);
        let before = clock.now();
        while clock.now() == before {}
        let read = lazy.get();
        assert!(read > before);
        while clock.now() == read {}
        assert_eq!(lazy.get(), read);
    }

    #[test]
    fn wall_times_are_written_as_rfc3339() {
        let check = |seconds: f64, expected: &str| assert_eq!(rfc3339(seconds), expected);
        check(0.0, "1970-01-01T00:00:00.000Z");
        check(951_827_696.5, "2000-02-29T12:34:56.500Z");
        check(1_798_761_599.999, "2026-12-31T23:59:59.999Z");
    }
}
