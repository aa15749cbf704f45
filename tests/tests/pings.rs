//! Pings on real vCPUs that are lost: the rounds before them count, and the line says who is missing.

use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::Route;
use kipi::config::{Call, CellId};
use kipi::events::recording::Recording;
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::session::{Error, Limits, Session};
use kipi_tests::{hypervisor, machine, turn};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

static NEVER: AtomicBool = AtomicBool::new(false);

const VCPUS: usize = 3;
const ROUNDS: usize = 10;

/// A mesh whose pings the VMM sends, which can lose them.
const MESH: BlockSpec = BlockSpec {
    cell: CellId { call: Call::Ping, ..CellId::broadcast(Route::Msi, Destination::Mesh, TargetState::Spin, VCPUS) },
    initiator: 0,
    worker: Worker::Stamp,
    argument: 0,
    recording: Recording::COUNTS,
    warmup: 0,
    rounds: ROUNDS,
};

#[test]
fn a_ping_that_is_lost_in_a_mesh_is_given_up_whoever_sent_it() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let limits = Limits { deadline: Duration::from_millis(400), settle: Duration::ZERO };
    for sender in 0..VCPUS {
        for lost in [0, 3, ROUNDS - 1] {
            let mut session = Session::boot(&hypervisor, &machine(VCPUS), limits, &NEVER).expect("a machine");
            session.vm().hooks().lose_messages(sender, u32::try_from(lost).expect("a round"));
            let context = format!("vCPU {sender}'s ping of round {lost}");
            let Err(Error::GivenUp(given_up)) = blocks::run(&mut session, &MESH, None) else { panic!("{context}") };
            assert_eq!(given_up.diagnosis.missing, [(sender + 1) % VCPUS], "{context}: {}", given_up.diagnosis);
            assert_eq!(given_up.block.integrity.timed_out, 1, "{context}");
            assert_eq!(given_up.block.rounds.len(), lost * VCPUS, "{context}");
        }
    }
}
