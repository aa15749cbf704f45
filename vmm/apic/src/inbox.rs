//! What other threads leave for a vCPU: interrupt vectors, and the events that have no vector.

use super::atomics::{AtomicU32, AtomicU64, Ordering};
use super::presence::{Place, Presence};
use super::vectors::Vectors;

/// Events without a vector of their own, as they were taken out of an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    /// An NMI, or several.
    pub nmi: bool,
    /// INIT. Comes before [`Events::sipi`].
    pub init: bool,
    /// A SIPI with this vector.
    pub sipi: Option<u8>,
}

impl Events {
    const NMI: u32 = 1 << 8;
    const INIT: u32 = 1 << 9;
    const SIPI: u32 = 1 << 10;
    const VECTOR: u32 = 0xFF;

    fn from_bits(bits: u32) -> Self {
        let [vector, ..] = bits.to_le_bytes();
        Self {
            nmi: bits & Self::NMI != 0,
            init: bits & Self::INIT != 0,
            sipi: (bits & Self::SIPI != 0).then_some(vector),
        }
    }
}

/// One vCPU's. Any thread may put in; the vCPU's own takes out. A cache line of its own: senders write here, one after the
/// other, for every target of a broadcast.
#[repr(align(64))]
#[derive(Debug, Default)]
pub struct Inbox {
    irr: Vectors,
    events: AtomicU32,
    presence: Presence,
    /// How the local APIC is addressed, as its owner has published it last ([`crate::addressing`]).
    addressing: AtomicU64,
}

impl Inbox {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// The interrupt request register.
    pub fn irr(&self) -> &Vectors {
        &self.irr
    }

    /// Where the vCPU's thread is.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// The vCPU's thread: publishes how its local APIC is addressed.
    pub fn publish(&self, addressing: u64) {
        // Relaxed: a message that is under way while a local APIC's address changes meets the old one or the new.
        self.addressing.store(addressing, Ordering::Relaxed);
    }

    /// What was published last.
    #[inline]
    pub fn published(&self) -> u64 {
        self.addressing.load(Ordering::Relaxed)
    }

    /// Leaves an interrupt, and says from where the vCPU's thread has to be fetched for it, if by this sender.
    #[inline]
    pub fn put_vector(&self, vector: u8) -> Option<Place> {
        // A vector that is pending has had its kick, or the vCPU knows of it and cannot take it yet.
        if self.irr.set(vector) { self.presence.kick() } else { None }
    }

    /// Leaves an NMI; else as [`Inbox::put_vector`].
    pub fn put_nmi(&self) -> Option<Place> {
        self.events.fetch_or(Events::NMI, Ordering::SeqCst);
        self.presence.kick()
    }

    /// Leaves INIT, which a SIPI that waits does not survive; else as [`Inbox::put_vector`].
    pub fn put_init(&self) -> Option<Place> {
        self.change(|bits| bits & !(Events::SIPI | Events::VECTOR) | Events::INIT)
    }

    /// Leaves a SIPI, the last of several; else as [`Inbox::put_vector`].
    pub fn put_sipi(&self, vector: u8) -> Option<Place> {
        self.change(|bits| bits & !Events::VECTOR | Events::SIPI | u32::from(vector))
    }

    fn change(&self, change: impl Fn(u32) -> u32) -> Option<Place> {
        let mut bits = self.events.load(Ordering::Relaxed);
        while let Err(now) = self.events.compare_exchange_weak(bits, change(bits), Ordering::SeqCst, Ordering::Relaxed)
        {
            bits = now;
        }
        self.presence.kick()
    }

    /// Whether events wait.
    pub fn has_events(&self) -> bool {
        self.events.load(Ordering::SeqCst) != 0
    }

    /// Takes all events out.
    pub fn take_events(&self) -> Events {
        // Acquire pairs with the senders' writes.
        Events::from_bits(self.events.swap(0, Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_comes_before_the_sipi_that_follows_it() {
        let inbox = Inbox::new();
        inbox.put_sipi(9);
        inbox.put_init();
        assert_eq!(inbox.take_events(), Events { init: true, ..Events::default() }, "INIT outlives no earlier SIPI");
        inbox.put_init();
        inbox.put_sipi(9);
        inbox.put_sipi(0x12);
        inbox.put_nmi();
        assert!(inbox.has_events());
        assert_eq!(inbox.take_events(), Events { nmi: true, init: true, sipi: Some(0x12) });
        assert!(!inbox.has_events());
    }

    #[test]
    fn many_interrupts_are_one_kick() {
        let inbox = Inbox::new();
        let kicks = inbox.presence().go(
            Place::Guest,
            &mut (),
            |()| inbox.irr().highest().is_none(),
            |()| [inbox.put_vector(0xE1), inbox.put_vector(0x51), inbox.put_vector(0xE1), inbox.put_nmi()],
        );
        assert_eq!(kicks, Some([Some(Place::Guest), None, None, None]));
        assert_eq!(inbox.presence().go(Place::Guest, &mut (), |()| inbox.irr().highest().is_none(), |()| ()), None);
    }

    #[test]
    fn an_inbox_has_one_cache_line() {
        assert_eq!(size_of::<Inbox>(), 64);
    }
}
