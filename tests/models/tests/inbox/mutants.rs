//! Mistakes that somebody could make in the inbox, or around it. Each leaves a vCPU in the guest, or asleep, for ever, or loses or
//! misplaces an interrupt, and the models must find it.

use super::machine::{Deposit, Fault};
use kipi_models::caught;

/// How a mistake shows: nobody can go on,
const HANG: &str = "Model exceeded maximum number of branches";
/// an interrupt is not where it was put,
const LOST: &str = "an interrupt is lost";
/// or is given too soon.
const OVERTAKES: &str = "an interrupt overtakes an NMI";

/// A mistake around the inbox.
macro_rules! fault {
    ($name:ident, $fault:ident) => {
        #[test]
        fn $name() {
            caught(|| super::check(Fault::$fault, false, &[Deposit::Vector(0xE1)]), HANG);
        }
    };
}

fault!(a_signal_before_the_flag_is_found, SignalFirst);
fault!(a_flag_that_is_cleared_after_the_look_is_found, ClearedAfterLook);
fault!(a_signal_without_the_flag_is_found, SignalOnly);

#[test]
fn a_thread_that_does_not_look_again_is_found() {
    caught(|| super::check_order(false), OVERTAKES);
}

#[test]
fn a_thread_that_overlooks_what_its_tpr_holds_back_is_found() {
    caught(|| super::check_held(false), HANG);
}

/// A mistake in the inbox, as `build.rs` makes it.
macro_rules! mutant {
    ($test:ident, $mutation:ident, $check:ident($($argument:expr),*), $why:expr) => {
        #[allow(dead_code, unreachable_pub, reason = "a copy: each mutant is for one model")]
        mod $mutation {
            mod copy {
                use crate::atomics;
                include!(concat!(env!("OUT_DIR"), "/", stringify!($mutation), ".rs"));
            }
            crate::machine::vcpu!(copy);
        }

        #[test]
        fn $test() {
            caught(|| $mutation::$check($($argument),*), $why);
        }
    };
}

const VECTOR: &[Deposit] = &[Deposit::Vector(0xE1)];

mutant!(senders_without_order_are_found, senders_without_order, check(Fault::None, false, VECTOR), HANG);
mutant!(threads_without_order_are_found, threads_without_order, check(Fault::None, false, VECTOR), HANG);
mutant!(a_look_before_the_announcement_is_found, look_before_the_announcement, check(Fault::None, false, VECTOR), HANG);
mutant!(a_parked_thread_that_nobody_kicks_is_found, no_parked_thread_is_kicked, check(Fault::None, true, VECTOR), HANG);
mutant!(
    nmis_that_are_not_counted_are_found,
    nmis_merge,
    check(Fault::None, false, &[Deposit::Nmi, Deposit::Nmi]),
    HANG
);
mutant!(
    nmis_that_are_counted_in_two_steps_are_found,
    nmis_in_two_steps,
    check(Fault::None, false, &[Deposit::Nmi, Deposit::Nmi]),
    HANG
);
mutant!(an_enable_before_the_irr_is_cleared_is_found, enabled_before_it_is_clear, check_enable(), LOST);
