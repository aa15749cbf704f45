//! The floor of a machine's calls, by what its instruments cost.

use super::measurement::{Cell, Instruments};

impl Instruments {
    /// The rendezvous of threads that sleep, for each target, ns; `None`: it was not measured.
    pub fn park_floor_of_each_ns(&self) -> Option<f64> {
        Some(self.park_floor_ns?.p50 / (self.vcpus - 1) as f64)
    }

    /// The time that a CPU takes for the instructions of a target of this machine's cell that KVM emulates, in a round, ns; `None`:
    /// they were not counted, or it is not known what one takes. Others cost next to nothing.
    pub fn instructions_of_each_ns(&self, cell: &Cell) -> Option<f64> {
        const EMULATED: &str = "insn_emulation";
        let counted = cell.exits.iter().find(|exits| exits.reason == EMULATED)?.per_target;
        Some(counted * self.instruction_ns?.p50)
    }
}
