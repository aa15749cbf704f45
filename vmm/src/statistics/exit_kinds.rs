//! Which act exits as an exit of a call does, by what KVM or the VMM tells of it.
//!
//! KVM's `kvm_exit` has the hardware's reason (SDM Vol. 3D appendix C, APM Vol. 2 appendix C), which of a local APIC says no more
//! than that it was accessed. `kvm_apic`, before the guest is entered again, has the register. An access to another register than
//! the ICR and the EOI register, such as the ICR's high half, is no act's, and neither is a page that is touched first.

use crate::events::event::{EOI, Event, EventKind, ICR};
use crate::events::exit::{Exit, ExitKind};
use crate::events::kernel::Point;
use guest_stub::abi::act::Act;

/// What an exit is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Exits of no act, which have no price.
    Other,
    /// Those that this act makes.
    Of(Act),
}

impl Kind {
    pub(super) fn act(self) -> Option<Act> {
        match self {
            Self::Other => None,
            Self::Of(act) => Some(act),
        }
    }

    pub(super) fn is_eoi(self) -> bool {
        matches!(self, Self::Of(Act::EoiXApic | Act::EoiX2Apic))
    }
}

/// An access to a register of a local APIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Access {
    is_write: bool,
    register: u64,
}

impl Access {
    const ICR: Self = Self { is_write: true, register: ICR };

    fn of(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::Kernel(Point::Apic, [write, register, _]) => Some(Self { is_write: write == 1, register }),
            _ => None,
        }
    }

    fn kind(self, x2apic: bool) -> Kind {
        match (self.is_write, self.register, x2apic) {
            (true, ICR, true) => Kind::Of(Act::IcrX2Apic),
            (true, ICR, false) => Kind::Of(Act::IcrXApic),
            (true, EOI, true) => Kind::Of(Act::EoiX2Apic),
            (true, EOI, false) => Kind::Of(Act::EoiXApic),
            (false, _, false) => Kind::Of(Act::ReadXApic),
            (..) => Kind::Other,
        }
    }
}

/// What a call's events tell of exits: the same one may show in several of them.
pub(super) struct Evidence<'a> {
    events: &'a [Event],
    /// The mode of the local APICs.
    x2apic: bool,
    /// KVM says when the guest is left: nothing else is an exit.
    has_exits: bool,
    /// It names MSRs: then an access to a register of the x2APIC is one of them.
    has_msrs: bool,
}

impl<'a> Evidence<'a> {
    pub(super) fn of(events: &'a [Event], x2apic: bool) -> Self {
        let has =
            |wanted| events.iter().any(|event| matches!(event.kind, EventKind::Kernel(point, _) if point == wanted));
        Self { events, x2apic, has_exits: has(Point::Exit), has_msrs: has(Point::Msr) }
    }

    pub(super) fn has_exits(&self) -> bool {
        self.has_exits
    }

    /// What an event is an exit of; `None`: it is no exit.
    pub(super) fn exit(&self, index: usize) -> Option<Kind> {
        match self.events[index].kind {
            EventKind::Kernel(Point::Exit, [reason, isa, info]) => {
                let access = || self.access_after(index);
                let of_register = |access: Option<Access>| access.map_or(Kind::Other, |it| it.kind(self.x2apic));
                Some(match Hardware::of(reason, isa, info) {
                    Hardware::Cpuid => Kind::Of(Act::Cpuid),
                    Hardware::Hlt => Kind::Of(Act::Hlt),
                    Hardware::Out => Kind::Of(Act::OutVmm),
                    Hardware::In => Kind::Of(Act::InVmm),
                    Hardware::Rdmsr => Kind::Of(Act::Rdmsr),
                    Hardware::Wrmsr => access().map_or(Kind::Of(Act::Wrmsr), |access| access.kind(self.x2apic)),
                    Hardware::Icr => Access::ICR.kind(self.x2apic),
                    Hardware::Apic => of_register(access()),
                    Hardware::Other => Kind::Other,
                })
            }
            EventKind::Return(exit) => Some(self.stay(exit)),
            EventKind::Kernel(..) if self.has_exits => None,
            EventKind::Kernel(Point::Msr, [write, msr, _]) => Some(of_msr(write != 0, msr)),
            kind @ EventKind::Kernel(Point::Apic, _) if !(self.x2apic && self.has_msrs) => {
                Access::of(kind).map(|access| access.kind(self.x2apic))
            }
            EventKind::Kernel(Point::Port, [write, ..]) => {
                Some(Kind::Of(if write == 1 { Act::OutVmm } else { Act::InVmm }))
            }
            _ => None,
        }
    }

    /// The first access to its local APIC that KVM carries out for a vCPU after it has left the guest, and before it enters it or
    /// leaves it again: a write of the ICR or of the EOI register that KVM carries out at once shows no entry on some kernels.
    fn access_after(&self, index: usize) -> Option<Access> {
        let vcpu = self.events[index].vcpu;
        let later = self.events[index + 1..].iter().filter(|event| event.vcpu == vcpu);
        let is_out = |event: &&Event| !matches!(event.kind, EventKind::Kernel(Point::Exit | Point::Entry, _));
        later.take_while(is_out).find_map(|event| Access::of(event.kind))
    }

    /// What made KVM_RUN return, with a local APIC in the VMM.
    fn stay(&self, Exit { kind, payload: register }: Exit) -> Kind {
        match kind {
            ExitKind::ApicWrite => Access { is_write: true, register }.kind(self.x2apic),
            ExitKind::ApicRead => Access { is_write: false, register }.kind(self.x2apic),
            ExitKind::Halt => Kind::Of(Act::Hlt),
            ExitKind::Observe | ExitKind::Message | ExitKind::Yield | ExitKind::Mark => Kind::Of(Act::OutVmm),
            _ => Kind::Other,
        }
    }
}

/// An access to an MSR that KVM carries out where it shows no exits.
fn of_msr(is_write: bool, msr: u64) -> Kind {
    /// Of the x2APIC's registers (SDM Vol. 3A table 12-6).
    const X2APIC: u64 = 0x800;
    match msr {
        X2APIC..=0x8FF => Access { is_write, register: (msr - X2APIC) << 4 }.kind(true),
        _ if is_write => Kind::Of(Act::Wrmsr),
        _ => Kind::Of(Act::Rdmsr),
    }
}

/// Why hardware has left the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hardware {
    Cpuid,
    Hlt,
    Out,
    In,
    Rdmsr,
    Wrmsr,
    /// An ICR write that the processor's APIC virtualisation has begun and leaves to KVM.
    Icr,
    /// An access to a register of the local APIC, or to memory that is not mapped yet.
    Apic,
    Other,
}

impl Hardware {
    /// By KVM's number: the basic exit reason or the exit code. KVM_ISA_VMX is 1. `info` is the exit qualification (SDM Vol. 3C
    /// 28.2.1) or EXITINFO1.
    fn of(reason: u64, isa: u64, info: u64) -> Self {
        const VMX: u64 = 1;
        if isa == VMX {
            match reason & 0xFFFF {
                10 => Self::Cpuid,
                12 => Self::Hlt,
                30 if info & 1 << 3 == 0 => Self::Out,
                30 => Self::In,
                31 => Self::Rdmsr,
                32 => Self::Wrmsr,
                // APIC write: the qualification is the register's offset.
                56 if info & 0xFFF == ICR => Self::Icr,
                // APIC access, EPT violation, EPT misconfiguration, APIC write.
                44 | 48 | 49 | 56 => Self::Apic,
                _ => Self::Other,
            }
        } else {
            match reason {
                0x72 => Self::Cpuid,
                0x78 => Self::Hlt,
                0x7B if info & 1 == 0 => Self::Out,
                0x7B => Self::In,
                0x7C if info == 0 => Self::Rdmsr,
                0x7C => Self::Wrmsr,
                // AVIC_INCOMPLETE_IPI.
                0x401 => Self::Icr,
                // Nested page fault, access that AVIC does not accelerate.
                0x400 | 0x402 => Self::Apic,
                _ => Self::Other,
            }
        }
    }
}

#[cfg(test)]
mod tests;
