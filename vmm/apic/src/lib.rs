//! A local APIC in user space, and the broadcast service on top of it.
//!
//! [`processor`] is one vCPU's interrupt side, for whoever runs the vCPU: its local APIC ([`local`]: registers, and what accesses
//! to them mean), HLT, INIT, SIPI and NMI. It belongs to the vCPU's thread. [`inbox`] is what other threads leave for that
//! vCPU, [`service`] puts an interrupt message into the inboxes of all its destinations, and [`presence`] says whom it has to
//! fetch. Nothing here knows KVM or any guest: [`entry`] has what a vCPU must be able to do, and what is done to it before each entry.
//!
//! # The loop
//!
//! What a vCPU's thread does, with a toy for a vCPU, whose guest sends itself an interrupt and halts:
//!
//! ```
//! use kipi_apic::capabilities::{Capabilities, DeliveryStatus};
//! use kipi_apic::entry::{Next, Nmis, Vcpu};
//! use kipi_apic::presence::Place;
//! use kipi_apic::processor::{Processor, Setup};
//! use kipi_apic::service::{Fetch, Service};
//! use kipi_apic::timer::Now;
//!
//! /// How a sender gets at this thread.
//! struct Thread;
//!
//! impl Fetch for Thread {
//!     fn interrupt(&self) { /* a signal, and kvm_run.immediate_exit */ }
//!     fn wake(&self) { /* unpark */ }
//! }
//!
//! /// Why a vCPU leaves its guest.
//! enum Exit {
//!     Store { address: u64, data: [u8; 4] },
//!     Halt,
//!     Handler(u8),
//! }
//!
//! #[derive(Default)]
//! struct Toy { step: usize, interrupt: Option<u8> }
//!
//! impl Toy {
//!     /// KVM_RUN.
//!     fn run(&mut self) -> Exit {
//!         self.step += 1;
//!         match (self.step, self.interrupt.take()) {
//!             (1, _) => Exit::Store { address: 0xFEE0_00F0, data: 0x1FF_u32.to_le_bytes() }, // software enable
//!             (2, _) => Exit::Store { address: 0xFEE0_0300, data: 0x4_0051_u32.to_le_bytes() }, // self IPI
//!             (_, Some(vector)) => Exit::Handler(vector),
//!             (_, None) => Exit::Halt,
//!         }
//!     }
//! }
//!
//! impl Vcpu for Toy {
//!     type Error = std::convert::Infallible;
//!     fn complete(&mut self) -> Result<(), Self::Error> { Ok(()) } // KVM_RUN with immediate_exit
//!     fn reset(&mut self, _apic_base: u64) -> Result<(), Self::Error> { Ok(()) }
//!     fn start(&mut self, _vector: u8) -> Result<(), Self::Error> { Ok(()) }
//!     fn set_apic_base(&mut self, _apic_base: u64) -> Result<(), Self::Error> { Ok(()) }
//!     fn raise_nmi(&mut self) -> Result<(), Self::Error> { Ok(()) }
//!     fn nmis(&self) -> Result<Nmis, Self::Error> { Ok(Nmis::default()) }
//!     fn can_take_interrupt(&mut self) -> bool { self.step >= 2 && self.interrupt.is_none() }
//!     fn interrupt(&mut self, vector: u8) -> Result<(), Self::Error> {
//!         self.interrupt = Some(vector); // KVM_INTERRUPT
//!         Ok(())
//!     }
//! }
//!
//! let capabilities = Capabilities {
//!     address_bits: 46,
//!     x2apic: true,
//!     tsc_deadline: true,
//!     icr_delivery_status: DeliveryStatus::Ignored,
//! };
//! let service = Service::new([(0, Thread)]);
//! let mut processor = Processor::new(0, Setup { id: 0, bootstrap: true, capabilities }, &service);
//! let (mut vcpu, mut taken, now) = (Toy::default(), None, Now::default); // a clock that stands still
//! loop {
//!     let Ok(next) = processor.prepare(&service, &mut vcpu, &now);
//!     // An embedder tells its timer thread processor.next_deadline() here, and hands CR8 to the vCPU.
//!     let place = match next {
//!         Next::Enter(_) => Place::Guest, // kvm_run.request_interrupt_window, if it is Wait::Window
//!         Next::Sleep => Place::Parked,
//!     };
//!     // Says where it goes, looks whether something has come, and goes.
//!     let presence = service.inbox(processor.index()).presence();
//!     let is_settled = |_: &Toy| processor.is_settled(&service, next);
//!     let exit = presence.go(place, &mut vcpu, is_settled, |vcpu| match place {
//!         Place::Guest => Some(vcpu.run()),
//!         Place::Parked => None, // park, until presence.is_kicked()
//!     });
//!     match exit.flatten() {
//!         Some(Exit::Store { address, data }) => {
//!             let written = processor.write_mmio(&service, address, &data, &now);
//!             assert!(written.is_some(), "another device's");
//!         }
//!         Some(Exit::Handler(vector)) => taken = Some(vector),
//!         Some(Exit::Halt) => processor.halt(true),
//!         None if place == Place::Parked => break, // nobody is left to wake it
//!         None => {} // something had come
//!     }
//! }
//! assert_eq!(taken, Some(0x51));
//! ```
//!
//! # Conformance
//!
//! Sections are of the SDM, Vol. 3A. The last column says who has checked a line: *model* is an executable reading of these sections
//! (`tests/models/src/local_apic`), compared after every operation, of random sequences in `cargo test` and of a fuzzer's
//! (`tests/fuzz`); *unit* are the tests beside the code; *real vCPU* are those of `kipi check` on the routes `vmm` and
//! `vmm-xapic`: its group `processor/`, and for timers, EOI and sends the calls that it makes.
//!
//! | what | section | here | | checked by |
//! | --- | --- | --- | --- | --- |
//! | IA32_APIC_BASE: modes, steps between them, reserved bits, any page without memory | 12.4.4, 12.12.5, figure 12-27 | yes | by the capabilities: physical address bits, x2APIC mode. Senders see the new mode when the write is over, the hypervisor is told before the next entry. What is off takes no message, gives no interrupt and raises none; registers and IRR survive, as KVM's do and as guests rely on (12.4.3 allows either) | model, unit, real vCPU |
//! | ID | 12.4.6, 12.12.1 | yes | read-only in xAPIC mode too, which the section leaves to the model; 8 bits or 32. A processor with an id above 255 is reached by it in either mode, as in KVM | model |
//! | version | 12.4.8 | yes | 0x14, six LVT entries; no EOI-broadcast suppression | model |
//! | TPR, PPR | 12.8.3 | yes | of equal classes, PPR shows the TPR's subclass (12.8.3.1 allows either) | model, unit, real vCPU |
//! | CR8 | 12.8.6 | yes | a write that is seen clears the subclass ([`processor::Processor::write_cr8`]). KVM leaves the guest only when CR8 falls; of a write that is not seen, of the same class, nobody knows, and the subclass stays ([`processor::Processor::follow_cr8`]) | model, unit |
//! | APR, remote read | 12.8.3 footnote, table 12-1 | no | not in processors since the Pentium 4; an illegal register here | model |
//! | EOI | 12.8.5 | yes | of a level-triggered interrupt, the embedder is told, for its I/O APIC ([`processor::Eoi`]) | model, unit, real vCPU |
//! | LDR, DFR: flat and cluster | 12.6.2.2 | yes | clusters are 0 to 15, as KVM's: F4H is cluster 15, not every cluster. Only FFH is everybody | model, unit, real vCPU |
//! | x2APIC LDR: from the id | 12.12.10.2 | yes | cluster: bits 19:4 of the id. What is above does not take part | model, unit, real vCPU |
//! | SVR: software enable | 12.4.7.2, 12.9 | yes | disabled: no fixed interrupts, LVT entries masked; what waits in the IRR is still given | model, unit, real vCPU |
//! | SVR: focus processor checking (bit 9) | 12.9, figure 12-23 | register | keeps what is written, in both modes, as KVM's does; nothing checks it. Bit 12 is reserved, as the version does not announce it | model, unit |
//! | spurious vector | 12.9 | no | nothing here takes a pending interrupt back between its choice and its delivery | none |
//! | ISR, IRR | 12.8.4 | yes | | model, unit, real vCPU |
//! | TMR, level-triggered interrupts | 12.8.4 | yes | set or cleared when a message is accepted. Level-triggered are messages of I/O APICs and devices; an IPI never is, for the ICR's trigger mode is for INIT level de-assert (12.6.1) | model, unit |
//! | messages of devices (MSI) | 12.11 | yes | [`ipi::Ipi::from_msi`]; ids of 32 bits as in KVM; the destination mode counts without the redirection hint, too, as KVM and its guests have it; the level bit is ignored | model, unit |
//! | ESR: send illegal vector, receive illegal vector, illegal register | 12.5.3 | yes | a receiver sees no illegal vector but the LVT's own: senders are stopped first | model, unit |
//! | ESR: checksum, accept and redirectable-IPI errors | 12.5.3 | no | of buses that are gone, and of a feature that is not there | none |
//! | ICR: fixed, NMI, INIT, SIPI; physical, logical, all shorthands | 12.6.1, 12.12.9 | yes | delivery status is always idle: a send is over when the write is | model, unit, real vCPU |
//! | ICR: bit 12 in x2APIC mode | 12.12.9, figure 12-28 | yes | AMD's processors raise #GP, Intel's and KVM ignore it: by the capabilities ([`capabilities::DeliveryStatus`]) | model, unit |
//! | ICR: lowest priority | 12.6.2.4 | yes | the lowest class of the TPR wins, as published; the vector decides between equals. A write of CR8 without an exit is published at the next | model, unit, real vCPU |
//! | ICR: SMI, ExtINT | 12.6.1 | counted | there is no SMM and no PIC to serve them ([`service::Service::ignored`]) | unit |
//! | ICR: INIT level de-assert, reserved modes and shorthands | 12.6.1, table 12-3 | not sent | as the section says of these processors | model, unit |
//! | self IPI | 12.12.11 | yes | | model, unit |
//! | LVT timer | 12.5.1, 12.5.4 | yes | one-shot, periodic; 1 GHz over the divide configuration, as KVM's. How late an interrupt comes is up to whoever watches the deadlines | model, unit, real vCPU |
//! | TSC deadline | 12.5.4.1 | yes | where CPUID shows it; elsewhere bit 18 of the entry is reserved and IA32_TSC_DEADLINE is none. With the local APIC off it reads zero and ignores writes, as KVM's | model, unit, real vCPU |
//! | writes of IA32_TSC, IA32_TSC_ADJUST | 12.5.4.1 | yes | the deadline is one of the guest's TSC, whatever becomes of that: the embedder's clock reads it ([`timer::Now::tsc`]) | model, real vCPU |
//! | LVT thermal, performance, LINT0, LINT1 | 12.5.1 | registers | nothing here raises them | model |
//! | LVT error | 12.5.1, 12.5.3 | yes | | model, unit |
//! | LVT CMCI | 12.5.1 | no | the version says six entries | model |
//! | reserved bits | 12.4.1, 12.12.1.3 | yes | #GP in x2APIC mode, ignored in xAPIC mode. Read-only ones (bit 12 of LVT entries, bit 14 of LINT0's and LINT1's) are not reserved: they can be written in either mode, and stay zero, while KVM keeps what is written | model, unit |
//! | loads and stores that are not 32 bits wide or not aligned | 12.4.1 | undefined | a load from one register's four bytes gives these, others give zeros; only an aligned store of 32 bits writes. So does KVM, but for the zeros | model, unit, real vCPU |
//! | the page while the local APIC is off or in x2APIC mode | 12.4.3, 12.12.2 | undefined | loads give ones, stores are lost: nobody answers on a bus, and KVM does so, too (KVM_X86_QUIRK_LAPIC_MMIO_HOLE) | model, unit, real vCPU |
//! | INIT | 10.4.1, 12.4.7.3 | yes | a bootstrap processor begins at the reset vector, another waits for its SIPI. NMIs and SIPIs that wait go with it. Senders see first that the local APIC is disabled; an interrupt of one that had looked before is dropped with the first software enable | model, unit, real vCPU |
//! | SIPI | 10.4.3 | yes | taken in wait-for-SIPI only; of several, the first | model, unit, real vCPU |
//! | NMI | 7.7.1 | yes | two while none is in service, else one; further ones merge. One in wait-for-SIPI pends until the start, as in KVM. No vector overtakes an NMI that its sender has sent before it | model, unit, real vCPU |
//! | HLT | Vol. 2A | yes | ended by an NMI that is not blocked, and, with IF set, by an interrupt above the processor's priority. A single step's #DB waits until it ends | model, unit, real vCPU |
//! | posted interrupts, virtualised registers, IPI virtualisation | Vol. 3C, APIC virtualization | no | hardware's for an in-kernel local APIC | none |

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
