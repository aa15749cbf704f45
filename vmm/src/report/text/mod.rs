//! The report on the terminal: what most readers see first, and often all they see.
//!
//! Each section is a function that gives nothing when it has nothing to say. What is the same in all rows of a table
//! stands in a line above it instead of in a column. Where the terminal is narrow, a table leaves out its least
//! important columns, those that refine a number before those that are one, and says which; what a row is about,
//! medians of round trip and start skew, and the integrity are never left out, so that a table of long names can be
//! wider than a very narrow terminal.

mod cells;

use super::table::{self, Column, list, wrap};
use super::units;
use crate::results::measurement::{Instruments, Measurement, Skipped};
use guest_stub::abi::cell::CellId;
use std::collections::{BTreeMap, BTreeSet};

/// What stands where a value was not, or could not be, measured.
pub(super) const NO_VALUE: &str = "–";

/// The whole report, for a terminal of `width` characters or without bound; it ends in a newline.
pub fn render(measurement: &Measurement, width: Option<usize>) -> String {
    let sections = [
        Some(head(measurement, width)),
        cells::calls(&measurement.cells, width),
        cells::vantages(&measurement.cells, width),
        cells::slopes(&measurement.cells, width),
        cells::stages(&measurement.cells, width),
        cells::deliveries(&measurement.cells, width),
        cells::observer_effect(&measurement.cells, width),
        cells::exits(&measurement.cells, width),
        instruments(measurement, width),
        skipped(&measurement.skipped, width),
        warnings(&measurement.warnings, width),
        partial(measurement, width),
    ];
    let mut text = sections.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
    text.push('\n');
    text
}

fn head(measurement: &Measurement, width: Option<usize>) -> String {
    let host = &measurement.host;
    let nested = if host.nested { "nested (this machine is virtual)" } else { "not nested" };
    let kvm = host.kvm.join(", ");
    let first = format!("kipi {} · Linux {} · KVM: {kvm} · {nested}", host.kipi, host.kernel);
    let frequencies: BTreeSet<u64> = (measurement.instruments.iter().map(|instruments| instruments.clock.tsc_khz))
        .chain(measurement.cells.iter().map(|cell| cell.clock.tsc_khz))
        .collect();
    let frequencies: Vec<String> = frequencies.into_iter().map(megahertz).collect();
    let clock = match frequencies.as_slice() {
        [] => String::new(),
        frequencies => format!(" · guest TSC {}", frequencies.join(", ")),
    };
    let second = format!("{} · CPUs {} ({}){clock}", host.cpu, ranges(&host.cpus), host.cpus.len());
    [first, second].map(|line| wrap(&line, width, 2)).join("\n")
}

fn megahertz(khz: u64) -> String {
    format!("{}.{:03} MHz", khz / 1_000, khz % 1_000)
}

/// Ascending numbers as `0-2,5`.
fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|previous, next| previous.checked_add(1) == Some(*next));
    let texts: Vec<String> = runs
        .filter_map(|run| match run {
            [] => None,
            [one] => Some(one.to_string()),
            [first, .., last] => Some(format!("{first}-{last}")),
        })
        .collect();
    texts.join(",")
}

/// What the instruments cost, how long starting took, and what else the numbers depend on.
fn instruments(measurement: &Measurement, width: Option<usize>) -> Option<String> {
    let machines = &measurement.instruments;
    let mut lines = Vec::new();
    if !machines.is_empty() {
        let table = table::render(instrument_columns(machines), width);
        lines.extend(["Instruments and start".to_owned(), table.text]);
        lines.extend(left_out(&table.left_out, width));
    }
    let mut methods: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for machine in machines {
        methods.entry(&machine.clock.method).or_default().push(machine.vcpus.to_string());
    }
    lines.extend(methods.iter().map(|(method, vcpus)| match methods.len() {
        1 => wrap(&format!("ε: {method}"), width, 2),
        _ => wrap(&format!("ε ({} vCPUs): {method}", vcpus.join(", ")), width, 2),
    }));
    if !measurement.host.settings.is_empty() {
        let settings = measurement.host.settings.iter().map(|(name, value)| format!("{name}={value}"));
        lines.push(list("KVM settings:", &settings.collect::<Vec<_>>(), "", width, 2));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn instrument_columns(machines: &[Instruments]) -> Vec<Column> {
    let column = |group, name, rank, text: fn(&Instruments) -> String| {
        Column::number(group, name, rank, machines.iter().map(text).collect())
    };
    let mut columns = vec![
        column("time stamp", "p50", 0, |machine| units::time(machine.stamp_ns.p50)),
        column("time stamp", "p99", 1, |machine| units::time(machine.stamp_ns.p99)),
        column("exit leg", "p50", 0, |machine| units::time(machine.exit_leg_ns.p50)),
        column("exit leg", "p99", 1, |machine| units::time(machine.exit_leg_ns.p99)),
        column("exit round trip", "p50", 0, |machine| units::time(machine.exit_round_trip_ns.p50)),
        column("exit round trip", "p99", 1, |machine| units::time(machine.exit_round_trip_ns.p99)),
        column("first call since", "exec", 0, |machine| {
            machine.first_broadcast_ns.map_or_else(|| NO_VALUE.to_owned(), units::time)
        }),
        column("first call since", "VM creation", 0, |machine| units::time(machine.boot_ns)),
        column("clock error", "ε", 0, |machine| units::time(machine.clock.error_ns)),
    ];
    if machines.iter().any(|machine| machine.local_apic != machines[0].local_apic) {
        columns.insert(0, column("", "local APIC", 0, |machine| machine.local_apic.clone()));
    }
    if machines.len() > 1 {
        columns.insert(0, column("", "vCPUs", 0, |machine| machine.vcpus.to_string()));
    }
    columns
}

/// Combinations by the reason for which they cannot be measured, each reason in the place where it first came up.
fn skipped(skipped: &[Skipped], width: Option<usize>) -> Option<String> {
    let mut reasons: Vec<(&str, Vec<&Skipped>)> = Vec::new();
    for combination in skipped {
        match reasons.iter_mut().find(|(reason, _)| *reason == combination.reason) {
            Some((_, combinations)) => combinations.push(combination),
            None => reasons.push((&combination.reason, vec![combination])),
        }
    }
    let mut lines = vec![format!("Not measured here ({})", count(skipped.len(), "combination"))];
    for (reason, combinations) in &reasons {
        lines.push(wrap(&format!("- {reason}"), width, 2));
        lines.extend(products(combinations).into_iter().map(|product| wrap(&format!("  {product}"), width, 4)));
    }
    (!reasons.is_empty()).then(|| lines.join("\n"))
}

/// Combinations in the words of the command line: as the product of their lists where they are one, else one by one.
fn products(combinations: &[&Skipped]) -> Vec<String> {
    fn distinct(combinations: &[&Skipped], pick: impl Fn(&Skipped) -> String) -> Vec<String> {
        let mut values = Vec::new();
        for value in combinations.iter().map(|combination| pick(combination)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }
    let lists = [
        distinct(combinations, |combination| combination.id.route.name().to_owned()),
        distinct(combinations, |combination| combination.id.destination.name().to_owned()),
        distinct(combinations, |combination| combination.id.target_state.name().to_owned()),
        distinct(combinations, |combination| combination.id.vcpus.to_string()),
    ];
    if lists.iter().map(Vec::len).product::<usize>() == combinations.len() {
        return vec![format!("{} vCPUs", lists.map(|list| list.join(", ")).join(" × "))];
    }
    let one = |combination: &&Skipped| {
        let CellId { route, destination, target_state, vcpus, .. } = combination.id;
        let (route, destination, state) = (route.name(), destination.name(), target_state.name());
        format!("{route} × {destination} × {state} × {vcpus} vCPUs")
    };
    combinations.iter().map(one).collect()
}

pub(super) fn warnings(warnings: &[String], width: Option<usize>) -> Option<String> {
    let lines = warnings.iter().map(|warning| wrap(&format!("- {warning}"), width, 2));
    let title = [count(warnings.len(), "warning")];
    (!warnings.is_empty()).then(|| title.into_iter().chain(lines).collect::<Vec<_>>().join("\n"))
}

fn partial(measurement: &Measurement, width: Option<usize>) -> Option<String> {
    let why = measurement.error.as_deref().unwrap_or("it was interrupted");
    let line = format!("PARTIAL: the run ended early and holds what was measured until then: {why}");
    measurement.partial.then(|| wrap(&line, width, 2))
}

/// The line that tells which columns a table had no room for.
pub(super) fn left_out(columns: &[String], width: Option<usize>) -> Option<String> {
    (!columns.is_empty()).then(|| list("Not shown for want of room (--json has all):", columns, ",", width, 2))
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
