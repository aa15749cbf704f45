//! A vCPU's inbox under a model checker: whatever is left for a vCPU reaches it, wherever its thread is.

mod atomics;
/// A vCPU's thread, KVM_RUN with its flag and its signal, and senders.
mod machine;
mod mutants;

use machine::vcpu;

/// The inbox that the VMM uses, over the model checker's atomics.
#[allow(dead_code, unreachable_pub, reason = "a copy: the VMM uses what no model does")]
mod copy {
    use super::atomics;
    include!(concat!(env!("OUT_DIR"), "/inbox.rs"));
}

vcpu!(copy);

#[test]
fn an_interrupt_reaches_a_vcpu_that_goes_into_the_guest() {
    check(Fault::None, false, &[Deposit::Vector(0xE1)]);
}

#[test]
fn two_interrupts_reach_a_vcpu_in_the_guest() {
    check(Fault::None, false, &[Deposit::Vector(0xE1), Deposit::Vector(0x51)]);
}

#[test]
fn an_nmi_and_an_interrupt_reach_a_vcpu_in_the_guest() {
    check(Fault::None, false, &[Deposit::Nmi, Deposit::Vector(0x51)]);
}

#[test]
fn two_nmis_of_two_senders_are_two() {
    check(Fault::None, false, &[Deposit::Nmi, Deposit::Nmi]);
}

#[test]
fn an_interrupt_overtakes_no_nmi_of_its_sender() {
    check_order(true);
}

#[test]
fn an_interrupt_that_the_tpr_holds_back_reaches_a_vcpu_that_lowers_it_in_the_guest() {
    check_held(true);
}

#[test]
fn what_is_sent_to_a_local_apic_that_has_just_been_enabled_is_not_lost() {
    check_enable();
}

#[test]
fn two_interrupts_wake_a_vcpu_that_goes_to_sleep() {
    check(Fault::None, true, &[Deposit::Vector(0xE1), Deposit::Vector(0x51)]);
}

#[test]
fn an_nmi_wakes_a_vcpu_that_goes_to_sleep() {
    check(Fault::None, true, &[Deposit::Nmi]);
}
