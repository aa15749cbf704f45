//! What calls take of the host's CPUs.

use super::bootstrap::Boots;
use super::order::{Observation, Quantile, Sample};
use crate::events::samples::{Block, CpuTime};
use crate::host::watch::Modes;
use crate::results::host_cpu::{BlockHostCpu, CpuModes, HostCpu};

/// How times and modes are obtained.
const METHOD: &str = "the threads' CPU clocks (clock_gettime), read before the first round that counts and after the last one; modes \
                      by utime, stime and guest_time of /proc/self/task/TID/stat";

/// That of a cell whose rounds have so many targets, made of these blocks; `None`: the clocks were read in none.
pub fn of_cell(blocks: &[&Block], targets: usize, boots: &Boots) -> Option<HostCpu> {
    let of_blocks: Vec<(u32, BlockHostCpu)> =
        (0..).zip(blocks).filter_map(|(number, block)| Some((number, of_block(block, targets)?))).collect();
    let sample = |of: fn(&BlockHostCpu) -> f64| {
        Sample::new(of_blocks.iter().map(|(block, cpu)| Observation { value: of(cpu), block: *block }).collect())
    };
    let median = |of: fn(&BlockHostCpu) -> f64| Some(sample(of)?.quantile(Quantile::P50));
    let total = sample(|cpu| cpu.total_ns)?;
    Some(HostCpu {
        total_ns: total.quantile(Quantile::P50),
        total_ci95: total.intervals([Quantile::P50], boots).map(|[interval]| interval),
        initiator_ns: median(|cpu| cpu.initiator_ns)?,
        per_target_ns: median(|cpu| cpu.per_target_ns)?,
        wall_ns: median(|cpu| cpu.wall_ns)?,
        modes: modes(blocks),
        times_native: Vec::new(),
        method: METHOD.to_owned(),
    })
}

/// The time of all threads a round, ns, of these blocks, numbered by their turns; `None`: the clocks were read in none.
pub fn numbered_sample(blocks: &[&Block]) -> Option<Sample> {
    let total = |block: &&Block| Some(Observation { value: of_block(block, 1)?.total_ns, block: block.number });
    Sample::new(blocks.iter().filter_map(total).collect())
}

/// That of a block whose rounds have so many targets.
pub fn of_block(block: &Block, targets: usize) -> Option<BlockHostCpu> {
    let cpu = block.cpu?;
    let a_round = |ns: u64| ns as f64 / cpu.rounds.max(1) as f64;
    Some(BlockHostCpu {
        total_ns: a_round(cpu.total_ns()),
        initiator_ns: a_round(cpu.initiator_ns),
        per_target_ns: a_round(cpu.targets_ns) / targets.max(1) as f64,
        wall_ns: a_round(cpu.wall_ns),
    })
}

fn modes(blocks: &[&Block]) -> Option<CpuModes> {
    let of_blocks = blocks.iter().filter_map(|block| block.cpu).map(|CpuTime { modes, .. }| modes);
    let sum =
        of_blocks.map(|modes| modes.ok_or(())).try_fold(Modes::default(), |sum, modes| modes.map(|it| sum.plus(it)));
    let sum = sum.ok().filter(|sum| sum.total_ns() > 0)?;
    let fraction = |ns: u64| ns as f64 / sum.total_ns() as f64;
    Some(CpuModes {
        guest: fraction(sum.guest_ns),
        user: fraction(sum.user_ns),
        kernel: fraction(sum.kernel_ns),
        of_ns: sum.total_ns() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::drift::Drift;

    fn block(boot: u32, initiator_ns: u64, targets_ns: u64, modes: Option<Modes>) -> Block {
        let cpu = CpuTime { initiator_ns, targets_ns, others_ns: 10, modes, ..CpuTime::of_rounds(10, 2_000) };
        Block { boot, cpu: Some(cpu), ..Block::default() }
    }

    fn of(blocks: &[Block], targets: usize) -> Option<HostCpu> {
        let boots = Boots { of_block: blocks.iter().map(|block| block.boot).collect(), drift: Drift::none() };
        of_cell(&blocks.iter().collect::<Vec<_>>(), targets, &boots)
    }

    const TICKS: Modes = Modes { guest_ns: 60, user_ns: 0, kernel_ns: 20 };

    #[test]
    fn a_cell_has_the_median_of_its_blocks() {
        let blocks: Vec<Block> =
            (0..5).map(|boot| block(boot, 1_000 + u64::from(boot), 600, (boot != 2).then_some(TICKS))).collect();
        let cpu = of(&blocks, 3).expect("clocks were read");
        assert_eq!((cpu.total_ns, cpu.initiator_ns, cpu.per_target_ns, cpu.wall_ns), (161.2, 100.2, 20.0, 200.0));
        let [low, high] = cpu.total_ci95.expect("five boots");
        assert!(low <= cpu.total_ns && cpu.total_ns <= high && (low, high) != (high, low), "{low} {high}");
        assert_eq!(cpu.modes, None, "the kernel did not say of one of them");
        let one = of(&blocks[..1], 3).expect("clocks were read");
        assert_eq!(one.total_ci95, None, "one boot");
        assert_eq!(one.modes, Some(CpuModes { guest: 0.75, user: 0.0, kernel: 0.25, of_ns: 80.0 }));
    }

    #[test]
    fn a_cell_without_clocks_says_nothing_and_blocks_without_are_left_out() {
        assert_eq!(of(&[Block::default()], 1), None);
        let cpu = of(&[Block::default(), block(1, 500, 400, Some(TICKS))], 1).expect("one has");
        assert_eq!((cpu.total_ns, cpu.per_target_ns), (91.0, 40.0));
        let nothing = of(&[block(0, 1, 1, Some(Modes::default()))], 1).expect("clocks were read");
        assert_eq!(nothing.modes, None, "not one tick");
    }
}
