//! What a result means for a command: its exit status, and the line that says why it is not good.

use super::hints;
use super::status::Status;
use crate::experiment;
use crate::report::output;
use crate::results::measurement::{Cell, Measurement};
use crate::results::quiet::Verdict;

/// The exit status. `strict`: a cell that was never quiet fails, and so does a run of which that is not known.
pub(super) fn status_of(measurement: &Measurement, error: Option<&experiment::Error>, strict: bool) -> Status {
    // Those of repetitions included.
    let never_quiet = measurement.quiet.as_ref().is_some_and(|quiet| !quiet.never_quiet.is_empty());
    let may_be_loud = never_quiet || is_not_known(measurement) || measurement.asked().any(Cell::uses_disturbed_blocks);
    let is_loud = strict && may_be_loud;
    match error {
        Some(experiment::Error::Machine(error)) => Status::of_machine(error),
        Some(experiment::Error::Samples(error)) if output::is_broken_pipe(error) => Status::Good,
        None if is_clean(measurement) && !is_loud && without_rounds(measurement).is_none() => Status::Good,
        Some(experiment::Error::Samples(_)) | None => Status::Failed,
    }
}

/// What is wrong with the calls, or, if nothing is and it `is_loud`, with the machine.
pub(super) fn wrong(measurement: &Measurement, is_loud: bool) -> Option<String> {
    if !is_clean(measurement) {
        return Some("calls went wrong: see the integrity column".to_owned());
    }
    let loud = if is_not_known(measurement) {
        "whether the machine was quiet is not known (--strict): see the result's head"
    } else {
        "the machine was never quiet for some cells (--strict): see the result's head"
    };
    without_rounds(measurement).map(nothing_counts).or_else(|| is_loud.then(|| loud.to_owned()))
}

fn is_not_known(measurement: &Measurement) -> bool {
    measurement.quiet.as_ref().is_some_and(|quiet| quiet.verdict == Verdict::NotKnown)
}

/// Whether something was measured, so that results are written.
pub(super) fn began(status: Status, measurement: &Measurement) -> bool {
    match status {
        // What cannot be had any more, such as a CPU that went offline, takes nothing from what was measured before.
        Status::BadInput | Status::HostCannot => !measurement.cells.is_empty(),
        Status::Good
        | Status::Failed
        | Status::Interrupted
        | Status::NotComparable
        | Status::Undecided
        | Status::Skip
        | Status::Stop => true,
    }
}

/// Whether every call that was asked for went right.
pub(super) fn is_clean(measurement: &Measurement) -> bool {
    measurement.asked().all(|cell| cell.integrity.is_clean())
}

/// A cell that was asked for and has no numbers.
pub(super) fn without_rounds(measurement: &Measurement) -> Option<&Cell> {
    measurement.asked().find(|cell| cell.rounds == 0)
}

/// The status with what nobody could have measured: if that is all, what was asked for is bad, and why.
pub(super) fn judge(status: Status, measurement: &Measurement) -> (Status, Option<String>) {
    match impossible(measurement).filter(|_| status == Status::Good) {
        Some(why) => (Status::BadInput, Some(why)),
        None => (status, None),
    }
}

/// Why nothing of what was asked for could be measured, where it is known; `None`: something was.
fn impossible(measurement: &Measurement) -> Option<String> {
    let is_nothing = measurement.asked().next().is_none() && !measurement.skipped.is_empty();
    is_nothing.then(|| format!("nothing can be measured: {}", hints::skipped(&measurement.skipped)))
}

/// Why a cell has no numbers, none of its calls having gone wrong.
pub(super) fn nothing_counts(cell: &Cell) -> String {
    let Cell { id, not_in_state, rounds_asked, .. } = cell;
    let why = match not_in_state {
        0 => "none was completed".to_owned(),
        _ => format!("in {not_in_state}, a target was not in state {}", id.target_state.name()),
    };
    format!("{id}: of {rounds_asked} rounds, none counts: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::disturbance::Kind;
    use crate::results::fixture;
    use crate::results::integrity::Integrity;
    use crate::results::quiet::Quiet;

    #[test]
    fn a_cell_that_nobody_asked_for_decides_nothing() {
        let mut measurement = fixture::measurement();
        let wrong = |beside| Cell {
            beside,
            never_quiet: true,
            integrity: Integrity { timed_out: 1, ..Integrity::default() },
            ..fixture::cell("user", 7_000.0)
        };
        measurement.cells.push(wrong(true));
        assert_eq!(status_of(&measurement, None, true), Status::Good);
        measurement.cells.push(wrong(false));
        assert_eq!(status_of(&measurement, None, false), Status::Failed);
    }

    #[test]
    fn what_nobody_can_see_is_not_quiet() {
        let mut measurement = fixture::measurement();
        let quiet = |unknown: &[Kind]| Quiet::of_cells(&measurement.cells, unknown.iter().copied().collect());
        let [seen, blind] = [quiet(&[Kind::Steal]), quiet(&[Kind::WaitedForCpu])];
        measurement.quiet = Some(seen);
        assert_eq!(status_of(&measurement, None, true), Status::Good);
        measurement.quiet = Some(blind);
        assert_eq!(
            (status_of(&measurement, None, true), status_of(&measurement, None, false)),
            (Status::Failed, Status::Good)
        );
        assert!(wrong(&measurement, true).is_some_and(|line| line.contains("is not known (--strict)")));
    }

    #[test]
    fn a_cell_without_a_round_fails_and_says_why() {
        let mut measurement = fixture::measurement();
        assert_eq!(status_of(&measurement, None, false), Status::Good);
        let empty = Cell { rounds: 0, rounds_asked: 40, not_in_state: 40, ..fixture::cell("halt", 7_000.0) };
        measurement.cells.push(Cell { beside: true, ..empty.clone() });
        assert_eq!(status_of(&measurement, None, false), Status::Good, "nobody has asked for it");
        let line = nothing_counts(&empty);
        assert!(line.ends_with("of 40 rounds, none counts: in 40, a target was not in state halt"), "{line}");
        measurement.cells.push(empty);
        assert_eq!(status_of(&measurement, None, false), Status::Failed);
    }

    #[test]
    fn where_nothing_could_be_measured_every_reason_is_told_once() {
        let skipped = |route, state, reason| fixture::skipped(route, state, reason);
        let no_x2apic = "no x2APIC mode";
        let mut measurement = Measurement {
            skipped: vec![
                skipped("x2apic", "user", no_x2apic),
                skipped("x2apic", "halt", no_x2apic),
                skipped("memory", "halt", "a halted processor polls nothing"),
            ],
            ..fixture::measurement()
        };
        assert_eq!(impossible(&measurement), None, "something was measured");
        measurement.cells.iter_mut().for_each(|cell| cell.beside = true);
        let line = impossible(&measurement).expect("what nobody has asked for is nothing");
        assert!(line.starts_with("nothing can be measured: x2apic, all-but-self, user, "), "{line}");
        assert!(line.contains(" and 1 more: no x2APIC mode; memory, "), "{line}");
        assert!(line.ends_with(": a halted processor polls nothing"), "{line}");
        measurement.skipped.clear();
        assert_eq!(impossible(&measurement), None, "no reason is known");
    }
}
