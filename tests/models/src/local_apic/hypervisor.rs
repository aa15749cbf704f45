//! A vCPU as KVM runs it, as far as a local APIC in user space can see: what KVM does with an exit that is not completed, with NMIs, with
//! an interrupt that it was given, and when it leaves the guest for an interrupt window (Linux, arch/x86/kvm/x86.c).
//!
//! Its guest has as few registers as show a mistake: an instruction pointer, one that instructions read into, IF, the shadow of STI, and
//! the handlers that have not returned.

use kipi_apic::entry::{Nmis, Vcpu};
use std::convert::Infallible;

/// The vector of an NMI, and that of #GP.
pub const NMI: u8 = 2;
/// #GP.
pub const GP: u8 = 13;

/// What a guest sees of its processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Where it executes.
    pub rip: u64,
    /// What its last instruction has read.
    pub rax: u64,
    /// IF.
    pub interruptible: bool,
    /// STI was the last instruction.
    pub shadow: bool,
    /// An NMI is in service.
    pub in_nmi: bool,
    /// Handlers that have not returned, by vector, each with RIP and IF of what it has interrupted.
    pub handlers: Vec<(u8, u64, bool)>,
}

impl Guest {
    /// As INIT leaves it.
    pub const fn reset() -> Self {
        Self { rip: 0xFFF0, rax: 0, interruptible: false, shadow: false, in_nmi: false, handlers: Vec::new() }
    }

    fn deliver(&mut self, vector: u8) {
        self.handlers.push((vector, self.rip, self.interruptible));
        self.rip = 0x1_0000 + u64::from(vector) * 0x100;
        (self.interruptible, self.shadow) = (false, false);
        self.in_nmi |= vector == NMI;
    }

    fn can_take_interrupt(&mut self) -> bool {
        self.interruptible && !self.shadow
    }
}

/// How an instruction ends that user space has emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// With what it has read.
    Read(u64),
    /// With nothing.
    Written,
    /// With #GP.
    Fault,
}

/// A stay in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// The guest executes its next instruction.
    Executes,
    /// KVM_EXIT_IRQ_WINDOW_OPEN.
    WindowOpen,
}

/// A mistake that whoever carries out what a local APIC asks for could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None.
    None,
    /// Registers are set while an exit is not completed.
    ExitNotCompleted,
    /// INIT leaves the NMIs that are pending.
    InitKeepsNmis,
    /// An NMI that is raised while one is pending is lost.
    NmisMerge,
    /// NMIs are said to be over when they are not.
    NmisNotSaid,
    /// An interrupt is given to a guest whose access is about to fault.
    FaultNotForeseen,
}

/// The vCPU.
#[derive(Debug, Clone)]
pub struct Kvm {
    fault: Fault,
    guest: Guest,
    apic_base: u64,
    /// The instruction of the last exit: where it was, and how it ends at the next entry, over whatever is set meanwhile.
    unfinished: Option<(u64, Completion)>,
    exception: bool,
    interrupt: Option<u8>,
    /// `nmi_queued` and `nmi_pending`.
    nmis: u8,
    /// `kvm_run.ready_for_interrupt_injection`, of the last exit.
    ready: bool,
}

impl Kvm {
    /// A vCPU that has been made.
    pub fn new(apic_base: u64, fault: Fault) -> Self {
        let guest = Guest::reset();
        Self { fault, guest, apic_base, unfinished: None, exception: false, interrupt: None, nmis: 0, ready: false }
    }

    /// KVM_RUN, up to where the guest would execute an instruction.
    ///
    /// # Panics
    /// If it was given an interrupt that the guest cannot take: hardware refuses such an entry.
    pub fn run(&mut self, window: bool) -> Stay {
        self.finish();
        // An exception goes before an interrupt, and an interrupt that was given goes before an NMI that is pending.
        if std::mem::take(&mut self.exception) {
            self.guest.deliver(GP);
        } else if let Some(vector) = self.interrupt {
            assert!(self.guest.can_take_interrupt(), "interrupt {vector:#x} was given to a guest that cannot take it");
            self.guest.deliver(vector);
        }
        // An exception goes before it, and the exit after that one clears it (`kvm_clear_interrupt_queue`).
        self.interrupt = None;
        self.go_on(window)
    }

    /// The guest is between two instructions of one stay.
    pub fn go_on(&mut self, window: bool) -> Stay {
        while self.nmis > 0 && !self.guest.in_nmi && !self.guest.shadow {
            self.nmis -= 1;
            self.guest.deliver(NMI);
        }
        self.ready = self.guest.can_take_interrupt();
        if window && self.ready { Stay::WindowOpen } else { Stay::Executes }
    }

    /// The guest executes an instruction that does this.
    pub fn execute(&mut self, instruction: impl FnOnce(&mut Guest)) {
        self.guest.rip += 1;
        self.guest.shadow = false;
        instruction(&mut self.guest);
        self.ready = self.guest.can_take_interrupt();
    }

    /// The guest executes an instruction that user space has emulated: it ends like this, at the next entry.
    pub fn exit(&mut self, completion: Completion) {
        self.unfinished = Some((self.guest.rip, completion));
        self.guest.shadow = false;
        self.ready = self.guest.can_take_interrupt();
    }

    /// The guest, if the instruction of the last exit were finished.
    pub fn guest(&self) -> Guest {
        let mut finished = self.clone();
        finished.finish();
        if finished.exception {
            finished.guest.deliver(GP);
        }
        finished.guest
    }

    /// IA32_APIC_BASE, as it knows it.
    pub fn apic_base(&self) -> u64 {
        self.apic_base
    }

    fn finish(&mut self) {
        let Some((rip, completion)) = self.unfinished.take() else { return };
        match completion {
            Completion::Read(value) => (self.guest.rip, self.guest.rax) = (rip + 1, value),
            Completion::Written => self.guest.rip = rip + 1,
            Completion::Fault => self.exception = true,
        }
    }

    /// `process_nmi`: one in service and one pending, or two pending.
    fn process_nmis(&self) -> u8 {
        self.nmis.min(if self.guest.in_nmi { 1 } else { 2 })
    }
}

impl Vcpu for Kvm {
    type Error = Infallible;

    fn complete(&mut self) -> Result<(), Infallible> {
        if self.fault != Fault::ExitNotCompleted {
            self.finish();
        }
        Ok(())
    }

    fn reset(&mut self, apic_base: u64) -> Result<(), Infallible> {
        let nmis = if self.fault == Fault::InitKeepsNmis { self.nmis } else { 0 };
        *self = Self { unfinished: self.unfinished, nmis, ..Self::new(apic_base, self.fault) };
        Ok(())
    }

    fn start(&mut self, vector: u8) -> Result<(), Infallible> {
        self.guest.rip = u64::from(vector) << 12;
        Ok(())
    }

    fn set_apic_base(&mut self, apic_base: u64) -> Result<(), Infallible> {
        self.apic_base = apic_base;
        Ok(())
    }

    fn raise_nmi(&mut self) -> Result<(), Infallible> {
        if self.nmis == 0 || self.fault != Fault::NmisMerge {
            self.nmis += 1;
            self.nmis = self.process_nmis();
        }
        Ok(())
    }

    fn nmis(&self) -> Result<Nmis, Infallible> {
        let pending = self.nmis > 0 && self.fault != Fault::NmisNotSaid;
        Ok(Nmis { pending, blocked: self.guest.in_nmi })
    }

    fn can_take_interrupt(&mut self) -> bool {
        // The completion of an access that faults raises an exception, of which the last exit knew nothing yet.
        let will_fault = matches!(self.unfinished, Some((_, Completion::Fault)));
        self.ready && !self.exception && (!will_fault || self.fault == Fault::FaultNotForeseen)
    }

    fn interrupt(&mut self, vector: u8) -> Result<(), Infallible> {
        assert_eq!(self.interrupt.replace(vector), None, "KVM holds one interrupt");
        self.ready = false;
        Ok(())
    }
}
