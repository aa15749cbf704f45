//! The host as an initiator of broadcast calls: its callers, and what of the guest's memory they use.

use super::host_call::Error;
use crate::events::clock::{self, CommonClock};
use crate::vm::Vm;
use crate::vm::bus::Bus;
use crate::vm::wire;
use guest_stub::abi::{self, CommandPage, HOST_CALLERS, HOST_INITIATOR, HostCalls, MAX_VCPUS, Mask, Wait};
use guest_stub::rendezvous::{Generations, Packet, Slot};
use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// The host's side of a machine's broadcast calls. Shared by all threads.
#[derive(Debug)]
pub struct HostCaller {
    memory: GuestMemoryMmap,
    bus: Arc<Bus>,
    tsc_khz: u64,
    clock: CommonClock,
    taken: [AtomicBool; HOST_CALLERS],
    /// Whether the vCPUs that serve calls sleep while they wait.
    parks: AtomicBool,
    addresses: OnceLock<HostCalls>,
}

/// One of the callers, with a packet of its own; for one call at a time.
#[derive(Debug)]
pub struct Caller<'a> {
    host: &'a HostCaller,
    number: usize,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        // Release pairs with `HostCaller::caller`.
        self.host.taken[self.number].store(false, Ordering::Release);
    }
}

/// A type that the guest may change at any time: all that it holds is atomic, and any bits are a value of it.
///
/// # Safety
/// As said.
pub(super) unsafe trait InGuest {}
// SAFETY: atomics and padding. `Slot::packet` believes the pointer in it, and is never called here.
unsafe impl InGuest for Slot {}
// SAFETY: atomics and padding.
unsafe impl InGuest for Packet {}
// SAFETY: one atomic.
unsafe impl InGuest for Generations {}

impl HostCaller {
    /// For this machine.
    pub(super) fn of(vm: &Vm) -> Self {
        Self {
            memory: vm.memory().clone(),
            bus: vm.bus().clone(),
            tsc_khz: vm.tsc().khz,
            clock: vm.tsc().clock.clone(),
            taken: std::array::from_fn(|_| AtomicBool::new(false)),
            parks: AtomicBool::new(false),
            addresses: OnceLock::new(),
        }
    }

    /// A caller, which is free again when it is dropped.
    ///
    /// # Errors
    /// [`Error::TooManyCallers`].
    pub fn caller(&self) -> Result<Caller<'_>, Error> {
        // Acquire pairs with the drop of whoever had it.
        let number = self.taken.iter().position(|taken| !taken.swap(true, Ordering::Acquire));
        number.map(|number| Caller { host: self, number }).ok_or(Error::TooManyCallers)
    }

    /// What vCPU 0 has said before its first doorbell.
    pub(super) fn addresses(&self) -> Result<&HostCalls, Error> {
        if let Some(addresses) = self.addresses.get() {
            return Ok(addresses);
        }
        let address = abi::COMMAND_PAGE + offset_of!(CommandPage, host_calls) as u64;
        let addresses: HostCalls = wire::read(&self.memory, GuestAddress(address))?;
        if addresses.slots == 0 {
            return Err(Error::BadGuest("slots"));
        }
        Ok(self.addresses.get_or_init(|| addresses))
    }

    /// The `T` at a guest-physical address.
    pub(super) fn view<T: InGuest>(&self, address: u64, what: &'static str) -> Result<&T, Error> {
        let bad = || Error::BadGuest(what);
        let slice = self.memory.get_slice(GuestAddress(address), size_of::<T>()).map_err(|_| bad())?;
        let pointer = slice.ptr_guard_mut().as_ptr().cast::<T>();
        if !pointer.is_aligned() {
            return Err(bad());
        }
        // SAFETY: in bounds of a mapping that lives as long as `self.memory`, aligned, and by `InGuest` any bits are a value,
        // which may change under a shared reference.
        Ok(unsafe { &*pointer })
    }

    pub(super) fn slot(&self, vcpu: usize) -> Result<&Slot, Error> {
        let offset = (vcpu % MAX_VCPUS * size_of::<Slot>()) as u64;
        self.view(self.addresses()?.slots.saturating_add(offset), "slots")
    }

    /// The generations that all initiators take theirs from.
    pub(super) fn generations(&self) -> Result<&Generations, Error> {
        self.view(self.addresses()?.generations, "generations")
    }

    /// The vCPUs serve calls, and wait so for each other and the caller.
    pub(super) fn set_wait(&self, wait: Wait) {
        // Relaxed: who calls from another thread got there after this.
        self.parks.store(wait == Wait::Park, Ordering::Relaxed);
    }

    /// How the vCPUs and a caller wait for each other.
    pub(super) fn wait(&self) -> Wait {
        if self.parks.load(Ordering::Relaxed) { Wait::Park } else { Wait::Spin }
    }

    /// The machine's message bus.
    pub(super) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The time on the common clock, which is vCPU 0's TSC.
    pub(super) fn tsc(&self) -> u64 {
        self.clock.of_host(clock::host_tsc())
    }

    /// A time in cycles of the guest's TSC.
    pub(super) fn cycles(&self, time: Duration) -> u64 {
        clock::cycles(time, self.tsc_khz)
    }
}

impl<'a> Caller<'a> {
    /// The caller as an initiator: a number after all vCPUs'.
    pub fn number(&self) -> usize {
        HOST_INITIATOR + self.number
    }

    /// The host's side that it is one of the callers of.
    pub(super) fn host(&self) -> &'a HostCaller {
        self.host
    }

    pub(super) fn packet_address(&self) -> Result<u64, Error> {
        let offset = (self.number * size_of::<Packet>()) as u64;
        Ok(self.host.addresses()?.packets.saturating_add(offset))
    }

    /// Tells the guest whom the next call is for.
    pub(super) fn write_members(&self, members: Mask) -> Result<(), Error> {
        let page = abi::COMMAND_PAGE + offset_of!(CommandPage, host_members) as u64;
        let place = GuestAddress(page + (self.number * size_of::<Mask>()) as u64);
        Ok(self.host.memory.write_obj(members, place)?)
    }
}
