//! Facts about this machine, read from /proc, /sys, CPUID and system calls.
//!
//! A file that is missing or cannot be read makes a fact unknown; it is never an error. Files that a user names are read by `bounded`,
//! which says what is wrong with them.

pub mod acceleration;
pub mod bounded;
pub(crate) mod clocks;
mod key;
pub mod latency;
mod machine;
mod power;
pub mod starvation;
mod topology;
pub mod tracing;
pub mod watch;

pub use crate::results::cpu_list::parse as parse_cpu_list;
pub use machine::Machine;

use crate::results::host::{Facts, Tsc, VENDOR_MODULES, Virtualization};
use crate::results::measurement::host::Host;
use crate::results::power::Power;
use jiff::{SignedDuration, SignedDurationRound, Timestamp, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The module parameters that change what an IPI costs or which route it can take.
const SETTINGS: [(&str, &[&str]); 4] = [
    ("kvm", &["halt_poll_ns", "halt_poll_ns_grow", "halt_poll_ns_grow_start", "halt_poll_ns_shrink"]),
    (
        "kvm_intel",
        &[
            "enable_apicv",
            "enable_ipiv",
            "ept",
            "flexpriority",
            "nested",
            "ple_gap",
            "ple_window",
            "unrestricted_guest",
            "vpid",
        ],
    ),
    (
        "kvm_amd",
        &[
            "avic",
            "enable_ipiv",
            "force_avic",
            "nested",
            "npt",
            "pause_filter_count",
            "pause_filter_thresh",
            "vgif",
            "vls",
            "vnmi",
        ],
    ),
    ("kvm_pvm", &["no_x2apic", "pvm_emul_batch", "pvm_native"]),
];

/// Where facts come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The proc file system.
    pub proc: PathBuf,
    /// The sysfs file system.
    pub sys: PathBuf,
    /// What no file tells.
    pub machine: Machine,
}

impl Sources {
    /// This machine, as this process sees it.
    pub fn system() -> Self {
        Self { proc: PathBuf::from("/proc"), sys: PathBuf::from("/sys"), machine: Machine::read() }
    }

    fn proc(&self, path: &str) -> Option<String> {
        read(&self.proc.join(path))
    }

    fn sys(&self, path: &str) -> Option<String> {
        read(&self.sys.join(path))
    }
}

/// Reads everything that `sources` can tell.
pub fn read_facts(sources: &Sources) -> Facts {
    let cpuinfo = sources.proc("cpuinfo");
    let flags: Option<BTreeSet<&str>> =
        cpuinfo.as_deref().and_then(|text| field(text, "flags")).map(|flags| flags.split_whitespace().collect());
    let has = |flag: &str| flags.as_ref().map(|flags| flags.contains(flag));
    let allowed_cpus = allowed_cpus(sources);

    let facts = Facts {
        key: None,
        kernel: sources.machine.kernel.clone(),
        cpu: cpuinfo.as_deref().and_then(|text| field(text, "model name")).map(str::to_owned),
        microcode: cpuinfo.as_deref().and_then(|text| field(text, "microcode")).map(str::to_owned),
        command_line: sources.proc("cmdline"),
        online_cpus: online_cpus(sources),
        virtualization: if has("vmx") == Some(true) {
            Some(Virtualization::Vmx)
        } else if has("svm") == Some(true) {
            Some(Virtualization::Svm)
        } else {
            None
        },
        apic_flags: cpuinfo.as_deref().and_then(apic_flags),
        kvm_modules: kvm_modules(sources),
        settings: settings(sources),
        nested: sources.machine.hypervisor_bit,
        hypervisor: sources.machine.hypervisor.clone(),
        tsc: Tsc {
            invariant: sources.machine.invariant_tsc,
            constant: has("constant_tsc"),
            nonstop: has("nonstop_tsc"),
            clocksource: sources.sys("devices/system/clocksource/clocksource0/current_clocksource"),
        },
        tracefs: tracing::find(&sources.sys),
        lockdown: sources.sys("kernel/security/lockdown").as_deref().and_then(bracketed).map(str::to_owned),
        perf: tracing::perf(&sources.proc),
        transparent_hugepages: sources
            .sys("kernel/mm/transparent_hugepage/enabled")
            .as_deref()
            .and_then(bracketed)
            .map(str::to_owned),
        cpu_quota: cpu_quota(sources),
        smt: sources.sys("devices/system/cpu/smt/active").map(|active| active == "1"),
        governors: governors(sources, &allowed_cpus),
        topology: topology::read_topology(sources, &allowed_cpus),
        allowed_cpus,
        open_files: sources.machine.open_files,
    };
    let all_cpus = topology::read_topology(sources, facts.online_cpus.as_deref().unwrap_or(&facts.allowed_cpus));
    Facts { key: key::of(&facts, &all_cpus), ..facts }
}

/// Those of a processor's flags that tell of accelerated local APICs.
fn apic_flags(cpuinfo: &str) -> Option<BTreeSet<String>> {
    let flags = field(cpuinfo, "flags")?.split_whitespace();
    let all = flags.chain(field(cpuinfo, "vmx flags").into_iter().flat_map(str::split_whitespace));
    Some(all.filter(|flag| acceleration::FLAGS.contains(flag)).map(str::to_owned).collect())
}

/// The part of the facts that belongs in a measurement.
fn describe_facts(facts: &Facts, power: Power) -> Host {
    Host {
        key: facts.key.clone(),
        kernel: facts.kernel.clone(),
        cpu: facts.cpu.clone().unwrap_or_else(|| "unknown".to_owned()),
        microcode: facts.microcode.clone(),
        command_line: facts.command_line.clone(),
        cpus: facts.allowed_cpus.clone(),
        topology: facts.topology.clone(),
        kvm: facts.kvm(),
        settings: facts.settings.clone(),
        apic_acceleration: Vec::new(),
        power,
        nested: facts.nested,
        hypervisor: facts.hypervisor.clone(),
        kipi: env!("CARGO_PKG_VERSION").to_owned(),
        standalone: None,
    }
}

/// Describes this machine for a measurement.
pub fn describe() -> Host {
    let sources = Sources::system();
    let facts = read_facts(&sources);
    let power = power::read_power(&sources, &facts.allowed_cpus, &facts.governors);
    describe_facts(&facts, power)
}

/// Seconds since 1970-01-01 00:00 UTC, to the millisecond; `None`: the clock is set to a time before.
pub fn unix_time() -> Option<f64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((since.as_secs_f64() * 1e3).round() / 1e3)
}

/// Such a time as a date: RFC 3339, in UTC, to the millisecond; `None`: it is beyond the year 9999.
pub fn date(unix_time: f64) -> Option<String> {
    let since = SignedDuration::try_from_secs_f64(unix_time).ok()?;
    let rounded = since.round(SignedDurationRound::new().smallest(Unit::Millisecond)).ok()?;
    let time = Timestamp::from_duration(rounded).ok()?;
    Some(format!("{time:.3}"))
}

/// A file's text without the white space around it.
fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The value of the first `key : value` line of that key.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// The chosen one of `a [b] c`.
fn bracketed(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(chosen, _)| chosen)
}

fn online_cpus(sources: &Sources) -> Option<Vec<usize>> {
    parse_cpu_list(&sources.sys("devices/system/cpu/online")?)
}

fn allowed_cpus(sources: &Sources) -> Vec<usize> {
    if let Some(cpus) = &sources.machine.allowed_cpus {
        return cpus.clone();
    }
    let allowed = sources
        .proc("self/status")
        .as_deref()
        .and_then(|status| field(status, "Cpus_allowed_list"))
        .and_then(parse_cpu_list)
        .unwrap_or_default();
    // The list in /proc, unlike the system call's, names CPUs that are offline too.
    match online_cpus(sources) {
        Some(online) => allowed.into_iter().filter(|cpu| online.contains(cpu)).collect(),
        None => allowed,
    }
}

fn kvm_modules(sources: &Sources) -> Vec<String> {
    let is_there = |module: &&str| sources.sys.join("module").join(module).is_dir();
    let mut modules: Vec<String> = VENDOR_MODULES.iter().copied().filter(is_there).map(str::to_owned).collect();
    if modules.is_empty() && is_there(&"kvm") {
        modules.push("kvm".to_owned());
    }
    modules
}

fn settings(sources: &Sources) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for (module, parameters) in SETTINGS {
        for parameter in parameters {
            if let Some(value) = sources.sys(&format!("module/{module}/parameters/{parameter}")) {
                settings.insert(format!("{module}.{parameter}"), value);
            }
        }
    }
    settings
}

/// The tightest quota from this process's cgroups, of both versions, up to the root.
fn cpu_quota(sources: &Sources) -> Option<f64> {
    let cgroups = sources.proc("self/cgroup")?;
    let directories = cgroups.lines().flat_map(|line| watch::cgroup_directories(&sources.sys.join("fs/cgroup"), line));
    directories.filter_map(|directory| quota_of(&directory)).min_by(f64::total_cmp)
}

/// A cgroup's own quota, in CPUs' worth of time: `cpu.max` of version 2 (Documentation/admin-guide/cgroup-v2.rst), and of version 1
/// `cpu.cfs_quota_us`, which is -1 where there is none (Documentation/scheduler/sched-bwc.rst).
fn quota_of(cgroup: &Path) -> Option<f64> {
    let version_1 = || Some((read(&cgroup.join("cpu.cfs_quota_us"))?, read(&cgroup.join("cpu.cfs_period_us"))?));
    let version_2 =
        || read(&cgroup.join("cpu.max"))?.split_once(' ').map(|(quota, period)| (quota.into(), period.into()));
    let (quota, period): (String, String) = version_2().or_else(version_1)?;
    let quota = quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?;
    (quota > 0.0).then_some(quota)
}

fn governors(sources: &Sources, cpus: &[usize]) -> BTreeSet<String> {
    cpus.iter()
        .filter_map(|cpu| sources.sys(&format!("devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor")))
        .collect()
}

/// What this process has in memory, KiB (VmRSS of /proc/self/status); `None` if the kernel does not say.
pub fn resident_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
