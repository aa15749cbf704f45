//! What is known about a machine, as the doctor's document has it. A fact that could not be found out is `null`.

use super::topology::Topology;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// KVM's vendor modules. Only one of them drives `/dev/kvm`.
pub const VENDOR_MODULES: [&str; 3] = ["kvm_intel", "kvm_amd", "kvm_pvm"];

/// Hardware virtualisation as the CPU flags name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Virtualization {
    /// Intel VMX.
    Vmx,
    /// AMD SVM.
    Svm,
}

/// What is known about the time-stamp counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tsc {
    /// CPUID promises one constant rate in all power states (leaf 0x8000_0007, EDX bit 8).
    pub invariant: bool,
    /// The kernel's flag `constant_tsc`: the rate does not follow the CPU's frequency. `null`: flags unreadable.
    pub constant: Option<bool>,
    /// The kernel's flag `nonstop_tsc`: it does not stop in idle states. `null`: flags unreadable.
    pub nonstop: Option<bool>,
    /// The clock source that the kernel keeps time with now.
    pub clocksource: Option<String>,
}

/// What is known about this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// As in the measurement document: the same on machines that are alike, whatever kernel and microcode they run; left
    /// out where /proc or /sys could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// Processor model name.
    pub cpu: Option<String>,
    /// The processor's microcode revision (`/proc/cpuinfo`); left out where the kernel shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microcode: Option<String>,
    /// The kernel's command line (`/proc/cmdline`); left out where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// CPUs that this process may run on, by number; empty if that cannot be found out.
    pub allowed_cpus: Vec<usize>,
    /// CPUs that are online, by number.
    pub online_cpus: Option<Vec<usize>>,
    /// What the CPUs that this process may run on share.
    #[serde(default, skip_serializing_if = "Topology::is_not_known")]
    pub topology: Topology,
    /// Hardware virtualisation that the CPU flags show.
    pub virtualization: Option<Virtualization>,
    /// Of the CPU flags, those that tell of accelerated local APICs (`flags`, and `vmx flags` where there are any); `null`: unreadable.
    #[serde(default)]
    pub apic_flags: Option<BTreeSet<String>>,
    /// KVM's vendor modules that are there; `kvm` if only the common part is; empty without KVM.
    pub kvm_modules: Vec<String>,
    /// Settings of KVM that change results, by `module.parameter`; those that can be read.
    pub settings: BTreeMap<String, String>,
    /// This machine is itself a virtual machine (CPUID.1:ECX bit 31).
    pub nested: bool,
    /// The signature of the hypervisor below this machine, such as `KVMKVMKVM`.
    pub hypervisor: Option<String>,
    /// The time-stamp counter.
    pub tsc: Tsc,
    /// tracefs, and what this process may do there; `null`: not mounted, and it cannot mount it.
    pub tracefs: Option<Tracefs>,
    /// What the kernel is locked down to keep, from root as well: `none`, `integrity` or `confidentiality` (kernel_lockdown(7)); left
    /// out where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lockdown: Option<String>,
    /// What this process may do with perf events.
    pub perf: Perf,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub transparent_hugepages: Option<String>,
    /// CPUs' worth of time that the cgroup allows; `null`: no limit, or unknown.
    pub cpu_quota: Option<f64>,
    /// Simultaneous multithreading is in use.
    pub smt: Option<bool>,
    /// cpufreq governors of the allowed CPUs, each once; empty where none is exposed.
    pub governors: BTreeSet<String>,
    /// How many files this process may open.
    pub open_files: OpenFiles,
}

impl Facts {
    /// KVM's vendor modules that are there, without the common part.
    pub fn vendor_modules(&self) -> impl Iterator<Item = &str> {
        self.kvm_modules.iter().map(String::as_str).filter(|module| VENDOR_MODULES.contains(module))
    }

    /// What drives the KVM device, as results say it: the vendor modules, or `built-in or unknown`.
    pub fn kvm(&self) -> Vec<String> {
        let modules: Vec<String> = self.vendor_modules().map(str::to_owned).collect();
        if modules.is_empty() { vec!["built-in or unknown".to_owned()] } else { modules }
    }
}

/// A limit on open files. `null`: unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenFiles {
    /// What holds now.
    pub soft: Option<u64>,
    /// What the process may raise it to.
    pub hard: Option<u64>,
}

/// tracefs, as far as this process can see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tracefs {
    /// Where it is mounted; `null`: nowhere, but this process can mount it for itself.
    pub path: Option<String>,
    /// This process can read it.
    pub readable: bool,
    /// This process can make an instance of its own in it.
    pub writable: bool,
    /// It has KVM's events; `null`: not readable.
    pub kvm_events: Option<bool>,
}

/// What this process may ask of perf_event_open(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PerfAccess {
    /// Nothing.
    None,
    /// Its own threads in user space.
    OwnUserSpace,
    /// Its own threads, the kernel included.
    OwnKernel,
    /// Everything that runs on a CPU, but no raw tracepoint data.
    WholeCpu,
    /// Everything, KVM's tracepoints included.
    All,
}

/// Perf events, and this process's right to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Perf {
    /// `kernel.perf_event_paranoid`; `null`: the kernel has no perf events, or hides the setting.
    pub paranoid: Option<i32>,
    /// This process has CAP_PERFMON or CAP_SYS_ADMIN, which no setting restricts.
    pub privileged: Option<bool>,
    /// What that permits; `null`: unknown.
    pub access: Option<PerfAccess>,
}
