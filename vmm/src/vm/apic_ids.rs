//! Which APIC ids a machine's vCPUs have.

use super::create::vcpu_count;

/// The APIC ids of a machine's vCPUs. That of vCPU 0, the boot processor, is always zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApicIds {
    /// Each vCPU's index.
    #[default]
    Consecutive,
    /// Falling, with gaps: no id is its vCPU's index but by chance. Up to 64 vCPUs have 8-bit ids.
    Sparse,
}

impl ApicIds {
    /// The id of vCPU `index` of `vcpus`.
    pub fn of(self, index: u32, vcpus: u32) -> u32 {
        match self {
            Self::Consecutive => index,
            Self::Sparse if index == 0 => 0,
            Self::Sparse => (vcpus - index) * 3 + 1 - index % 2,
        }
    }

    /// Whether all ids are below 255, as xAPIC ids have to be.
    pub fn fit_xapic(self, vcpus: usize) -> bool {
        (0..vcpu_count(vcpus)).all(|index| self.of(index, vcpu_count(vcpus)) < 255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_stub::abi::{APIC_IDS_END, MAX_VCPUS};
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_end_where_the_guest_has_no_room_for_more() {
        for ids in [ApicIds::Consecutive, ApicIds::Sparse] {
            for vcpus in [1, 2, 64, 65, vcpu_count(MAX_VCPUS)] {
                let ids: BTreeSet<u32> = (0..vcpus).map(|index| ids.of(index, vcpus)).collect();
                assert_eq!(ids.len(), vcpus as usize);
                assert!(ids.contains(&0) && ids.iter().all(|&id| id < APIC_IDS_END));
            }
        }
    }
}
