//! A broadcast call that the host makes: no processor of the guest is its initiator, all can be called.
//!
//! The host takes the initiator's part of the guest's own rendezvous ([`guest_stub::rendezvous`]), in guest memory: it owns its
//! targets' slots, publishes a packet, sends the interrupt, opens the gate and waits for the done words. So a call of the host
//! and one of a vCPU keep each other's order, and a target cannot tell them apart.

use super::host_call::{Callees, Error, HostCall, HostResults, members};
use super::host_caller::{Caller, HostCaller};
use crate::native::sleeping;
use crate::vcpu::interrupt::{Delivered, Injection, InterruptBus as _};
use guest_stub::abi::{VECTOR_IPI, Wait};
use guest_stub::mask;
use guest_stub::rendezvous::{
    self, Delivery, Gathering, Generation, Initiator, Outcome, Packet, Sleeper, Slot, Until, Work,
};
use std::cell::Cell;
use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// How long the host sleeps before it looks at the clock.
const LOOK: Duration = Duration::from_millis(10);

impl Caller<'_> {
    /// Runs the worker on all targets at once, and returns when all have ended.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`] but [`Error::TooManyCallers`].
    pub fn broadcast(&mut self, call: &HostCall<'_>) -> Result<HostResults, Error> {
        self.broadcast_and(call, |_| ())
    }

    /// As [`Caller::broadcast`]; `look` sees the results while nobody else can call the targets.
    ///
    /// # Errors
    /// As [`Caller::broadcast`].
    pub fn broadcast_and(
        &mut self,
        call: &HostCall<'_>,
        look: impl FnOnce(&HostResults),
    ) -> Result<HostResults, Error> {
        let host = self.host();
        let members = members(call.targets, host.bus().vcpus())?;
        let targets = mask::indices(&members).map(|vcpu| Ok((vcpu, host.slot(vcpu)?)));
        let targets = Targets(targets.collect::<Result<_, Error>>()?);
        let start = host.tsc();
        let cycles = host.cycles(call.deadline);
        let initiator = u32::try_from(self.number()).unwrap_or(u32::MAX - 1);
        let in_time = || {
            std::thread::yield_now();
            host.tsc().wrapping_sub(start) < cycles
        };
        if !rendezvous::try_acquire(targets.slots(), initiator, in_time) {
            return Err(Error::Busy(call.deadline));
        }
        let results = self.write_members(members).and_then(|()| self.call(call, &targets));
        if let Ok(results) = &results {
            look(results);
        }
        rendezvous::release(targets.slots());
        results
    }

    /// The call itself, of targets whose slots this caller owns.
    fn call(&self, call: &HostCall<'_>, targets: &Targets<'_>) -> Result<HostResults, Error> {
        let host = self.host();
        let wait = host.wait();
        let addresses = host.addresses()?;
        let workers = if call.observe { &addresses.observed_workers } else { &addresses.workers };
        let worker = workers.get(call.worker as usize).copied().unwrap_or(0);
        let packet_address = self.packet_address()?;
        let packet: &Packet = host.view(packet_address, "packets")?;
        let generations = host.generations()?;
        let now = host.tsc();
        let cycles = host.cycles(call.deadline);
        let work = Work {
            worker: usize::try_from(worker).unwrap_or(0),
            argument: usize::try_from(call.argument).unwrap_or(0),
            participants: u32::try_from(targets.0.len()).unwrap_or(u32::MAX),
            deadline: now.wrapping_add(cycles),
        };
        let generation = generations.issue();
        if wait == Wait::Park {
            packet.count_targets(generation, work.participants);
        }
        packet.publish(generation, work);
        for slot in targets.slots() {
            // SAFETY: the guest itself has said that its packets lie there, and it is the guest that reads them.
            unsafe { slot.set_packet_address(usize::try_from(packet_address).unwrap_or(0)) };
            slot.request_again(generation, Delivery::Interrupt);
        }
        let sending = Sending {
            host,
            wait,
            by_broadcast: call.targets == Callees::All,
            targets,
            resend_at: now.wrapping_add(cycles / 2),
            deadline: now.wrapping_add(cycles),
            stamps: Cell::default(),
            error: Cell::default(),
        };
        let (outcome, resent) = rendezvous::call(&sending, packet, generation, targets);
        let t2 = host.tsc();
        if wait == Wait::Park {
            // Targets sleep until the call is over, or at the gate of one that was given up.
            if outcome == Outcome::Done {
                packet.close(generation);
            }
            sending.wake(packet.gate());
        }
        let values = targets.0.iter().map(|&(vcpu, slot)| (vcpu, slot.result() as u64)).collect();
        let (t0, t1) = sending.conclude(outcome, generation, call.deadline)?;
        Ok(HostResults { generation: generation.get(), t0, t1, t2, values, resent })
    }
}

/// The targets' slots.
struct Targets<'a>(Vec<(usize, &'a Slot)>);

impl Targets<'_> {
    fn slots(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.0.iter().map(|&(_, slot)| slot)
    }

    fn without(&self, has: impl Fn(&Slot) -> bool) -> Vec<usize> {
        self.0.iter().filter(|(_, slot)| !has(slot)).map(|&(vcpu, _)| vcpu).collect()
    }
}

impl rendezvous::Targets for &Targets<'_> {
    fn all<'a>(&'a self, holds: impl FnMut(&'a Slot) -> bool) -> bool {
        self.slots().all(holds)
    }
}

/// The initiator's part of one call.
struct Sending<'a> {
    host: &'a HostCaller,
    wait: Wait,
    by_broadcast: bool,
    targets: &'a Targets<'a>,
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
            return self.host.bus().broadcast(interrupt).map(ignore);
        }
        self.targets.0.iter().try_for_each(|&(vcpu, _)| self.host.bus().raise(vcpu, interrupt).map(ignore))
    }

    /// What to make of the outcome: the stamps of the first send, or the reason why there are no results.
    fn conclude(&self, outcome: Outcome, generation: Generation, deadline: Duration) -> Result<(u64, u64), Error> {
        if let Some(error) = self.error.take() {
            return Err(Error::Signal(error));
        }
        match outcome {
            Outcome::Done => Ok(self.stamps.get().unwrap_or_default()),
            Outcome::Aborted => {
                Err(Error::Silent { missing: self.targets.without(|slot| slot.has_arrived(generation)), deadline })
            }
            Outcome::Overstayed => {
                Err(Error::Overstayed { missing: self.targets.without(|slot| slot.is_done(generation)), deadline })
            }
        }
    }
}

impl Initiator for &Sending<'_> {
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
        let limit = self.limit(until);
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

    fn wait_for_arrivals(
        &self,
        until: Until,
        packet: &Packet,
        generation: Generation,
        targets: &impl rendezvous::Targets,
    ) -> bool {
        match self.wait {
            Wait::Spin => targets.all(|slot| self.wait(until, move || slot.has_arrived(generation))),
            Wait::Park => self.sleep_until_complete(packet.arrivals(), generation, until),
        }
    }

    fn wait_for_ends(&self, packet: &Packet, generation: Generation, targets: &impl rendezvous::Targets) -> bool {
        match self.wait {
            Wait::Spin => targets.all(|slot| self.wait(Until::Deadline, move || slot.is_done(generation))),
            Wait::Park => self.sleep_until_complete(packet.ends(), generation, Until::Deadline),
        }
    }

    fn start(&self, packet: &Packet, generation: Generation) -> bool {
        let is_open = packet.go(generation);
        if is_open && self.wait == Wait::Park {
            self.wake(packet.gate());
        }
        is_open
    }
}

impl Sending<'_> {
    fn limit(&self, until: Until) -> u64 {
        match until {
            Until::Resend => self.resend_at,
            Until::Deadline => self.deadline,
        }
    }

    fn sleep_until_complete(&self, gathering: &Gathering, generation: Generation, until: Until) -> bool {
        gathering.sleep_until_complete(generation, self.limit(until), self)
    }
}

/// The host sleeps as the vCPUs' threads do, for words in guest memory.
impl Sleeper for Sending<'_> {
    fn sleep(&self, word: &AtomicU32, value: u32) {
        sleeping::sleep(word, value, Some(LOOK));
    }

    fn wake(&self, word: &AtomicU32) {
        // Of a word that can be read it does not fail.
        let _ = sleeping::wake(word);
    }

    fn is_late(&self, deadline: u64) -> bool {
        self.host.tsc() > deadline
    }
}
