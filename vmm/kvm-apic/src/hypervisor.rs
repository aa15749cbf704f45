//! KVM's ioctls as [`entry::Vcpu`] wants them, and the gate that everything passes which sets a vCPU's state.

use crate::error::{Error, Operation};
use crate::kick::Kick;
use crate::tsc;
use kipi_apic::entry::{self, Nmis};
use kvm_bindings::{
    KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_SHADOW, kvm_debugregs, kvm_interrupt, kvm_regs, kvm_sregs,
    kvm_vcpu_events,
};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::os::fd::AsRawFd;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

/// What kvm-ioctls has no name for.
mod request {
    use super::{ioctl_iow_nr, kvm_interrupt};
    ioctl_iow_nr!(KVM_INTERRUPT, kvm_bindings::KVMIO, 0x86, kvm_interrupt);
}

/// CR0.CD and CR0.NW, which INIT leaves as they are.
const CACHE_CONTROL: u64 = 0x6000_0000;
/// CR0.ET, which is always one.
const EXTENSION_TYPE: u64 = 0x10;
/// DR6 and DR7 without a breakpoint.
const DR6: u64 = 0xFFFF_0FF0;
const DR7: u64 = 0x400;

/// The registers that INIT leaves (SDM Vol. 3A table 11-1), but for those that it keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InitState {
    regs: kvm_regs,
    sregs: kvm_sregs,
}

impl InitState {
    /// Of `vcpu`, as KVM has just made it, with this signature (CPUID.01H:EAX).
    pub(crate) fn of(vcpu: &VcpuFd, signature: u32) -> Result<Self, Error> {
        let regs = vcpu.get_regs().map_err(Error::of(Operation::GetRegs))?;
        let sregs = vcpu.get_sregs().map_err(Error::of(Operation::GetSregs))?;
        Ok(Self { regs: kvm_regs { rdx: signature.into(), ..regs }, sregs })
    }
}

/// A vCPU that is out of the guest.
pub(crate) struct Hypervisor<'a> {
    pub(crate) vcpu: &'a mut VcpuFd,
    pub(crate) kick: &'a Kick,
    pub(crate) init: &'a InitState,
    pub(crate) left: &'a mut Left,
}

/// How the guest has left, by what KVM does at the next entry before it runs the guest. An exception that it raises then takes an
/// interrupt with it that it was given before: KVM injects the exception, and the exit after that clears the interrupt that was
/// queued (`kvm_clear_interrupt_queue` in `__vmx_complete_interrupts` and `svm_complete_interrupts`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Left {
    /// Nothing.
    #[default]
    Settled,
    /// It moves on from an access that has had its effect, or to the access's next part. Single-stepped, that ends in #DB
    /// (`kvm_vcpu_do_singlestep`).
    Accessing,
    /// As [`Left::Accessing`] or [`Left::Refused`]: an access to an MSR that is being answered.
    Msr,
    /// It goes on with an instruction that has read from an address or a port, and may fault.
    Reading,
    /// It raises #GP, for an access to an MSR. Once KVM has finished the instruction, the exception is pending, and an older KVM does not
    /// count that when it says whether the guest can take an interrupt: so it stays until the guest has run.
    Refused,
}

impl Hypervisor<'_> {
    /// Sets the registers by which KVM enters the guest.
    fn set(&self, sregs: &kvm_sregs, regs: &kvm_regs) -> Result<(), Error> {
        self.vcpu.set_sregs(sregs).map_err(Error::of(Operation::SetSregs))?;
        self.vcpu.set_regs(regs).map_err(Error::of(Operation::SetRegs))
    }

    /// Writes IA32_TSC or IA32_TSC_ADJUST. The new TSC offset.
    pub(crate) fn write_tsc(&mut self, msr: u32, value: u64) -> Result<i64, Error> {
        entry::Vcpu::complete(self)?;
        tsc::write(self.vcpu, msr, value)
    }
}

impl entry::Vcpu for Hypervisor<'_> {
    type Error = Error;

    /// KVM finishes an exit's instruction in the next KVM_RUN, before it looks at `immediate_exit` (KVM API, `kvm_run`). An access
    /// of several parts exits again for each.
    fn complete(&mut self) -> Result<(), Error> {
        /// KVM goes back to the guest after at most 1,024 elements of a string instruction (`x86_emulate_insn`), each of which may lie
        /// in two pages, at either end.
        const MOST_PARTS: usize = 4 * 1024 + 4;
        let mut outcome = Err(Error { operation: Operation::Complete, errno: libc::ELOOP });
        for _ in 0..MOST_PARTS {
            self.kick.turn_back();
            match self.vcpu.run() {
                Ok(exit) => nobody_answers(exit),
                Err(error) if error.errno() == libc::EINTR => {
                    outcome = Ok(());
                    break;
                }
                Err(error) => {
                    outcome = Err(Error::of(Operation::Complete)(error));
                    break;
                }
            }
        }
        // Whoever has kicked this thread meanwhile is seen before its next entry.
        self.kick.acknowledge();
        if *self.left != Left::Refused {
            *self.left = Left::Settled;
        }
        outcome
    }

    fn reset(&mut self, apic_base: u64) -> Result<(), Error> {
        let cache_control = self.vcpu.get_sregs().map_err(Error::of(Operation::GetSregs))?.cr0 & CACHE_CONTROL;
        let nothing = kvm_vcpu_events {
            flags: KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
            ..kvm_vcpu_events::default()
        };
        self.vcpu.set_vcpu_events(&nothing).map_err(Error::of(Operation::SetVcpuEvents))?;
        let cr0 = EXTENSION_TYPE | cache_control;
        self.set(&kvm_sregs { apic_base, cr0, cr8: 0, ..self.init.sregs }, &self.init.regs)?;
        let debug = kvm_debugregs { dr6: DR6, dr7: DR7, ..kvm_debugregs::default() };
        self.vcpu.set_debug_regs(&debug).map_err(Error::of(Operation::SetDebugRegs))?;
        let run = self.vcpu.get_kvm_run();
        // As of the last exit. IF is clear now.
        run.ready_for_interrupt_injection = 0;
        run.if_flag = 0;
        *self.left = Left::Settled;
        Ok(())
    }

    fn start(&mut self, vector: u8) -> Result<(), Error> {
        let mut sregs = self.vcpu.get_sregs().map_err(Error::of(Operation::GetSregs))?;
        sregs.cs.selector = u16::from(vector) << 8;
        sregs.cs.base = u64::from(vector) << 12;
        self.set(&sregs, &kvm_regs { rip: 0, ..self.init.regs })
    }

    fn set_apic_base(&mut self, apic_base: u64) -> Result<(), Error> {
        tsc::write_msr(self.vcpu, kipi_apic::registers::APIC_BASE_MSR, apic_base)
    }

    fn raise_nmi(&mut self) -> Result<(), Error> {
        self.vcpu.nmi().map_err(Error::of(Operation::Nmi))
    }

    fn nmis(&self) -> Result<Nmis, Error> {
        let nmi = self.vcpu.get_vcpu_events().map_err(Error::of(Operation::GetVcpuEvents))?.nmi;
        Ok(Nmis { pending: nmi.pending != 0, blocked: nmi.masked != 0 })
    }

    fn can_take_interrupt(&mut self) -> bool {
        /// Trap flag.
        const RFLAGS_TF: u64 = 1 << 8;
        let is_ready = self.vcpu.get_kvm_run().ready_for_interrupt_injection != 0;
        is_ready
            && match self.left {
                Left::Settled => true,
                Left::Accessing => self.vcpu.get_regs().is_ok_and(|regs| regs.rflags & RFLAGS_TF == 0),
                Left::Msr | Left::Reading | Left::Refused => false,
            }
    }

    fn interrupt(&mut self, vector: u8) -> Result<(), Error> {
        let interrupt = kvm_interrupt { irq: vector.into() };
        // SAFETY: the ioctl reads one `kvm_interrupt`, and `vcpu` is a vCPU's descriptor.
        let status = unsafe { ioctl_with_ref(&self.vcpu.as_raw_fd(), request::KVM_INTERRUPT(), &interrupt) };
        if status != 0 {
            return Err(Error::of(Operation::Interrupt)(kvm_ioctls::Error::last()));
        }
        // KVM says it anew when it has injected this one.
        self.vcpu.get_kvm_run().ready_for_interrupt_injection = 0;
        Ok(())
    }
}

/// The rest of an instruction whose effect INIT discards: reads find nothing, writes go nowhere.
fn nobody_answers(exit: VcpuExit<'_>) {
    match exit {
        VcpuExit::IoIn(_, data) | VcpuExit::MmioRead(_, data) => data.fill(0xFF),
        VcpuExit::X86Rdmsr(read) => *read.error = 1,
        VcpuExit::X86Wrmsr(write) => *write.error = 1,
        _ => {}
    }
}
