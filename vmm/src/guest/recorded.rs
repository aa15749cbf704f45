//! Blocks that the guest ran where kipi's VMM was not: its report and its rings are from a log, and are believed no further than
//! those of a guest that runs.

use super::block_spec::BlockSpec;
use super::error::{Error, GivenUp};
use super::rounds::{self, Ended};
use super::session::{Limits, members};
use super::silence::{Diagnosis, Silence};
use crate::config::routes;
use crate::events::recording::Recording;
use crate::events::samples::{Block, Exits};
use guest_stub::abi::{RING_SAMPLES, Report, Sample};
use std::collections::BTreeMap;

/// A block as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedBlock {
    /// What vCPU 0 reported.
    pub report: Report,
    /// What each vCPU stamped in the rounds that were completed; empty where none was.
    pub rings: Vec<Vec<Sample>>,
}

/// The rounds that count. `spec` says of what; its number of rounds is the block's own. `is_x2apic`: the local APICs have x2APIC mode.
///
/// # Errors
/// [`Error::BadReport`] and [`Error::GivenUp`].
pub fn assess(spec: &BlockSpec, recorded: &RecordedBlock, limits: Limits, is_x2apic: bool) -> Result<Block, Error> {
    let RecordedBlock { report, rings } = recorded;
    let all = report.rounds as usize;
    let vcpus = spec.cell.vcpus;
    if all > RING_SAMPLES {
        return Err(Error::BadReport(format!("{all} rounds in rings of {RING_SAMPLES}")));
    }
    let spec = &BlockSpec { rounds: all.saturating_sub(spec.warmup), ..*spec };
    let ended = match Silence::told_by(report)? {
        None => Ended::done(report, all)?,
        Some(silence) => {
            let missing = members(&report.missing, vcpus);
            let (operation, waited) = ("broadcasting", limits.deadline);
            Ended::silent(Diagnosis { operation, silence, waited, missing, places: Vec::new() }, all)?
        }
    };
    let sample = |vcpu: usize, number: usize| {
        let sample = rings.get(vcpu).and_then(|ring| ring.get(number)).copied();
        sample.ok_or_else(|| Error::BadReport(format!("vCPU {vcpu} has no sample of round {number}")))
    };
    let not_observed = vec![BTreeMap::new(); vcpus];
    let rounds = rounds::read(&sample, spec, &ended, &not_observed)?;
    let mut block = rounds::assess(spec, rounds, &ended, Exits::new(), &[]);
    if !limits.tell_lost_from_slow() {
        block.integrity.lost = 0;
    }
    block.recording = Recording::NOTHING;
    block.x2apic = routes::of(spec.cell.route).is_in_x2apic(is_x2apic);
    match ended.given_up {
        None => Ok(block),
        Some(diagnosis) => Err(Error::GivenUp(Box::new(GivenUp { diagnosis, block }))),
    }
}

#[cfg(test)]
mod tests;
