//! What pictures of a cell need.

use super::assess::deliveries;
use super::collected::Collected;
use super::described_call::{choose, describe};
use super::instruments::frequency;
use super::machine::Machine;
use crate::config;
use crate::events::samples::Round;
use crate::events::timeline;
use crate::results::detail::{Arrival, CellDetail, Curve};
use crate::results::metric::MetricName;
use crate::statistics::metrics;

/// Curves, arrivals by target, and calls that are shown, of a cell that was measured on `machine`.
pub(super) fn detail(cell: &Collected, machine: &impl Machine) -> CellDetail {
    let khz = frequency(machine.tsc_khz());
    let counted = cell.counted();
    let blocks: Vec<&[Round]> = counted.iter().map(|block| block.rounds.as_slice()).collect();
    let samples = metrics::collect(&blocks);
    let curve = |metric: MetricName| {
        let values: Vec<f64> = samples.get(&metric)?.values().map(|value| metrics::nanoseconds(value, khz)).collect();
        Some(Curve::of(metric, &values))
    };
    let arrivals = deliveries(blocks.iter().copied().flatten()).into_iter().map(|(vcpu, summary)| {
        let [p50, p99] = [summary.p50, summary.p99].map(|value| metrics::nanoseconds(value, khz));
        Arrival { vcpu, p50, p99 }
    });
    // Rounds with events tell more; of several sources, that of most.
    let sees_most =
        cell.traced.iter().max_by_key(|traced| traced.shown.iter().map(|round| round.trace.len()).sum::<usize>());
    let traced: Vec<&Round> = sees_most.iter().flat_map(|traced| &traced.shown).collect();
    let stamped: Vec<Round> = if traced.iter().all(|round| round.trace.is_empty()) {
        let rounds: Vec<&Round> = blocks.iter().copied().flatten().collect();
        let with_stamps = |round: &Round| {
            let trace = timeline::of_round(round, &[], None);
            Round { trace, ..round.clone() }
        };
        choose(&rounds).into_iter().map(|(_, number)| with_stamps(rounds[number])).collect()
    } else {
        Vec::new()
    };
    let rounds: Vec<&Round> = if stamped.is_empty() { traced } else { stamped.iter().collect() };
    let exit_names = |reason, isa| machine.exit_name(reason, isa);
    CellDetail {
        curves: [MetricName::RoundTrip, MetricName::Delivery, MetricName::StartSkew]
            .into_iter()
            .filter_map(curve)
            .collect(),
        arrivals: arrivals.collect(),
        calls: choose(&rounds)
            .into_iter()
            .map(|(which, number)| describe(which, number, &rounds, config::at_once(&cell.id), khz, &exit_names))
            .collect(),
    }
}
