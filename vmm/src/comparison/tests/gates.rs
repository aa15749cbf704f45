//! Tails.

use super::*;
use crate::comparison::gates::Limit;
use crate::results::comparison::gate::Gate;

/// Runs whose first cell has 1000 round trips of 100 µs, of which so many of each run take ten times as long.
fn with_tail(mut runs: Vec<Run>, tail: impl Fn(u16) -> u16) -> Vec<Run> {
    for (number, run) in (0..).zip(&mut runs) {
        let slow = tail(number);
        let times = (0_u16..1000).map(|round| if round < slow { 1e6 } else { 100_000.0 + 10.0 * f64::from(round) });
        run.measurement.cells.truncate(1);
        run.measurement.cells[0].round_trips = Some(Histogram::of(times));
    }
    runs
}

fn gate(base: &[Run], new: &[Run]) -> Gate {
    let rules = Rules { gates: vec!["p99=20%".parse().unwrap()], ..Rules::default() };
    compare(base, new, &rules).gates.remove(0)
}

#[test]
fn a_limit_is_a_quantile_and_a_margin() {
    let limit: Limit = "p99.9=20%".parse().unwrap();
    assert!((limit.quantile - 0.999).abs() < 1e-12 && (limit.margin - 0.2).abs() < 1e-12);
    for wrong in ["", "p99", "99=20%", "p99=20", "p101=5%", "p20=5%", "pNaN=5%", "p99=-5%", "p99=inf%"] {
        assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
    }
}

#[test]
fn a_tail_that_grew_is_worse() {
    let base = with_tail(runs(10, 1), |run| 2 + run % 3);
    let same = gate(&base, &with_tail(runs(10, 2), |run| 3 - run % 3));
    assert_eq!((same.verdict, same.rounds, same.beyond), (Verdict::Same, 10_000, 21));
    let grown = gate(&base, &with_tail(runs(10, 2), |run| 40 + run % 5));
    assert_eq!((grown.verdict, grown.allowed < 0.0101), (Verdict::Slower, true));
    assert!(grown.interval.unwrap()[0] > 0.01, "{grown:?}");
    // Of rounds that were independent, three times as many as are allowed would be beyond doubt.
    let burst = gate(&base, &with_tail(runs(10, 2), |run| if run == 4 { 300 } else { 3 }));
    assert_eq!(burst.verdict, Verdict::Undecided, "they are all one run's: {burst:?}");
}

#[test]
fn without_counts_there_is_no_tail_to_compare() {
    let base = with_tail(runs(3, 1), |_| 5);
    let mut new = base.clone();
    new[1].measurement.cells[0].round_trips = None;
    let gate = gate(&base, &new);
    assert_eq!((gate.verdict, gate.bound_ns, gate.interval), (Verdict::Undecided, None, None));
    assert_eq!(gate.open.map(|open| open.reason), Some(OpenReason::NoCounts));
}

#[test]
fn a_tail_that_a_load_on_one_side_may_have_made_is_undecided() {
    let base = with_tail(runs(10, 1), |_| 2);
    let mut new = with_tail(runs(10, 2), |_| 40);
    assert_eq!(gate(&base, &new).verdict, Verdict::Slower);
    change(&mut new, |it| it.cells[0].never_quiet = true);
    let gate = gate(&base, &new);
    assert_eq!(gate.verdict, Verdict::Undecided);
    assert_eq!(gate.open.map(|open| open.reason), Some(OpenReason::OneSideDisturbed));
}
