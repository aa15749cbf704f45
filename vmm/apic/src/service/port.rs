//! A vCPU as the service sees it: what is delivered to it, and how its thread is fetched.

use crate::addressing::{Addressing, Mode};
use crate::inbox::Inbox;
use crate::presence::Place;

/// How a vCPU's thread is fetched.
pub trait Fetch {
    /// Gets the thread out of the guest, or keeps it from going in: it is there, or on its way.
    fn interrupt(&self);
    /// Wakes the thread: it is asleep, or about to be.
    fn wake(&self);
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Local APICs that have taken it.
    pub accepted: u32,
    /// vCPUs that had to be fetched.
    pub fetched: u32,
}

/// A vCPU as the service sees it.
#[derive(Debug)]
pub(super) struct Port<F> {
    pub(super) inbox: Inbox,
    pub(super) fetch: F,
}

impl<F: Fetch> Port<F> {
    #[inline]
    pub(super) fn addressing(&self) -> Addressing {
        Addressing::from_bits(self.inbox.published())
    }

    /// Delivers an interrupt. A local APIC that software has disabled takes none (SDM Vol. 3A 12.4.7.2).
    #[inline]
    pub(super) fn interrupt(&self, vector: u8, sent: &mut Sent) {
        if self.addressing().enabled {
            let place = self.inbox.put_vector(vector);
            self.accepted(place, sent);
        }
    }

    /// Delivers what has no vector to be kept in the IRR. A local APIC that IA32_APIC_BASE has switched off is not there
    /// (SDM Vol. 3A 12.4.3).
    pub(super) fn signal(&self, event: Event, sent: &mut Sent) {
        if self.addressing().mode != Mode::Disabled {
            let place = match event {
                Event::Nmi => self.inbox.put_nmi(),
                Event::Init => self.inbox.put_init(),
                Event::Sipi(vector) => self.inbox.put_sipi(vector),
            };
            self.accepted(place, sent);
        }
    }

    #[inline]
    fn accepted(&self, place: Option<Place>, sent: &mut Sent) {
        sent.accepted += 1;
        if let Some(place) = place {
            self.fetch_from(place);
            sent.fetched += 1;
        }
    }

    #[inline]
    pub(super) fn fetch_from(&self, place: Place) {
        match place {
            Place::Guest => self.fetch.interrupt(),
            Place::Parked => self.fetch.wake(),
        }
    }
}

/// A message without a vector of its own in the IRR.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Nmi,
    Init,
    Sipi(u8),
}
