//! What threads of the host are refused.

use super::*;
use crate::config::Refusal;

#[test]
fn threads_are_refused_what_only_vcpus_have() {
    let reason = |cell: CellId| refuse(&cell, HostOffers::EVERYTHING).map(Refusal::reason);
    let rseq = |state| CellId::broadcast(Route::NativeRseq, Destination::AllButSelf, state, 2);
    let user = rseq(TargetState::User);
    assert_eq!(reason(user), None);
    assert_eq!(reason(rseq(TargetState::Spin)), Some("a thread of the host runs at CPL3"));
    assert_eq!(reason(rseq(TargetState::Halt)), Some("the kernel interrupts no idle CPU"));
    assert_eq!(reason(rseq(TargetState::Masked)), Some("a thread of the host cannot clear IF"));
    assert_eq!(reason(CellId { vcpus: 1, ..user }), Some("a thread alone interrupts nobody"));
    assert_eq!(reason(CellId { route: Route::Native, ..user }), Some("the kernel's interrupt runs nothing of ours"));
    assert_eq!(reason(CellId { observe: Observe::Exits, ..user }), Some("without a virtual machine nothing exits"));
    let futex = |state| CellId { route: Route::NativeFutex, ..rseq(state) };
    assert_eq!(reason(futex(TargetState::Halt)), None);
    assert_eq!(reason(futex(TargetState::User)), Some("only a thread that sleeps is woken"));
    let ping = CellId { call: Call::Ping, ..user };
    let others = Some("one thread has the kernel interrupt all others, or one by one");
    assert_eq!(reason(CellId { destination: Destination::Mesh, ..ping }), others);
    assert_eq!(reason(CellId { destination: Destination::All, ..user }), others);
    assert_eq!(reason(ping), Some("a ping has one target"));
    assert_eq!(reason(CellId { route: Route::Native, ..ping }), None, "the kernel sees all of them");
}

#[test]
fn an_interrupt_of_all_threads_has_as_many_targets() {
    let all = CellId::broadcast(Route::Native, Destination::AllButSelf, TargetState::User, 4);
    let ping = CellId { call: Call::Ping, ..all };
    assert_eq!((targets(&ping), targets(&CellId { destination: Destination::Unicast, ..ping })), (3, 1));
}

#[test]
fn each_thread_needs_a_cpu_and_has_no_irql() {
    let (route, states) = (Route::NativeRseq, vec![TargetState::User]);
    let crowded = Config { routes: vec![route, Route::X2Apic], target_states: states, vcpus: vec![3], ..config() };
    let refused = |config: &Config| {
        let (_, refused) = plan(config, HostOffers::EVERYTHING);
        refused.into_iter().find(|it| it.cell.route == route && it.cell.destination == Destination::AllButSelf)
    };
    let refusal = refused(&crowded).expect("a refusal").refusal;
    assert!(refusal.reason().contains("a CPU of its own"));
    assert_eq!(refusal.ways_out(), [crate::config::Change::Vcpus(2)]);
    let unpinned = Config { pin: Vec::new(), cpus: vec![0, 1, 2], ..crowded };
    assert_eq!(refused(&unpinned), None);
    let breaking = Config { worker: Worker::Hang, ..unpinned };
    assert!(refused(&breaking).is_some_and(|it| it.refusal.reason().contains("IRQL")));
    let (cells, _) = plan(&breaking, HostOffers::EVERYTHING);
    assert!(cells.iter().any(|cell| cell.route == Route::X2Apic), "which vCPUs may run");
}
