//! From what the rings hold to a block of rounds: what belongs together, what is believed, and what counts.

use crate::config::routes::{self, Route};
use crate::events::samples::{Block, ExitSource, Exits, Participant, Round};
use crate::events::timeline::{self, Event};
use crate::guest::host_calls::Results;
use crate::guest::session::{BlockSpec, Error};
use crate::results::integrity::Integrity;
use guest_stub::abi::{Report, Sample, TargetState};

/// Who makes the calls of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Initiator {
    /// This vCPU.
    Vcpu(usize),
    /// None of the vCPUs: all are targets.
    Host,
}

impl Initiator {
    /// Of a block's calls.
    pub(crate) fn of(spec: &BlockSpec) -> Self {
        if routes::of(spec.route).is_host() { Self::Host } else { Self::Vcpu(spec.initiator) }
    }

    /// The vCPU, if it is one.
    pub(crate) fn vcpu(self) -> Option<usize> {
        match self {
            Self::Vcpu(vcpu) => Some(vcpu),
            Self::Host => None,
        }
    }
}

/// A round as the rings hold it: samples and VMM stamps, vCPU by vCPU.
pub(crate) struct RawRound {
    /// The stamps of the initiator.
    pub(crate) stamps: Sample,
    /// Every vCPU's.
    pub(crate) samples: Vec<Sample>,
    pub(crate) vmm: Vec<Option<u64>>,
}

impl RawRound {
    /// The round is a call of the host, whose stamps it gets.
    pub(crate) fn belongs_to_host(&mut self, call: &Results) -> Result<(), Error> {
        let Sample { generation, .. } = self.stamps;
        if generation != call.generation {
            let called = call.generation;
            let reason = format!("vCPU 0 has a sample of generation {generation} where generation {called} was called");
            return Err(Error::BadReport(reason));
        }
        (self.stamps.t0, self.stamps.t1, self.stamps.t2) = (call.t0, call.t1, call.t2);
        Ok(())
    }
}

/// A sample must belong to the round, and its worker must have run where it says.
pub(crate) fn check(spec: &BlockSpec, vcpu: usize, sample: &Sample, generation: u32) -> Result<(), Error> {
    if generation == 0 || sample.generation != generation {
        return Err(Error::BadReport(format!(
            "vCPU {vcpu} has a sample of generation {} where generation {generation} was called",
            sample.generation
        )));
    }
    let expected = spec.argument.wrapping_add(vcpu as u64);
    if sample.result != expected {
        return Err(Error::BadReport(format!(
            "vCPU {vcpu}'s worker returned {:#x} instead of {expected:#x} in generation {generation}",
            sample.result
        )));
    }
    Ok(())
}

/// Drops the warm-up, and the rounds that found a target in another state than was asked for.
/// `events` are what was recorded of the block, by time.
pub(crate) fn assess(
    spec: &BlockSpec,
    rounds: Vec<RawRound>,
    report: &Report,
    exits: Exits,
    events: &[Event],
    asked: usize,
) -> Block {
    let mut block = Block { exits, exit_rounds: asked as u64, ..Block::default() };
    let vcpus = rounds.first().map_or(0, |round| round.vmm.len());
    let initiator = Initiator::of(spec).vcpu();
    let targets = if initiator.is_none() { vcpus } else { vcpus.saturating_sub(1) } as u64;
    let interrupted = spec.destination.targets(initiator, vcpus).count() as u64;
    let resent = u64::from(report.resent);
    block.integrity = Integrity {
        lost: resent,
        // A second send brings everybody who had arrived after the first one an interrupt too many.
        duplicate: u64::from(report.duplicate).saturating_sub(resent * interrupted),
        late: report.late.into(),
        timed_out: 0,
    };
    let halted = spec.target_state != TargetState::Halt || every_round_halted(&block, targets);
    let sends: Vec<u64> = rounds.iter().map(|round| round.stamps.t0).collect();
    let next_sends = sends.into_iter().skip(1).map(Some).chain([None]);
    for (round, next_send) in rounds.into_iter().zip(next_sends).skip(spec.warmup) {
        let mut called = round.samples.iter().enumerate().filter(|(vcpu, _)| Some(*vcpu) != initiator);
        if halted && called.all(|(_, sample)| in_state(spec, sample)) {
            let mut round = assemble(round, initiator);
            if !events.is_empty() {
                round.trace = timeline::of_round(&round, events, next_send);
            }
            block.rounds.push(round);
        } else {
            block.not_in_state += 1;
        }
    }
    block
}

/// Whether KVM has seen as many HLTs as there were rounds and targets; nothing to the contrary is known where it does not
/// count them. Which round a missing one belongs to cannot be told.
fn every_round_halted(block: &Block, targets: u64) -> bool {
    let halts = block.exits.get(&(ExitSource::Stats, "halt_exits".to_owned()));
    halts.is_none_or(|halts| halts.targets >= block.exit_rounds * targets)
}

fn in_state(spec: &BlockSpec, sample: &Sample) -> bool {
    let states = TargetState::ALL.iter().fold(0, |flags, state| flags | state.evidence());
    // A polling target is always in its loop.
    spec.route == Route::Memory || sample.flags & states == spec.target_state.evidence()
}

fn assemble(round: RawRound, initiator: Option<usize>) -> Round {
    let participants = round
        .samples
        .iter()
        .zip(round.vmm)
        .enumerate()
        .map(|(vcpu, (sample, vmm))| Participant {
            vcpu,
            a: (sample.a != 0).then_some(sample.a),
            w: sample.w,
            x: sample.x,
            vmm,
        })
        .collect();
    let Sample { generation, t0, t1, t2, .. } = round.stamps;
    Round { generation, initiator, t0, t1, t2, participants, trace: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::recording::Recording;
    use crate::events::samples::ExitCount;
    use guest_stub::abi::{self, Destination, Status, Worker, sample_flags};

    fn spec(target_state: TargetState) -> BlockSpec {
        BlockSpec {
            route: Route::X2Apic,
            destination: Destination::AllButSelf,
            target_state,
            initiator: 0,
            worker: Worker::Stamp,
            argument: 7,
            observe: false,
            recording: Recording::COUNTS,
            warmup: 1,
            rounds: 2,
        }
    }

    fn round(generation: u32, flags: u32) -> RawRound {
        let sample = |vcpu: u64| Sample {
            generation,
            flags: if vcpu == 0 { sample_flags::INITIATOR } else { flags },
            a: vcpu * 10,
            w: 20,
            x: 30,
            result: 7 + vcpu,
            ..Sample::default()
        };
        RawRound { stamps: sample(0), samples: vec![sample(0), sample(1)], vmm: vec![None, None] }
    }

    const QUIET: Report = Report {
        status: Status::Done as u32,
        rounds: 3,
        generation: 0,
        resent: 0,
        duplicate: 0,
        late: 0,
        missing: [0; abi::MASK_WORDS],
    };

    fn halts(targets: u64) -> Exits {
        Exits::from([((ExitSource::Stats, "halt_exits".to_owned()), ExitCount { initiator: 0, targets })])
    }

    #[test]
    fn the_warm_up_and_rounds_in_another_state_do_not_count() {
        let rounds = vec![round(4, 0), round(8, sample_flags::FROM_USER), round(12, 0)];
        let block = assess(&spec(TargetState::User), rounds, &QUIET, Exits::new(), &[], 3);
        let counted: Vec<u32> = block.rounds.iter().map(|round| round.generation).collect();
        assert_eq!((counted, block.not_in_state), (vec![8], 1));
        assert_eq!(block.rounds[0].participants[0].a, None, "the initiator interrupts only others");
        assert_eq!(block.rounds[0].participants[1].a, Some(10));
    }

    #[test]
    fn a_halt_round_needs_the_guests_word_and_kvms_count() {
        let rounds = || (1..4).map(|number| round(4 * number, sample_flags::FROM_HALT)).collect::<Vec<_>>();
        let counted = |exits| assess(&spec(TargetState::Halt), rounds(), &QUIET, exits, &[], 3).rounds.len();
        assert_eq!(counted(halts(3)), 2);
        assert_eq!(counted(halts(2)), 0, "one HLT is missing, and nobody knows whose");
        assert_eq!(counted(Exits::new()), 2, "a KVM that does not count");
    }

    #[test]
    fn a_second_send_explains_as_many_duplicates_as_it_has_targets() {
        let report = Report { resent: 2, duplicate: 3, late: 1, ..QUIET };
        let block = assess(&spec(TargetState::Spin), vec![round(4, 0)], &report, Exits::new(), &[], 1);
        assert_eq!(block.integrity, Integrity { lost: 2, duplicate: 1, late: 1, timed_out: 0 });
    }

    #[test]
    fn a_sample_of_another_call_or_with_a_wrong_result_is_refused() {
        let sample = Sample { generation: 8, result: 8, ..Sample::default() };
        let check = |sample: &Sample, generation| check(&spec(TargetState::Spin), 1, sample, generation);
        assert!(check(&sample, 8).is_ok());
        assert!(check(&sample, 12).unwrap_err().to_string().contains("generation 12 was called"));
        assert!(check(&Sample { result: 9, ..sample }, 8).unwrap_err().to_string().contains("0x9 instead of 0x8"));
        assert!(check(&Sample::default(), 0).is_err(), "zero stands for no call");
    }
}
