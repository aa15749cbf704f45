//! Whether the machine was quiet, and what disturbed it.

use super::asked;
use crate::config::routes;
use crate::report::{quiet, tables};
use crate::results::count::count;
use crate::results::measurement::Measurement;
use crate::results::quiet::Quiet;
use guest_stub::abi::cell::CellId;
use std::collections::BTreeSet;

/// Whether the machine was quiet, if anything was measured: in one line of `width` columns where it fits.
pub(in crate::report) fn quiet(measurement: &Measurement, width: usize) -> Option<String> {
    let all = asked(measurement).len();
    let name = |id| name(measurement, id);
    let own = measurement.asked().filter(|cell| cell.id.under.is_none()).count();
    let verdict = looked_at(measurement).map(|found| quiet::verdict(found, own, &name, width));
    let is_native = measurement.asked().all(|cell| routes::of(cell.id.route).is_native());
    let participants = if is_native { "threads" } else { "vCPUs" };
    let shared = shared_cpus(measurement)
        .map(|(vcpus, cpus)| format!("{vcpus} {participants} take turns on {}", count(cpus, "CPU")));
    (all > 0).then(|| match (shared, verdict) {
        (Some(shared), Some(verdict)) => format!("NOT QUIET: {shared}. Apart from that: {verdict}"),
        (Some(shared), None) => format!("NOT QUIET: {shared}"),
        (None, Some(verdict)) => verdict,
        (None, None) => "Quiet: not checked".to_owned(),
    })
}

/// What disturbed the blocks that were asked for; `None`: nobody has looked, as at no block under another VMM.
fn looked_at(measurement: &Measurement) -> Option<&Quiet> {
    measurement.quiet.as_ref().filter(|_| measurement.asked().any(|cell| cell.id.under.is_none()))
}

/// What disturbed the run.
pub(super) fn answer(measurement: &Measurement) -> Option<String> {
    quiet::causes(looked_at(measurement)?, &|id| name(measurement, id))
}

/// A cell's name among the others.
fn name(measurement: &Measurement, id: CellId) -> String {
    let cell = measurement.cells.iter().find(|cell| cell.id == id);
    cell.map_or_else(String::new, |cell| tables::name(cell, &measurement.cells.iter()))
}

/// The largest machine's vCPUs and the CPUs that they run on, if those are fewer.
fn shared_cpus(measurement: &Measurement) -> Option<(usize, usize)> {
    let pinned: BTreeSet<usize> = measurement.config.pin.iter().copied().collect();
    let cpus = if pinned.is_empty() { measurement.host.cpus.len() } else { pinned.len() };
    let most = measurement.instruments.iter().map(|machine| machine.vcpus).max()?;
    (most > cpus).then_some((most, cpus))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::metric::MetricName;

    #[test]
    fn what_disturbed_a_run_is_told_without_a_median() {
        let mut cell = fixture::cell("halt", 1_000.0);
        cell.never_quiet = true;
        cell.metrics.remove(&MetricName::RoundTrip);
        let found = Quiet::of_cells(std::slice::from_ref(&cell), BTreeSet::new());
        let mut measurement = Measurement { cells: vec![cell], quiet: Some(found), ..fixture::measurement() };
        assert!(quiet(&measurement, 80).unwrap().starts_with("NEVER QUIET: x2apic, 0 of 0 blocks"));
        measurement.cells.clear();
        assert_eq!(quiet(&measurement, 80), None, "nothing was measured");
    }
}
