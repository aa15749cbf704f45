//! Which of several senders' reports explains the others.

use crate::abi::{Report, Status};
use crate::mask;

/// Whether `one` explains `other`; each is a sender and its report.
///
/// Senders go from round to round together, and the first failure makes the others fail. So the earliest round comes first; in it
/// a ping that was given up, before a sender that waited for others to get ready; and of the pings the one whose sender saw no
/// answer, before a sender that was not interrupted itself.
pub fn precedes(one: &(usize, Report), other: &(usize, Report)) -> bool {
    order(one) < order(other)
}

fn order((sender, report): &(usize, Report)) -> (bool, u32, bool, bool) {
    let is_done = report.status == Status::Done as u32;
    let is_given_up = report.status == Status::Aborted as u32;
    (is_done, report.rounds, !is_given_up, mask::contains(&report.missing, *sender))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: Status, rounds: u32, missing: usize) -> Report {
        let mut report = Report { status: status as u32, rounds, ..Report::NOTHING };
        mask::insert(&mut report.missing, missing);
        report
    }

    #[test]
    fn the_failure_that_the_others_follow_from_comes_first() {
        let in_order = [
            (1, report(Status::Aborted, 7, 2)),
            (2, report(Status::Aborted, 7, 2)),
            (3, report(Status::NotReady, 7, 1)),
            (0, report(Status::Aborted, 8, 1)),
            (0, report(Status::Done, 8, 1)),
        ];
        for (rank, one) in in_order.iter().enumerate() {
            for (other_rank, other) in in_order.iter().enumerate() {
                assert_eq!(precedes(one, other), rank < other_rank, "{one:?}, {other:?}");
            }
        }
    }
}
