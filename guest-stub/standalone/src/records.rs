//! What the standalone image writes about a run: [`Record`]s, which [`lines`](crate::lines) puts on the serial line.
//!
//! The encoding is postcard's: variants are numbered in their order here, integers are varints, texts and lists begin with their
//! length. A change that an older reader would misread raises [`RECORDS_VERSION`].

mod packed;

pub use packed::{BATCH, Packed, in_batches, unpack};
use serde::{Deserialize, Serialize};

/// The version of this file, as [`RecordOf::Start`] gives it.
pub const RECORDS_VERSION: u32 = 2;

/// Bytes that the texts of one record may have together to fit on a line, whatever its numbers are.
pub const TEXT_BYTES: usize = 400;

/// The most differences that [`RecordOf::Stamps`] or [`RecordOf::Instructions`] has.
pub const DIFFERENCES: usize = 16;

/// A record as the image writes it.
pub type Record<'a> = RecordOf<&'a str, &'a [u64], &'a [Packed]>;

/// A record as it is read from a log.
#[cfg(any(test, feature = "host"))]
pub type OwnedRecord = RecordOf<alloc::string::String, alloc::vec::Vec<u64>, alloc::vec::Vec<Packed>>;

/// Something that is said about a run. Both sides' types are this one, so that they have one encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordOf<Text, Differences, Samples> {
    /// A run begins.
    Start {
        /// [`RECORDS_VERSION`] as the image was built.
        abi: u32,
        /// kipi's version.
        version: Text,
        /// How the image was started: `pvh`, `multiboot2` or `efi`.
        door: Text,
        /// The command line as it was given, cut off where it is too long ([`clip`]).
        command_line: Text,
    },
    /// What the image runs on.
    Platform {
        /// The processor's brand string (CPUID 80000002H to 80000004H).
        cpu: Text,
        /// The hypervisor's signature (CPUID 40000000H); empty: there is none, this is bare metal.
        hypervisor: Text,
        /// Processors that the firmware's tables list.
        listed: u32,
        /// Processors that were started.
        processors: u32,
        /// Whether the local APICs have x2APIC mode (CPUID.01H:ECX bit 21).
        x2apic: bool,
        /// Usable memory in KiB.
        memory_kib: u64,
    },
    /// The frequency of the time stamp counter.
    Tsc {
        /// In kHz.
        khz: u64,
        /// How far it may be off, in parts per million; zero where it is enumerated, not measured.
        error_ppm: u32,
        /// Where it is from.
        source: Text,
    },
    /// What is the same for all cells.
    Plan {
        /// Processors that take part.
        vcpus: u32,
        /// Rounds of each cell that count.
        rounds: u32,
        /// Rounds before those of each block, which do not.
        warmup: u32,
        /// Blocks that each cell is divided into.
        blocks: u32,
        /// [`Worker`](guest_stub::abi::Worker).
        worker: u32,
        /// The worker's argument.
        argument: u64,
        /// Time between the targets' readiness and the send, in ns.
        settle_ns: u64,
        /// Time after which a call is given up, in ms.
        deadline_ms: u32,
    },
    /// A cell that is measured. The names are those of [`guest_stub::abi`].
    Cell {
        /// What blocks call it by: cells are numbered from zero.
        number: u32,
        /// [`Call`](guest_stub::abi::cell::Call).
        call: Text,
        /// [`Route`](guest_stub::abi::cell::Route).
        route: Text,
        /// [`Destination`](guest_stub::abi::Destination).
        destination: Text,
        /// [`TargetState`](guest_stub::abi::TargetState).
        state: Text,
    },
    /// A cell that was asked for and is not measured.
    Skipped {
        /// As in [`RecordOf::Cell`].
        call: Text,
        /// As in [`RecordOf::Cell`].
        route: Text,
        /// As in [`RecordOf::Cell`].
        destination: Text,
        /// As in [`RecordOf::Cell`].
        state: Text,
        /// Why not.
        reason: Text,
    },
    /// Of all time stamps that vCPU 0 has exchanged with another one, those with the shortest round trip.
    Exchange {
        /// The other vCPU.
        partner: u32,
        /// How many exchanges were made.
        made: u32,
        /// vCPU 0's TSC before its request.
        sent: u64,
        /// The partner's TSC at its answer.
        answered: u64,
        /// vCPU 0's TSC after it has seen the answer.
        received: u64,
    },
    /// What reading the TSC costs: differences of two stamps in a row, in cycles.
    Stamps {
        /// At most [`DIFFERENCES`].
        differences: Differences,
    },
    /// What [`TIMED_INSTRUCTIONS`](guest_stub::abi::command::TIMED_INSTRUCTIONS) guest instructions at CPL0 take, in cycles.
    Instructions {
        /// At most [`DIFFERENCES`].
        differences: Differences,
    },
    /// A block has ended: the guest's report of it. Its samples follow.
    Block {
        /// Blocks are numbered from zero, in the order in which they are run.
        number: u32,
        /// [`RecordOf::Cell`]'s number.
        cell: u32,
        /// Which of its cell's blocks this is, from zero.
        turn: u32,
        /// [`Status`](guest_stub::abi::Status).
        status: u32,
        /// Rounds completed, those of the warm-up included.
        rounds: u32,
        /// The generation of the last call.
        generation: u32,
        /// Calls that were sent again.
        resent: u32,
        /// Interrupts that found their call served already.
        duplicate: u32,
        /// Interrupts that came after their call had been given up.
        late: u32,
        /// The first vCPU that did not arrive, if some did not.
        missing: Option<u32>,
        /// How many did not.
        missing_count: u32,
    },
    /// What one vCPU has stamped in some rounds of a block.
    Samples {
        /// [`RecordOf::Block`]'s number.
        block: u32,
        /// The vCPU.
        vcpu: u32,
        /// The first of the rounds; those of the warm-up count here.
        first: u32,
        /// One for each round from there on, at most [`BATCH`]; see [`unpack`].
        samples: Samples,
    },
    /// Something for people: a bug check, an error.
    Text {
        /// One line.
        text: Text,
    },
    /// The run is over, and everything has been written.
    End {
        /// How many blocks there were.
        blocks: u32,
    },
}

/// The beginning of `text`, of at most `most` bytes and whole characters.
pub fn clip(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
pub(crate) mod tests;
