//! What the VMM tells the guest while it keeps a vCPU's thread from it ([`UserPage::away_since`]).

use crate::events::clock::CommonClock;
use guest_stub::abi::{self, UserPage, area};
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vm_memory::{AtomicAccess, Bytes as _, GuestAddress, GuestMemoryMmap};

/// A vCPU's words about it. Times are the host's TSC; the guest reads them on the common clock.
#[derive(Debug, Clone)]
pub struct Away {
    memory: GuestMemoryMmap,
    clock: Arc<CommonClock>,
    area: u64,
}

impl Away {
    /// The words of `vcpu`.
    pub fn of(vcpu: usize, memory: GuestMemoryMmap, clock: Arc<CommonClock>) -> Self {
        Self { memory, clock, area: abi::vcpu_area(vcpu) + area::USER }
    }

    /// Its thread has been kept from the guest since then, and will be until then at least.
    pub fn begin(&self, since: u64, until: u64) {
        self.extend(until);
        // Release pairs with the initiator's Acquire: it sees this end, or a later one.
        self.store(offset_of!(UserPage, away_since), self.clock.of_host(since), Ordering::Release);
    }

    /// It will be for longer: until then at least.
    pub fn extend(&self, until: u64) {
        self.store(offset_of!(UserPage, away_until), self.clock.of_host(until), Ordering::Relaxed);
    }

    /// It is not, any more.
    pub fn end(&self) {
        self.store(offset_of!(UserPage, away_since), 0_u64, Ordering::Relaxed);
    }

    /// How many calls it has handled, as the guest says.
    pub fn handled(&self) -> u32 {
        let address = GuestAddress(self.area + offset_of!(UserPage, handled) as u64);
        // Relaxed: the vCPU's own thread asks, which is out of the guest.
        let handled = self.memory.load(address, Ordering::Relaxed);
        debug_assert!(handled.is_ok(), "each vCPU's area is in the machine's memory");
        handled.unwrap_or_default()
    }

    fn store<T: AtomicAccess>(&self, offset: usize, value: T, ordering: Ordering) {
        let stored = self.memory.store(value, GuestAddress(self.area + offset as u64), ordering);
        debug_assert!(stored.is_ok(), "each vCPU's area is in the machine's memory");
    }
}
