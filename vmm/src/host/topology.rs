//! What CPUs share, from sysfs (Documentation/ABI/stable/sysfs-devices-system-cpu, .../testing/sysfs-devices-system-cpu).
//!
//! All of it comes from lists of CPUs, since the ids beside them count anew in each package, or are -1.

use super::{Sources, parse_cpu_list};
use crate::results::cpu_list::CpuList;
use crate::results::distance::CoreKind;
use crate::results::topology::Topology;
use std::collections::{BTreeMap, BTreeSet};

/// The lists of a core's and of a package's CPUs; what kernels before 5.3 called them comes second.
const CORE: [&str; 2] = ["core_cpus_list", "thread_siblings_list"];
const PACKAGE: [&str; 2] = ["package_cpus_list", "core_siblings_list"];

/// A hybrid processor has a PMU for each kind of core (arch/x86/events/intel/core.c, `intel_hybrid_pmu_type_map`), which lists its
/// CPUs.
const KINDS: [(CoreKind, &str); 3] =
    [(CoreKind::Performance, "cpu_core"), (CoreKind::Efficient, "cpu_atom"), (CoreKind::LowPower, "cpu_lowpower")];

/// What these CPUs, which are online, share.
pub(super) fn read_topology(sources: &Sources, cpus: &[usize]) -> Topology {
    let cpus: BTreeSet<usize> = cpus.iter().copied().collect();
    let nodes = nodes(sources);
    Topology {
        packages: partition(&cpus, |cpu| siblings(sources, cpu, PACKAGE)),
        nodes: partition(&cpus, |cpu| nodes.iter().find(|node| node.contains(&cpu)).cloned()),
        l3: partition(&cpus, |cpu| cache(sources, cpu, 3)),
        l2: partition(&cpus, |cpu| cache(sources, cpu, 2)),
        cores: partition(&cpus, |cpu| siblings(sources, cpu, CORE)),
        kinds: kinds(sources, &cpus),
    }
}

/// The groups that these CPUs form, by rising first CPU. `members` has the group of a CPU, empty if it is in none; `None`: not
/// known.
fn partition(cpus: &BTreeSet<usize>, members: impl Fn(usize) -> Option<Vec<usize>>) -> Option<Vec<CpuList>> {
    let mut grouped = BTreeSet::new();
    let mut groups = Vec::new();
    for &cpu in cpus {
        if grouped.contains(&cpu) {
            continue;
        }
        let mut group = members(cpu)?;
        if group.is_empty() {
            continue;
        }
        group.retain(|member| cpus.contains(member));
        // A CPU is in its own group, and in no other.
        if !group.contains(&cpu) || group.iter().any(|member| grouped.contains(member)) {
            return None;
        }
        grouped.extend(group.iter().copied());
        groups.push(group.into_iter().collect());
    }
    (!cpus.is_empty()).then_some(groups)
}

/// A list of CPUs that has some.
fn list(text: &str) -> Option<Vec<usize>> {
    parse_cpu_list(text).filter(|cpus| !cpus.is_empty())
}

/// Those that one of these files has beside a CPU.
fn siblings(sources: &Sources, cpu: usize, names: [&str; 2]) -> Option<Vec<usize>> {
    let file = |name| sources.sys(&format!("devices/system/cpu/cpu{cpu}/topology/{name}"));
    list(&names.into_iter().find_map(file)?)
}

/// The CPUs of each node that has some.
fn nodes(sources: &Sources) -> Vec<Vec<usize>> {
    let online = sources.sys("devices/system/node/online").as_deref().and_then(parse_cpu_list).unwrap_or_default();
    let of_node = |node: usize| list(&sources.sys(&format!("devices/system/node/node{node}/cpulist"))?);
    online.into_iter().filter_map(of_node).collect()
}

/// Those that share a CPU's data or unified cache of this level; none if it has no such cache.
fn cache(sources: &Sources, cpu: usize, level: u32) -> Option<Vec<usize>> {
    let file = |index: usize, name| sources.sys(&format!("devices/system/cpu/cpu{cpu}/cache/index{index}/{name}"));
    for index in 0.. {
        let Some(found) = file(index, "level") else {
            return (index > 0).then(Vec::new);
        };
        if found.parse::<u32>().ok()? == level && file(index, "type")? != "Instruction" {
            return list(&file(index, "shared_cpu_list")?);
        }
    }
    None
}

fn kinds(sources: &Sources, cpus: &BTreeSet<usize>) -> BTreeMap<CoreKind, CpuList> {
    let of_kind = |(kind, device): (CoreKind, &str)| {
        let found = list(&sources.sys(&format!("devices/{device}/cpus"))?)?;
        Some((kind, found.into_iter().filter(|cpu| cpus.contains(cpu)).collect::<CpuList>()))
    };
    let kinds: BTreeMap<_, _> =
        KINDS.into_iter().filter_map(of_kind).filter(|(_, cpus)| !cpus.as_slice().is_empty()).collect();
    let mut seen = BTreeSet::new();
    // A CPU of two kinds is of none that is known.
    let is_consistent = kinds.values().flat_map(CpuList::as_slice).all(|cpu| seen.insert(*cpu));
    if is_consistent { kinds } else { BTreeMap::new() }
}

#[cfg(test)]
mod tests;
