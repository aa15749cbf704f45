//! NMIs: broadcast calls for processors that have interrupts off, and the watchdog's question.
//!
//! An NMI comes at any point, while an interrupt is being served too. It has a stack, requests and stamps of its own.

use super::target;
use crate::bugcheck;
use crate::cpu::frame::Frame;
use crate::cpu::tsc;
use crate::halting;
use crate::interrupts;
use crate::processor::{self, Private};
use crate::states;
use guest_stub::rendezvous::{Delivery, LEAST_GRACE, Packet, Served};

interrupts::nmi_entries! { nmi_entry => nmi }

extern "sysv64" fn nmi(frame: &mut Frame) {
    let a = tsc::stamp().value();
    let private = processor::current();
    match target::serve(private, Delivery::Nmi) {
        (Served::Ran(generation, result), [w, x]) => {
            private.record_served(generation, [a, w, x], result, states::evidence(frame));
        }
        (Served::Late, _) => {}
        (Served::Nothing, _) => unrequested(private, frame),
    }
    halting::skip_halt(frame);
}

/// An NMI that no call asked for: the VMM's watchdog asks so whether a worker overstays its deadline here.
pub(super) fn unrequested(private: &'static Private, frame: &Frame) {
    let is_over = |packet: &Packet| tsc::now() > packet.deadline().saturating_add(LEAST_GRACE);
    let overdue = private.slot.packet().is_some_and(is_over);
    if overdue && private.in_worker() {
        bugcheck::overstayed_at(frame.rip);
    }
    private.count(|tally| &mut tally.strange_nmis);
}
