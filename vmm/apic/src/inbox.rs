//! What other threads leave for a vCPU: interrupt vectors, and the events that have no vector.

use super::atomics::{AtomicU32, AtomicU64, Ordering};
use super::presence::{Place, Presence};
use super::vectors::Vectors;

/// Events without a vector of their own, as they wait in an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    /// NMIs, up to [`Events::MOST_NMIS`].
    pub nmis: u8,
    /// INIT. All else that waits has come after it.
    pub init: bool,
    /// A SIPI with this vector.
    pub sipi: Option<u8>,
}

impl Events {
    /// As many NMIs wait: while none is in service, a processor takes one and latches one. Further ones merge with the latched
    /// (SDM Vol. 3A 7.7.1).
    pub const MOST_NMIS: u8 = 2;

    const NMI: u32 = 1 << 8;
    const NMIS: u32 = 0b11 << 8;
    const INIT: u32 = 1 << 10;
    const SIPI: u32 = 1 << 11;

    fn from_bits(bits: u32) -> Self {
        let [vector, counts, ..] = bits.to_le_bytes();
        Self { nmis: counts & 0b11, init: bits & Self::INIT != 0, sipi: (bits & Self::SIPI != 0).then_some(vector) }
    }

    fn to_bits(self) -> u32 {
        let sipi = self.sipi.map_or(0, |vector| Self::SIPI | u32::from(vector));
        let init = if self.init { Self::INIT } else { 0 };
        sipi | init | u32::from(self.nmis.min(Self::MOST_NMIS)) << 8
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

    /// The vCPU's thread: publishes how its local APIC is addressed. A message that is under way meanwhile meets the old address or
    /// the new one.
    pub fn publish(&self, addressing: u64) {
        // Release pairs with `published`: a sender that sees this adds to an IRR that has been cleared before.
        self.addressing.store(addressing, Ordering::Release);
    }

    /// What was published last.
    #[inline]
    pub fn published(&self) -> u64 {
        self.addressing.load(Ordering::Acquire)
    }

    /// The vCPU's thread: what waited before INIT is gone, and from here on nothing comes, for that is what `addressing` says.
    ///
    /// A sender that has read the old address may still add to the IRR. That bit goes with [`Inbox::enable`].
    pub fn reset(&self, addressing: u64) {
        self.publish(addressing);
        self.irr.clear();
    }

    /// The vCPU's thread: software enables the local APIC for the first time since a reset. Nothing can wait yet.
    pub fn enable(&self, addressing: u64) {
        self.irr.clear();
        self.publish(addressing);
    }

    /// Leaves an interrupt, and says from where the vCPU's thread has to be fetched for it, if by this sender.
    #[inline]
    pub fn put_vector(&self, vector: u8) -> Option<Place> {
        // A vector that is pending has had its kick, or the vCPU knows of it and cannot take it yet.
        if self.irr.set(vector) { self.presence.kick() } else { None }
    }

    /// Leaves an NMI, unless as many as can be told apart wait; else as [`Inbox::put_vector`].
    pub fn put_nmi(&self) -> Option<Place> {
        const MOST: u32 = Events::MOST_NMIS as u32 * Events::NMI;
        self.change(|bits| if bits & Events::NMIS < MOST { bits + Events::NMI } else { bits })
    }

    /// Leaves INIT, which what waits does not survive, be it NMIs or a SIPI; else as [`Inbox::put_vector`].
    pub fn put_init(&self) -> Option<Place> {
        self.change(|_| Events::INIT)
    }

    /// Leaves a SIPI, unless one waits: the first of several starts the processor. Else as [`Inbox::put_vector`].
    pub fn put_sipi(&self, vector: u8) -> Option<Place> {
        self.change(|bits| if bits & Events::SIPI == 0 { bits | Events::SIPI | u32::from(vector) } else { bits })
    }

    fn change(&self, change: impl Fn(u32) -> u32) -> Option<Place> {
        let mut bits = self.events.load(Ordering::Relaxed);
        // SeqCst: the sender looks next where the thread is (`presence`). Pairs with `has_events`.
        while let Err(now) = self.events.compare_exchange_weak(bits, change(bits), Ordering::SeqCst, Ordering::Relaxed)
        {
            bits = now;
        }
        self.presence.kick()
    }

    /// Whether events wait.
    pub fn has_events(&self) -> bool {
        // SeqCst: the look that follows what the thread says of itself (`presence`). Pairs with `change`.
        self.events.load(Ordering::SeqCst) != 0
    }

    /// Which events wait, while nobody sends.
    pub fn events(&self) -> Events {
        Events::from_bits(self.events.load(Ordering::Relaxed))
    }

    /// Takes all events out.
    pub fn take_events(&self) -> Events {
        // Acquire pairs with `change`.
        Events::from_bits(self.events.swap(0, Ordering::Acquire))
    }

    /// Sets which events wait, in place of those that do, while nobody sends.
    pub(crate) fn set_events(&self, events: Events) {
        self.events.store(events.to_bits(), Ordering::Relaxed);
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
        assert_eq!(inbox.take_events(), Events { init: true, ..Events::default() }, "no earlier SIPI outlives INIT");
        inbox.put_init();
        inbox.put_sipi(9);
        inbox.put_nmi();
        assert!(inbox.has_events());
        assert_eq!(inbox.take_events(), Events { nmis: 1, init: true, sipi: Some(9) });
        assert!(!inbox.has_events());
    }

    #[test]
    fn of_two_sipis_the_first_counts() {
        let inbox = Inbox::new();
        inbox.put_sipi(9);
        inbox.put_sipi(0x12);
        assert_eq!(inbox.take_events().sipi, Some(9));
    }

    #[test]
    fn nmis_are_counted_up_to_two() {
        let inbox = Inbox::new();
        let nmis_after = |sent: u32| {
            (0..sent).for_each(|_| _ = inbox.put_nmi());
            inbox.take_events()
        };
        assert_eq!([0, 1, 2, 3, 9].map(|sent| nmis_after(sent).nmis), [0, 1, 2, 2, 2]);
        inbox.put_sipi(9);
        assert_eq!(nmis_after(5), Events { nmis: 2, init: false, sipi: Some(9) }, "a count stays where it belongs");
    }

    #[test]
    fn no_earlier_nmi_outlives_init() {
        let inbox = Inbox::new();
        inbox.put_nmi();
        inbox.put_init();
        assert_eq!(inbox.events(), Events { init: true, ..Events::default() });
        inbox.put_nmi();
        assert_eq!(inbox.take_events(), Events { nmis: 1, init: true, sipi: None });
    }

    #[test]
    fn events_are_set_as_they_were() {
        let inbox = Inbox::new();
        for events in [
            Events::default(),
            Events { nmis: 2, init: true, sipi: Some(0xFF) },
            Events { nmis: 1, init: false, sipi: Some(0) },
        ] {
            inbox.set_events(events);
            assert_eq!(inbox.events(), events);
        }
    }

    #[test]
    fn what_a_late_sender_leaves_after_a_reset_goes_with_the_first_enable() {
        let inbox = Inbox::new();
        inbox.reset(0);
        inbox.put_vector(0x40);
        inbox.enable(1);
        assert_eq!((inbox.irr().highest(), inbox.published()), (None, 1));
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
