//! Whose runs are compared: the two sides, and the hosts that they were measured on.

use crate::results::count::count;
use crate::results::sandbox::{self, State};
use crate::results::standalone::kernel_name;
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the two sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// The files, in the order of their runs.
    pub files: Vec<String>,
    /// How many runs.
    pub runs: u64,
    /// Where they were measured: an entry for each combination of what follows.
    pub hosts: Vec<SideHost>,
    /// In which sandboxes kipi was: an entry for each. Runs whose documents do not say it are in none.
    #[serde(default)]
    pub sandboxes: Vec<SideSandbox>,
    /// Runs, of at least ten on hosts of one processor model and kernel, that are not as the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<Outlier>,
}

impl Side {
    /// What a reader must know of its sandboxes, of runs that are called `unit`; `None`: nothing.
    pub fn sandbox_warning(&self, unit: &str) -> Option<String> {
        let told = |of: &SideSandbox| {
            let warning = sandbox::warning(of.state, &of.missing)?;
            let all = count(usize::try_from(self.runs).unwrap_or(usize::MAX), unit);
            Some(if of.runs < self.runs { format!("{warning} in {} of {all}", of.runs) } else { warning })
        };
        let warnings: Vec<String> = self.sandboxes.iter().filter_map(told).collect();
        (!warnings.is_empty()).then(|| warnings.join("; "))
    }
}

/// A sandbox that kipi was in, in some runs of a side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SideSandbox {
    /// Whether it was on.
    pub state: State,
    /// The parts that were not, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// How many runs.
    pub runs: u64,
}

/// A run that is not as the others on hosts of its kind, in one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outlier {
    /// Its file.
    pub file: String,
    /// Processor model name of its kind.
    pub cpu: String,
    /// Kernel release of its kind.
    pub kernel: String,
    /// How many runs of its kind have the cell.
    pub group: u64,
    /// The cell.
    #[serde(flatten)]
    pub id: CellId,
    /// How much more what is judged of the cell (its time in its reference's) is than the median of its kind, a fraction.
    pub change: f64,
}

/// A host that some runs of a side were measured on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SideHost {
    /// Processor model name.
    pub cpu: String,
    /// Kernel release, as `uname -r`; `none` where the standalone image ran.
    pub kernel: String,
    /// KVM's vendor modules.
    pub kvm: Vec<String>,
    /// What the standalone image ran on, where it measured: `standalone image under KVMKVMKVM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standalone: Option<String>,
    /// Version of the kipi that measured.
    pub kipi: String,
    /// How many runs.
    pub runs: u64,
}

/// Hosts of a kind, where a side has several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hosts {
    /// Processor model name.
    pub cpu: String,
    /// Kernel release, as `uname -r`; `null`: the sides' kernels differ.
    pub kernel: Option<String>,
}

/// `AMD EPYC 9B14, Linux 6.18.0`.
impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cpu)?;
        self.kernel.as_ref().map_or(Ok(()), |kernel| write!(f, ", {}", kernel_name(kernel)))
    }
}

/// What something is called, behind the hosts where there are several kinds of them: `AMD EPYC 9B14: x2apic, all-but-self, …`.
pub(super) fn name_on(hosts: Option<&Hosts>, what: &dyn fmt::Display) -> String {
    hosts.map_or_else(|| what.to_string(), |hosts| format!("{hosts}: {what}"))
}
