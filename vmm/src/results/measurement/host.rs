//! Where a measurement was taken, in the document.

use crate::results::acceleration::Acceleration;
use crate::results::power::Power;
use crate::results::standalone::Standalone;
use crate::results::topology::Topology;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a measurement was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The same on machines that are alike in processor model, hypervisor below, topology of the CPUs that are online, KVM's modules and
    /// their parameters, whatever kernel and microcode they run: 16 hexadecimal digits. Left out where the standalone image ran, and
    /// where /proc or /sys could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Kernel release, as `uname -r`; `none` where the standalone image ran, which needs no kernel.
    pub kernel: String,
    /// Processor model name.
    pub cpu: String,
    /// The processor's microcode revision (`/proc/cpuinfo`); left out where the kernel shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microcode: Option<String>,
    /// The kernel's command line (`/proc/cmdline`); left out where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// Processors that this process may run on, or that the standalone image has started.
    pub cpus: Vec<usize>,
    /// What they share.
    #[serde(default, skip_serializing_if = "Topology::is_not_known")]
    pub topology: Topology,
    /// KVM's vendor modules that are loaded (`kvm_intel`, `kvm_amd`, `kvm_pvm`), or `built-in or unknown`; empty
    /// where the standalone image ran.
    pub kvm: Vec<String>,
    /// Settings of KVM that change results, by `module.parameter`; those that can be read.
    pub settings: BTreeMap<String, String>,
    /// Whether the processor accelerates local APICs for kipi's virtual machines, those of which are in KVM; empty: nobody has looked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apic_acceleration: Vec<Acceleration>,
    /// Idle states, frequencies, mitigations.
    #[serde(default)]
    pub power: Power,
    /// This machine is itself a virtual machine (CPUID's hypervisor bit).
    pub nested: bool,
    /// The signature of the hypervisor below it, such as `KVMKVMKVM`; left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// Version of kipi; of the standalone image, where it ran.
    pub kipi: String,
    /// The standalone image ran, without kipi's VMM, and a log of it was imported; left out where kipi measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standalone: Option<Standalone>,
}

impl Host {
    /// What the standalone image ran on, if it did: `standalone image under KVMKVMKVM`.
    pub fn standalone_platform(&self) -> Option<String> {
        self.standalone.as_ref().map(|_| match &self.hypervisor {
            Some(signature) => format!("standalone image under {signature}"),
            None if self.nested => "standalone image under a hypervisor without a signature".to_owned(),
            None => "standalone image on bare metal".to_owned(),
        })
    }
}
