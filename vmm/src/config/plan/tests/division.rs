//! How a cell's rounds are divided into blocks, and the blocks among boots.

use super::*;
use guest_stub::abi;

#[test]
fn blocks_add_up_and_fit_into_the_rings() {
    for (rounds, warmup) in [(1, 0), (7, 5), (20, 3), (100, 3), (10_001, 100), (1_000_000, 1000), (5, 5000)] {
        let blocks = blocks(rounds, warmup, boots(rounds));
        assert_eq!(blocks.iter().sum::<usize>(), rounds);
        assert!(blocks.iter().all(|&block| block >= 1), "{rounds}");
        assert!(blocks.iter().all(|&block| block + warmup.min(abi::RING_SAMPLES - 1) <= abi::RING_SAMPLES));
    }
    assert_eq!(blocks(500, 3, 10).len(), 20);
}

#[test]
fn a_boot_has_two_blocks_where_the_rounds_allow_it_and_one_otherwise() {
    let blocks_of = |rounds: usize, boots: usize| {
        let blocks = blocks(rounds, 3, boots).len();
        let mut of_boot = vec![0; boots.min(rounds)];
        (0..blocks).for_each(|block| of_boot[boot_of(block, blocks, boots)] += 1);
        of_boot
    };
    assert_eq!((boots(500), blocks_of(500, 25)), (25, vec![2; 25]));
    assert_eq!(blocks_of(500, 10), vec![2; 10]);
    assert_eq!((boots(100), blocks_of(100, 5)), (5, vec![2; 5]));
    assert_eq!((boots(20), blocks_of(20, 5)), (5, vec![1; 5]));
    assert_eq!((boots(3), blocks_of(3, 3)), (3, vec![1; 3]));
    assert_eq!(blocks_of(3, 50), vec![1; 3], "no boot is without a round");
    assert_eq!(blocks_of(500, 1), vec![20]);
    assert_eq!(blocks_of(500, 3), vec![7, 7, 6]);
}
