use super::super::reader::{Family, Sample, read};
use super::*;
use crate::results::disturbance::Kind;
use crate::results::fixture;
use crate::results::sandbox::Sandbox;
use guest_stub::abi::act::Act;
use std::collections::{BTreeMap, BTreeSet};

const HALT: (&str, &str) = ("target_state", "halt");
const SPIN: (&str, &str) = ("target_state", "spin");

fn families(measurement: &Measurement) -> BTreeMap<String, Family> {
    let families = read(&render(measurement).unwrap());
    families.into_iter().map(|family| (family.name.clone(), family)).collect()
}

/// Expects this value of the one sample that has all of these labels.
#[track_caller]
fn is(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)], expected: f64) {
    let has = |sample: &&Sample| labels.iter().all(|(name, value)| sample.labels[*name] == *value);
    let found: Vec<&Sample> = families[name].samples.iter().filter(has).collect();
    let [sample] = found[..] else { panic!("{} samples of {name} have {labels:?}", found.len()) };
    assert!((sample.value - expected).abs() <= 1e-12 * expected.abs(), "{name}{labels:?}: {}", sample.value);
}

#[test]
fn every_cell_has_its_samples_in_seconds() {
    let families = families(&fixture::measurement());
    for (name, expected) in [
        ("kipi_round_trip_p50_seconds", 842e-9),
        ("kipi_round_trip_p50_lower_seconds", 0.95 * 842e-9),
        ("kipi_round_trip_p50_upper_seconds", 1.05 * 842e-9),
        ("kipi_round_trip_p99_seconds", 2.0 * 842e-9),
        ("kipi_round_trip_max_seconds", 4.0 * 842e-9),
        ("kipi_overlap_p50_ratio", 0.25),
        ("kipi_rounds", 1_000.0),
    ] {
        is(&families, name, &[HALT, ("route", "x2apic"), ("wait", "spin")], expected);
    }
    assert_eq!(families["kipi_rounds"].samples.len(), 2);
    assert!(!families.contains_key("kipi_reentry_p50_seconds"), "no cell has it");
}

#[test]
fn the_host_is_in_the_labels_of_one_sample() {
    let mut measurement = fixture::measurement();
    measurement.host.cpu = "AMD \"EPYC\"\\ 9B14\n".to_owned();
    let cpu = measurement.host.cpu.clone();
    measurement.sandbox = Some(Sandbox::off());
    let labels = [("kernel", "6.18.0"), ("kvm", "kvm_amd"), ("cpu", &cpu), ("sandbox", "off")];
    is(&families(&measurement), "kipi_run_info", &labels, 1.0);
}

#[test]
fn what_went_wrong_can_be_alerted_on() {
    let mut measurement = fixture::measurement();
    measurement.started = Some(1_795_762_800.5);
    measurement.partial = true;
    measurement.cells[1].integrity.timed_out = 3;
    measurement.cells[1].never_quiet = true;
    measurement.quiet = Some(Quiet::of_cells(&measurement.cells, BTreeSet::from([Kind::Steal])));
    let families = families(&measurement);
    is(&families, "kipi_run_start_timestamp_seconds", &[], 1_795_762_800.5);
    is(&families, "kipi_run_partial", &[], 1.0);
    is(&families, "kipi_run_skipped_cells", &[], 1.0);
    is(&families, "kipi_run_disturbed_blocks", &[], 0.0);
    is(&families, "kipi_wrong_calls", &[HALT, ("fault", "timed-out")], 3.0);
    is(&families, "kipi_wrong_calls", &[HALT, ("fault", "lost")], 0.0);
    is(&families, "kipi_never_quiet", &[HALT], 1.0);
    is(&families, "kipi_never_quiet", &[SPIN], 0.0);
}

#[test]
fn a_machine_that_is_not_known_to_be_quiet_is_told_apart() {
    let mut measurement = fixture::measurement();
    for (unknown, [quiet, not_known]) in [(Kind::Steal, [1.0, 0.0]), (Kind::WaitedForCpu, [0.0, 1.0])] {
        measurement.quiet = Some(Quiet::of_cells(&measurement.cells, BTreeSet::from([unknown])));
        let families = families(&measurement);
        is(&families, "kipi_run_quiet", &[("verdict", "quiet")], quiet);
        is(&families, "kipi_run_quiet", &[("verdict", "not_known")], not_known);
        is(&families, "kipi_run_quiet", &[("verdict", "never_quiet")], 0.0);
    }
    measurement.quiet = None;
    assert!(!families(&measurement).contains_key("kipi_run_quiet"), "nobody has looked");
}

#[test]
fn exits_and_ratios_have_samples() {
    let mut measurement = fixture::measurement();
    measurement.exit_costs = vec![fixture::exit_cost(Act::Cpuid, 1_500.0)];
    measurement.cells[0].times_native = vec![fixture::times_native(MetricName::RoundTrip, 8_000.0, 2_000.0)];
    measurement.cells[0].times_own_vmm = vec![fixture::times_native(MetricName::RoundTrip, 9_000.0, 6_000.0)];
    let families = families(&measurement);
    let of_exits = |role| [SPIN, ("source", "stats"), ("reason", "exits"), ("role", role)];
    is(&families, "kipi_exits_per_call", &of_exits("initiator"), 2.0);
    is(&families, "kipi_exits_per_call", &of_exits("target"), 1.0);
    is(&families, "kipi_exit_cost_p50_seconds", &[("act", "cpuid"), ("local_apic", "kernel")], 1.5e-6);
    is(&families, "kipi_round_trip_times_native_ratio", &[SPIN], 4.0);
    is(&families, "kipi_round_trip_times_own_vmm_ratio", &[SPIN], 1.5);
}
