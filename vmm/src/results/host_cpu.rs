//! What calls take of the host's CPUs, in the measurement document.

use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a cell's calls take of the host's CPUs: the time of the vCPUs' threads, or of the threads in their place, and of the host's
/// thread where it makes the calls. Times are ns a round, and hold what lies between two rounds, but no warm-up: each
/// is the median of the blocks' means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostCpu {
    /// Time of all of these threads together.
    pub total_ns: f64,
    /// 95 % interval of that: low, high; `null`: the blocks are of fewer than five boots.
    pub total_ci95: Option<[f64; 2]>,
    /// Time of the thread that makes the calls.
    pub initiator_ns: f64,
    /// Time of each target's thread, on average.
    pub per_target_ns: f64,
    /// Time that passes from one round to the next.
    pub wall_ns: f64,
    /// What the time is spent in; `null`: the kernel does not say.
    pub modes: Option<CpuModes>,
    /// The total divided by that of each native cell that the cell's times are divided by; empty: there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub times_native: Vec<CpuTimesNative>,
    /// How all of it was obtained.
    pub method: String,
}

/// A cell's CPU time a call divided by a native cell's: medians of the blocks of both that nothing disturbed and that were measured in
/// the same turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CpuTimesNative {
    /// The native cell that it is divided by.
    pub divisor: CellId,
    /// How many turns have a block of each.
    pub pairs: u64,
    /// The cell's median in these blocks, ns.
    pub own_ns: f64,
    /// The native cell's, ns.
    pub divisor_ns: f64,
    /// The first divided by the second.
    pub ratio: f64,
    /// 95 % interval of the ratio: low, high; `null`: the pairs are of fewer than five boots.
    pub ci95: Option<[f64; 2]>,
}

/// What threads spend their time in, of all blocks together, their warm-up and what lies before and after their rounds included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CpuModes {
    /// Fraction spent in the guest.
    pub guest: f64,
    /// Fraction spent in user mode: in the VMM.
    pub user: f64,
    /// Fraction spent in the kernel, KVM's halt polling included.
    pub kernel: f64,
    /// The time that was so divided, ns, in ticks of the kernel's: the less, the rougher are the fractions.
    pub of_ns: f64,
}

/// What a block's rounds took of the host's CPUs, ns a round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockHostCpu {
    /// Time of all threads together.
    pub total_ns: f64,
    /// Time of the thread that made the calls.
    pub initiator_ns: f64,
    /// Time of each target's thread, on average.
    pub per_target_ns: f64,
    /// Time that passed.
    pub wall_ns: f64,
}
