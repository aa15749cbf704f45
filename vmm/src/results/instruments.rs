//! What the instruments of a machine cost, and the floor of its calls by that.

use super::clock::Clock;
use super::machine::{Interface, LocalApics};
use super::measurement::{Cell, Spread};
#[cfg(doc)]
use guest_stub::abi::cell::CellId;
use guest_stub::abi::cell::Under;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the instruments of one virtual machine cost, and how well its clocks agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instruments {
    /// The virtual machine's vCPU count.
    pub vcpus: usize,
    /// Where its local APICs are; `null`: it is no virtual machine, but threads on the host's own processors, each in a vCPU's
    /// place. With the vCPU count and the interface, this identifies the machine.
    pub local_apic: Option<LocalApics>,
    /// The hypervisor's interface that its guest finds; KVM's where it is not there.
    #[serde(default, skip_serializing_if = "Interface::is_kvm")]
    pub interface: Interface,
    /// The VMM whose machine it is, as in [`CellId::under`]; left out where that is kipi's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<Under>,
    /// One time-stamp read in the guest, or in a thread, ns: the difference of two in a row.
    pub stamp_ns: Spread,
    /// From the guest's stamp to the VMM's, for one observed exit on an otherwise idle vCPU, ns; none (`n` is 0) without a virtual
    /// machine.
    pub exit_leg_ns: Spread,
    /// One observed exit and the way back, ns; as above.
    pub exit_round_trip_ns: Spread,
    /// From process start (exec) to the first completed broadcast call, ns; of the first virtual machine only.
    pub first_broadcast_ns: Option<f64>,
    /// From KVM_CREATE_VM, or from the start of the first thread, to the first completed call of this machine, ns; left out of a run of
    /// the standalone image, which nobody saw start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_ns: Option<f64>,
    /// From KVM_CREATE_VM, or from the start of the first thread, until all vCPUs or threads are up, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_ns: Option<f64>,
    /// One instruction of the guest's at CPL0, which some hypervisors emulate, ns; `null` without a virtual machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction_ns: Option<Spread>,
    /// The floor of calls whose participants park: the round trip of the same rendezvous by as many threads of the host that sleep
    /// (futex(2)), without a virtual machine, ns. Where participants park, and not on one vCPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park_floor_ns: Option<Spread>,
    /// The clocks of this machine's vCPUs.
    pub clock: Clock,
}

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
