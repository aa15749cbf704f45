//! From what the rings hold to a block of rounds: what belongs together, what is believed, and what counts.

mod absences;
mod pings;

pub(super) use absences::{assign as assign_absences, limit as limit_absences};

use super::block_spec::BlockSpec;
use super::host_call::HostResults;
use super::session::{Error, Session};
use super::silence::{Diagnosis, Silence};
use crate::config::{self, Call, routes};
use crate::events::clock::CommonClock;
use crate::events::event::Event;
use crate::events::samples::{Block, Exits, Participant, Round};
use crate::events::timeline;
use crate::results::integrity::Integrity;
use crate::results::source::Source;
use guest_stub::abi::{Report, Sample, TargetState, sample_flags};
use std::collections::{BTreeMap, BTreeSet};

/// How a block's calls ended.
pub(super) struct Ended {
    /// Rounds that completed.
    pub(super) completed: usize,
    /// Interrupts that no open call had asked for.
    pub(super) duplicate: u32,
    /// Interrupts that came when their call had been given up.
    pub(super) late: u32,
    /// The host's results of those rounds, where it called.
    pub(super) by_host: Vec<HostResults>,
    /// Of the call that was given up after them.
    pub(super) given_up: Option<Diagnosis>,
}

impl Ended {
    /// As the guest reports it, where all of `asked` rounds are done.
    pub(super) fn done(report: &Report, asked: usize) -> Result<Self, Error> {
        let &Report { rounds, duplicate, late, .. } = report;
        if rounds as usize != asked {
            return Err(Error::BadReport(format!("{rounds} rounds of {asked} are done")));
        }
        Ok(Self { completed: asked, duplicate, late, by_host: Vec::new(), given_up: None })
    }

    /// With a call, of `asked`, that vCPU 0 has given up.
    pub(super) fn silent(diagnosis: Diagnosis, asked: usize) -> Result<Self, Error> {
        let completed = match diagnosis.silence {
            Silence::NeverArrived { round, .. } | Silence::NotInState { round } => round as usize,
            // How many there were cannot be told from outside.
            Silence::NoProgress => 0,
            // All calls were made, and a vCPU did not come back from them.
            Silence::NoAnswer => asked,
        };
        if completed > asked {
            return Err(Error::BadReport(format!("round {completed} of {asked} was given up")));
        }
        Ok(Self::given_up(completed, Vec::new(), diagnosis))
    }

    /// With a call that was given up after `completed` rounds: the guest has not counted its idle interrupts.
    pub(super) fn given_up(completed: usize, by_host: Vec<HostResults>, diagnosis: Diagnosis) -> Self {
        Self { completed, duplicate: 0, late: 0, by_host, given_up: Some(diagnosis) }
    }
}

/// A call as the rings hold it: samples and VMM stamps, participant by participant.
pub(super) struct RawRound {
    /// The block's round that it was made in.
    number: usize,
    /// The vCPU that made it; `None`: the host did.
    initiator: Option<usize>,
    /// The stamps of the initiator.
    stamps: Sample,
    /// The interrupt was sent a second time.
    resent: bool,
    /// By rising number of the vCPU.
    participants: Vec<RawParticipant>,
}

/// What a participant has left in its ring.
struct RawParticipant {
    vcpu: usize,
    sample: Sample,
    /// Of its observed exit.
    vmm: Option<u64>,
    /// Of a target whose thread was kept from the guest from before the send until after it: when it could enter it again.
    back: Option<u64>,
    /// It was called in its target state.
    is_target: bool,
}

impl RawRound {
    /// Reads round `number` from every vCPU's ring. `exits` has the stamps of each vCPU's observed exits, by generation.
    fn read(
        sample: &impl Fn(usize, usize) -> Result<Sample, Error>,
        spec: &BlockSpec,
        number: usize,
        exits: &[BTreeMap<u32, u64>],
    ) -> Result<Self, Error> {
        let initiator = spec.initiator().vcpu();
        // Where the host calls, its stamps come into vCPU 0's sample.
        let stamps = sample(initiator.unwrap_or(0), number)?;
        // Alone, an initiator sends nothing, whatever the destination.
        let interrupts_itself = spec.cell.destination.includes_sender() && exits.len() > 1;
        let mut participants = Vec::with_capacity(exits.len());
        for (vcpu, exits) in exits.iter().enumerate() {
            let mut sample = sample(vcpu, number)?;
            check(spec, vcpu, &sample, stamps.generation)?;
            let (vmm, is_target) = (exits.get(&stamps.generation).copied(), Some(vcpu) != initiator);
            if !is_target && !interrupts_itself {
                // That is of an earlier block.
                sample.a = 0;
            }
            participants.push(RawParticipant { vcpu, sample, vmm, back: None, is_target });
        }
        Ok(Self::new(number, initiator, stamps, participants))
    }

    fn new(number: usize, initiator: Option<usize>, stamps: Sample, participants: Vec<RawParticipant>) -> Self {
        Self { number, initiator, stamps, resent: stamps.flags & sample_flags::RESENT != 0, participants }
    }

    fn targets(&self) -> impl Iterator<Item = &RawParticipant> {
        self.participants.iter().filter(|participant| participant.is_target)
    }

    /// The round is a call of the host, whose stamps it gets.
    fn belongs_to_host(&mut self, call: &HostResults) -> Result<(), Error> {
        let Sample { generation, .. } = self.stamps;
        if generation != call.generation {
            let called = call.generation;
            let reason = format!("vCPU 0 has a sample of generation {generation} where generation {called} was called");
            return Err(Error::BadReport(reason));
        }
        (self.stamps.t0, self.stamps.t1, self.stamps.t2) = (call.t0, call.t1, call.t2);
        self.resent = call.resent;
        Ok(())
    }
}

/// Reads the completed rounds of a block. `sample` reads a round of a vCPU's ring, onto the common clock; `exits` has the stamps of
/// each vCPU's observed exits, by generation.
pub(super) fn read(
    sample: &impl Fn(usize, usize) -> Result<Sample, Error>,
    spec: &BlockSpec,
    ended: &Ended,
    exits: &[BTreeMap<u32, u64>],
) -> Result<Vec<RawRound>, Error> {
    let mut rounds = Vec::with_capacity(ended.completed);
    for number in 0..ended.completed {
        let round = match spec.cell.call {
            Call::Broadcast => RawRound::read(sample, spec, number, exits).and_then(|mut round| {
                ended.by_host.get(number).map_or(Ok(()), |call| round.belongs_to_host(call))?;
                Ok(vec![round])
            }),
            Call::Ping => pings::read(&|vcpu| sample(vcpu, number), spec, number),
        };
        match round {
            Ok(calls) => rounds.extend(calls),
            // A silent vCPU may not have written its sample of the round before.
            Err(Error::BadReport(_)) if ended.given_up.is_some() && number + 1 == ended.completed => break,
            Err(error) => return Err(error),
        }
    }
    Ok(rounds)
}

/// Round `number` of a vCPU's ring, on the common clock.
pub(super) fn sample(session: &Session<'_>, vcpu: usize, number: usize) -> Result<Sample, Error> {
    Ok(on_common_clock(&session.vm().tsc().clock, vcpu, session.sample(vcpu, number)?))
}

/// A vCPU's sample with its stamps on the common clock. Zero is no stamp.
fn on_common_clock(clock: &CommonClock, vcpu: usize, sample: Sample) -> Sample {
    let of = |tsc: u64| clock.of_vcpu(vcpu, tsc);
    let Sample { t0, t1, t2, a, w, x, .. } = sample;
    let if_taken = |tsc: u64| if tsc == 0 { 0 } else { of(tsc) };
    let [t0, a, w, x] = [t0, a, w, x].map(if_taken);
    Sample { t0, t1: of(t1), t2: of(t2), a, w, x, ..sample }
}

/// A sample must belong to the round, and its worker must have run where it says.
fn check(spec: &BlockSpec, vcpu: usize, sample: &Sample, generation: u32) -> Result<(), Error> {
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

/// The rounds that count: without the warm-up, and without those that found a target in another state than was asked for.
/// `exits` were counted over the block, `events` are all that was recorded of it, by time.
pub(super) fn assess(spec: &BlockSpec, rounds: Vec<RawRound>, ended: &Ended, exits: Exits, events: &[Event]) -> Block {
    let resent = rounds.iter().filter(|round| round.resent).count() as u64;
    let integrity = Integrity {
        lost: resent,
        // A second send brings everybody who had arrived after the first one an interrupt too many.
        duplicate: u64::from(ended.duplicate).saturating_sub(resent * spec.interrupted() as u64),
        late: ended.late.into(),
        timed_out: ended.given_up.is_some().into(),
    };
    let called = || rounds.iter().map(|round| round.targets().count() as u64).sum();
    let halted = spec.cell.target_state != TargetState::Halt || every_round_halted(&exits, called());
    // The exits of a call that was given up are among those of the others.
    let is_counted = ended.given_up.is_none();
    let exit_calls = if is_counted { rounds.len() as u64 } else { 0 };
    let exits = if is_counted { exits } else { Exits::new() };
    let mut block = Block { integrity, exits, exit_calls, at_once: config::at_once(&spec.cell), ..Block::default() };
    let mut sends = BTreeMap::new();
    for round in &rounds {
        sends
            .entry(round.number)
            .and_modify(|first: &mut u64| *first = round.stamps.t0.min(*first))
            .or_insert(round.stamps.t0);
    }
    let is_elsewhere = |round: &&RawRound| !halted || !round.targets().all(|target| in_state(spec, target));
    let counts = |number: &usize| *number >= spec.warmup;
    // A round counts as a whole.
    let elsewhere: BTreeSet<usize> =
        rounds.iter().filter(is_elsewhere).map(|round| round.number).filter(counts).collect();
    block.not_in_state = elsewhere.len() as u64;
    for round in rounds.into_iter().filter(|round| counts(&round.number) && !elsewhere.contains(&round.number)) {
        let next_send = sends.get(&(round.number + 1)).copied();
        let mut round = assemble(round);
        if !events.is_empty() {
            round.trace = timeline::of_round(&round, events, next_send);
        }
        block.rounds.push(round);
    }
    block.rounds.shrink_to_fit();
    block
}

/// Whether KVM has counted as many HLTs as there were targets in all rounds, `expected`; true where it counts none. Which
/// round a missing one belongs to cannot be told.
fn every_round_halted(exits: &Exits, expected: u64) -> bool {
    let halts = exits.get(&(Source::Stats, "halt_exits".to_owned()));
    halts.is_none_or(|halts| halts.targets >= expected)
}

fn in_state(spec: &BlockSpec, RawParticipant { sample, back, .. }: &RawParticipant) -> bool {
    if spec.cell.target_state.is_away() && back.is_none() {
        return false;
    }
    let states = TargetState::ALL.iter().fold(0, |flags, state| flags | state.evidence());
    // A polling target is always in its loop.
    !routes::of(spec.cell.route).interrupts() || sample.flags & states == spec.cell.target_state.evidence()
}

fn assemble(round: RawRound) -> Round {
    let taken = |stamp: u64| (stamp != 0).then_some(stamp);
    let participant = |RawParticipant { vcpu, sample, vmm, back, .. }| {
        let Sample { a, w, x, .. } = sample;
        Participant { vcpu, a: taken(a), halted: sample.halted(), w: taken(w), x: taken(x), vmm, back }
    };
    let participants = round.participants.into_iter().map(participant).collect();
    let Sample { generation, t0, t1, t2, .. } = round.stamps;
    Round { generation, initiator: round.initiator, t0, t1, t2, participants, trace: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CellId;
    use crate::config::routes::Route;
    use crate::events::clock;
    use crate::events::recording::Recording;
    use crate::events::samples::ExitCount;
    use crate::results::metric::MetricName;
    use crate::results::stage::Stage;
    use crate::statistics::metrics;
    use crate::statistics::order::Quantile;
    use crate::statistics::stages::Path;
    use guest_stub::abi::{Destination, Worker};
    use std::time::Duration;

    pub(super) fn spec(target_state: TargetState) -> BlockSpec {
        let cell = CellId::broadcast(Route::X2Apic, Destination::AllButSelf, target_state, 2);
        BlockSpec {
            cell,
            initiator: 0,
            worker: Worker::Stamp,
            argument: 7,
            recording: Recording::COUNTS,
            warmup: 1,
            rounds: 2,
        }
    }

    pub(super) fn round(generation: u32, flags: u32) -> RawRound {
        let sample = |vcpu: u64| Sample {
            generation,
            flags: if vcpu == 0 { sample_flags::INITIATOR } else { flags },
            a: vcpu * 10,
            w: 20,
            x: 30,
            result: 7 + vcpu,
            ..Sample::default()
        };
        let participant =
            |vcpu| RawParticipant { vcpu, sample: sample(vcpu as u64), vmm: None, back: None, is_target: vcpu == 1 };
        RawRound::new(generation as usize / 4 - 1, Some(0), sample(0), vec![participant(0), participant(1)])
    }

    pub(super) const QUIET: Ended = Ended { completed: 3, duplicate: 0, late: 0, by_host: Vec::new(), given_up: None };

    fn halts(targets: u64) -> Exits {
        Exits::from([((Source::Stats, "halt_exits".to_owned()), ExitCount { initiator: 0, targets })])
    }

    #[test]
    fn the_warm_up_and_rounds_in_another_state_do_not_count() {
        let rounds = vec![round(4, 0), round(8, sample_flags::FROM_USER), round(12, 0)];
        let block = assess(&spec(TargetState::User), rounds, &QUIET, Exits::new(), &[]);
        let counted: Vec<u32> = block.rounds.iter().map(|round| round.generation).collect();
        assert_eq!((counted, block.not_in_state), (vec![8], 1));
        assert_eq!(block.rounds[0].participants[0].a, None, "the initiator interrupts only others");
        assert_eq!(block.rounds[0].participants[1].a, Some(10));
    }

    /// Of millions of rounds, which are kept until the end.
    #[test]
    fn a_block_has_no_room_for_more_rounds_than_it_has() {
        let rounds = (1..=5).map(|generation| round(generation * 4, sample_flags::FROM_USER)).collect();
        let block = assess(&spec(TargetState::User), rounds, &QUIET, Exits::new(), &[]);
        assert!(block.rounds.len() > 1 && block.rounds.capacity() == block.rounds.len());
    }

    #[test]
    fn a_round_of_a_mesh_counts_as_one_and_as_a_whole() {
        let cell = CellId { call: Call::Ping, destination: Destination::Mesh, ..spec(TargetState::Spin).cell };
        let mesh = BlockSpec { cell, ..spec(TargetState::Spin) };
        let ping = |number: usize, flags| RawRound { number, ..round(4, flags) };
        let elsewhere = sample_flags::FROM_HALT;
        let pings = vec![ping(0, 0), ping(0, elsewhere), ping(1, 0), ping(1, 0), ping(2, elsewhere), ping(2, 0)];
        let block = assess(&mesh, pings, &QUIET, Exits::new(), &[]);
        assert_eq!((block.rounds.len(), block.whole_rounds(), block.not_in_state), (2, 1, 1));
        assert_eq!(block.exit_calls, 6, "exits are counted by ping");
    }

    #[test]
    fn a_halt_round_needs_the_guests_word_and_kvms_count() {
        let rounds = || (1..4).map(|number| round(4 * number, sample_flags::FROM_HALT)).collect::<Vec<_>>();
        let counted = |exits| assess(&spec(TargetState::Halt), rounds(), &QUIET, exits, &[]).rounds.len();
        assert_eq!(counted(halts(3)), 2);
        assert_eq!(counted(halts(2)), 0, "one HLT is missing, and nobody knows whose");
        assert_eq!(counted(Exits::new()), 2, "a KVM that does not count");
    }

    #[test]
    fn a_second_send_explains_as_many_duplicates_as_it_has_targets() {
        let ended = Ended { completed: 2, duplicate: 3, late: 1, ..QUIET };
        let resent = |generation| RawRound { resent: true, ..round(generation, 0) };
        let block = assess(&spec(TargetState::Spin), vec![resent(4), resent(8)], &ended, Exits::new(), &[]);
        assert_eq!(block.integrity, Integrity { lost: 2, duplicate: 1, late: 1, timed_out: 0 });
    }

    #[test]
    fn a_call_that_is_given_up_is_counted_and_leaves_the_rounds_before_it() {
        let diagnosis = Diagnosis {
            operation: "broadcasting",
            silence: Silence::NeverArrived { round: 2, generation: 12 },
            waited: Duration::from_secs(1),
            missing: vec![1],
            places: Vec::new(),
        };
        let ended = Ended::given_up(2, Vec::new(), diagnosis);
        let rounds = [4, 8].map(|generation| round(generation, sample_flags::FROM_HALT)).into();
        let block = assess(&spec(TargetState::Halt), rounds, &ended, halts(3), &[]);
        assert_eq!(block.integrity, Integrity { timed_out: 1, ..Integrity::default() });
        assert_eq!((block.rounds.len(), block.not_in_state), (1, 0), "without the warm-up");
        assert_eq!((block.exits.len(), block.exit_calls), (0, 0), "they are of the given-up call, too");
    }

    /// A call that took 300 cycles to arrive, began 10 apart and overlapped for 90 of 100, on a machine whose vCPU 1 is ahead.
    #[test]
    #[expect(clippy::float_cmp, reason = "every expected value is a difference of small integers")]
    fn stamps_of_clocks_that_differ_are_compared_on_one() {
        const AHEAD: u64 = 2_600_000;
        let clock = clock::tests::exact(&[-7_000, -7_000 + AHEAD.cast_signed()]);
        let initiator = Sample { t0: 1_000, t1: 1_050, w: 1_390, x: 1_490, t2: 1_600, ..Sample::default() };
        let target = Sample { a: 1_300 + AHEAD, w: 1_400 + AHEAD, x: 1_500 + AHEAD, ..Sample::default() };
        let samples = [on_common_clock(&clock, 0, initiator), on_common_clock(&clock, 1, target)];
        // An exit of each worker right after it began, as the host's TSC has it.
        let vmm = [1_395, 1_410].map(|guest: u64| Some(clock.of_host(guest + 7_000)));
        let participant =
            |vcpu| RawParticipant { vcpu, sample: samples[vcpu], vmm: vmm[vcpu], back: None, is_target: vcpu == 1 };
        let round = assemble(RawRound::new(0, Some(0), samples[0], vec![participant(0), participant(1)]));
        let path = Path::critical(&round);
        assert_eq!(
            (path.end(Stage::Gate), path.end(Stage::Worker), path.round_trip()),
            (Some(1_400), Some(1_500), 600)
        );
        let metrics = metrics::collect(&[&[round]]);
        let median = |metric| metrics[&metric].quantile(Quantile::P50);
        assert_eq!([MetricName::Delivery, MetricName::StartSkew, MetricName::SkewGap].map(median), [300.0, 10.0, 5.0]);
        assert_eq!([MetricName::VmmStartSkew, MetricName::ObservedExit].map(median), [15.0, 5.0]);
        assert!((median(MetricName::Overlap) - 0.9).abs() < 1e-9);
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
