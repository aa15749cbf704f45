//! What the VMM makes of what a guest has left in memory.

use guest_stub::abi::{
    self, BugCheck, CommandPage, Destination, RING_SAMPLES, Report, Sample, TargetState, Worker, area, sample_flags,
};
use kipi::config::routes::{self, Route};
use kipi::config::{CellId, LocalApics};
use kipi::events::recording::Recording;
use kipi::events::samples::Block;
use kipi::guest::blocks::BlockSpec;
use kipi::guest::bug_check::BugReport;
use kipi::guest::recorded::{self, RecordedBlock};
use kipi::guest::session::{Error, Limits};
use kipi::results::metric::MetricName;
use kipi::results::stage::Stage;
use kipi::statistics::metrics;
use kipi::statistics::order::Quantile;
use kipi::statistics::stages::Path;
use kipi::vm::image;
use kipi::vm::wire;
use std::mem::{offset_of, size_of};
use std::time::Duration;
use vm_memory::{GuestAddress, GuestMemoryMmap};

const LIMITS: Limits = Limits { deadline: Duration::from_secs(4), settle: Duration::ZERO };
/// The argument of all workers.
const ARGUMENT: u64 = 7;
/// Longer than any line that a user gets.
const LONGEST_LINE: usize = 1000;

/// What a sound guest writes of a round.
pub(super) fn sound_sample(vcpu: u8, round: u8) -> Sample {
    let flags = if vcpu == 0 { sample_flags::INITIATOR } else { 0 };
    let result = ARGUMENT + u64::from(vcpu);
    let generation = 4 * (u32::from(round) + 1);
    Sample { generation, flags, t0: 100, t1: 110, a: 150, w: 160, x: 170, t2: 200, result }
}

/// A line for the user is one.
pub(super) fn one_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(!text.is_empty() && text.len() <= LONGEST_LINE, "{} bytes: {text}", text.len());
}

/// What was asked for, by its number.
fn asked(vcpus: u8, (number, warmup): (u8, u8), local_apics: LocalApics) -> BlockSpec {
    let routes: Vec<Route> =
        routes::those(|route| route.interrupts() && route.local_apics() == Some(local_apics)).collect();
    let pick = |of: usize, at: u8| usize::from(at) % of;
    let destinations = [Destination::AllButSelf, Destination::All, Destination::Unicast];
    let route = routes[pick(routes.len(), number)];
    let destination = destinations[pick(destinations.len(), number >> 3)];
    // Samples that could be true are of a target that polls.
    let state = if number & 0x80 == 0 {
        TargetState::Spin
    } else {
        TargetState::ALL[pick(TargetState::ALL.len(), number >> 5)]
    };
    BlockSpec {
        cell: CellId::broadcast(route, destination, state, vcpus.into()),
        initiator: 0,
        worker: Worker::Stamp,
        argument: ARGUMENT,
        recording: Recording::COUNTS,
        warmup: usize::from(warmup % 8),
        rounds: 0,
    }
}

/// Reads the report and the rings as after a doorbell. How many rounds count; `None`: the report is not believed, or tells of a call that
/// was given up.
pub(super) fn report(memory: &GuestMemoryMmap, vcpus: u8, number: (u8, u8), local_apics: LocalApics) -> Option<u64> {
    let place = abi::COMMAND_PAGE + offset_of!(CommandPage, report) as u64;
    let report: Report = wire::read(memory, GuestAddress(place)).expect("in memory");
    let rounds = usize::try_from(report.rounds).unwrap_or(usize::MAX).min(RING_SAMPLES);
    let rings = (0..vcpus).map(|vcpu| ring(memory, vcpu, rounds)).collect();
    let spec = asked(vcpus, number, local_apics);
    match recorded::assess(&spec, &RecordedBlock { report, rings }, LIMITS, true) {
        Ok(block) => {
            check_block(&block, &spec, &report);
            Some(block.whole_rounds())
        }
        Err(Error::GivenUp(given_up)) => {
            check_block(&given_up.block, &spec, &report);
            one_line(&given_up.diagnosis.to_string());
            None
        }
        Err(error) => {
            one_line(&error.to_string());
            None
        }
    }
}

fn ring(memory: &GuestMemoryMmap, vcpu: u8, rounds: usize) -> Vec<Sample> {
    let ring = abi::vcpu_area(vcpu.into()) + area::RING;
    let sample = |round: usize| wire::read(memory, GuestAddress(ring + (round * size_of::<Sample>()) as u64));
    (0..rounds).map(|round| sample(round).expect("in memory")).collect()
}

/// What counts is whole, no more than was reported, and can be computed with.
fn check_block(block: &Block, spec: &BlockSpec, report: &Report) {
    let reported = u64::from(report.rounds).saturating_sub(spec.warmup as u64);
    assert!(block.rounds.len() as u64 + block.not_in_state <= reported, "{} of {reported}", block.rounds.len());
    for round in &block.rounds {
        assert_eq!(round.participants.len(), spec.cell.vcpus, "{round:?}");
        assert!(round.generation != 0 && round.trace.is_empty(), "{round:?}");
        let path = Path::critical(round);
        assert_eq!(path.round_trip(), i128::from(round.t2) - i128::from(round.t0), "{round:?}");
        for &stage in &Stage::OF_ROUND_TRIP {
            let _ = path.end(stage);
        }
    }
    for &metric in MetricName::ALL {
        let Some(sample) = metrics::sample(metric, &[&block.rounds]) else { continue };
        let values: Vec<f64> = sample.values().map(|(value, _)| value).collect();
        assert!(values.iter().all(|value| value.is_finite()), "{metric:?}: {values:?}");
        assert!(values.is_sorted(), "{metric:?}: {values:?}");
        assert!(values.contains(&sample.quantile(Quantile::P99)), "{metric:?}: p99 was never measured");
    }
}

/// Reads the bug check as after the port's write on `vcpu`.
pub(super) fn bug_check(memory: &GuestMemoryMmap, vcpu: u8) {
    let place = abi::COMMAND_PAGE + offset_of!(CommandPage, bug_check) as u64;
    let bug: BugCheck = wire::read(memory, GuestAddress(place)).expect("in memory");
    let place = image::symbolise(image::EMBEDDED, bug.rip).unwrap_or_default();
    one_line(&BugReport::new(&bug, vcpu.into(), place).to_string());
}
