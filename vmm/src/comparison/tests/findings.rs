//! What is no time.

use super::*;

fn found(base: &[Run], new: &[Run]) -> Vec<(FindingKind, String, String, String, Severity)> {
    let findings = compared(base, new).findings;
    findings.into_iter().map(|it| (it.kind, it.subject, it.base, it.new, it.severity)).collect()
}

fn finding(
    kind: FindingKind,
    subject: &str,
    base: &str,
    new: &str,
    severity: Severity,
) -> (FindingKind, String, String, String, Severity) {
    (kind, subject.to_owned(), base.to_owned(), new.to_owned(), severity)
}

#[test]
fn calls_that_went_wrong_come_first_whatever_else_differs() {
    let [mut base, mut new] = [runs(2, 1), runs(2, 2)];
    assert_eq!(found(&base, &new), []);
    new[1].measurement.cells[0].integrity.lost = 2;
    new[0].measurement.host.kernel = "another".to_owned();
    let said = finding(FindingKind::Integrity, "calls that went wrong", "none", "2 lost", Severity::Worse);
    assert_eq!(found(&base, &new), [said]);
    assert_eq!(compared(&base, &new).verdict, Overall::Worse);
    base[0].measurement.cells[0].integrity.late = 1;
    new[1].measurement.cells[0].integrity.lost = 0;
    let said = finding(FindingKind::Integrity, "calls that went wrong", "1 late", "none", Severity::Noted);
    assert_eq!(found(&base, &new), [said]);
}

#[test]
fn a_cell_that_vanished_is_worse_and_one_that_came_is_not() {
    let [mut base, mut new] = [runs(2, 1), runs(2, 2)];
    change(&mut new, |it| {
        it.cells.remove(1);
        it.skipped.push(fixture::skipped("x2apic", "halt", "no x2APIC mode"));
    });
    base[0].measurement.cells.remove(0);
    assert_eq!(
        found(&base, &new),
        [
            finding(FindingKind::Cell, "measured", "in 2 of 2 runs", "in no run: no x2APIC mode", Severity::Worse),
            finding(FindingKind::Cell, "measured", "in 1 of 2 runs", "in 2 of 2 runs", Severity::Noted),
        ]
    );
}

#[test]
fn an_acceleration_that_ceased_is_worse() {
    let [mut base, mut new] = [runs(2, 1), runs(2, 2)];
    let of = |state| vec![Acceleration { feature: Feature::Avic, state, why: String::new(), inhibits: Vec::new() }];
    change(&mut base, |it| it.host.apic_acceleration = of(AccelerationState::On));
    change(&mut new, |it| it.host.apic_acceleration = of(AccelerationState::Inhibited));
    let said = |base, new, severity| [finding(FindingKind::Acceleration, "AVIC", base, new, severity)];
    assert_eq!(found(&base, &new), said("on", "inhibited", Severity::Worse));
    assert_eq!(found(&new, &base), said("inhibited", "on", Severity::Noted));
    change(&mut new, |it| it.host.apic_acceleration.clear());
    assert_eq!(found(&base, &new), said("on", "not known", Severity::Noted), "nobody has looked");
}

#[test]
fn an_acceleration_that_some_hosts_have_is_told_where_other_shares_of_the_sides_have_it() {
    let of = |state| vec![Acceleration { feature: Feature::Avic, state, why: String::new(), inhibits: Vec::new() }];
    let side = |count, on, seed| {
        let mut side = runs(count, seed);
        change(&mut side[..on], |it| it.host.apic_acceleration = of(AccelerationState::On));
        change(&mut side[on..], |it| it.host.apic_acceleration = of(AccelerationState::Off));
        side
    };
    let base = side(2, 1, 1);
    assert_eq!(found(&base, &side(4, 2, 2)), []);
    let said = |base, new, severity| [finding(FindingKind::Acceleration, "AVIC", base, new, severity)];
    let shares = said("off (1 of 2), on (1 of 2)", "off (3 of 4), on (1 of 4)", Severity::Noted);
    assert_eq!(found(&base, &side(4, 1, 2)), shares);
    assert_eq!(found(&base, &side(4, 0, 2)), said("off, on", "off", Severity::Worse));
}

/// Sets a cell's exits a call.
fn exits(runs: &mut [Run], reason: &str, count: impl Fn(usize) -> f64) {
    for (number, run) in runs.iter_mut().enumerate() {
        run.measurement.cells[0].exits = vec![fixture::exits(Source::Stats, reason, 1.0, count(number))];
    }
}

#[test]
fn more_exits_a_call_are_worse_and_fewer_are_noted() {
    let [mut base, mut new] = [runs(4, 1), runs(4, 2)];
    exits(&mut base, "exits", |run| 1.015 + 0.01 * run as f64);
    exits(&mut new, "exits", |run| 2.015 + 0.01 * run as f64);
    let said = |base, new, severity| [finding(FindingKind::Exits, "stats exits, each target", base, new, severity)];
    assert_eq!(found(&base, &new), said("1.03", "2.03", Severity::Worse));
    assert_eq!(found(&new, &base), said("2.03", "1.03", Severity::Noted));
    exits(&mut new, "exits", |run| 1.04 + 0.02 * run as f64);
    assert_eq!(found(&base, &new), [], "too little to matter");
    exits(&mut new, "exits", |run| if run == 0 { 3.0 } else { 1.0 });
    assert_eq!(found(&base, &new), [], "one run says nothing");
}

#[test]
fn counts_that_never_vary_need_no_interval() {
    let [mut base, mut new] = [runs(2, 1), runs(2, 2)];
    exits(&mut base, "exits", |_| 1.0);
    exits(&mut new, "exits", |_| 2.0);
    assert_eq!(found(&base, &new).len(), 1);
    for side in [&mut base, &mut new] {
        side.truncate(1);
    }
    let one = found(&base, &new);
    assert_eq!(
        one.iter().map(|it| it.4).collect::<Vec<_>>(),
        [Severity::Noted],
        "one run a side may have been out of line"
    );
}

#[test]
fn exits_that_one_side_has_not_counted_tell_nothing() {
    let [mut base, mut new] = [runs(4, 1), runs(4, 2)];
    for side in [&mut base, &mut new] {
        change(side, |it| it.cells.iter_mut().for_each(|cell| cell.observer_effect.clear()));
        exits(side, "exits", |_| 1.0);
    }
    change(&mut new, |it| it.cells[0].exits.push(fixture::exits(Source::Kernel, "HLT", 1.0, 3.0)));
    assert_eq!(found(&base, &new), []);
    change(&mut base, |it| it.cells[0].exits.push(fixture::exits(Source::Kernel, "MSR_WRITE", 1.0, 0.0)));
    assert_eq!(found(&base, &new).len(), 3, "now both have: two reasons are new or gone");
}

#[test]
fn what_the_host_does_and_what_is_no_exit_is_not_worse() {
    let [mut base, mut new] = [runs(4, 1), runs(4, 2)];
    exits(&mut base, "irq_exits", |_| 1.0);
    exits(&mut new, "irq_exits", |_| 2.0);
    assert_eq!(found(&base, &new).iter().map(|it| it.4).collect::<Vec<_>>(), [Severity::Noted]);
    exits(&mut base, "insn_emulation", |_| 100.0);
    exits(&mut new, "insn_emulation", |_| 200.0);
    assert_eq!(found(&base, &new), []);
    for side in [&mut base, &mut new] {
        change(side, |it| it.cells[0].exits = vec![fixture::exits(Source::Kernel, "interrupt", 1.0, 1.0)]);
    }
    change(&mut new, |it| it.cells[0].exits[0].per_target = 3.0);
    assert_eq!(found(&base, &new).iter().map(|it| it.4).collect::<Vec<_>>(), [Severity::Noted]);
}

#[test]
fn the_hosts_interrupts_are_no_part_of_all_exits() {
    let [mut base, mut new] = [runs(4, 1), runs(4, 2)];
    let of = |all, interrupts| {
        move |it: &mut Measurement| {
            it.cells[0].exits = vec![fixture::exits(Source::Stats, "exits", 2.0, all)];
            it.cells[0].exits.push(fixture::exits(Source::Stats, "irq_exits", 0.0, interrupts));
        }
    };
    change(&mut base, of(3.0, 1.0));
    change(&mut new, of(7.0, 5.0));
    let interrupts = finding(FindingKind::Exits, "stats irq_exits, each target", "1.00", "5.00", Severity::Noted);
    assert_eq!(found(&base, &new), std::slice::from_ref(&interrupts), "a call that takes longer has more of them");
    change(&mut new, of(7.0, 4.0));
    let others =
        finding(FindingKind::Exits, "stats exits less irq_exits, each target", "2.00", "3.00", Severity::Worse);
    let interrupts = (interrupts.0, interrupts.1, interrupts.2, "4.00".to_owned(), interrupts.4);
    assert_eq!(found(&base, &new), [others, interrupts]);
}

#[test]
fn without_times_exits_decide_and_ask_for_more_runs() {
    let verdict =
        |base: &[Run], new: &[Run]| compare(base, new, &Rules { judges_times: false, ..Rules::default() }).verdict;
    let [mut base, mut new] = [runs(3, 1), runs(3, 2)];
    exits(&mut base, "exits", |_| 1.0);
    exits(&mut new, "exits", |_| 1.0);
    grow(&mut new, "x2apic", "halt", 3.0);
    assert_eq!((verdict(&base, &new), compared(&base, &new).verdict), (Overall::NothingWorse, Overall::Worse));
    exits(&mut new, "exits", |run| 1.2 + run as f64);
    assert_eq!(verdict(&base, &new), Overall::Undecided, "there seem to be more");
    exits(&mut new, "irq_exits", |run| 1.2 + run as f64);
    assert_eq!(verdict(&base, &new), Overall::NothingWorse, "the host's interrupts follow the time");
    exits(&mut new, "exits", |_| 2.0);
    assert_eq!(verdict(&base, &new), Overall::Worse);
}

#[test]
fn runs_that_ended_early_and_cells_that_were_never_quiet_are_noted() {
    let [base, mut new] = [runs(2, 1), runs(2, 2)];
    new[0].measurement.partial = true;
    new[1].measurement.cells[0].never_quiet = true;
    assert_eq!(
        found(&base, &new),
        [
            finding(FindingKind::PartialRun, "ended early", "in no run", "in 1 of 2 runs", Severity::Noted),
            finding(FindingKind::Disturbed, "never quiet", "in no run", "in 1 of 2 runs", Severity::Noted),
        ]
    );
}

#[test]
fn a_neighbour_explains_the_count_of_all_exits_and_no_other() {
    let [mut base, mut new] = [runs(4, 1), runs(4, 2)];
    for reason in ["exits", "io_exits"] {
        for (side, count) in [(&mut base, 1.0), (&mut new, 4.0)] {
            change(side, |it| it.cells[0].exits = vec![fixture::exits(Source::Stats, reason, 0.0, count)]);
        }
        change(&mut new, |it| it.cells[0].never_quiet = true);
        let exits: Vec<_> = found(&base, &new).into_iter().filter(|it| it.0 == FindingKind::Exits).collect();
        let expected = if reason == "exits" { Severity::Noted } else { Severity::Worse };
        assert_eq!(exits.iter().map(|it| it.4).collect::<Vec<_>>(), [expected], "{reason}");
    }
}
