//! The broadcast call under a model checker: every interleaving of small calls, and every value that a processor with a
//! weaker memory than x86's could read, within a bound on involuntary switches.
//!
//! `mutants` shows that each of these models finds something.

mod atomics;
mod mutants;

/// The algorithm that the guest runs, over the model checker's atomics.
#[allow(dead_code, unreachable_pub, unused_imports, reason = "a copy: the guest uses what no model does")]
mod rendezvous {
    include!(concat!(env!("OUT_DIR"), "/rendezvous.rs"));
}

/// What holds for every scenario.
mod check;
/// An initiator on the machine: makes one call.
mod initiator;
/// A machine whose local APICs are a bit each.
mod machine;
/// What scenarios are made of: threads, and how calls may end.
mod parts;
/// Workers on the machine that meet.
mod phases;
/// What the processors of a model do.
mod scenarios;
/// A target on the machine: takes interrupts, and runs workers.
mod target;

use check::{Scenario, check, check_from};
use machine::Fault;

/// Involuntary switches that are looked at: as many as take seconds. `LOOM_MAX_PREEMPTIONS` may ask for more.
const ONE: usize = 1;
const TWO: usize = 2;
const THREE: usize = 3;

fn holds(preemptions: usize, cpus: usize, scenario: Scenario) {
    check(preemptions, cpus, Fault::None, scenario);
}

#[test]
fn nobody_starts_early_everybody_runs_once_and_the_initiator_sees_it_all() {
    holds(TWO, 3, scenarios::one_call);
}

#[test]
fn a_call_of_one_target_holds_with_more_switches() {
    holds(THREE, 2, scenarios::one_target);
}

#[test]
fn a_call_to_itself_or_to_nobody_sends_nothing() {
    holds(THREE, 1, scenarios::no_target);
}

#[test]
fn calls_to_the_same_target_run_one_after_the_other() {
    holds(TWO, 3, scenarios::same_target);
}

#[test]
fn calls_to_equal_sets_run_one_after_the_other() {
    holds(ONE, 4, scenarios::equal_sets);
}

#[test]
fn calls_to_overlapping_sets_run_one_after_the_other() {
    holds(ONE, 4, scenarios::overlapping_sets);
}

#[test]
fn calls_to_disjoint_sets_do_not_meet() {
    holds(TWO, 4, scenarios::disjoint_sets);
}

#[test]
fn initiators_that_call_each_other_both_end() {
    holds(THREE, 2, scenarios::everybody_calls_everybody);
}

#[test]
fn initiators_that_call_each_other_and_a_third_both_end() {
    holds(TWO, 3, scenarios::two_call_each_other_and_a_third);
}

#[test]
fn the_initiators_deadline_ends_in_a_go_or_an_abort_for_all() {
    holds(TWO, 3, scenarios::the_initiators_time_runs_out);
}

#[test]
fn a_targets_deadline_ends_in_a_go_or_an_abort_for_all() {
    holds(TWO, 3, scenarios::a_targets_time_runs_out);
}

#[test]
fn what_a_target_did_before_it_gave_up_is_seen() {
    holds(THREE, 2, scenarios::the_only_targets_time_runs_out);
}

#[test]
fn deadlines_on_both_sides_end_in_a_go_or_an_abort_for_all() {
    holds(THREE, 2, scenarios::all_time_runs_out);
}

#[test]
fn a_late_interrupt_does_nothing_in_the_next_call() {
    holds(TWO, 2, scenarios::a_late_interrupt);
}

#[test]
fn a_late_interrupt_does_nothing_in_another_initiators_call() {
    holds(ONE, 3, scenarios::a_late_interrupt_and_another_initiator);
}

#[test]
fn a_late_interrupt_does_nothing_in_a_call_of_somebody_else() {
    holds(ONE, 3, scenarios::a_late_interrupt_while_another_is_called);
}

#[test]
fn a_late_interrupt_does_nothing_across_the_wrap_of_generations() {
    check_from(u32::MAX - 7, TWO, 2, Fault::None, scenarios::a_late_interrupt_across_the_wrap);
}

#[test]
fn a_lost_interrupt_is_sent_again() {
    holds(THREE, 2, scenarios::a_lost_interrupt);
}

#[test]
fn an_interrupt_sent_again_to_a_slow_target_does_nothing() {
    holds(THREE, 2, scenarios::a_slow_target);
}

#[test]
fn a_duplicate_interrupt_does_nothing() {
    holds(THREE, 2, scenarios::duplicates);
}

#[test]
fn a_spurious_interrupt_does_nothing_that_its_call_would_not() {
    holds(THREE, 2, scenarios::a_spurious_interrupt);
}

#[test]
fn a_call_by_nmi_runs_once() {
    holds(THREE, 2, scenarios::a_call_by_nmi);
}

#[test]
fn a_late_nmi_on_entry_does_nothing() {
    holds(THREE, 2, scenarios::a_late_nmi_on_entry);
}

#[test]
fn a_late_nmi_before_the_arrival_does_nothing() {
    holds(THREE, 2, scenarios::a_late_nmi_before_the_arrival);
}

#[test]
fn a_late_nmi_after_the_arrival_does_nothing() {
    holds(THREE, 2, scenarios::a_late_nmi_after_the_arrival);
}

#[test]
fn a_late_nmi_after_the_decision_does_nothing() {
    holds(THREE, 2, scenarios::a_late_nmi_after_the_decision);
}

#[test]
fn a_late_nmi_after_the_worker_does_nothing() {
    holds(THREE, 2, scenarios::a_late_nmi_after_the_worker);
}

#[test]
fn a_call_by_nmi_runs_on_entry_of_a_late_interrupt() {
    holds(ONE, 2, scenarios::an_nmi_on_entry_of_a_late_interrupt);
}

#[test]
fn a_call_by_nmi_runs_before_a_late_arrival() {
    holds(TWO, 2, scenarios::an_nmi_before_a_late_arrival);
}

#[test]
fn a_call_by_nmi_runs_after_a_late_arrival() {
    holds(ONE, 2, scenarios::an_nmi_after_a_late_arrival);
}

#[test]
fn a_barrier_publishes_what_came_before_it() {
    holds(THREE, 2, scenarios::phases);
}
