//! Sides with hosts of several kinds.

use super::*;

/// Runs of which so many are of another processor, whose every call takes five times as long.
fn mixed(count: usize, others: usize, seed: u64) -> Vec<Run> {
    let mut all = runs(count, seed);
    let (of_others, _) = all.split_at_mut(others);
    change(of_others, |it| "Xeon".clone_into(&mut it.host.cpu));
    for (route, state, _) in CELLS {
        grow(of_others, route, state, 5.0);
    }
    // What one processor's local APIC takes longer for, divided or not.
    grow(of_others, "x2apic", "halt", 1.5);
    all
}

fn hosts_of(comparison: &Comparison) -> Vec<String> {
    let mut hosts: Vec<String> = comparison.cells.iter().map(|row| row.hosts.as_ref().unwrap().to_string()).collect();
    hosts.dedup();
    hosts
}

#[test]
fn another_mixture_of_hosts_is_no_change() {
    let comparison = compared(&mixed(20, 6, 1), &mixed(20, 14, 2));
    let changed = comparison.cells.iter().filter(|row| matches!(row.verdict, Verdict::Slower | Verdict::Faster));
    assert_eq!((changed.count(), comparison.worse_findings().count()), (0, 0), "{comparison:#?}");
    let cpu = runs(1, 1)[0].measurement.host.cpu.clone();
    let kernel = runs(1, 1)[0].measurement.host.kernel.clone();
    assert_eq!(hosts_of(&comparison), [format!("{cpu}, Linux {kernel}"), format!("Xeon, Linux {kernel}")]);
    assert_eq!(comparison.cells.len(), 4, "two cells of each");
}

#[test]
fn a_change_on_one_kind_of_hosts_is_that_kinds() {
    let [base, mut new] = [mixed(20, 6, 3), mixed(20, 6, 4)];
    grow(&mut new[..6], "x2apic", "user", 1.2);
    let comparison = compared(&base, &new);
    let slower: Vec<&Row> = comparison.cells.iter().filter(|row| row.verdict == Verdict::Slower).collect();
    let [row] = &slower[..] else { panic!("{slower:#?}") };
    assert!(row.name().starts_with("Xeon, Linux ") && row.id.target_state == TargetState::User, "{row:?}");
}

#[test]
fn where_the_kernel_is_what_is_tested_hosts_are_told_by_their_processor() {
    let [base, mut new] = [mixed(8, 4, 5), mixed(8, 4, 6)];
    change(&mut new, |it| "6.99".clone_into(&mut it.host.kernel));
    assert_eq!(hosts_of(&compared(&base, &new)).last().map(String::as_str), Some("Xeon"));
    let other_processor = compared(&base[..4], &new[4..]);
    assert!(other_processor.cells.iter().all(|row| row.hosts.is_none()), "one kind is compared with another");
    assert_eq!(other_processor.verdict, Overall::NotComparable);
}

#[test]
fn a_cell_that_one_kind_of_hosts_lacks_has_not_vanished() {
    let [mut base, mut new] = [mixed(10, 2, 7), mixed(10, 8, 8)];
    change(&mut base[..2], |it| it.cells.retain(|cell| cell.id.target_state != TargetState::User));
    change(&mut new[..8], |it| it.cells.retain(|cell| cell.id.target_state != TargetState::User));
    assert_eq!(compared(&base, &new).worse_findings().count(), 0);
}
