//! A local APIC in user space, and the broadcast service on top of it.
//!
//! [`processor`] is one vCPU's interrupt side, for whoever runs the vCPU: its local APIC ([`local`]: registers, and what accesses
//! to them mean), HLT, INIT, SIPI and NMI. It belongs to the vCPU's thread. [`inbox`] is what other threads leave for that
//! vCPU, [`service`] puts an interrupt message into the inboxes of all its destinations, and [`presence`] says whom it has to
//! fetch. Nothing here knows KVM or any guest: whoever runs the vCPU carries out what [`processor`] asks for.
//!
//! # Conformance
//!
//! Sections are of the SDM, Vol. 3A. *Yes* has been compared, access by access, with an executable reading of these sections
//! (`tests/models/src/local_apic`), by random sequences in `cargo test` and by a fuzzer (`tests/fuzz`).
//!
//! | what | section | here | |
//! | --- | --- | --- | --- |
//! | IA32_APIC_BASE: modes, steps between them, reserved bits, any page | 12.4.4, 12.12.5, figure 12-27 | yes | KVM keeps the MSR and raises its #GP; the state follows at the next exit. What is switched off forgets registers and IRR, and takes no message (12.4.3) |
//! | ID | 12.4.6, 12.12.1 | yes | read-only in xAPIC mode too, which the section leaves to the model; 8 bits or 32 |
//! | version | 12.4.8 | yes | 0x14, six LVT entries; no EOI-broadcast suppression, as there is no I/O APIC |
//! | TPR, PPR, CR8 | 12.8.3, 12.8.6 | yes | of equal classes, PPR shows the TPR's subclass (12.8.3.1 allows either) |
//! | APR, remote read | 12.8.3 footnote, table 12-1 | no | not in processors since the Pentium 4; an illegal register here |
//! | EOI | 12.8.5 | yes | no message to I/O APICs: there are none |
//! | LDR, DFR: flat and cluster | 12.6.2.2 | yes | |
//! | x2APIC LDR: from the id | 12.12.10.2 | yes | |
//! | SVR: software enable | 12.4.7.2, 12.9 | yes | disabled: no fixed interrupts, LVT entries masked. No focus checking (bit 9) |
//! | spurious vector | 12.9 | no | nothing here takes a pending interrupt back between its choice and its delivery |
//! | ISR, IRR | 12.8.4 | yes | |
//! | TMR, level-triggered interrupts | 12.8.4 | no | reads zero: level-triggered messages come from I/O APICs |
//! | ESR: send illegal vector, receive illegal vector, illegal register | 12.5.3 | yes | a receiver sees no illegal vector but the LVT's own: senders are stopped first |
//! | ESR: checksum, accept and redirectable-IPI errors | 12.5.3 | no | of buses that are gone, and of a feature that is not there |
//! | ICR: fixed, NMI, INIT, SIPI; physical, logical, all shorthands | 12.6.1, 12.12.9 | yes | delivery status is always idle: a send is over when the write is |
//! | ICR: lowest priority | 12.6.2.4 | yes | which destination takes it is up to the model: here the vector decides |
//! | ICR: SMI, ExtINT | 12.6.1 | counted | there is no SMM and no PIC to serve them ([`service::Service::ignored`]) |
//! | ICR: INIT level de-assert, reserved modes and shorthands | 12.6.1, table 12-3 | not sent | as the section says of these processors |
//! | self IPI | 12.12.11 | yes | |
//! | LVT timer | 12.5.1, 12.5.4 | yes | one-shot, periodic; 1 GHz over the divide configuration, as KVM's. Interrupts come some 50 µs late, and not more often |
//! | TSC deadline | 12.5.4.1 | yes | KVM would take the MSR and drop it: a filter sends it here (KVM API: KVM_X86_SET_MSR_FILTER) |
//! | LVT thermal, performance, LINT0, LINT1 | 12.5.1 | registers | nothing here raises them |
//! | LVT error | 12.5.1, 12.5.3 | yes | |
//! | LVT CMCI | 12.5.1 | no | the version says six entries |
//! | reserved bits | 12.4.1, 12.12.1.3 | yes | #GP in x2APIC mode, ignored in xAPIC mode |
//! | accesses that are not 32 bits wide or not aligned | 12.4.1 | undefined | between registers: reads are zero, writes are lost |
//! | INIT | 10.4.1, 12.4.7.3 | yes | a bootstrap processor begins at the reset vector, another waits for its SIPI |
//! | SIPI | 10.4.3 | yes | taken in wait-for-SIPI only, one of several |
//! | HLT | Vol. 2A | yes | ended by an NMI, and, with IF set, by an interrupt above the processor's priority |
//! | posted interrupts, virtualised registers, IPI virtualisation | Vol. 3C, APIC virtualization | no | hardware's for an in-kernel local APIC |

#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod addressing;
pub mod capabilities;
pub mod entry;
pub mod icr;
pub mod inbox;
pub mod ipi;
pub mod local;
pub mod presence;
pub mod processor;
pub mod registers;
mod requests;
pub mod saved;
pub mod service;
pub mod timer;
pub mod vectors;

/// What is shared between threads is made of these: a model checker's can take their place.
mod atomics {
    pub(super) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}
