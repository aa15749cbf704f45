//! KVM_HC_SEND_IPI: one hypercall interrupts up to 128 local APICs (Linux, Documentation/virt/kvm/x86/hypercalls.rst).

/// The hypercall's number.
pub const SEND_IPI: u32 = 10;

/// APIC ids that one hypercall reaches: its two masks have a bit for each from the lowest one on.
pub const IDS: u32 = 128;

/// What one hypercall addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Batch {
    /// The ids from `lowest` to `lowest + 63`, a bit each.
    pub low: u64,
    /// The 64 ids after those.
    pub high: u64,
    /// The lowest id.
    pub lowest: u32,
    /// How many there are: what KVM answers where all local APICs accept the interrupt.
    pub targets: u32,
}

impl Batch {
    /// The local APIC with this id alone.
    pub const fn one(id: u32) -> Self {
        Self { low: 1, high: 0, lowest: id, targets: 1 }
    }
}

/// Divides local APICs with these ids, in whatever order, into as few hypercalls as reach them all: each begins at the lowest id
/// that is left.
pub fn batches(ids: &(impl Iterator<Item = u32> + Clone), mut each: impl FnMut(Batch)) {
    let mut next = ids.clone().min();
    while let Some(lowest) = next {
        let mut batch = Batch { lowest, ..Batch::default() };
        next = None;
        for id in ids.clone().filter(|&id| id >= lowest) {
            match id - lowest {
                bit @ 0..64 => batch.low |= 1 << bit,
                bit @ 64..IDS => batch.high |= 1 << (bit - 64),
                _ => next = Some(next.map_or(id, |next: u32| next.min(id))),
            }
        }
        batch.targets = batch.low.count_ones() + batch.high.count_ones();
        each(batch);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::random::SplitMix64;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn of(ids: &[u32]) -> Vec<Batch> {
        let mut batches = Vec::new();
        super::batches(&ids.iter().copied(), |batch| batches.push(batch));
        batches
    }

    fn ids(batch: &Batch) -> Vec<u32> {
        let mask = u128::from(batch.high) << 64 | u128::from(batch.low);
        (0..IDS).filter(|bit| mask >> bit & 1 == 1).map(|bit| batch.lowest + bit).collect()
    }

    #[test]
    fn ids_in_a_row_fill_each_hypercall() {
        let row: Vec<u32> = (1..=128).collect();
        assert_eq!(of(&row), [Batch { low: u64::MAX, high: u64::MAX, lowest: 1, targets: 128 }]);
        let more: Vec<u32> = (0..129).collect();
        assert_eq!(of(&more)[1..], [Batch::one(128)]);
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn the_boundary_between_the_masks_and_between_hypercalls() {
        assert_eq!(of(&[5, 68]), [Batch { low: 1 | 1 << 63, high: 0, lowest: 5, targets: 2 }]);
        assert_eq!(of(&[5, 69]), [Batch { low: 1, high: 1, lowest: 5, targets: 2 }]);
        assert_eq!(of(&[5, 132]), [Batch { low: 1, high: 1 << 63, lowest: 5, targets: 2 }]);
        assert_eq!(of(&[5, 133]), [Batch::one(5), Batch::one(133)]);
        assert_eq!(of(&[u32::MAX, 0]), [Batch::one(0), Batch::one(u32::MAX)]);
    }

    #[test]
    fn ids_with_gaps_in_any_order_are_each_in_one_hypercall() {
        let mut random = SplitMix64(17);
        for _ in 0..100 {
            let wanted: BTreeSet<u32> = (0..200).map(|_| u32::try_from(random.below(3000)).unwrap()).collect();
            let mut shuffled: Vec<u32> = wanted.iter().copied().collect();
            for place in 1..shuffled.len() {
                shuffled.swap(place, random.below(place + 1));
            }
            let batches = of(&shuffled);
            assert_eq!(batches.iter().flat_map(ids).collect::<Vec<_>>(), wanted.into_iter().collect::<Vec<_>>());
            assert!(batches.iter().all(|batch| batch.low & 1 == 1 && batch.targets as usize == ids(batch).len()));
            assert!(batches.windows(2).all(|pair| pair[1].lowest - pair[0].lowest >= IDS), "one could be left out");
        }
    }
}
