//! How fast the host's TSC runs.

use super::clock::{stamp, stamp_after_loads};
use crate::host::clocks::nanoseconds;
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::Duration;

/// The frequency of the TSC, by CLOCK_MONOTONIC_RAW: the clock that no NTP daemon steers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frequency {
    /// kHz.
    pub khz: u64,
    /// What it may be off by, in parts per million: both readings of the clock lie somewhere between two of the TSC.
    pub error_ppm: f64,
}

/// The frequency, which is measured once in a process and takes 20 ms.
pub fn frequency() -> Frequency {
    const APART: Duration = Duration::from_millis(20);
    static FREQUENCY: OnceLock<Frequency> = OnceLock::new();
    *FREQUENCY.get_or_init(|| {
        let first = Reading::take();
        std::thread::sleep(APART);
        Frequency::between(first, Reading::take())
    })
}

/// The time, and the TSC before and after it was read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    before: u64,
    nanoseconds: u64,
    after: u64,
}

impl Reading {
    /// The tightest of a few: an interrupt or a switch in between makes one loose.
    fn take() -> Self {
        const TRIES: usize = 16;
        let once = || {
            let before = stamp_after_loads();
            let time = clock_gettime(ClockId::MonotonicRaw);
            let after = stamp();
            Self { before, nanoseconds: nanoseconds(time), after }
        };
        (1..TRIES).map(|_| once()).fold(once(), |best, next| if next.width() < best.width() { next } else { best })
    }

    fn width(self) -> u64 {
        self.after.wrapping_sub(self.before)
    }
}

impl Frequency {
    fn between(first: Reading, second: Reading) -> Self {
        let middle = |reading: Reading| reading.before.wrapping_add(reading.width() / 2);
        let cycles = middle(second).wrapping_sub(middle(first));
        let nanoseconds = second.nanoseconds.saturating_sub(first.nanoseconds).max(1);
        let khz = u128::from(cycles) * 1_000_000 / u128::from(nanoseconds);
        let error = (first.width() + second.width()) as f64 / 2.0 / cycles.max(1) as f64;
        Self { khz: u64::try_from(khz).unwrap_or(u64::MAX), error_ppm: error * 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_reading_is_a_large_error() {
        let reading = |before, nanoseconds, after| Reading { before, nanoseconds, after };
        let found = Frequency::between(reading(1_000, 5_000, 1_200), reading(201_000, 105_000, 201_200));
        assert_eq!(found.khz, 2_000_000, "200,000 cycles in 100 µs");
        assert!((found.error_ppm - 1_000.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn it_is_the_same_when_it_is_asked_for_again() {
        let found = frequency();
        assert!(found.khz > 100_000 && found.error_ppm < 10_000.0, "{found:?}");
        assert_eq!(found, frequency());
    }
}
