use super::*;
use crate::config::CellId;
use crate::config::routes::Route;
use crate::results::integrity::Integrity;
use guest_stub::abi::{Destination, MASK_WORDS, Status, TargetState, Worker, sample_flags};
use std::time::Duration;

const LIMITS: Limits = Limits { deadline: Duration::from_secs(4), settle: Duration::ZERO };

fn spec() -> BlockSpec {
    BlockSpec {
        cell: CellId::broadcast(Route::X2Apic, Destination::AllButSelf, TargetState::Spin, 2),
        initiator: 0,
        worker: Worker::Stamp,
        argument: 0,
        recording: Recording::COUNTS,
        warmup: 1,
        rounds: 0,
    }
}

fn recorded(status: Status, rounds: u32) -> RecordedBlock {
    let sample = |vcpu: u32, round: u32| Sample {
        generation: 4 * (round + 1),
        flags: if vcpu == 0 { sample_flags::INITIATOR } else { 0 },
        t0: 100,
        t1: 110,
        a: 150,
        w: 160,
        x: 170,
        t2: 200,
        result: vcpu.into(),
    };
    let mut missing = [0; MASK_WORDS];
    missing[0] = if status == Status::Done { 0 } else { 0b10 };
    let report = Report { status: status as u32, rounds, generation: 4 * (rounds + 1), missing, ..Report::NOTHING };
    RecordedBlock { report, rings: [0, 1].map(|vcpu| (0..rounds).map(|round| sample(vcpu, round)).collect()).into() }
}

#[test]
fn a_recorded_block_is_one_as_any_other() {
    let block = assess(&spec(), &recorded(Status::Done, 4), LIMITS, true).unwrap();
    assert_eq!((block.rounds.len(), block.integrity, block.x2apic), (3, Integrity::default(), true));
    assert_eq!((block.recording, block.exits.len()), (Recording::NOTHING, 0));
    assert_eq!(block.rounds[0].targets().collect::<Vec<_>>(), [(1, 150)]);
}

#[test]
fn a_call_that_was_given_up_is_counted() {
    let given_up = |status, rounds| match assess(&spec(), &recorded(status, rounds), LIMITS, false) {
        Err(Error::GivenUp(given_up)) => (given_up.block.rounds.len(), given_up.diagnosis.to_string()),
        other => panic!("{other:?}"),
    };
    let (rounds, silence) = given_up(Status::Aborted, 3);
    assert_eq!(rounds, 2);
    assert!(
        silence.ends_with("round 3 (generation 16) did not come back within 4000 ms; never arrived: vCPU 1"),
        "{silence}"
    );
    assert_eq!(given_up(Status::NotReady, 0).0, 0, "in the first round, nobody has stamped anything");
}

#[test]
fn what_no_guest_reports_is_refused() {
    let refused = |block: &RecordedBlock| assess(&spec(), block, LIMITS, false).unwrap_err().to_string();
    let mut wrong = recorded(Status::Done, 4);
    wrong.rings[1][2].result = 9;
    assert!(refused(&wrong).contains("vCPU 1's worker returned 0x9"), "{}", refused(&wrong));
    let mut short = recorded(Status::Done, 4);
    short.rings[1].pop();
    assert!(refused(&short).contains("vCPU 1 has no sample of round 3"));
    let mut long = recorded(Status::Done, 4);
    long.report.rounds = 1 << 20;
    assert!(refused(&long).contains("1048576 rounds in rings"));
    let mut unknown = recorded(Status::Done, 4);
    unknown.report.status = 77;
    assert!(refused(&unknown).contains("status 77"));
}
