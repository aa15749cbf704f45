//! How much of a call's time its exits explain: which exits its parts have, and what so many cost by themselves.
//!
//! A part lies between two stamps of the guest's, and not between two checkpoints of other sources as a stage does: one exit
//! spans several of those. Exits on the initiator and on the target that arrives last are taken as if they came one after the
//! other, and all to cost their mean. Both are simplifications; what is left is told as a number.

use super::metrics::nanoseconds;
use super::stages::Path;
use crate::events::event::{Event, EventKind, ICR};
use crate::events::exit::{Exit, ExitKind};
use crate::events::kernel::Point;
use crate::events::samples::{Block, Round};
use crate::results::exit_cost::ExitCost;
use crate::results::measurement::LocalApics;
use crate::results::stage::{Part, PartExits, Stage};
use guest_stub::abi::act::Act;
use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// What the parts end with.
const ENDS: [Stage; 4] = [Stage::Arrival, Stage::Gate, Stage::Worker, Stage::Done];

/// What an exit is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Exits of no act, which have no price.
    Other,
    /// Those that this act makes.
    Of(Act),
}

impl Kind {
    fn act(self) -> Option<Act> {
        match self {
            Self::Other => None,
            Self::Of(act) => Some(act),
        }
    }
}

/// The parts of recorded calls, and their exits.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    calls: u64,
    cycles: [i128; ENDS.len()],
    /// Of the initiator, and of the target.
    exits: [BTreeMap<Kind, [u64; 2]>; ENDS.len()],
}

impl Parts {
    /// Adds a block's rounds, those that have all parts. `x2apic`: their local APICs are in x2APIC mode.
    pub fn add(&mut self, block: &Block, x2apic: bool) {
        block.rounds.iter().for_each(|round| self.add_round(round, x2apic));
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
        let evidence = Evidence::of(&round.trace);
        for event in &round.trace {
            let who = [round.initiator, path.target].into_iter().position(|vcpu| vcpu.is_some() && vcpu == event.vcpu);
            // An event at a part's end is what it ends with.
            let place = ends.iter().position(|&end| event.tsc <= end).filter(|_| event.tsc > path.t0);
            let (Some(who), Some(place)) = (who, place) else { continue };
            if let Some(kind) = evidence.exit(event.kind, x2apic, place > 1) {
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

/// What a call's events tell of exits: the same one may show in several of them.
struct Evidence {
    /// KVM says when the guest is left: nothing else is an exit.
    has_exits: bool,
    /// It names MSRs: then an access to a register of the x2APIC is one of them.
    has_msrs: bool,
}

impl Evidence {
    fn of(events: &[Event]) -> Self {
        let has =
            |wanted| events.iter().any(|event| matches!(event.kind, EventKind::Kernel(point, _) if point == wanted));
        Self { has_exits: has(Point::Exit), has_msrs: has(Point::Msr) }
    }

    /// What an event is an exit of; `None`: it is no exit. `is_late`: the worker has begun, so that a register of the local APIC that is written is the EOI register.
    fn exit(&self, kind: EventKind, x2apic: bool, is_late: bool) -> Option<Kind> {
        let of_mode = |of_x2apic, of_xapic| Kind::Of(if x2apic { of_x2apic } else { of_xapic });
        let icr = || of_mode(Act::IcrX2Apic, Act::IcrXApic);
        let eoi = || of_mode(Act::EoiX2Apic, Act::EoiXApic);
        match kind {
            EventKind::Kernel(Point::Exit, [reason, isa, _]) => {
                let written = || if is_late { eoi() } else { icr() };
                Some(match Hardware::of(reason, isa) {
                    Hardware::Cpuid => Kind::Of(Act::Cpuid),
                    Hardware::Hlt => Kind::Of(Act::Hlt),
                    Hardware::Port => Kind::Of(Act::OutVmm),
                    Hardware::Rdmsr => Kind::Of(Act::Rdmsr),
                    Hardware::Msr if x2apic => written(),
                    Hardware::Msr => Kind::Of(Act::Wrmsr),
                    Hardware::Memory if !x2apic => written(),
                    Hardware::Memory | Hardware::Other => Kind::Other,
                })
            }
            EventKind::Return(exit) => Some(match exit {
                Exit { kind: ExitKind::ApicWrite, payload: ICR } => icr(),
                Exit { kind: ExitKind::ApicWrite, .. } => eoi(),
                Exit { kind: ExitKind::ApicRead, .. } => Kind::Of(Act::ReadXApic),
                Exit { kind: ExitKind::Halt, .. } => Kind::Of(Act::Hlt),
                Exit { kind: ExitKind::Observe | ExitKind::Message | ExitKind::Yield | ExitKind::Mark, .. } => {
                    Kind::Of(Act::OutVmm)
                }
                _ => Kind::Other,
            }),
            EventKind::Kernel(..) if self.has_exits => None,
            EventKind::Kernel(Point::Msr, [write, msr, _]) => {
                const X2APIC: u64 = 0x800;
                Some(Kind::Of(match (write, msr) {
                    (1, msr) if msr == X2APIC + (ICR >> 4) => Act::IcrX2Apic,
                    (1, 0x80B) => Act::EoiX2Apic,
                    (1, _) => Act::Wrmsr,
                    (_, _) => Act::Rdmsr,
                }))
            }
            EventKind::Kernel(Point::Apic, [write, register, _]) if !self.has_msrs => {
                const EOI: u64 = 0xB0;
                Some(Kind::Of(match (write, register) {
                    (1, ICR) => Act::IcrXApic,
                    (1, EOI) => Act::EoiXApic,
                    (_, _) => Act::ReadXApic,
                }))
            }
            EventKind::Kernel(Point::Port, [write, ..]) => {
                Some(Kind::Of(if write == 1 { Act::OutVmm } else { Act::InVmm }))
            }
            _ => None,
        }
    }
}

/// Why hardware has left the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hardware {
    Cpuid,
    Hlt,
    Port,
    Rdmsr,
    /// WRMSR, or of SVM either.
    Msr,
    /// An access to memory that is none: of a local APIC's registers in xAPIC mode.
    Memory,
    Other,
}

impl Hardware {
    /// By KVM's number: the basic exit reason (SDM Vol. 3D appendix C) or the exit code (APM Vol. 2 appendix C). KVM_ISA_VMX is 1.
    fn of(reason: u64, isa: u64) -> Self {
        const VMX: u64 = 1;
        if isa == VMX {
            match reason & 0xFFFF {
                10 => Self::Cpuid,
                12 => Self::Hlt,
                30 => Self::Port,
                31 => Self::Rdmsr,
                32 => Self::Msr,
                // APIC access, EPT violation, EPT misconfiguration, APIC write.
                44 | 48 | 49 | 56 => Self::Memory,
                _ => Self::Other,
            }
        } else {
            match reason {
                0x72 => Self::Cpuid,
                0x78 => Self::Hlt,
                0x7B => Self::Port,
                0x7C => Self::Msr,
                // Nested page fault, incomplete IPI, access that AVIC does not accelerate.
                0x400..=0x402 => Self::Memory,
                _ => Self::Other,
            }
        }
    }
}

#[cfg(test)]
mod tests;
