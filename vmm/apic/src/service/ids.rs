//! Which vCPU has which APIC id.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Which vCPU has which APIC id.
#[derive(Debug)]
pub(super) enum Ids {
    /// By id; [`NOBODY`] where there is none.
    Table(Box<[u32]>),
    /// In rising order of ids, each with its vCPU, where they are too large for a table.
    Sorted(Box<[(u32, usize)]>),
}

const NOBODY: u32 = u32::MAX;
/// Ids from here on are looked up by bisection: a table's size is the guest's topology, and must have a bound. KVM's own
/// bound is 4096 (KVM_MAX_VCPU_IDS, Linux 6.18).
const TABLE_END: u32 = 16_384;

impl Ids {
    pub(super) fn new(ids: &[u32]) -> Self {
        let end = ids.iter().max().map_or(0, |&highest| highest.saturating_add(1));
        if end > TABLE_END {
            let mut sorted: Vec<_> = ids.iter().copied().zip(0..).collect();
            sorted.sort_unstable();
            return Self::Sorted(sorted.into());
        }
        let mut table = vec![NOBODY; end as usize];
        for (vcpu, &id) in (0..).zip(ids) {
            table[id as usize] = vcpu;
        }
        Self::Table(table.into())
    }

    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<usize> {
        match self {
            Self::Table(table) => table.get(id as usize).filter(|&&vcpu| vcpu != NOBODY).map(|&vcpu| vcpu as usize),
            Self::Sorted(sorted) => sorted.binary_search_by_key(&id, |&(id, _)| id).ok().map(|place| sorted[place].1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_are_found_by_table_and_by_bisection(
            ids in prop::collection::btree_set(prop_oneof![0..40_u32, 0..TABLE_END, any::<u32>()], 0..20), other: u32
        ) {
            let ids: Vec<u32> = ids.into_iter().rev().collect();
            let found = Ids::new(&ids);
            for (vcpu, &id) in ids.iter().enumerate() {
                prop_assert_eq!(found.find(id), Some(vcpu));
            }
            prop_assert_eq!(found.find(other), ids.iter().position(|&id| id == other));
        }
    }
}
