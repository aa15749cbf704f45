//! Situations that broadcast calls go wrong in: one list of them, and a file for each kind.

mod absent;
mod devices;
mod hypercalls;
mod injected;
mod parked;
mod participants;

use super::contract::first_broken;
use super::{DEADLINE, Detail, Suite, Verdict};
use crate::config::LocalApics;
use crate::config::routes::{ApicMode, Delivery, Route, Spec};
use crate::guest::calls::{Calls, CallsSpec, Timer};
use crate::results::count::count;
use guest_stub::abi::{Set, TargetState, Wait};

pub(super) use injected::but_for_duplicates;

/// A situation.
#[derive(Debug)]
pub struct Trap {
    /// Its name in output.
    pub name: &'static str,
    /// Whether it can happen on a route.
    pub happens_on: fn(&Spec) -> bool,
    /// Puts broadcast calls into it, which are made as the specification says but for what belongs to the situation.
    run: fn(&Suite<'_>, CallsSpec) -> Result<Detail, Verdict>,
}

const fn trap(
    name: &'static str,
    happens_on: fn(&Spec) -> bool,
    run: fn(&Suite<'_>, CallsSpec) -> Result<Detail, Verdict>,
) -> Trap {
    Trap { name, happens_on, run }
}

/// Every situation, in the order in which they are tried.
#[rustfmt::skip]
pub const ALL: &[Trap] = &[
    // A target is called again before its EOI.
    trap("back-to-back", Spec::interrupts, |suite, spec| contract(suite, &CallsSpec { calls: 100, ..spec })),
    trap("generation-wrap", Spec::interrupts, |suite, spec| contract(suite, &CallsSpec { last_generation: Some(u32::MAX - 39), ..spec })),
    trap("spurious-ipis", is_fixed, injected::spurious_ipis),
    trap("device-in-worker", Spec::interrupts, devices::device_in_worker),
    trap("periodic-timer", Spec::decides_mode, |suite, spec| devices::timer(suite, Timer::Periodic(devices::PERIOD), spec)),
    trap("tsc-deadline-timer", has_own_timer, |suite, spec| devices::timer(suite, Timer::Deadline(devices::PERIOD), spec)),
    trap("nmis", Spec::interrupts, injected::nmis),
    trap("send-in-handler", is_xapic, injected::send_in_handler),
    trap("tpr-lowered-before-eoi", Spec::decides_mode, injected::lowers_tpr_before_eoi),
    trap("stopped-50ms-at-each-step", is_fixed_ipi, absent::stopped_at_each_step),
    trap("lost-ipi-is-resent", Spec::sends_from_guest, absent::lost_ipi),
    trap("silent-target-is-named", is_fixed, absent::silent_target),
    trap("latecomer-does-nothing", is_fixed_ipi, absent::latecomer),
    trap("phases", Spec::sends_from_guest, |suite, spec| contract(suite, &CallsSpec { phases: true, initiators: vec![0, 1], calls: 10, ..spec })),
    trap("called-random", Spec::interrupts, |suite, spec| contract(suite, &CallsSpec { set: Set::Random, ..spec })),
    trap("called-nobody", Spec::interrupts, |suite, spec| contract(suite, &CallsSpec { set: Set::Nobody, ..spec })),
    trap("called-itself", Spec::sends_from_guest, |suite, spec| contract(suite, &CallsSpec { set: Set::Itself, ..spec })),
    trap("mask-boundaries", Spec::interrupts, participants::mask_boundaries),
    trap("sparse-apic-ids", Spec::interrupts, participants::sparse_ids),
    trap("logical-clusters", Spec::sends_ipis, participants::logical_clusters),
    trap("hypercall-batches", Spec::makes_hypercalls, hypercalls::batches),
    trap("hypercall-refused", Spec::makes_hypercalls, hypercalls::refused),
    trap("2-initiators-everybody", Spec::interrupts, |suite, spec| participants::several_initiators(suite, 2, Set::Everybody, spec)),
    trap("2-initiators-overlapping", Spec::interrupts, |suite, spec| participants::several_initiators(suite, 2, Set::Overlapping, spec)),
    trap("2-initiators-disjoint", Spec::interrupts, |suite, spec| participants::several_initiators(suite, 2, Set::Disjoint, spec)),
    trap("2-initiators-random", Spec::interrupts, |suite, spec| participants::several_initiators(suite, 2, Set::Random, spec)),
    trap("4-initiators-everybody", Spec::interrupts, |suite, spec| participants::several_initiators(suite, 4, Set::Everybody, spec)),
    trap("4-initiators-overlapping", Spec::interrupts, |suite, spec| participants::several_initiators(suite, 4, Set::Overlapping, spec)),
    trap("4-initiators-disjoint", Spec::interrupts, |suite, spec| participants::several_initiators(suite, 4, Set::Disjoint, spec)),
    trap("4-initiators-random", Spec::interrupts, |suite, spec| participants::several_initiators(suite, 4, Set::Random, spec)),
    trap("1-vcpus", Spec::interrupts, |suite, spec| participants::size(suite, 1, spec)),
    trap("2-vcpus", Spec::interrupts, |suite, spec| participants::size(suite, 2, spec)),
    trap("64-vcpus", Spec::interrupts, |suite, spec| participants::size(suite, 64, spec)),
    trap("65-vcpus", Spec::interrupts, |suite, spec| participants::size(suite, 65, spec)),
    trap("128-vcpus", Spec::interrupts, |suite, spec| participants::size(suite, 128, spec)),
    trap("parked", |route| !route.is_native(), |suite, spec| parked::every_cell(suite, &spec)),
    trap("parked-lost-wake-ups", is_fixed, parked::lost_wake_ups),
    trap("parked-stopped-50ms-at-each-step", is_fixed_ipi, |suite, spec| absent::stopped_at_each_step(suite, parking(spec))),
    trap("parked-silent-target-is-named", is_fixed, |suite, spec| absent::silent_target(suite, parking(spec))),
    trap("parked-latecomer-does-nothing", is_fixed_ipi, |suite, spec| absent::latecomer(suite, parking(spec))),
    trap("parked-2-initiators-overlapping", Spec::interrupts, |suite, spec| participants::several_initiators(suite, 2, Set::Overlapping, parking(spec))),
    trap("parked-65-vcpus", Spec::interrupts, |suite, spec| participants::size(suite, 65, parking(spec))),
    trap("300-vcpus", Spec::interrupts, |suite, spec| participants::size(suite, 300, spec)),
];

/// The same calls, with participants that sleep while they wait.
fn parking(spec: CallsSpec) -> CallsSpec {
    CallsSpec { wait: Wait::Park, ..spec }
}

/// Interrupts have a vector, and are held back while IF is clear; an NMI has none, and is not.
fn is_fixed(route: &Spec) -> bool {
    route.delivery == Delivery::Fixed
}

/// The initiator is a vCPU, whose call has steps; the host's has none.
fn is_fixed_ipi(route: &Spec) -> bool {
    is_fixed(route) && route.sends_from_guest()
}

fn is_xapic(route: &Spec) -> bool {
    route.apic_mode == ApicMode::XApic
}

/// KVM's own local APIC has a capability and a CPUID bit for TSC deadlines, which kipi's guest has no other use for.
fn has_own_timer(route: &Spec) -> bool {
    route.decides_mode() && route.local_apics() == Some(LocalApics::User)
}

/// An initiator and two targets, so that one can wait for the other.
const VCPUS: usize = 3;

/// Puts broadcast calls over `route` into the situation.
pub(super) fn check(suite: &Suite<'_>, trap: &Trap, route: Route) -> Result<Detail, Verdict> {
    let spec = CallsSpec {
        route,
        target_state: TargetState::Halt,
        calls: 20,
        seed: suite.guest_seed(trap.name.len() as u64),
        deadline: DEADLINE,
        ..CallsSpec::default()
    };
    (trap.run)(suite, spec)
}

/// Whether calls kept the whole contract.
fn keeps_contract(calls: &Calls, spec: &CallsSpec) -> Result<(), Verdict> {
    first_broken(calls, spec)
}

fn counted(calls: &Calls) -> Detail {
    format!("{}, {}", count(calls.made, "call"), count(calls.sum(|tally| tally.runs), "worker"))
}

/// Undisturbed calls, which have to keep the whole contract.
fn contract(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let calls = suite.calls(VCPUS, spec)?;
    keeps_contract(&calls, spec)?;
    let wrong_phase = calls.sum(|tally| tally.wrong_phase);
    if wrong_phase > 0 {
        return Err(Verdict::Failed(format!(
            "{} began before everybody had ended the one before",
            count(wrong_phase, "phase")
        )));
    }
    Ok(counted(&calls))
}
