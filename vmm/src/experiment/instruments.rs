//! What the instruments of a machine cost.

use super::clock::LOOKS;
use super::machine::{self, Machine};
use crate::config::MachineSpec;
use crate::results::clock::Clock;
use crate::results::instruments::Instruments;
use crate::results::measurement::Spread;
use crate::statistics::documents;
use guest_stub::abi::command::TIMED_INSTRUCTIONS;
use std::num::NonZeroU64;
use std::time::Duration;

/// How much is done to learn what instruments cost, and how far clocks are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// What a run needs that stands alone.
    Full,
    /// What one of many needs.
    Little,
}

impl Effort {
    /// How often each instrument is used.
    const fn pairs(self) -> usize {
        match self {
            Self::Full => 200,
            Self::Little => 10,
        }
    }

    /// How often the clocks of a first boot are compared: a neighbour that has a CPU at the time loosens the bound.
    pub(super) const fn looks(self) -> usize {
        match self {
            Self::Full => LOOKS,
            Self::Little => 1,
        }
    }
}

/// Measures them, of a machine with this clock. `since_boot` is from KVM_CREATE_VM, `since_start` from the process's start, each to the first complete call. If some cell of it
/// `parks`, the floor of such calls is measured, too.
pub(super) fn measure(
    spec: MachineSpec,
    machine: &mut impl Machine,
    clock: Clock,
    since_boot: Option<Duration>,
    since_start: Option<Duration>,
    parks: bool,
    effort: Effort,
) -> Result<Instruments, machine::Error> {
    const FLOOR_ROUNDS: u32 = 15;
    let calibration = machine.calibrate(effort.pairs())?;
    let khz = frequency(clock.tsc_khz);
    let floor = if parks { machine.sleeping_threads(FLOOR_ROUNDS)? } else { None };
    let instructions = documents::spread(&calibration.instructions, khz);
    Ok(Instruments {
        vcpus: spec.vcpus,
        local_apic: spec.local_apics,
        interface: spec.interface,
        under: None,
        stamp_ns: spread(&calibration.stamp, khz),
        exit_leg_ns: spread(&calibration.exit_leg, khz),
        exit_round_trip_ns: spread(&calibration.exit_round_trip, khz),
        first_broadcast_ns: since_start.map(|time| time.as_nanos() as f64),
        boot_ns: since_boot.map(|time| time.as_nanos() as f64),
        up_ns: since_boot.map(|_| machine.boot_time().as_nanos() as f64),
        instruction_ns: instructions.map(|all| of_one(all, TIMED_INSTRUCTIONS.into())),
        park_floor_ns: floor.and_then(|cycles| documents::spread(&cycles, khz)),
        clock,
    })
}

/// Of each of so many that were measured together.
fn of_one(Spread { n, min, p50, p99, max }: Spread, count: f64) -> Spread {
    Spread { n, min: min / count, p50: p50 / count, p99: p99 / count, max: max / count }
}

/// A frequency of zero, which no KVM tells, would make every time infinite.
pub(super) fn frequency(khz: u64) -> NonZeroU64 {
    NonZeroU64::new(khz).unwrap_or(NonZeroU64::MIN)
}

/// The quantiles of an instrument's cost; all zero, with `n` zero, if it could not be measured.
fn spread(cycles: &[i64], khz: NonZeroU64) -> Spread {
    documents::spread(cycles, khz).unwrap_or(Spread { n: 0, min: 0.0, p50: 0.0, p99: 0.0, max: 0.0 })
}
