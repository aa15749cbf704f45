//! What the instruments of a machine cost, and how well its clocks agree.

use super::machine::Machine;
use crate::config::MachineSpec;
use crate::guest::session;
use crate::results::measurement::{Clock, Instruments, Spread};
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
    let calibration = machine.calibrate()?;
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
    let mut tightest = clock(machine)?;
    for _ in 1..TRIES {
        if tightest.error_ns <= known.error_ns {
            return Ok(());
        }
        let again = clock(machine)?;
        if again.error_ns < tightest.error_ns {
            tightest = again;
        }
    }
    if tightest.error_ns > known.error_ns {
        *known = tightest;
    }
    Ok(())
}

fn clock(machine: &mut impl Machine) -> Result<Clock, session::Error> {
    let (error, method) = machine.clock_error()?;
    let khz = frequency(machine.tsc_khz());
    Ok(Clock { tsc_khz: khz.get(), error_ns: metrics::nanoseconds(error as f64, khz), method })
}

/// A frequency of zero, which no KVM tells, would make every time infinite.
pub(super) fn frequency(khz: u64) -> NonZeroU64 {
    NonZeroU64::new(khz).unwrap_or(NonZeroU64::MIN)
}

/// The quantiles of an instrument's cost; all zero, with `n` zero, if it could not be measured.
fn spread(cycles: &[i64], khz: NonZeroU64) -> Spread {
    documents::spread(cycles, khz).unwrap_or(Spread { n: 0, min: 0.0, p50: 0.0, p99: 0.0, max: 0.0 })
}
