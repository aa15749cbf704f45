//! Sets of processors, as the ABI carries them: bit `i % 64` of word `i / 64` stands for vCPU `i`.
//!
//! An index is below [`MAX_VCPUS`](crate::abi::MAX_VCPUS), as every vCPU's is.

use crate::abi::Mask;

/// Adds `index` to a set.
pub fn insert(mask: &mut Mask, index: usize) {
    mask[index / 64] |= 1 << (index % 64);
}

/// Whether `index` is in a set.
pub fn contains(mask: &Mask, index: usize) -> bool {
    mask[index / 64] >> (index % 64) & 1 == 1
}

/// The members of a set, by rising number.
pub fn indices(mask: &Mask) -> impl Iterator<Item = usize> + Clone + '_ {
    mask.iter().enumerate().flat_map(|(word, &bits)| {
        let nth = move |bit: usize| (bits >> bit & 1 == 1).then_some(word * 64 + bit);
        (0..if bits == 0 { 0 } else { 64 }).filter_map(nth)
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::abi::{MASK_WORDS, MAX_VCPUS};
    use std::vec::Vec;

    #[test]
    fn members_come_back_in_order_across_words() {
        let mut mask = [0; MASK_WORDS];
        let members = [0, 63, 64, 65, 127, MAX_VCPUS - 1];
        members.iter().rev().for_each(|&index| insert(&mut mask, index));
        assert_eq!(indices(&mask).collect::<Vec<_>>(), members);
        assert!(members.iter().all(|&index| contains(&mask, index)));
        assert!(!contains(&mask, 1) && !contains(&mask, 128));
        assert_eq!(indices(&[0; MASK_WORDS]).next(), None);
    }
}
