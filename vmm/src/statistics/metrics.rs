//! What is computed from a round's stamps: the metrics, in cycles.
//!
//! A guest is not trusted, so a stamp may be anything. Differences are therefore taken in 128 bits, where no two stamps
//! overflow, and are never clamped: a senseless stamp gives a senseless value that is seen in `min`, `max` and
//! `negative`.

use crate::events::samples::{Participant, Round};
use crate::results::metric::MetricName;
use crate::results::stage::Stage;
use crate::statistics::digest::{Digest, Precision};
use crate::statistics::order::{self, Observation, Sample};
use crate::statistics::stages::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

/// Fewest targets that have a slope. With two, it is their arrival skew once more, over the distance of their indices,
/// and a median of one slope resists nothing.
pub const MIN_SLOPE_TARGETS: usize = 3;

impl MetricName {
    /// Hands each value that `round` has of this metric to `take`: in cycles, a ratio, or cycles a vCPU.
    fn measure(self, round: &Round, take: impl FnMut(f64)) {
        let Round { t0, t1, t2, participants, .. } = round;
        let value = match self {
            Self::KernelDelivery => return kernel_deliveries(round).map(|(_, kernel)| kernel).for_each(take),
            Self::DeliveryGap => return kernel_deliveries(round).map(|(guest, kernel)| guest - kernel).for_each(take),
            Self::Halted => return halts(round).for_each(take),
            Self::Away => return absences(round).map(|(away, _)| away).for_each(take),
            Self::Reentry => return absences(round).filter_map(|(_, reentry)| reentry).for_each(take),
            Self::Delivery => return deliveries(round).map(|(_, delivery)| delivery).for_each(take),
            Self::ObservedExit => {
                return participants.iter().filter_map(|each| Some(difference(each.vmm?, each.w?))).for_each(take);
            }
            Self::SendCost => Some(difference(*t1, *t0)),
            Self::ArrivalSkew => skew(round.targets().map(|(_, a)| a)).map(|skew| skew as f64),
            Self::StartSkew => start_skew(participants).map(|skew| skew as f64),
            Self::Overlap => overlap(participants),
            Self::StartBarrier => start_barrier(round),
            Self::RoundTrip => Some(difference(*t2, *t0)),
            Self::VmmStartSkew => vmm_start_skew(participants).map(|skew| skew as f64),
            Self::SkewSlope => skew_slope(round),
            Self::SkewGap => {
                vmm_start_skew(participants).zip(start_skew(participants)).map(|(vmm, guest)| difference(vmm, guest))
            }
        };
        value.into_iter().for_each(take);
    }
}

/// The values of every metric that these blocks of one cell's rounds have, in cycles, a ratio, or cycles a vCPU. A
/// metric without a value is left out.
pub fn collect(blocks: &[&[Round]]) -> BTreeMap<MetricName, Sample> {
    MetricName::ALL.iter().filter_map(|&metric| Some((metric, sample(metric, blocks)?))).collect()
}

/// As [`collect`], of one metric; `None`: it has no value.
pub fn sample(metric: MetricName, blocks: &[&[Round]]) -> Option<Sample> {
    let mut observations = Vec::new();
    for (block, rounds) in (0..).zip(blocks) {
        for round in *rounds {
            metric.measure(round, |value| observations.push(Observation::one(value, block)));
        }
    }
    Sample::new(observations)
}

/// Cycles of a clock of `tsc_khz` in ns.
pub fn nanoseconds(cycles: f64, tsc_khz: NonZeroU64) -> f64 {
    cycles * 1e6 / tsc_khz.get() as f64
}

/// later − earlier, which is negative if they are the other way round.
pub(super) fn difference(later: u64, earlier: u64) -> f64 {
    (i128::from(later) - i128::from(earlier)) as f64
}

/// Largest − smallest, of two stamps or more.
fn skew(stamps: impl Iterator<Item = u64>) -> Option<u64> {
    let (n, min, max) =
        stamps.fold((0_usize, u64::MAX, u64::MIN), |(n, min, max), stamp| (n + 1, min.min(stamp), max.max(stamp)));
    (n >= 2).then(|| max - min)
}

/// a − t0 of each target, in cycles.
pub fn deliveries(round: &Round) -> impl Iterator<Item = (usize, f64)> + '_ {
    round.targets().map(|(vcpu, a)| (vcpu, difference(a, round.t0)))
}

/// Deliveries, in cycles, by who sent and whom to; the host is nobody.
pub type Deliveries = BTreeMap<(Option<usize>, usize), Digest>;

/// Adds those of a block's rounds.
pub fn add_deliveries(all: &mut Deliveries, rounds: &[Round], precision: Precision) {
    let mut of_block: BTreeMap<(Option<usize>, usize), Vec<f64>> = BTreeMap::new();
    for round in rounds {
        for (target, value) in deliveries(round) {
            of_block.entry((round.initiator, target)).or_default().push(value);
        }
    }
    for (pair, values) in of_block {
        all.entry(pair).or_insert_with(|| Digest::new(precision)).add(values.into_iter());
    }
}

/// How long each target had been in HLT at t0, in cycles.
pub fn halts(round: &Round) -> impl Iterator<Item = f64> + '_ {
    round.participants.iter().filter_map(|each| Some(difference(round.t0, each.halted?)))
}

/// For how long each target's thread was kept from the guest after t0, and how much later the target arrived, in cycles; one that
/// polls has no arrival.
fn absences(round: &Round) -> impl Iterator<Item = (f64, Option<f64>)> + '_ {
    let of = |each: &Participant| {
        let back = each.back?;
        Some((difference(back, round.t0), each.a.map(|a| difference(a, back))))
    };
    round.participants.iter().filter_map(of)
}

/// Each target's delivery, as the guest's stamps and as the recorded events have it.
fn kernel_deliveries(round: &Round) -> impl Iterator<Item = (f64, f64)> + '_ {
    let is_recorded = !round.trace.is_empty();
    round.targets().filter(move |_| is_recorded).filter_map(|(vcpu, a)| {
        let path = Path::over(round, vcpu);
        let (exit, entry) = (path.end(Stage::SendExit)?, path.end(Stage::Entry)?);
        Some((difference(a, round.t0), difference(entry, exit)))
    })
}

fn start_skew(participants: &[Participant]) -> Option<u64> {
    skew(participants.iter().filter_map(|each| each.w))
}

fn vmm_start_skew(participants: &[Participant]) -> Option<u64> {
    let stamps: Option<Vec<u64>> = participants.iter().map(|each| each.vmm).collect();
    skew(stamps?.into_iter())
}

fn start_barrier(round: &Round) -> Option<f64> {
    let last_arrival = round.targets().map(|(_, a)| a).max()?;
    let last_start = round.participants.iter().filter_map(|each| each.w).max()?;
    Some(difference(last_start, last_arrival))
}

fn overlap(participants: &[Participant]) -> Option<f64> {
    let first_end = participants.iter().filter_map(|each| each.x).min()?;
    let last_start = participants.iter().filter_map(|each| each.w).max()?;
    let times = participants.iter().filter_map(|each| Some(i128::from(each.x?) - i128::from(each.w?)));
    let total: i128 = times.sum();
    let common = i128::from(first_end) - i128::from(last_start);
    match (total, common) {
        (0, _) => None,
        // Apart, because a total below zero, which only senseless stamps have, would make it −0.
        (_, ..=0) => Some(0.0),
        _ => Some(common as f64 * participants.len() as f64 / total as f64),
    }
}

/// The shortest mean time of a round's workers that is any, in cycles.
pub fn shortest_worker(rounds: &[Round]) -> Option<f64> {
    let mean = |round: &Round| {
        let times = round.participants.iter().filter_map(|each| Some(difference(each.x?, each.w?)));
        let total: f64 = times.sum();
        total / round.participants.len() as f64
    };
    rounds.iter().map(mean).filter(|&mean| mean > 0.0).min_by(f64::total_cmp)
}

fn skew_slope(round: &Round) -> Option<f64> {
    let indices: BTreeSet<usize> = round.targets().map(|(vcpu, _)| vcpu).collect();
    if indices.len() < MIN_SLOPE_TARGETS {
        return None;
    }
    // From t0, because a stamp by itself may have more digits than a float.
    let points: Vec<(f64, f64)> = round.targets().map(|(vcpu, a)| (vcpu as f64, difference(a, round.t0))).collect();
    order::theil_sen(&points)
}

#[cfg(test)]
mod tests;
