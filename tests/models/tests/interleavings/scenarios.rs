use super::initiator::{Plan, Report};
use super::machine::Machine;
use super::parts::{assert_complete, assert_served, done, end, ended, start};
use super::rendezvous::{Delivery, Outcome, Served, Step};

/// Processor 0 calls itself and two others.
pub(crate) fn one_call(machine: &'static Machine) -> Vec<Report> {
    let targets = [1, 2].map(|cpu| start(move || machine.run_calls(cpu, 1)));
    let report = done(machine.broadcast(Plan::new(0, &[0, 1, 2])));
    targets.into_iter().for_each(end);
    vec![report]
}

/// Processor 0 calls processor 1.
pub(crate) fn one_target(machine: &'static Machine) -> Vec<Report> {
    let target = start(move || machine.run_calls(1, 1));
    let report = done(machine.broadcast(Plan::new(0, &[1])));
    end(target);
    vec![report]
}

/// Processor 0 calls itself, and then nobody.
pub(crate) fn no_target(machine: &'static Machine) -> Vec<Report> {
    let reports = vec![done(machine.broadcast(Plan::new(0, &[0]))), done(machine.broadcast(Plan::new(0, &[])))];
    assert!(reports.iter().all(|report| report.sent == 0), "nobody to interrupt: {reports:?}");
    reports
}

/// Processors 0 and 1 each make a call to processors from 2 on, which are in so many calls.
fn two_calls(machine: &'static Machine, sets: [&'static [usize]; 2], targets: &[(usize, usize)]) -> Vec<Report> {
    let targets: Vec<_> = targets.iter().map(|&(cpu, calls)| start(move || machine.run_calls(cpu, calls))).collect();
    let other = start(move || done(machine.broadcast(Plan::new(1, sets[1]))));
    let reports = vec![done(machine.broadcast(Plan::new(0, sets[0]))), end(other)];
    targets.into_iter().for_each(end);
    reports
}

/// Two initiators call the same two targets.
pub(crate) fn equal_sets(machine: &'static Machine) -> Vec<Report> {
    two_calls(machine, [&[2, 3], &[2, 3]], &[(2, 2), (3, 2)])
}

/// Two initiators call the same target.
pub(crate) fn same_target(machine: &'static Machine) -> Vec<Report> {
    two_calls(machine, [&[2], &[2]], &[(2, 2)])
}

/// Two initiators, whose sets have one target in common; the second takes part itself.
pub(crate) fn overlapping_sets(machine: &'static Machine) -> Vec<Report> {
    two_calls(machine, [&[2, 3], &[1, 3]], &[(2, 1), (3, 2)])
}

/// Two initiators, each with its target.
pub(crate) fn disjoint_sets(machine: &'static Machine) -> Vec<Report> {
    two_calls(machine, [&[0, 2], &[1, 3]], &[(2, 1), (3, 1)])
}

/// Every processor calls everybody. Whoever waits for its turn serves the others' calls.
pub(crate) fn everybody_calls_everybody(machine: &'static Machine) -> Vec<Report> {
    let call = |initiator| {
        move || {
            let report = done(machine.broadcast(Plan::new(initiator, &[0, 1])));
            machine.run_calls(initiator, 2);
            report
        }
    };
    let other = start(call(1));
    vec![call(0)(), end(other)]
}

/// Two processors call each other and a third one.
pub(crate) fn two_call_each_other_and_a_third(machine: &'static Machine) -> Vec<Report> {
    let call = |initiator, participants| {
        move || {
            let report = done(machine.broadcast(Plan::new(initiator, participants)));
            machine.run_calls(initiator, 1);
            report
        }
    };
    let target = start(move || machine.run_calls(2, 2));
    let other = start(call(1, &[0, 2]));
    let reports = vec![call(0, &[1, 2])(), end(other)];
    end(target);
    reports
}

/// The initiator's time may run out before its targets have arrived, or have returned from the worker.
pub(crate) fn the_initiators_time_runs_out(machine: &'static Machine) -> Vec<Report> {
    let targets = [1, 2].map(|cpu| start(move || machine.take_one(cpu, Delivery::Interrupt)));
    let plan = Plan { until_resend: Some(1), until_deadline: Some(1), ..Plan::new(0, &[0, 1, 2]) };
    let report = ended(machine.broadcast(plan));
    let served = targets.map(end);
    assert_served(&report, &served);
    vec![report]
}

/// A target's time may run out before the initiator, who has patience, has opened the gate.
pub(crate) fn a_targets_time_runs_out(machine: &'static Machine) -> Vec<Report> {
    let targets = [1, 2].map(|cpu| start(move || machine.take_one(cpu, Delivery::Interrupt)));
    let report = ended(machine.broadcast(Plan { on_the_target: Some(1), ..Plan::new(0, &[0, 1, 2]) }));
    let served = targets.map(end);
    assert_served(&report, &served);
    vec![report]
}

/// Everybody's time may run out.
pub(crate) fn all_time_runs_out(machine: &'static Machine) -> Vec<Report> {
    let target = start(move || machine.take_one(1, Delivery::Interrupt));
    let plan = Plan { until_resend: Some(1), until_deadline: Some(1), on_the_target: Some(1), ..Plan::new(0, &[0, 1]) };
    let report = ended(machine.broadcast(plan));
    assert_served(&report, &[end(target)]);
    vec![report]
}

/// A call that may be given up, and then one that is not, by the same initiator.
pub(crate) fn a_late_interrupt(machine: &'static Machine) -> Vec<Report> {
    // The first generation after the start, and the second: each is four more than the one before.
    let target = start(move || machine.run_until(1, 8));
    let hasty = Plan { until_resend: Some(0), until_deadline: Some(1), ..Plan::new(0, &[0, 1]) };
    let first = ended(machine.broadcast(hasty));
    let second = machine.broadcast(Plan::new(0, &[0, 1]));
    assert_eq!(second.outcome, Outcome::Done);
    assert_complete(&second);
    end(target);
    vec![first, second]
}

/// The same, where the generations begin anew between the two calls. From the last generation but one.
pub(crate) fn a_late_interrupt_across_the_wrap(machine: &'static Machine) -> Vec<Report> {
    let target = start(move || machine.run_until(1, 4));
    let hasty = Plan { until_resend: Some(0), until_deadline: Some(1), ..Plan::new(0, &[0, 1]) };
    let first = ended(machine.broadcast(hasty));
    let second = machine.broadcast(Plan::new(0, &[0, 1]));
    assert_eq!((first.generation.get(), second.generation.get()), (u32::MAX - 3, 4));
    assert_eq!(second.outcome, Outcome::Done);
    assert_complete(&second);
    end(target);
    vec![first, second]
}

/// A call that may be given up, and another initiator's, with another packet, that is not.
pub(crate) fn a_late_interrupt_and_another_initiator(machine: &'static Machine) -> Vec<Report> {
    let other = start(move || machine.broadcast(Plan::new(1, &[2])));
    let target = start(move || machine.run_until_called_by(2, 1));
    let first = ended(machine.broadcast(Plan { until_resend: Some(0), until_deadline: Some(0), ..Plan::new(0, &[2]) }));
    let second = end(other);
    assert_eq!(second.outcome, Outcome::Done);
    assert_complete(&second);
    end(target);
    vec![first, second]
}

/// A call that may be given up, and then, with the same packet, one to somebody else.
pub(crate) fn a_late_interrupt_while_another_is_called(machine: &'static Machine) -> Vec<Report> {
    let late = start(move || machine.take_one(1, Delivery::Interrupt));
    let other = start(move || machine.run_calls(2, 1));
    let first = ended(machine.broadcast(Plan { until_resend: Some(0), until_deadline: Some(0), ..Plan::new(0, &[1]) }));
    let second = done(machine.broadcast(Plan::new(0, &[2])));
    end(other);
    assert_served(&first, &[end(late)]);
    vec![first, second]
}

/// A target's time may run out; the initiator has patience, and sees what the target did before it gave up.
pub(crate) fn the_only_targets_time_runs_out(machine: &'static Machine) -> Vec<Report> {
    let target = start(move || machine.take_one(1, Delivery::Interrupt));
    let report = ended(machine.broadcast(Plan { on_the_target: Some(0), ..Plan::new(0, &[0, 1]) }));
    if report.outcome == Outcome::Aborted {
        machine.assert_gave_up(1, report.generation);
    }
    assert_served(&report, &[end(target)]);
    vec![report]
}

/// The first interrupt is lost.
pub(crate) fn a_lost_interrupt(machine: &'static Machine) -> Vec<Report> {
    let target = start(move || machine.run_calls(1, 1));
    let report = machine.broadcast(Plan { lost: true, until_resend: Some(1), ..Plan::new(0, &[0, 1]) });
    assert_eq!((report.outcome, report.resent, report.sent), (Outcome::Done, true, 1));
    assert_complete(&report);
    end(target);
    vec![report]
}

/// An interrupt may be sent twice since the target is slow, and the worker may be in it when the second one comes.
pub(crate) fn a_slow_target(machine: &'static Machine) -> Vec<Report> {
    let target = start(move || machine.run_until(1, 8));
    let reports = [Plan { until_resend: Some(1), ..Plan::new(0, &[0, 1]) }, Plan::new(0, &[1])].map(|plan| {
        let report = machine.broadcast(plan);
        assert_eq!(report.outcome, Outcome::Done);
        assert_complete(&report);
        report
    });
    end(target);
    reports.into()
}

/// Every interrupt comes twice, one of them perhaps during the next call.
pub(crate) fn duplicates(machine: &'static Machine) -> Vec<Report> {
    let target = start(move || machine.run_until(1, 8));
    let reports = [(); 2].map(|()| done(machine.broadcast(Plan { twice: true, ..Plan::new(0, &[0, 1]) })));
    end(target);
    // What is left over comes at last.
    let left_over = machine.interrupt(1);
    assert!(matches!(left_over, None | Some(Served::Nothing)), "what was left over: {left_over:?}");
    reports.into()
}

/// An interrupt that nobody sent comes before, during or after the call.
pub(crate) fn a_spurious_interrupt(machine: &'static Machine) -> Vec<Report> {
    let target = start(move || {
        machine.serve(1, Delivery::Interrupt);
        machine.run_until(1, 4);
    });
    let report = done(machine.broadcast(Plan::new(0, &[0, 1])));
    end(target);
    vec![report]
}

pub(crate) fn a_call_by_nmi(machine: &'static Machine) -> Vec<Report> {
    let target = start(move || machine.take_one(1, Delivery::Nmi));
    let report = done(machine.broadcast(Plan { by: Delivery::Nmi, ..Plan::new(0, &[0, 1]) }));
    assert_served(&report, &[end(target)]);
    vec![report]
}

/// A call by NMI that is given up, and one by interrupt during which the NMI comes.
fn a_late_nmi(machine: &'static Machine, during: Step) -> Vec<Report> {
    let target = start(move || machine.take_one_with_nmi(1, Delivery::Interrupt, Some(during)));
    let hasty = Plan { by: Delivery::Nmi, until_resend: Some(0), until_deadline: Some(0), ..Plan::new(0, &[1]) };
    let first = machine.broadcast(hasty);
    assert_eq!(first.outcome, Outcome::Aborted);
    let second = done(machine.broadcast(Plan::new(0, &[0, 1])));
    assert_served(&second, &[end(target)]);
    vec![first, second]
}

/// The NMI comes before the request is claimed.
pub(crate) fn a_late_nmi_on_entry(machine: &'static Machine) -> Vec<Report> {
    a_late_nmi(machine, Step::Entered)
}

/// The NMI comes before the arrival.
pub(crate) fn a_late_nmi_before_the_arrival(machine: &'static Machine) -> Vec<Report> {
    a_late_nmi(machine, Step::Claimed)
}

/// The NMI comes between the arrival and the decision.
pub(crate) fn a_late_nmi_after_the_arrival(machine: &'static Machine) -> Vec<Report> {
    a_late_nmi(machine, Step::Arrived)
}

/// The NMI comes before the worker.
pub(crate) fn a_late_nmi_after_the_decision(machine: &'static Machine) -> Vec<Report> {
    a_late_nmi(machine, Step::Released)
}

/// The NMI comes between the worker and the done bit.
pub(crate) fn a_late_nmi_after_the_worker(machine: &'static Machine) -> Vec<Report> {
    a_late_nmi(machine, Step::Worked)
}

/// A call by interrupt that may be given up, and one by NMI while the interrupt may be on its way.
fn an_nmi_during_a_late_interrupt(machine: &'static Machine, during: Step) -> Vec<Report> {
    let target = start(move || {
        machine.take_one_with_nmi(1, Delivery::Interrupt, Some(during));
        machine.run_until_by(1, 8, Delivery::Nmi);
    });
    let hasty = Plan { until_resend: Some(0), until_deadline: Some(0), ..Plan::new(0, &[1]) };
    let first = ended(machine.broadcast(hasty));
    let second = done(machine.broadcast(Plan { by: Delivery::Nmi, ..Plan::new(0, &[0, 1]) }));
    end(target);
    vec![first, second]
}

/// The NMI may come before the late request is claimed.
pub(crate) fn an_nmi_on_entry_of_a_late_interrupt(machine: &'static Machine) -> Vec<Report> {
    an_nmi_during_a_late_interrupt(machine, Step::Entered)
}

/// The NMI may come before the late arrival.
pub(crate) fn an_nmi_before_a_late_arrival(machine: &'static Machine) -> Vec<Report> {
    an_nmi_during_a_late_interrupt(machine, Step::Claimed)
}

/// The NMI may come after the late arrival.
pub(crate) fn an_nmi_after_a_late_arrival(machine: &'static Machine) -> Vec<Report> {
    an_nmi_during_a_late_interrupt(machine, Step::Arrived)
}

/// Two workers with two phases.
pub(crate) fn phases(machine: &'static Machine) -> Vec<Report> {
    machine.publish_phases();
    let other = start(move || machine.phases(1, 2));
    machine.phases(0, 2);
    end(other);
    Vec::new()
}
