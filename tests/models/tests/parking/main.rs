//! Calls whose participants sleep, under a model checker: nobody sleeps for ever, nobody starts before all have arrived, and the
//! initiator sees all results. A sleep ends only if it is ended: there is no time here.

mod atomics;
/// Words that threads sleep for, an initiator and its targets.
mod machine;
mod mutants;

use machine::parking;

/// The algorithm that the guest runs, over the model checker's atomics.
#[allow(dead_code, unreachable_pub, unused_imports, reason = "a copy: the guest uses what no model does")]
mod copy {
    include!(concat!(env!("OUT_DIR"), "/rendezvous.rs"));
}

parking!(copy);

#[test]
fn one_target_and_its_initiator_wake_each_other() {
    check(Fault::None, 1, 1);
}

#[test]
fn one_target_and_its_initiator_wake_each_other_in_two_calls() {
    check(Fault::None, 1, 2);
}

#[test]
fn the_last_of_two_targets_wakes_the_initiator() {
    check(Fault::None, 2, 1);
}
