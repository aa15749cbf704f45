//! A vCPU whose local APIC is in user space: what lies between its exits and its next entry.
//!
//! KVM leaves to this thread what it would do itself with an in-kernel irqchip: it serves accesses to the local APIC's page
//! and MSRs, sleeps in HLT, waits for INIT and SIPI, and injects an interrupt when the guest can take one (KVM API:
//! KVM_INTERRUPT, `kvm_run.request_interrupt_window`, `kvm_run.cr8`).

use super::activity::Activity;
use super::kick::{Kick, VcpuRequest};
use super::run;
use super::user_irqchip::{ThreadKick, UserIrqchip};
use crate::events::exit::{Exit, ExitKind, Ioctl};
use crate::events::stays::Stay;
use kipi_apic::presence::Place;
use kipi_apic::processor::{self, Processor};
use kipi_apic::registers::{X2APIC_MSR, X2APIC_MSR_END};
use kipi_apic::service::Service;
use kipi_apic::timer::{Deadline, Now};
use kvm_bindings::{kvm_interrupt, kvm_regs, kvm_sregs};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

/// What kvm-ioctls has no name for.
mod ioctls {
    use super::{ioctl_iow_nr, kvm_interrupt};
    ioctl_iow_nr!(KVM_INTERRUPT, kvm_bindings::KVMIO, 0x86, kvm_interrupt);
}

/// A vCPU's local APIC.
#[derive(Debug)]
pub struct UserApic {
    irqchip: Arc<UserIrqchip>,
    processor: Processor,
    /// As KVM made the vCPU: what INIT brings it back to.
    reset: (kvm_regs, kvm_sregs),
    /// Guest TSC minus host TSC.
    tsc_offset: i64,
    /// The timer's deadline when [`UserIrqchip`]'s timers were last told.
    timer: Option<Deadline>,
    /// [`UserIrqchip`]'s timers were told a deadline.
    is_armed: bool,
}

impl UserApic {
    /// For vCPU `index`, which KVM has just made with this APIC id. Only vCPU 0 runs at once.
    ///
    /// # Errors
    /// KVM's, if the vCPU's registers cannot be read or written.
    pub fn new(
        vcpu: &VcpuFd,
        index: usize,
        id: u32,
        irqchip: Arc<UserIrqchip>,
        tsc_offset: i64,
    ) -> Result<Self, kvm_ioctls::Error> {
        let processor = Processor::new(index, id, &irqchip.service);
        // Without a local APIC of its own, KVM makes vCPUs with IA32_APIC_BASE zero.
        let sregs = kvm_sregs { apic_base: processor.local().base(), ..vcpu.get_sregs()? };
        vcpu.set_sregs(&sregs)?;
        let reset = (vcpu.get_regs()?, sregs);
        Ok(Self { irqchip, processor, reset, tsc_offset, timer: None, is_armed: false })
    }

    /// What the processor is doing.
    pub(super) fn activity(&self) -> Activity {
        match self.processor.activity() {
            processor::Activity::Running => Activity::Running,
            processor::Activity::Halted { .. } => Activity::Halted,
            processor::Activity::WaitForSipi => Activity::WaitForSipi,
        }
    }

    /// Whether an interrupt on `vector` waits in the IRR.
    pub(super) fn is_pending(&self, vector: u8) -> bool {
        self.irqchip.service.inbox(self.processor.index()).irr().contains(vector)
    }

    /// Runs the guest until something happens that is not the local APIC's alone to handle: an exit, or a request.
    pub(super) fn run(&mut self, vcpu: &mut VcpuFd, kick: &Kick) -> Stay {
        loop {
            if kick.acknowledge() != VcpuRequest::Run {
                return run::without_entry(ExitKind::Interrupted.into());
            }
            match self.advance(vcpu, kick) {
                Ok(Some(stay)) => return stay,
                Ok(None) => {}
                Err(exit) => return run::without_entry(exit),
            }
        }
    }

    /// Brings the vCPU to where its local APIC wants it, and enters the guest, or sleeps while the processor does not run.
    /// `None`: there may be something new for the local APIC.
    fn advance(&mut self, vcpu: &mut VcpuFd, kick: &Kick) -> Result<Option<Stay>, Exit> {
        self.take_events(vcpu)?;
        let now: &dyn Fn() -> Now = &|| self.irqchip.now(self.tsc_offset);
        self.processor.tick(&self.irqchip.service, now);
        if !self.processor.wake(&self.irqchip.service) {
            self.set_deadline(false);
            self.sleep(kick);
            return Ok(None);
        }
        let window = self.inject(vcpu)?;
        let held = !self.irqchip.exits_on_tpr() && self.processor.is_held_by_tpr(&self.irqchip.service);
        self.set_deadline(held);
        Ok(self.enter(vcpu, kick, window))
    }

    /// One stay in the guest, unless something has come meanwhile.
    fn enter(&mut self, vcpu: &mut VcpuFd, kick: &Kick, window: bool) -> Option<Stay> {
        let run = vcpu.get_kvm_run();
        run.request_interrupt_window = window.into();
        run.cr8 = self.processor.local().cr8();
        let Self { irqchip, processor, tsc_offset, is_armed, .. } = self;
        let service = &irqchip.service;
        let inbox = service.inbox(processor.index());
        let stay = inbox.presence().go(
            Place::Guest,
            processor,
            // With the window requested, a vector that comes now is injected when that opens.
            |processor| {
                let nothing_new = window || !processor.has_news(service);
                nothing_new
                    && !(*is_armed && irqchip.timers.has_expired(processor.index()))
                    && !inbox.has_events()
                    && kick.request() == VcpuRequest::Run
            },
            |processor| {
                run::run_with(vcpu, |exit| {
                    processor.follow_cr8(kick.cr8());
                    processor.follow_base(service, kick.apic_base());
                    serve(processor, service, &|| irqchip.now(*tsc_offset), exit?)
                })
            },
        )?;
        match stay.exit.kind {
            ExitKind::Halt => processor.halt(vcpu.get_kvm_run().if_flag != 0),
            ExitKind::Tpr => irqchip.saw_tpr_exit(),
            _ => {}
        }
        Some(stay)
    }

    /// Does to the vCPU what INIT, SIPI and NMI ask for.
    fn take_events(&mut self, vcpu: &VcpuFd) -> Result<(), Exit> {
        let orders = self.processor.take_events(&self.irqchip.service);
        let (regs, mut sregs) = self.reset;
        sregs.apic_base = self.processor.local().base();
        if orders.reset {
            let none = kvm_bindings::kvm_vcpu_events::default();
            vcpu.set_vcpu_events(&none).map_err(failed(Ioctl::SetVcpuEvents))?;
            vcpu.set_sregs(&sregs).map_err(failed(Ioctl::SetSregs))?;
            vcpu.set_regs(&regs).map_err(failed(Ioctl::SetRegs))?;
        }
        if let Some(vector) = orders.start {
            sregs.cs.selector = u16::from(vector) << 8;
            sregs.cs.base = u64::from(vector) << 12;
            vcpu.set_sregs(&sregs).map_err(failed(Ioctl::SetSregs))?;
            vcpu.set_regs(&kvm_regs { rip: 0, ..regs }).map_err(failed(Ioctl::SetRegs))?;
        }
        if orders.nmi {
            vcpu.nmi().map_err(failed(Ioctl::Nmi))?;
        }
        Ok(())
    }

    /// Injects the interrupt that comes next, if the guest can take it. Whether the guest has to say when it can take one.
    fn inject(&mut self, vcpu: &mut VcpuFd) -> Result<bool, Exit> {
        let service = &self.irqchip.service;
        if vcpu.get_kvm_run().ready_for_interrupt_injection != 0
            && let Some(vector) = self.processor.acknowledge(service)
        {
            interrupt(vcpu, vector).map_err(failed(Ioctl::Interrupt))?;
            // KVM says it anew when it has injected this one.
            vcpu.get_kvm_run().ready_for_interrupt_injection = 0;
        }
        Ok(self.processor.is_interrupted(service))
    }

    /// Makes sure that this vCPU is kicked when its timer expires, and soon if `held`: the TPR holds an interrupt back, and KVM
    /// may not tell when that changes. An interrupt window would not help: with IF set it is open, and hardware leaves the guest
    /// before its first instruction. A vCPU without either pays nothing.
    fn set_deadline(&mut self, held: bool) {
        const LOOK_AT_CR8_NS: u64 = 100_000;
        let index = self.processor.index();
        let next = self.processor.next_deadline();
        let is_set = next.is_none() || !self.irqchip.timers.has_expired(index);
        self.is_armed = next.is_some() || held;
        if self.timer == next && is_set && !held {
            return;
        }
        self.timer = next;
        let now = self.irqchip.now(self.tsc_offset);
        let expires = next.map(|deadline| self.irqchip.expiry_ns(deadline, now));
        match expires.into_iter().chain(held.then(|| now.ns + LOOK_AT_CR8_NS)).min() {
            Some(ns) => self.irqchip.timers.set(index, ns),
            None => self.irqchip.timers.clear(index),
        }
    }

    /// Sleeps until something is left for this vCPU, its timer expires, or its thread is asked for something.
    fn sleep(&self, kick: &Kick) {
        let service = &self.irqchip.service;
        let inbox = service.inbox(self.processor.index());
        let timer_expired = || self.is_armed && self.irqchip.timers.has_expired(self.processor.index());
        let nothing_new = || !self.processor.has_news(service) && !inbox.has_events() && !timer_expired();
        inbox.presence().go(
            Place::Parked,
            &mut (),
            |()| nothing_new() && kick.request() == VcpuRequest::Run,
            |()| {
                while !inbox.presence().is_kicked() && kick.request() == VcpuRequest::Run {
                    std::thread::park();
                }
            },
        );
    }
}

/// Answers an access to the local APIC.
fn serve(
    processor: &mut Processor,
    service: &Service<ThreadKick>,
    now: &dyn Fn() -> Now,
    exit: &mut VcpuExit<'_>,
) -> Option<Exit> {
    match exit {
        VcpuExit::MmioRead(address, data) => {
            let offset = processor.register_at(*address)?;
            let bytes = processor.read_mmio(service, offset, now).to_le_bytes();
            data.iter_mut().zip(bytes.into_iter().chain(std::iter::repeat(0))).for_each(|(to, from)| *to = from);
            Some(Exit::with(ExitKind::ApicRead, offset.into()))
        }
        VcpuExit::MmioWrite(address, data) => {
            let offset = processor.register_at(*address)?;
            processor.write_mmio(service, offset, run::little_endian(data), now);
            Some(Exit::with(ExitKind::ApicWrite, offset.into()))
        }
        VcpuExit::X86Rdmsr(read) => {
            let index = read.index;
            let value = processor.read_msr(service, index, now);
            *read.error = value.is_err().into();
            *read.data = value.unwrap_or(0);
            Some(msr(index, ExitKind::ApicRead))
        }
        VcpuExit::X86Wrmsr(write) => {
            let index = write.index;
            *write.error = processor.write_msr(service, index, write.data, now).is_err().into();
            Some(msr(index, ExitKind::ApicWrite))
        }
        _ => None,
    }
}

/// The exit of an access to an MSR: of kind `apic`, with the register's xAPIC offset, if the local APIC has it.
fn msr(index: u32, apic: ExitKind) -> Exit {
    if (X2APIC_MSR..=X2APIC_MSR_END).contains(&index) {
        Exit::with(apic, ((index - X2APIC_MSR) << 4).into())
    } else {
        Exit::with(ExitKind::Msr, index.into())
    }
}

/// The exit that tells of a failed ioctl.
fn failed(ioctl: Ioctl) -> impl Fn(kvm_ioctls::Error) -> Exit {
    move |error| Exit::failed(ioctl, error.errno())
}

/// KVM_INTERRUPT.
fn interrupt(vcpu: &VcpuFd, vector: u8) -> Result<(), kvm_ioctls::Error> {
    let interrupt = kvm_interrupt { irq: vector.into() };
    // SAFETY: the ioctl reads one `kvm_interrupt`, and `vcpu` is a vCPU's descriptor.
    let status = unsafe { ioctl_with_ref(&vcpu.as_raw_fd(), ioctls::KVM_INTERRUPT(), &interrupt) };
    if status == 0 { Ok(()) } else { Err(kvm_ioctls::Error::last()) }
}
