//! Calls in steps, each of which is an exit to the VMM, which may keep the processor there for a while.

use crate::call::{parked, target};
use crate::cpu::{irql, port};
use crate::interrupts;
use crate::processor::Private;
use guest_stub::abi::{self, CallStep};
use guest_stub::rendezvous::{Delivery, Served, Step};

interrupts::entries! { stepped_entry => stepped, parked_stepped_entry => parked_stepped }

/// A step has been taken.
pub(crate) fn step(step: CallStep) {
    port::write(abi::PORT_STEP, step as u32);
}

/// The step of a target as the VMM numbers it.
fn call_step(step: Step) -> CallStep {
    match step {
        Step::Entered => CallStep::Entered,
        Step::Claimed => CallStep::Claimed,
        Step::Arrived => CallStep::Arrived,
        Step::Released => CallStep::Released,
        Step::Worked => CallStep::Worked,
        Step::Completed => CallStep::Completed,
    }
}

/// A target's side of a stepped call: as the broadcast vector's entry, with an exit after each step.
extern "sysv64" fn stepped(private: &'static Private) {
    let before = irql::current();
    // So that it is not lowered before the EOI.
    irql::set(irql::IPI);
    let (served, _) = target::serve_in_steps(private, Delivery::Interrupt, |reached| step(call_step(reached)));
    leave(private, served, before);
}

/// As [`stepped`], where participants sleep while they wait.
extern "sysv64" fn parked_stepped(private: &'static Private) {
    let before = irql::current();
    irql::set(irql::IPI);
    let reached = |reached| step(call_step(reached));
    let (served, _) = parked::serve_in_steps(private, Delivery::Interrupt, false, reached);
    leave(private, served, before);
}

fn leave(private: &'static Private, served: Served, irql: u64) {
    if served == Served::Nothing {
        private.count_duplicate();
    }
    interrupts::leave_and_lower(private, irql);
}
