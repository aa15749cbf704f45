//! One vCPU's local APIC: its registers, and what software's accesses to them mean.
//!
//! Its owner is the vCPU's thread. IRR and TMR are shared with senders, and are passed in; so is the clock, which is read only where
//! the timer is concerned: a send does not wait for it.

mod accesses;
mod effects;
mod interrupts;
mod state;

pub(crate) use effects::Effect;
pub(crate) use interrupts::Highest;
pub use state::{GeneralProtection, LocalApic};

#[cfg(test)]
mod tests;
