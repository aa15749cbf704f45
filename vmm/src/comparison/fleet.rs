//! Hosts of a fleet that are not as their kind: the runs of a side are grouped by processor and kernel, and those are named whose cells
//! take longer, or less long, than those of their group.
//!
//! What is looked at is what the comparison judges: a cell's time in its reference's, so that a host whose every cell is slow by as much
//! is as its kind. A cell without a reference is looked at by its time.

use super::Run;
use super::references::Pairs;
use super::rules::ERROR_RATE;
use super::values::{Observed, observe};
use crate::results::comparison::side::Outlier;
use crate::statistics::order::middle;
use crate::statistics::outliers::{FEWEST, outliers};
use guest_stub::abi::cell::CellId;
use std::collections::BTreeMap;

/// The outliers of a side, in the order of its runs: those that are off by more than `threshold`. The probability that any
/// is called one in a side of normal values without one is [`ERROR_RATE`].
pub(super) fn find(runs: &[Run], pairs: &Pairs, threshold: f64) -> Vec<Outlier> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Run>> = BTreeMap::new();
    for run in runs {
        let host = &run.measurement.host;
        groups.entry((&host.cpu, &host.kernel)).or_default().push(run);
    }
    groups.retain(|_, group| group.len() >= FEWEST);
    // Bonferroni's: the tests of one host's cells are not independent of each other, and need not be.
    let tests = (groups.len() * pairs.judged.len()).max(1) as f64;
    let level = ERROR_RATE / tests;
    let cells = || pairs.judged.iter();
    let mut found: Vec<Outlier> = groups
        .values()
        .flat_map(|group| cells().flat_map(move |(id, reference)| of_cell(group, *id, *reference, level)))
        .filter(|outlier| outlier.change.abs() > threshold)
        .collect();
    found.sort_by_key(|outlier| runs.iter().position(|run| run.file == outlier.file));
    found
}

fn of_cell(group: &[&Run], id: CellId, reference: Option<CellId>, level: f64) -> Vec<Outlier> {
    let observed = |run: &Run| {
        let other = match reference {
            Some(reference) => Some(observe(run, &reference)?),
            None => None,
        };
        Some((observe(run, &id)?, other))
    };
    let all: Vec<(&Run, (Observed, Option<Observed>))> =
        group.iter().filter_map(|run| Some((*run, observed(run)?))).collect();
    let by_turns = all.iter().all(|(_, (own, other))| own.has_turns(other.as_ref()));
    let value = |(own, other): &(Observed, Option<Observed>)| own.value(other.as_ref(), by_turns).logarithm;
    let values: Vec<(&Run, f64)> = all.iter().map(|(run, observed)| (*run, value(observed))).collect();
    let logarithms: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    let Some(level_of_group) = middle(logarithms.clone()) else { return Vec::new() };
    let outlier = |place: usize| Outlier {
        file: values[place].0.file.clone(),
        cpu: values[place].0.measurement.host.cpu.clone(),
        kernel: values[place].0.measurement.host.kernel.clone(),
        group: values.len() as u64,
        id,
        change: (logarithms[place] - level_of_group).exp_m1(),
    };
    outliers(&logarithms, level).into_iter().map(outlier).collect()
}

#[cfg(test)]
mod tests;
