//! How well clocks agree: those of a machine's vCPUs, and what that comes to for a cell.

use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How well the vCPUs' clocks agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Frequency of the guest's TSC, or of the host's, kHz.
    pub tsc_khz: u64,
    /// Bound ε of the error of a difference of two vCPUs' stamps, ns; `null`: unknown, since nothing bounds some vCPU's.
    pub error_ns: Option<f64>,
    /// What is added to ε where one of the stamps is the host's, ns: zero where KVM tells vCPU 0's TSC offset.
    #[serde(default)]
    pub host_error_ns: f64,
    /// TSC cycles that were subtracted from each vCPU's stamps, by its index: how far its TSC offset is from vCPU 0's.
    /// Where several virtual machines were booted, those of the last one, or where the offsets are estimated, of the one whose ε
    /// is largest.
    #[serde(default)]
    pub subtracted: Vec<i64>,
    /// How all of it was obtained.
    pub method: String,
}

impl Clock {
    /// The clock of a cell; `with_host` says whether the host's stamps are among those that are compared.
    pub fn of_cell(&self, cell: &CellId, with_host: bool) -> CellClock {
        let error_ns = if with_host {
            self.error_ns.map(|error| error + self.host_error_ns)
        } else if cell.has_one_clock() {
            Some(0.0)
        } else {
            self.error_ns
        };
        CellClock { tsc_khz: self.tsc_khz, error_ns }
    }
}

/// A cell's clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellClock {
    /// Frequency of the guest's TSC, kHz.
    pub tsc_khz: u64,
    /// Bound ε of the error of a difference of two clocks' stamps, ns: zero where one clock took all of them. `null`: unknown.
    pub error_ns: Option<f64>,
}
