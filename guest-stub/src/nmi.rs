//! NMIs: broadcast calls for processors that have interrupts off, and the watchdog's question.
//!
//! An NMI comes at any point, while an interrupt is being served too. It has a stack, requests and stamps of its own.

use crate::bugcheck;
use crate::interrupt::{self, Frame};
use crate::irql;
use crate::processor::{self, Private};
use crate::state;
use crate::tsc;
use crate::workers;
use core::arch::global_asm;
use core::cell::Cell;
use core::sync::atomic::Ordering;
use guest_stub::rendezvous::{self, Delivery, Served, Target, Work};

unsafe extern "C" {
    pub(crate) fn nmi_entry();
}

// NMIs are blocked until the IRETQ (SDM Vol. 3A 7.7.1); an exception before it would end in a bug check.
global_asm!(
    "nmi_entry:",
    "push rax",
    "push rdx",
    "push rcx",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "lea rdi, [rsp + {saved}]",
    "call {nmi}",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rcx",
    "pop rdx",
    "pop rax",
    "iretq",
    saved = const 9 * 8,
    nmi = sym nmi,
);

extern "sysv64" fn nmi(frame: &mut Frame) {
    let a = tsc::stamp().value();
    let private = processor::current();
    let before = irql::current();
    let target = ByNmi { private, w: Cell::new(0), x: Cell::new(0) };
    match rendezvous::serve(&target, private.slot, Delivery::Nmi) {
        Served::Ran(_, result) => {
            crate::ipi::check_restored(private);
            let stamps = [a, target.w.get(), target.x.get()];
            interrupt::record(private, Delivery::Nmi, stamps, result, interrupt::interrupted_flags(frame));
        }
        Served::Late => private.late.store(private.late.load(Ordering::Relaxed) + 1, Ordering::Relaxed),
        Served::Nothing => strange(private, frame),
    }
    irql::set(before);
    state::skip_halt(frame);
}

/// An NMI that no call asked for: the VMM's watchdog asks so whether a worker overstays its deadline here.
fn strange(private: &'static Private, frame: &Frame) {
    let overdue = private.slot.packet().is_some_and(|packet| tsc::now() > packet.deadline());
    if overdue && private.in_worker() {
        bugcheck::overstayed_at(frame.rip);
    }
    private.count(|tally| &mut tally.strange_nmis);
}

struct ByNmi {
    private: &'static Private,
    w: Cell<u64>,
    x: Cell<u64>,
}

impl Target for ByNmi {
    fn raise(&self) {
        irql::set(irql::IPI);
    }

    fn wait(&self, deadline: u64, holds: impl Fn() -> bool) -> bool {
        tsc::poll_until(deadline, holds)
    }

    fn work(&self, work: Work) -> usize {
        debug_assert!(self.private.in_worker());
        self.w.set(tsc::stamp_after_loads().value());
        let result = workers::run(work);
        self.x.set(tsc::stamp_after_loads().value());
        result
    }
}
