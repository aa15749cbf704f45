//! Others who use the machine while one side is measured, or both.

use super::*;
use crate::comparison::{looks, paired};
use proptest::sample::subsequence;

/// Cells of these runs were never quiet.
fn disturb(runs: &mut [Run], route: &str, which: impl IntoIterator<Item = usize>) {
    for run in which {
        let cells = runs[run].measurement.cells.iter_mut().filter(|cell| cell.id.route.name() == route);
        cells.for_each(|cell| cell.never_quiet = true);
    }
}

/// Compilers run beside these runs: all cells take longer, not all by as much, and none is quiet.
fn load(runs: &mut [Run]) {
    for (route, state, _) in CELLS {
        grow(runs, route, state, if route == "x2apic" { 2.0 } else { 1.3 });
        disturb(runs, route, 0..runs.len());
    }
}

fn reasons(comparison: &Comparison) -> Vec<Option<OpenReason>> {
    comparison.cells.iter().map(|row| row.open.as_ref().map(|open| open.reason)).collect()
}

#[test]
fn a_load_on_one_side_is_no_change() {
    let [quiet, mut loud] = [runs(10, 31), runs(12, 32)];
    load(&mut loud);
    for comparison in [compared(&quiet, &loud), compared(&loud, &quiet)] {
        assert_eq!(reasons(&comparison), [Some(OpenReason::OneSideDisturbed); 2]);
        let rows = comparison.cells.iter().chain(&comparison.references);
        assert!(rows.clone().all(|row| row.verdict == Verdict::Undecided), "{comparison:#?}");
        assert_eq!((comparison.verdict, comparison.undecided), (Overall::Undecided, 2));
    }
}

#[test]
fn a_step_of_a_bisection_under_a_load_that_its_base_did_not_have_is_undecided_at_every_look() {
    let [base, mut new] = [runs(10, 33), runs(20, 34)];
    load(&mut new);
    for runs in looks::RUNS {
        let comparison = compare(&base, &new[..runs], &looks::rules(0.05, &[], true));
        assert_eq!(comparison.verdict, Overall::Undecided, "{runs} runs");
    }
}

#[test]
fn a_load_beside_the_reference_counts_too() {
    let [base, mut new] = [runs(10, 35), runs(10, 36)];
    disturb(&mut new, "xapic", 0..10);
    grow(&mut new, "x2apic", "halt", 1.3);
    assert_eq!(reasons(&compared(&base, &new)), [Some(OpenReason::OneSideDisturbed); 2]);
}

#[test]
fn a_load_beside_fewer_runs_than_most_leaves_the_verdict() {
    let [base, mut new] = [runs(10, 37), runs(10, 38)];
    grow(&mut new, "x2apic", "halt", 1.3);
    disturb(&mut new, "x2apic", [1, 3, 5, 7, 9]);
    assert_eq!(row(&compared(&base, &new), "x2apic", "halt").verdict, Verdict::Slower);
    disturb(&mut new, "x2apic", [0]);
    assert_eq!(row(&compared(&base, &new), "x2apic", "halt").verdict, Verdict::Undecided);
}

#[test]
fn a_side_is_never_quiet_if_a_cell_that_was_asked_for_was_not_in_most_runs() {
    let [base, mut new] = [runs(4, 39), runs(4, 40)];
    disturb(&mut new, "x2apic", [0, 2]);
    assert!(!paired::is_never_quiet(&base, &new));
    disturb(&mut new, "x2apic", [3]);
    assert!(paired::is_never_quiet(&base, &new) && paired::is_never_quiet(&new, &base));
    change(&mut new, |it| it.cells.iter_mut().for_each(|cell| cell.beside = true));
    assert!(!paired::is_never_quiet(&base, &new), "nobody has asked for them");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What the error rates were counted on, so that they hold for both.
    #[test]
    fn sides_under_one_load_are_judged_like_quiet_ones(
        seed in any::<u64>(), factor in 0.8..1.3_f64, quiet in subsequence((0..20_usize).collect::<Vec<_>>(), 0..5),
    ) {
        let [mut base, mut new] = [runs(10, seed), runs(10, seed.wrapping_add(1))];
        grow(&mut new, "x2apic", "halt", factor);
        let undisturbed = compared(&base, &new);
        for (route, ..) in CELLS {
            disturb(&mut base, route, (0..10).filter(|run| !quiet.contains(run)));
            disturb(&mut new, route, (0..10).filter(|run| !quiet.contains(&(run + 10))));
        }
        let disturbed = compared(&base, &new);
        prop_assert_eq!(disturbed.cells, undisturbed.cells);
        prop_assert_eq!(disturbed.references, undisturbed.references);
    }
}
