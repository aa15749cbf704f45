//! How much of a call's time its exits explain: which exits its parts have, and what so many cost by themselves.
//!
//! A part lies between two stamps of the guest's, and not between two checkpoints of other sources as a stage does: one exit
//! spans several of those. Exits on the initiator and on the target that arrives last are taken as if they came one after the
//! other, and all to cost their mean. Both are simplifications; what is left is told as a number.

use super::exit_kinds::{Evidence, Kind};
use super::metrics::nanoseconds;
use super::stages::Path;
use crate::events::samples::{Block, Round};
use crate::results::exit_cost::ExitCost;
use crate::results::machine::LocalApics;
use crate::results::stage::{Part, PartExits, Stage};
use guest_stub::abi::act::Act;
use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// What the parts end with.
const ENDS: [Stage; 4] = [Stage::Arrival, Stage::Gate, Stage::Worker, Stage::Done];

/// The parts of recorded calls, and their exits.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    calls: u64,
    cycles: [i128; ENDS.len()],
    /// Of the initiator, and of the target.
    exits: [BTreeMap<Kind, [u64; 2]>; ENDS.len()],
}

impl Parts {
    /// Adds a block's rounds, those that have all parts.
    pub fn add(&mut self, block: &Block) {
        block.rounds.iter().for_each(|round| self.add_round(round, block.x2apic));
    }

    /// Adds those of other blocks.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.cycles.iter_mut().zip(&other.cycles).for_each(|(all, cycles)| *all += cycles);
        for (all, exits) in self.exits.iter_mut().zip(&other.exits) {
            for (kind, counts) in exits {
                let sums = all.entry(*kind).or_default();
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
    }

    fn add_round(&mut self, round: &Round, x2apic: bool) {
        let path = Path::critical(round);
        let [Some(entry), Some(gate), Some(worker), Some(done)] = ENDS.map(|stage| path.end(stage)) else { return };
        self.calls += 1;
        let ends = [entry, gate, worker, done];
        let begins = [path.t0, entry, gate, worker];
        for (place, (begin, end)) in begins.into_iter().zip(ends).enumerate() {
            self.cycles[place] += i128::from(end) - i128::from(begin);
        }
        let evidence = Evidence::of(&round.trace, x2apic);
        for (index, event) in round.trace.iter().enumerate() {
            let who = [round.initiator, path.target].into_iter().position(|vcpu| vcpu.is_some() && vcpu == event.vcpu);
            // An event at a part's end is what it ends with.
            let place = ends.iter().position(|&end| event.tsc <= end).filter(|_| event.tsc > path.t0);
            let (Some(who), Some(place)) = (who, place) else { continue };
            // Where KVM tells of no exits, it shows its own EOI of an interrupt that it hands over: the target has not begun.
            let is_kvms = |kind: Kind| place == 0 && who == 1 && kind.is_eoi() && !evidence.has_exits();
            if let Some(kind) = evidence.exit(index).filter(|&kind| !is_kvms(kind)) {
                self.exits[place].entry(kind).or_default()[who] += 1;
            }
        }
    }

    /// The parts as the document has them, priced by what exits cost with these local APICs. `None`: there are no calls, or no
    /// prices.
    pub fn priced(&self, costs: &[ExitCost], local_apic: LocalApics, khz: NonZeroU64) -> Option<Vec<Part>> {
        let mean = |act: Act| costs.iter().find(|it| it.act == act && it.local_apic == local_apic)?.mean_ns;
        let nothing = mean(Act::Nothing)?;
        let calls = NonZeroU64::new(self.calls)?.get() as f64;
        let part = |place: usize| {
            let exits = self.exits[place].iter().map(|(kind, &[initiator, target])| PartExits {
                act: kind.act(),
                initiator: initiator as f64 / calls,
                target: target as f64 / calls,
            });
            let exits: Vec<PartExits> = exits.collect();
            let cost = |exits: &PartExits| Some((exits.initiator + exits.target) * (mean(exits.act?)? - nothing));
            Part {
                stage: ENDS[place],
                mean_ns: nanoseconds(self.cycles[place] as f64, khz) / calls,
                explained_ns: exits.iter().filter_map(cost).sum(),
                exits,
            }
        };
        Some((0..ENDS.len()).map(part).collect())
    }
}

#[cfg(test)]
mod tests;
