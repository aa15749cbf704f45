//! How long a run may take where others use the machine, too.
//!
//! Beside processes that never rest, calls wait for time slices, and a run takes several times as long as alone. How long it
//! would take alone, its own blocks tell: of a disturbed one, most times from one round to the next do, since a slice is taken
//! from a few. Blocks are compared with blocks: booting is in neither.

use crate::events::clock;
use crate::events::samples::{Block, Round};
use std::time::Duration;

/// A run that is disturbed may take so many times as long as on a quiet machine.
const MOST: u32 = 2;
/// What is too little to be worth saving.
const LEAST: Duration = Duration::from_secs(1);

/// The blocks of a run so far.
pub(super) struct Pace {
    blocks: u32,
    disturbed: u32,
    /// What they have taken.
    spent: Duration,
    /// What they would have taken on a quiet machine.
    quiet: Duration,
}

impl Pace {
    /// Of a run without blocks.
    pub(super) fn new() -> Self {
        Self { blocks: 0, disturbed: 0, spent: Duration::ZERO, quiet: Duration::ZERO }
    }

    /// Adds a block that took `time`, its rounds that count being behind `warmup` others.
    pub(super) fn add(&mut self, block: &Block, warmup: usize, time: Duration, tsc_khz: u64) {
        let is_quiet = block.is_quiet();
        self.blocks += 1;
        self.disturbed += u32::from(!is_quiet);
        self.spent += time;
        let undisturbed = || quiet_time(&block.rounds, warmup, tsc_khz).unwrap_or(time).min(time);
        self.quiet += if is_quiet { time } else { undisturbed() };
    }

    /// What so many blocks take on a quiet machine.
    pub(super) fn quiet_time(&self, blocks: usize) -> Duration {
        let each = self.quiet / self.blocks.max(1);
        each.saturating_mul(u32::try_from(blocks).unwrap_or(u32::MAX))
    }

    /// What the blocks have taken so far.
    pub(super) fn spent(&self) -> Duration {
        self.spent
    }

    /// Whether a run of so many blocks that others disturb, most of the time, has taken as long as it may.
    pub(super) fn is_over(&self, blocks: usize) -> bool {
        self.disturbed * 2 > self.blocks && self.left(blocks).is_zero()
    }

    /// How long disturbed blocks of a run of so many may be measured again for; `is_limited`: the run as a whole may take as long
    /// as it may, else that alone may take as long as a quiet run.
    pub(super) fn repeats(&self, blocks: usize, is_limited: bool) -> Duration {
        let limit = if is_limited { self.left(blocks) } else { self.quiet_time(blocks) };
        limit.max(LEAST)
    }

    fn left(&self, blocks: usize) -> Duration {
        self.quiet_time(blocks).saturating_mul(MOST).max(LEAST).saturating_sub(self.spent)
    }
}

/// What a block takes in which every round is like those of the lower quartile, with what lies between it and the next. The
/// shortest alone may be an accident.
fn quiet_time(rounds: &[Round], warmup: usize, tsc_khz: u64) -> Option<Duration> {
    let first = rounds.first()?;
    // Where several call at once, each makes as many.
    let of_one: Vec<u64> =
        rounds.iter().filter(|round| round.initiator == first.initiator).map(|round| round.t0).collect();
    let mut apart: Vec<u64> = of_one.windows(2).filter_map(|pair| pair[1].checked_sub(pair[0])).collect();
    apart.sort_unstable();
    let cycles = apart.get(apart.len() / 4)?.saturating_mul((of_one.len() + warmup) as u64);
    Some(clock::time(cycles, tsc_khz))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::disturbance::{Disturbance, Kind};

    const GHZ: u64 = 1_000_000;

    fn round(initiator: usize, t0: u64) -> Round {
        Round { generation: 0, initiator: Some(initiator), t0, t1: t0, t2: t0, participants: vec![], trace: vec![] }
    }

    fn block(is_quiet: bool, t0: &[u64]) -> Block {
        let kind = Kind::WaitedForCpu;
        let waited = Disturbance { kind, amount: 1e7, unit: kind.unit(), vcpu: Some(0), cpu: Some(0) };
        let disturbances = if is_quiet { Vec::new() } else { vec![waited] };
        Block { rounds: t0.iter().map(|&t0| round(0, t0)).collect(), disturbances, ..Block::default() }
    }

    #[test]
    fn a_disturbed_block_is_as_long_as_its_short_rounds() {
        let mut pace = Pace::new();
        let ms = Duration::from_millis;
        pace.add(&block(true, &[0, 1_000_000]), 3, ms(9), GHZ);
        assert_eq!(pace.quiet_time(10), ms(90));
        // Rounds of 1, 7 and 1 ms, and one before them.
        pace.add(&block(false, &[0, 1_000_000, 8_000_000, 9_000_000]), 1, ms(15), GHZ);
        assert_eq!(pace.quiet_time(2), ms(9 + 5));
        pace.add(&block(false, &[0]), 1, ms(16), GHZ);
        assert_eq!(pace.quiet_time(3), ms(9 + 5 + 16), "one round has no next");
        assert_eq!(pace.spent(), ms(9 + 15 + 16));
    }

    #[test]
    fn one_short_round_is_no_measure() {
        let t0 = [0, 10, 1_000_010, 2_000_010, 9_000_010, 10_000_010, 11_000_010];
        let rounds: Vec<Round> = t0.iter().map(|&t0| round(0, t0)).collect();
        assert_eq!(quiet_time(&rounds, 0, GHZ), Some(Duration::from_millis(7)));
    }

    #[test]
    fn rounds_of_several_initiators_are_those_of_one() {
        let rounds = [round(0, 0), round(1, 10), round(0, 1_000_000), round(1, 1_000_010)];
        assert_eq!(quiet_time(&rounds, 0, GHZ), Some(Duration::from_millis(2)));
    }

    #[test]
    fn a_run_may_take_twice_its_quiet_time_and_a_second_in_any_case() {
        let mut pace = Pace::new();
        let secs = Duration::from_secs;
        pace.add(&block(true, &[]), 0, secs(1), GHZ);
        assert_eq!((pace.left(10), pace.repeats(10, false), pace.repeats(0, true)), (secs(19), secs(10), secs(1)));
        assert!(!pace.is_over(0), "nothing disturbed it");
        // Each would have taken a second.
        let disturbed = block(false, &[0, 500_000_000]);
        pace.add(&disturbed, 0, secs(9), GHZ);
        assert_eq!(pace.left(10), secs(10));
        assert!(!pace.is_over(4), "half of the blocks are not most");
        pace.add(&disturbed, 0, secs(9), GHZ);
        assert_eq!((pace.is_over(10), pace.is_over(9)), (false, true), "after 19 s");
    }
}
