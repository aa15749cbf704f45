//! The pings of a round: each has a sender and a target, and the rings of both hold a part of it.

use super::{Error, RawParticipant, RawRound};
use crate::guest::block_spec::BlockSpec;
use guest_stub::abi::Sample;

/// Every ping of round `number`, by rising number of the sender. `sample` reads that round of a vCPU's ring.
pub(super) fn read(
    sample: &impl Fn(usize) -> Result<Sample, Error>,
    spec: &BlockSpec,
    number: usize,
) -> Result<Vec<RawRound>, Error> {
    let (destination, vcpus) = (spec.cell.destination, spec.cell.vcpus);
    let mut pings = Vec::new();
    for sender in destination.senders(spec.initiator, vcpus) {
        let target = destination.pinged_by(sender, vcpus).unwrap_or(sender);
        let (stamps, arrival) = (sample(sender)?, sample(target)?);
        check(&stamps, &arrival, sender, target)?;
        let arrived = RawParticipant { vcpu: target, sample: arrival, vmm: None, back: None, is_target: true };
        let mut participants = vec![arrived];
        if sender != target {
            // Where it is pinged, too, that arrival belongs to another ping.
            let sample = Sample { a: 0, ..stamps };
            participants.push(RawParticipant { vcpu: sender, sample, vmm: None, back: None, is_target: false });
            participants.sort_by_key(|participant| participant.vcpu);
        }
        pings.push(RawRound::new(number, Some(sender), stamps, participants));
    }
    Ok(pings)
}

/// The ping that has arrived must be the one that was sent.
fn check(stamps: &Sample, arrival: &Sample, sender: usize, target: usize) -> Result<(), Error> {
    let (sent, arrived) = (stamps.generation, arrival.result);
    if sent == 0 || arrived != u64::from(sent) {
        return Err(Error::BadReport(format!(
            "ping {arrived} has arrived at vCPU {target} where vCPU {sender} has sent ping {sent}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::routes::Route;
    use crate::config::{Call, CellId};
    use crate::events::recording::Recording;
    use guest_stub::abi::{Destination, TargetState, Worker, sample_flags};

    fn spec(destination: Destination, vcpus: usize) -> BlockSpec {
        let cell = CellId::broadcast(Route::X2Apic, destination, TargetState::Spin, vcpus);
        BlockSpec {
            cell: CellId { call: Call::Ping, ..cell },
            initiator: 0,
            worker: Worker::Stamp,
            argument: 0,
            recording: Recording::COUNTS,
            warmup: 0,
            rounds: 1,
        }
    }

    /// In a mesh of three, vCPU `v` sends ping `v + 1`, and gets that of the vCPU before it.
    fn mesh(vcpu: usize) -> Sample {
        let number = u64::try_from(vcpu).unwrap();
        Sample {
            generation: u32::try_from(vcpu).unwrap() + 1,
            flags: sample_flags::INITIATOR,
            t0: 100 + number,
            t1: 110,
            a: 150 + number,
            t2: 200,
            result: (number + 2) % 3 + 1,
            ..Sample::default()
        }
    }

    #[test]
    fn each_sender_of_a_mesh_has_a_ping_with_its_targets_arrival() {
        let pings = read(&|vcpu| Ok(mesh(vcpu)), &spec(Destination::Mesh, 3), 0).unwrap();
        let rounds: Vec<_> = pings.into_iter().map(super::super::assemble).collect();
        let seen: Vec<_> = rounds.iter().map(|it| (it.initiator, it.t0, it.targets().collect::<Vec<_>>())).collect();
        assert_eq!(
            seen,
            [(Some(0), 100, vec![(1, 151)]), (Some(1), 101, vec![(2, 152)]), (Some(2), 102, vec![(0, 150)])]
        );
        assert!(rounds.iter().flat_map(|round| &round.participants).all(|it| (it.w, it.x) == (None, None)));
    }

    #[test]
    fn a_ping_to_oneself_has_one_participant() {
        let own = |_| Ok(Sample { generation: 8, result: 8, t0: 1, a: 2, t2: 3, ..Sample::default() });
        let pings = read(&own, &spec(Destination::SelfIpi, 2), 0).unwrap();
        assert_eq!(pings.len(), 1);
        assert_eq!(pings[0].participants.len(), 1);
        assert_eq!(pings[0].targets().count(), 1);
    }

    #[test]
    fn the_arrival_of_another_ping_is_refused() {
        let sample = |vcpu| Ok(Sample { generation: 8, result: if vcpu == 1 { 4 } else { 0 }, ..Sample::default() });
        let error = read(&sample, &spec(Destination::Unicast, 2), 0).err().expect("ping 4 is an earlier one");
        assert!(error.to_string().contains("ping 4 has arrived at vCPU 1 where vCPU 0 has sent ping 8"), "{error}");
        let nothing = |_| Ok(Sample::default());
        assert!(read(&nothing, &spec(Destination::Unicast, 2), 0).is_err(), "zero stands for no ping");
    }
}
