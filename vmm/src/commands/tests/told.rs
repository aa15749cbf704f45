//! Every option reaches a document: whoever adds one says here where.

use super::help;
use crate::doctor;
use crate::report::check::fixture as check;
use crate::results::sandbox::Sandbox;
use crate::results::standalone::OtherVmm;
use crate::results::{comparison, fixture};
use Told::{Command, Comparison, Document};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Where an option is told.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// At this place of the command's own document (a JSON pointer).
    Document(&'static str),
    /// At this place of the comparison that the command comes to.
    Comparison(&'static str),
    /// By the command line alone: no number depends on it.
    Command,
}

/// Those of `options::Calls` and `options::Machine`.
const OF_CALLS: [(&str, Told); 11] = [
    ("worker", Document("/config/worker")),
    ("spin-cycles", Document("/config/argument")),
    ("pin", Document("/config/pin")),
    ("settle", Document("/config/settle_us")),
    ("out-us", Document("/config/out_us")),
    ("deadline", Document("/config/deadlines/0/ms")),
    ("latency", Document("/config/latency_us")),
    ("halt-poll", Document("/config/halt_poll_ns")),
    ("device", Document("/config/device")),
    ("guest", Document("/config/guest")),
    ("no-sandbox", Document("/sandbox/state")),
];

const OF_MEASURE: &[(&str, Told)] = &[
    ("vcpus", Document("/config/vcpus")),
    ("call", Document("/config/calls")),
    ("route", Document("/config/routes")),
    ("destination", Document("/config/destinations")),
    ("target-state", Document("/config/target_states")),
    ("idle-before", Document("/config/idle_before_us")),
    ("wait", Document("/config/waits")),
    ("observe", Document("/config/observe")),
    ("trace", Document("/config/trace")),
    ("rounds", Document("/config/rounds")),
    ("seconds", Document("/config/seconds")),
    ("seconds-per-cell", Document("/config/seconds")),
    ("boots", Document("/config/boots")),
    ("calibrate", Document("/config/repetitions")),
    ("references", Document("/config/references")),
    ("native", Document("/config/native")),
    ("exits", Document("/config/exit_costs")),
    ("warmup", Document("/config/warmup")),
    ("html", Document("/config/from_every_vcpu")),
    ("inject", Document("/config/injected_delay")),
    ("under", Document("/under/0/command")),
    ("under-only", Document("/cells")),
    ("ab", Comparison("/differences")),
    ("ab-exec", Comparison("/differences")),
    ("threshold", Comparison("/settings/threshold")),
    ("details", Command),
    ("strict", Command),
    ("quiet", Command),
    ("json", Command),
    ("csv", Command),
    ("prometheus", Command),
    ("bmf", Command),
    ("inject-forbidden-call", Command),
];

const OF_TRACE: &[(&str, Told)] = &[
    ("vcpus", Document("/config/vcpus")),
    ("call", Document("/config/call")),
    ("route", Document("/config/route")),
    ("destination", Document("/config/destination")),
    ("target-state", Document("/config/target_state")),
    ("wait", Document("/config/waits")),
    ("rounds", Document("/config/rounds")),
    ("warmup", Document("/config/warmup")),
    ("source", Document("/config/trace")),
    ("perfetto", Command),
    ("json", Command),
    ("quiet", Command),
    ("inject-forbidden-call", Command),
];

const OF_CHECK: &[(&str, Told)] = &[
    ("filter", Document("/config/filter")),
    ("skip", Document("/config/skip")),
    ("soak", Document("/config/soak_minutes")),
    ("seed", Document("/head/seed")),
    ("inject", Document("/config/injected_fault")),
    ("pin", Document("/config/pin")),
    ("device", Document("/config/device")),
    ("guest", Document("/config/guest")),
    ("no-sandbox", Document("/head/sandbox/state")),
    ("list", Command),
    ("format", Command),
    ("quiet", Command),
    ("inject-forbidden-call", Command),
];

/// Finds every option of a command in its list, and each place of the list in the documents.
fn find(command: &str, told: &[&[(&str, Told)]], document: &impl Serialize) {
    let all = help::command();
    let options = all.find_subcommand(command).expect("a command").get_arguments();
    let options: BTreeSet<&str> = options.filter_map(clap::Arg::get_long).filter(|option| *option != "help").collect();
    let listed: BTreeSet<&str> = told.iter().copied().flatten().map(|(option, _)| *option).collect();
    assert_eq!(options, listed, "kipi {command}: where does a document say each option?");
    let [document, comparison] =
        [serde_json::to_value(document), serde_json::to_value(comparison::fixture::comparison())]
            .map(|document| document.expect("JSON"));
    for &(option, told) in told.iter().copied().flatten() {
        let place = |of: &Value, at: &str| assert!(of.pointer(at).is_some(), "kipi {command} --{option}: no {at}");
        match told {
            Document(at) => place(&document, at),
            Comparison(at) => place(&comparison, at),
            Command => place(&document, "/command/0"),
        }
    }
}

#[test]
fn every_option_of_measure_is_told() {
    let mut measurement = fixture::measurement();
    measurement.sandbox = Some(Sandbox::off());
    measurement.under = vec![OtherVmm {
        name: "qemu".to_owned(),
        command: "qemu-system-x86_64 {kernel}".to_owned(),
        hypervisor: None,
        cpu: "QEMU Virtual CPU".to_owned(),
        standalone: fixture::standalone().host.standalone.expect("of the image"),
    }];
    find("measure", &[&OF_CALLS, OF_MEASURE], &measurement);
}

#[test]
fn every_option_of_trace_is_told() {
    let mut trace = fixture::trace();
    trace.command = vec!["kipi".to_owned()];
    trace.sandbox = Some(Sandbox::off());
    find("trace", &[&OF_CALLS, OF_TRACE], &trace);
}

#[test]
fn every_option_of_doctor_is_told() {
    let mut doctor = doctor::sample();
    doctor.command = vec!["kipi".to_owned()];
    let own =
        [("vcpus", Document("/vcpus")), ("device", Document("/device/path")), ("json", Command), ("quiet", Command)];
    find("doctor", &[&own], &doctor);
}

#[test]
fn every_option_of_check_is_told() {
    find("check", &[OF_CHECK], &check::document());
}
