//! Deliveries by how far apart initiator and target are.

use super::bootstrap::Boots;
use super::digest::Digest;
use super::metrics::{Deliveries, nanoseconds};
use super::order::Quantile;
use crate::results::distance::{ByDistance, Label};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// Deliveries with the blocks that they are of.
type OfBlocks<'d> = Vec<(u32, &'d Digest)>;

/// What was delivered in these blocks over each distance, nearest first. `label` is of an initiator and a target; `None`: it is not
/// known where one of them runs, and their deliveries are left out, like all that the host sent.
pub fn by_distance(
    blocks: &[&Deliveries],
    boots: &Boots,
    tsc_khz: NonZeroU64,
    label: impl Fn(usize, usize) -> Option<Label>,
) -> Vec<ByDistance> {
    let mut of_pairs: BTreeMap<(usize, usize), OfBlocks<'_>> = BTreeMap::new();
    for (block, deliveries) in (0..).zip(blocks) {
        for (&(initiator, target), digest) in *deliveries {
            let Some(initiator) = initiator else { continue };
            of_pairs.entry((initiator, target)).or_default().push((block, digest));
        }
    }
    let mut of_labels: BTreeMap<Label, (u64, OfBlocks<'_>)> = BTreeMap::new();
    for ((initiator, target), digests) in of_pairs {
        let Some(label) = label(initiator, target) else { continue };
        let (pairs, all) = of_labels.entry(label).or_default();
        *pairs += 1;
        all.extend(digests);
    }
    let of_label = |(Label { distance, kinds }, (pairs, digests)): (Label, (u64, OfBlocks<'_>))| {
        let sample = Digest::sample(digests.into_iter())?;
        let n = sample.n() as u64;
        let ns = |cycles| nanoseconds(cycles, tsc_khz);
        let interval = sample.intervals([Quantile::P50], boots);
        Some(ByDistance {
            distance,
            kinds,
            pairs,
            n,
            p50_ns: ns(sample.quantile(Quantile::P50)),
            ci95_ns: interval.map(|[p50]| p50.map(ns)),
        })
    };
    of_labels.into_iter().filter_map(of_label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::samples::{Participant, Round};
    use crate::results::distance::Distance;
    use crate::statistics::digest::Precision;
    use crate::statistics::drift::Drift;
    use crate::statistics::metrics::add_deliveries;

    /// A call of `initiator` whose targets take as many cycles as their index says.
    fn round(initiator: Option<usize>, targets: &[usize]) -> Round {
        let participant = |&vcpu: &usize| Participant {
            vcpu,
            a: Some(1_000 + vcpu as u64),
            halted: None,
            w: None,
            x: None,
            vmm: None,
            back: None,
        };
        let participants = targets.iter().map(participant).collect();
        Round { generation: 1, initiator, t0: 1_000, t1: 1_001, t2: 2_000, participants, trace: Vec::new() }
    }

    fn deliveries(rounds: &[Round]) -> Deliveries {
        let mut deliveries = Deliveries::new();
        add_deliveries(&mut deliveries, rounds, Precision::Exact);
        deliveries
    }

    fn label(initiator: usize, target: usize) -> Option<Label> {
        let distance = if target > initiator + 1 { Distance::CrossNode } else { Distance::SameCore };
        (target != 9).then_some(Label { distance, kinds: None })
    }

    #[test]
    fn a_label_has_the_deliveries_of_all_of_its_pairs() {
        // A mesh is like it: several initiators in one block.
        let of_block = deliveries(&[round(Some(0), &[1, 2, 3, 9]), round(Some(1), &[2])]);
        let blocks = [&of_block; 5];
        let boots = Boots { of_block: vec![0, 1, 2, 3, 4], drift: Drift::none() };
        let khz = NonZeroU64::new(1_000_000).unwrap();
        let found = by_distance(&blocks, &boots, khz, label);
        let (same_core, cross_node) = (Distance::SameCore, Distance::CrossNode);
        let expected =
            |distance, p50_ns, ci95_ns| ByDistance { distance, kinds: None, pairs: 2, n: 10, p50_ns, ci95_ns };
        // 1 of the pair 0, 1 and 2 of 1, 2; 2 and 3 of vCPU 0's other targets: the medians are the lower ones.
        assert_eq!(found, [expected(same_core, 1.0, found[0].ci95_ns), expected(cross_node, 2.0, found[1].ci95_ns)]);
        assert!(found.iter().all(|one| one.ci95_ns.is_some_and(|[low, high]| low <= one.p50_ns && one.p50_ns <= high)));
        let few = Boots { of_block: vec![0, 0, 0, 0, 4], drift: Drift::none() };
        assert!(by_distance(&blocks, &few, khz, label).iter().all(|one| one.ci95_ns.is_none()));
    }

    #[test]
    fn what_the_host_sends_comes_from_nowhere() {
        let rounds = [round(None, &[0, 1])];
        let boots = Boots { of_block: vec![0], drift: Drift::none() };
        assert_eq!(by_distance(&[&deliveries(&rounds)], &boots, NonZeroU64::MIN, label), []);
    }
}
