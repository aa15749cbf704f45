//! By how much the clocks may be wrong.

use crate::report::units;
use crate::results::count::count;
use crate::results::instruments::Instruments;
use crate::results::measurement::{Cell, Measurement};
use crate::results::standalone::OWN_VMM;
use std::collections::BTreeSet;

/// The bound of the clocks' error, what it is of, and how it was obtained.
pub(super) fn answer(measurement: &Measurement) -> Option<String> {
    let (of_one, others): (Vec<&Cell>, Vec<&Cell>) =
        measurement.cells.iter().partition(|cell| cell.clock.error_ns == Some(0.0));
    if others.is_empty() && !of_one.is_empty() {
        return Some("ε = 0: the stamps that are compared are of one clock".to_owned());
    }
    let but_one = if of_one.is_empty() { "" } else { " and those of one clock (one vCPU's, or one CPU's)" };
    // One vCPU has nobody to differ from.
    let has_others = |machine: &&Instruments| machine.vcpus > 1;
    let (natively, virtually): (Vec<&Instruments>, Vec<&Instruments>) =
        measurement.instruments.iter().partition(|machine| machine.local_apic.is_none());
    // Native machines are told apart, since their clocks are bounded by other means.
    let (machines, natively) = if virtually.is_empty() { (natively, Vec::new()) } else { (virtually, natively) };
    let several: Vec<&Instruments> = machines.iter().copied().filter(has_others).collect();
    let machines = if several.is_empty() { machines } else { several };
    let bound = |machine: &Instruments| machine.clock.error_ns.unwrap_or(f64::INFINITY);
    let least = machines.iter().min_by(|one, other| bound(one).total_cmp(&bound(other)))?;
    let most = machines.iter().max_by(|one, other| bound(one).total_cmp(&bound(other)))?;
    let told = |machine: &Instruments| machine.clock.error_ns.map_or_else(|| "unknown".to_owned(), units::time);
    let methods: BTreeSet<&str> = machines.iter().map(|machine| machine.clock.method.as_str()).collect();
    let how = match methods.into_iter().collect::<Vec<_>>().as_slice() {
        [method] => (*method).to_owned(),
        _ => "--details says how each was bounded".to_owned(),
    };
    let which = |machine: &Instruments| match machine.under {
        Some(under) => format!("under {}", under.name()),
        None if measurement.has_other_vmms() => format!("under {OWN_VMM}"),
        None => format!("with {}", count(machine.vcpus, "vCPU")),
    };
    let with_vcpus = |machine: &Instruments| format!("{} {}", told(machine), which(machine));
    let error = match (told(least), told(most)) {
        (one, other) if one == other && one == "unknown" => "ε unknown".to_owned(),
        (one, other) if one == other => format!("ε = {one}"),
        _ => format!("ε = {}, {}", with_vcpus(least), with_vcpus(most)),
    };
    let natively = natively.into_iter().max_by(|one, other| bound(one).total_cmp(&bound(other)));
    let natively = natively.map_or_else(String::new, |machine| format!("; natively, ε = {}", told(machine)));
    Some(format!("{error} for all times but round trips{but_one}: {how}{natively}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    #[test]
    fn one_clock_has_no_error() {
        let mut itself = fixture::cell("spin", 1_000.0);
        itself.clock.error_ns = Some(0.0);
        let mut measurement = Measurement { cells: vec![itself], ..fixture::measurement() };
        assert_eq!(answer(&measurement).unwrap(), "ε = 0: the stamps that are compared are of one clock");
        measurement.cells.push(fixture::cell("spin", 1_000.0));
        let both = answer(&measurement).unwrap();
        assert!(both.starts_with("ε = 35.0 ns for all times but round trips and those of one clock ("), "{both}");
    }

    #[test]
    fn machines_whose_clocks_have_other_bounds_are_told_apart() {
        let mut measurement = fixture::measurement();
        let machine = |vcpus, error_ns, method: &str| {
            let mut machine = fixture::measurement().instruments.remove(0);
            machine.vcpus = vcpus;
            (machine.clock.error_ns, machine.clock.method) = (error_ns, method.to_owned());
            machine
        };
        let mut text = |machines: Vec<Instruments>| {
            measurement.instruments = machines;
            answer(&measurement)
        };
        let two = machine(2, Some(70.0), "16 exchanges");
        let of_all = "for all times but round trips";
        assert_eq!(text(vec![]), None);
        assert_eq!(text(vec![machine(1, Some(0.0), "one vCPU")]), Some(format!("ε = 0 ns {of_all}: one vCPU")));
        let with_one = text(vec![machine(1, Some(0.0), "one vCPU"), two.clone()]);
        assert_eq!(with_one, Some(format!("ε = 70.0 ns {of_all}: 16 exchanges")), "one vCPU has no ε");
        let four = text(vec![two.clone(), machine(4, Some(13e6), "32 exchanges")]);
        let both = "ε = 70.0 ns with 2 vCPUs, 13.0 ms with 4 vCPUs";
        assert_eq!(four, Some(format!("{both} {of_all}: --details says how each was bounded")));
        let unknown = text(vec![two, machine(4, None, "32 exchanges")]).unwrap();
        assert!(unknown.starts_with("ε = 70.0 ns with 2 vCPUs, unknown with 4 vCPUs for"), "{unknown}");
    }
}
