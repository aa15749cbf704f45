//! Pings on real vCPUs: what a round of a mesh is, what is left of it when a ping is lost, whose clocks a ping compares, and which
//! cells of pings there are by default.

use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::Route;
use kipi::config::{Call, CellId};
use kipi::events::recording::Recording;
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::session::{Error, Limits};
use kipi_tests::{boot, document, hypervisor, kipi, machine, run_tests, test, turn};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

const VCPUS: usize = 3;
const ROUNDS: usize = 10;

/// A mesh whose pings the VMM sends, which can lose them.
const MESH: BlockSpec = BlockSpec {
    cell: CellId { call: Call::Ping, ..CellId::broadcast(Route::Msi, Destination::Mesh, TargetState::Spin, VCPUS) },
    initiator: 0,
    worker: Worker::Stamp,
    argument: 0,
    recording: Recording::COUNTS,
    warmup: 0,
    rounds: ROUNDS,
};

#[test]
fn a_ping_that_is_lost_in_a_mesh_is_given_up_whoever_sent_it() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let limits = Limits { deadline: Duration::from_millis(400), settle: Duration::ZERO };
    for sender in 0..VCPUS {
        for lost in [0, 3, ROUNDS - 1] {
            let mut session = boot(&hypervisor, &machine(VCPUS), limits);
            session.vm().hooks().lose_messages(sender, u32::try_from(lost).expect("a round"));
            let context = format!("vCPU {sender}'s ping of round {lost}");
            let Err(Error::GivenUp(given_up)) = blocks::run(&mut session, &MESH, None) else { panic!("{context}") };
            assert_eq!(given_up.diagnosis.missing, [(sender + 1) % VCPUS], "{context}: {}", given_up.diagnosis);
            assert_eq!(given_up.block.integrity.timed_out, 1, "{context}");
            assert_eq!(given_up.block.rounds.len(), lost * VCPUS, "{context}");
            assert_eq!(given_up.block.whole_rounds(), lost as u64, "{context}");
        }
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no count: {value}"))
}

const MESH_OPTIONS: [&str; 8] = ["--call", "ping", "--destination", "mesh", "--route", "xapic", "--vcpus", "3"];

#[test]
fn a_round_of_a_mesh_is_a_ping_of_each_vcpu_wherever_rounds_are_counted() {
    let Some(_) = hypervisor() else { return };
    let _turn = turn();
    let of_measure = ["--rounds", "20", "--references", "none"];
    let ran = kipi(MESH_OPTIONS.iter().chain(&of_measure).chain(&["--json", "-"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let cell = &document(&ran.stdout)["cells"][0];
    assert_eq!((number(&cell["rounds_asked"]), number(&cell["breakdown"]["rounds"])), (20, number(&cell["rounds"])));
    let blocks = cell["blocks"].as_array().expect("blocks");
    let quiet = blocks.iter().filter(|block| block["disturbances"].as_array().is_some_and(Vec::is_empty));
    let rounds: u64 = quiet.map(|block| number(&block["rounds"])).sum();
    assert!(cell["never_quiet"] == true || number(&cell["rounds"]) == rounds, "{cell}");
    assert_eq!(number(&cell["metrics"]["round_trip"]["n"]), 3 * number(&cell["rounds"]), "a ping has one");

    let ran = kipi(MESH_OPTIONS.iter().chain(&of_measure).chain(&["--csv", "-"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split(',').collect()).collect();
    let column = |name| lines[0].iter().position(|&it| it == name).expect("a column");
    // A block that was measured again has the number of the one that it replaces, and another boot.
    let round_of = |row: &[&str]| ["boot", "block", "round"].map(|name| row[column(name)].to_owned());
    let rounds: BTreeSet<_> = lines[1..].iter().map(|row| round_of(row)).collect();
    let generation = column("generation");
    let pings: BTreeSet<_> = lines[1..].iter().map(|row| (round_of(row), row[generation])).collect();
    assert!(rounds.len() >= 20 && pings.len() == 3 * rounds.len(), "{rounds:?}: {} pings", pings.len());
    assert_eq!(lines.len() - 1, 2 * pings.len(), "a sender and a target each");
    assert!(rounds.iter().all(|[.., round]| round.parse::<u64>().is_ok_and(|it| it < 20)), "{rounds:?}");

    let ran = kipi(["trace", "--rounds", "4"].iter().chain(&MESH_OPTIONS));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("4 of 4 rounds"), "{}", ran.stdout);
    let ran = kipi(MESH_OPTIONS.iter().chain(&of_measure));
    // On a machine that was never quiet, those of the blocks that were measured again are among them.
    let says = |rounds: usize| {
        let has = |text: String| ran.stdout.contains(&text);
        has(format!("{rounds} rounds")) && has(format!("ok: none of {} pings", 3 * rounds))
    };
    assert!((20..=40).any(says), "{}", ran.stdout);
}

#[test]
fn a_vcpus_ping_of_itself_compares_stamps_of_one_clock() {
    let Some(_) = hypervisor() else { return };
    let _turn = turn();
    let options = ["--call", "ping", "--destination", "self,unicast", "--route", "xapic", "--vcpus", "2"];
    let ran =
        kipi(options.iter().chain(&["--target-state", "spin", "--rounds", "20", "--trace", "vmm", "--json", "-"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let document = document(&ran.stdout);
    for (cell, destination, has_one_clock) in [(0, "self", true), (1, "unicast", false)] {
        let cell = &document["cells"][cell];
        let error = cell["metrics"]["delivery"]["clock_error"].as_f64().expect("the clocks were compared");
        assert_eq!((cell["destination"].as_str(), error == 0.0), (Some(destination), has_one_clock), "{cell}");
    }
    let ran = kipi(["--call", "ping", "--destination", "self", "--route", "xapic", "--rounds", "20"]);
    assert!(ran.stdout.contains("ε = 0: the stamps that are compared are of one clock"), "{}", ran.stdout);
}

#[test]
fn each_call_of_each_destination_is_there_by_default_or_refused_with_the_way_out() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    for call in Call::ALL {
        for destination in Destination::ALL {
            let cell = ["--call", call.name(), "--destination", destination.name()];
            let of_x2apic = !hypervisor.offers_x2apic() && *destination == Destination::SelfIpi;
            let can_be = !of_x2apic
                && match call {
                    Call::Broadcast => destination.is_of_broadcasts(),
                    Call::Ping => *destination == Destination::Unicast || !destination.is_of_broadcasts(),
                };
            let measure: &[&str] = &["measure", "--rounds", "1", "--references", "none"];
            for command in [measure, &["trace"]] {
                let ran = kipi(command.iter().chain(&cell));
                if can_be {
                    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{command:?} {cell:?}: {ran:?}");
                } else {
                    assert_eq!(ran.status, Some(2), "{command:?} {cell:?}: {ran:?}");
                    assert!(ran.complaint().contains("(pass --"), "{command:?} {cell:?}: {ran:?}");
                }
            }
        }
    }
}
