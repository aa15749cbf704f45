//! How a cell's rounds are divided into blocks, and its blocks among boots.

use guest_stub::abi::RING_SAMPLES;

/// Fewest boots that an interval is given for: the resamples of fewer are so few and so alike that it would be a guess.
pub const MIN_BOOTS: usize = 5;
/// Rounds below which a block is not made smaller just to have more of them: the warm-up comes on top of each.
const SMALLEST: usize = 10;

/// How many machines, booted one after the other, the blocks of a cell are spread over where nothing is said: at most 25, of
/// two blocks each. More turns than 50 would hardly tell more of how a host drifts, and all but warm up.
pub fn boots(rounds: usize) -> usize {
    const MOST: usize = 25;
    (rounds / (2 * SMALLEST)).clamp(MIN_BOOTS, MOST).min(rounds)
}

/// How many rounds each block of a cell has: twenty blocks, and two for each boot; fewer where they would be smaller than ten
/// rounds, but five, and one for each boot; and none larger than the sample rings.
pub fn blocks(rounds: usize, warmup: usize, boots: usize) -> impl ExactSizeIterator<Item = usize> + Clone {
    const MOST: usize = 20;
    let wanted = (rounds / SMALLEST).clamp(MIN_BOOTS, MOST.max(2 * boots)).max(boots);
    divide(rounds, warmup, wanted)
}

/// How many rounds each of `wanted` blocks has: fewer blocks where there are fewer rounds, more where they would be larger than the
/// sample rings.
pub fn divide(rounds: usize, warmup: usize, wanted: usize) -> impl ExactSizeIterator<Item = usize> + Clone {
    let largest = RING_SAMPLES.saturating_sub(warmup).max(1);
    let count = wanted.min(rounds).max(rounds.div_ceil(largest));
    parts(rounds, count)
}

/// Rounds in so many parts, which differ by one at most.
pub fn parts(rounds: usize, count: usize) -> impl ExactSizeIterator<Item = usize> + Clone {
    (0..count).map(move |part| rounds * (part + 1) / count - rounds * part / count)
}

/// Which of `boots` machines block number `block` of `blocks` is run on.
pub fn boot_of(block: usize, blocks: usize, boots: usize) -> usize {
    block * boots.min(blocks) / blocks.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_add_up_and_fit_into_the_rings(
            rounds in 1..20_000_usize, warmup in 0..2000_usize, wanted in 0..200_usize
        ) {
            let blocks = divide(rounds, warmup, wanted);
            let most = RING_SAMPLES.saturating_sub(warmup).max(1);
            prop_assert_eq!(blocks.clone().sum::<usize>(), rounds);
            prop_assert!(blocks.clone().all(|block| (1..=most).contains(&block)));
            prop_assert!(blocks.len() == wanted.min(rounds) || blocks.len() == rounds.div_ceil(most));
            let (least, most) = (blocks.clone().min(), blocks.max());
            prop_assert!(most <= least.map(|least| least + 1), "no block is much larger than another one");
        }
    }

    #[test]
    fn a_single_boot_has_twenty_blocks_where_the_rounds_allow_it() {
        let count = |rounds| blocks(rounds, 3, 1).len();
        assert_eq!([500, 200, 100, 50, 20, 3, 1].map(count), [20, 20, 10, 5, 5, 3, 1]);
        assert_eq!(count(100_000), 98, "a ring holds 1,021 rounds beside the warm-up");
    }
}
