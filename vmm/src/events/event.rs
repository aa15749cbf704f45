//! One event of a call: who saw what, and when.

use super::exit::{Exit, ExitKind};
use super::kernel::Point;
use crate::results::source::Source;
use guest_stub::abi::{VECTOR_IPI, VECTOR_PING};
use guest_stub::hyperv;
use guest_stub::kvm_pv::SEND_IPI;

/// Register offset of the ICR, and of the EOI register (SDM Vol. 3A table 12-1).
pub(crate) const ICR: u64 = 0x300;
pub(crate) const EOI: u64 = 0xB0;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Guest: before the send, t0.
    Send,
    /// Guest: after it, t1.
    Sent,
    /// Guest: first instructions of the interrupt entry, a.
    Arrival,
    /// Guest: the gate is open and the worker begins, w.
    WorkerStart,
    /// Guest: the worker has ended, x.
    WorkerEnd,
    /// Guest: the initiator has seen every completion, t2.
    Completed,
    /// VMM: right before KVM_RUN.
    Enter,
    /// VMM: KVM_RUN has returned.
    Return(Exit),
    /// VMM: it has served that exit.
    Served(Exit),
    /// Kernel: a tracepoint, with its fields.
    Kernel(Point, [u64; 3]),
}

impl EventKind {
    /// Who saw it.
    pub const fn source(self) -> Source {
        match self {
            Self::Send | Self::Sent | Self::Arrival | Self::WorkerStart | Self::WorkerEnd | Self::Completed => {
                Source::Guest
            }
            Self::Enter | Self::Return(..) | Self::Served(..) => Source::Vmm,
            Self::Kernel(..) => Source::Kernel,
        }
    }

    /// Whether an interrupt is sent: a write of the ICR or of the message doorbell as the VMM sees it, or KVM's own word, be it of
    /// a hypercall.
    pub fn is_send(self) -> bool {
        match self {
            Self::Kernel(Point::Ipi | Point::Message, _) => true,
            Self::Kernel(Point::Hypercall, [number, ..]) => number == u64::from(SEND_IPI),
            Self::Kernel(Point::HypervHypercall, [code, ..]) => [hyperv::SEND_IPI, hyperv::SEND_IPI_EX].contains(&code),
            Self::Return(exit) | Self::Served(exit) => is_write(exit, ICR) || exit.kind == ExitKind::Message,
            _ => false,
        }
    }

    /// Whether the interrupt is over: the EOI register is written, or has taken effect.
    pub fn is_eoi(self) -> bool {
        match self {
            Self::Return(exit) => is_write(exit, EOI),
            Self::Kernel(Point::Apic, [write, register, _]) => write == 1 && register == EOI,
            Self::Kernel(Point::Eoi, _) => true,
            _ => false,
        }
    }

    /// Whether the guest is entered.
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::Enter | Self::Kernel(Point::Entry, _))
    }

    /// Whether KVM has handed the broadcast vector to the processor before the guest had it: a KVM that keeps no ISR ends
    /// the interrupt when it injects it.
    pub const fn is_early_eoi(self) -> bool {
        matches!(self, Self::Kernel(Point::Eoi, [vector, ..]) if vector == VECTOR_IPI as u64 || vector == VECTOR_PING as u64)
    }
}

/// Whether the guest has written to this register of the user-space local APIC.
fn is_write(exit: Exit, register: u64) -> bool {
    exit == Exit::with(ExitKind::ApicWrite, register)
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The guest's TSC.
    pub tsc: u64,
    /// On which vCPU, or in whose thread; `None`: in another thread of the VMM.
    pub vcpu: Option<usize>,
    /// The vCPU that an interrupt was accepted for, or whose thread was woken.
    pub about: Option<usize>,
    /// What happened.
    pub kind: EventKind,
}
