//! A broken rule stops the guest and says where: the first processor that finds one fills in the bug check.

use crate::cpu::frame::ExceptionFrame;
use crate::cpu::irql;
use crate::processor::{self, Private};
use crate::shared;
use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use guest_stub::abi::{self, BugCheck, MESSAGE_BYTES, PAGE, PAGEABLE, Rule};
use guest_stub::rendezvous::Generation;

static TAKEN: AtomicBool = AtomicBool::new(false);

const NO_GATE: u64 = 11;
const PAGE_FAULT: u64 = 14;
/// In a selector error code: the index is one of the IDT's (SDM Vol. 3A figure 7-6).
const ERROR_CODE_IDT: u64 = 1 << 1;

fn base(rule: Rule) -> BugCheck {
    let cr2: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack, preserves_flags)) };
    BugCheck {
        rule: rule as u32,
        vcpu: processor::current().index as u32,
        vector: 0,
        irql: irql::current() as u32,
        error_code: 0,
        rip: 0,
        rsp: 0,
        cr2,
        generation: processor::current().generation().get(),
        message_len: 0,
        message: [0; MESSAGE_BYTES],
    }
}

/// Stops for good. The VMM ends the run at the port write.
fn stop(bug: &BugCheck) -> ! {
    // Relaxed: nothing is passed between processors but who is first.
    if !TAKEN.swap(true, Ordering::Relaxed) {
        // SAFETY: the command page is mapped, and this part is written here alone, once.
        unsafe { shared::bug_check().write_volatile(*bug) };
        shared::ring(abi::PORT_BUG_CHECK, bug.rule);
    }
    halt_forever()
}

fn halt_forever() -> ! {
    loop {
        // SAFETY: nothing runs on this processor after a bug check but an NMI.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// An exception that nobody expected.
pub(crate) fn exception(frame: &ExceptionFrame) -> ! {
    let unexpected_interrupt = frame.vector == NO_GATE && frame.error_code & ERROR_CODE_IDT != 0;
    let bug = base(Rule::Exception);
    let rule = if unexpected_interrupt {
        Rule::UnexpectedInterrupt
    } else if frame.vector == PAGE_FAULT && (PAGEABLE..PAGEABLE + PAGE).contains(&bug.cr2) {
        Rule::PageableMemory
    } else {
        Rule::Exception
    };
    let vector = if unexpected_interrupt { frame.error_code >> 3 } else { frame.vector };
    stop(&BugCheck {
        vector: vector as u32,
        error_code: frame.error_code,
        rip: frame.frame.rip,
        rsp: frame.frame.rsp,
        rule: rule as u32,
        ..bug
    })
}

/// A worker of the call `generation` did not return in time on `vcpu`.
pub(crate) fn overstayed(vcpu: usize, generation: Generation) -> ! {
    stop(&BugCheck { vcpu: vcpu as u32, generation: generation.get(), ..base(Rule::WorkerOverstayed) })
}

/// This processor's own worker did not return in time: an NMI found it at `rip`.
pub(crate) fn overstayed_at(rip: u64) -> ! {
    stop(&BugCheck { rip, ..base(Rule::WorkerOverstayed) })
}

/// The worker that runs on this processor, or has just returned, broke `rule`.
pub(crate) fn broken_rule(rule: Rule, private: &Private) -> ! {
    // Where it did that is not known; which worker it is, is.
    let rip = private.slot.packet().map_or(0, |packet| packet.work().worker as u64);
    stop(&BugCheck { rip, ..base(rule) })
}

/// KVM refused a hypercall, in these words.
pub(crate) fn refused(how: fmt::Arguments<'_>) -> ! {
    let mut bug = base(Rule::HypercallRefused);
    // `Message` never fails: it drops what does not fit.
    let _ = Message(&mut bug).write_fmt(how);
    stop(&bug)
}

struct Message<'a>(&'a mut BugCheck);

impl Write for Message<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            let Some(place) = self.0.message.get_mut(self.0.message_len as usize) else { return Ok(()) };
            *place = byte;
            self.0.message_len += 1;
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut bug = base(Rule::Panic);
    bug.rip = panic as *const () as u64;
    // `Message` never fails: it drops what does not fit.
    let _ = match info.location() {
        Some(place) => write!(Message(&mut bug), "{}:{}: {}", place.file(), place.line(), info.message()),
        None => write!(Message(&mut bug), "{}", info.message()),
    };
    stop(&bug)
}
