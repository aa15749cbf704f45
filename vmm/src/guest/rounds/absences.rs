//! States `preempted` and `out`: which targets were kept from the guest when the interrupt was sent, by the VMM's evidence.

use super::RawRound;
use crate::events::absences::{Absence, around};
use crate::events::clock::CommonClock;

/// Notes when each target could enter the guest again that one of its absences kept from it from before the send until after it:
/// certainly so, where the host's stamps may be off by an estimate's error from those of the vCPU that sent.
pub(in crate::guest) fn assign(rounds: &mut [RawRound], absences: &[Vec<Absence>], clock: &CommonClock) {
    for round in rounds {
        let error = round.initiator.map_or(0, |initiator| clock.host_apart(initiator));
        let send = round.stamps.t0.saturating_sub(error)..=round.stamps.t1.saturating_add(error);
        for target in round.participants.iter_mut().filter(|participant| participant.is_target) {
            let absences = absences.get(target.vcpu).map_or(&[][..], Vec::as_slice);
            target.back = around(absences, send.clone()).map(|absence| absence.until);
        }
    }
}

/// Believes in no absence of a vCPU whose thread has waited for its CPU for less time than it was kept from it between calls, by
/// the kernel's account: `waited`, in cycles, where there is one. It slept then, and through which of its absences cannot be told.
/// During a call it may sleep. `absences` are those that were [assigned](assign); each may be longer than the wait by `tolerance`.
pub(in crate::guest) fn limit(
    rounds: &mut [RawRound],
    absences: &[Vec<Absence>],
    waited: &[Option<u64>],
    tolerance: u64,
) {
    for (vcpu, (waited, absences)) in waited.iter().zip(absences).enumerate() {
        let Some(waited) = *waited else { continue };
        if kept_between_calls(rounds, vcpu, absences, tolerance) > waited {
            let of_vcpu = rounds.iter_mut().flat_map(|round| &mut round.participants).filter(|it| it.vcpu == vcpu);
            of_vcpu.for_each(|target| target.back = None);
        }
    }
}

/// For how long absences have kept a vCPU from the guest between the end of each of its calls and when it could enter to serve the
/// next one, as far as they were assigned, each less by `tolerance`; cycles.
fn kept_between_calls(rounds: &[RawRound], vcpu: usize, absences: &[Absence], tolerance: u64) -> u64 {
    let mut ended = None;
    let mut kept = 0;
    for round in rounds {
        let Some(participant) = round.participants.iter().find(|participant| participant.vcpu == vcpu) else {
            continue;
        };
        // What it did before the first call is not known.
        let since = ended.replace(round.stamps.t2).unwrap_or(round.stamps.t0);
        let Some(until) = participant.back else { continue };
        let first = absences.partition_point(|absence| absence.until <= since);
        let between = absences[first..].iter().take_while(|absence| absence.since < until);
        kept += between
            .map(|absence| absence.until.min(until).saturating_sub(absence.since.max(since)))
            .map(|kept| kept.saturating_sub(tolerance))
            .sum::<u64>();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::tests::{QUIET, round, spec};
    use super::super::{RawRound, assess};
    use super::*;
    use crate::events::clock;
    use crate::events::samples::Exits;
    use guest_stub::abi::{TargetState, sample_flags};

    const NEVER: &[Absence] = &[];

    fn exact() -> CommonClock {
        clock::tests::exact(&[0, 0])
    }

    /// Three calls, which are sent at 1000, 2000 and 3000 within 50 each.
    fn rounds(flags: u32) -> Vec<RawRound> {
        let sent = |mut round: RawRound, at| {
            (round.stamps.t0, round.stamps.t1) = (at, at + 50);
            round
        };
        [(4, 1000), (8, 2000), (12, 3000)].map(|(generation, at)| sent(round(generation, flags), at)).into()
    }

    fn absence(since: u64, until: u64) -> Absence {
        Absence { since, until }
    }

    fn backs(rounds: &[RawRound]) -> Vec<Option<u64>> {
        rounds.iter().map(|round| round.participants[1].back).collect()
    }

    #[test]
    fn a_round_counts_if_its_target_was_away_all_through_the_send() {
        let mut rounds = rounds(0);
        let target = [absence(900, 1500), absence(1990, 2600), absence(3020, 3900)];
        assign(&mut rounds, &[NEVER.to_vec(), target.to_vec()], &exact());
        assert_eq!(backs(&rounds), [Some(1500), Some(2600), None]);
        assert_eq!(rounds[0].participants[0].back, None, "the initiator's own");
        let block = assess(&spec(TargetState::Out), rounds, &QUIET, Exits::new(), &[]);
        assert_eq!((block.rounds.len(), block.not_in_state), (1, 1), "without the warm-up");
        assert_eq!(block.rounds[0].participants[1].back, Some(2600));
    }

    #[test]
    fn an_absence_that_an_estimated_clock_may_have_shifted_out_of_the_send_is_none() {
        let away = [NEVER.to_vec(), vec![absence(990, 1200), absence(1900, 2060), absence(2990, 3060)]];
        let counted = |error| {
            let mut rounds = rounds(0);
            assign(&mut rounds, &away, &clock::tests::estimated(&[0, 0], error));
            backs(&rounds)
        };
        assert_eq!(counted(10), [Some(1200), Some(2060), Some(3060)]);
        assert_eq!(counted(11), [None; 3], "it may have begun after the send, or ended before the send's end");
        let mut of_host = rounds(0);
        of_host[0].initiator = None;
        assign(&mut of_host, &away, &clock::tests::estimated(&[0, 0], 11));
        assert_eq!(backs(&of_host)[0], Some(1200), "the host's own stamps are on its clock");
    }

    #[test]
    fn a_preempted_target_was_at_cpl3_too() {
        let away = [NEVER.to_vec(), vec![absence(900, 9000)]];
        let counted = |flags| {
            let mut rounds = rounds(flags);
            assign(&mut rounds, &away, &exact());
            assess(&spec(TargetState::Preempted), rounds, &QUIET, Exits::new(), &[]).rounds.len()
        };
        assert_eq!((counted(sample_flags::FROM_USER), counted(0)), (2, 0));
        let nobody = assess(&spec(TargetState::Preempted), rounds(sample_flags::FROM_USER), &QUIET, Exits::new(), &[]);
        assert_eq!((nobody.rounds.len(), nobody.not_in_state), (0, 2));
    }

    #[test]
    fn a_thread_that_did_not_wait_for_so_long_was_not_preempted() {
        let mut rounds = rounds(0);
        for round in &mut rounds {
            round.stamps.t2 = round.stamps.t0 + 700;
        }
        // It is kept from the first call for 500, from the second one for 600 and, before the send, for 150 of 250; from the third
        // one, it is not.
        let target = [(900, 1500), (1600, 1850), (1990, 2600), (2650, 2800)];
        let away = [NEVER.to_vec(), target.map(|(since, until)| absence(since, until)).into()];
        assign(&mut rounds, &away, &exact());
        let mut limited = |waited, tolerance| {
            limit(&mut rounds, &away, waited, tolerance);
            backs(&rounds)
        };
        assert_eq!(limited(&[None, Some(500 + 610 + 150)], 0), [Some(1500), Some(2600), None], "it waited for as long");
        assert_eq!(limited(&[Some(0), None], 0), [Some(1500), Some(2600), None], "nobody knows");
        assert_eq!(
            limited(&[None, Some(500 + 610 + 150 - 3 * 7)], 7),
            [Some(1500), Some(2600), None],
            "as well as is known"
        );
        assert_eq!(limited(&[None, Some(500 + 610 + 150 - 3 * 7 - 1)], 7), [None; 3]);
    }
}
