//! Where a processor is called: who may call it, what it is asked to join, and how far it has come.

use super::generation::Generation;
use super::packet::{Decision, Packet};
use crate::atomics::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use core::mem::offset_of;
use core::ptr::null_mut;

/// How a target is called. The two have requests of their own: an NMI may come while an interrupt is being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// By an interrupt that IF and IRQL can hold back.
    Interrupt,
    /// By an NMI.
    Nmi,
}

/// What follows starts a cache line.
#[repr(align(64))]
#[derive(Debug)]
struct NextLine;

/// One processor's side of the rendezvous: a line that initiators write, and one that the processor writes.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Slot {
    owner: AtomicU32,
    request: AtomicU32,
    nmi_request: AtomicU32,
    packet: AtomicPtr<Packet>,
    next: AtomicPtr<Slot>,
    next_line: NextLine,
    arrived: AtomicU32,
    done: AtomicU32,
    result: AtomicUsize,
    served: AtomicU32,
    nmi_served: AtomicU32,
}

/// Byte offsets for an interrupt entry in assembly, of 32 bits where nothing else is said.
impl Slot {
    /// Of the request.
    pub const REQUEST: usize = offset_of!(Self, request);
    /// Of the packet's address, a word.
    pub const PACKET: usize = offset_of!(Self, packet);
    /// Of the generation claimed last.
    pub const SERVED: usize = offset_of!(Self, served);
    /// Of the arrival.
    pub const ARRIVED: usize = offset_of!(Self, arrived);
    /// Of the done word.
    pub const DONE: usize = offset_of!(Self, done);
    /// Of the result, a word.
    pub const RESULT: usize = offset_of!(Self, result);
}

impl Slot {
    /// A slot that has seen no call.
    pub const fn new() -> Self {
        Self {
            owner: AtomicU32::new(0),
            request: AtomicU32::new(0),
            nmi_request: AtomicU32::new(0),
            packet: AtomicPtr::new(null_mut()),
            next: AtomicPtr::new(null_mut()),
            next_line: NextLine,
            arrived: AtomicU32::new(0),
            done: AtomicU32::new(0),
            result: AtomicUsize::new(0),
            served: AtomicU32::new(0),
            nmi_served: AtomicU32::new(0),
        }
    }

    /// Tries to make `initiator` the only one who may call this processor. `false`: somebody else is; serve its
    /// interrupts and try again.
    pub(super) fn try_own(&self, initiator: u32) -> bool {
        // Acquire pairs with `disown`: the last call on this processor is over.
        self.owner.compare_exchange(0, initiator + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    pub(super) fn disown(&self) {
        self.owner.store(0, Ordering::Release);
    }

    /// The owner: says which packet counts on this processor from now on.
    pub fn set_packet(&self, packet: &'static Packet) {
        // Relaxed: `request` makes it visible.
        self.packet.store((&raw const *packet).cast_mut(), Ordering::Relaxed);
    }

    /// The owner: says which of its targets comes after this one. `None`: it is the last.
    pub fn set_next(&self, next: Option<&'static Self>) {
        // Relaxed: for the owner itself.
        self.next.store(next.map_or(null_mut(), |next| (&raw const *next).cast_mut()), Ordering::Relaxed);
    }

    /// The owner: which of its targets comes after this one.
    #[inline]
    pub fn next(&self) -> Option<&'static Self> {
        // SAFETY: null, or what `set_next` took from a reference to a static.
        unsafe { self.next.load(Ordering::Relaxed).as_ref() }
    }

    /// The packet of the last call that this processor had to do with. `None`: none yet.
    #[inline]
    pub fn packet(&self) -> Option<&'static Packet> {
        // SAFETY: null, or what `set_packet` took from a reference to a static.
        unsafe { self.packet.load(Ordering::Relaxed).as_ref() }
    }

    /// The owner, from outside the processors' memory: as [`Slot::set_packet`].
    ///
    /// # Safety
    /// In the memory of whoever calls [`Slot::packet`], a packet lies at `address` for good.
    pub unsafe fn set_packet_address(&self, address: usize) {
        self.packet.store(core::ptr::without_provenance_mut(address), Ordering::Relaxed);
    }

    /// The owner: asks this processor to take part. Before the send.
    pub fn request(&self, generation: Generation, packet: &'static Packet, by: Delivery) {
        self.set_packet(packet);
        self.request_again(generation, by);
    }

    /// As [`Slot::request`], with the packet that has been set.
    #[inline]
    pub fn request_again(&self, generation: Generation, by: Delivery) {
        // Release pairs with `claim`: who sees the request sees the packet.
        match by {
            Delivery::Interrupt => self.request.store(generation.0, Ordering::Release),
            Delivery::Nmi => self.nmi_request.store(generation.0, Ordering::Release),
        }
    }

    /// Target: the call that this processor is asked to join, or `None` if it has served it already: the interrupt
    /// was spurious, came twice, or came late. Each generation is claimed once.
    #[inline]
    pub fn claim(&self, by: Delivery) -> Option<Generation> {
        let (request, served) = match by {
            Delivery::Interrupt => (&self.request, &self.served),
            Delivery::Nmi => (&self.nmi_request, &self.nmi_served),
        };
        let requested = request.load(Ordering::Acquire);
        // Relaxed: `served` is this processor's own.
        if requested == served.load(Ordering::Relaxed) {
            return None;
        }
        served.store(requested, Ordering::Relaxed);
        Some(Generation(requested))
    }

    /// Target: the generation it claimed last.
    pub fn served(&self, by: Delivery) -> Generation {
        let served = match by {
            Delivery::Interrupt => &self.served,
            Delivery::Nmi => &self.nmi_served,
        };
        Generation(served.load(Ordering::Relaxed))
    }

    /// Target: ready to run the worker.
    #[inline]
    pub fn arrive(&self, generation: Generation) {
        // Release pairs with `has_arrived`: what the target did before, the initiator sees.
        self.arrived.store(generation.0, Ordering::Release);
    }

    /// Initiator: has this processor arrived?
    #[inline]
    pub fn has_arrived(&self, generation: Generation) -> bool {
        self.arrived.load(Ordering::Acquire) == generation.0
    }

    /// Target: the worker has returned `result`. The packet is not touched after this.
    #[inline]
    pub fn complete(&self, generation: Generation, result: usize) {
        self.result.store(result, Ordering::Relaxed);
        // Release pairs with `is_done`: the result, and all that the worker wrote, come first.
        self.done.store(generation.0, Ordering::Release);
    }

    /// Target: whether this processor is in a call's worker, which it was interrupted for.
    ///
    /// Whoever asks may be interrupted between two of the loads, by a call that is served whole: what was read then
    /// belongs to two calls, and is read again.
    pub fn is_working(&self) -> bool {
        loop {
            // Acquire: the loads that follow come after it.
            let done = self.done.load(Ordering::Acquire);
            // Where no NMI has called, that is the answer.
            if self.served(Delivery::Interrupt).0 == done && self.served(Delivery::Nmi).0 == 0 {
                return false;
            }
            let is_in = |packet: &Packet, by| {
                let generation = self.served(by);
                generation.0 != 0 && generation.0 != done && packet.decision(generation) == Decision::Go
            };
            let working =
                self.packet().is_some_and(|packet| is_in(packet, Delivery::Interrupt) || is_in(packet, Delivery::Nmi));
            // After `decision`, which acquires.
            if self.done.load(Ordering::Relaxed) == done {
                return working;
            }
        }
    }

    /// Initiator: has this processor's worker returned?
    #[inline]
    pub fn is_done(&self, generation: Generation) -> bool {
        self.done.load(Ordering::Acquire) == generation.0
    }

    /// Initiator, after [`Slot::is_done`] and before [`release`](super::release): what the worker returned.
    pub fn result(&self) -> usize {
        self.result.load(Ordering::Relaxed)
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}
