//! Broadcast calls that the host starts: no processor of the guest makes them, all can be called.
//!
//! The host takes the initiator's part of the guest's own rendezvous ([`guest_stub::rendezvous`]), in guest memory: it owns its
//! targets' slots, publishes a packet, sends the interrupt, opens the gate and waits for the done words. So a call of the host
//! and one of a vCPU keep each other's order, and a target cannot tell them apart.

use crate::events::clock;
use crate::vcpu::interrupt::{Delivered, Injection, InterruptBus};
use crate::vm::bus::Bus;
use crate::vm::wire;
use guest_stub::abi::{
    self, CommandPage, HOST_CALLERS, HOST_INITIATOR, HostCalls, MAX_VCPUS, Mask, VECTOR_IPI, Worker,
};
use guest_stub::mask;
use guest_stub::rendezvous::{self, Delivery, Generation, Generations, Initiator, Outcome, Packet, Slot, Until, Work};
use std::cell::Cell;
use std::io;
use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Why a call of the host has no results.
#[derive(Debug, Error)]
pub enum Error {
    /// A target that the machine does not have.
    #[error("vCPU {vcpu} is to be called, and the machine has {vcpus} (call 0 to {})", .vcpus - 1)]
    NoSuchVcpu {
        /// The target.
        vcpu: usize,
        /// How many there are.
        vcpus: usize,
    },
    /// All callers are taken.
    #[error("{HOST_CALLERS} threads are calling at once, which is the most (make fewer calls at a time)")]
    TooManyCallers,
    /// Other calls kept a target busy for all of the deadline.
    #[error("other calls kept the targets busy for {} ms (raise the deadline)", .0.as_millis())]
    Busy(Duration),
    /// Somebody did not arrive, and nobody has run the worker.
    #[error("{} did not arrive within {} ms (is every vCPU in the guest, with interrupts on?)", list(.missing), .deadline.as_millis())]
    Silent {
        /// Who.
        missing: Vec<usize>,
        /// The call's deadline.
        deadline: Duration,
    },
    /// Somebody has not returned from the worker.
    #[error("{} did not return from the worker within {} ms", list(.missing), .deadline.as_millis())]
    Overstayed {
        /// Who.
        missing: Vec<usize>,
        /// The call's deadline.
        deadline: Duration,
    },
    /// The guest has not said what the host needs, or not what can be.
    #[error("the guest's word for its {0} makes no sense (the guest image is damaged or hostile)")]
    BadGuest(&'static str),
    /// KVM does not take the interrupt.
    #[error("KVM_SIGNAL_MSI: {0}")]
    Signal(io::Error),
    /// Guest memory cannot be accessed.
    #[error("accessing guest memory: {0}")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

fn list(vcpus: &[usize]) -> String {
    let names: Vec<_> = vcpus.iter().map(ToString::to_string).collect();
    format!("vCPU{} {}", if vcpus.len() == 1 { "" } else { "s" }, names.join(", "))
}

/// Whom the host calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets<'a> {
    /// All vCPUs, by one message to the broadcast destination.
    All,
    /// All vCPUs, by a message each.
    Each,
    /// These, by a message each.
    These(&'a [usize]),
}

/// What the host calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCall<'a> {
    /// What runs.
    pub worker: Worker,
    /// With which argument.
    pub argument: u64,
    /// On whom.
    pub targets: Targets<'a>,
    /// Whether each worker begins with an exit.
    pub observe: bool,
    /// After which time the call is given up.
    pub deadline: Duration,
}

/// What a completed call has brought. Stamps are in cycles of the guest's TSC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// The call's number.
    pub generation: u32,
    /// Before the send.
    pub t0: u64,
    /// After the send.
    pub t1: u64,
    /// Every completion has been seen.
    pub t2: u64,
    /// What each target's worker has returned, by rising number.
    pub values: Vec<(usize, u64)>,
    /// The interrupt was sent a second time: somebody had not arrived after half the deadline.
    pub resent: bool,
}

/// The host's side of a machine's broadcast calls. Shared by all threads.
#[derive(Debug)]
pub struct HostCaller {
    memory: GuestMemoryMmap,
    bus: Arc<Bus>,
    tsc_khz: u64,
    /// vCPU 0's TSC minus the host's.
    tsc_offset: i64,
    taken: [AtomicBool; HOST_CALLERS],
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
unsafe trait InGuest {}
// SAFETY: atomics and padding. `Slot::packet` believes the pointer in it, and is never called here.
unsafe impl InGuest for Slot {}
// SAFETY: atomics and padding.
unsafe impl InGuest for Packet {}
// SAFETY: one atomic.
unsafe impl InGuest for Generations {}

impl HostCaller {
    /// For a machine with this memory and bus, whose guest's TSC runs at `tsc_khz` and is the host's plus `tsc_offset`.
    pub(crate) fn new(memory: GuestMemoryMmap, bus: Arc<Bus>, tsc_khz: u64, tsc_offset: i64) -> Self {
        let taken = std::array::from_fn(|_| AtomicBool::new(false));
        Self { memory, bus, tsc_khz, tsc_offset, taken, addresses: OnceLock::new() }
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
    fn addresses(&self) -> Result<&HostCalls, Error> {
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
    fn view<T: InGuest>(&self, address: u64, what: &'static str) -> Result<&T, Error> {
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

    fn slot(&self, vcpu: usize) -> Result<&Slot, Error> {
        let offset = (vcpu % MAX_VCPUS * size_of::<Slot>()) as u64;
        self.view(self.addresses()?.slots.saturating_add(offset), "slots")
    }

    /// The guest's TSC.
    fn tsc(&self) -> u64 {
        clock::host_tsc().wrapping_add_signed(self.tsc_offset)
    }
}

/// The targets' slots.
struct Called<'a>(Vec<(usize, &'a Slot)>);

impl Called<'_> {
    fn slots(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.0.iter().map(|&(_, slot)| slot)
    }

    fn without(&self, has: impl Fn(&Slot) -> bool) -> Vec<usize> {
        self.0.iter().filter(|(_, slot)| !has(slot)).map(|&(vcpu, _)| vcpu).collect()
    }
}

impl rendezvous::Targets for Called<'_> {
    fn all<'a>(&'a self, holds: impl FnMut(&'a Slot) -> bool) -> bool {
        self.slots().all(holds)
    }
}

impl Caller<'_> {
    /// The caller as an initiator: a number after all vCPUs'.
    pub fn number(&self) -> usize {
        HOST_INITIATOR + self.number
    }

    /// Runs the worker on all targets at once, and returns when all have ended.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`] but [`Error::TooManyCallers`].
    pub fn broadcast(&mut self, call: &HostCall<'_>) -> Result<Results, Error> {
        self.broadcast_and(call, |_| ())
    }

    /// As [`Caller::broadcast`]; `look` sees the results while nobody else can call the targets.
    ///
    /// # Errors
    /// As [`Caller::broadcast`].
    pub fn broadcast_and(&mut self, call: &HostCall<'_>, look: impl FnOnce(&Results)) -> Result<Results, Error> {
        let host = self.host;
        let vcpus = host.bus.vcpus();
        let members = members(call.targets, vcpus)?;
        let addresses = host.addresses()?;
        let workers = if call.observe { &addresses.observed_workers } else { &addresses.workers };
        let worker = workers.get(call.worker as usize).copied().unwrap_or(0);
        let packet_address = addresses.packets.saturating_add((self.number * size_of::<Packet>()) as u64);
        let packet: &Packet = host.view(packet_address, "packets")?;
        let generations: &Generations = host.view(addresses.generations, "generations")?;
        let targets = mask::indices(&members).map(|vcpu| Ok((vcpu, host.slot(vcpu)?)));
        let targets = Called(targets.collect::<Result<_, Error>>()?);

        let start = host.tsc();
        let cycles = clock::cycles(call.deadline, host.tsc_khz);
        let initiator = u32::try_from(self.number()).unwrap_or(u32::MAX - 1);
        let in_time = || {
            std::thread::yield_now();
            host.tsc().wrapping_sub(start) < cycles
        };
        if !rendezvous::try_acquire(targets.slots(), initiator, in_time) {
            return Err(Error::Busy(call.deadline));
        }
        let page = abi::COMMAND_PAGE + offset_of!(CommandPage, host_members) as u64;
        let place = GuestAddress(page + (self.number * size_of::<Mask>()) as u64);
        let written = host.memory.write_obj(members, place);
        let now = host.tsc();
        let work = Work {
            worker: usize::try_from(worker).unwrap_or(0),
            argument: usize::try_from(call.argument).unwrap_or(0),
            participants: u32::try_from(targets.0.len()).unwrap_or(u32::MAX),
            deadline: now.wrapping_add(cycles),
        };
        let generation = generations.issue();
        packet.publish(generation, work);
        for slot in targets.slots() {
            // SAFETY: the guest itself has said that its packets lie there, and it is the guest that reads them.
            unsafe { slot.set_packet_address(usize::try_from(packet_address).unwrap_or(0)) };
            slot.request_again(generation, Delivery::Interrupt);
        }
        let sending = Sending {
            host,
            by_broadcast: call.targets == Targets::All,
            targets: &targets,
            resend_at: now.wrapping_add(cycles / 2),
            deadline: now.wrapping_add(cycles),
            stamps: Cell::default(),
            error: Cell::default(),
        };
        let (outcome, resent) = rendezvous::call(&sending, packet, generation, &targets);
        let t2 = host.tsc();
        let values = targets.0.iter().map(|&(vcpu, slot)| (vcpu, slot.result() as u64)).collect();
        let results = sending.conclude(call, generation, outcome, &targets).map(|(t0, t1)| Results {
            generation: generation.get(),
            t0,
            t1,
            t2,
            values,
            resent,
        });
        if let Ok(results) = &results {
            look(results);
        }
        rendezvous::release(targets.slots());
        written?;
        results
    }
}

/// Whom a call is for.
fn members(targets: Targets<'_>, vcpus: usize) -> Result<Mask, Error> {
    let mut members = [0; abi::MASK_WORDS];
    match targets {
        Targets::All | Targets::Each => (0..vcpus).for_each(|vcpu| mask::insert(&mut members, vcpu)),
        Targets::These(these) => {
            for &vcpu in these {
                if vcpu >= vcpus {
                    return Err(Error::NoSuchVcpu { vcpu, vcpus });
                }
                mask::insert(&mut members, vcpu);
            }
        }
    }
    Ok(members)
}

/// The initiator's part of one call.
struct Sending<'a> {
    host: &'a HostCaller,
    by_broadcast: bool,
    targets: &'a Called<'a>,
    resend_at: u64,
    deadline: u64,
    /// Of the first send.
    stamps: Cell<Option<(u64, u64)>>,
    error: Cell<Option<io::Error>>,
}

impl Sending<'_> {
    fn interrupt(&self) -> io::Result<()> {
        let interrupt = Injection::Fixed(VECTOR_IPI);
        // One that nobody takes is one that nobody answers: the deadline tells who.
        let ignore = |_: Delivered| ();
        if self.by_broadcast {
            return self.host.bus.broadcast(interrupt).map(ignore);
        }
        self.targets.0.iter().try_for_each(|&(vcpu, _)| self.host.bus.raise(vcpu, interrupt).map(ignore))
    }

    /// What to make of the outcome: the stamps of the send, or the reason why there are no results.
    fn conclude(
        &self,
        call: &HostCall<'_>,
        generation: Generation,
        outcome: Outcome,
        targets: &Called<'_>,
    ) -> Result<(u64, u64), Error> {
        let deadline = call.deadline;
        if let Some(error) = self.error.take() {
            return Err(Error::Signal(error));
        }
        match outcome {
            Outcome::Done => Ok(self.stamps.get().unwrap_or_default()),
            Outcome::Aborted => {
                Err(Error::Silent { missing: targets.without(|slot| slot.has_arrived(generation)), deadline })
            }
            Outcome::Overstayed => {
                Err(Error::Overstayed { missing: targets.without(|slot| slot.is_done(generation)), deadline })
            }
        }
    }
}

impl Initiator for Sending<'_> {
    fn send(&self) {
        // The requests are visible before the interrupt is: sending is a system call or an atomic read-modify-write, and
        // either orders earlier stores before what it does.
        let t0 = self.host.tsc();
        if let Err(error) = self.interrupt() {
            self.error.set(Some(error));
        }
        let t1 = self.host.tsc();
        self.stamps.set(self.stamps.get().or(Some((t0, t1))));
    }

    fn takes_own_interrupt(&self, _: Until) -> bool {
        true
    }

    fn raise(&self) {}

    fn lower(&self) {}

    fn wait(&self, until: Until, holds: impl Fn() -> bool) -> bool {
        const POLLS: usize = 64;
        let limit = match until {
            Until::Resend => self.resend_at,
            Until::Deadline => self.deadline,
        };
        loop {
            for _ in 0..POLLS {
                if holds() {
                    return true;
                }
                std::hint::spin_loop();
            }
            // The vCPU that is waited for may need this CPU.
            std::thread::yield_now();
            if self.host.tsc() > limit {
                return holds();
            }
        }
    }

    fn work(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_checked_and_become_a_mask() {
        let count = |targets, vcpus| {
            members(targets, vcpus).map(|members| members.iter().map(|word| word.count_ones()).sum::<u32>())
        };
        assert_eq!(count(Targets::All, 65).unwrap(), 65);
        assert_eq!(count(Targets::Each, 3).unwrap(), 3);
        assert_eq!(count(Targets::These(&[2, 0, 2]), 3).unwrap(), 2, "a set");
        assert_eq!(count(Targets::These(&[]), 3).unwrap(), 0);
        let error = count(Targets::These(&[1, 3]), 3).unwrap_err();
        assert_eq!(error.to_string(), "vCPU 3 is to be called, and the machine has 3 (call 0 to 2)");
    }

    #[test]
    fn the_silent_are_named() {
        let error = Error::Silent { missing: vec![1, 4], deadline: Duration::from_millis(20) };
        assert!(error.to_string().starts_with("vCPUs 1, 4 did not arrive within 20 ms"), "{error}");
    }
}
