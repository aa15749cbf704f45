//! Calls on real vCPUs whose participants sleep while they wait.

use guest_stub::abi::{Destination, TargetState, Wait, Worker};
use kipi::config::routes::{self, Route};
use kipi::config::{self, CellId};
use kipi::events::recording::Recording;
use kipi::events::samples::Block;
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::session::{Error, GivenUp, Limits, Session};
use kipi::results::source::Source;
use kipi::vm::Hypervisor;
use kipi_tests::{HANG, document, hypervisor, kipi, machine, machine_of, run_tests, test, turn};
use serde_json::Value;
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

fn boot(hypervisor: &Hypervisor, vcpus: usize, deadline: Duration) -> Session<'static> {
    let limits = Limits { deadline, settle: Duration::from_micros(100) };
    kipi_tests::boot(hypervisor, &machine(vcpus), limits)
}

fn spec(route: Route, target_state: TargetState, vcpus: usize) -> BlockSpec {
    let cell = CellId::broadcast(route, Destination::AllButSelf, target_state, vcpus);
    let (worker, recording) = (Worker::Stamp, Recording::COUNTS);
    let cell = CellId { wait: Wait::Park, ..cell };
    BlockSpec { cell, initiator: 0, worker, argument: 7, recording, warmup: 0, rounds: 5 }
}

fn run(session: &mut Session<'_>, spec: &BlockSpec) -> Block {
    let block = blocks::run(session, spec, None).unwrap_or_else(|error| panic!("{spec:?}: {error}"));
    assert!(block.integrity.is_clean(), "{spec:?}: {:?}", block.integrity);
    block
}

/// Exits of a kind, of the initiator and of all targets.
fn exits(block: &Block, reason: &str) -> [u64; 2] {
    let count = block.exits.get(&(Source::Vmm, reason.to_owned()));
    count.map_or([0, 0], |count| [count.initiator, count.targets])
}

#[test]
fn halted_targets_leave_the_guest_once_a_call_and_the_initiator_twice() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut session = boot(&hypervisor, 3, HANG / 4);
    let spec = spec(routes::usual(hypervisor.offers()), TargetState::Halt, 3);
    // In a call whose targets have all arrived before the initiator looks, it has nobody to wait for: of five, that can be all.
    let spec = BlockSpec { rounds: 100, ..spec };
    let block = run(&mut session, &spec);
    let calls = spec.rounds as u64;
    let [initiator, targets] = exits(&block, "park");
    // A sleep that the machine's other work makes longer than a few seconds is one more.
    assert!((1..=2 * calls).contains(&initiator), "who comes last is not waited for: {initiator}");
    assert!((1..=2 * calls).contains(&targets), "a target that finds the gate open does not sleep: {targets}");
    let [woke, last] = exits(&block, "unpark");
    assert_eq!((woke, last), (2 * calls, 2 * calls), "the initiator opens and closes, the last arrives and ends");
}

#[test]
fn participants_park_on_every_route() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    for route in routes::those(|route| !route.is_native()) {
        let parked = spec(route, TargetState::Spin, 2);
        if config::refuse(&parked.cell, hypervisor.offers()).is_some() {
            continue;
        }
        let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
        let mut session = kipi_tests::boot(&hypervisor, &machine_of(route, 2), limits);
        // The guest goes from one wait to the other and back.
        for wait in [Wait::Park, Wait::Spin, Wait::Park] {
            let spec = BlockSpec { cell: CellId { wait, ..parked.cell }, ..parked };
            let block = run(&mut session, &spec);
            assert_eq!(block.rounds.len(), spec.rounds, "{}", route.name());
            let [initiator, targets] = exits(&block, "park");
            assert_eq!(initiator + targets > 0, wait == Wait::Park, "{}, {}", route.name(), wait.name());
        }
    }
}

#[test]
fn many_more_vcpus_than_cpus_park() {
    const VCPUS: usize = 60;
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut session = boot(&hypervisor, VCPUS, HANG / 2);
    let spec = spec(routes::usual(hypervisor.offers()), TargetState::Halt, VCPUS);
    assert_eq!(run(&mut session, &spec).exit_calls, spec.rounds as u64);
}

#[test]
fn a_silent_target_is_named_while_the_others_sleep() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut session = boot(&hypervisor, 3, Duration::from_millis(400));
    session.vm().pause(2);
    let spec = spec(routes::usual(hypervisor.offers()), TargetState::Halt, 3);
    let error = blocks::run(&mut session, &spec, None).expect_err("vCPU 2 is out of the guest");
    let missing = match error {
        Error::GivenUp(given_up) => {
            let GivenUp { diagnosis, .. } = *given_up;
            diagnosis.missing
        }
        Error::Silent(diagnosis) => diagnosis.missing,
        other => panic!("{other}"),
    };
    assert_eq!(missing, [2]);
}

#[test]
fn both_waits_are_measured_and_a_document_says_which_is_which() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let arguments = ["--vcpus", "2,4", "--route", "xapic", "--target-state", "halt", "--observe", "guest"];
    let more = ["--wait", "spin,park", "--rounds", "5", "--boots", "1", "--json", "-"];
    let ran = kipi(arguments.iter().chain(&more).chain(&["--references", "none", "--native", "none"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let document = document(&ran.stdout);
    let cells = document["cells"].as_array().expect("cells");
    let waits: Vec<&Value> = cells.iter().map(|cell| &cell["wait"]).collect();
    assert_eq!(waits, [&Value::Null, &"park".into(), &Value::Null, &"park".into()], "the default is left out");
    assert_eq!(document["config"]["waits"], serde_json::json!(["spin", "park"]));
    for machine in document["instruments"].as_array().expect("machines") {
        for floor in ["park_floor_ns", "instruction_ns"] {
            assert!(machine[floor]["p50"].as_f64().is_some_and(|ns| ns > 0.0), "{floor}: {machine}");
        }
        assert!(machine["up_ns"].as_f64().is_some_and(|ns| ns > 0.0), "{machine}");
    }
}

#[test]
fn a_ping_that_is_to_park_is_refused_with_a_way_out() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let ran = kipi(["--call", "ping", "--wait", "park", "--route", "xapic", "--vcpus", "2"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("waits for nobody") && ran.stderr.contains("--wait spin"), "{}", ran.stderr);
}
