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
