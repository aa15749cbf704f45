//! What the instruments of a machine cost, and how well its clocks agree.

use super::machine::Machine;
use crate::config::MachineSpec;
use crate::guest::session;
use crate::results::measurement::{Clock, Instruments, Spread};
use crate::statistics::clock_error::ClockError;
use crate::statistics::{documents, metrics};
use std::num::NonZeroU64;
use std::time::Duration;

/// Measures them. `since_boot` is from KVM_CREATE_VM, `since_start` from the process's start, each to the first complete call.
pub(super) fn measure(
    spec: MachineSpec,
    machine: &mut impl Machine,
    since_boot: Duration,
    since_start: Option<Duration>,
) -> Result<Instruments, session::Error> {
    const PAIRS: usize = 200;
    let calibration = machine.calibrate(PAIRS)?;
    let clock = clock(machine)?;
    let khz = frequency(clock.tsc_khz);
    Ok(Instruments {
        vcpus: spec.vcpus,
        local_apic: spec.local_apics,
        stamp_ns: spread(&calibration.stamp, khz),
        exit_leg_ns: spread(&calibration.exit_leg, khz),
        exit_round_trip_ns: spread(&calibration.exit_round_trip, khz),
        first_broadcast_ns: since_start.map(|time| time.as_nanos() as f64),
        boot_ns: since_boot.as_nanos() as f64,
        clock,
    })
}

/// Lets `known` hold for another machine, too: its error is that of the worse one. Every bound that is found of a machine is
/// valid; a busy host makes it a loose one, so that it is tried again.
pub(super) fn widen_clock(known: &mut Clock, machine: &mut impl Machine) -> Result<(), session::Error> {
    const TRIES: usize = 3;
    // An unknown error is the largest.
    let error = |clock: &Clock| clock.error_ns.unwrap_or(f64::INFINITY);
    let mut tightest = clock(machine)?;
    for _ in 1..TRIES {
        if error(&tightest) <= error(known) {
            return Ok(());
        }
        let again = clock(machine)?;
        if error(&again) < error(&tightest) {
            tightest = again;
        }
    }
    if error(&tightest) > error(known) {
        *known = tightest;
    }
    Ok(())
}

/// Compares the clocks of a machine.
pub(super) fn clock(machine: &mut impl Machine) -> Result<Clock, session::Error> {
    let ClockError { vcpus, host, subtracted, method } = machine.clock_error()?;
    let khz = frequency(machine.tsc_khz());
    let ns = |cycles: u64| metrics::nanoseconds(cycles as f64, khz);
    Ok(Clock { tsc_khz: khz.get(), error_ns: vcpus.map(ns), host_error_ns: ns(host), subtracted, method })
}

/// A frequency of zero, which no KVM tells, would make every time infinite.
pub(super) fn frequency(khz: u64) -> NonZeroU64 {
    NonZeroU64::new(khz).unwrap_or(NonZeroU64::MIN)
}

/// The quantiles of an instrument's cost; all zero, with `n` zero, if it could not be measured.
fn spread(cycles: &[i64], khz: NonZeroU64) -> Spread {
    documents::spread(cycles, khz).unwrap_or(Spread { n: 0, min: 0.0, p50: 0.0, p99: 0.0, max: 0.0 })
}
