//! What a virtual machine's times are divided by, to say how many times as long they are as natively: the same call on the host's
//! own processors.

use super::plan::{self, Refused};
use super::refusal::{Change, Refusal};
use super::routes::{self, Route};
use super::{Call, CellId, Config, HostOffers, Observe};
use guest_stub::abi::{Destination, TargetState};

/// The native cells that a cell is divided by: of busy threads, and if its targets are halted, of threads that sleep as well. None,
/// if it is native itself, or of the VMM's vantage, for which there are no exits natively.
///
/// # Errors
/// Why there is no like call natively.
pub fn of(cell: &CellId) -> Result<Vec<CellId>, Refusal> {
    let route = routes::of(cell.route);
    if route.is_native() || cell.observe == Observe::Exits {
        return Ok(Vec::new());
    }
    if route.is_host() {
        return Err(Refusal::Combination(
            "the host calls every vCPU, and none of the threads calls all of them",
            A_VCPU,
        ));
    }
    let destination = destination(cell.destination)?;
    let natively = |route, target_state| CellId { route, destination, target_state, ..*cell };
    let busy = CellId {
        idle_before_us: None,
        ..natively(
            match cell.call {
                Call::Broadcast => Route::NativeRseq,
                Call::Ping => Route::Native,
            },
            TargetState::User,
        )
    };
    Ok(match cell.target_state {
        TargetState::Spin | TargetState::User | TargetState::Masked | TargetState::Preempted | TargetState::Out => {
            vec![busy]
        }
        TargetState::Halt => vec![busy, natively(Route::NativeFutex, TargetState::Halt)],
    })
}

const A_VCPU: &[Change] = &[Change::Route(Route::X2Apic)];

/// The native destination that has the same targets.
fn destination(of: Destination) -> Result<Destination, Refusal> {
    const UNICAST: &[Change] = &[Change::Destination(Destination::Unicast)];
    match of {
        Destination::Unicast => Ok(Destination::Unicast),
        // The sender's own interrupt is what the one has more; the kernel, too, sends to a cluster at once where it can.
        Destination::AllButSelf | Destination::All | Destination::Logical => Ok(Destination::AllButSelf),
        Destination::Itself | Destination::SelfIpi => {
            Err(Refusal::Combination("natively, no thread interrupts its own CPU", UNICAST))
        }
        // `membarrier_ipi_mutex` in Linux' `kernel/sched/membarrier.c`.
        Destination::Mesh => {
            Err(Refusal::Combination("natively, one thread calls at a time: membarrier(2) lets others wait", UNICAST))
        }
    }
}

/// The native cells that are to be measured beside `cells`, each once and only if it is none of them, and the cells that have none,
/// with the reason.
pub fn plan(config: &Config, cells: &[CellId], offers: HostOffers) -> (Vec<CellId>, Vec<Refused>) {
    let (mut beside, mut undivided) = (Vec::new(), Vec::new());
    for cell in cells {
        let mut refuse = |refusal| {
            let refused = Refused { cell: CellId { idle_before_us: None, ..*cell }, refusal };
            if !undivided.contains(&refused) {
                undivided.push(refused);
            }
        };
        let divisors = match of(cell) {
            Ok(divisors) => divisors,
            Err(refusal) => {
                refuse(refusal);
                continue;
            }
        };
        for divisor in divisors {
            match plan::refuse_under(config, &divisor, offers) {
                Some(refusal) => refuse(refusal),
                None if cells.contains(&divisor) || beside.contains(&divisor) => {}
                None => beside.push(divisor),
            }
        }
    }
    (beside, undivided)
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::config;
    use super::*;
    use guest_stub::abi::Worker;

    fn cell(route: Route, destination: Destination, state: TargetState) -> CellId {
        CellId::broadcast(route, destination, state, 2)
    }

    #[test]
    fn like_is_divided_by_like() {
        let (all, one) = (Destination::AllButSelf, Destination::Unicast);
        let rseq = |destination| cell(Route::NativeRseq, destination, TargetState::User);
        let futex = |destination| cell(Route::NativeFutex, destination, TargetState::Halt);
        for state in [TargetState::Spin, TargetState::User] {
            assert_eq!(of(&cell(Route::X2Apic, all, state)), Ok(vec![rseq(all)]));
        }
        assert_eq!(of(&cell(Route::Nmi, one, TargetState::Masked)), Ok(vec![rseq(one)]));
        assert_eq!(of(&cell(Route::Memory, all, TargetState::Spin)), Ok(vec![rseq(all)]));
        for destination in [Destination::All, Destination::Logical] {
            assert_eq!(
                of(&cell(Route::XApic, destination, TargetState::User)),
                Ok(vec![rseq(all)]),
                "the same targets"
            );
        }
        let halted = cell(Route::VmmXApic, one, TargetState::Halt);
        assert_eq!(of(&halted), Ok(vec![rseq(one), futex(one)]));
        let idle_before_us = Some(300);
        let idle = CellId { idle_before_us, ..halted };
        assert_eq!(of(&idle), Ok(vec![rseq(one), CellId { idle_before_us, ..futex(one) }]), "who sleeps as long");
        let ping = |it: CellId| CellId { call: Call::Ping, ..it };
        let bare = ping(cell(Route::Native, one, TargetState::User));
        assert_eq!(of(&ping(cell(Route::X2Apic, one, TargetState::Spin))), Ok(vec![bare]));
        assert_eq!(of(&ping(cell(Route::Msi, one, TargetState::Halt))), Ok(vec![bare, ping(futex(one))]));
    }

    #[test]
    fn what_is_unlike_says_so() {
        let ping = |destination| CellId { call: Call::Ping, ..cell(Route::X2Apic, destination, TargetState::Spin) };
        let reason = |cell: &CellId| of(cell).map_err(Refusal::reason).expect_err("no like call");
        assert!(reason(&ping(Destination::Mesh)).contains("one thread calls at a time"));
        assert!(reason(&ping(Destination::Itself)).contains("its own CPU"));
        assert!(reason(&ping(Destination::SelfIpi)).contains("its own CPU"));
        for route in [Route::Host, Route::VmmHost] {
            assert!(reason(&cell(route, Destination::AllButSelf, TargetState::User)).contains("every vCPU"));
        }
        let user = cell(Route::NativeRseq, Destination::AllButSelf, TargetState::User);
        assert_eq!(of(&user), Ok(vec![]), "it is native itself");
        assert_eq!(of(&CellId { observe: Observe::Exits, ..user }), Ok(vec![]));
    }

    #[test]
    fn each_divisor_that_is_not_asked_for_is_added_once() {
        let all = Destination::AllButSelf;
        let [rseq, futex] = [(Route::NativeRseq, TargetState::User), (Route::NativeFutex, TargetState::Halt)]
            .map(|(route, state)| cell(route, all, state));
        let guests =
            [TargetState::Spin, TargetState::User, TargetState::Halt].map(|state| cell(Route::XApic, all, state));
        let added = |cells: &[CellId]| plan(&config(), cells, HostOffers::EVERYTHING);
        assert_eq!(added(&guests), (vec![rseq, futex], vec![]));
        assert_eq!(added(&guests[..2]), (vec![rseq], vec![]));
        assert_eq!(added(&[guests[2], rseq]), (vec![futex], vec![]), "the user has named it");
        assert_eq!(added(&[rseq]), (vec![], vec![]));
    }

    #[test]
    fn who_has_no_divisor_here_says_why() {
        let all = Destination::AllButSelf;
        let guests =
            [TargetState::User, TargetState::Halt].map(|state| CellId { vcpus: 3, ..cell(Route::XApic, all, state) });
        let reasons = |config: &Config, offers| {
            let (added, undivided) = plan(config, &guests, offers);
            let reasons: Vec<_> = undivided.iter().map(|it| (it.cell.target_state, it.refusal.reason())).collect();
            (added.len(), reasons)
        };
        let (user, halt) = (TargetState::User, TargetState::Halt);
        let (added, crowded) = reasons(&config(), HostOffers::EVERYTHING);
        assert!(added == 0 && crowded.iter().all(|(_, reason)| reason.contains("a CPU of its own")), "{crowded:?}");
        assert_eq!(crowded.iter().map(|(state, _)| *state).collect::<Vec<_>>(), [user, halt], "once each");
        let roomy = Config { pin: vec![0, 1, 2], ..config() };
        let without = HostOffers { membarrier_rseq: false, ..HostOffers::EVERYTHING };
        let (added, old) = reasons(&roomy, without);
        assert_eq!(added, 1, "sleeping threads are woken anywhere");
        assert!(old.len() == 2 && old.iter().all(|(_, reason)| reason.contains("PRIVATE_EXPEDITED_RSEQ")), "{old:?}");
        let (added, breaking) = reasons(&Config { worker: Worker::Verify, ..roomy }, HostOffers::EVERYTHING);
        assert!(added == 0 && breaking[0].1.contains("IRQL"), "{breaking:?}");
    }
}
