//! What calls take of the host's CPUs.

use super::bootstrap::Boots;
use super::order::{Observation, Quantile, Sample};
use crate::events::samples::CpuTime;
use crate::host::watch::Modes;
use crate::results::host_cpu::{BlockHostCpu, CpuModes, HostCpu};

/// How times and modes are obtained.
const METHOD: &str = "the threads' CPU clocks (clock_gettime), read before the first round that counts and after the last one; modes \
                      by utime, stime and guest_time of /proc/self/task/TID/stat";

/// That of a cell whose rounds have so many targets, made of what blocks of these numbers had; `None`: the clocks were read in none.
pub fn of_cell(blocks: &[(u32, CpuTime)], targets: usize, boots: &Boots) -> Option<HostCpu> {
    let of_blocks: Vec<(u32, BlockHostCpu)> =
        blocks.iter().map(|&(number, cpu)| (number, of_block(cpu, targets))).collect();
    let sample = |of: fn(&BlockHostCpu) -> f64| {
        Sample::new(of_blocks.iter().map(|(block, cpu)| Observation::one(of(cpu), *block)).collect())
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

/// The time of all threads a round, ns, of what blocks of these numbers had; `None`: the clocks were read in none.
pub fn sample(blocks: impl Iterator<Item = (u32, CpuTime)>) -> Option<Sample> {
    Sample::new(blocks.map(|(number, cpu)| Observation::one(of_block(cpu, 1).total_ns, number)).collect())
}

/// That of a block whose rounds have so many targets.
pub fn of_block(cpu: CpuTime, targets: usize) -> BlockHostCpu {
    let a_round = |ns: u64| ns as f64 / cpu.rounds.max(1) as f64;
    BlockHostCpu {
        total_ns: a_round(cpu.total_ns()),
        initiator_ns: a_round(cpu.initiator_ns),
        per_target_ns: a_round(cpu.targets_ns) / targets.max(1) as f64,
        wall_ns: a_round(cpu.wall_ns),
    }
}

fn modes(blocks: &[(u32, CpuTime)]) -> Option<CpuModes> {
    let of_blocks = blocks.iter().map(|(_, cpu)| cpu.modes);
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

    fn block(number: u32, initiator_ns: u64, targets_ns: u64, modes: Option<Modes>) -> (u32, CpuTime) {
        (number, CpuTime { initiator_ns, targets_ns, others_ns: 10, modes, ..CpuTime::of_rounds(10, 2_000) })
    }

    /// Of blocks with a boot each.
    fn of(blocks: &[(u32, CpuTime)], targets: usize) -> Option<HostCpu> {
        of_cell(blocks, targets, &Boots { of_block: (0..5).collect(), drift: Drift::none() })
    }

    const TICKS: Modes = Modes { guest_ns: 60, user_ns: 0, kernel_ns: 20 };

    #[test]
    fn a_cell_has_the_median_of_its_blocks() {
        let blocks: Vec<(u32, CpuTime)> =
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
    fn a_cell_without_clocks_says_nothing() {
        assert_eq!(of(&[], 1), None);
        let cpu = of(&[block(1, 500, 400, Some(TICKS))], 1).expect("one has");
        assert_eq!((cpu.total_ns, cpu.per_target_ns), (91.0, 40.0));
        let nothing = of(&[block(0, 1, 1, Some(Modes::default()))], 1).expect("clocks were read");
        assert_eq!(nothing.modes, None, "not one tick");
    }
}
