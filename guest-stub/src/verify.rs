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
mod tests;
