//! How much is too much.
//!
//! A machine that does nothing else is not still: its kernel's own threads run for some µs now and then, and the host's
//! thread, which reads the counters, wakes up late. Each threshold lies above what blocks on an idle machine have, and below the least that a
//! neighbour takes, a slice of the scheduler's (1 to 4 ms). The guide has the distributions (`reading-the-numbers.md`).

use crate::results::disturbance::Kind;

/// Whether so much of it, within a block that lasted `wall_ns`, disturbs the block.
pub(super) fn exceeds(kind: Kind, amount: f64, wall_ns: f64) -> bool {
    amount > threshold(kind, wall_ns)
}

fn threshold(kind: Kind, wall_ns: f64) -> f64 {
    match kind {
        Kind::WaitedForCpu | Kind::CpuBusy | Kind::Stopped => 1e6 + 0.02 * wall_ns,
        // The kernel's threads take the CPU away for a moment: up to seven times in 28 ms were seen.
        Kind::Preempted => 10.0 + 0.5e-6 * wall_ns,
        Kind::Suspended => 1e6,
        Kind::Migrated
        | Kind::RanElsewhere
        | Kind::AffinityChanged
        | Kind::MajorFault
        | Kind::Throttled
        | Kind::Steal
        | Kind::FrequencyLimited
        | Kind::ThermalThrottle => 0.0,
        // The signal is the evidence, however short the stop was.
        Kind::Continued => f64::NEG_INFINITY,
    }
}
