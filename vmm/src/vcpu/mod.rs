//! A vCPU and its thread: from an exit to the next entry.
//!
//! [`thread`] is the loop. KVM_RUN's return becomes a value ([`crate::events::exit::Exit`]) in [`run`], wherever the local
//! APIC is (in user space, [`kipi_kvm_apic`] serves it); `next` says what follows it; other threads get this one out of the guest
//! by a [`kipi_kvm_apic::Kick`]. What a thread needs of its machine is a trait, [`interrupt::InterruptBus`].

pub mod activity;
pub mod away;
pub mod interrupt;
pub mod next;
pub mod parking;
pub mod refusals;
pub mod run;
pub mod state;
pub mod stop;
pub mod test_hooks;
pub mod thread;
