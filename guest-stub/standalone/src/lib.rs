//! What the standalone image and `kipi import` share, and what of the image can be tested on the host.

#![no_std]
#![warn(missing_docs)]

#[cfg(any(test, feature = "host"))]
extern crate alloc;

pub mod acpi;
pub mod boot;
pub mod efi;
pub mod lines;
pub mod memory;
pub mod multiboot2;
pub mod plan;
pub mod pvh;
pub mod records;
pub mod schedule;
