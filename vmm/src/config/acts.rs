//! What the guest does to learn what it costs: what it takes, and beside which cells it can be done.

use super::refusal::{Change, Refusal};
use super::routes::{self, Route};
use super::{CellId, Need, Refused};
use guest_stub::abi::act::Act;

/// What to say of a vCPU that has not got what an act is about.
pub const fn lacks(act: Act) -> &'static str {
    match act {
        Act::Rdmsr | Act::Wrmsr => "this KVM's CPUID offers guests no IA32_TSC_ADJUST (CPUID.(07H,0):EBX bit 1)",
        Act::IcrX2Apic | Act::EoiX2Apic => Need::X2Apic.reason(),
        Act::HltTimer => "these local APICs have no TSC-deadline timer (CPUID.01H:ECX bit 24)",
        Act::Nothing
        | Act::Cpuid
        | Act::OutKvm
        | Act::OutVmm
        | Act::InVmm
        | Act::ReadXApic
        | Act::ReadVmm
        | Act::IcrXApic
        | Act::EoiXApic
        | Act::Hlt => "the guest image does not do it",
    }
}

/// Why what exits cost cannot be measured beside these cells; `None`: it can.
pub fn refuse(cells: &[CellId]) -> Option<Refused> {
    let refusal = Refusal::Combination("without a virtual machine nothing exits", &[Change::Route(Route::X2Apic)]);
    let has_guest = cells.iter().any(|cell| !routes::of(cell.route).is_native());
    cells.first().filter(|_| !has_guest).map(|&cell| Refused { cell, refusal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_stub::abi::{Destination, TargetState};

    #[test]
    fn exits_are_measured_where_a_cell_has_a_virtual_machine() {
        let cell = |route| CellId::broadcast(route, Destination::AllButSelf, TargetState::User, 2);
        let native = [Route::Native, Route::NativeRseq].map(cell);
        let refused = refuse(&native).expect("nothing exits");
        assert_eq!(refused.cell, native[0]);
        assert!(!refused.refusal.is_the_hosts() && !refused.refusal.ways_out().is_empty());
        for change in refused.refusal.ways_out() {
            assert_eq!(refuse(&[change.apply(&refused.cell)]), None);
        }
        assert_eq!(refuse(&[native[0], cell(Route::VmmXApic)]), None, "one is enough");
        assert_eq!(refuse(&[]), None);
    }
}
