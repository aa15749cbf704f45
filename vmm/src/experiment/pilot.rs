//! How many rounds a run is planned with that is given a time: what a round takes is measured before the first turn.
//!
//! Only rounds are timed, and not what lies around them: boots, references, disturbed blocks that are measured again. The plan is
//! therefore too long rather than too short, and the time ends it.

use super::Error;
use super::machine::{self, Machine};
use super::run::{Ran, Run};
use crate::config::{MIN_BOOTS, MachineSpec};
use crate::events::recording::Recording;
use std::time::{Duration, Instant};

/// Rounds of the first block of a cell; each further one has twice as many.
const FEWEST: usize = 4;
/// Rounds of the last one, if no block before it is long enough.
const MOST: usize = 256;
/// A block of this length tells how long its rounds take.
const LONG_ENOUGH: Duration = Duration::from_millis(5);
/// The largest plan: as many rounds as can be asked for.
const MOST_ROUNDS: f64 = 1e7;

impl<M: Machine, B: FnMut(MachineSpec) -> Result<M, machine::Error>> Run<'_, '_, M, B> {
    /// The rounds of each cell that take this time, nothing else being done. Those that are made to find out are in no result; what goes
    /// wrong in them is counted.
    ///
    /// # Errors
    /// As those of a turn.
    pub(super) fn rounds_in(&mut self, time: Duration) -> Result<usize, Error> {
        let mut of_all = 0.0;
        for cell in 0..self.cells.len() {
            let kinds = self.cells[cell].kinds() as f64;
            of_all += kinds * self.seconds_of_round(cell)?;
        }
        let rounds = if of_all > 0.0 { time.as_secs_f64() / of_all } else { MOST_ROUNDS };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two small numbers")]
        let rounds = rounds.min(MOST_ROUNDS) as usize;
        Ok(rounds.max(MIN_BOOTS))
    }

    /// What a round of a cell takes: by how much longer a block takes that has more of them. Zero where no block was whole.
    fn seconds_of_round(&mut self, cell: usize) -> Result<f64, Error> {
        let (mut rounds, mut shorter) = (FEWEST, None);
        loop {
            let spec = self.config_block(cell, Recording::COUNTS, 0, rounds);
            let start = Instant::now();
            let block = match self.run_block(cell, &spec)? {
                Ran::Whole(block) => block,
                Ran::Cut(block) => {
                    self.cells[cell].elsewhere.add(block.integrity);
                    return Ok(0.0);
                }
                Ran::NotRun => return Ok(0.0),
            };
            let time = start.elapsed();
            self.cells[cell].elsewhere.add(block.integrity);
            if time >= LONG_ENOUGH || rounds >= MOST {
                return Ok(slope((rounds, time), shorter));
            }
            shorter = Some((rounds, time));
            rounds *= 2;
        }
    }
}

/// Seconds a round, of a block and a shorter one: their difference, or where that is none, all of the block's.
fn slope((rounds, time): (usize, Duration), shorter: Option<(usize, Duration)>) -> f64 {
    let difference = shorter.and_then(|(fewer, less)| Some((rounds - fewer, time.checked_sub(less)?)));
    let (rounds, time) = difference.filter(|(_, time)| !time.is_zero()).unwrap_or((rounds, time));
    time.as_secs_f64() / rounds as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_around_rounds_is_not_counted() {
        let ms = Duration::from_millis;
        let is = |seconds: f64, expected: f64| assert!((seconds - expected).abs() < 1e-12, "{seconds}");
        is(slope((20, ms(70)), Some((10, ms(60)))), 1e-3);
        is(slope((20, ms(40)), None), 2e-3);
        is(slope((20, ms(40)), Some((10, ms(50)))), 2e-3);
    }
}
