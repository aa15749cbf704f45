//! One boot of the image, as a log tells of it: from its first record to the next boot's, or the log's end.

use super::faults::Faults;
use crate::config::CellId;
use crate::events::clock::Exchange;
use crate::guest::recorded::RecordedBlock;
use crate::results::measurement::Skipped;
use guest_stub::abi::Worker;
use std::collections::BTreeMap;
use std::time::Duration;

/// A boot of which enough is whole to measure by.
#[derive(Debug, Clone, PartialEq)]
pub struct Boot {
    /// The log line that it begins on.
    pub line: usize,
    /// What the image says of itself.
    pub image: Image,
    /// What it ran on.
    pub platform: Platform,
    /// The frequency of its time stamp counter.
    pub tsc: Tsc,
    /// What is the same for all cells.
    pub plan: Plan,
    /// The cells, by their number.
    pub cells: BTreeMap<u32, CellId>,
    /// Cells that were asked for and were not measured.
    pub skipped: Vec<Skipped>,
    /// Of each vCPU that has exchanged stamps with vCPU 0, how many, and the exchange with the shortest round trip.
    pub exchanges: BTreeMap<usize, (usize, Exchange)>,
    /// Differences of two stamps in a row, in cycles.
    pub stamps: Vec<i64>,
    /// What [`TIMED_INSTRUCTIONS`](guest_stub::abi::command::TIMED_INSTRUCTIONS) took, in cycles.
    pub instructions: Vec<i64>,
    /// The whole blocks, by cell and turn.
    pub blocks: BTreeMap<(CellId, u32), BootBlock>,
    /// What the image has told people of: a bug check, an error.
    pub texts: Vec<String>,
    /// How it ended.
    pub end: End,
    /// What the log lacks of it.
    pub faults: Faults,
}

/// A block, and how many vCPUs were silent, if one of its calls was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootBlock {
    /// The first silent vCPU alone is among the missing of its report.
    pub block: RecordedBlock,
    /// All silent vCPUs.
    pub silent: u32,
}

/// How a boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All of its blocks were run.
    Complete,
    /// The image has ended it before that: the last of its texts says why.
    GaveUp,
    /// The log says nothing of its end.
    Unknown,
}

/// An image, and how it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Version of kipi.
    pub version: String,
    /// `pvh`, `multiboot2` or `efi`.
    pub door: String,
    /// The plan as it was asked for.
    pub command_line: String,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The processor's brand string.
    pub cpu: String,
    /// The hypervisor's signature; `None`: bare metal.
    pub hypervisor: Option<String>,
    /// Processors that the firmware lists.
    pub listed: u32,
    /// Processors that were started.
    pub processors: u32,
    /// The local APICs have x2APIC mode.
    pub x2apic: bool,
}

/// A frequency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tsc {
    /// In kHz.
    pub khz: u64,
    /// How far it may be off, in parts per million.
    pub error_ppm: u32,
    /// Where it is from.
    pub source: String,
}

/// What was to be measured of each cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Processors that take part.
    pub vcpus: usize,
    /// Rounds of each cell that count.
    pub rounds: usize,
    /// Rounds before those of each block.
    pub warmup: usize,
    /// Blocks of each cell.
    pub blocks: u32,
    /// What runs on each vCPU.
    pub worker: Worker,
    /// Its argument.
    pub argument: u64,
    /// Time between the targets' readiness and the send.
    pub settle: Duration,
    /// Time after which a call is given up.
    pub deadline: Duration,
}

impl Boot {
    /// Whether another boot measures the same on the same machine, so that both are one run.
    pub(super) fn is_of_same_run(&self, other: &Self) -> bool {
        let agrees = |(number, cell)| other.cells.get(number).is_none_or(|same| same == cell);
        self.image == other.image
            && self.platform == other.platform
            && self.plan == other.plan
            && self.cells.iter().all(agrees)
    }
}
