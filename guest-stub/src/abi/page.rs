//! The command page: what host and guest tell each other.

use super::command::Command;
use super::{MAX_VCPUS, PAGE};
#[cfg(doc)]
use super::{PORT_BUG_CHECK, PORT_DOORBELL, PORT_YIELD, Rule, Status, Worker};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the guest must know before its first instruction.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
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
    /// 1 if the machine has Hyper-V's interface, and not KVM's.
    pub hyperv: u32,
    /// Address of the page-table entry of [`PAGEABLE`](super::PAGEABLE).
    pub pageable_entry: u64,
    /// Address of a [`Bell`], which is called where [`PORT_DOORBELL`] or [`PORT_BUG_CHECK`] would be written; zero: there is a VMM.
    pub bell: u64,
    /// TSC cycles that a processor needs between INIT and SIPI: 10 ms on hardware (SDM Vol. 3A 10.4.4.1).
    pub init_wait: u64,
    /// The vector of a SIPI that starts the other processors: [`SIPI_VECTOR`](super::SIPI_VECTOR), or that of another trampoline.
    pub sipi_vector: u32,
    /// Zero.
    pub reserved: u32,
}

/// What does, in a VMM's place, what it would do when a value is written to a port. It returns when the guest is to go on.
pub type Bell = unsafe extern "sysv64" fn(port: u32, value: u32, at_cpl3: AtCpl3);
/// Runs code at CPL3, on the stack that it is given the end of, until the code executes UD2, and returns its R8: some hypervisors emulate
/// CPL0, which takes its time. What the code touches is mapped for CPL3.
pub type AtCpl3 = unsafe extern "sysv64" fn(code: unsafe extern "C" fn(), stack: u64) -> u64;

/// Words of a processor mask.
pub const MASK_WORDS: usize = MAX_VCPUS / 64;
/// A set of processors: bit `i % 64` of word `i / 64` stands for vCPU `i`.
pub type Mask = [u64; MASK_WORDS];

/// What the guest says when it rings the doorbell.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
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
    /// The vCPUs that did not arrive, or were not ready, in time.
    pub missing: Mask,
}

impl Report {
    /// Of no operation.
    pub const NOTHING: Self =
        Self { status: 0, rounds: 0, generation: 0, resent: 0, duplicate: 0, late: 0, missing: [0; MASK_WORDS] };
}

/// Longest message of a [`BugCheck`], in bytes.
pub const MESSAGE_BYTES: usize = 120;

/// A broken rule: what it was, and where.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
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

/// Callers that the host may have at once, each with a packet of its own.
pub const HOST_CALLERS: usize = 8;
/// The host's first caller as an initiator: the number after the last processor's.
pub const HOST_INITIATOR: usize = MAX_VCPUS;
/// Numbers of workers that there can be.
pub const WORKERS: usize = 16;

/// Where the host finds what its own calls need. Written by vCPU 0 before its first doorbell, and not trusted.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct HostCalls {
    /// Address of [`MAX_VCPUS`] [`Slot`](crate::rendezvous::Slot)s.
    pub slots: u64,
    /// Address of [`HOST_CALLERS`] [`Packet`](crate::rendezvous::Packet)s.
    pub packets: u64,
    /// Address of the [`Generations`](crate::rendezvous::Generations).
    pub generations: u64,
    /// Zero.
    pub reserved: u64,
    /// The function of each [`Worker`], by its number.
    pub workers: [u64; WORKERS],
    /// The same, each beginning with an exit.
    pub observed_workers: [u64; WORKERS],
}

/// What a processor test has found.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Findings {
    /// Rounds that were made, wrong ones too. Zero: this processor has not got what the test is about.
    pub rounds: u32,
    /// Rounds that went wrong.
    pub wrong: u32,
    /// The first thing that went wrong: an [`Observation`](super::Observation), if `wrong` is not zero.
    pub observation: u32,
    /// Zero.
    pub reserved: u32,
    /// What it should have been.
    pub expected: u64,
    /// What it was.
    pub seen: u64,
}

/// The page at [`COMMAND_PAGE`](super::COMMAND_PAGE). Each part has one writer; a doorbell exit hands the page over.
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
    /// Of the guest, for the host's calls.
    pub host_calls: HostCalls,
    /// Whom each caller of the host calls. Written by the host before its request.
    pub host_members: [Mask; HOST_CALLERS],
    /// Of a processor test. Written by vCPU 0 before it rings the doorbell.
    pub findings: Findings,
}

const _: () = assert!(size_of::<CommandPage>() as u64 <= PAGE);
const _: () = assert!(offset_of!(CommandPage, command) == 56);
const _: () = assert!(offset_of!(CommandPage, report) == 408);
const _: () = assert!(offset_of!(CommandPage, bug_check) == 560);
const _: () = assert!(offset_of!(CommandPage, host_calls) == 736 && offset_of!(CommandPage, host_members) == 1024);
const _: () = assert!(offset_of!(CommandPage, findings) == 2048);
const _: () = assert!(
    size_of::<Boot>() == 56
        && size_of::<Report>() == 152
        && size_of::<BugCheck>() == 176
        && size_of::<HostCalls>() == 288
        && size_of::<Findings>() == 32
);
