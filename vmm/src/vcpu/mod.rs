//! A vCPU's thread: runs the guest, records every exit, and answers to the machine that owns it.

mod alarm;
pub mod fetch;
pub mod hooks;
pub mod kick;
mod run;
pub mod user_apic;

use crate::events::exit::{Exit, ExitKind, Ioctl};
use crate::events::stays::Ring;
use crate::vm::bus::{Bus, Delivered};
use crate::vm::msi::{self, Injection};
use guest_stub::msi::To;
use hooks::Hooks;
use kick::{Kick, Request};
use kvm_bindings::{
    KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED,
};
use kvm_ioctls::VcpuFd;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, OnceLock};
use user_apic::UserApic;

/// Where a vCPU is, for a diagnosis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Instruction pointer.
    pub rip: u64,
    /// IRQL, from CR8.
    pub irql: u64,
    /// What KVM says it is doing.
    pub activity: Activity,
}

/// A vCPU's multiprocessing state (KVM_GET_MP_STATE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Running code.
    Running,
    /// In HLT.
    Halted,
    /// Never started: waits for INIT or SIPI.
    WaitingForSipi,
    /// Something else, or KVM does not say.
    Unknown,
}

impl Activity {
    /// The state in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Halted => "halted",
            Self::WaitingForSipi => "waiting for SIPI",
            Self::Unknown => "in an unknown state",
        }
    }
}

/// What a vCPU's thread reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The guest rang the doorbell; the thread waits for a [`Resume`].
    Doorbell,
    /// The guest cannot go on; the thread waits to be stopped.
    Stopped(Exit, Option<Snapshot>),
    /// The thread was asked to pause, and waits for a [`Resume`].
    Paused(Option<Snapshot>),
}

/// Back into the guest. A closed channel means: end.
#[derive(Debug, Clone, Copy)]
pub struct Resume;

/// Everything that a vCPU's thread owns or shares.
#[derive(Debug)]
pub struct Runner {
    /// The vCPU.
    pub vcpu: VcpuFd,
    /// Its index.
    pub index: usize,
    /// The machine's message bus, for interrupts that this thread raises.
    pub bus: Arc<Bus>,
    /// Its local APIC, if that is not in the kernel.
    pub apic: Option<Box<UserApic>>,
    /// What is to happen at exits.
    pub hooks: Arc<Hooks>,
    /// The CPU to run on, if any.
    pub cpu: Option<usize>,
    /// Requests to this thread.
    pub kick: Arc<Kick>,
    /// Where this thread says who it is to the kernel.
    pub thread_id: Arc<OnceLock<u32>>,
    /// The record of exits.
    pub ring: Arc<Ring>,
    /// Reports of this thread, with its index.
    pub news: Sender<(usize, News)>,
    /// Leave to go on.
    pub resume: Receiver<Resume>,
}

/// The calling thread, as the kernel numbers it.
pub fn current_thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

impl Runner {
    /// The thread's whole life.
    pub fn run(mut self) {
        let _ = self.thread_id.set(current_thread_id());
        if let Some(cpu) = self.cpu {
            let mut set = CpuSet::new();
            set.set(cpu);
            // The CPU was allowed when the configuration was checked. Should it have gone away since, the vCPU runs
            // wherever it may.
            let _ = sched_setaffinity(None, &set);
        }
        if let Some(apic) = &self.apic {
            apic.board().service.fetch(self.index).started();
        }
        while self.step() {}
    }

    /// One stay in the guest, and what follows from its end. `false`: the thread's life is over.
    fn step(&mut self) -> bool {
        let exit = self.enter();
        // Ports are four bytes wide.
        let word = u32::try_from(exit.payload).unwrap_or(u32::MAX);
        match exit.kind {
            ExitKind::Observe => {
                if let Some(vector) = self.hooks.device_vector() {
                    self.raise_device_interrupt(vector);
                }
                true
            }
            ExitKind::Step => {
                if let Some(time) = self.hooks.stop(self.index, word) {
                    std::thread::sleep(time);
                }
                true
            }
            ExitKind::Yield => {
                std::thread::yield_now();
                true
            }
            ExitKind::Halt
            | ExitKind::ApicRead
            | ExitKind::ApicWrite
            | ExitKind::Msr
            | ExitKind::InterruptWindow
            | ExitKind::Tpr
                if self.apic.is_some() =>
            {
                true
            }
            ExitKind::Message => match self.send_message(word) {
                Ok(()) => true,
                Err(exit) => self.stop(exit),
            },
            ExitKind::Doorbell => self.report(News::Doorbell),
            ExitKind::Interrupted | ExitKind::Again => match self.kick.pending() {
                Request::Run => {
                    let stall = self.hooks.stalled(self.index);
                    if !stall.is_zero() {
                        std::thread::sleep(stall);
                    }
                    true
                }
                Request::Pause => {
                    let snapshot = self.snapshot();
                    self.report(News::Paused(snapshot))
                }
                Request::Stop => false,
            },
            _ => self.stop(exit),
        }
    }

    fn stop(&self, exit: Exit) -> bool {
        let snapshot = self.snapshot();
        self.report(News::Stopped(exit, snapshot))
    }

    /// Sends the interrupts that the guest has asked for at the message doorbell.
    fn send_message(&self, word: u32) -> Result<(), Exit> {
        let (vector, to) = guest_stub::msi::decode(word).ok_or(Exit::with(ExitKind::Message, word.into()))?;
        let injection = Injection::Fixed(vector);
        let raise = |vcpu: usize| self.bus.raise(vcpu, injection).map(|_| ());
        match to {
            To::All => self.bus.broadcast(injection).map(|_| ()),
            To::AllButSender => (0..self.bus.vcpus()).filter(|&vcpu| vcpu != self.index).try_for_each(raise),
            To::One(vcpu) if usize::from(vcpu) < self.bus.vcpus() => raise(vcpu.into()),
            To::One(_) => return Err(Exit::with(ExitKind::Message, word.into())),
        }
        .map_err(|error| Exit::failed(Ioctl::SignalMsi, error.errno()))
    }

    /// Raises a device's interrupt on this vCPU, which is out of the guest: what it reads of its own IRR is how it is.
    fn raise_device_interrupt(&self, vector: u8) {
        let pending = match &self.apic {
            Some(apic) => apic.is_pending(vector),
            None => self.vcpu.get_lapic().is_ok_and(|lapic| msi::is_pending(&lapic, vector)),
        };
        let raised = self.bus.raise(self.index, Injection::Fixed(vector)) == Ok(Delivered::Accepted);
        // One that could not be raised is not counted, and so missed by the test.
        if raised {
            self.hooks.count_device_interrupt(pending);
        }
    }

    /// The one place where the guest runs, and where its exits are recorded.
    fn enter(&mut self) -> Exit {
        let stay = match &mut self.apic {
            Some(apic) => apic.run(&mut self.vcpu, &self.kick),
            None => run::run(&mut self.vcpu),
        };
        self.ring.record(stay);
        stay.exit
    }

    /// Tells the machine, and waits for leave to go on. `false`: nobody listens any more.
    fn report(&self, news: News) -> bool {
        self.news.send((self.index, news)).is_ok() && self.resume.recv().is_ok()
    }

    fn snapshot(&self) -> Option<Snapshot> {
        let regs = self.vcpu.get_regs().ok()?;
        let sregs = self.vcpu.get_sregs().ok()?;
        let in_kernel = || match self.vcpu.get_mp_state().map(|state| state.mp_state) {
            Ok(KVM_MP_STATE_RUNNABLE) => Activity::Running,
            Ok(KVM_MP_STATE_HALTED) => Activity::Halted,
            Ok(KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED) => Activity::WaitingForSipi,
            _ => Activity::Unknown,
        };
        let activity = self.apic.as_ref().map_or_else(in_kernel, |apic| apic.activity());
        Some(Snapshot { rip: regs.rip, irql: sregs.cr8, activity })
    }
}
