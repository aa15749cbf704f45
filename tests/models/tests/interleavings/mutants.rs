//! Each of these is a mistake that somebody could make in the algorithm, in its use, or in the machine below it. The
//! models must find it; that they find nothing else is what the other tests say.

use super::check::check;
use super::machine::Fault;
use super::scenarios;
use kipi_models::caught;

/// How a mistake shows: somebody reads what another may be writing,
const RACE: &str = "Causality violation";
/// waits for what never comes,
const HANG: &str = "Model exceeded maximum number of branches";
/// runs a worker before all have arrived,
const EARLY: &str = "had not arrived";
/// runs one that it should not, or serves a call twice,
const UNASKED: &str = "does not take part";
const TWICE: &str = "what was left over: Some(";
/// gets an old result,
const STALE: &str = "a result of this call";
/// or finds nothing to do in an interrupt.
const NOTHING: &str = "an interrupt brought Nothing";

/// A mistake below the algorithm, or in its use.
macro_rules! fault {
    ($name:ident, $fault:ident, $preemptions:literal, $cpus:literal, $scenario:ident, $why:ident) => {
        #[test]
        fn $name() {
            caught(|| check($preemptions, $cpus, Fault::$fault, scenarios::$scenario), $why);
        }
    };
}

fault!(an_interrupt_that_overtakes_the_request_is_found, NoFence, 2, 2, one_target, NOTHING);
fault!(an_irr_bit_cleared_after_serving_is_found, ClearedAfterServing, 2, 3, same_target, HANG);
fault!(a_waiter_that_serves_no_interrupts_is_found, DeafWaiter, 2, 2, everybody_calls_everybody, HANG);
fault!(slots_acquired_in_falling_order_are_found, FallingOrder, 2, 2, everybody_calls_everybody, HANG);

/// A mistake in the algorithm, as `build.rs` makes it.
macro_rules! mutant {
    ($test:ident, $mutation:ident, $preemptions:literal, $cpus:literal, $scenario:ident, $why:ident) => {
        #[allow(dead_code, unreachable_pub, unused_imports, reason = "a copy: each mutant is for one scenario")]
        mod $mutation {
            pub(crate) mod rendezvous {
                include!(concat!(env!("OUT_DIR"), "/", stringify!($mutation), ".rs"));
            }
            mod machine {
                include!("machine.rs");
            }
            mod target {
                include!("target.rs");
            }
            mod initiator {
                include!("initiator.rs");
            }
            mod phases {
                include!("phases.rs");
            }
            mod check {
                include!("check.rs");
            }
            mod parts {
                include!("parts.rs");
            }
            mod scenarios {
                include!("scenarios.rs");
            }

            #[test]
            fn $test() {
                let model = || check::check($preemptions, $cpus, machine::Fault::None, scenarios::$scenario);
                super::caught(model, super::$why);
            }
        }
    };
}

mutant!(is_found, done_before_result, 2, 2, one_target, STALE);
mutant!(is_found, done_without_release, 2, 2, one_target, RACE);
mutant!(is_found, done_without_acquire, 2, 2, one_target, RACE);
mutant!(is_found, request_without_release, 3, 2, a_spurious_interrupt, HANG);
mutant!(is_found, claim_without_acquire, 3, 2, a_spurious_interrupt, HANG);
mutant!(is_found, claim_of_what_is_served, 3, 2, duplicates, TWICE);
mutant!(is_found, arrival_without_release, 2, 3, one_call, RACE);
mutant!(is_found, arrival_without_acquire, 2, 3, one_call, RACE);
mutant!(is_found, arrival_of_any_call, 3, 2, a_late_interrupt, EARLY);
mutant!(is_found, gate_without_acquire, 2, 3, one_call, RACE);
mutant!(is_found, gate_of_any_call, 2, 3, a_late_interrupt_while_another_is_called, UNASKED);
mutant!(is_found, go_without_release, 2, 3, one_call, RACE);
mutant!(is_found, abort_without_acquire, 3, 2, the_only_targets_time_runs_out, RACE);
mutant!(is_found, decision_not_atomic, 3, 2, all_time_runs_out, HANG);
mutant!(is_found, slot_given_back_without_release, 2, 3, same_target, RACE);
mutant!(is_found, slot_owned_without_acquire, 2, 3, same_target, RACE);
mutant!(is_found, barrier_without_release, 2, 2, phases, RACE);
mutant!(is_found, barrier_without_acquire, 2, 2, phases, RACE);
