//! The clocks: each vCPU's TSC is the host's plus an offset, and every stamp is brought onto vCPU 0's.

pub use kipi_kvm_apic::tsc::{Method, Offset, host as host_tsc};
use std::time::Duration;

/// A time in TSC cycles.
pub fn cycles(time: Duration, tsc_khz: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(tsc_khz) / 1_000_000).unwrap_or(u64::MAX)
}

/// How long so many TSC cycles take.
pub fn time(cycles: u64, tsc_khz: u64) -> Duration {
    let ns = u128::from(cycles) * 1_000_000 / u128::from(tsc_khz.max(1));
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

/// The common clock of a machine's stamps: vCPU 0's TSC. All that compares stamps of two clocks compares them on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonClock {
    offsets: Vec<Offset>,
    subtracted: Vec<i64>,
}

impl CommonClock {
    /// Of vCPUs with these offsets, of which there must be one.
    ///
    /// What is subtracted from a vCPU's stamps is how far its offset is from vCPU 0's. An estimate counts only where it
    /// shows that the two differ: else it would add its own error to clocks that are equal, as KVM makes them.
    pub fn new(offsets: Vec<Offset>) -> Self {
        let first = offsets[0];
        let subtracted = offsets.iter().map(|offset| {
            let difference = offset.cycles.wrapping_sub(first.cycles);
            let is_certain = difference.unsigned_abs() > offset.error.saturating_add(first.error);
            if is_certain { difference } else { 0 }
        });
        Self { subtracted: subtracted.collect(), offsets }
    }

    /// A stamp of a vCPU on the common clock. Wrapping: a guest may have written anything.
    pub fn of_vcpu(&self, vcpu: usize, tsc: u64) -> u64 {
        tsc.wrapping_sub(self.subtracted[vcpu].cast_unsigned())
    }

    /// A stamp of the host on the common clock.
    pub fn of_host(&self, tsc: u64) -> u64 {
        tsc.wrapping_add_signed(self.offsets[0].cycles)
    }

    /// Cycles that are subtracted from each vCPU's stamps.
    pub fn subtracted(&self) -> &[i64] {
        &self.subtracted
    }

    /// Whether every offset is known exactly.
    pub fn is_exact(&self) -> bool {
        self.offsets.iter().all(|offset| offset.method == Method::Attribute)
    }

    /// How far two vCPUs' stamps of one host TSC may still be apart, in cycles: zero where the offsets are exact.
    pub fn apart(&self, one: usize, other: usize) -> u64 {
        let left = |vcpu: usize| self.offsets[vcpu].cycles.wrapping_sub(self.subtracted[vcpu]);
        let errors = self.offsets[one].error.saturating_add(self.offsets[other].error);
        if one == other { 0 } else { left(one).abs_diff(left(other)).saturating_add(errors) }
    }

    /// How far a stamp of the host may be from a vCPU's of the same host TSC, in cycles: zero where the offsets are exact.
    pub fn host_apart(&self, vcpu: usize) -> u64 {
        let left = self.offsets[vcpu].cycles.wrapping_sub(self.subtracted[vcpu]);
        left.abs_diff(self.offsets[0].cycles).saturating_add(self.offsets[vcpu].error)
    }

    /// How far a stamp of the host may be from vCPU 0's of the same host TSC, in cycles: zero where its offset is exact.
    pub fn host_error(&self) -> u64 {
        self.offsets[0].error
    }
}

/// One exchange of stamps on the common clock: the partner's was taken between the two of vCPU 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// vCPU 0, before the request.
    pub sent: u64,
    /// The partner, between request and answer.
    pub answered: u64,
    /// vCPU 0, after the answer.
    pub received: u64,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Of vCPUs whose offsets KVM tells.
    pub(crate) fn exact(offsets: &[i64]) -> CommonClock {
        let offset = |&cycles| Offset { cycles, error: 0, method: Method::Attribute };
        CommonClock::new(offsets.iter().map(offset).collect())
    }

    /// Of vCPUs whose offsets are estimated to this error.
    pub(crate) fn estimated(offsets: &[i64], error: u64) -> CommonClock {
        let offset = |&cycles| Offset { cycles, error, method: Method::Bracket };
        CommonClock::new(offsets.iter().map(offset).collect())
    }

    #[test]
    fn cycles_are_times_of_a_frequency() {
        let hour = Duration::from_hours(1);
        assert_eq!(time(cycles(hour, 2_600_000), 2_600_000), hour);
        assert_eq!(time(u64::MAX, 0), Duration::from_nanos(u64::MAX), "no frequency is no panic");
    }

    #[test]
    fn every_stamp_comes_onto_vcpu_0s_tsc() {
        const HOST: u64 = 5_000_000;
        let clock = exact(&[-1_000_000, -700_000, -1_000_000]);
        assert_eq!(clock.subtracted(), [0, 300_000, 0]);
        // One moment, as each clock shows it.
        assert_eq!(clock.of_host(HOST), 4_000_000);
        assert_eq!([0, 1, 2].map(|vcpu| clock.of_vcpu(vcpu, [4_000_000, 4_300_000, 4_000_000][vcpu])), [4_000_000; 3]);
        assert_eq!((clock.apart(0, 1), clock.host_error(), clock.host_apart(1)), (0, 0, 0));
        assert!(clock.is_exact());
        let extreme = exact(&[i64::MIN, i64::MAX]);
        assert_eq!(extreme.of_vcpu(1, 0), 1, "offsets may be as far apart as there are cycles");
    }

    #[test]
    fn an_estimate_is_subtracted_only_where_it_shows_a_difference() {
        let clock = estimated(&[500, 900, 3_000_000], 300);
        assert_eq!(clock.subtracted(), [0, 0, 2_999_500], "400 cycles are within the estimates' error");
        assert_eq!(
            [clock.apart(0, 0), clock.apart(0, 1), clock.apart(0, 2), clock.apart(1, 2)],
            [0, 1_000, 600, 1_000]
        );
        assert_eq!(clock.host_error(), 300);
        assert_eq!([0, 1, 2].map(|vcpu| clock.host_apart(vcpu)), [300, 400 + 300, 300]);
        assert!(!clock.is_exact());
    }
}
