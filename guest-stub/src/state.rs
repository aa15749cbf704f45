//! What targets do between the interrupts: the target states, and the poll loop of the `memory` route.

use crate::interrupt;
use crate::irql;
use crate::processor::{PACKET, Private, UserWords};
use crate::tsc;
use crate::user;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{Destination, MAX_VCPUS, Route, TargetState};
use guest_stub::rendezvous::{Decision, Generation};

/// A line that a polling target watches.
#[repr(align(128))]
pub(crate) struct Bell(AtomicU32);

/// The bells of the `memory` route: a unicast rings each target's own, a broadcast the first for all.
pub(crate) static BELLS: [Bell; MAX_VCPUS] = [const { Bell(AtomicU32::new(0)) }; MAX_VCPUS];

impl Bell {
    /// Announces `generation`.
    #[inline]
    pub(crate) fn ring(&self, generation: Generation) {
        // Release pairs with `heard`: the packet and the request come first.
        self.0.store(generation.get(), Ordering::Release);
    }

    #[inline]
    fn heard(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

/// Stays in the state until vCPU 0 says stop. Interrupts are on while it lasts.
pub(crate) fn stay(private: &'static Private, route: Route, destination: Destination, state: TargetState) {
    let words = private.user_page();
    match (route, state) {
        (Route::Memory, _) => {
            let bell = if destination == Destination::Unicast { private.index } else { 0 };
            poll(private, &BELLS[bell]);
        }
        (_, TargetState::Spin) => spin(words),
        (_, TargetState::User) => user::spin(private),
        (_, TargetState::Halt) => {
            // SAFETY: `halt_loop` is the function below, of this signature; the words live as long as the guest.
            unsafe { halt_loop(words.address()) }
        }
    }
}

fn spin(words: UserWords) {
    while words.stop().load(Ordering::Relaxed) == 0 {
        words.ready().store(words.handled().load(Ordering::Relaxed), Ordering::Release);
        core::hint::spin_loop();
    }
}

unsafe extern "sysv64" {
    fn halt_loop(words: *mut guest_stub::abi::UserPage);
    /// Called with IF clear: sets it and halts until an interrupt has been served.
    fn wait_for_interrupt();
    /// The HLT: where an interrupt that was taken before it would return to. Not a function.
    pub(crate) fn halt_instruction();
    /// The instruction after the HLT: what an interrupt that ended it returns to. Not a function.
    pub(crate) fn halt_resume();
}

// The one HLT that waits for something. Interrupts are off from the caller's look at what it waits for until here, and
// STI takes effect after the instruction that follows it (SDM Vol. 2B, STI), so that no interrupt comes between the
// decision to halt and the HLT. Where one does all the same, its handler skips the HLT (`interrupt::leave`).
global_asm!(
    "wait_for_interrupt:",
    "sti",
    ".global halt_instruction",
    "halt_instruction:",
    "hlt",
    ".global halt_resume",
    "halt_resume:",
    "ret",
);

global_asm!(
    ".global halt_loop",
    "halt_loop:",
    "2:",
    "cli",
    "mov eax, [rdi + {handled}]",
    "mov [rdi + {ready}], eax",
    "cmp dword ptr [rdi + {stop}], 0",
    "jne 3f",
    "call wait_for_interrupt",
    "jmp 2b",
    "3:",
    "sti",
    "ret",
    handled = const core::mem::offset_of!(guest_stub::abi::UserPage, handled),
    ready = const core::mem::offset_of!(guest_stub::abi::UserPage, ready),
    stop = const core::mem::offset_of!(guest_stub::abi::UserPage, stop),
);

/// The `memory` route's target: polls its bell at CPL0 and serves what it announces, as the interrupt would.
fn poll(private: &'static Private, bell: &Bell) {
    let words = private.user_page();
    let mut seen = bell.heard();
    words.ready().store(private.handled.load(Ordering::Relaxed), Ordering::Release);
    loop {
        let heard = bell.heard();
        if heard != seen {
            seen = heard;
            serve_polled(private);
            words.ready().store(private.handled.load(Ordering::Relaxed), Ordering::Release);
        } else if words.stop().load(Ordering::Relaxed) != 0 {
            return;
        }
    }
}

fn serve_polled(private: &'static Private) {
    let a = tsc::stamp();
    let Some(generation) = private.slot.claim() else { return };
    let before = irql::current();
    irql::set(irql::IPI);
    let (worker, argument) = PACKET.work();
    private.slot.arrive(generation);
    if !tsc::poll_until(PACKET.deadline(), || PACKET.decision(generation) != Decision::Pending) {
        PACKET.abort(generation);
    }
    if PACKET.decision(generation) == Decision::Go {
        // SAFETY: the packet's worker is one of `workers`, published as a number by `ipi::run`.
        let worker: crate::workers::WorkerFn = unsafe { core::mem::transmute(worker) };
        let w = tsc::stamp_after_loads();
        let result = worker(argument);
        let x = tsc::stamp_after_loads();
        private.slot.complete(generation, result);
        private.a.store(a.value(), Ordering::Relaxed);
        private.w.store(w.value(), Ordering::Relaxed);
        private.x.store(x.value(), Ordering::Relaxed);
        irql::set(before);
        interrupt::record(private, result, 0);
    } else {
        irql::set(before);
        private.late.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sleeps until `word` differs from `seen`. Whoever changes it sends a wake-up interrupt after it.
pub(crate) fn sleep_until_changed(word: &AtomicU32, seen: u32) -> u32 {
    loop {
        // SAFETY: IF is set again before this function returns.
        unsafe { asm!("cli", options(nostack)) };
        // Acquire pairs with the Release of the announcement: the command comes with it.
        let value = word.load(Ordering::Acquire);
        if value != seen {
            // SAFETY: as above.
            unsafe { asm!("sti", options(nostack)) };
            return value;
        }
        // SAFETY: IF is clear, and the function keeps to the calling convention it is declared with.
        unsafe { wait_for_interrupt() };
    }
}
