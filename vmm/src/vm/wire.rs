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
