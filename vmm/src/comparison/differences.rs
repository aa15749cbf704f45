//! In what the hosts and the settings of two sets of runs differ.

use super::mixture::Mixture;
use super::{Run, sandboxes, topology};
use crate::results::comparison::Difference;
use crate::results::cpu_list::ranges;
use crate::results::measurement::Measurement;
use crate::results::measurement::config::MeasurementConfig;
use guest_stub::abi::TargetState;
use guest_stub::abi::cell::CellId;
use std::collections::{BTreeMap, BTreeSet};
use strum::{IntoStaticStr, VariantArray};

/// What may be expected to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Factor {
    /// The processor's model.
    Cpu,
    /// Its microcode.
    Microcode,
    /// The CPUs that kipi may use.
    Cpus,
    /// The kernel's release.
    Kernel,
    /// The kernel's command line, but for what names its image.
    CommandLine,
    /// KVM's vendor modules.
    Kvm,
    /// Parameters of KVM's modules, one by one.
    Settings,
    /// Idle states, frequencies, mitigations, one by one.
    Power,
    /// The hypervisor below.
    Hypervisor,
    /// The CPUs that vCPUs are pinned to.
    Pin,
    /// What the CPUs of two vCPUs share, pair by pair.
    Topology,
    /// Other options of `kipi measure` that change times, one by one.
    Options,
    /// kipi's version.
    Kipi,
}

impl Factor {
    /// All factors, in the order of output.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in documents and on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What tells one kernel's image from another's, and names the kernel once more.
const OF_THE_IMAGE: [&str; 2] = ["BOOT_IMAGE=", "initrd="];

/// What is said of something that the kernel does not show, or a document of before does not have.
const NOT_KNOWN: &str = "not known";

/// One thing that may differ.
type Subject = (Factor, Option<String>);

/// All that differs between the sides, in the order of the factors; then where pairs of vCPUs are, which cells are missing, and the sandbox.
pub(super) fn find(base: &[Run], new: &[Run], expected: &[Factor]) -> Vec<Difference> {
    let facts =
        |runs: &[Run]| -> Vec<BTreeMap<Subject, String>> { runs.iter().map(|run| facts(&run.measurement)).collect() };
    let (base_runs, new_runs) = (base, new);
    let [base, new] = [facts(base), facts(new)];
    let subjects: BTreeSet<&Subject> = base.iter().chain(&new).flat_map(BTreeMap::keys).collect();
    let values = |side: &[BTreeMap<Subject, String>], subject: &Subject| -> Mixture<String> {
        side.iter().map(|facts| facts.get(subject).map_or(NOT_KNOWN, String::as_str).to_owned()).collect()
    };
    let found = subjects.into_iter().filter_map(|subject| {
        let [of_base, of_new] = [values(&base, subject), values(&new, subject)];
        let (factor, item) = subject;
        // Hosts of a fleet that are on both sides favour neither; that there are more of some on one side is told.
        let allowed =
            of_base.has_same_values(&of_new) || is_expected(*factor, item.as_deref(), [&of_base, &of_new], expected);
        (!of_base.is_same(&of_new)).then(|| Difference {
            factor: factor.name().to_owned(),
            item: item.clone(),
            base: of_base.told_beside(&of_new),
            new: of_new.told_beside(&of_base),
            allowed,
        })
    });
    let places = topology::find(base_runs, new_runs, expected);
    let found = found.chain(places).chain(no_longer_asked(base_runs, new_runs, expected));
    found.chain(sandboxes::difference(base_runs, new_runs)).collect()
}

/// Cells of the base that no new run was asked for.
fn no_longer_asked(base: &[Run], new: &[Run], expected: &[Factor]) -> Option<Difference> {
    const NAMED: usize = 3;
    let asked = |runs: &[Run]| -> BTreeSet<CellId> {
        let of = |run: &Run| -> Vec<CellId> {
            let skipped = run.measurement.skipped.iter().map(|skipped| skipped.id);
            run.measurement.asked().map(|cell| cell.id).chain(skipped).collect()
        };
        runs.iter().flat_map(of).collect()
    };
    let (in_base, in_new) = (asked(base), asked(new));
    let missing: Vec<String> = in_base.difference(&in_new).map(ToString::to_string).collect();
    let more = missing.len().saturating_sub(NAMED);
    let mut named: Vec<String> = missing.iter().take(NAMED).cloned().collect();
    named.extend((more > 0).then(|| format!("{more} more")));
    (!missing.is_empty()).then(|| Difference {
        factor: Factor::Options.name().to_owned(),
        item: Some("cells".to_owned()),
        base: named,
        new: vec!["not asked for".to_owned()],
        allowed: expected.contains(&Factor::Options),
    })
}

/// Whether it was expected, or follows from what was: another kernel has other parameters and mitigations.
pub(super) fn is_expected(
    factor: Factor,
    item: Option<&str>,
    values: [&Mixture<String>; 2],
    expected: &[Factor],
) -> bool {
    let is_unknown = |values: &Mixture<String>| values.is_only(NOT_KNOWN);
    let other_kernel = expected.contains(&Factor::Kernel);
    let follows = match factor {
        Factor::Settings => other_kernel && values.into_iter().any(is_unknown),
        Factor::Power => (other_kernel || expected.contains(&Factor::Microcode)) && item.is_some_and(is_mitigation),
        // Documents of before do not have it.
        Factor::Microcode | Factor::CommandLine | Factor::Hypervisor => values.into_iter().any(is_unknown),
        Factor::Topology => expected.contains(&Factor::Pin),
        Factor::Cpu | Factor::Cpus | Factor::Kernel | Factor::Kvm | Factor::Pin | Factor::Options | Factor::Kipi => {
            false
        }
    };
    follows || expected.contains(&factor)
}

fn is_mitigation(item: &str) -> bool {
    item.starts_with(VULNERABILITY)
}

const VULNERABILITY: &str = "vulnerability ";

/// All facts of a run.
fn facts(measurement: &Measurement) -> BTreeMap<Subject, String> {
    let Measurement { host, config, .. } = measurement;
    let mut facts = BTreeMap::new();
    let mut add = |factor, item: Option<&str>, value: Option<String>| {
        facts.extend(value.map(|value| ((factor, item.map(str::to_owned)), value)));
    };
    add(Factor::Cpu, None, Some(host.cpu.clone()));
    add(Factor::Microcode, None, host.microcode.clone());
    add(Factor::Cpus, None, Some(ranges(&host.cpus)));
    add(Factor::Kernel, None, Some(host.kernel.clone()));
    add(Factor::CommandLine, None, host.command_line.as_deref().map(without_image));
    add(Factor::Kvm, None, (!host.kvm.is_empty()).then(|| host.kvm.join(", ")));
    for (name, value) in &host.settings {
        add(Factor::Settings, Some(name), Some(value.clone()));
    }
    let power = &host.power;
    add(Factor::Power, Some("idle driver"), power.idle_driver.clone());
    add(Factor::Power, Some("idle governor"), power.idle_governor.clone());
    let states = power.idle_states.iter().map(|state| {
        let latency = state.latency_us.map_or_else(String::new, |us| format!(" ({us} µs)"));
        format!("{}{latency}{}", state.name, if state.disabled { " off" } else { "" })
    });
    add(Factor::Power, Some("idle states"), joined(states));
    add(Factor::Power, Some("frequency driver"), power.frequency_driver.clone());
    add(Factor::Power, Some("frequency governors"), joined(power.frequency_governors.iter().cloned()));
    add(Factor::Power, Some("boost"), power.boost.map(|boost| if boost { "on" } else { "off" }.to_owned()));
    add(
        Factor::Power,
        Some("frequency limits"),
        joined(power.limited.iter().map(|it| format!("CPU {}: {} kHz", it.cpu, it.most_khz))),
    );
    for (name, value) in &power.vulnerabilities {
        add(Factor::Power, Some(&format!("{VULNERABILITY}{name}")), Some(value.clone()));
    }
    add(Factor::Hypervisor, None, host.hypervisor.clone());
    add(Factor::Hypervisor, Some("nested"), Some(host.nested.to_string()));
    add(
        Factor::Pin,
        None,
        Some(if config.pin.is_empty() {
            "none".to_owned()
        } else {
            joined(config.pin.iter().map(usize::to_string)).unwrap_or_default()
        }),
    );
    add(Factor::Options, Some("door"), host.standalone.as_ref().map(|run| run.door.clone()));
    for (item, value) in options(config) {
        add(Factor::Options, Some(item), Some(value));
    }
    add(Factor::Kipi, None, Some(host.kipi.clone()));
    facts
}

/// What was asked for and is not in the cells' names. Over how many boots the blocks were spread is chosen by the time that boots take,
/// and changes how sure a time is, not the time.
fn options(config: &MeasurementConfig) -> Vec<(&'static str, String)> {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    // It changes times of that state alone, and documents of before say it of no other.
    let out_us = config.out_us.filter(|_| config.target_states.iter().any(|state| state == TargetState::Out.name()));
    vec![
        ("worker", format!("{} {}", config.worker, config.argument)),
        ("rounds", config.seconds.map_or_else(|| config.rounds.to_string(), |seconds| format!("those of {seconds} s"))),
        ("warm-up", config.warmup.to_string()),
        ("latency", or_none(config.latency_us.map(|us| format!("{us} µs")))),
        ("halt-poll", or_none(config.halt_poll_ns.map(|ns| format!("{ns} ns")))),
        ("out", or_none(out_us.map(|us| format!("{us} µs")))),
    ]
}

fn joined(values: impl Iterator<Item = String>) -> Option<String> {
    let values: Vec<String> = values.collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn without_image(command_line: &str) -> String {
    let words = command_line.split_whitespace().filter(|word| !OF_THE_IMAGE.iter().any(|it| word.starts_with(it)));
    words.collect::<Vec<_>>().join(" ")
}
