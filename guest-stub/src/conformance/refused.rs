//! Hypercalls that KVM refuses, to see whether somebody notices.

use crate::cpu::hypercall::{Vmcall, Vmmcall, is_vmmcall};
use crate::routes::{hyperv, kvm_pv};
use guest_stub::abi::{APIC_IDS_END, GuestRoute, VECTOR_IPI};
use guest_stub::icr::{self, To};
use guest_stub::kvm_pv::Batch;

/// Makes one, where the route has hypercalls.
pub(super) fn hypercall(route: GuestRoute) {
    match route {
        GuestRoute::KvmPv => {
            // To a local APIC that is not there.
            let (nobody, command) = (Batch::one(APIC_IDS_END), icr::fixed(VECTOR_IPI, To::One(0)));
            if is_vmmcall() {
                kvm_pv::send::<Vmmcall>(nobody, command);
            } else {
                kvm_pv::send::<Vmcall>(nobody, command);
            }
        }
        // On an exception's vector, to the sender.
        GuestRoute::HyperV => hyperv::send_to_mask(0x0F, 1),
        GuestRoute::XApic
        | GuestRoute::X2Apic
        | GuestRoute::Memory
        | GuestRoute::Nmi
        | GuestRoute::Msi
        | GuestRoute::Host => {}
    }
}
