//! Which exits are the local APIC's, and what it answers.

use crate::hypervisor::Left;
use crate::irqchip::ThreadKick;
use crate::tsc::{IA32_TSC, IA32_TSC_ADJUST};
use kipi_apic::processor::{Eoi, Processor};
use kipi_apic::registers::{X2APIC_MSR, X2APIC_MSR_END};
use kipi_apic::service::Service;
use kipi_apic::timer::Now;
use kvm_ioctls::VcpuExit;

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

/// Answers an access to the local APIC. `None`: the exit is somebody else's.
pub(super) fn serve(
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
pub(super) fn serve_tsc(
    has_adjust: bool,
    tsc_write: &mut Option<(u32, u64)>,
    exit: &mut VcpuExit<'_>,
) -> Option<Served> {
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
pub(super) fn how_left(exit: &VcpuExit<'_>) -> Left {
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
