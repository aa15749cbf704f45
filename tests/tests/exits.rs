//! What single exits cost: every act on real vCPUs, and a measurement that asks for them.

use guest_stub::abi::act::Act;
use kipi::config::LocalApics;
use kipi::events::acts::{ActBlock, ActCounts, Acted};
use kipi::guest::acts;
use kipi::guest::session::Limits;
use kipi::results::exit_cost::ExitCost;
use kipi::results::measurement::Measurement;
use kipi::vm::VmConfig;
use kipi_tests::{HANG, boot, document, hypervisor, kipi, machine, run_tests, test, turn};
use std::collections::BTreeSet;
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// What both have counted of the same act.
fn least(one: ActCounts, other: ActCounts) -> ActCounts {
    ActCounts {
        exits: one.exits.min(other.exits),
        emulated: one.emulated.min(other.emulated),
        returns: one.returns.min(other.returns),
    }
}

/// What is true of an act wherever it can be done.
fn check(act: Act, block: &ActBlock, nothing: ActCounts, local_apics: LocalApics) {
    assert!(!block.cycles.is_empty() || act == Act::HltTimer, "{act:?}");
    // A guest's TSC does not go back, and a timer may come early.
    assert!(block.cycles.iter().all(|&cycles| cycles > 0 || act == Act::HltTimer), "{act:?}: {:?}", block.cycles);
    let returns = block.counts.returns.saturating_sub(nothing.returns);
    match (act, local_apics) {
        (Act::OutVmm | Act::InVmm | Act::ReadVmm, _) => assert!(returns >= 1, "{act:?} ends in the VMM"),
        (
            Act::ReadXApic | Act::IcrXApic | Act::IcrX2Apic | Act::EoiXApic | Act::EoiX2Apic | Act::Hlt,
            LocalApics::User,
        ) => {
            assert!(returns >= 1, "{act:?} ends in the VMM's local APIC");
        }
        // A signal of somebody else's may end a stay in the guest.
        (_, _) => assert!(returns <= 2, "{act:?} ends in KVM, if it exits: {returns}"),
    }
    if let (Some(exits), Some(emulated)) = (block.counts.exits, block.counts.emulated) {
        let of_nothing = nothing.exits.unwrap_or(0) + nothing.emulated.unwrap_or(0);
        let is_done_by_kvm = exits + emulated > of_nothing;
        // What no processor does for its guest by itself.
        assert!(
            is_done_by_kvm || !matches!(act, Act::Cpuid | Act::Wrmsr | Act::OutKvm | Act::OutVmm | Act::ReadVmm),
            "{act:?}"
        );
    }
}

#[test]
fn every_act_can_be_done_again_and_again_and_calls_go_on_afterwards() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    for local_apics in [LocalApics::Kernel, LocalApics::User] {
        let config = VmConfig { local_apics, ..machine(2) };
        let limits = Limits { deadline: HANG / 4, settle: Duration::from_micros(10) };
        let mut session = boot(&hypervisor, &config, limits);
        let mut run = |act| match acts::run(&mut session, act, 1, 5) {
            Ok(Acted::Done(block)) => Some(block),
            Ok(Acted::Absent(reason)) => {
                eprintln!("{local_apics:?}: {}: {reason}", act.name());
                None
            }
            Err(error) => panic!("{local_apics:?}: {}: {error}", act.name()),
        };
        // A host's interrupt may fall into the window of any of them.
        let nothing = (0..5).map(|_| run(Act::Nothing).expect("nothing can be done anywhere"));
        let nothing = nothing.map(|block| block.counts).reduce(least).expect("five of them");
        for _ in 0..2 {
            for &act in Act::ALL {
                if let Some(block) = run(act) {
                    check(act, &block, nothing, local_apics);
                }
            }
        }
    }
}

fn measured(arguments: &[&str]) -> Measurement {
    let common =
        ["measure", "--exits", "--vcpus", "2", "--observe", "guest", "--target-state", "user", "--rounds", "10"];
    let ran = kipi(common.iter().chain(arguments).chain(&["--json", "-"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    serde_json::from_value(document(&ran.stdout)).expect("a measurement")
}

#[test]
fn a_measurement_has_what_exits_cost_where_it_is_asked_for() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let found = measured(&["--route", "xapic"]);
    let acts: Vec<Act> = found.exit_costs.iter().map(|cost| cost.act).collect();
    assert_eq!(acts, Act::ALL);
    for ExitCost { act, cost, unavailable, given_up, missed, blocks, local_apic, vcpus, .. } in &found.exit_costs {
        assert_eq!((*local_apic, *vcpus), (LocalApics::Kernel, 2));
        assert_eq!(cost.is_none(), unavailable.is_some(), "{act:?}: {unavailable:?}");
        let turns: BTreeSet<u32> = found.cells[0].blocks.iter().map(|block| block.number).collect();
        // A slow host may miss all deadlines of a turn.
        let is_whole = *missed == 0 && given_up.is_none();
        assert!(cost.is_none() || !is_whole || blocks.len() == turns.len(), "{act:?} takes turns with the cells");
        assert!(blocks.len() <= turns.len() && (*missed == 0 || *act == Act::HltTimer), "{act:?}: {missed}");
    }
    let p50 = |act| found.exit_costs.iter().find(|cost| cost.act == act)?.cost.as_ref().map(|cost| cost.p50);
    assert!(p50(Act::OutVmm) > p50(Act::Nothing), "an exit takes longer than none");
}
