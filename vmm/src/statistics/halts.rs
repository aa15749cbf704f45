//! Rounds by how KVM woke their halted targets.

use super::digest::{Digest, Precision};
use super::metrics::{deliveries, difference, nanoseconds};
use super::order::Quantile;
use crate::events::event::EventKind;
use crate::events::kernel::Point;
use crate::events::samples::{Block, Round};
use crate::events::wakeups::Wakeups;
use crate::results::halts::{BlockWakeups, CellWakeups, OfRegime, Regime};
use crate::results::source::Source;
use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// The rounds of a cell by regime, as one source tells them apart.
#[derive(Debug, Clone, Default)]
pub struct ByRegime {
    precision: Precision,
    regimes: BTreeMap<Regime, Rounds>,
    /// Wake-ups that ended a poll, and others.
    polled: u64,
    blocked: u64,
}

/// The rounds of one regime, their times in cycles.
#[derive(Debug, Clone)]
struct Rounds {
    n: u64,
    blocks: u64,
    round_trips: Digest,
    deliveries: Digest,
}

impl Rounds {
    fn new(precision: Precision) -> Self {
        Self { n: 0, blocks: 0, round_trips: Digest::new(precision), deliveries: Digest::new(precision) }
    }

    /// Adds those of a block.
    fn add(&mut self, rounds: &[&Round]) {
        self.n += rounds.len() as u64;
        self.blocks += 1;
        self.round_trips.add(rounds.iter().map(|round| difference(round.t2, round.t0)));
        let deliveries = rounds.iter().flat_map(|round| deliveries(round)).map(|(_, delivery)| delivery);
        self.deliveries.add(deliveries.collect::<Vec<f64>>().into_iter());
    }

    fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.blocks += other.blocks;
        self.round_trips.merge(&other.round_trips);
        self.deliveries.merge(&other.deliveries);
    }
}

impl ByRegime {
    /// Without a round; times are kept so.
    pub fn new(precision: Precision) -> Self {
        Self { precision, ..Self::default() }
    }

    fn of(&mut self, regime: Regime) -> &mut Rounds {
        self.regimes.entry(regime).or_insert_with(|| Rounds::new(self.precision))
    }

    /// Adds a block whose kernel events were recorded, round by round.
    pub fn add_rounds(&mut self, rounds: &[Round]) {
        let mut of_block: BTreeMap<Regime, Vec<&Round>> = BTreeMap::new();
        for round in rounds {
            let wakeups: Vec<Option<bool>> = round.targets().map(|(vcpu, a)| has_slept(round, vcpu, a)).collect();
            self.polled += wakeups.iter().filter(|wakeup| **wakeup == Some(false)).count() as u64;
            self.blocked += wakeups.iter().filter(|wakeup| **wakeup == Some(true)).count() as u64;
            of_block.entry(of_round(&wakeups)).or_default().push(round);
        }
        for (regime, rounds) in of_block {
            self.of(regime).add(&rounds);
        }
    }

    /// Adds a block as a whole, by KVM's counters; one that nobody has counted, or none of whose rounds count, is
    /// left out.
    pub fn add_block(&mut self, block: &Block) {
        let Some(wakeups) = block.wakeups.filter(|_| !block.rounds.is_empty()) else { return };
        self.polled += wakeups.polled;
        self.blocked += wakeups.blocked;
        self.of(Regime::of_block(wakeups.polled, wakeups.blocked)).add(&block.rounds.iter().collect::<Vec<_>>());
    }

    /// Adds those of other blocks.
    pub fn merge(&mut self, other: &Self) {
        self.polled += other.polled;
        self.blocked += other.blocked;
        for (&regime, rounds) in &other.regimes {
            self.of(regime).merge(rounds);
        }
    }

    /// As the document has it, by `source`; `None`: no wake-up is known.
    pub fn to_document(&self, source: Source, khz: NonZeroU64) -> Option<CellWakeups> {
        let all = self.polled + self.blocked;
        if all == 0 {
            return None;
        }
        let regimes = self.regimes.iter().filter_map(|(&regime, rounds)| {
            Some(OfRegime {
                regime,
                rounds: rounds.n,
                blocks: rounds.blocks,
                round_trip_p50_ns: median(&rounds.round_trips, khz)?,
                delivery_p50_ns: median(&rounds.deliveries, khz),
            })
        });
        Some(CellWakeups { source, polled: self.polled as f64 / all as f64, regimes: regimes.collect() })
    }
}

fn median(cycles: &Digest, khz: NonZeroU64) -> Option<f64> {
    Some(nanoseconds(Digest::sample([(0, cycles)].into_iter())?.quantile(Quantile::P50), khz))
}

/// Whether the thread of a target that arrived at `a` had slept when its HLT ended; `None`: the end was not recorded.
fn has_slept(round: &Round, target: usize, a: u64) -> Option<bool> {
    round.trace.iter().rev().find_map(|event| match event.kind {
        EventKind::Kernel(Point::Wakeup, [_, waited, _])
            if event.vcpu == Some(target) && (round.t0..=a).contains(&event.tsc) =>
        {
            Some(waited != 0)
        }
        _ => None,
    })
}

/// The regime of a round, by whether each target had slept.
fn of_round(slept: &[Option<bool>]) -> Regime {
    match slept {
        [] => Regime::Unknown,
        all if all.contains(&None) => Regime::Unknown,
        all if all.iter().all(|slept| *slept == Some(false)) => Regime::Polled,
        all if all.iter().all(|slept| *slept == Some(true)) => Regime::Blocked,
        _ => Regime::Mixed,
    }
}

/// A block's wake-ups as the document has them.
pub fn block(wakeups: Wakeups) -> BlockWakeups {
    let Wakeups { polled, attempted, invalid, blocked, poll_success_ns, poll_fail_ns, wait_ns } = wakeups;
    let regime = Regime::of_block(polled, blocked);
    BlockWakeups { regime, polled, blocked, attempted, invalid, poll_success_ns, poll_fail_ns, wait_ns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::timeline::tests::{event, participant, round};

    const KHZ: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();

    /// A call to vCPUs 1 and 2, which arrive at 1300 and 1350, with these ends of HLTs: vCPU, time, whether it had slept.
    fn woken(ends: &[(usize, u64, bool)]) -> Round {
        let end = |&(vcpu, tsc, slept)| event(tsc, vcpu, EventKind::Kernel(Point::Wakeup, [50, u64::from(slept), 1]));
        let mut round = round();
        round.participants.push(participant(2, Some(1350), 1400, 1520));
        Round { trace: ends.iter().map(end).collect(), ..round }
    }

    fn regimes(by_regime: &ByRegime) -> Vec<(Regime, u64, u64)> {
        let found = by_regime.to_document(Source::Kernel, KHZ).unwrap();
        found.regimes.iter().map(|of| (of.regime, of.rounds, of.blocks)).collect()
    }

    #[test]
    fn a_round_is_told_by_the_ends_of_its_targets_hlts() {
        let mut by_regime = ByRegime::default();
        let polled = || woken(&[(1, 1100, false), (2, 1200, false)]);
        by_regime.add_rounds(&[
            polled(),
            woken(&[(1, 1100, true), (2, 1200, true)]),
            woken(&[(1, 1100, true), (2, 1200, false)]),
            woken(&[(1, 1100, false)]),
        ]);
        by_regime.add_rounds(&[polled()]);
        assert_eq!(
            regimes(&by_regime),
            [(Regime::Polled, 2, 2), (Regime::Blocked, 1, 1), (Regime::Mixed, 1, 1), (Regime::Unknown, 1, 1)]
        );
        let found = by_regime.to_document(Source::Kernel, KHZ).unwrap();
        assert!((found.polled - 6.0 / 9.0).abs() < 1e-9, "{}", found.polled);
        assert!((found.regimes[0].round_trip_p50_ns - 600.0).abs() < 1e-9);
        assert_eq!(found.regimes[0].delivery_p50_ns, Some(300.0), "of both targets");
    }

    #[test]
    fn another_calls_wake_up_is_none_of_a_rounds() {
        let mut by_regime = ByRegime::default();
        by_regime.add_rounds(&[woken(&[(1, 900, false), (1, 1100, true), (2, 1200, true), (1, 1400, false)])]);
        assert_eq!(regimes(&by_regime), [(Regime::Blocked, 1, 1)], "before the send, and after the arrival");
        by_regime.add_rounds(&[woken(&[(1, 1050, false), (1, 1100, true), (2, 1200, true)])]);
        assert_eq!(regimes(&by_regime), [(Regime::Blocked, 2, 2)], "the last one brought the interrupt");
    }

    #[test]
    fn a_block_is_told_by_its_counters() {
        let block = |polled, blocked| Block {
            rounds: vec![round(), round()],
            wakeups: Some(Wakeups { polled, blocked, ..Wakeups::default() }),
            ..Block::default()
        };
        let mut by_regime = ByRegime::default();
        for block in [block(2, 0), block(2, 0), block(0, 2), block(1, 1), Block { wakeups: None, ..block(2, 0) }] {
            by_regime.add_block(&block);
        }
        assert_eq!(
            regimes(&by_regime),
            [(Regime::Polled, 4, 2), (Regime::Blocked, 2, 1), (Regime::Mixed, 2, 1)],
            "what nobody has counted is left out"
        );
        assert!(ByRegime::default().to_document(Source::Stats, KHZ).is_none());
        let mut without_rounds = ByRegime::default();
        without_rounds.add_block(&Block { rounds: Vec::new(), ..block(2, 0) });
        assert!(without_rounds.to_document(Source::Stats, KHZ).is_none());
    }
}
