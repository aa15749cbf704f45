//! The broadcast call: one worker on every processor at once, at IPI_LEVEL.

use crate::apic::{self, x2apic, xapic};
use crate::bugcheck;
use crate::irql;
use crate::processor::{PACKET, Private, SLOTS};
use crate::state::BELLS;
use crate::tsc;
use crate::workers::WorkerFn;
use core::arch::asm;
use core::slice;
use core::sync::atomic::Ordering;
use guest_stub::abi::{Destination, MASK_WORDS, Route, VECTOR_IPI};
use guest_stub::icr::{self, To};
use guest_stub::rendezvous::{Generation, Slot};

/// One call: what to run, where, and how to get there.
pub(crate) struct Call {
    pub(crate) route: Route,
    pub(crate) destination: Destination,
    pub(crate) worker: WorkerFn,
    pub(crate) argument: usize,
    /// Processors `0..processors` take part.
    pub(crate) processors: usize,
    /// TSC cycles after which the call is given up.
    pub(crate) deadline: u64,
}

/// A completed call, with the initiator's stamps.
pub(crate) struct Completed {
    pub(crate) generation: Generation,
    pub(crate) t0: u64,
    pub(crate) t1: u64,
    /// The initiator's own interrupt, in destination `all`; else zero.
    pub(crate) a: u64,
    pub(crate) w: u64,
    pub(crate) x: u64,
    pub(crate) t2: u64,
    /// What the worker returned on this processor.
    pub(crate) result: usize,
    /// The interrupt was sent a second time.
    pub(crate) resent: bool,
}

/// A set of processors.
pub(crate) type Mask = [u64; MASK_WORDS];

/// Why a call did not run.
pub(crate) enum Failed {
    /// The caller was at IPI_LEVEL or above, or had interrupts off: the call could never end.
    NotAllowedHere,
    /// Somebody did not arrive, before or after the second send.
    Aborted { generation: Generation, missing: Mask },
}

const RFLAGS_IF: u64 = 1 << 9;

fn interrupts_enabled() -> bool {
    let flags: u64;
    // SAFETY: reads RFLAGS.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & RFLAGS_IF != 0
}

/// Runs `call.worker` with `call.argument` on every participant, all starting when all have arrived, and returns
/// when all have ended. While it waits, other initiators' calls are served.
pub(crate) fn broadcast(private: &'static Private, call: &Call) -> Result<Completed, Failed> {
    let caller_irql = irql::current();
    if caller_irql >= irql::IPI || !interrupts_enabled() {
        return Err(Failed::NotAllowedHere);
    }
    irql::set(irql::BELOW_IPI);
    while !PACKET.acquire(private.index as u32) {
        core::hint::spin_loop();
    }
    let outcome = run(private, call);
    PACKET.release();
    irql::set(caller_irql);
    outcome
}

/// The call proper: the caller owns the packet.
fn run(private: &'static Private, call: &Call) -> Result<Completed, Failed> {
    let me = private.index;
    let slots = &SLOTS[..call.processors];
    let now = tsc::now();
    let generation = PACKET.publish(call.worker as usize, call.argument, now.wrapping_add(call.deadline));
    let others = Others { before: slots[..me].iter(), after: slots[me + 1..].iter() };
    others.before.clone().chain(others.after.clone()).for_each(|slot| slot.request(generation));
    let waits_for_itself = call.destination == Destination::All && call.route != Route::Memory && slots.len() > 1;
    private.expects_self.store(waits_for_itself, Ordering::Relaxed);
    let window = Window {
        private,
        generation,
        others,
        waits_for_itself,
        worker: call.worker,
        argument: call.argument,
        resend_at: now.wrapping_add(call.deadline / 2),
        deadline: now.wrapping_add(call.deadline),
    };
    let mut completed = Completed { generation, t0: 0, t1: 0, a: 0, w: 0, x: 0, t2: 0, result: 0, resent: false };
    if send(&window, call, &mut completed) {
        if waits_for_itself {
            completed.a = private.a.load(Ordering::Relaxed);
        }
        return Ok(completed);
    }
    let mut missing = [0; MASK_WORDS];
    for (silent, slot) in slots.iter().enumerate().filter(|&(i, _)| i != me || waits_for_itself) {
        if !slot.has_arrived(generation) {
            missing[silent / 64] |= 1 << (silent % 64);
        }
    }
    Err(Failed::Aborted { generation, missing })
}

/// The participants but the initiator: those after it, and those before.
struct Others<'a> {
    after: slice::Iter<'a, Slot>,
    before: slice::Iter<'a, Slot>,
}

impl Others<'_> {
    /// Waits until `holds` of `generation` for every one of them, one after the other: all have to, and the tighter the
    /// loop, the sooner it sees the last. `until` is only asked when somebody has to wait for long.
    #[inline]
    fn wait(
        &self,
        generation: Generation,
        until: impl Fn() -> u64 + Copy,
        holds: impl Fn(&Slot, Generation) -> bool + Copy,
    ) -> bool {
        let wait = |mut slots: slice::Iter<'_, Slot>| {
            slots.all(|slot| {
                let eight_polls = || tsc::eight_polls(|| holds(slot, generation));
                eight_polls() || eight_polls() || wait_longer(slot, generation, until(), holds)
            })
        };
        wait(self.after.clone()) && wait(self.before.clone())
    }
}

/// Kept apart, so that what it needs is not at hand where nobody has to wait for long.
#[inline(never)]
fn wait_longer(slot: &Slot, generation: Generation, until: u64, holds: impl Fn(&Slot, Generation) -> bool) -> bool {
    tsc::poll_until(until, || holds(slot, generation))
}

/// Everything that the measured window needs, prepared before it.
struct Window<'a> {
    private: &'static Private,
    generation: Generation,
    others: Others<'a>,
    waits_for_itself: bool,
    worker: WorkerFn,
    argument: usize,
    resend_at: u64,
    deadline: u64,
}

impl Window<'_> {
    /// From the send to the last completion; `false` if the call was given up. One function for each way to send, and
    /// nothing else in it: whatever it does adds to what it measures.
    #[inline(never)]
    fn run(&self, completed: &mut Completed, send: impl Fn()) -> bool {
        apic::publish();
        let t0 = tsc::stamp();
        send();
        let t1 = tsc::stamp();
        // The targets are on their way: now is the time for what nobody waits for.
        completed.t0 = t0.value();
        completed.t1 = t1.value();
        completed.resent = !self.everybody_arrives(|| self.resend_at) && self.send_again(send);

        // Fails if the call was given up, here or by a target whose own clock ran out.
        if !PACKET.go(self.generation) {
            return false;
        }
        let w = tsc::stamp_after_loads();
        let result = (self.worker)(self.argument);
        let x = tsc::stamp_after_loads();
        let done = self.others.wait(self.generation, || self.deadline, Slot::is_done);
        let t2 = tsc::stamp_after_loads();
        completed.w = w.value();
        completed.x = x.value();
        completed.t2 = t2.value();
        completed.result = result;
        if !done {
            self.wait_for_overstayers();
        }
        true
    }

    #[inline]
    fn everybody_arrives(&self, until: impl Fn() -> u64 + Copy) -> bool {
        // Until the initiator has taken its own interrupt, IPI_LEVEL would mask that. Nobody else's can come: this
        // processor owns the packet.
        let myself =
            !self.waits_for_itself || wait_longer(self.private.slot, self.generation, until(), Slot::has_arrived);
        irql::set(irql::IPI);
        myself && self.others.wait(self.generation, until, Slot::has_arrived)
    }

    /// Somebody has not arrived in time: once more, and then no more. Returns that it was sent again.
    #[cold]
    #[inline(never)]
    fn send_again(&self, send: impl Fn()) -> bool {
        irql::set(irql::BELOW_IPI);
        apic::publish();
        send();
        if !self.everybody_arrives(|| self.deadline) {
            PACKET.abort(self.generation);
        }
        true
    }

    /// The call's deadline has passed in the middle of the worker: every worker has as long again.
    #[cold]
    #[inline(never)]
    fn wait_for_overstayers(&self) {
        let generation = self.generation;
        let time = self.deadline.wrapping_sub(self.resend_at).wrapping_mul(2);
        let until = tsc::now().wrapping_add(time);
        if !self.others.wait(generation, || until, Slot::is_done) {
            let late = SLOTS.iter().position(|slot| slot.served() == generation && !slot.is_done(generation));
            bugcheck::overstayed(late.unwrap_or(self.private.index));
        }
    }
}

/// Runs the window with the send of the call's route and destination.
fn send(window: &Window<'_>, call: &Call, completed: &mut Completed) -> bool {
    let me = window.private.index as u32;
    let last = call.processors as u32;
    let unicasts = move || (0..last).filter(move |&other| other != me);
    let to = if call.destination == Destination::All { To::All } else { To::AllButSelf };
    let one = icr::fixed(VECTOR_IPI, To::One(0));
    let many = icr::fixed(VECTOR_IPI, to);
    let generation = window.generation;
    if last < 2 {
        return window.run(completed, || {});
    }
    match (call.route, call.destination) {
        (Route::X2Apic, Destination::Unicast) => {
            window.run(completed, || unicasts().for_each(|other| x2apic::write_icr(one, other)))
        }
        (Route::X2Apic, _) => window.run(completed, || x2apic::write_icr(many, 0)),
        (Route::XApic, Destination::Unicast) => {
            xapic::wait_idle();
            window.run(completed, || {
                for other in unicasts() {
                    without_interrupts(|| xapic::write_icr(one, other));
                    xapic::wait_idle();
                }
            })
        }
        (Route::XApic, _) => {
            xapic::wait_idle();
            window.run(completed, || xapic::write_icr_shorthand(many))
        }
        (Route::Memory, Destination::Unicast) => {
            window.run(completed, || unicasts().for_each(|other| BELLS[other as usize].ring(generation)))
        }
        (Route::Memory, _) => window.run(completed, || BELLS[0].ring(generation)),
    }
}

/// Runs `action` with IF clear: a handler that sends in between would change the destination of an xAPIC's send.
#[inline]
fn without_interrupts(action: impl FnOnce()) {
    // SAFETY: IF was set, which `broadcast` has made sure of.
    unsafe { asm!("cli", options(nostack)) };
    action();
    // SAFETY: as above.
    unsafe { asm!("sti", options(nostack)) };
}
