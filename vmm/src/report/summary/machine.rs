//! What the machine is that was measured on, or that the standalone image ran on.

use super::{Fact, topology};
use crate::results::count::count;
use crate::results::measurement::host::Host;
use crate::results::power::{IdleState, Power};
use crate::results::standalone::Standalone;

/// What the machine's CPUs share, what they do of a local APIC's work, how quickly they wake up, and how fast they run.
pub(in crate::report) fn machine(host: &Host) -> Vec<Fact> {
    let topology = topology(&host.topology).unwrap_or_else(|| "not known".to_owned());
    let acceleration = host
        .apic_acceleration
        .iter()
        .map(|found| Fact { label: found.feature.name(), text: format!("{}: {}", found.state.name(), found.why) });
    [Fact { label: "Topology", text: topology }].into_iter().chain(acceleration).chain(power(&host.power)).collect()
}

fn power(power: &Power) -> Vec<Fact> {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
    let state = |state: &IdleState| {
        let latency = state.latency_us.map_or_else(String::new, |us| format!(" {us} µs"));
        format!("{}{latency}{}", state.name, if state.disabled { " (disabled)" } else { "" })
    };
    let states: Vec<String> = power.idle_states.iter().map(state).collect();
    let idle = format!("driver {}, governor {}", known(&power.idle_driver), known(&power.idle_governor));
    let governors: Vec<&str> = power.frequency_governors.iter().map(String::as_str).collect();
    let boost = match power.boost {
        Some(true) => "boost on",
        Some(false) => "boost off",
        None => "boost not known",
    };
    let limits = power.limited.iter().map(|limit| {
        let mhz = |khz: u64| khz / 1_000;
        format!("CPU {} limited to {} of {} MHz", limit.cpu, mhz(limit.most_khz), mhz(limit.hardware_khz))
    });
    let frequency = match &power.frequency_driver {
        Some(driver) => {
            let governor = format!("driver {driver}, governor {}", governors.join(", "));
            [governor, boost.to_owned()].into_iter().chain(limits).collect::<Vec<_>>().join(", ")
        }
        None => format!("not known (no cpufreq), {boost}"),
    };
    let vulnerabilities = power.vulnerabilities.iter().map(|(name, state)| format!("{name}: {state}"));
    let asked = power.mitigations.as_deref().unwrap_or("the kernel's default").to_owned();
    vec![
        Fact { label: "Idle states", text: [idle].into_iter().chain(states).collect::<Vec<_>>().join(", ") },
        Fact { label: "Frequency", text: frequency },
        Fact { label: "Mitigations", text: [asked].into_iter().chain(vulnerabilities).collect::<Vec<_>>().join("; ") },
    ]
}

/// What a run of the standalone image was asked for, and what it was read from.
pub(in crate::report) fn standalone(run: &Standalone) -> Vec<Fact> {
    let Standalone { door, command_line, log, imported_by, listed, tsc_source, tsc_error_ppm } = run;
    let tsc = if *tsc_error_ppm == 0 { tsc_source.clone() } else { format!("{tsc_source}, ± {tsc_error_ppm} ppm") };
    vec![
        Fact { label: "Image", text: format!("started by {door}; {} listed", count(*listed as usize, "processor")) },
        Fact { label: "Command line", text: if command_line.is_empty() { "none" } else { command_line }.to_owned() },
        Fact { label: "Log", text: format!("{log}, read by kipi {imported_by}") },
        Fact { label: "TSC frequency", text: tsc },
    ]
}
