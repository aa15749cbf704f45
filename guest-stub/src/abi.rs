//! The contract between the guest image and the VMM: memory map, command page, samples, ports, version.
//!
//! Everything here is plain data that both sides compile. Addresses are guest-physical and equal to the guest's
//! virtual addresses (identity mapping). The VMM trusts nothing that it reads through these structures.

use core::mem::{offset_of, size_of};

/// First bytes of the image header: `KIPIGEST` in little-endian order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"KIPIGEST");

/// Raised with every change to this file that an older image or an older VMM would misread.
pub const ABI_VERSION: u32 = 1;

/// The page size that everything here is laid out in, in bytes.
pub const PAGE: u64 = 0x1000;

// ---- Memory map -----------------------------------------------------------------------------------------

/// Real-mode start-up code. SDM Vol. 3A 10.4.3: a SIPI with vector `v` starts at `v << 12`.
pub const TRAMPOLINE: u64 = 0x8000;
/// The vector of a SIPI that starts a processor at [`TRAMPOLINE`].
pub const SIPI_VECTOR: u8 = 0x08;
/// The page where host and guest talk: a [`CommandPage`].
pub const COMMAND_PAGE: u64 = 0x1_0000;
/// Where the image is linked; its first bytes are an [`ImageHeader`].
pub const IMAGE: u64 = 0x10_0000;
/// First address past what the image may occupy.
pub const IMAGE_END: u64 = 0x18_0000;
/// One page of code that runs at CPL3.
pub const USER_TEXT: u64 = 0x18_0000;
/// Page tables, the PML4 first. Written by the VMM before the guest starts.
pub const PAGE_TABLES: u64 = 0x20_0000;
/// First address past the page tables.
pub const PAGE_TABLES_END: u64 = 0x40_0000;
/// The area of vCPU 0; that of vCPU `i` starts `i *` [`VCPU_STRIDE`] further.
pub const VCPU_AREAS: u64 = 0x40_0000;
/// Bytes between two vCPU areas. A power of two, so that a stack pointer names its area.
pub const VCPU_STRIDE: u64 = 0x2_0000;
/// The xAPIC's registers. SDM Vol. 3A 12.4.1.
pub const XAPIC_BASE: u64 = 0xFEE0_0000;

/// The most vCPUs the memory map has room for.
pub const MAX_VCPUS: usize = 1024;

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
    /// The sample ring: [`super::RING_SAMPLES`] times a [`super::Sample`].
    pub const RING: u64 = 0x1_0000;

    const _: () = assert!(IPI_STACK < PRIVATE && PRIVATE + PAGE < KERNEL_STACK);
    const _: () = assert!(KERNEL_STACK_TOP < FAULT_STACK && FAULT_STACK_TOP < NMI_STACK);
    const _: () = assert!(NMI_STACK_TOP <= USER && USER + PAGE < RING);
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
const _: () = assert!(TRAMPOLINE + PAGE <= COMMAND_PAGE && COMMAND_PAGE + PAGE <= IMAGE);
const _: () = assert!(IMAGE < IMAGE_END && IMAGE_END <= USER_TEXT && USER_TEXT + PAGE <= PAGE_TABLES);
const _: () = assert!(PAGE_TABLES_END <= VCPU_AREAS && memory_size(MAX_VCPUS) <= XAPIC_BASE);
const _: () = assert!(VCPU_STRIDE.is_power_of_two() && VCPU_AREAS.is_multiple_of(VCPU_STRIDE));
const _: () = assert!(area::RING + (RING_SAMPLES * size_of::<Sample>()) as u64 <= VCPU_STRIDE);

// ---- Ports ----------------------------------------------------------------------------------------------

/// vCPU 0 writes here when it has nothing to do; the VMM returns with the next [`Command`] in the command page.
pub const PORT_DOORBELL: u16 = 0x6B00;
/// An observed worker's first act: a write here, of the call's generation, whose exit the VMM stamps.
pub const PORT_OBSERVE: u16 = 0x6B04;
/// A vCPU that has waited for a while writes here, if [`Boot::yield_cpu`] says so.
pub const PORT_YIELD: u16 = 0x6B0C;
/// A vCPU that found a broken rule writes here once, after it has filled in [`CommandPage::bug_check`].
pub const PORT_BUG_CHECK: u16 = 0x6B08;

// ---- Interrupt vectors and IRQL ---------------------------------------------------------------------------

/// The vector of the broadcast call: class 14, IPI_LEVEL.
pub const VECTOR_IPI: u8 = 0xE1;
/// The vector that gets a halted vCPU to look at the command page: class 2.
pub const VECTOR_WAKE: u8 = 0x2F;
/// The vector that spurious interrupts of the local APIC arrive on.
pub const VECTOR_SPURIOUS: u8 = 0xFF;
/// The IRQL that workers run at. CR8 holds it; vector class 14 is masked by it.
pub const IPI_LEVEL: u8 = VECTOR_IPI >> 4;

// ---- Image header -----------------------------------------------------------------------------------------

/// What the VMM reads at [`IMAGE`] before it runs anything.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

// ---- Enumerations -----------------------------------------------------------------------------------------

/// Declares an enumeration whose numbers cross the ABI, with the check that a received number is one of them, and the
/// name that people read and type.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $value:literal $text:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant = $value),+ }

        impl $name {
            /// Every variant, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The variant that `value` stands for, or `None` for a number that the ABI does not know.
            pub const fn from_wire(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)+ _ => None }
            }

            /// The variant's name in output and on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

wire_enum! {
    /// What the VMM asks vCPU 0 to do.
    Operation {
        /// Run a block of rounds.
        Block = 1 "block",
        /// Measure the instruments: time-stamp reads and observed exits, on vCPU 0.
        Calibrate = 2 "calibrate",
        /// Exchange time stamps with one other vCPU.
        ClockExchange = 3 "clock-exchange",
    }
}

wire_enum! {
    /// How the interrupt travels.
    Route {
        /// A write to the memory-mapped ICR.
        XApic = 1 "xapic",
        /// A write to the ICR's MSR.
        X2Apic = 2 "x2apic",
        /// No interrupt: the targets poll a cache line.
        Memory = 3 "memory",
    }
}

wire_enum! {
    /// How the targets are addressed.
    Destination {
        /// The shorthand that leaves out the sender.
        AllButSelf = 1 "all-but-self",
        /// The shorthand that includes the sender.
        All = 2 "all",
        /// One send for each target, by its APIC id.
        Unicast = 3 "unicast",
    }
}

wire_enum! {
    /// What a target does when the interrupt arrives.
    TargetState {
        /// A busy loop at CPL0.
        Spin = 1 "spin",
        /// A busy loop at CPL3.
        User = 2 "user",
        /// HLT.
        Halt = 3 "halt",
    }
}

wire_enum! {
    /// The worker of a broadcast call.
    Worker {
        /// Returns at once: `argument + vcpu index`.
        Stamp = 1 "stamp",
        /// Busy for `argument` TSC cycles, then as [`Worker::Stamp`].
        Spin = 2 "spin",
        /// Executes UD2 on the last vCPU: what a faulting worker looks like.
        Fault = 3 "fault",
        /// Never returns on the last vCPU: what an overstaying worker looks like.
        Hang = 4 "hang",
    }
}

wire_enum! {
    /// How an operation ended.
    Status {
        /// As asked.
        Done = 1 "done",
        /// A broadcast call was aborted: [`Report::missing`] names the vCPUs that never arrived.
        Aborted = 2 "call aborted",
        /// A vCPU did not get ready for the next round in time; `missing` names them.
        NotReady = 3 "target not ready",
        /// A vCPU did not start, or did not come back at the end of a block; `missing` names them.
        NotResponding = 4 "vCPU not responding",
        /// The guest does not know what it was asked.
        BadCommand = 5 "bad command",
    }
}

wire_enum! {
    /// The rule that was broken when the guest stopped with a bug check.
    Rule {
        /// An exception that nobody expected.
        Exception = 1 "exception",
        /// A Rust panic in the guest.
        Panic = 2 "guest panic",
        /// A worker ran past the call's deadline.
        WorkerOverstayed = 3 "worker overstayed its deadline",
        /// An interrupt on a vector that nobody uses.
        UnexpectedInterrupt = 4 "unexpected interrupt",
    }
}

// ---- Command page -----------------------------------------------------------------------------------------

/// What the guest must know before its first instruction.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Boot {
    /// Number of vCPUs; their APIC ids are `0..vcpus`.
    pub vcpus: u32,
    /// 1 if the local APICs are to start in x2APIC mode.
    pub x2apic: u32,
    /// How long to wait for the other processors, in TSC cycles.
    pub deadline: u64,
    /// 1 if a processor that has to wait for long is to give its CPU away, by [`PORT_YIELD`]: where vCPUs share CPUs,
    /// the one that is waited for needs it.
    pub yield_cpu: u32,
    /// Zero.
    pub reserved: u32,
}

/// One thing to do. Which fields count depends on the operation.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Command {
    /// [`Operation`].
    pub operation: u32,
    /// [`Route`].
    pub route: u32,
    /// [`Destination`].
    pub destination: u32,
    /// [`TargetState`].
    pub target_state: u32,
    /// [`Worker`].
    pub worker: u32,
    /// 1 if the worker's first act is to be an exit to the VMM.
    pub observe: u32,
    /// Rounds of the block, time-stamp pairs or exchanges: at most [`RING_SAMPLES`].
    pub rounds: u32,
    /// The other vCPU of a [`Operation::ClockExchange`].
    pub partner: u32,
    /// The worker's argument.
    pub argument: u64,
    /// TSC cycles between the targets' readiness and the send; how long a [`Operation::ClockExchange`] lasts.
    pub settle: u64,
    /// TSC cycles after which a call is given up; it is sent again after half of them.
    pub deadline: u64,
}

/// Words of a processor mask.
pub const MASK_WORDS: usize = MAX_VCPUS / 64;

/// What the guest says when it rings the doorbell.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// [`Status`].
    pub status: u32,
    /// Rounds that completed, this one excluded if it failed.
    pub rounds: u32,
    /// Generation of the call that failed, if one did.
    pub generation: u32,
    /// Sends that were repeated because somebody had not arrived after half the deadline.
    pub resent: u32,
    /// Interrupts that no open call had asked for, over all vCPUs of the block.
    pub duplicate: u32,
    /// Interrupts that came when their call had been given up, over all vCPUs of the block.
    pub late: u32,
    /// Bit `i` set: vCPU `i` is what was waited for in vain.
    pub missing: [u64; MASK_WORDS],
}

/// Longest message of a [`BugCheck`], in bytes.
pub const MESSAGE_BYTES: usize = 120;

/// A broken rule: what it was, and where.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BugCheck {
    /// [`Rule`]; zero while all is well.
    pub rule: u32,
    /// The vCPU that found it.
    pub vcpu: u32,
    /// Exception vector, or the unexpected interrupt's.
    pub vector: u32,
    /// IRQL at that moment.
    pub irql: u32,
    /// The exception's error code, or zero.
    pub error_code: u64,
    /// Where it happened.
    pub rip: u64,
    /// The stack pointer there.
    pub rsp: u64,
    /// CR2, of use with a page fault.
    pub cr2: u64,
    /// The call's generation, or zero outside a call.
    pub generation: u32,
    /// Bytes of `message` that count.
    pub message_len: u32,
    /// A panic's message, in UTF-8.
    pub message: [u8; MESSAGE_BYTES],
}

/// The page at [`COMMAND_PAGE`]. Each part has one writer; a doorbell exit hands the page over.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandPage {
    /// Written by the VMM before the guest starts.
    pub boot: Boot,
    /// Written by the VMM while vCPU 0 is in its doorbell exit.
    pub command: Command,
    /// Written by vCPU 0 before it rings the doorbell.
    pub report: Report,
    /// Written by the first vCPU that finds a broken rule.
    pub bug_check: BugCheck,
}

const _: () = assert!(size_of::<CommandPage>() as u64 <= PAGE);
const _: () = assert!(offset_of!(CommandPage, command) == 24);
const _: () = assert!(offset_of!(CommandPage, report) == 80);
const _: () = assert!(offset_of!(CommandPage, bug_check) == 232);
const _: () = assert!(
    size_of::<Boot>() == 24 && size_of::<Command>() == 56 && size_of::<Report>() == 152 && size_of::<BugCheck>() == 176
);

// ---- Samples ------------------------------------------------------------------------------------------------

/// One vCPU's stamps of one round, one cache line. Time stamps are the guest's TSC; zero: not taken.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// The generation of the round's call.
    pub generation: u32,
    /// [`sample_flags`].
    pub flags: u32,
    /// Initiator: before the send.
    pub t0: u64,
    /// Initiator: after the send.
    pub t1: u64,
    /// Target: first instructions of the interrupt entry.
    pub a: u64,
    /// Participant: worker start.
    pub w: u64,
    /// Participant: worker end.
    pub x: u64,
    /// Initiator: every completion seen.
    pub t2: u64,
    /// What the worker returned.
    pub result: u64,
}

/// Bits of [`Sample::flags`].
pub mod sample_flags {
    /// The interrupt found the vCPU in HLT.
    pub const FROM_HALT: u32 = 1 << 0;
    /// The interrupt found the vCPU at CPL3.
    pub const FROM_USER: u32 = 1 << 1;
    /// This vCPU was the call's initiator.
    pub const INITIATOR: u32 = 1 << 2;
    /// The call was sent again: somebody had not arrived after half the deadline.
    pub const RESENT: u32 = 1 << 3;
}

const _: () = assert!(size_of::<Sample>() == 64);
const _: () = assert!(offset_of!(Sample, result) == 56);

// ---- Per-vCPU pages -------------------------------------------------------------------------------------------

/// The start of a vCPU's user page, one cache line for each writer.
#[repr(C)]
#[derive(Debug)]
pub struct UserPage {
    /// Rounds served, written by the interrupt handler; on vCPU 0, calls completed: the VMM's watchdog looks here.
    pub handled: u32,
    /// Not zero: leave the state. Written by vCPU 0.
    pub stop: u32,
    /// Unused.
    pub padding0: [u32; 14],
    /// `handled` as last seen by the state's own loop: the vCPU is back in its state. Written by that loop.
    pub ready: u32,
    /// Unused.
    pub padding1: [u32; 15],
    /// Clock exchange: the number of the request. Written by vCPU 0.
    pub ping: u64,
    /// Unused.
    pub padding2: [u64; 7],
    /// Clock exchange: the partner's stamp. Written by the partner before `pong`.
    pub stamp: u64,
    /// Clock exchange: the number of the answer. Written by the partner.
    pub pong: u64,
}

const _: () = assert!(offset_of!(UserPage, ready) == 64);
const _: () = assert!(offset_of!(UserPage, ping) == 128);
const _: () = assert!(offset_of!(UserPage, stamp) == 192);
const _: () = assert!(offset_of!(UserPage, pong) == 200);
