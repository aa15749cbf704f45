//! What single exits cost: measured in every turn beside the cells, a few of each kind.

use super::assess::boots;
use super::collected::are_enough;
use super::instruments::frequency;
use super::machine::{self, Machine};
use super::machines::Machines;
use crate::config::{CellId, Config, LocalApics, MachineSpec};
use crate::events::acts::{ActBlock, Acted};
use crate::guest::session;
use crate::results::exit_cost::ExitCost;
use crate::statistics::drift::Drift;
use crate::statistics::exit_costs;
use guest_stub::abi::act::Act;

/// How many of each act in each turn, and before them.
const SAMPLES: usize = 20;
const WARMUP: usize = 2;

/// A machine on which acts are measured, and what its turns have brought.
pub(super) struct Priced {
    /// Whose machine it is.
    machine: CellId,
    local_apic: LocalApics,
    acts: Vec<OfAct>,
}

/// What was measured of one act.
struct OfAct {
    act: Act,
    blocks: Vec<ActBlock>,
    /// Why it is not tried any more.
    over: Option<String>,
}

impl OfAct {
    fn of(act: Act) -> Self {
        Self { act, blocks: Vec::new(), over: None }
    }

    fn missed(&self) -> u64 {
        self.blocks.iter().map(|block| block.missed).sum()
    }

    /// Why it has no cost; and of one that has, why it ended before the others.
    fn reasons(&self, has_cost: bool) -> [Option<String>; 2] {
        if has_cost {
            return [None, self.over.clone()];
        }
        let none_counts = || match self.missed() {
            0 => "it was not tried".to_owned(),
            missed => format!("none counts: of {missed}, the deadline had passed before HLT"),
        };
        [Some(self.over.clone().unwrap_or_else(none_counts)), None]
    }
}

/// What a configuration asks for beside `cells`: the machine of the first of them for each place of local APICs.
pub(super) fn all(config: &Config, cells: &[CellId]) -> Vec<Priced> {
    let mut priced: Vec<Priced> = Vec::new();
    for &machine in cells.iter().filter(|_| config.exit_costs) {
        let Some(local_apic) = MachineSpec::of(&machine).local_apics else { continue };
        if priced.iter().all(|other| other.local_apic != local_apic) {
            let acts = Act::ALL.iter().map(|&act| OfAct::of(act)).collect();
            priced.push(Priced { machine, local_apic, acts });
        }
    }
    priced
}

impl Priced {
    /// Measures each act in turn `number`; which of them is the first one changes from turn to turn. One that ends the machine is
    /// not tried again.
    pub(super) fn measure<M: Machine, B: FnMut(MachineSpec) -> Result<M, machine::Error>>(
        &mut self,
        machines: &mut Machines<M, B>,
        number: usize,
    ) -> Result<(), machine::Error> {
        let acts = self.acts.len();
        for place in (0..acts).map(|place| (place + number) % acts) {
            let of_act = &mut self.acts[place];
            if of_act.over.is_some() {
                continue;
            }
            match machines.get(&self.machine)?.act(of_act.act, WARMUP, SAMPLES) {
                Ok(Acted::Done(block)) => {
                    let boot = machines.boot_number(&self.machine);
                    of_act.blocks.push(ActBlock { number: u32::try_from(number).unwrap_or(u32::MAX), boot, ..block });
                }
                Ok(Acted::Absent(reason)) => of_act.over = Some(reason),
                Err(machine::Error::Virtual(error)) if is_the_acts(&error) => {
                    machines.discard(&self.machine);
                    of_act.over = Some(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The results, where the host drifted so.
    pub(super) fn to_documents<M, B>(&self, machines: &Machines<M, B>, drift: &Drift) -> Vec<ExitCost> {
        let Some(instruments) = machines.instruments(&self.machine) else { return Vec::new() };
        let khz = frequency(instruments.clock.tsc_khz);
        let nothing = self.acts.iter().find(|of_act| of_act.act == Act::Nothing);
        let nothing: &[ActBlock] = nothing.map_or(&[], |of_act| &of_act.blocks);
        let document = |of_act: &OfAct| {
            let blocks = &of_act.blocks;
            let quiet = || blocks.iter().filter(|block| block.disturbances.is_empty());
            let never_quiet = !are_enough(quiet().map(|block| block.boot), blocks.iter().map(|block| block.boot));
            let counted: Vec<&ActBlock> = if never_quiet { blocks.iter().collect() } else { quiet().collect() };
            let boots = boots(counted.iter().map(|block| block.boot), drift);
            let (cost, mean_ns) = exit_costs::cost(&counted, &boots, khz).unzip();
            let [exits, emulated, returns] = exit_costs::counts(blocks, nothing);
            let [unavailable, given_up] = of_act.reasons(cost.is_some());
            ExitCost {
                act: of_act.act,
                local_apic: self.local_apic,
                vcpus: self.machine.vcpus,
                unavailable,
                given_up,
                missed: of_act.missed(),
                cost,
                mean_ns,
                exits,
                emulated,
                returns,
                blocks: blocks.iter().filter_map(|block| exit_costs::block(block, khz)).collect(),
                never_quiet,
            }
        };
        self.acts.iter().map(document).collect()
    }
}

/// Whether an act may have brought this about, so that a machine without it is fine.
fn is_the_acts(error: &session::Error) -> bool {
    match error {
        session::Error::BugCheck(_) | session::Error::Stopped { .. } | session::Error::Silent(_) => true,
        session::Error::Vm(_)
        | session::Error::Interrupted
        | session::Error::GivenUp(_)
        | session::Error::HostCall(_)
        | session::Error::BadReport(_)
        | session::Error::Trace(_)
        | session::Error::Memory(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_without_a_cost_says_why_and_one_that_ended_early_keeps_its_cost() {
        let of = |missed: &[u64], over: Option<&str>| {
            let blocks = missed.iter().map(|&missed| ActBlock { missed, ..ActBlock::default() }).collect();
            OfAct { blocks, over: over.map(str::to_owned), ..OfAct::of(Act::HltTimer) }
        };
        let only = |reason: &str| [Some(reason.to_owned()), None];
        assert_eq!(of(&[], Some("no timer")).reasons(false), only("no timer"));
        assert_eq!(of(&[1], None).reasons(true), [None, None]);
        assert_eq!(of(&[20, 1], Some("silent")).reasons(true), [None, Some("silent".to_owned())]);
        let late = of(&[20, 20], None);
        assert_eq!(late.missed(), 40);
        assert_eq!(late.reasons(false), only("none counts: of 40, the deadline had passed before HLT"));
        assert_eq!(of(&[20], Some("silent")).reasons(false), only("silent"));
        assert_eq!(of(&[], None).reasons(false), only("it was not tried"), "the run ended before its turn");
    }
}
