//! A vCPU's thread: enters the guest, records each exit, does what follows it, and stops for the machine's owner.

use super::away::Away;
use super::interrupt::{self, Delivered, Injection, InterruptBus};
use super::next::{Next, next};
use super::parking::Parking;
use super::refusals::{Patience, Refusals};
use super::run::Vcpu;
use super::state::VcpuState;
use super::stop::{Resume, StopReason, Stopped};
use super::test_hooks::TestHooks;
use crate::events::clock::host_tsc;
use crate::events::exit::{Exit, ExitKind};
use crate::events::stays::{Ring, Stay};
use crate::events::wakeups::Counters;
use crate::native::pinning::pin_this_thread;
use crate::sandbox::{self, ThreadKind};
use kipi_kvm_apic::{Kick, Request};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

/// Everything that a vCPU's thread owns or shares.
#[derive(Debug)]
pub struct VcpuThread<B> {
    pub vcpu: Vcpu,
    pub index: usize,
    /// The machine's bus, for interrupts that this thread raises.
    pub bus: Arc<B>,
    /// Where this thread sleeps while its vCPU waits for another.
    pub parking: Arc<Parking>,
    /// What a conformance test wants to happen at exits.
    pub hooks: Arc<TestHooks>,
    /// The CPU to run on, if any.
    pub cpu: Option<usize>,
    /// Requests to this thread.
    pub kick: Arc<Kick>,
    /// The record of stays in the guest.
    pub ring: Arc<Ring>,
    /// What the guest is told while this thread keeps it out.
    pub away: Away,
    /// KVM's counters of all vCPUs, and their threads' CPU clocks.
    pub counters: Arc<Counters>,
    /// Where this thread says that it has stopped.
    pub stopped: Sender<Stopped>,
    /// Leave to go on.
    pub resume: Receiver<Resume>,
    /// KVM_RUN's refusals to enter the guest, since it last did.
    pub refusals: Refusals,
}

impl<B: InterruptBus> VcpuThread<B> {
    /// The thread's whole life.
    pub fn run(mut self) {
        sandbox::confine(ThreadKind::Vcpu);
        self.kick.thread_started();
        self.counters.clocks().is_this_thread(self.index);
        if let Err(reason) = self.pin() {
            // The machine's owner does not let it go on: its numbers would be those of another placement.
            let _ = self.stop(reason);
            return;
        }
        while self.step().is_continue() {}
    }

    fn pin(&self) -> Result<(), StopReason> {
        let Some(cpu) = self.cpu else { return Ok(()) };
        pin_this_thread(cpu).map_err(|error| StopReason::NotPinned { cpu, errno: error.raw_os_error() })
    }

    /// One stay in the guest, and what follows it.
    ///
    /// From KVM_RUN's return to the next KVM_RUN, an exit costs three reads of the TSC, the ring's seven plain stores and the
    /// refusals' one, and what the exit itself asks for. No lock, no allocation, no system call but those of [`VcpuThread::carry_out`] and
    /// of an exit that is to keep the guest out.
    fn step(&mut self) -> ControlFlow<()> {
        let exit = self.enter();
        let request = match exit.kind {
            // Not at other exits, which it would cost an atomic exchange.
            ExitKind::Interrupted | ExitKind::Again => self.kick.acknowledge(),
            _ => Request::Run,
        };
        self.refusals.note(exit.kind);
        let next = match next(exit, request, self.vcpu.local_apics(), self.bus.vcpus()) {
            Next::Enter => match self.refusals.patience() {
                Patience::Enter => Next::Enter,
                Patience::StayOut(time) => Next::StayOut(time),
                Patience::GiveUp(exit) => Next::Stop(StopReason::Unhandled(exit)),
            },
            next => next,
        };
        self.carry_out(self.hooks.in_place_of(next, self.index, exit))
    }

    /// The one place where the guest runs, and where its exits are recorded.
    fn enter(&mut self) -> Exit {
        let mut stay = self.vcpu.run();
        if stay.exit.kind == ExitKind::Out {
            self.keep_out(&mut stay);
        }
        self.ring.record(stay);
        stay.exit
    }

    /// Serves an exit as a device model does that takes as long as the guest asks, of 32 bits: the thread is busy meanwhile. It goes
    /// on early if it is asked for something.
    fn keep_out(&self, stay: &mut Stay) {
        let until = stay.returned.saturating_add(stay.exit.payload);
        self.ring.outs().begin(self.away.handled(), stay.returned);
        self.away.begin(stay.returned, until);
        while host_tsc() < until && self.kick.request() == Request::Run {
            std::hint::spin_loop();
        }
        self.away.end();
        stay.served = host_tsc();
        self.ring.outs().end(stay.served);
    }

    fn carry_out(&self, next: Next) -> ControlFlow<()> {
        match next {
            Next::Enter => {}
            Next::YieldCpu => std::thread::yield_now(),
            Next::StayOut(time) => std::thread::sleep(time),
            Next::InterruptItself(vector) => self.interrupt_itself(vector),
            Next::Send(vector, to) => {
                if let Err(error) = interrupt::send(self.bus.as_ref(), self.index, Injection::Fixed(vector), to) {
                    let errno = error.raw_os_error().unwrap_or_default();
                    return self.stop(StopReason::NotSent { errno });
                }
            }
            Next::Park(address) => {
                if self.parking.park(self.index, address).is_none() {
                    return self.stop(StopReason::Unhandled(Exit::with(ExitKind::Park, address)));
                }
            }
            Next::Unpark(address) => {
                if self.parking.unpark(address).is_none() {
                    return self.stop(StopReason::Unhandled(Exit::with(ExitKind::Unpark, address)));
                }
            }
            Next::Mark => self.counters.mark(),
            Next::Stop(reason) => return self.stop(reason),
            Next::End => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// Tells the machine's owner, and waits for leave to go on.
    fn stop(&self, reason: StopReason) -> ControlFlow<()> {
        let state = match reason {
            StopReason::Doorbell | StopReason::NotPinned { .. } | StopReason::NotSent { .. } => None,
            StopReason::Paused | StopReason::Unhandled(_) => VcpuState::read(&self.vcpu),
        };
        let told = self.stopped.send(Stopped { vcpu: self.index, reason, state });
        // Either fails when the machine goes away.
        if told.is_ok() && self.resume.recv().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Raises a device's interrupt on this vCPU. It is out of the guest, so that nothing but senders changes its IRR meanwhile.
    fn interrupt_itself(&self, vector: u8) {
        let was_pending = match &self.vcpu {
            Vcpu::User(vcpu) => vcpu.is_pending(vector),
            Vcpu::Kernel(vcpu) => vcpu.get_lapic().is_ok_and(|lapic| interrupt::is_pending(&lapic, vector)),
        };
        // One that is not delivered is not counted: the test then misses it.
        if matches!(self.bus.raise(self.index, Injection::Fixed(vector)), Ok(Delivered::Accepted)) {
            self.hooks.count_device_interrupt(was_pending);
        }
    }
}
