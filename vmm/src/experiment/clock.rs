//! The clocks of a machine that is booted again and again.

use super::instruments::{Effort, frequency};
use super::machine::{self, Machine};
use crate::results::clock::Clock;
use crate::statistics::clock_error::{ClockError, Comparisons};
use crate::statistics::metrics;

/// How often the clocks of one boot are compared: a neighbour that has a CPU at the time loosens the bound.
pub(super) const LOOKS: usize = 3;

/// What is known of a machine's clocks, from all of its boots.
#[derive(Debug, Clone)]
pub(super) struct Clocks {
    pub(super) clock: Clock,
    comparisons: Comparisons,
}

impl Clocks {
    /// Of a machine's first boot.
    pub(super) fn of(machine: &mut impl Machine, effort: Effort) -> Result<Self, machine::Error> {
        let mut known = Self::compare(machine, &Comparisons::default())?;
        for _ in 1..effort.looks() {
            known = Self::compare(machine, &known.comparisons)?;
        }
        Ok(known)
    }

    /// Lets what is known hold for another boot, too. Where KVM tells the TSC offsets, each boot bounds one difference, that of
    /// the CPUs' TSCs, and its bound is valid for all. Where they are estimated, each boot has an error of its own, and the
    /// largest counts.
    pub(super) fn hold_for(&mut self, machine: &mut impl Machine) -> Result<(), machine::Error> {
        // An unknown error is the largest.
        let error = |clocks: &Self| clocks.clock.error_ns.unwrap_or(f64::INFINITY);
        if self.comparisons.is_of_every_boot {
            *self = Self::compare(machine, &self.comparisons)?;
            return Ok(());
        }
        let mut found = Self::compare(machine, &Comparisons::default())?;
        // The host's error is another one than the vCPUs', and no look at them makes it smaller.
        let host = self.clock.host_error_ns.max(found.clock.host_error_ns);
        for _ in 1..LOOKS {
            if error(&found) <= error(self) {
                break;
            }
            found = Self::compare(machine, &found.comparisons)?;
        }
        if error(&found) > error(self) {
            *self = found;
        }
        self.clock.host_error_ns = host;
        Ok(())
    }

    fn compare(machine: &mut impl Machine, earlier: &Comparisons) -> Result<Self, machine::Error> {
        let ClockError { vcpus, host, subtracted, comparisons, method } = machine.clock_error(earlier)?;
        let khz = frequency(machine.tsc_khz());
        let ns = |cycles: u64| metrics::nanoseconds(cycles as f64, khz);
        let clock = Clock { tsc_khz: khz.get(), error_ns: vcpus.map(ns), host_error_ns: ns(host), subtracted, method };
        Ok(Self { clock, comparisons })
    }
}

#[cfg(test)]
mod tests;
