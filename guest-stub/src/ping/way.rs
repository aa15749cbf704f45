//! The ways to send a ping: all that can be done before the stamp is, and what is left is the one write that sends.

use crate::cpu::apic::{x2apic, xapic};
use crate::cpu::hypercall::Instruction;
use crate::cpu::hyperv::vp_index;
use crate::cpu::port;
use crate::processor;
use crate::routes::{hyperv, kvm_pv};
use crate::shared;
use core::marker::PhantomData;
use guest_stub::abi::{PORT_MSI, VECTOR_PING};
use guest_stub::hyperv::Input;
use guest_stub::icr::{To, fixed};
use guest_stub::kvm_pv::Batch;
use guest_stub::msi;

/// A way to send a ping. Each has a window of its own, with nothing left to be chosen.
pub(super) trait Way {
    /// To processor `target`; the ways to oneself know it.
    fn prepare(target: usize) -> Self;

    /// Sends.
    fn send(&self);
}

/// A write to the memory-mapped ICR.
pub(super) struct XApic {
    icr: xapic::Icr,
    command: u32,
}

impl XApic {
    /// The high half is written here: no handler of a processor that pings sends anything.
    fn to(to: To) -> Self {
        let icr = xapic::Icr::new();
        icr.wait_idle();
        icr.write_high(xapic::high_half(to.field()));
        Self { icr, command: fixed(VECTOR_PING, to) }
    }
}

impl Way for XApic {
    fn prepare(target: usize) -> Self {
        Self::to(To::One(shared::apic_id(target)))
    }

    #[inline]
    fn send(&self) {
        self.icr.write_low(self.command);
    }
}

/// The same, by the shorthand for the sender.
pub(super) struct XApicItself(XApic);

impl Way for XApicItself {
    fn prepare(_: usize) -> Self {
        Self(XApic::to(To::Itself))
    }

    #[inline]
    fn send(&self) {
        self.0.send();
    }
}

/// A write to the ICR's MSR.
pub(super) struct X2Apic {
    destination: u32,
}

impl Way for X2Apic {
    fn prepare(target: usize) -> Self {
        Self { destination: shared::apic_id(target) }
    }

    #[inline]
    fn send(&self) {
        x2apic::write_icr(const { fixed(VECTOR_PING, To::One(0)) }, self.destination);
    }
}

/// The same, by the shorthand for the sender.
pub(super) struct X2ApicItself;

impl Way for X2ApicItself {
    fn prepare(_: usize) -> Self {
        Self
    }

    #[inline]
    fn send(&self) {
        x2apic::write_icr(const { fixed(VECTOR_PING, To::Itself) }, 0);
    }
}

/// A write to the self-IPI register (SDM Vol. 3A 12.12.11).
pub(super) struct SelfIpi;

impl Way for SelfIpi {
    fn prepare(_: usize) -> Self {
        Self
    }

    #[inline]
    fn send(&self) {
        x2apic::write_self_ipi(VECTOR_PING);
    }
}

/// An interrupt message, which the VMM sends: a write to a port asks for it.
pub(super) struct Msi(u32);

impl Way for Msi {
    fn prepare(target: usize) -> Self {
        Self(msi::encode(VECTOR_PING, msi::To::One(target as u16)))
    }

    #[inline]
    fn send(&self) {
        port::write(PORT_MSI, self.0);
    }
}

/// A hypercall of KVM's interface, to a processor that may be the sender.
pub(super) struct KvmPv<I> {
    id: u32,
    instruction: PhantomData<I>,
}

impl<I: Instruction> Way for KvmPv<I> {
    fn prepare(target: usize) -> Self {
        Self { id: shared::apic_id(target), instruction: PhantomData }
    }

    #[inline]
    fn send(&self) {
        kvm_pv::send::<I>(Batch::one(self.id), const { fixed(VECTOR_PING, To::One(0)) });
    }
}

/// A hypercall of Hyper-V's interface, with its parameters in registers, to a processor that may be the sender.
pub(super) struct HyperVMask {
    mask: u64,
}

impl Way for HyperVMask {
    fn prepare(target: usize) -> Self {
        Self { mask: 1 << vp_index(target) }
    }

    #[inline]
    fn send(&self) {
        hyperv::send_to_mask(VECTOR_PING.into(), self.mask);
    }
}

/// The same, with its parameters in memory.
pub(super) struct HyperVSet {
    input: *mut Input,
    vp: u32,
}

impl Way for HyperVSet {
    fn prepare(target: usize) -> Self {
        Self { input: processor::current().hyperv_input(), vp: vp_index(target) }
    }

    #[inline]
    fn send(&self) {
        hyperv::send_to_one(self.input, VECTOR_PING, self.vp);
    }
}
