//! Mistakes that somebody could make in how participants sleep. Each lets somebody sleep for ever, or start or return too early, and
//! the models must find it.

use super::machine::Fault;
use kipi_models::caught;

/// How a mistake shows: somebody sleeps for ever,
const ASLEEP: &str = "Model exceeded maximum number of branches";
/// or somebody reads what another may be writing.
const RACE: &str = "Causality violation";

#[test]
fn a_look_apart_from_the_sleep_is_found() {
    caught(|| super::check(Fault::LooksBeforeItSleeps, 1, 1), ASLEEP);
}

#[test]
fn a_gate_that_opens_in_silence_is_found() {
    caught(|| super::check(Fault::NobodyIsWoken, 1, 1), ASLEEP);
}

/// A mistake in the algorithm, as `build.rs` makes it.
macro_rules! mutant {
    ($test:ident, $mutation:ident, $targets:literal, $why:ident) => {
        #[allow(dead_code, unreachable_pub, unused_imports, reason = "a copy: each mutant is for one model")]
        mod $mutation {
            mod copy {
                include!(concat!(env!("OUT_DIR"), "/", stringify!($mutation), ".rs"));
            }
            crate::machine::parking!(copy);
        }

        #[test]
        fn $test() {
            caught(|| $mutation::check(Fault::None, $targets, 1), $why);
        }
    };
}

mutant!(a_count_in_two_steps_is_found, count_in_two_steps, 2, ASLEEP);
mutant!(a_count_that_publishes_nothing_is_found, count_without_release, 2, RACE);
mutant!(a_count_that_acquires_nothing_is_found, count_without_acquire, 2, RACE);
mutant!(a_last_one_that_publishes_nothing_is_found, complete_without_release, 1, RACE);
mutant!(a_last_one_that_wakes_before_it_says_so_is_found, wakes_before_it_says_so, 1, ASLEEP);
mutant!(a_sleeper_that_acquires_nothing_is_found, sleeper_without_acquire, 1, RACE);
