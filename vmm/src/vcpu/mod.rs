//! A vCPU and its thread: from an exit to the next entry.
//!
//! [`thread`] is the loop. KVM_RUN's return becomes a value ([`crate::events::exit::Exit`]) in `run`, and in [`user_apic`] where
//! the local APIC is in user space; `next` says what follows it; other threads get this one out of the guest by a [`kick`].
//! What a thread needs of its machine is a trait, [`interrupt::InterruptBus`].

pub mod activity;
mod apic_timers;
pub mod interrupt;
pub mod kick;
mod next;
mod run;
pub mod state;
pub mod stop;
pub mod test_hooks;
pub mod thread;
pub mod user_apic;
pub mod user_irqchip;
