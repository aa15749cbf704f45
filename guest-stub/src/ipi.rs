//! The broadcast call: one worker on every participant at once, at IPI_LEVEL.

use crate::apic::{self, x2apic, xapic};
use crate::bugcheck;
use crate::fault;
use crate::irql;
use crate::mem;
use crate::port;
use crate::processor::{GENERATIONS, Private, SLOTS};
use crate::state::BELLS;
use crate::tsc::{self, Stamp};
use crate::workers::WorkerFn;
use core::arch::asm;
use core::cell::Cell;
use core::sync::atomic::Ordering;
use guest_stub::abi::{
    self, CallStep, Destination, Fault, GuestRoute as Route, MASK_WORDS, Mask, Rule, VECTOR_IPI, VECTOR_IPI_STEPPED,
};
use guest_stub::icr::{self, To};
use guest_stub::mask;
use guest_stub::msi;
use guest_stub::rendezvous::{self, Delivery, Generation, Initiator, Outcome, Slot, Targets, Until, Work};

/// Who takes part in a call.
#[derive(Clone, Copy)]
pub(crate) enum Participants<'a> {
    /// Processors `0..n`.
    Everybody(usize),
    /// These, which may leave the caller out. Each is interrupted by a send of its own.
    Members(&'a Mask),
}

/// One call: what to run, where, and how to get there.
pub(crate) struct Call<'a> {
    pub(crate) route: Route,
    pub(crate) destination: Destination,
    pub(crate) worker: WorkerFn,
    pub(crate) argument: usize,
    pub(crate) participants: Participants<'a>,
    /// TSC cycles after which the call is given up.
    pub(crate) deadline: u64,
    /// Every step is an exit.
    pub(crate) stepped: bool,
    /// What is to go wrong.
    pub(crate) fault: Fault,
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
    /// What the worker returned on this processor; zero if it does not take part.
    pub(crate) result: usize,
    /// The interrupt was sent a second time.
    pub(crate) resent: bool,
}

/// Why a call did not run.
pub(crate) enum Failed {
    /// The caller was at IPI_LEVEL or above, or had interrupts off: the call could never end.
    NotAllowedHere,
    /// Somebody did not arrive, before or after the second send.
    Aborted { generation: Generation, missing: Mask, resent: bool },
}

/// RFLAGS bit 9 (SDM Vol. 1 figure 3-8): maskable interrupts are taken.
pub(crate) const RFLAGS_IF: u64 = 1 << 9;

/// Whether IF is set.
#[inline]
pub(crate) fn interrupts_enabled() -> bool {
    let flags: u64;
    // SAFETY: reads RFLAGS.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & RFLAGS_IF != 0
}

/// Runs `call.worker` with `call.argument` on every participant, all starting when all have arrived, and returns
/// when all have ended. While it waits, other initiators' calls are served.
///
/// `each` gets every participant's result, of this processor too, by rising number.
pub(crate) fn broadcast(
    private: &'static Private,
    call: &Call<'_>,
    each: impl FnMut(usize, usize),
) -> Result<Completed, Failed> {
    if private.in_worker() {
        bugcheck::broken_rule(Rule::NestedCall, private);
    }
    let caller_irql = irql::current();
    if caller_irql >= irql::IPI || !interrupts_enabled() {
        return Err(Failed::NotAllowedHere);
    }
    irql::set(irql::BELOW_IPI);
    let outcome = match call.participants {
        Participants::Everybody(processors) => {
            let slots = SLOTS[..processors].iter();
            owning(private, call, || slots.clone(), || everybody(private, call, processors, each))
        }
        Participants::Members(members) => {
            let mut owned = *members;
            mask::insert(&mut owned, private.index);
            let slots = || mask::indices(&owned).map(|index| &SLOTS[index]);
            owning(private, call, slots, || some(private, call, members, each))
        }
    };
    irql::set(caller_irql);
    outcome
}

/// Makes the call while it owns `slots`, this processor's among them.
fn owning<I: Iterator<Item = &'static Slot>>(
    private: &'static Private,
    call: &Call<'_>,
    slots: impl Fn() -> I,
    make: impl FnOnce() -> Result<Completed, Failed>,
) -> Result<Completed, Failed> {
    rendezvous::acquire(slots(), private.index as u32, || {
        if call.route == Route::Memory {
            crate::state::serve_polled(private);
        }
        core::hint::spin_loop();
    });
    private.calling.store(true, Ordering::Relaxed);
    let outcome = make();
    private.calling.store(false, Ordering::Relaxed);
    rendezvous::release(slots());
    outcome
}

/// A call of all processors.
fn everybody(
    private: &'static Private,
    call: &Call<'_>,
    processors: usize,
    mut each: impl FnMut(usize, usize),
) -> Result<Completed, Failed> {
    let me = private.index;
    let slots = &SLOTS[..processors];
    let targets = Others { before: &slots[..me], after: &slots[me + 1..] };
    // One send for each target leaves the sender out.
    let by_shorthand = !call.stepped && call.fault == Fault::Nothing;
    let to_itself = call.destination == Destination::All && call.route != Route::Memory;
    let waits_for_itself = to_itself && by_shorthand && processors > 1;
    let window = Window::prepare(private, call, &targets, processors, true, waits_for_itself);
    let outcome = send_to_all(&window, call, &targets, processors);
    let completed = window.finish(outcome, &targets)?;
    each_result(private, slots.iter().enumerate(), &completed, &mut each);
    Ok(completed)
}

/// A call of a set of processors.
fn some(
    private: &'static Private,
    call: &Call<'_>,
    members: &Mask,
    mut each: impl FnMut(usize, usize),
) -> Result<Completed, Failed> {
    let me = private.index;
    let targets = Members { members, me };
    let participants = mask::indices(members).count();
    let takes_part = mask::contains(members, me);
    let window = Window::prepare(private, call, &targets, participants, takes_part, false);
    let one = || mask::indices(members).filter(move |&other| other != me);
    let outcome = if one().next().is_none() {
        window.run(&targets, || ())
    } else {
        window.run(&targets, || send_one_by_one(&window, call, one()))
    };
    let completed = window.finish(outcome, &targets)?;
    each_result(private, mask::indices(members).map(|index| (index, &SLOTS[index])), &completed, &mut each);
    Ok(completed)
}

fn each_result<'a>(
    private: &Private,
    slots: impl Iterator<Item = (usize, &'a Slot)>,
    completed: &Completed,
    each: &mut impl FnMut(usize, usize),
) {
    for (index, slot) in slots {
        each(index, if index == private.index { completed.result } else { slot.result() });
    }
}

/// The participants but the initiator: those before it, and those after.
struct Others {
    before: &'static [Slot],
    after: &'static [Slot],
}

impl Targets for Others {
    #[expect(
        clippy::inline_always,
        reason = "out of line, with its closure in memory, every poll was three loads more"
    )]
    #[inline(always)]
    fn all<'a>(&'a self, mut holds: impl FnMut(&'a Slot) -> bool) -> bool {
        self.after.iter().all(&mut holds) && self.before.iter().all(holds)
    }
}

/// The members of a set but the initiator.
struct Members<'a> {
    members: &'a Mask,
    me: usize,
}

impl Targets for Members<'_> {
    fn all<'a>(&'a self, holds: impl FnMut(&'a Slot) -> bool) -> bool {
        mask::indices(self.members).filter(|&index| index != self.me).map(|index| &SLOTS[index]).all(holds)
    }
}

/// A stamp that is taken on the way.
struct Taken(Cell<Stamp>);

impl Taken {
    const fn not_yet() -> Self {
        Self(Cell::new(Stamp::ZERO))
    }

    #[inline]
    fn set(&self, stamp: Stamp) {
        self.0.set(stamp);
    }

    fn value(&self) -> u64 {
        self.0.get().value()
    }
}

/// Everything that the measured window needs, prepared before it, and what it leaves.
struct Window {
    private: &'static Private,
    generation: Generation,
    waits_for_itself: bool,
    worker: WorkerFn,
    argument: usize,
    resend_at: u64,
    deadline: u64,
    resending: Cell<bool>,
    t0: Taken,
    t1: Taken,
    w: Taken,
    x: Taken,
    t2: Taken,
    result: Cell<usize>,
}

impl Window {
    /// Publishes the call and asks the targets to take part.
    fn prepare(
        private: &'static Private,
        call: &Call<'_>,
        targets: &impl Targets,
        participants: usize,
        takes_part: bool,
        waits_for_itself: bool,
    ) -> Self {
        let now = tsc::now();
        let deadline = now.wrapping_add(call.deadline);
        let generation = GENERATIONS.issue();
        let packet = private.packet;
        let work =
            Work { worker: call.worker as usize, argument: call.argument, participants: participants as u32, deadline };
        packet.publish(generation, work);
        private.slot.set_packet(packet);
        let by = if call.route == Route::Nmi { Delivery::Nmi } else { Delivery::Interrupt };
        targets.all(|slot| {
            slot.request(generation, packet, by);
            true
        });
        private.expects_self.store(waits_for_itself, Ordering::Relaxed);
        Self {
            private,
            generation,
            waits_for_itself,
            worker: if takes_part { call.worker } else { takes_no_part },
            argument: call.argument,
            resend_at: now.wrapping_add(call.deadline / 2),
            deadline,
            resending: Cell::new(false),
            t0: Taken::not_yet(),
            t1: Taken::not_yet(),
            w: Taken::not_yet(),
            x: Taken::not_yet(),
            t2: Taken::not_yet(),
            result: Cell::new(0),
        }
    }

    /// From the send to the last completion. One function for each way to send, and nothing else in it: whatever it does
    /// adds to what it measures.
    #[inline(never)]
    fn run(&self, targets: &impl Targets, send: impl Fn()) -> (Outcome, bool) {
        let outcome = rendezvous::call(&Sending { window: self, send }, self.private.packet, self.generation, targets);
        self.t2.set(tsc::stamp_after_loads());
        outcome
    }

    /// What the window has left, for the caller.
    fn finish(&self, (outcome, resent): (Outcome, bool), targets: &impl Targets) -> Result<Completed, Failed> {
        if outcome == Outcome::Overstayed {
            self.wait_for_overstayers(targets);
        }
        let private = self.private;
        if outcome != Outcome::Aborted {
            check_restored(private);
        }
        // SAFETY: IF was set, which `broadcast` has made sure of.
        unsafe { asm!("sti", options(nostack)) };
        if outcome == Outcome::Aborted {
            return Err(Failed::Aborted { generation: self.generation, missing: self.missing(targets), resent });
        }
        Ok(Completed {
            generation: self.generation,
            t0: self.t0.value(),
            t1: self.t1.value(),
            a: if self.waits_for_itself { private.a.load(Ordering::Relaxed) } else { 0 },
            w: self.w.value(),
            x: self.x.value(),
            t2: self.t2.value(),
            result: self.result.get(),
            resent,
        })
    }

    fn missing(&self, targets: &impl Targets) -> Mask {
        let mut missing = [0; MASK_WORDS];
        let mut add = |slot: &Slot| {
            if !slot.has_arrived(self.generation)
                && let Some(index) = SLOTS.element_offset(slot)
            {
                mask::insert(&mut missing, index);
            }
            true
        };
        targets.all(&mut add);
        if self.waits_for_itself {
            add(self.private.slot);
        }
        missing
    }

    /// The call's deadline has passed in the middle of the worker: every worker has as long again.
    #[cold]
    #[inline(never)]
    fn wait_for_overstayers(&self, targets: &impl Targets) {
        let generation = self.generation;
        let until = tsc::now().wrapping_add(self.deadline.wrapping_sub(self.resend_at).wrapping_mul(2));
        let mut late = None;
        targets.all(|slot| {
            let done = tsc::poll_until(until, || slot.is_done(generation));
            if !done {
                late = SLOTS.element_offset(slot);
            }
            done
        });
        if let Some(late) = late {
            bugcheck::overstayed(late, generation);
        }
    }
}

/// A worker has to leave IRQL and IF as it found them. This processor has just run one.
#[inline]
pub(crate) fn check_restored(private: &'static Private) {
    if interrupts_enabled() {
        bugcheck::broken_rule(Rule::InterruptsEnabled, private);
    }
    if irql::current() != irql::IPI {
        bugcheck::broken_rule(Rule::IrqlLowered, private);
    }
}

/// The worker of an initiator that is no participant: all others are spared the question.
extern "sysv64" fn takes_no_part(_: usize) -> usize {
    0
}

/// A window with its way to send.
struct Sending<'a, S> {
    window: &'a Window,
    send: S,
}

impl<S: Fn()> Initiator for Sending<'_, S> {
    #[inline]
    fn send(&self) {
        apic::publish();
        let t0 = tsc::stamp();
        (self.send)();
        let t1 = tsc::stamp();
        // The targets are on their way: now is the time for what nobody waits for.
        if !self.window.resending.get() {
            self.window.t0.set(t0);
            self.window.t1.set(t1);
        }
    }

    #[inline]
    fn takes_own_interrupt(&self, until: Until) -> bool {
        !self.window.waits_for_itself
            || wait_longer(self.limit(until), || self.window.private.slot.has_arrived(self.window.generation))
    }

    #[inline]
    fn raise(&self) {
        irql::set(irql::IPI);
        // Workers run with interrupts off, on whichever processor.
        // SAFETY: `Window::finish` and `lower` set IF again.
        unsafe { asm!("cli", options(nostack)) };
    }

    fn lower(&self) {
        self.window.resending.set(true);
        // SAFETY: IF was set, which `broadcast` has made sure of.
        unsafe { asm!("sti", options(nostack)) };
        irql::set(irql::BELOW_IPI);
    }

    #[inline]
    fn wait(&self, until: Until, holds: impl Fn() -> bool) -> bool {
        let eight_polls = || tsc::eight_polls(&holds);
        eight_polls() || eight_polls() || wait_longer(self.limit(until), holds)
    }

    #[inline]
    fn work(&self) {
        self.window.w.set(tsc::stamp_after_loads());
        self.window.result.set((self.window.worker)(self.window.argument));
        self.window.x.set(tsc::stamp_after_loads());
    }
}

impl<S> Sending<'_, S> {
    fn limit(&self, until: Until) -> u64 {
        match until {
            Until::Resend => self.window.resend_at,
            Until::Deadline => self.window.deadline,
        }
    }
}

/// Kept apart, so that what it needs is not at hand where nobody has to wait for long.
#[inline(never)]
fn wait_longer(until: u64, holds: impl Fn() -> bool) -> bool {
    tsc::poll_until(until, holds)
}

/// Runs the window of a call of `processors` with the send of its route and destination.
fn send_to_all(window: &Window, call: &Call<'_>, targets: &Others, processors: usize) -> (Outcome, bool) {
    let me = window.private.index;
    let unicasts = || (0..processors).filter(move |&other| other != me);
    let to = if call.destination == Destination::All { To::All } else { To::AllButSelf };
    let many = icr::fixed(VECTOR_IPI, to);
    let generation = window.generation;
    if processors < 2 {
        return window.run(targets, || ());
    }
    if call.stepped || call.fault != Fault::Nothing {
        return window.run(targets, || send_one_by_one(window, call, unicasts()));
    }
    match (call.route, call.destination) {
        (Route::X2Apic, Destination::Unicast) => {
            let one = icr::fixed(VECTOR_IPI, To::One(0));
            window.run(targets, || unicasts().for_each(|other| x2apic::write_icr(one, mem::apic_id(other))))
        }
        (Route::X2Apic, _) => window.run(targets, || x2apic::write_icr(many, 0)),
        (Route::XApic, Destination::Unicast) => {
            xapic::wait_idle();
            window.run(targets, || send_one_by_one(window, call, unicasts()))
        }
        (Route::XApic, _) => {
            xapic::wait_idle();
            window.run(targets, || xapic::write_icr_shorthand(many))
        }
        (Route::Memory, Destination::Unicast) => {
            window.run(targets, || unicasts().for_each(|other| BELLS[other].ring(generation)))
        }
        (Route::Memory, _) => window.run(targets, || BELLS[0].ring(generation)),
        (Route::Nmi, Destination::Unicast) => window.run(targets, || send_one_by_one(window, call, unicasts())),
        (Route::Nmi, _) => window.run(targets, || apic::send_raw(window.private, icr::nmi(to), to)),
        (Route::Msi, Destination::Unicast) => window.run(targets, || send_one_by_one(window, call, unicasts())),
        (Route::Msi, Destination::All) => window.run(targets, || message(VECTOR_IPI, msi::To::All)),
        (Route::Msi, _) => window.run(targets, || message(VECTOR_IPI, msi::To::AllButSender)),
        // Never asked for: `Block::parse` knows no initiators of this route.
        (Route::Host, _) => window.run(targets, || ()),
    }
}

/// One send for each of `targets`, with what is to go wrong.
fn send_one_by_one(window: &Window, call: &Call<'_>, targets: impl Iterator<Item = usize> + Clone) {
    let private = window.private;
    if call.stepped {
        fault::step(CallStep::Sending);
    }
    let vector = if call.stepped { VECTOR_IPI_STEPPED } else { VECTOR_IPI };
    let spoilt = if window.resending.get() { Fault::Nothing } else { call.fault };
    let last = targets.clone().last();
    for target in targets {
        let Some(target) = fault::redirect(spoilt, target, Some(target) == last, private.index) else { continue };
        let to = To::One(mem::apic_id(target));
        match call.route {
            Route::Memory => BELLS[target].ring(window.generation),
            Route::Nmi => apic::send_raw(private, icr::nmi(to), to),
            Route::Msi => message(vector, msi::To::One(target as u16)),
            // The host's, not ours.
            Route::Host => {}
            Route::X2Apic => x2apic::write_icr(icr::fixed(vector, to), to.field()),
            Route::XApic => {
                // A handler that sends in between would change the destination.
                without_interrupts(|| xapic::write_icr(icr::fixed(vector, to), to.field()));
                xapic::wait_idle();
            }
        }
    }
    if spoilt == Fault::EarlyGate {
        private.packet.go(window.generation);
    }
    if call.stepped {
        fault::step(CallStep::Sent);
    }
}

/// Asks the VMM for an interrupt.
#[inline]
fn message(vector: u8, to: msi::To) {
    port::write(abi::PORT_MSI, msi::encode(vector, to));
}

/// Runs `action` with IF clear.
#[inline]
fn without_interrupts(action: impl FnOnce()) {
    // SAFETY: IF was set, which `broadcast` has made sure of.
    unsafe { asm!("cli", options(nostack)) };
    action();
    // SAFETY: as above.
    unsafe { asm!("sti", options(nostack)) };
}
