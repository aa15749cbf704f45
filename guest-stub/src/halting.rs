//! Waiting in HLT for a word in memory, without sleeping through the interrupt that changes it.

use crate::cpu::frame::Frame;
use crate::processor::UserWords;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};

unsafe extern "sysv64" {
    fn halt_loop(words: *mut guest_stub::abi::UserPage);
    fn sleep_loop(word: *const AtomicU32, seen: u32) -> u32;
}

unsafe extern "C" {
    /// From the HLT's stamp, or the look at what is waited for, to the HLT, which is the last instruction; then what follows it.
    /// Not functions.
    fn halt_block();
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
//
// Both loops lie in one block of BLOCK bytes (.org fails if they do not): most interrupts come from elsewhere, and see that at once.
//
// The stamp of the HLT comes before the word that says that this processor is ready: whoever sends when it has seen the word
// for some time has halted it for no less. Whatever ends a HLT, the next one has a stamp of its own.
global_asm!(
    ".global halt_check",
    ".global halt_instruction",
    ".global halt_resume",
    ".balign {block}",
    "halt_block:",
    "halt_loop:",
    "2:",
    "cli",
    "halt_check:",
    "rdtsc",
    "mov [rdi + {halted}], eax",
    "mov [rdi + {halted} + 4], edx",
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
    ".org halt_block + {block}",
    block = const BLOCK,
    halted = const core::mem::offset_of!(guest_stub::abi::UserPage, halted),
    handled = const core::mem::offset_of!(guest_stub::abi::UserPage, handled),
    ready = const core::mem::offset_of!(guest_stub::abi::UserPage, ready),
    stop = const core::mem::offset_of!(guest_stub::abi::UserPage, stop),
);

/// The size of the block of code that the HLTs lie in, and its alignment.
const BLOCK: u64 = 64;

fn address(label: unsafe extern "C" fn()) -> u64 {
    label as *const () as u64
}

/// Whether an interrupt that returns to `rip` has come in a HLT or on the way to it. All others need not be asked more.
#[inline]
pub(crate) fn is_near_halt(rip: u64) -> bool {
    rip & !(BLOCK - 1) == address(halt_block)
}

/// Whether an interrupt that returns to `rip` has ended the HLT of [`halt_until_stopped`].
#[inline]
pub(crate) fn is_halt(rip: u64) -> bool {
    rip == address(halt_resume)
}

/// A handler's last act: who was interrupted between the look at what it waits for and the HLT looks again, since the HLT
/// would sleep through what this interrupt has brought.
///
/// An NMI comes there whenever it likes. An interrupt does not, but for one right before the HLT on an emulated processor
/// that loses the shadow of STI on an exit (QEMU 7.2's SVM stores it in the VMCB on #VMEXIT, and does not load it on
/// VMRUN).
#[inline]
pub(crate) fn skip_halt(frame: &mut Frame) {
    // Mostly it was interrupted elsewhere, or in HLT.
    if is_near_halt(frame.rip) && !is_halt(frame.rip) {
        skip(frame);
    }
}

#[cold]
fn skip(frame: &mut Frame) {
    if (address(halt_check)..=address(halt_instruction)).contains(&frame.rip) {
        frame.rip = address(halt_resume);
    } else if (address(sleep_check)..=address(sleep_instruction)).contains(&frame.rip) {
        frame.rip = address(sleep_resume);
    }
}

/// Halts again and again until the processor whose words these are is told to stop, and says each time that it is ready.
pub(crate) fn halt_until_stopped(words: UserWords) {
    // SAFETY: the function is the one above, of this signature; the words live as long as the guest.
    unsafe { halt_loop(words.address()) };
}

/// Sleeps until `word` differs from `seen`. Whoever changes it sends a wake-up interrupt after it.
pub(crate) fn sleep_until_changed(word: &AtomicU32, seen: u32) -> u32 {
    // SAFETY: the function is the one above, of this signature; the word outlives the call.
    unsafe { sleep_loop(word, seen) };
    // Acquire pairs with the Release of the announcement: the command comes with it.
    word.load(Ordering::Acquire)
}
