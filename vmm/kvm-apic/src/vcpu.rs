//! A vCPU whose local APIC is in user space: what it holds, and how it is run.
//!
//! KVM leaves to this thread what it would do itself with an in-kernel irqchip: it serves accesses to the local APIC's page
//! and MSRs, sleeps in HLT, waits for INIT and SIPI, and injects an interrupt when the guest can take one (KVM API:
//! KVM_INTERRUPT, `kvm_run.request_interrupt_window`, `kvm_run.cr8`).

pub(crate) mod serve;
pub(crate) mod step;

use crate::cpuid;
use crate::error::Error;
use crate::hypervisor::{Hypervisor, InitState, Left};
use crate::irqchip::Shared;
use crate::kick::{Kick, Request};
use crate::tsc;
use kipi_apic::processor::{Eoi, Processor};
use kipi_apic::saved::Saved;
use kipi_apic::timer::Deadline;
use kvm_bindings::kvm_cpuid_entry2;
use kvm_ioctls::{VcpuExit, VcpuFd};
use serve::Served;
use std::ops::ControlFlow;
use std::sync::Arc;
use step::Step;

/// A vCPU and its local APIC. One thread runs it.
#[derive(Debug)]
pub struct Vcpu {
    fd: VcpuFd,
    kick: Arc<Kick>,
    shared: Arc<Shared>,
    processor: Processor,
    init: InitState,
    left: Left,
    /// CPUID shows IA32_TSC_ADJUST.
    has_tsc_adjust: bool,
    /// Guest TSC minus host TSC.
    tsc_offset: i64,
    /// What the guest has written to IA32_TSC or IA32_TSC_ADJUST, which KVM is to be told.
    tsc_write: Option<(u32, u64)>,
    /// The timer's deadline when the timers' thread was last told.
    timer: Option<Deadline>,
    /// The timers' thread was told a deadline.
    is_armed: bool,
}

/// An exit that [`Vcpu::run`] hands to its caller.
#[derive(Debug)]
pub enum Exit<'a> {
    /// One of KVM's, with its data: a closure answers reads in place. An access to an MSR that nobody here knows is among them;
    /// `error` set to one gives the guest #GP.
    Kvm(VcpuExit<'a>),
    /// The guest has served a level-triggered interrupt: an I/O APIC wants to know (SDM Vol. 3A 12.8.5).
    EndOfInterrupt(Eoi),
}

/// Why [`Vcpu::run`] has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended<T> {
    /// The closure has said so.
    Broken(T),
    /// [`Kick::ask`] has asked for [`Request::Pause`]: run again after [`Kick::clear`].
    Paused,
    /// [`Kick::ask`] has asked for [`Request::End`].
    Ended,
}

impl Vcpu {
    /// For `fd`, which KVM has just made with this CPUID, and which `processor` is the interrupt side of.
    pub(crate) fn new(
        fd: VcpuFd,
        kick: Arc<Kick>,
        shared: Arc<Shared>,
        processor: Processor,
        entries: &[kvm_cpuid_entry2],
    ) -> Result<Self, Error> {
        let init = InitState::of(&fd, cpuid::signature(entries))?;
        let has_tsc_adjust = cpuid::has_tsc_adjust(entries);
        let tsc_offset = tsc::read_offset(&fd)?.cycles;
        let mut vcpu = Self {
            fd,
            kick,
            shared,
            processor,
            init,
            left: Left::Settled,
            has_tsc_adjust,
            tsc_offset,
            tsc_write: None,
            timer: None,
            is_armed: false,
        };
        // Without a local APIC of its own, KVM makes vCPUs with IA32_APIC_BASE zero.
        let base = vcpu.processor.local().base();
        kipi_apic::entry::Vcpu::set_apic_base(&mut vcpu.hypervisor(), base)?;
        Ok(vcpu)
    }

    /// KVM's vCPU: to set the registers that it starts with, and to read them while it is out of the guest. Whoever sets the state
    /// of one that has run calls [`Vcpu::complete`] before.
    pub fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    /// As [`Vcpu::fd`]: to read `kvm_run`.
    pub fn fd_mut(&mut self) -> &mut VcpuFd {
        &mut self.fd
    }

    /// What other threads get this one out of the guest by.
    pub fn kick(&self) -> &Arc<Kick> {
        &self.kick
    }

    /// The interrupt side: what the processor is doing, its registers.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// Whether an interrupt on `vector` waits in the IRR.
    pub fn is_pending(&self, vector: u8) -> bool {
        self.shared.service.inbox(self.processor.index()).irr().contains(vector)
    }

    /// Finishes the instruction of the last exit, if it is not finished: KVM would finish it at the next entry, over whatever is set
    /// meanwhile. Only after [`Ended::Broken`] is there anything to finish; parts of an access that follow the one that broke then
    /// find nobody: reads are ones, writes are lost.
    ///
    /// # Errors
    /// KVM's.
    pub fn complete(&mut self) -> Result<(), Error> {
        kipi_apic::entry::Vcpu::complete(&mut self.hypervisor())?;
        self.write_tsc()
    }

    /// Somebody has set the TSC of [`Vcpu::fd`]: deadlines follow it.
    ///
    /// # Errors
    /// If KVM does not tell the TSC.
    pub fn tsc_changed(&mut self) -> Result<(), Error> {
        self.tsc_offset = tsc::read_offset(&self.fd)?.cycles;
        self.timer = None;
        Ok(())
    }

    /// Saves the interrupt side, after it has finished the last exit's instruction: the state that KVM holds can be saved then, too
    /// (registers, CR8, KVM_GET_VCPU_EVENTS). The machine stands still: no vCPU runs, and nobody sends.
    ///
    /// # Errors
    /// KVM's.
    pub fn save(&mut self) -> Result<Saved, Error> {
        self.complete()?;
        let now = self.shared.now(self.tsc_offset);
        Ok(self.processor.save(&self.shared.service, now))
    }

    /// Makes the interrupt side what was saved. The state that KVM holds, the TSC among it, has been restored before.
    ///
    /// # Errors
    /// If KVM does not tell the TSC.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        self.tsc_write = None;
        self.tsc_changed()?;
        self.state_may_change();
        let now = self.shared.now(self.tsc_offset);
        self.processor.restore(&self.shared.service, saved, now);
        Ok(())
    }

    /// Runs the guest until `exit` breaks, or another thread asks for an end. Accesses to the local APIC do not come here.
    ///
    /// # Errors
    /// KVM's.
    ///
    /// # Panics
    /// If another thread has run it before: it is this one that the others kick.
    pub fn run<T>(&mut self, mut exit: impl FnMut(Exit<'_>) -> ControlFlow<T>) -> Result<Ended<T>, Error> {
        self.kick.thread_started();
        let ended = self.run_until(&mut exit);
        self.state_may_change();
        ended
    }

    fn run_until<T>(&mut self, exit: &mut impl FnMut(Exit<'_>) -> ControlFlow<T>) -> Result<Ended<T>, Error> {
        loop {
            let step = self.step(VcpuFd::run, |kvm| exit(Exit::Kvm(kvm)))?;
            let flow = match step {
                Step::Exit(flow) => flow,
                Step::Served(Served::Write(_, Some(eoi))) => exit(Exit::EndOfInterrupt(eoi)),
                Step::Asked(Request::Pause) => return Ok(Ended::Paused),
                Step::Asked(Request::End) => return Ok(Ended::Ended),
                Step::Asked(Request::Run) | Step::Served(_) | Step::Interrupted | Step::Again => continue,
            };
            if let ControlFlow::Break(value) = flow {
                return Ok(Ended::Broken(value));
            }
        }
    }

    /// Whoever runs the vCPU may set its registers now: what KVM has said of IF is of no more use.
    fn state_may_change(&mut self) {
        self.fd.get_kvm_run().ready_for_interrupt_injection = 0;
    }

    /// Tells KVM what the guest has written to IA32_TSC or IA32_TSC_ADJUST.
    fn write_tsc(&mut self) -> Result<(), Error> {
        if let Some((msr, value)) = self.tsc_write.take() {
            self.tsc_offset = self.hypervisor().write_tsc(msr, value)?;
            self.timer = None;
        }
        Ok(())
    }

    fn hypervisor(&mut self) -> Hypervisor<'_> {
        Hypervisor { vcpu: &mut self.fd, kick: &self.kick, init: &self.init, left: &mut self.left }
    }
}
