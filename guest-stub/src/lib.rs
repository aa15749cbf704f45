//! What kipi's guest and its VMM share.
//!
//! [`abi`] is the one place where the two agree on addresses, structures and numbers; [`rendezvous`] is the
//! algorithm of the broadcast call, over atomics only; [`icr`] and [`descriptors`] are the encodings that hardware
//! reads, [`msi`] is one that the VMM does. [`plan`] says
//! which calls several initiators make, on whichever side they are. They are here so that the host can test what the guest runs.

#![no_std]
#![warn(missing_docs)]

#[cfg(feature = "documents")]
extern crate std;

pub mod abi;
pub mod descriptors;
pub mod destinations;
pub mod hyperv;
pub mod icr;
pub mod kvm_pv;
pub mod logical_ids;
pub mod long_mode;
pub mod mask;
pub mod msi;
pub mod outcomes;
pub mod paging;
pub mod patience;
pub mod plan;
pub mod random;
pub mod rendezvous;
pub mod verify;

/// What [`rendezvous`] is made of. A test puts others in their place, under which a model checker can look at it.
mod atomics {
    pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}
