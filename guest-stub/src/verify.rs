//! What workers that look at the contract return: a value that names call, initiator and processor.

/// An argument that carries the initiator and the call's number.
pub const fn argument(initiator: u32, number: u32) -> u64 {
    (initiator as u64) << 32 | number as u64
}

/// The initiator of a call with this argument.
pub const fn initiator_of(argument: u64) -> usize {
    (argument >> 32) as usize
}

/// What the worker of `argument` returns on processor `index`.
pub const fn result_of(argument: u64, index: usize) -> u64 {
    argument.rotate_left(17) ^ (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_calls_or_processors_have_the_same_result() {
        let mut results = [0; 64];
        for (place, result) in (0_u32..).zip(&mut results) {
            let (initiator, number, index) = (place / 16, place / 4 % 4, place as usize % 4);
            let argument = argument(initiator, number);
            assert_eq!(initiator_of(argument), initiator as usize);
            *result = result_of(argument, index);
        }
        results.sort_unstable();
        assert!(results.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
