//! A window's steps, as the rendezvous asks for them.

use super::{Sends, Window};
use crate::cpu::{apic, flags, irql, tsc};
use crate::polling;
use crate::processor::Record;
use core::arch::asm;
use core::mem::offset_of;
use guest_stub::abi::Sample;
use guest_stub::rendezvous::{Generation, Initiator, Packet, Until};

/// A window as the rendezvous's initiator, with its way to send.
#[derive(Clone)]
pub(super) struct InWindow<'a, S> {
    pub(super) window: &'a Window,
    pub(super) generation: Generation,
    pub(super) record: Record,
    pub(super) sends: S,
}

impl<S: Sends> Initiator for InWindow<'_, S> {
    #[expect(clippy::inline_always, reason = "out of line, what it sends would lie in memory")]
    #[inline(always)]
    fn send(&self) {
        self.sends.before();
        apic::publish();
        self.record.t0(tsc::stamp());
        self.sends.send();
        let t1 = tsc::stamp();
        self.sends.after();
        self.record.t1(t1);
    }

    /// The stamps stay those of the first send.
    fn send_again(&self) {
        let Window { resending, resent, .. } = self.window;
        self.record.resent();
        resent.set(resent.get() + 1);
        resending.set(true);
        self.sends.before();
        apic::publish();
        self.sends.send();
        self.sends.after();
        resending.set(false);
    }

    #[inline]
    fn takes_own_interrupt(&self, until: Until) -> bool {
        // Copies: what a closure borrows lies in memory.
        let (slot, generation) = (self.window.private.slot, self.generation);
        !self.sends.reach_initiator() || wait_longer(self.limit(until), move || slot.has_arrived(generation))
    }

    #[inline]
    fn raise(&self) {
        irql::set(irql::IPI);
        // Workers run with interrupts off, on whichever processor. `Window::finish` and `lower` set IF again.
        flags::disable_interrupts();
    }

    fn lower(&self) {
        // SAFETY: IF was set, which `Owned::new` has made sure of.
        unsafe { flags::enable_interrupts() };
        irql::set(irql::BELOW_IPI);
    }

    #[inline]
    fn wait(&self, until: Until, holds: impl Fn() -> bool) -> bool {
        let eight_polls = || polling::eight_polls(&holds);
        eight_polls() || eight_polls() || wait_longer(self.limit(until), holds)
    }

    // In assembly, as a target's way is: what each side executes between the gate and its worker decides how far apart they start.
    // The argument is moved after the gate, one instruction more than a target executes: half of what a target's poll takes. The gate
    // opens as `Packet::go` does it: a locked instruction acquires and releases.
    #[inline]
    fn start(&self, packet: &Packet, generation: Generation) -> bool {
        let pending = generation.get() + Packet::PENDING_MINUS_GENERATION;
        // SAFETY: the packet, which lives as long as the guest, has its gate at that place, and all access to it is atomic; the
        // window's worker is a `WorkerFn`; the record is in this processor's ring, and only this code writes it now.
        unsafe {
            asm!(
                "lock cmpxchg [r14 + {gate}], ecx",
                "jne {aborted}",
                "mov rdi, r15",
                "lfence",
                "rdtsc",
                "mov [r12 + {w}], eax",
                "mov [r12 + {w} + 4], edx",
                "call [r13 + {worker}]",
                "mov [r12 + {result}], rax",
                "lfence",
                "rdtsc",
                "mov [r12 + {x}], eax",
                "mov [r12 + {x} + 4], edx",
                gate = const Packet::GATE,
                worker = const offset_of!(Window, worker),
                w = const offset_of!(Sample, w),
                x = const offset_of!(Sample, x),
                result = const offset_of!(Sample, result),
                aborted = label { return false },
                in("eax") pending,
                in("ecx") generation.get(),
                in("r15") self.window.argument,
                in("r12") self.record.address(),
                in("r13") &raw const *self.window,
                in("r14") &raw const *packet,
                clobber_abi("sysv64"),
            );
        }
        true
    }
}

impl<S> InWindow<'_, S> {
    pub(super) fn limit(&self, until: Until) -> u64 {
        let deadline = self.window.packet.deadline();
        match until {
            Until::Resend => deadline.wrapping_sub(self.window.cycles / 2),
            Until::Deadline => deadline,
        }
    }
}

/// Kept apart, so that what it needs is not at hand where nobody has to wait for long.
#[inline(never)]
fn wait_longer(until: u64, holds: impl Fn() -> bool) -> bool {
    polling::poll_until(until, holds)
}
