//! What single exits cost: the form in documents of what was measured turn by turn.

use super::bootstrap::Boots;
use super::documents;
use super::metrics::nanoseconds;
use super::order::{Observation, Sample};
use crate::events::acts::{ActBlock, ActCounts};
use crate::results::measurement::Spread;
use crate::results::metric::{Metric, Unit};
use crate::results::reference::ReferenceBlock;
use std::num::NonZeroU64;

/// Cost and mean of an act, in ns, of the blocks that count, whose boots are told by their place. `None`: there is nothing in them.
pub fn cost(blocks: &[&ActBlock], boots: &Boots, khz: NonZeroU64) -> Option<(Metric, f64)> {
    let of_block = |(block, place): (&&ActBlock, u32)| {
        let observation = move |&cycles: &i64| Observation::one(cycles as f64, place);
        block.cycles.iter().map(observation).collect::<Vec<_>>()
    };
    let sample = Sample::new(blocks.iter().zip(0..).flat_map(of_block).collect())?;
    let ns = |cycles: f64| nanoseconds(cycles, khz);
    let mean = sample.values().map(|(value, count)| value * count as f64).sum::<f64>() / sample.n() as f64;
    // One clock took all stamps.
    Some((documents::metric(Unit::Ns, &sample, boots, Some(0.0), ns), ns(mean)))
}

/// One turn; `None`: nothing in it counts.
pub fn block(block: &ActBlock, khz: NonZeroU64) -> Option<ReferenceBlock> {
    let Spread { n, p50: p50_ns, .. } = documents::spread(&block.cycles, khz)?;
    Some(ReferenceBlock { number: block.number, boot: block.boot, n, p50_ns, disturbances: block.disturbances.clone() })
}

/// What one act brings about, on average, beyond what doing nothing brings about: KVM's exits, instructions that it has emulated,
/// and returns of KVM_RUN. `None`: nobody has counted.
pub fn counts(blocks: &[ActBlock], nothing: &[ActBlock]) -> [Option<f64>; 3] {
    let of: [fn(&ActCounts) -> Option<u64>; 3] =
        [|counts| counts.exits, |counts| counts.emulated, |counts| Some(counts.returns)];
    let mean = |blocks: &[ActBlock], of: fn(&ActCounts) -> Option<u64>| {
        let counted: Option<Vec<u64>> = blocks.iter().map(|block| of(&block.counts)).collect();
        let counted = counted.filter(|counted| !counted.is_empty())?;
        Some(counted.iter().sum::<u64>() as f64 / counted.len() as f64)
    };
    of.map(|of| Some(mean(blocks, of)? - mean(nothing, of)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::drift::Drift;

    const KHZ: NonZeroU64 = NonZeroU64::new(2_000_000).unwrap();

    fn of(boot: u32, cycles: &[i64], exits: Option<u64>) -> ActBlock {
        let counts = ActCounts { exits, emulated: Some(7), returns: 1 };
        ActBlock { boot, number: boot, cycles: cycles.to_vec(), counts, ..ActBlock::default() }
    }

    #[test]
    fn a_cost_is_an_order_statistic_of_all_blocks_and_its_mean_is_the_textbooks() {
        let blocks = [of(0, &[2, 4, 6], None), of(1, &[8, 100], None)];
        let boots = Boots { of_block: vec![0, 1], drift: Drift::none() };
        let (metric, mean) = cost(&blocks.iter().collect::<Vec<_>>(), &boots, KHZ).unwrap();
        assert_eq!((metric.n, metric.min, metric.p50, metric.max), (5, 1.0, 3.0, 50.0));
        assert_eq!(metric.ci95.p50, None, "two boots");
        assert!((mean - 12.0).abs() < 1e-9);
        assert!(cost(&[&of(0, &[], None)], &boots, KHZ).is_none());
        assert!((block(&blocks[1], KHZ).unwrap().p50_ns - 4.0).abs() < 1e-9);
        assert_eq!(block(&of(0, &[], None), KHZ), None);
    }

    #[test]
    fn five_boots_give_an_interval_that_holds_the_median() {
        let blocks: Vec<ActBlock> = (0..5).map(|boot| of(boot, &[10, 20, 30 + i64::from(boot)], None)).collect();
        let boots = Boots { of_block: (0..5).collect(), drift: Drift::none() };
        let (metric, _) = cost(&blocks.iter().collect::<Vec<_>>(), &boots, KHZ).unwrap();
        let [low, high] = metric.ci95.p50.unwrap();
        assert!(low <= metric.p50 && metric.p50 <= high);
    }

    #[test]
    fn what_the_counting_itself_brings_about_is_that_of_nothing() {
        let nothing = [of(0, &[1], Some(1)), of(1, &[1], Some(2))];
        let [exits, emulated, returns] = counts(&[of(0, &[1], Some(3)), of(1, &[1], Some(2))], &nothing);
        assert_eq!((exits, emulated, returns), (Some(1.0), Some(0.0), Some(0.0)));
        let [exits, emulated, _] = counts(&[of(0, &[1], None)], &nothing);
        assert_eq!((exits, emulated), (None, Some(0.0)), "this KVM does not tell");
        assert_eq!(counts(&[], &nothing), [None; 3]);
    }
}
