//! A vCPU whose local APIC is in user space: its stays in the guest, and what lies between them.
//!
//! KVM leaves to this thread what it would do itself with an in-kernel irqchip: it serves accesses to the local APIC's page
//! and MSRs, sleeps in HLT, waits for INIT and SIPI, and injects an interrupt when the guest can take one (KVM API:
//! KVM_INTERRUPT, `kvm_run.request_interrupt_window`, `kvm_run.cr8`).

use crate::cpuid;
use crate::error::{Error, Operation};
use crate::hypervisor::{Hypervisor, InitState, Left};
use crate::irqchip::{Shared, ThreadKick};
use crate::kick::{Kick, Request};
use crate::tsc::{self, IA32_TSC, IA32_TSC_ADJUST};
use kipi_apic::entry::Next;
use kipi_apic::presence::Place;
use kipi_apic::processor::{Eoi, Processor};
use kipi_apic::registers::{TSC_DEADLINE_MSR, X2APIC_MSR, X2APIC_MSR_END};
use kipi_apic::saved::Saved;
use kipi_apic::service::Service;
use kipi_apic::timer::{Deadline, Now};
use kvm_bindings::kvm_cpuid_entry2;
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::ops::ControlFlow;
use std::sync::Arc;

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

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<T> {
    /// The guest has left for its local APIC, which has served it.
    Served(Served),
    /// An exit for whoever runs the vCPU: what it made of it.
    Exit(T),
    /// KVM_RUN has returned EINTR, since the thread was kicked.
    Interrupted,
    /// KVM_RUN has returned EAGAIN.
    Again,
    /// Another thread asks for this, and the guest was not entered.
    Asked(Request),
}

/// An exit that the local APIC has served, or serves before the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// A read of the register at this offset (SDM Vol. 3A table 12-1).
    Read(u32),
    /// A write of the register at this offset; with the EOI of a level-triggered interrupt, if it was one.
    Write(u32, Option<Eoi>),
    /// An access to this MSR, which is no register of the page: IA32_APIC_BASE, IA32_TSC_DEADLINE, or a write of the TSC.
    Msr(u32),
    /// HLT.
    Halt,
    /// The guest can take the interrupt that waits for it.
    Window,
    /// The guest has lowered CR8.
    Tpr,
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

    /// Brings the vCPU to where its local APIC wants it, sleeps while it does not run, and lets it stay in the guest once: what
    /// [`Vcpu::run`] does again and again. `enter` calls KVM_RUN, and may measure how long that took; `exit` gets an exit that is
    /// not the local APIC's.
    ///
    /// # Errors
    /// KVM's.
    pub fn step<T>(
        &mut self,
        enter: impl FnOnce(&mut VcpuFd) -> Result<VcpuExit<'_>, kvm_ioctls::Error>,
        exit: impl FnOnce(VcpuExit<'_>) -> T,
    ) -> Result<Step<T>, Error> {
        let mut stay = Some((enter, exit));
        loop {
            let request = self.kick.acknowledge();
            let next = match (request, self.left) {
                (Request::Run, _) => self.prepare()?,
                (_, Left::Settled) => {
                    self.write_tsc()?;
                    return Ok(Step::Asked(request));
                }
                (_, Left::Accessing | Left::Msr | Left::Reading | Left::Refused) => Some(Next::Enter { window: false }),
            };
            let Some(next) = next else { continue };
            // Whoever stops a vCPU finds it between two instructions, and an interrupt waits for the end of one that may fault. KVM
            // finishes it, and says anew whether the guest can take an interrupt.
            let only_finishes =
                request != Request::Run || self.left == Left::Reading && next == (Next::Enter { window: true });
            if let Some(step) = self.enter(next, only_finishes, &mut stay)? {
                return Ok(self.follow(step));
            }
        }
    }

    /// Tells KVM what the guest has written to IA32_TSC or IA32_TSC_ADJUST.
    fn write_tsc(&mut self) -> Result<(), Error> {
        if let Some((msr, value)) = self.tsc_write.take() {
            self.tsc_offset = self.hypervisor().write_tsc(msr, value)?;
            self.timer = None;
        }
        Ok(())
    }

    /// Everything between two stays in the guest. `None`: it has slept, and there may be something new.
    fn prepare(&mut self) -> Result<Option<Next>, Error> {
        self.write_tsc()?;
        let Self { fd, kick, shared, processor, init, left, tsc_offset, .. } = self;
        let mut hypervisor = Hypervisor { vcpu: fd, kick, init, left };
        let next = processor.prepare(&shared.service, &mut hypervisor, &|| shared.now(*tsc_offset))?;
        match next {
            Next::Sleep => {
                self.set_deadline(false);
                self.sleep();
                Ok(None)
            }
            Next::Enter { .. } => {
                let held = !self.shared.exits_on_tpr() && self.processor.is_held_by_tpr(&self.shared.service);
                self.set_deadline(held);
                Ok(Some(next))
            }
        }
    }

    /// One stay in the guest, or only the rest of the last exit's instruction, which takes `stay`. `None`: something has come meanwhile.
    fn enter<T, E, X>(
        &mut self,
        next: Next,
        only_finishes: bool,
        stay: &mut Option<(E, X)>,
    ) -> Result<Option<Step<T>>, Error>
    where
        E: FnOnce(&mut VcpuFd) -> Result<VcpuExit<'_>, kvm_ioctls::Error>,
        X: FnOnce(VcpuExit<'_>) -> T,
    {
        let run = self.fd.get_kvm_run();
        run.request_interrupt_window = (next == Next::Enter { window: true }).into();
        run.cr8 = self.processor.local().cr8();
        if only_finishes {
            self.kick.turn_back();
        }
        let Self { fd, kick, shared, processor, left, has_tsc_adjust, tsc_offset, tsc_write, is_armed, .. } = self;
        let service = &shared.service;
        let stayed = service.inbox(processor.index()).presence().go(
            Place::Guest,
            stay,
            |_| only_finishes || nothing_has_come(processor, shared, kick, *is_armed, next),
            |stay| stay.take().map(|(enter, exit)| (enter(fd), exit)),
        );
        let Some((outcome, exit)) = stayed.flatten() else { return Ok(None) };
        *left = Left::Settled;
        processor.follow_cr8(kick.cr8());
        let mut kvm = match outcome {
            Ok(kvm) => kvm,
            Err(error) if error.errno() == libc::EINTR => return Ok(Some(Step::Interrupted)),
            Err(error) if error.errno() == libc::EAGAIN => return Ok(Some(Step::Again)),
            Err(error) => return Err(Error::of(Operation::Run)(error)),
        };
        let now = || shared.now(*tsc_offset);
        let served =
            serve_tsc(*has_tsc_adjust, tsc_write, &mut kvm).or_else(|| serve(processor, service, &now, &mut kvm));
        *left = how_left(&kvm);
        let is_msr = *left == Left::Msr;
        let step = served.map_or_else(|| Step::Exit(exit(kvm)), Step::Served);
        if is_msr {
            // SAFETY: the exit reason is KVM_EXIT_X86_RDMSR or _WRMSR, for which this is the union's member; any bits are a number.
            let is_refused = unsafe { self.fd.get_kvm_run().__bindgen_anon_1.msr.error } != 0;
            self.left = if is_refused { Left::Refused } else { Left::Accessing };
        }
        Ok(Some(step))
    }

    /// What the processor has to know of an exit.
    fn follow<T>(&mut self, step: Step<T>) -> Step<T> {
        match step {
            Step::Served(Served::Halt) => self.processor.halt(self.fd.get_kvm_run().if_flag != 0),
            Step::Served(Served::Tpr) => {
                self.processor.write_cr8(self.kick.cr8());
                self.shared.saw_tpr_exit();
            }
            Step::Served(Served::Msr(TSC_DEADLINE_MSR)) => self.follow_tsc(),
            Step::Served(Served::Read(_) | Served::Write(..) | Served::Msr(_) | Served::Window)
            | Step::Exit(_)
            | Step::Interrupted
            | Step::Again
            | Step::Asked(_) => {}
        }
        step
    }

    /// The host may have moved the TSC since the last deadline.
    fn follow_tsc(&mut self) {
        if let Some(offset) = tsc::offset_attribute(&self.fd).filter(|&offset| offset != self.tsc_offset) {
            self.tsc_offset = offset;
            self.timer = None;
        }
    }

    fn hypervisor(&mut self) -> Hypervisor<'_> {
        Hypervisor { vcpu: &mut self.fd, kick: &self.kick, init: &self.init, left: &mut self.left }
    }

    /// Makes sure that this vCPU is kicked when its timer expires, and soon if `held`: the TPR holds an interrupt back, and KVM
    /// may not tell when that changes. An interrupt window would not help: with IF set it is open, and hardware leaves the guest
    /// before its first instruction. A vCPU without either pays nothing.
    fn set_deadline(&mut self, held: bool) {
        const LOOK_AT_CR8_NS: u64 = 100_000;
        let index = self.processor.index();
        let next = self.processor.next_deadline();
        let is_set = next.is_none() || !self.shared.timers.has_expired(index);
        self.is_armed = next.is_some() || held;
        if self.timer == next && is_set && !held {
            return;
        }
        self.timer = next;
        let now = self.shared.now(self.tsc_offset);
        let expires = next.map(|deadline| self.shared.expiry_ns(deadline, now));
        match expires.into_iter().chain(held.then(|| now.ns + LOOK_AT_CR8_NS)).min() {
            Some(ns) => self.shared.timers.set(index, ns),
            None => self.shared.timers.clear(index),
        }
    }

    /// Sleeps until something is left for this vCPU, its timer expires, or its thread is asked for something.
    fn sleep(&self) {
        let presence = self.shared.service.inbox(self.processor.index()).presence();
        presence.go(
            Place::Parked,
            &mut (),
            |()| nothing_has_come(&self.processor, &self.shared, &self.kick, self.is_armed, Next::Sleep),
            |()| {
                while !presence.is_kicked() && self.kick.request() == Request::Run {
                    std::thread::park();
                }
            },
        );
    }
}

/// What a thread asks after it has said where it goes: whether it may go there, since there is nothing to do before `next`.
fn nothing_has_come(processor: &Processor, shared: &Shared, kick: &Kick, is_armed: bool, next: Next) -> bool {
    processor.is_settled(&shared.service, next)
        && !(is_armed && shared.timers.has_expired(processor.index()))
        && kick.request() == Request::Run
}

/// Answers an access to the local APIC. `None`: the exit is somebody else's.
fn serve(
    processor: &mut Processor,
    service: &Service<ThreadKick>,
    now: &dyn Fn() -> Now,
    exit: &mut VcpuExit<'_>,
) -> Option<Served> {
    match exit {
        VcpuExit::MmioRead(address, data) => processor.read_mmio(service, *address, data, now).map(Served::Read),
        VcpuExit::MmioWrite(address, data) => {
            let written = processor.write_mmio(service, *address, data, now)?;
            Some(Served::Write(written.offset, written.eoi))
        }
        VcpuExit::X86Rdmsr(read) if Processor::owns_msr(read.index) => {
            let value = processor.read_msr(service, read.index, now);
            *read.error = value.is_err().into();
            *read.data = value.unwrap_or(0);
            Some(register(read.index).map_or(Served::Msr(read.index), Served::Read))
        }
        VcpuExit::X86Wrmsr(write) if Processor::owns_msr(write.index) => {
            let written = processor.write_msr(service, write.index, write.data, now);
            *write.error = written.is_err().into();
            let eoi = written.ok().flatten();
            Some(register(write.index).map_or(Served::Msr(write.index), |offset| Served::Write(offset, eoi)))
        }
        VcpuExit::Hlt => Some(Served::Halt),
        VcpuExit::IrqWindowOpen => Some(Served::Window),
        VcpuExit::SetTpr => Some(Served::Tpr),
        _ => None,
    }
}

/// Takes down a write of the TSC, which KVM is told when the exit's instruction is finished.
fn serve_tsc(has_adjust: bool, tsc_write: &mut Option<(u32, u64)>, exit: &mut VcpuExit<'_>) -> Option<Served> {
    let VcpuExit::X86Wrmsr(write) = exit else { return None };
    let is_offered = match write.index {
        IA32_TSC => true,
        IA32_TSC_ADJUST => has_adjust,
        _ => return None,
    };
    *write.error = (!is_offered).into();
    *tsc_write = is_offered.then_some((write.index, write.data));
    Some(Served::Msr(write.index))
}

/// What KVM does to the exit's instruction at the next entry.
fn how_left(exit: &VcpuExit<'_>) -> Left {
    match exit {
        VcpuExit::X86Rdmsr(_) | VcpuExit::X86Wrmsr(_) => Left::Msr,
        VcpuExit::IoOut(..) | VcpuExit::MmioWrite(..) => Left::Accessing,
        VcpuExit::IoIn(..) | VcpuExit::MmioRead(..) => Left::Reading,
        _ => Left::Settled,
    }
}

/// The xAPIC offset of the register that is this MSR.
fn register(msr: u32) -> Option<u32> {
    (X2APIC_MSR..=X2APIC_MSR_END).contains(&msr).then(|| (msr - X2APIC_MSR) << 4)
}
