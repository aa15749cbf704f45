//! Idle states, frequencies and mitigations, from sysfs and the kernel's command line.

use super::Sources;
use crate::results::power::{FrequencyLimit, IdleState, Power};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Of these CPUs.
pub(super) fn read_power(sources: &Sources, cpus: &[usize], frequency_governors: &BTreeSet<String>) -> Power {
    let cpu = |path: &str| sources.sys(&format!("devices/system/cpu/{path}"));
    let first = cpus.first().copied().unwrap_or(0);
    Power {
        idle_driver: cpu("cpuidle/current_driver"),
        // Where the governor cannot be changed, the file has another name.
        idle_governor: cpu("cpuidle/current_governor").or_else(|| cpu("cpuidle/current_governor_ro")),
        idle_states: (0..).map_while(|state| idle_state(sources, first, state)).collect(),
        frequency_driver: cpu(&format!("cpu{first}/cpufreq/scaling_driver")),
        frequency_governors: frequency_governors.clone(),
        boost: boost(sources),
        limited: cpus.iter().filter_map(|&cpu| frequency_limit(sources, cpu)).collect(),
        mitigations: mitigations(sources),
        vulnerabilities: vulnerabilities(sources),
    }
}

fn idle_state(sources: &Sources, cpu: usize, state: usize) -> Option<IdleState> {
    let file = |name: &str| sources.sys(&format!("devices/system/cpu/cpu{cpu}/cpuidle/state{state}/{name}"));
    Some(IdleState {
        name: file("name")?,
        latency_us: file("latency").and_then(|us| us.parse().ok()),
        disabled: file("disable").is_some_and(|disable| disable != "0"),
    })
}

/// acpi-cpufreq and amd-pstate say `boost`, intel_pstate says the opposite.
fn boost(sources: &Sources) -> Option<bool> {
    let boost = sources.sys("devices/system/cpu/cpufreq/boost").map(|boost| boost == "1");
    boost.or_else(|| sources.sys("devices/system/cpu/intel_pstate/no_turbo").map(|no_turbo| no_turbo == "0"))
}

fn frequency_limit(sources: &Sources, cpu: usize) -> Option<FrequencyLimit> {
    let khz = |name: &str| sources.sys(&format!("devices/system/cpu/cpu{cpu}/cpufreq/{name}"))?.parse().ok();
    let (most_khz, hardware_khz) = (khz("scaling_max_freq")?, khz("cpuinfo_max_freq")?);
    (most_khz < hardware_khz).then_some(FrequencyLimit { cpu, most_khz, hardware_khz })
}

fn mitigations(sources: &Sources) -> Option<String> {
    let command_line = sources.proc("cmdline")?;
    command_line.split_whitespace().filter_map(|word| word.strip_prefix("mitigations=")).next_back().map(str::to_owned)
}

fn vulnerabilities(sources: &Sources) -> BTreeMap<String, String> {
    let directory = "devices/system/cpu/vulnerabilities";
    let entries = fs::read_dir(sources.sys.join(directory)).into_iter().flatten().flatten();
    let state = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let state = sources.sys(&format!("{directory}/{name}"))?;
        Some((name, state))
    };
    entries.filter_map(state).filter(|(_, state)| state != "Not affected").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::Tree;

    fn power(tree: &Tree) -> Power {
        read_power(&tree.sources, &[1, 2], &BTreeSet::from(["performance".to_owned()]))
    }

    #[test]
    fn a_server_with_intel_pstate() {
        let tree = Tree::new()
            .file("proc/cmdline", "root=/dev/sda1 mitigations=off quiet mitigations=auto,nosmt\n")
            .file("sys/devices/system/cpu/cpuidle/current_driver", "intel_idle\n")
            .file("sys/devices/system/cpu/cpuidle/current_governor_ro", "menu\n")
            .file("sys/devices/system/cpu/cpu1/cpuidle/state0/name", "POLL\n")
            .file("sys/devices/system/cpu/cpu1/cpuidle/state0/latency", "0\n")
            .file("sys/devices/system/cpu/cpu1/cpuidle/state1/name", "C6\n")
            .file("sys/devices/system/cpu/cpu1/cpuidle/state1/latency", "133\n")
            .file("sys/devices/system/cpu/cpu1/cpuidle/state1/disable", "1\n")
            .file("sys/devices/system/cpu/cpu1/cpufreq/scaling_driver", "intel_pstate\n")
            .file("sys/devices/system/cpu/cpu1/cpufreq/scaling_max_freq", "3700000\n")
            .file("sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq", "3700000\n")
            .file("sys/devices/system/cpu/cpu2/cpufreq/scaling_max_freq", "2000000\n")
            .file("sys/devices/system/cpu/cpu2/cpufreq/cpuinfo_max_freq", "3700000\n")
            .file("sys/devices/system/cpu/intel_pstate/no_turbo", "0\n")
            .file("sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI\n")
            .file("sys/devices/system/cpu/vulnerabilities/mds", "Not affected\n");
        let state = |name: &str, latency_us, disabled| IdleState { name: name.to_owned(), latency_us, disabled };
        assert_eq!(
            power(&tree),
            Power {
                idle_driver: Some("intel_idle".to_owned()),
                idle_governor: Some("menu".to_owned()),
                idle_states: vec![state("POLL", Some(0), false), state("C6", Some(133), true)],
                frequency_driver: Some("intel_pstate".to_owned()),
                frequency_governors: BTreeSet::from(["performance".to_owned()]),
                boost: Some(true),
                limited: vec![FrequencyLimit { cpu: 2, most_khz: 2_000_000, hardware_khz: 3_700_000 }],
                mitigations: Some("auto,nosmt".to_owned()),
                vulnerabilities: BTreeMap::from([("meltdown".to_owned(), "Mitigation: PTI".to_owned())]),
            }
        );
    }

    #[test]
    fn boost_without_intel_pstate() {
        let boost = |text: &str| power(&Tree::new().file("sys/devices/system/cpu/cpufreq/boost", text)).boost;
        assert_eq!((boost("1\n"), boost("0\n")), (Some(true), Some(false)));
    }

    #[test]
    fn a_machine_that_shows_nothing() {
        let governors = BTreeSet::new();
        assert_eq!(read_power(&Tree::new().sources, &[0], &governors), Power::default());
    }
}
