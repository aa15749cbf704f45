//! What targets do between the interrupts: the target states, and the poll loop of the `memory` route.

use crate::interrupt::{self, Frame};
use crate::processor::{Private, UserWords};
use crate::serve;
use crate::tsc;
use crate::user;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{Destination, GuestRoute as Route, MAX_VCPUS, TargetState};
use guest_stub::rendezvous::{Delivery, Generation, Served};

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
        (_, TargetState::Masked) => masked(words),
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

/// Busy with interrupts off.
fn masked(words: UserWords) {
    // SAFETY: IF is set again below; nothing but an NMI comes until then.
    unsafe { asm!("cli", options(nostack)) };
    spin(words);
    // SAFETY: as above.
    unsafe { asm!("sti", options(nostack)) };
}

unsafe extern "sysv64" {
    fn halt_loop(words: *mut guest_stub::abi::UserPage);
    fn sleep_loop(word: *const AtomicU32, seen: u32) -> u32;
}

unsafe extern "C" {
    /// From the look at what is waited for to the HLT, which is the last instruction; then what follows it. Not functions.
    fn halt_check();
    fn halt_instruction();
    fn halt_resume();
    fn sleep_check();
    fn sleep_instruction();
    fn sleep_resume();
}

// Interrupts are off from the look at what is waited for until the HLT: STI takes effect after the instruction that
// follows it (SDM Vol. 2B, STI), so that no interrupt comes between the decision to halt and the HLT. For what comes all
// the same, see `skip_halt`.
global_asm!(
    ".global halt_check",
    ".global halt_instruction",
    ".global halt_resume",
    "halt_loop:",
    "2:",
    "cli",
    "halt_check:",
    "mov eax, [rdi + {handled}]",
    "mov [rdi + {ready}], eax",
    "cmp dword ptr [rdi + {stop}], 0",
    "jne 3f",
    "sti",
    "halt_instruction:",
    "hlt",
    "halt_resume:",
    "jmp 2b",
    "3:",
    "sti",
    "ret",
    "sleep_loop:",
    "4:",
    "cli",
    "sleep_check:",
    "mov eax, [rdi]",
    "cmp eax, esi",
    "jne 5f",
    "sti",
    "sleep_instruction:",
    "hlt",
    "sleep_resume:",
    "jmp 4b",
    "5:",
    "sti",
    "ret",
    handled = const core::mem::offset_of!(guest_stub::abi::UserPage, handled),
    ready = const core::mem::offset_of!(guest_stub::abi::UserPage, ready),
    stop = const core::mem::offset_of!(guest_stub::abi::UserPage, stop),
);

fn address(label: unsafe extern "C" fn()) -> u64 {
    label as *const () as u64
}

/// Whether an interrupt that returns to `rip` has ended the HLT of target state `halt`.
pub(crate) fn is_halt(rip: u64) -> bool {
    rip == address(halt_resume)
}

/// A handler's last act: who was interrupted between the look at what it waits for and the HLT looks again, since the HLT
/// would sleep through what this interrupt has brought.
///
/// An NMI comes there whenever it likes. An interrupt does not, but for one right before the HLT on an emulated processor
/// that loses the shadow of STI on an exit (QEMU 7.2's SVM stores it in the VMCB on #VMEXIT, and does not load it on
/// VMRUN).
pub(crate) fn skip_halt(frame: &mut Frame) {
    if (address(halt_check)..=address(halt_instruction)).contains(&frame.rip) {
        frame.rip = address(halt_resume);
    } else if (address(sleep_check)..=address(sleep_instruction)).contains(&frame.rip) {
        frame.rip = address(sleep_resume);
    }
}

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

/// Serves what a bell has announced, or nothing. Interrupts are on: `stay` and `ipi::broadcast` see to it.
pub(crate) fn serve_polled(private: &'static Private) {
    let a = tsc::stamp().value();
    match serve::serve(private, Delivery::Interrupt, false) {
        (Served::Ran(_, result), [w, x]) => interrupt::record(private, Delivery::Interrupt, [a, w, x], result, 0),
        (Served::Late, _) => {}
        (Served::Nothing, _) => return,
    }
    // SAFETY: interrupts were on before.
    unsafe { asm!("sti", options(nostack)) };
}

/// Sleeps until `word` differs from `seen`. Whoever changes it sends a wake-up interrupt after it.
pub(crate) fn sleep_until_changed(word: &AtomicU32, seen: u32) -> u32 {
    // SAFETY: the function is the one above, of this signature; the word outlives the call.
    unsafe { sleep_loop(word, seen) };
    // Acquire pairs with the Release of the announcement: the command comes with it.
    word.load(Ordering::Acquire)
}
