//! An address of the guest in words.

use crate::vm::image;

/// The number, and the function if the image tells.
pub(super) fn place(image: &[u8], rip: u64) -> String {
    match image::symbolise(image, rip) {
        Some(name) => format!("RIP {rip:#x} <{name}>"),
        None => format!("RIP {rip:#x}"),
    }
}
