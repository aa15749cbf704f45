//! What a block of rounds is of.

use crate::config::CellId;
use crate::config::routes;
use crate::events::recording::Recording;
use guest_stub::abi::{RING_SAMPLES, Worker};

/// One block of rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSpec {
    /// What is measured, on a machine of as many vCPUs.
    pub cell: CellId,
    /// Which vCPU calls, where it is not the host.
    pub initiator: usize,
    /// What runs.
    pub worker: Worker,
    /// With which argument.
    pub argument: u64,
    /// What is recorded besides.
    pub recording: Recording,
    /// Rounds to throw away first.
    pub warmup: usize,
    /// Rounds to measure. With `warmup`, at most [`RING_SAMPLES`].
    pub rounds: usize,
}

/// Who makes the calls of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Initiator {
    Vcpu(usize),
    /// None of the vCPUs: all are targets.
    Host,
}

impl Initiator {
    /// The vCPU, if it is one.
    pub(super) fn vcpu(self) -> Option<usize> {
        match self {
            Self::Vcpu(vcpu) => Some(vcpu),
            Self::Host => None,
        }
    }
}

impl BlockSpec {
    /// All rounds, those to throw away included, as far as the sample rings have room.
    pub(super) fn all_rounds(&self) -> usize {
        (self.warmup + self.rounds).min(RING_SAMPLES)
    }

    pub(super) fn initiator(&self) -> Initiator {
        if routes::of(self.cell.route).is_host() { Initiator::Host } else { Initiator::Vcpu(self.initiator) }
    }

    /// Whether each worker begins with an exit.
    pub(super) fn is_observed(&self) -> bool {
        self.cell.observe == crate::config::Observe::Exits
    }
}
