//! What else differs.

use super::*;
use crate::comparison::differences::Factor;

fn differences(base: &[Run], new: &[Run], expected: &[Factor]) -> Vec<(String, Option<String>, bool)> {
    let rules = Rules { expected: expected.to_vec(), ..Rules::default() };
    let found = compare(base, new, &rules).differences;
    found.into_iter().map(|it| (it.factor, it.item, it.allowed)).collect()
}

fn named(factor: &str, item: Option<&str>, allowed: bool) -> (String, Option<String>, bool) {
    (factor.to_owned(), item.map(str::to_owned), allowed)
}

#[test]
fn what_was_not_expected_makes_sides_not_comparable() {
    let [base, mut new] = [runs(2, 1), runs(2, 2)];
    assert_eq!(differences(&base, &new, &[]), []);
    change(&mut new, |it| it.host.kernel = "6.19.0".to_owned());
    change(&mut new, |it| it.host.command_line = Some("BOOT_IMAGE=/vmlinuz-6.19.0 root=/dev/vda1 ro".to_owned()));
    change(&mut new, |it| _ = it.host.settings.insert("kvm.halt_poll_ns".to_owned(), "0".to_owned()));
    let settings = named("settings", Some("kvm.halt_poll_ns"), false);
    assert_eq!(differences(&base, &new, &[]), [named("kernel", None, false), settings.clone()]);
    assert_eq!(differences(&base, &new, &[Factor::Kernel]), [named("kernel", None, true), settings]);
    let comparison = compared(&base, &new);
    assert_eq!(comparison.verdict, Overall::NotComparable);
    let rules = Rules { expected: vec![Factor::Kernel, Factor::Settings], ..Rules::default() };
    assert_ne!(compare(&base, &new, &rules).verdict, Overall::NotComparable);
}

#[test]
fn another_kernel_brings_its_own_parameters_and_mitigations() {
    let [base, mut new] = [runs(2, 1), runs(2, 2)];
    change(&mut new, |it| {
        it.host.kernel = "6.19.0".to_owned();
        it.host.settings.insert("kvm.new_parameter".to_owned(), "Y".to_owned());
        it.host.power.vulnerabilities.insert("spectre_v2".to_owned(), "Mitigation: IBRS".to_owned());
    });
    assert!(differences(&base, &new, &[Factor::Kernel]).iter().all(|(.., allowed)| *allowed));
    assert_eq!(differences(&base, &new, &[]).iter().filter(|(.., allowed)| !allowed).count(), 3);
}

#[test]
fn hosts_that_both_sides_have_favour_neither() {
    let [mut base, mut new] = [runs(2, 1), runs(2, 2)];
    for side in [&mut base, &mut new] {
        side[1].measurement.host.cpu = "another".to_owned();
    }
    assert_eq!(differences(&base, &new, &[]), []);
    new.extend(new.clone());
    assert_eq!(differences(&base, &new, &[]), [], "two of four are as many as one of two");
    new.truncate(2);
    new[0].measurement.host.cpu = "another".to_owned();
    assert_eq!(differences(&base, &new, &[]), [named("cpu", None, false)]);
}

#[test]
fn hosts_in_other_proportions_are_told_with_how_many_runs_have_each() {
    let [mut base, mut new] = [runs(3, 1), runs(4, 2)];
    for run in base[..1].iter_mut().chain(&mut new[..3]) {
        run.measurement.host.kernel = "6.19.0".to_owned();
    }
    let found = compared(&base, &new).differences;
    let told: Vec<(String, bool)> = found.iter().map(|it| (it.to_string(), it.allowed)).collect();
    let expected = "kernel: 6.18.0 (2 of 3) | 6.19.0 (1 of 3) → 6.18.0 (1 of 4) | 6.19.0 (3 of 4)";
    assert_eq!(told, [(expected.to_owned(), true)]);
}

#[test]
fn documents_of_before_lack_what_they_did_not_have() {
    let [mut base, new] = [runs(2, 1), runs(2, 2)];
    change(&mut base, |it| {
        it.host.microcode = None;
        it.host.command_line = None;
    });
    assert!(differences(&base, &new, &[]).iter().all(|(.., allowed)| *allowed));
}

#[test]
fn how_long_targets_are_out_is_compared_where_some_are() {
    let [mut base, mut new] = [runs(2, 1), runs(2, 2)];
    change(&mut base, |it| it.config.out_us = None);
    assert_eq!(differences(&base, &new, &[]), [], "a document of before says it of no other state");
    for side in [&mut base, &mut new] {
        change(side, |it| it.config.target_states.push(TargetState::Out.name().to_owned()));
    }
    change(&mut base, |it| it.config.out_us = Some(300));
    assert_eq!(differences(&base, &new, &[]), [named("options", Some("out"), false)]);
}

#[test]
fn options_that_change_times_are_compared() {
    let [base, mut new] = [runs(2, 1), runs(2, 2)];
    change(&mut new, |it| {
        it.config.rounds = 17;
        it.config.pin = vec![0, 1];
    });
    assert_eq!(
        differences(&base, &new, &[Factor::Pin]),
        [named("pin", None, true), named("options", Some("rounds"), false)]
    );
}
