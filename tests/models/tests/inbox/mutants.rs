//! Mistakes that somebody could make in the inbox, or around it. Each leaves a vCPU in the guest, or asleep, for ever, and
//! the models must find it.

use super::machine::{Deposit, Fault};
use std::panic::{self, AssertUnwindSafe};

/// That a model fails since nobody can go on.
fn caught(model: impl FnOnce()) {
    let panic = panic::catch_unwind(AssertUnwindSafe(model)).expect_err("no model has found it");
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    assert!(
        text.is_some_and(|text| text.contains("Model exceeded maximum number of branches")),
        "found for another reason: {text:?}"
    );
}

/// A mistake around the inbox.
macro_rules! fault {
    ($name:ident, $fault:ident) => {
        #[test]
        fn $name() {
            caught(|| super::check(Fault::$fault, false, &[Deposit::Vector(0xE1)]));
        }
    };
}

fault!(a_signal_before_the_flag_is_found, SignalFirst);
fault!(a_flag_that_is_cleared_after_the_look_is_found, ClearedAfterLook);
fault!(a_signal_without_the_flag_is_found, SignalOnly);

/// A mistake in the inbox, as `build.rs` makes it.
macro_rules! mutant {
    ($test:ident, $mutation:ident, $asleep:literal, $left:expr) => {
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
            caught(|| $mutation::check(Fault::None, $asleep, &[$left]));
        }
    };
}

mutant!(senders_without_order_are_found, senders_without_order, false, Deposit::Vector(0xE1));
mutant!(threads_without_order_are_found, threads_without_order, false, Deposit::Vector(0xE1));
mutant!(a_look_before_the_announcement_is_found, look_before_the_announcement, false, Deposit::Vector(0xE1));
mutant!(a_parked_thread_that_nobody_kicks_is_found, no_parked_thread_is_kicked, true, Deposit::Vector(0xE1));
