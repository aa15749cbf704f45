//! The measurement on the terminal: what most readers see first, and often all they see.
//!
//! Without details it is the result, and what a reader must know before trusting it, on one screen.

pub(super) mod table;

use super::summary::{self, Fact, products};
use super::tables;
use super::wrap::{hang, list, wrap};
use crate::results::count::count;
use crate::results::cpu_list::ranges;
use crate::results::measurement::host::Host;
use crate::results::measurement::{Measurement, Skipped};
use std::collections::BTreeSet;

/// Warnings that are printed without details, the first ones.
const MOST_WARNINGS: usize = 4;

/// The widest label of a fact, and the space behind it.
const LABEL_COLUMNS: usize = 14;

/// The report in lines of at most `width` columns, with all that there is or just the result; it ends in a newline.
pub fn render(measurement: &Measurement, width: usize, details: bool) -> String {
    let mut sections = vec![head(measurement, width)];
    sections.extend(tables::result(measurement).map(|table| table::print(&table, width)));
    sections.extend(tables::exit_costs(measurement).map(|table| table::print(&table, width)));
    if details {
        sections.extend(tables::details(measurement).iter().map(|table| table::print(table, width)));
        sections.extend(settings(measurement, width));
        // The image has not seen what a kernel tells of its machine.
        sections.push(standalone(&measurement.host, width).unwrap_or_else(|| machine(&measurement.host, width)));
        sections.extend(skipped(measurement, width));
    }
    sections.push(facts(measurement, width, details));
    sections.extend(partial(measurement, width));
    sections.join("\n\n") + "\n"
}

fn head(measurement: &Measurement, width: usize) -> String {
    let host = &measurement.host;
    let first = format!("kipi {} · {}", host.kipi, platform(host));
    let of_machines = |is_virtual: bool| {
        let machines = measurement.instruments.iter().filter(|machine| machine.local_apic.is_some() == is_virtual);
        let frequencies: BTreeSet<u64> = machines.map(|machine| machine.clock.tsc_khz).collect();
        frequencies.into_iter().map(megahertz).collect::<Vec<_>>()
    };
    let is_bare_metal = host.standalone.is_some() && !host.nested;
    let clock = match (of_machines(true), of_machines(false)) {
        (tsc, _) if !tsc.is_empty() && is_bare_metal => format!(" · TSC {}", tsc.join(", ")),
        (guest, _) if !guest.is_empty() => format!(" · guest TSC {}", guest.join(", ")),
        (_, host) if !host.is_empty() => format!(" · TSC {}", host.join(", ")),
        _ => String::new(),
    };
    let second = format!("{} · CPUs {} ({}){clock}", host.cpu, ranges(&host.cpus), host.cpus.len());
    let verdicts = [
        summary::wrong(measurement),
        summary::moved(measurement),
        summary::sandbox(measurement),
        summary::quiet(measurement, width),
    ];
    let lines = [first, second].into_iter().chain(verdicts.into_iter().flatten());
    lines.map(|line| wrap(&line, width, 2)).collect::<Vec<_>>().join("\n")
}

/// Linux and KVM, or what the standalone image ran on.
fn platform(host: &Host) -> String {
    if let Some(platform) = host.standalone_platform() {
        return platform;
    }
    let nested = if host.nested { "nested (itself virtual)" } else { "not nested" };
    format!("Linux {} · KVM: {} · {nested}", host.kernel, host.kvm.join(", "))
}

fn megahertz(khz: u64) -> String {
    format!("{}.{:03} MHz", khz / 1_000, khz % 1_000)
}

/// The facts, the warnings, and without details, what to type for them.
fn facts(measurement: &Measurement, width: usize, details: bool) -> String {
    let mut facts = summary::facts(measurement);
    let shown = if details { measurement.warnings.len() } else { MOST_WARNINGS };
    facts.extend(measurement.warnings.iter().take(shown).map(|text| Fact { label: "WARNING", text: text.clone() }));
    if let Some(others @ 1..) = measurement.warnings.len().checked_sub(shown) {
        facts.push(Fact { label: "WARNING", text: format!("{} more (see --details)", count(others, "warning")) });
    }
    if !details {
        let text = match measurement.host.standalone {
            None => "--details (stages, exits, instruments), --html FILE, kipi trace",
            Some(_) => "--details (all times, instruments, the log), --html FILE",
        };
        facts.push(Fact { label: "more", text: text.to_owned() });
    }
    facts.extend(summary::sentence(measurement).map(|text| Fact { label: "in short", text }));
    let line = |Fact { label, text }: &Fact| hang(&format!("{label:<LABEL_COLUMNS$}"), text, width, LABEL_COLUMNS);
    facts.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn settings(measurement: &Measurement, width: usize) -> Option<String> {
    let settings: Vec<String> =
        measurement.host.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    (!settings.is_empty()).then(|| list("KVM settings:", &settings, "", width, 2))
}

/// Topology, idle states, frequencies and mitigations, a line each.
fn machine(host: &Host, width: usize) -> String {
    let lines = summary::machine(host);
    lines.iter().map(|Fact { label, text }| hang(&format!("{label}: "), text, width, 2)).collect::<Vec<_>>().join("\n")
}

/// Where a run of the standalone image is from, a line each.
fn standalone(host: &Host, width: usize) -> Option<String> {
    let lines = summary::standalone(host.standalone.as_ref()?);
    let line = |Fact { label, text }: &Fact| hang(&format!("{label}: "), text, width, 2);
    Some(lines.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Each combination that cannot be measured here, below its reason.
fn skipped(measurement: &Measurement, width: usize) -> Option<String> {
    let reasons = Skipped::by_reason(&measurement.skipped);
    let title = format!("Not measured here ({})", count(measurement.skipped.len(), "combination"));
    let mut lines = vec![wrap(&title, width, 2)];
    for (reason, combinations) in &reasons {
        lines.push(hang("- ", reason, width, 2));
        lines.extend(products(combinations).iter().map(|product| hang("  ", product, width, 4)));
    }
    (!reasons.is_empty()).then(|| lines.join("\n"))
}

/// A list of warnings below their number.
pub(super) fn warnings(warnings: &[String], width: usize) -> Option<String> {
    let lines = warnings.iter().map(|warning| hang("- ", warning, width, 2));
    let title = wrap(&count(warnings.len(), "warning"), width, 2);
    (!warnings.is_empty()).then(|| std::iter::once(title).chain(lines).collect::<Vec<_>>().join("\n"))
}

fn partial(measurement: &Measurement, width: usize) -> Option<String> {
    let why = measurement.error.as_deref().unwrap_or("it was interrupted");
    let line = format!("PARTIAL: the run ended early and holds what was measured until then: {why}");
    measurement.partial.then(|| wrap(&line, width, 2))
}

#[cfg(test)]
mod tests;
