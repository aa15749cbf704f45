//! A vCPU whose local APIC is in user space: what lies between its exits and its next entry.
//!
//! KVM leaves to this thread what it would do itself with an in-kernel irqchip: it serves accesses to the local APIC's page
//! and MSRs, sleeps in HLT, waits for INIT and SIPI, and injects an interrupt when the guest can take one (KVM API:
//! KVM_INTERRUPT, `kvm_run.request_interrupt_window`, `kvm_run.cr8`).

use super::Activity;
use super::exit::{self, Exit};
use super::fetch::Fetcher;
use super::kick::{Kick, Request};
use crate::apic::addressing::Mode;
use crate::apic::local::{Effect, LocalApic};
use crate::apic::presence::Place;
use crate::apic::registers::{X2APIC_MSR, X2APIC_MSR_END};
use crate::apic::service::Service;
use crate::apic::timer::{Deadline, Now};
use kvm_bindings::{kvm_interrupt, kvm_regs, kvm_sregs};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::arch::x86_64::_rdtsc;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

/// What kvm-ioctls has no name for.
mod ioctls {
    use super::{ioctl_iow_nr, kvm_interrupt};
    ioctl_iow_nr!(KVM_INTERRUPT, kvm_bindings::KVMIO, 0x86, kvm_interrupt);
}

/// Of the page where the local APIC's registers lie in xAPIC mode.
const PAGE_SIZE: u64 = 4096;
/// Bits of a guest-physical address, as many as a processor can have: KVM refuses what this one has not.
const ADDRESS_BITS: u32 = 52;

/// What the processor is doing, between two stays in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Running code.
    Running,
    /// In HLT: an interrupt that can be taken, or an NMI, ends it.
    Halted,
    /// Reset, and not started: a SIPI ends it.
    WaitingForSipi,
}

/// What all vCPUs of a machine share.
#[derive(Debug)]
pub struct Board {
    /// The broadcast service.
    pub service: Service<Fetcher>,
    /// This KVM leaves the guest when CR8 is lowered (KVM_EXIT_SET_TPR). One that emulates CPL0 may not.
    tells_tpr: AtomicBool,
    tsc_khz: u64,
    started: Instant,
}

impl Board {
    /// A board of vCPUs that `service` serves, whose guest's TSC runs at `tsc_khz`.
    pub fn new(service: Service<Fetcher>, tsc_khz: u64) -> Self {
        Self { service, tells_tpr: AtomicBool::new(false), tsc_khz, started: Instant::now() }
    }
}

/// A vCPU with its local APIC, and the board that it sits on.
#[derive(Debug)]
pub struct UserApic {
    board: Arc<Board>,
    processor: Processor,
}

/// A vCPU's local APIC, and the state of its processor. Apart from the board, which every call passes in: a counted
/// reference that all vCPUs changed at every exit would be a line that they all fight for.
#[derive(Debug)]
struct Processor {
    local: LocalApic,
    index: usize,
    doing: Doing,
    /// IF, when the processor left the guest last.
    interruptible: bool,
    /// As KVM made the vCPU: what INIT brings it back to.
    reset: (kvm_regs, kvm_sregs),
    /// Guest TSC minus host TSC.
    tsc_offset: i64,
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
        let bootstrap = index == 0;
        let local = LocalApic::new(id, bootstrap);
        // Without a local APIC of its own, KVM makes vCPUs with IA32_APIC_BASE zero.
        let sregs = kvm_sregs { apic_base: local.base(), ..vcpu.get_sregs()? };
        vcpu.set_sregs(&sregs)?;
        let doing = if bootstrap { Doing::Running } else { Doing::WaitingForSipi };
        let reset = (vcpu.get_regs()?, sregs);
        let processor = Processor { local, index, doing, interruptible: false, reset, tsc_offset };
        processor.publish(&board);
        Ok(Self { board, processor })
    }

    /// Runs the guest until something happens that is not the local APIC's alone to handle: an exit, or a request.
    pub fn run(&mut self, vcpu: &mut VcpuFd, kick: &Kick) -> Exit {
        self.processor.run(&self.board, vcpu, kick)
    }

    /// What the processor is doing.
    pub fn activity(&self) -> Activity {
        match self.processor.doing {
            Doing::Running => Activity::Running,
            Doing::Halted => Activity::Halted,
            Doing::WaitingForSipi => Activity::WaitingForSipi,
        }
    }

    /// Whether an interrupt on `vector` waits in the IRR.
    pub fn is_pending(&self, vector: u8) -> bool {
        self.board.service.inbox(self.processor.index).irr().contains(vector)
    }

    /// The machine's other local APICs.
    pub fn board(&self) -> &Board {
        &self.board
    }
}

impl Processor {
    fn run(&mut self, board: &Board, vcpu: &mut VcpuFd, kick: &Kick) -> Exit {
        loop {
            if kick.pending() != Request::Run {
                return Exit::Interrupted;
            }
            if let Err(error) = self.take_events(board, vcpu) {
                return Exit::Failed(error.errno());
            }
            self.local.tick(&|| now(board, self.tsc_offset), board.service.inbox(self.index).irr());
            if self.doing == Doing::Halted && self.wakes(board) {
                self.doing = Doing::Running;
            }
            if self.doing != Doing::Running {
                self.sleep(board, kick);
                continue;
            }
            let window = match self.inject(board, vcpu) {
                Ok(window) => window,
                Err(error) => return Exit::Failed(error.errno()),
            };
            if let Some(exit) = self.enter(board, vcpu, kick, window) {
                return exit;
            }
        }
    }

    /// One stay in the guest, unless something has come meanwhile.
    fn enter(&mut self, board: &Board, vcpu: &mut VcpuFd, kick: &Kick, window: bool) -> Option<Exit> {
        let run = vcpu.get_kvm_run();
        run.request_interrupt_window = window.into();
        run.cr8 = self.local.cr8();
        let inbox = board.service.inbox(self.index);
        let exit = inbox.presence().go(
            Place::Guest,
            self,
            // With the window requested, a vector that comes now is injected when that opens.
            |processor| {
                let nothing_new = window || processor.local.pending(inbox.irr()).is_none();
                nothing_new && !inbox.has_events() && kick.request() == Request::Run
            },
            |processor| {
                exit::run_with(vcpu, |exit| {
                    processor.local.set_cr8(kick.cr8());
                    processor.follow(board, kick.apic_base());
                    processor.serve(board, exit?)
                })
            },
        )?;
        self.after(board, vcpu, exit);
        Some(exit)
    }

    /// What the exit tells about the processor.
    fn after(&mut self, board: &Board, vcpu: &mut VcpuFd, exit: Exit) {
        let run = vcpu.get_kvm_run();
        self.interruptible = run.if_flag != 0;
        match exit {
            Exit::Halt => self.doing = Doing::Halted,
            // Relaxed: whoever does not know it yet asks for windows that it does not need.
            Exit::Tpr => board.tells_tpr.store(true, Ordering::Relaxed),
            _ => {}
        }
    }

    /// The guest has written IA32_APIC_BASE, maybe, which KVM keeps and tells with the next exit.
    fn follow(&mut self, board: &Board, base: u64) {
        if base == self.local.base() {
            return;
        }
        // KVM refuses a step that is not allowed: one that looks so has led through the disabled state.
        if self.local.set_base(base, ADDRESS_BITS).is_err() {
            self.local.disable();
            // A value that is refused all the same leaves it disabled.
            let _ = self.local.set_base(base, ADDRESS_BITS);
        }
        self.publish(board);
    }

    /// Answers an access to the local APIC.
    fn serve(&mut self, board: &Board, exit: &mut VcpuExit<'_>) -> Option<Exit> {
        let tsc_offset = self.tsc_offset;
        let now: &dyn Fn() -> Now = &|| now(board, tsc_offset);
        let irr = board.service.inbox(self.index).irr();
        match exit {
            VcpuExit::MmioRead(address, data) => {
                let offset = self.offset(*address)?;
                let value = self.local.read_mmio(offset, now, irr);
                let bytes = value.to_le_bytes();
                data.iter_mut().zip(bytes.into_iter().chain(std::iter::repeat(0))).for_each(|(to, from)| *to = from);
                Some(Exit::ApicRead(offset))
            }
            VcpuExit::MmioWrite(address, data) => {
                let offset = self.offset(*address)?;
                let value = exit::little_endian(data);
                let effect = self.local.write_mmio(offset, value, now, irr);
                self.carry_out(board, effect);
                Some(Exit::ApicWrite(offset))
            }
            VcpuExit::X86Rdmsr(read) => {
                let index = read.index;
                let value = self.local.read_msr(index, now, irr);
                *read.error = value.is_err().into();
                *read.data = value.unwrap_or(0);
                Some(msr(index, Exit::ApicRead))
            }
            VcpuExit::X86Wrmsr(write) => {
                let index = write.index;
                let effect = self.local.write_msr(index, write.data, now, irr);
                *write.error = effect.is_err().into();
                if let Ok(effect) = effect {
                    self.carry_out(board, effect);
                }
                Some(msr(index, Exit::ApicWrite))
            }
            _ => None,
        }
    }

    /// Where in the local APIC's page an address lies, if it does.
    fn offset(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.local.page())?;
        let is_in = self.local.mode() == Mode::XApic && offset < PAGE_SIZE;
        is_in.then(|| u32::try_from(offset).ok())?
    }

    fn carry_out(&self, board: &Board, effect: Effect) {
        match effect {
            Effect::Send(ipi) => {
                board.service.send(Some(self.index), ipi);
            }
            // Of all others, it may have been a register that says how this local APIC is addressed.
            Effect::None => self.publish(board),
            Effect::Unsent(_) | Effect::EndOfInterrupt(_) => {}
        }
    }

    /// Lets others see how this local APIC is addressed.
    fn publish(&self, board: &Board) {
        board.service.inbox(self.index).publish(self.local.addressing().to_bits());
    }

    /// NMI, INIT and SIPI, as the processor takes them (SDM Vol. 3A 10.4.1).
    fn take_events(&mut self, board: &Board, vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
        let inbox = board.service.inbox(self.index);
        if !inbox.has_events() {
            return Ok(());
        }
        let events = inbox.take_events();
        if events.init {
            self.reset(board, vcpu)?;
        }
        if let (Some(vector), Doing::WaitingForSipi) = (events.sipi, self.doing) {
            let (_, mut sregs) = self.reset;
            sregs.cs.selector = u16::from(vector) << 8;
            sregs.cs.base = u64::from(vector) << 12;
            sregs.apic_base = self.local.base();
            vcpu.set_sregs(&sregs)?;
            vcpu.set_regs(&kvm_regs { rip: 0, ..self.reset.0 })?;
            self.doing = Doing::Running;
        }
        if events.nmi && self.doing != Doing::WaitingForSipi {
            vcpu.nmi()?;
            self.doing = Doing::Running;
        }
        Ok(())
    }

    /// INIT. What runs after it is the reset vector on the bootstrap processor, and nothing on the others.
    fn reset(&mut self, board: &Board, vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
        self.local.init();
        board.service.inbox(self.index).irr().clear();
        self.publish(board);
        vcpu.set_vcpu_events(&kvm_bindings::kvm_vcpu_events::default())?;
        let (regs, mut sregs) = self.reset;
        sregs.apic_base = self.local.base();
        vcpu.set_sregs(&sregs)?;
        vcpu.set_regs(&regs)?;
        self.doing = if self.local.is_bootstrap() { Doing::Running } else { Doing::WaitingForSipi };
        Ok(())
    }

    /// Whether an interrupt ends the HLT.
    fn wakes(&self, board: &Board) -> bool {
        self.interruptible && self.local.pending(board.service.inbox(self.index).irr()).is_some()
    }

    /// Injects the interrupt that comes next, if the guest can take it. Whether the guest has to say when it can take one.
    fn inject(&mut self, board: &Board, vcpu: &mut VcpuFd) -> Result<bool, kvm_ioctls::Error> {
        let irr = board.service.inbox(self.index).irr();
        if vcpu.get_kvm_run().ready_for_interrupt_injection != 0
            && let Some(vector) = self.local.acknowledge(irr)
        {
            interrupt(vcpu, vector)?;
            // KVM says it anew when it has injected this one.
            vcpu.get_kvm_run().ready_for_interrupt_injection = 0;
        }
        let held_by_tpr = !board.tells_tpr.load(Ordering::Relaxed) && self.local.held_by_tpr(irr);
        Ok(self.local.pending(irr).is_some() || held_by_tpr)
    }

    /// Sleeps until something is left for this vCPU, its timer expires, or its thread is asked for something.
    fn sleep(&mut self, board: &Board, kick: &Kick) {
        let inbox = board.service.inbox(self.index);
        let halted = self.doing == Doing::Halted && self.interruptible;
        inbox.presence().go(
            Place::Bed,
            self,
            |processor| {
                let nothing_new = !halted || processor.local.pending(inbox.irr()).is_none();
                nothing_new && !inbox.has_events() && kick.request() == Request::Run
            },
            |processor| {
                while !inbox.presence().is_summoned() && kick.request() == Request::Run {
                    match processor.until_deadline(board) {
                        Some(Duration::ZERO) => break,
                        Some(time) => std::thread::park_timeout(time),
                        None => std::thread::park(),
                    }
                }
            },
        );
    }

    /// How long until the timer expires.
    fn until_deadline(&self, board: &Board) -> Option<Duration> {
        let now = now(board, self.tsc_offset);
        self.local.next_deadline().map(|deadline| match deadline {
            Deadline::Ns(ns) => Duration::from_nanos(ns.saturating_sub(now.ns)),
            Deadline::Tsc(tsc) => {
                let cycles = u128::from(tsc.saturating_sub(now.tsc));
                let ns = cycles * 1_000_000 / u128::from(board.tsc_khz.max(1));
                Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
            }
        })
    }
}

/// What time it is for a vCPU whose TSC is the host's plus `tsc_offset`.
fn now(board: &Board, tsc_offset: i64) -> Now {
    // SAFETY: user space may read the TSC on every x86-64 Linux unless a process forbids it to itself (prctl).
    let host = unsafe { _rdtsc() };
    let ns = u64::try_from(board.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Now { ns, tsc: host.wrapping_add_signed(tsc_offset) }
}

/// The exit of an access to an MSR.
fn msr(index: u32, apic: impl Fn(u32) -> Exit) -> Exit {
    if (X2APIC_MSR..=X2APIC_MSR_END).contains(&index) { apic((index - X2APIC_MSR) << 4) } else { Exit::Msr(index) }
}

/// KVM_INTERRUPT.
fn interrupt(vcpu: &VcpuFd, vector: u8) -> Result<(), kvm_ioctls::Error> {
    let interrupt = kvm_interrupt { irq: vector.into() };
    // SAFETY: the ioctl reads one `kvm_interrupt`, and `vcpu` is a vCPU's descriptor.
    let status = unsafe { ioctl_with_ref(&vcpu.as_raw_fd(), ioctls::KVM_INTERRUPT(), &interrupt) };
    if status == 0 { Ok(()) } else { Err(kvm_ioctls::Error::last()) }
}
