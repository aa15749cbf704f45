//! A vCPU whose local APIC is in user space: what lies between its exits and its next entry.
//!
//! KVM leaves to this thread what it would do itself with an in-kernel irqchip: it serves accesses to the local APIC's page
//! and MSRs, sleeps in HLT, waits for INIT and SIPI, and injects an interrupt when the guest can take one (KVM API:
//! KVM_INTERRUPT, `kvm_run.request_interrupt_window`, `kvm_run.cr8`).

use super::Activity;
use super::alarm::Alarms;
use super::fetch::Fetcher;
use super::kick::{Kick, Request};
use super::run;
use crate::events::clock::host_tsc;
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

/// What kvm-ioctls has no name for.
mod ioctls {
    use super::{ioctl_iow_nr, kvm_interrupt};
    ioctl_iow_nr!(KVM_INTERRUPT, kvm_bindings::KVMIO, 0x86, kvm_interrupt);
}

/// What all vCPUs of a machine share.
#[derive(Debug)]
pub struct Board {
    /// The broadcast service.
    pub service: Service<Fetcher>,
    alarms: Alarms,
    /// This KVM leaves the guest when CR8 is lowered (KVM_EXIT_SET_TPR). One that emulates CPL0 may not.
    tells_tpr: AtomicBool,
    tsc_khz: u64,
    started: Instant,
}

impl Board {
    /// A board of vCPUs that `service` serves, whose guest's TSC runs at `tsc_khz`.
    pub fn new(service: Service<Fetcher>, tsc_khz: u64) -> Self {
        let alarms = Alarms::new(service.vcpus());
        Self { service, alarms, tells_tpr: AtomicBool::new(false), tsc_khz, started: Instant::now() }
    }

    /// The life of the thread that gets vCPUs out of the guest when their timers expire, until [`Board::stop`].
    pub fn run_alarms(&self) {
        self.alarms.run(&self.service, || self.ns());
    }

    /// Ends [`Board::run_alarms`].
    pub fn stop(&self) {
        self.alarms.stop();
    }

    /// When a timer expires, on the clock of [`Board::ns`]. One that goes off too early, as the two clocks may differ, is set
    /// again.
    fn ns_of(&self, deadline: Deadline, now: Now) -> u64 {
        match deadline {
            Deadline::Ns(ns) => ns,
            Deadline::Tsc(tsc) => {
                let cycles = u128::from(tsc.saturating_sub(now.tsc));
                let ns = cycles * 1_000_000 / u128::from(self.tsc_khz.max(1));
                now.ns.saturating_add(u64::try_from(ns).unwrap_or(u64::MAX))
            }
        }
    }

    /// Since the board was made.
    fn ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A vCPU with its local APIC, and the board that it sits on.
#[derive(Debug)]
pub struct UserApic {
    board: Arc<Board>,
    processor: Processor,
    /// As KVM made the vCPU: what INIT brings it back to.
    reset: (kvm_regs, kvm_sregs),
    /// Guest TSC minus host TSC.
    tsc_offset: i64,
    /// The timer's deadline that the alarm was set for.
    timer: Option<Deadline>,
    /// There is an alarm to wait for.
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
        board: Arc<Board>,
        tsc_offset: i64,
    ) -> Result<Self, kvm_ioctls::Error> {
        let processor = Processor::new(index, id, &board.service);
        // Without a local APIC of its own, KVM makes vCPUs with IA32_APIC_BASE zero.
        let sregs = kvm_sregs { apic_base: processor.local().base(), ..vcpu.get_sregs()? };
        vcpu.set_sregs(&sregs)?;
        let reset = (vcpu.get_regs()?, sregs);
        Ok(Self { board, processor, reset, tsc_offset, timer: None, is_armed: false })
    }

    /// What the processor is doing.
    pub fn activity(&self) -> Activity {
        match self.processor.activity() {
            processor::Activity::Running => Activity::Running,
            processor::Activity::Halted { .. } => Activity::Halted,
            processor::Activity::WaitForSipi => Activity::WaitingForSipi,
        }
    }

    /// Whether an interrupt on `vector` waits in the IRR.
    pub fn is_pending(&self, vector: u8) -> bool {
        self.board.service.inbox(self.processor.index()).irr().contains(vector)
    }

    /// The machine's other local APICs.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Runs the guest until something happens that is not the local APIC's alone to handle: an exit, or a request.
    pub fn run(&mut self, vcpu: &mut VcpuFd, kick: &Kick) -> Stay {
        loop {
            if kick.pending() != Request::Run {
                return run::without_entry(ExitKind::Interrupted.into());
            }
            if let Err(exit) = self.take_events(vcpu) {
                return run::without_entry(exit);
            }
            let now: &dyn Fn() -> Now = &|| now(&self.board, self.tsc_offset);
            self.processor.tick(&self.board.service, now);
            if !self.processor.wake(&self.board.service) {
                self.set_alarm(false);
                self.sleep(kick);
                continue;
            }
            let window = match self.inject(vcpu) {
                Ok(window) => window,
                Err(exit) => return run::without_entry(exit),
            };
            let held =
                !self.board.tells_tpr.load(Ordering::Relaxed) && self.processor.is_held_by_tpr(&self.board.service);
            self.set_alarm(held);
            if let Some(stay) = self.enter(vcpu, kick, window) {
                return stay;
            }
        }
    }

    /// One stay in the guest, unless something has come meanwhile.
    fn enter(&mut self, vcpu: &mut VcpuFd, kick: &Kick, window: bool) -> Option<Stay> {
        let run = vcpu.get_kvm_run();
        run.request_interrupt_window = window.into();
        run.cr8 = self.processor.local().cr8();
        let Self { board, processor, tsc_offset, is_armed, .. } = self;
        let service = &board.service;
        let inbox = service.inbox(processor.index());
        let stay = inbox.presence().go(
            Place::Guest,
            processor,
            // With the window requested, a vector that comes now is injected when that opens.
            |processor| {
                let nothing_new = window || !processor.has_news(service);
                nothing_new
                    && !(*is_armed && board.alarms.is_over(processor.index()))
                    && !inbox.has_events()
                    && kick.request() == Request::Run
            },
            |processor| {
                run::run_with(vcpu, |exit| {
                    processor.follow_cr8(kick.cr8());
                    processor.follow_base(service, kick.apic_base());
                    serve(processor, service, &|| now(board, *tsc_offset), exit?)
                })
            },
        )?;
        match stay.exit.kind {
            ExitKind::Halt => processor.halt(vcpu.get_kvm_run().if_flag != 0),
            // Relaxed: whoever does not know it yet looks once more than it needs.
            ExitKind::Tpr => board.tells_tpr.store(true, Ordering::Relaxed),
            _ => {}
        }
        Some(stay)
    }

    /// Does to the vCPU what INIT, SIPI and NMI ask for.
    fn take_events(&mut self, vcpu: &VcpuFd) -> Result<(), Exit> {
        let orders = self.processor.take_events(&self.board.service);
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
        let service = &self.board.service;
        if vcpu.get_kvm_run().ready_for_interrupt_injection != 0
            && let Some(vector) = self.processor.acknowledge(service)
        {
            interrupt(vcpu, vector).map_err(failed(Ioctl::Interrupt))?;
            // KVM says it anew when it has injected this one.
            vcpu.get_kvm_run().ready_for_interrupt_injection = 0;
        }
        Ok(self.processor.is_interrupted(service))
    }

    /// Makes sure that somebody fetches this vCPU when its timer expires, and soon if `held`: the TPR holds an interrupt back,
    /// and KVM may not tell when that changes. A window would not help: with IF set it is open, and hardware leaves the guest
    /// before its first instruction. No alarm, no cost.
    fn set_alarm(&mut self, held: bool) {
        const LOOK_AT_CR8: u64 = 100_000;
        let index = self.processor.index();
        let next = self.processor.next_deadline();
        let is_set = next.is_none() || !self.board.alarms.is_over(index);
        self.is_armed = next.is_some() || held;
        if self.timer == next && is_set && !held {
            return;
        }
        self.timer = next;
        let now = now(&self.board, self.tsc_offset);
        let expires = next.map(|deadline| self.board.ns_of(deadline, now));
        match expires.into_iter().chain(held.then(|| now.ns + LOOK_AT_CR8)).min() {
            Some(ns) => self.board.alarms.set(index, ns),
            None => self.board.alarms.clear(index),
        }
    }

    /// Sleeps until something is left for this vCPU, its timer expires, or its thread is asked for something.
    fn sleep(&self, kick: &Kick) {
        let service = &self.board.service;
        let inbox = service.inbox(self.processor.index());
        let alarmed = || self.is_armed && self.board.alarms.is_over(self.processor.index());
        let nothing_new = || !self.processor.has_news(service) && !inbox.has_events() && !alarmed();
        inbox.presence().go(
            Place::Parked,
            &mut (),
            |()| nothing_new() && kick.request() == Request::Run,
            |()| {
                while !inbox.presence().is_kicked() && kick.request() == Request::Run {
                    std::thread::park();
                }
            },
        );
    }
}

/// Answers an access to the local APIC.
fn serve(
    processor: &mut Processor,
    service: &Service<Fetcher>,
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

/// What time it is for a vCPU whose TSC is the host's plus `tsc_offset`.
fn now(board: &Board, tsc_offset: i64) -> Now {
    Now { ns: board.ns(), tsc: host_tsc().wrapping_add_signed(tsc_offset) }
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
