//! The contract between the guest image and the VMM: memory map, command page, samples, ports, version.
//!
//! Everything here is plain data that both sides compile. Addresses are guest-physical and equal to the guest's
//! virtual addresses (identity mapping). The VMM trusts nothing that it reads through these structures.

pub mod act;
pub mod cell;
pub mod command;
mod numbers;
mod page;
mod processor;
mod sample;

use numbers::wire_enum;
pub use numbers::*;
pub use page::*;
pub use processor::*;
pub use sample::*;

#[cfg(doc)]
use command::Command;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of the image header: `KIPIGEST` in little-endian order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"KIPIGEST");

/// Raised with every change to this file that an older image or an older VMM would misread.
pub const ABI_VERSION: u32 = 14;

/// The page size that everything here is laid out in, in bytes.
pub const PAGE: u64 = 0x1000;

// ---- Memory map -----------------------------------------------------------------------------------------

/// Real-mode start-up code. SDM Vol. 3A 10.4.3: a SIPI with vector `v` starts at `v << 12`.
pub const TRAMPOLINE: u64 = 0x8000;
/// The vector of a SIPI that starts a processor at [`TRAMPOLINE`].
pub const SIPI_VECTOR: u8 = 0x08;
/// Real-mode code that the processor tests start vCPU 1 at: one page after the other, with the same code.
pub const PROBES: u64 = 0x9000;
/// How many pages of it there are.
pub const PROBE_PAGES: u64 = 2;
/// The page where that code says how it found the processor.
pub const PROBE_RECORD: u64 = 0xB000;
/// The page where host and guest talk: a [`CommandPage`].
pub const COMMAND_PAGE: u64 = 0x1_0000;
/// The page that tells each vCPU's APIC id: [`MAX_VCPUS`] times a `u32`, by index. Written by the VMM before the guest
/// starts.
pub const APIC_IDS: u64 = 0x1_1000;
/// Where the image is linked; its first bytes are an [`ImageHeader`].
pub const IMAGE: u64 = 0x10_0000;
/// First address past what the image may occupy.
pub const IMAGE_END: u64 = 0x3F_0000;
/// One page of code that runs at CPL3.
pub const USER_TEXT: u64 = 0x3F_0000;
/// Page tables, the PML4 first. Written by the VMM before the guest starts.
pub const PAGE_TABLES: u64 = 0x40_0000;
/// First address past the page tables.
pub const PAGE_TABLES_END: u64 = 0x5F_0000;
/// A page that may be paged out: touching it is allowed below DISPATCH_LEVEL only.
pub const PAGEABLE: u64 = 0x5F_0000;
/// The area of vCPU 0; that of vCPU `i` starts `i *` [`VCPU_STRIDE`] further.
pub const VCPU_AREAS: u64 = 0x60_0000;
/// Bytes between two vCPU areas. A power of two, so that a stack pointer names its area.
pub const VCPU_STRIDE: u64 = 0x2_0000;
/// The xAPIC's registers. SDM Vol. 3A 12.4.1.
pub const XAPIC_BASE: u64 = 0xFEE0_0000;
/// A page without memory: accesses to its first four bytes exit to the VMM, which reads as zero and ignores what is written.
pub const NO_EFFECT: u64 = XAPIC_BASE + PAGE;

/// The most vCPUs the memory map has room for.
pub const MAX_VCPUS: usize = 1024;
/// All APIC ids are below it.
pub const APIC_IDS_END: u32 = 0x1000;

/// Offsets within a vCPU area. What is not named is not mapped: every stack has a guard page below it.
pub mod area {
    use super::PAGE;

    /// Bottom of the stack that IPIs enter on (IST1).
    pub const IPI_STACK: u64 = 0x1000;
    /// Top of the IPI stack, and the vCPU's private page: the entry code finds the page through its stack pointer.
    pub const PRIVATE: u64 = 0x3000;
    /// Bottom of the stack that the vCPU's own code runs on.
    pub const KERNEL_STACK: u64 = 0x5000;
    /// Top of that stack.
    pub const KERNEL_STACK_TOP: u64 = 0x9000;
    /// Bottom of the stack that faults enter on (IST3).
    pub const FAULT_STACK: u64 = 0xA000;
    /// Top of the fault stack.
    pub const FAULT_STACK_TOP: u64 = 0xB000;
    /// Bottom of the stack that NMIs enter on (IST2).
    pub const NMI_STACK: u64 = 0xC000;
    /// Top of the NMI stack.
    pub const NMI_STACK_TOP: u64 = 0xD000;
    /// The page that CPL3 may write: a [`super::UserPage`], the rest is its stack.
    pub const USER: u64 = 0xD000;
    /// The vCPU's tally: a [`super::Tally`].
    pub const TALLY: u64 = 0xE000;
    /// What the vCPU sends in a call of all processors, encoded: [`super::MAX_VCPUS`] times a `u32`.
    pub const SENDS: u64 = 0xF000;
    /// The sample ring: [`super::RING_SAMPLES`] times a [`super::Sample`].
    pub const RING: u64 = 0x1_0000;

    const _: () = assert!(IPI_STACK < PRIVATE && PRIVATE + PAGE < KERNEL_STACK);
    const _: () = assert!(KERNEL_STACK_TOP < FAULT_STACK && FAULT_STACK_TOP < NMI_STACK);
    const _: () = assert!(NMI_STACK_TOP <= USER && USER + PAGE <= TALLY && TALLY + PAGE <= SENDS);
    const _: () = assert!(SENDS + PAGE <= RING && (super::MAX_VCPUS * size_of::<u32>()) as u64 <= PAGE);
}

/// Samples that one vCPU's ring holds: the most rounds of one block.
pub const RING_SAMPLES: usize = 1024;

/// Guest-physical address of vCPU `index`'s area.
pub const fn vcpu_area(index: usize) -> u64 {
    VCPU_AREAS + index as u64 * VCPU_STRIDE
}

/// Bytes of guest memory that `vcpus` vCPUs need.
pub const fn memory_size(vcpus: usize) -> u64 {
    vcpu_area(vcpus)
}

const _: () = assert!((SIPI_VECTOR as u64) << 12 == TRAMPOLINE);
const _: () = assert!(TRAMPOLINE + PAGE <= PROBES && PROBES + PROBE_PAGES * PAGE <= PROBE_RECORD);
// Real mode reaches the record by an offset of 16 bits from address zero.
const _: () = assert!(PROBE_RECORD + PAGE <= COMMAND_PAGE && PROBE_RECORD + PAGE <= 0x1_0000);
const _: () = assert!(COMMAND_PAGE + PAGE <= APIC_IDS && APIC_IDS + PAGE <= IMAGE);
const _: () = assert!(IMAGE < IMAGE_END && IMAGE_END <= USER_TEXT && USER_TEXT + PAGE <= PAGE_TABLES);
const _: () =
    assert!(PAGE_TABLES_END <= PAGEABLE && PAGEABLE + PAGE <= VCPU_AREAS && memory_size(MAX_VCPUS) <= XAPIC_BASE);
const _: () = assert!(VCPU_STRIDE.is_power_of_two() && VCPU_AREAS.is_multiple_of(VCPU_STRIDE));
const _: () = assert!(area::RING + (RING_SAMPLES * size_of::<Sample>()) as u64 <= VCPU_STRIDE);

// ---- Ports ----------------------------------------------------------------------------------------------

/// vCPU 0 writes here when it has nothing to do; the VMM returns with the next [`Command`] in the command page.
pub const PORT_DOORBELL: u16 = 0x6B00;
/// An observed worker's first act: a write here, of the call's generation, whose exit the VMM stamps.
pub const PORT_OBSERVE: u16 = 0x6B04;
/// A vCPU that has waited for a while writes here, if [`Boot::yield_cpu`] says so.
pub const PORT_YIELD: u16 = 0x6B0C;
/// A [`Step`](crate::rendezvous::Step) of a stepped call has been taken: a write of its number.
pub const PORT_STEP: u16 = 0x6B10;
/// The message doorbell: a write of [`msi::encode`](crate::msi::encode)'s word asks the VMM for an interrupt.
pub const PORT_MSI: u16 = 0x6B14;
/// The rounds of a block that count begin, or have ended: the VMM reads KVM's counters of halted vCPUs.
pub const PORT_MARK: u16 = 0x6B18;
/// A vCPU in state `out` writes here: the VMM keeps it out of the guest for as many TSC cycles as the word says.
pub const PORT_OUT: u16 = 0x6B1C;
/// Reads as zero, and what is written is ignored: an exit to the VMM and nothing else.
pub const PORT_NO_EFFECT: u16 = 0x6B20;
/// What is written here ends in KVM (KVM_IOEVENTFD) once the VMM has asked for it; otherwise as [`PORT_NO_EFFECT`].
pub const PORT_IN_KVM: u16 = 0x6B24;
/// A vCPU waits for another one outside of the guest: a write of the address of a word of 32 bits, which lies in guest memory. The VMM
/// returns when the word is no longer [`UserPage::parked_while`], or after a while; the vCPU looks for itself.
pub const PORT_PARK: u16 = 0x6B28;
/// Whoever waits so for a word, by a write of its address, is to look: it has been changed.
pub const PORT_UNPARK: u16 = 0x6B2C;
/// A vCPU that found a broken rule writes here once, after it has filled in [`CommandPage::bug_check`].
pub const PORT_BUG_CHECK: u16 = 0x6B08;

// ---- Interrupt vectors and IRQL ---------------------------------------------------------------------------

/// The vector of the broadcast call: class 14, IPI_LEVEL.
pub const VECTOR_IPI: u8 = 0xE1;
/// The vector of stepped calls: the same class.
pub const VECTOR_IPI_STEPPED: u8 = 0xE2;
/// The vector of pings: the broadcast call's class, so that whatever holds one back holds the other back, too.
pub const VECTOR_PING: u8 = 0xE3;
/// A device's vector, which kipi's VMM raises: class 5.
pub const VECTOR_DEVICE: u8 = 0x51;
/// A vector above IPI_LEVEL, class 15, whose handler sends an interrupt itself.
pub const VECTOR_SENDER: u8 = 0xF1;
/// A vector whose handler lowers its TPR before its EOI, while a lower interrupt waits: class 6.
pub const VECTOR_MASKER: u8 = 0x61;
/// The vector of an [`Act`](act::Act)'s own interrupt: class 3.
pub const VECTOR_ACT: u8 = 0x3F;
/// The vector that gets a halted vCPU to look at the command page: class 2.
pub const VECTOR_WAKE: u8 = 0x2F;
/// The vector that spurious interrupts of the local APIC arrive on.
pub const VECTOR_SPURIOUS: u8 = 0xFF;
/// The IRQL that workers run at. CR8 holds it; vector class 14 is masked by it.
pub const IPI_LEVEL: u8 = VECTOR_IPI >> 4;
/// From this IRQL on, memory that may be paged out must not be touched.
pub const DISPATCH_LEVEL: u8 = 2;

const _: () = assert!(VECTOR_IPI >> 4 == VECTOR_IPI_STEPPED >> 4 && VECTOR_IPI >> 4 == VECTOR_PING >> 4);

// ---- Image header -----------------------------------------------------------------------------------------

/// What the VMM reads at [`IMAGE`] before it runs anything.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ImageHeader {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`ABI_VERSION`] as the image was built.
    pub abi_version: u32,
    /// Zero.
    pub reserved: u32,
    /// Start of executable pages; what lies before it in the image is read-only.
    pub text_start: u64,
    /// Start of writable pages, and end of the executable ones.
    pub data_start: u64,
    /// First address past the writable pages, zero-initialised data included.
    pub data_end: u64,
    /// Where a processor other than vCPU 0 enters the image in long mode, on its own stack, with its index in RDI: for whoever has
    /// a trampoline of its own.
    pub join: u64,
}
