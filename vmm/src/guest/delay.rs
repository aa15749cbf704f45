//! Calls that are lengthened by a share of their own round trip: a slowdown of known size, planted to see whether it is found.
//!
//! The guest executes some instructions more before each worker. How many they are to be is found out before each block, from a few
//! calls without them, and from what the instructions took when there were many. Where an instruction takes as long as on a KVM that
//! emulates CPL0, the share is a few of them, or a part of one: blocks then have one more or one less by chance, so that it is right
//! on average.

use super::blocks::{self, BlockSpec};
use super::error::GivenUp;
use super::session::{Error, Session};
use crate::events::recording::Recording;
use crate::events::samples::Block;
use crate::results::integrity::Integrity;
use crate::statistics::order::middle;
use guest_stub::abi::Sample;
use std::hash::{DefaultHasher, Hasher};

/// Calls that tell how long one takes, the first of which does not count.
const CALLS: usize = 8;
/// Instructions that are tried to learn what one takes: the next number where those before take too little of the TSC to be told.
const FEW: u32 = 60;
const MANY: u32 = 1 << 15;
/// TSC cycles that can be told.
const TOLD: f64 = 4_000.0;

/// A share of a call's round trip, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(pub u32);

/// What a session knows of delays.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delay {
    /// Instructions in each call of the next blocks.
    pub(super) instructions: u32,
    cost: Option<Cost>,
}

/// What instructions take, in TSC cycles. The first is a jump by way of memory, and may take longer than the others.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    first: f64,
    each: f64,
}

/// Runs one block, as [`blocks::run`] does, whose calls are lengthened by that share of what the call takes by itself. Nothing, too,
/// is a share: such a block begins like others.
///
/// # Errors
/// As [`blocks::run`].
pub fn run(session: &mut Session<'_>, spec: &BlockSpec, share: Share) -> Result<Block, Error> {
    let (round_trip, chance) = {
        let (samples, round_trip) = try_calls(session, spec, 0)?;
        (round_trip, chance(&samples))
    };
    let cost = if let Some(cost) = session.delay_mut().cost {
        cost
    } else {
        let cost = cost(session, spec)?;
        *session.delay_mut().cost.insert(cost)
    };
    session.delay_mut().instructions = instructions(round_trip, share, cost, chance);
    let block = blocks::run(session, spec, None);
    session.delay_mut().instructions = 0;
    block
}

/// How many instructions are that share of a round trip, in cycles; `chance`, from 0 up to 1, rounds.
fn instructions(round_trip: f64, Share(millionths): Share, Cost { first, each }: Cost, chance: f64) -> u32 {
    let wanted = round_trip * f64::from(millionths) / 1e6;
    let exact = if wanted < first { wanted / first } else { 1.0 + (wanted - first) / each };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and is not negative")]
    let instructions = (exact + chance) as u32;
    instructions
}

/// What instructions take: by how much they lengthen a worker.
fn cost(session: &mut Session<'_>, spec: &BlockSpec) -> Result<Cost, Error> {
    let mut worker = |instructions| {
        let (samples, _) = try_calls(session, spec, instructions)?;
        Ok::<_, Error>(median(&samples, |sample| difference(sample.x, sample.w)))
    };
    let without = worker(0)?;
    let few = worker(FEW)? - without;
    if few > TOLD {
        let first = (worker(1)? - without).clamp(few / f64::from(FEW), few / 2.0);
        return Ok(Cost { first, each: (few - first) / f64::from(FEW - 1) });
    }
    let each = (worker(MANY)? - without).max(1.0) / f64::from(MANY);
    Ok(Cost { first: each, each })
}

/// Makes a few calls like those of the block, with these instructions in each. The initiator's samples, and the median round trip in
/// cycles.
fn try_calls(session: &mut Session<'_>, spec: &BlockSpec, instructions: u32) -> Result<(Vec<Sample>, f64), Error> {
    session.delay_mut().instructions = instructions;
    let tried = BlockSpec { recording: Recording::NOTHING, warmup: 0, rounds: CALLS, ..*spec };
    let ended = blocks::run_in_guest(session, &tried);
    session.delay_mut().instructions = 0;
    let ended = ended?;
    if let Some(diagnosis) = ended.given_up {
        let integrity = Integrity { timed_out: 1, ..Integrity::default() };
        return Err(Error::GivenUp(Box::new(GivenUp { diagnosis, block: Block { integrity, ..Block::default() } })));
    }
    let samples = (1..CALLS).map(|number| session.sample(spec.initiator, number)).collect::<Result<Vec<_>, _>>()?;
    let round_trip = median(&samples, |sample| difference(sample.t2, sample.t0));
    Ok((samples, round_trip))
}

/// A number from 0 up to 1 that nobody can know before: it is made of the stamps, whose low bits are as good as random.
fn chance(samples: &[Sample]) -> f64 {
    let mut hasher = DefaultHasher::new();
    for sample in samples {
        hasher.write_u64(sample.t0);
    }
    (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
}

fn median(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    middle(samples.iter().map(value).collect()).unwrap_or_default()
}

fn difference(later: u64, earlier: u64) -> f64 {
    later.wrapping_sub(earlier).cast_signed() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_by_chance_so_that_it_is_right_on_average() {
        let cost = Cost { first: 3_000.0, each: 1_200.0 };
        let of = |share, chance| instructions(180_000.0, Share(share), cost, chance);
        assert_eq!([0.0, 0.49, 0.51, 0.999].map(|chance| of(20_000, chance)), [1, 1, 2, 2], "1.5 of them");
        assert_eq!([0.0, 0.39, 0.41].map(|chance| of(10_000, chance)), [0, 0, 1], "0.6 of the first");
        assert_eq!(of(0, 0.999), 0);
        let fast = Cost { first: 0.25, each: 0.25 };
        assert_eq!(instructions(5_000.0, Share(50_000), fast, 0.0), 1_000, "where instructions are fast");
    }

    #[test]
    fn chance_is_spread_over_its_range() {
        let samples = (0..1_000).map(|n| [Sample { t0: 7_000_000_000 + 181_733 * n, ..Sample::default() }]);
        let chances: Vec<f64> = samples.map(|sample| chance(&sample)).collect();
        for tenth in 0..10 {
            let range = f64::from(tenth) / 10.0..f64::from(tenth + 1) / 10.0;
            let share = chances.iter().filter(|chance| range.contains(chance)).count();
            assert!((50..150).contains(&share), "{range:?}: {share} of 1000");
        }
    }
}
