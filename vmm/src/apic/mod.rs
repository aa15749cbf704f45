//! A local APIC in user space, and the broadcast service on top of it.
//!
//! [`local`] is one vCPU's: its registers, and what accesses to them mean. It belongs to the vCPU's thread. [`inbox`] is what
//! other threads leave for that vCPU, [`service`] puts an interrupt message into the inboxes of all its destinations, and
//! [`presence`] says whom it has to fetch. Nothing here knows KVM: what lies between two entries to the guest does
//! ([`crate::vcpu::user_apic`]).

pub mod addressing;
pub mod icr;
pub mod inbox;
pub mod ipi;
pub mod local;
pub mod presence;
pub mod processor;
pub mod registers;
pub mod service;
pub mod timer;
pub mod vectors;

/// What is shared between threads is made of these: a model checker's can take their place.
mod atomics {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}
