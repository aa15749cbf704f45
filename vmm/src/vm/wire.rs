//! The ABI's structures as guest memory holds them.

use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The structure at `address`.
///
/// # Errors
/// [`GuestMemoryError`] if it does not lie in guest memory.
pub fn read<T: FromBytes + IntoBytes>(memory: &GuestMemoryMmap, address: GuestAddress) -> Result<T, GuestMemoryError> {
    let mut value = T::new_zeroed();
    memory.read_slice(value.as_mut_bytes(), address)?;
    Ok(value)
}

/// Writes a structure to `address`.
///
/// # Errors
/// As [`read`].
pub fn write<T: IntoBytes + Immutable>(
    memory: &GuestMemoryMmap,
    value: &T,
    address: GuestAddress,
) -> Result<(), GuestMemoryError> {
    memory.write_slice(value.as_bytes(), address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_stub::abi::command::{Command, Spray};

    #[test]
    fn what_is_written_is_read_and_nothing_lies_outside_of_memory() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        let command = Command::new(&Spray { route: 2, seed: 7, duration: u64::MAX });
        write(&memory, &command, GuestAddress(0x10)).unwrap();
        assert_eq!(read::<Command>(&memory, GuestAddress(0x10)).unwrap(), command);
        assert!(read::<Command>(&memory, GuestAddress(0xFF0)).is_err());
        assert!(write(&memory, &command, GuestAddress(0xFF0)).is_err());
    }
}
