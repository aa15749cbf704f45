//! What only the conformance suite needs: calls of sets, by several initiators at once, with faults, in steps and in phases,
//! among interrupts of devices; workers that look at the contract, and workers that break it; a hostile guest;
//! what processors do with INIT, SIPI and NMI.

pub(crate) mod calls;
mod command;
pub(crate) mod devices;
pub(crate) mod fault;
pub(crate) mod faulting;
pub(crate) mod hostile;
mod initiator;
mod lock;
mod members;
pub(crate) mod pageable;
mod phases;
pub(crate) mod processor;
mod refused;
pub(crate) mod stepped;
pub(crate) mod verify;
pub(crate) mod workers;
