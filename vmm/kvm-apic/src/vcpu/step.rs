//! One step of a vCPU: what lies before a stay in the guest, the stay, and what follows from its exit.

use super::Vcpu;
use super::serve::{Served, how_left, serve, serve_tsc};
use crate::error::{Error, Operation};
use crate::hypervisor::{Hypervisor, Left};
use crate::irqchip::Shared;
use crate::kick::{Kick, Request};
use crate::tsc;
use kipi_apic::entry::{Next, Wait};
use kipi_apic::presence::Place;
use kipi_apic::processor::Processor;
use kipi_apic::registers::TSC_DEADLINE_MSR;
use kvm_ioctls::{VcpuExit, VcpuFd};

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

impl Vcpu {
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
                (_, Left::Accessing | Left::Msr | Left::Reading | Left::Refused) => Some(Next::Enter(Wait::Nothing)),
            };
            let Some(next) = next else { continue };
            // Whoever stops a vCPU finds it between two instructions, and an interrupt waits for the end of one that may fault. KVM
            // finishes it, and says anew whether the guest can take an interrupt.
            let only_finishes =
                request != Request::Run || self.left == Left::Reading && next == Next::Enter(Wait::Window);
            if let Some(step) = self.enter(next, only_finishes, &mut stay)? {
                return Ok(self.follow(step));
            }
        }
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
            Next::Enter(wait) => {
                self.set_deadline(wait == Wait::LowerTpr && !self.shared.exits_on_tpr());
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
        run.request_interrupt_window = (next == Next::Enter(Wait::Window)).into();
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
