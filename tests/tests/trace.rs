//! `kipi trace` on real vCPUs: timelines are complete and in order, stages add up, and nothing is left behind.

use kipi::events::kernel::tracefs::Instance;
use kipi::results::trace::{Call, Event, Trace};
use kipi_tests::{Ran, Running, binary, hypervisor, kipi, run_tests, skip, test, turn, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

fn trace(vcpus: &str, arguments: &[&str]) -> Trace {
    let ran = kipi(["trace", "--vcpus", vcpus, "--json", "-"].iter().chain(arguments));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let schema = serde_json::from_str(include_str!("../../resources/trace.schema.json")).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("a schema").validate(&value).expect("the document keeps to its schema");
    let trace: Trace = serde_json::from_value(value).expect("a trace");
    assert!(trace.command[1..].starts_with(&["trace", "--vcpus", vcpus].map(str::to_owned)), "{:?}", trace.command);
    assert!(
        trace.date.as_ref().is_some_and(|date| date.ends_with('Z')) && trace.host.key.is_some(),
        "{:?}",
        trace.date
    );
    trace
}

fn is_recorded(trace: &Trace, source: &str) -> bool {
    trace.sources.iter().any(|it| it.source.name() == source && it.unavailable.is_none())
}

fn end(call: &Call, stage: &str) -> f64 {
    let found = call.stages.iter().find(|it| it.stage.name() == stage);
    found.unwrap_or_else(|| panic!("no stage {stage}: {call:#?}")).end_ns
}

/// Everything that holds for any call of vCPU 0 to vCPU 1.
fn assert_complete(call: &Call, epsilon: f64) {
    assert!(call.events.is_sorted_by(|one, other| one.at_ns <= other.at_ns), "{call:#?}");
    let has = |vcpu, kind| call.events.iter().any(|it: &Event| it.vcpu == Some(vcpu) && it.kind == kind);
    for kind in ["send", "sent", "worker_start", "worker_end", "completed"] {
        assert!(has(0, kind), "vCPU 0 lacks {kind}: {call:#?}");
    }
    for kind in ["arrival", "worker_start", "worker_end"] {
        assert!(has(1, kind), "vCPU 1 lacks {kind}: {call:#?}");
    }
    let sum: f64 = call.stages.iter().map(|it| it.cost_ns).sum();
    assert!((sum + call.remainder_ns - call.round_trip_ns).abs() <= epsilon, "{call:#?}");
    assert_eq!(call.last_target, Some(1));
    // Each is the cause of the next, as far as two clocks can tell.
    let ends = ["interrupt entry", "gate", "worker", "done"].map(|stage| end(call, stage));
    assert!(ends.is_sorted_by(|one, other| *one <= other + epsilon), "{ends:?}");
    let marked = call.events.iter().filter(|it| it.stage.is_some()).count();
    assert_eq!(marked, call.stages.len(), "each stage ends at an event: {call:#?}");
}

#[test]
fn every_call_has_a_complete_timeline_in_order() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    for route in ["x2apic", "xapic", "vmm", "vmm-xapic", "msi"] {
        if matches!(route, "x2apic" | "vmm") && !hypervisor.offers_x2apic() {
            eprintln!("SKIP: {route}: this KVM offers guests no x2APIC mode");
            continue;
        }
        for state in ["halt", "user", "spin"] {
            let trace = trace("2", &["--route", route, "--target-state", state, "--rounds", "5"]);
            let which: Vec<&str> = trace.calls.iter().map(|call| call.which.name()).collect();
            assert_eq!((trace.rounds, which.as_slice()), (5, ["median", "worst"].as_slice()), "{route} {state}");
            for call in &trace.calls {
                assert_complete(call, trace.clock.error_ns.expect("the clocks were compared").max(1.0));
                if route.starts_with("vmm") {
                    assert!(
                        end(call, "send exit") > 0.0 && end(call, "entry") <= end(call, "interrupt entry"),
                        "{call:#?}"
                    );
                    // A target that shares the sender's CPU may run before the sender has served the write to its end.
                    let served = call.events.iter().find(|it| it.kind == "served").expect("the write is served");
                    if served.at_ns <= end(call, "interrupt entry") {
                        assert!(end(call, "send exit") <= end(call, "IPI accepted"), "{call:#?}");
                    }
                    assert_eq!(call.afterwards.first().map(|it| it.stage.name()), Some("EOI"), "{call:#?}");
                } else if is_recorded(&trace, "kernel") {
                    end(call, "IPI accepted");
                }
            }
            if !is_recorded(&trace, "kernel") {
                eprintln!("SKIP: the kernel's events: {:?}", trace.sources);
            }
            let breakdown = trace.breakdown.expect("five rounds have one");
            let sum: f64 = breakdown.stages.iter().map(|it| it.mean_ns).sum();
            assert!((sum + breakdown.remainder_ns - breakdown.round_trip_ns).abs() < 1e-3, "{breakdown:?}");
        }
    }
}

#[test]
fn the_host_calls_from_a_lane_of_its_own() {
    let _turn = turn();
    let Some(_) = hypervisor() else { return };
    for route in ["host", "vmm-host"] {
        let trace = trace("1", &["--route", route]);
        let call = &trace.calls[0];
        let send = call.events.iter().find(|it| it.kind == "send").expect("a send");
        assert_eq!((call.which.name(), send.vcpu, call.last_target), ("only", None, Some(0)), "{route}");
    }
}

#[test]
fn measure_breaks_the_round_trip_down_and_says_what_recording_costs() {
    let _turn = turn();
    let Some(_) = hypervisor() else { return };
    let cell = ["--route", "xapic", "--target-state", "halt", "--observe", "guest", "--rounds", "100", "--vcpus", "2"];
    let ran = kipi(cell.iter().chain(&["--trace", "stats,vmm,kernel", "--json", "-"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let document = kipi_tests::document(&ran.stdout);
    let cell = &document["cells"][0];
    let breakdown = &cell["breakdown"];
    let number = |value: &Value| value.as_f64().expect("a number");
    let stages = breakdown["stages"].as_array().expect("stages");
    let sum: f64 = stages.iter().map(|stage| number(&stage["mean_ns"])).sum();
    let round_trip = number(&breakdown["round_trip_ns"]);
    assert!((sum + number(&breakdown["remainder_ns"]) - round_trip).abs() < 1e-3, "{breakdown}");
    let effects = cell["observer_effect"].as_array().expect("effects");
    let sources: Vec<&str> = effects.iter().map(|it| it["source"].as_str().expect("a name")).collect();
    assert_eq!(sources, ["stats", "vmm", "kernel"]);
    for effect in effects.iter().filter(|it| it["unavailable"].is_null()) {
        let ratio = number(&effect["on_ns"]) / number(&effect["off_ns"]);
        assert!((ratio - number(&effect["ratio"])).abs() < 1e-9, "{effect}");
        assert!(effect["ci95"].is_array(), "{effect}");
    }
    let kernel = &effects[2];
    let counts = |source: &str| cell["exits"].as_array().expect("exits").iter().any(|it| it["source"] == source);
    assert!(counts("vmm") && counts("kernel") == kernel["unavailable"].is_null(), "{cell}");
    if !kernel["unavailable"].is_null() {
        let warned =
            document["warnings"].as_array().expect("warnings").iter().any(|it| it.to_string().contains("kernel"));
        assert!(warned, "{document}");
    }
}

#[test]
fn perfetto_gets_every_event_and_an_arrow() {
    let _turn = turn();
    let Some(_) = hypervisor() else { return };
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let file = directory.path().join("trace.json");
    let ran = kipi(["trace", "--vcpus", "2", "--route", "xapic", "--perfetto", file.to_str().expect("a plain path")]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    for word in ["The call: round trip", "interrupt entry", "remainder", "source vmm: on"] {
        assert!(ran.stdout.contains(word), "no {word} in {}", ran.stdout);
    }
    let document: Value = serde_json::from_str(&fs::read_to_string(&file).expect("the file")).expect("JSON");
    let events = document["traceEvents"].as_array().expect("events");
    let count = |ph: &str| events.iter().filter(|it| it["ph"] == ph).count();
    assert_eq!((count("s"), count("f")), (1, 1));
    assert!(count("i") >= 9 && count("X") >= 4, "{document}");
}

#[test]
fn bad_input_is_one_line() {
    for (arguments, needle) in [
        (["--source", "tea"], "'tea'"),
        (["--rounds", "0"], "'0'"),
        (["--json", "/nonexistent/x"], "/nonexistent/x"),
        (["--route", "pigeon"], "'pigeon'"),
    ] {
        let ran = kipi(["trace"].iter().chain(&arguments));
        assert_eq!(ran.status, Some(2), "{ran:?}");
        assert!(ran.complaint().contains(needle), "{ran:?}");
    }
    let both = kipi(["trace", "--json", "-", "--perfetto", "-"]);
    assert_eq!(both.status, Some(2), "{both:?}");
    assert!(both.complaint().contains("--perfetto"), "{both:?}");
}

/// The memory route's targets poll: their usual state is another than that of the other routes.
#[test]
fn every_route_can_be_traced_as_it_comes() {
    let _turn = turn();
    if hypervisor().is_some() {
        assert_eq!(trace("2", &["--route", "memory"]).config.id.target_state.name(), "spin");
    }
}

/// The directory of tracefs' instances, kept mounted by the instance that this process has.
fn instances() -> Option<(Instance, PathBuf)> {
    match Instance::make() {
        Ok(own) => {
            let all = own.path("..");
            Some((own, all))
        }
        Err(error) => {
            skip(error);
            None
        }
    }
}

/// The instances that there are.
fn names(instances: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(instances).expect("tracefs is mounted");
    entries.map(|entry| entry.expect("an instance").path()).collect()
}

/// Starts a long trace, and waits until it has its instance, whose directory comes with it.
fn long_trace(instances: &Path) -> (Running, PathBuf) {
    let before = names(instances);
    let mut running =
        Running::start(Command::new(binary()).args(["trace", "--vcpus", "2", "--route", "xapic", "--rounds", "10000"]));
    let mut own = None;
    wait_until("its instance", || {
        own = names(instances).difference(&before).next().cloned();
        own.is_some() || running.has_ended()
    });
    (running, own.expect("a trace has an instance"))
}

fn send(signal: Signal, running: &Running) {
    let process = Pid::from_raw(running.id().cast_signed()).expect("a process id");
    kill_process(process, signal).expect("it still runs");
}

/// Ends a long trace by `signal`: its instance's directory comes with what became of it.
fn end_by(signal: Signal, instances: &Path) -> (Ran, PathBuf) {
    let (running, own) = long_trace(instances);
    send(signal, &running);
    (running.finish(), own)
}

/// Whoever stops a long one has what was traced until then.
#[test]
fn an_interrupted_trace_is_written() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let json = directory.path().join("trace.json");
    let until_a_block_is_done = [1, 4, 16, 64].into_iter().find_map(|seconds| {
        let mut command = Command::new(binary());
        command.args(["trace", "--vcpus", "2", "--route", "xapic", "--source", "vmm", "--rounds", "10000"]);
        // Each round takes a millisecond or so, however fast the host is.
        let running =
            Running::start(command.args(["--worker", "spin", "--spin-cycles", "4000000", "--json"]).arg(&json));
        thread::sleep(Duration::from_secs(seconds));
        send(Signal::INT, &running);
        let ran = running.finish();
        assert_eq!(ran.status, Some(130), "{ran:?}");
        json.exists().then_some(ran)
    });
    let ran = until_a_block_is_done.expect("a block takes less than a minute");
    let document: Value = serde_json::from_str(&fs::read_to_string(&json).expect("a trace")).expect("JSON");
    let rounds = document["rounds"].as_u64().expect("a count");
    assert!((1..10_000).contains(&rounds), "{rounds}");
    assert!(ran.stdout.contains("interrupted: ") && ran.stdout.contains(" of 10000 rounds"), "{ran:?}");
    let warnings = document["warnings"].as_array().expect("warnings");
    assert!(warnings.iter().any(|it| it == &format!("interrupted: {rounds} of 10000 rounds")), "{warnings:?}");
}

#[test]
fn no_trace_buffer_is_left_behind() {
    let _turn = turn();
    let (Some(_), Some((_own, instances))) = (hypervisor(), instances()) else { return };
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (ran, own) = end_by(signal, &instances);
        assert_eq!((ran.status, own.is_dir()), (Some(130), false), "{signal:?}: {ran:?}");
    }
    // Nobody can clean up after that, but the next kipi does, whatever it is for.
    let (ran, own) = end_by(Signal::KILL, &instances);
    assert_eq!((ran.status, own.is_dir()), (None, true));
    assert_eq!(kipi(["doctor", "--device", "/nonexistent/kvm"]).status, Some(4));
    assert!(!own.is_dir(), "{}", own.display());
}

/// In a PID namespace of its own, a process has a number that a process outside of it has, too, and does not see that one.
#[test]
fn a_trace_leaves_those_of_other_pid_namespaces_alone() {
    let _turn = turn();
    let (Some(_), Some((_own, instances))) = (hypervisor(), instances()) else { return };
    if instances.starts_with("/proc/self/fd") {
        skip("tracefs is not mounted: what another process's mount of its own shows is not looked at");
        return;
    }
    let in_namespace = |program: &Path, arguments: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "--"]).arg(program).args(arguments).output()
    };
    if !in_namespace(Path::new("true"), &[]).is_ok_and(|ran| ran.status.success()) {
        skip("no PID namespaces here (unshare)");
        return;
    }
    let (outside, its_own) = long_trace(&instances);
    let inside = in_namespace(binary(), &["trace", "--vcpus", "2", "--route", "xapic", "--rounds", "5"]);
    let lives = its_own.is_dir();
    send(Signal::INT, &outside);
    assert_eq!(outside.finish().status, Some(130));
    let inside = inside.expect("unshare is here");
    assert!(lives && inside.status.success(), "{} is gone, or {inside:?}", its_own.display());
}
