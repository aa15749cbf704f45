//! What pictures of a cell need.

use super::collected::Collected;
use super::described_call::{choose, describe};
use super::instruments::frequency;
use super::kept;
use super::machine::Machine;
use crate::config;
use crate::events::samples::Round;
use crate::events::timeline;
use crate::results::detail::{Arrival, CellDetail, Curve};
use crate::results::metric::MetricName;
use crate::statistics::digest::Digest;
use crate::statistics::metrics;
use crate::statistics::order::Summary;
use std::collections::BTreeMap;

/// Curves, arrivals by target, and calls that are shown, of a cell that was measured on `machine`.
pub(super) fn detail(cell: &Collected, machine: &impl Machine) -> CellDetail {
    let khz = frequency(machine.tsc_khz());
    let counted = cell.counted();
    let curve = |metric: MetricName| {
        let sample = kept::sample(metric, (0..).zip(counted.iter().copied()))?;
        let values = sample.values().map(|(value, count)| (metrics::nanoseconds(value, khz), count));
        Some(Curve::of_counted(metric, values))
    };
    let mut of_targets: BTreeMap<usize, Vec<&Digest>> = BTreeMap::new();
    for (&(_, target), digest) in counted.iter().flat_map(|portion| &portion.deliveries) {
        of_targets.entry(target).or_default().push(digest);
    }
    let arrivals = of_targets.into_iter().filter_map(|(vcpu, digests)| {
        let Summary { p50, p99, .. } = Digest::sample(digests.into_iter().map(|digest| (0, digest)))?.summary();
        let [p50, p99] = [p50, p99].map(|value| metrics::nanoseconds(value, khz));
        Some(Arrival { vcpu, p50, p99 })
    });
    // Rounds with events tell more; of several sources, that of most.
    let sees_most = cell
        .traced
        .iter()
        .max_by_key(|traced| traced.counted.shown.iter().map(|round| round.trace.len()).sum::<usize>());
    let traced: Vec<&Round> = sees_most.iter().flat_map(|traced| &traced.counted.shown).collect();
    let stamped: Vec<Round> = if traced.iter().all(|round| round.trace.is_empty()) {
        let rounds = cell.shown();
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
