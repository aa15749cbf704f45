//! Which entry each vector has, and on which stack: the one place that knows all handlers.

use crate::acts;
use crate::call::{entry, nmi, parked};
use crate::conformance::{devices, faulting, pageable, stepped};
use crate::cpl3;
use crate::cpu::tables::{self, Entry, IST_FAULT, IST_IPI, IST_NMI};
use crate::exceptions;
use crate::interrupts;
use crate::ping;
use guest_stub::abi::{self, Wait};

const NMI: u8 = 2;
const INVALID_OPCODE: u8 = 6;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;

/// The vectors with an entry of their own. Exceptions have one besides.
const ENTRIES: [(u8, Entry, u8); 13] = [
    (NMI, nmi::nmi_entry, IST_NMI),
    (INVALID_OPCODE, cpl3::invalid_opcode_entry, IST_FAULT),
    (GENERAL_PROTECTION, faulting::general_protection_entry, IST_FAULT),
    (PAGE_FAULT, pageable::page_fault_entry, IST_FAULT),
    (abi::VECTOR_IPI, entry::ipi_entry, IST_IPI),
    (abi::VECTOR_IPI_STEPPED, stepped::stepped_entry, IST_IPI),
    (abi::VECTOR_PING, ping::ping_entry, IST_IPI),
    (abi::VECTOR_DEVICE, devices::device_entry, IST_IPI),
    (abi::VECTOR_SENDER, devices::sender_entry, IST_IPI),
    (abi::VECTOR_MASKER, devices::masker_entry, IST_IPI),
    (abi::VECTOR_ACT, acts::act_entry, IST_IPI),
    (abi::VECTOR_WAKE, interrupts::wake_entry, IST_IPI),
    (abi::VECTOR_SPURIOUS, interrupts::spurious_entry, IST_IPI),
];

/// Fills in the IDT. A vector that nobody uses has no gate: it ends in #NP, whose error code names the vector.
///
/// # Safety
/// Called once, on vCPU 0, before any processor has loaded the IDT.
pub(crate) unsafe fn initialise() {
    let exceptions = (0..).zip(exceptions::EXCEPTIONS).map(|(vector, entry)| (vector, entry, IST_FAULT));
    for (vector, entry, ist) in exceptions.chain(ENTRIES) {
        // SAFETY: no other processor runs yet (the caller's promise), and each entry is made for its vector.
        unsafe { tables::set_gate(vector, entry, ist) };
    }
}

/// Has targets of the calls to come wait so.
///
/// # Safety
/// vCPU 0 only, while no call is under way. An NMI that nobody has asked for may come: either entry knows what to do with it.
pub(crate) unsafe fn set_wait(wait: Wait) {
    let (ipi, stepped, nmi): (Entry, Entry, Entry) = match wait {
        Wait::Spin => (entry::ipi_entry, stepped::stepped_entry, nmi::nmi_entry),
        Wait::Park => (parked::parked_ipi_entry, stepped::parked_stepped_entry, parked::parked_nmi_entry),
    };
    // SAFETY: each entry is made for its vector, and was given the same stack by `initialise`.
    unsafe {
        tables::replace_entry(abi::VECTOR_IPI, ipi, IST_IPI);
        tables::replace_entry(abi::VECTOR_IPI_STEPPED, stepped, IST_IPI);
        tables::replace_entry(NMI, nmi, IST_NMI);
    }
}
