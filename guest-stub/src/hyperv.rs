//! Hyper-V's hypercalls that send an interrupt to sets of virtual processors (Hypervisor Top Level Functional Specification,
//! HvCallSendSyntheticClusterIpi and HvCallSendSyntheticClusterIpiEx).

use crate::abi::MAX_VCPUS;

/// HvCallSendSyntheticClusterIpi: a mask of 64 virtual processors.
pub const SEND_IPI: u64 = 0x000B;
/// HvCallSendSyntheticClusterIpiEx: a sparse set.
pub const SEND_IPI_EX: u64 = 0x0015;
/// Of a hypercall's input value: its parameters are in registers, and not in memory.
pub const FAST: u64 = 1 << 16;
/// Where an input value has the size of its variable header, in units of eight bytes: of a sparse set, its banks.
const VARIABLE_HEADER: u32 = 17;

/// The status of success.
pub const SUCCESS: u64 = 0;

/// Virtual processors of a bank.
pub const BANK: usize = 64;
/// Banks that there can be.
pub const BANKS: usize = MAX_VCPUS / BANK;

/// The parameters of [`SEND_IPI_EX`], which must not cross a page: a sparse set of virtual processors holds a mask for each bank that
/// has some.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Input {
    /// From 16 to 255.
    pub vector: u32,
    /// Zero: the sender's own virtual trust level.
    pub trust_level: u32,
    /// Zero: a sparse set of 4,096 at most.
    pub format: u64,
    /// The banks that follow, a bit for each.
    pub valid_banks: u64,
    /// Their masks, by rising number.
    pub banks: [u64; BANKS],
}

impl Input {
    /// For the virtual processors with these indices, by rising number.
    ///
    /// # Panics
    /// If an index is not below [`MAX_VCPUS`].
    pub fn new(vector: u8, indices: &(impl Iterator<Item = usize> + Clone)) -> Self {
        let mut input = Self { vector: vector.into(), ..Self::default() };
        let mut used = 0;
        for bank in 0..BANKS {
            let mask =
                indices.clone().filter(|index| index / BANK == bank).fold(0, |mask, index| mask | 1 << (index % BANK));
            if mask != 0 {
                input.valid_banks |= 1 << bank;
                input.banks[used] = mask;
                used += 1;
            }
        }
        assert!(indices.clone().all(|index| index < MAX_VCPUS), "a VP index beyond the last vCPU's");
        input
    }
}

/// The input value of [`SEND_IPI_EX`] for a set of so many banks.
pub const fn control(banks: u32) -> u64 {
    SEND_IPI_EX | (banks as u64) << VARIABLE_HEADER
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn a_set_holds_the_banks_that_have_somebody() {
        let input = Input::new(0xE1, &[0, 63, 64, 1023].into_iter());
        assert_eq!((input.vector, input.valid_banks), (0xE1, 1 << 15 | 0b11));
        assert_eq!(input.banks[..4], [1 << 63 | 1, 1, 1 << 63, 0]);
        assert_eq!(control(input.valid_banks.count_ones()), 0x0006_0015);
        let input = Input::new(0xE1, &[130].into_iter());
        assert_eq!((input.valid_banks, input.banks[0]), (0b100, 0b100));
    }

    #[test]
    fn the_order_of_indices_does_not_matter() {
        let rising = Input::new(0xE1, &[5, 70, 300].into_iter());
        assert_eq!(Input::new(0xE1, &[300, 5, 70].into_iter()), rising);
    }

    #[test]
    fn parameters_lie_where_the_specification_has_them() {
        assert_eq!([offset_of!(Input, format), offset_of!(Input, valid_banks), offset_of!(Input, banks)], [8, 16, 24]);
    }
}
