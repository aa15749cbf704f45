//! What states `preempted` and `out` need.

use super::*;
use crate::config::Refusal;

/// Why each cell of this state is refused; `None`: one of them can be measured.
fn reason(config: Config, state: TargetState) -> Option<&'static str> {
    let config = Config { routes: vec![Route::X2Apic], target_states: vec![state], ..config };
    let (cells, refused) = plan(&config, HostOffers::EVERYTHING);
    assert!(cells.is_empty() || refused.is_empty(), "all destinations alike");
    refused.first().map(|refused| refused.refusal.reason())
}

#[test]
fn a_preempted_target_needs_a_cpu_that_a_competitor_can_have_too() {
    let reason = |config| reason(config, TargetState::Preempted);
    assert_eq!(reason(config()), None);
    let unpinned = reason(Config { pin: Vec::new(), ..config() });
    assert!(unpinned.is_some_and(|reason| reason.contains("not pinned")));
    let crowded = reason(Config { vcpus: vec![3], ..config() });
    assert!(crowded.is_some_and(|reason| reason.contains("a CPU of its own")));
    // The first two share a CPU, whatever the third would have.
    let shared = reason(Config { pin: vec![1, 1, 0], ..config() });
    assert!(shared.is_some_and(|reason| reason.contains("a CPU of its own")));
    assert!(reason(Config { vcpus: vec![1], ..config() }).is_some_and(|reason| reason.contains("calls itself")));
}

#[test]
fn a_host_that_calls_preempted_vcpus_needs_one_more_cpu() {
    let config = |cpus: &[usize]| Config {
        routes: vec![Route::Host],
        destinations: vec![Destination::AllButSelf],
        target_states: vec![TargetState::Preempted],
        cpus: cpus.to_vec(),
        ..config()
    };
    let refused = |config| plan(&config, HostOffers::EVERYTHING).1;
    assert!(refused(config(&[0, 1]))[0].refusal.reason().contains("needs another CPU"));
    assert_eq!(refused(config(&[0, 1, 2])), []);
    assert_eq!(refused(Config { vcpus: vec![1], ..config(&[0, 1]) }), [], "the one vCPU does not call itself");
}

#[test]
fn an_exit_lasts_for_longer_than_the_wait_before_the_send() {
    let reason = |config| reason(config, TargetState::Out);
    assert_eq!(reason(config()), None);
    assert!(reason(Config { settle: config().out, ..config() }).is_some_and(|reason| reason.contains("--out-us")));
    assert_eq!(reason(Config { pin: Vec::new(), vcpus: vec![5], ..config() }), None, "wherever the threads run");
}

#[test]
fn a_target_that_polls_is_preempted_but_never_out() {
    let cell = |state| CellId::broadcast(Route::Memory, Destination::AllButSelf, state, 2);
    let refused = |state| refuse(&cell(state), HostOffers::EVERYTHING).map(Refusal::reason);
    assert_eq!(refused(TargetState::Preempted), None);
    assert_eq!(refused(TargetState::Out), Some("a target that polls makes no exits"));
    let alone = CellId { call: Call::Ping, destination: Destination::Itself, ..cell(TargetState::Out) };
    assert!(refuse(&CellId { route: Route::X2Apic, ..alone }, HostOffers::EVERYTHING).is_some());
}

#[test]
fn threads_of_the_host_are_neither() {
    let refused = |state| {
        let cell = CellId::broadcast(Route::NativeRseq, Destination::AllButSelf, state, 2);
        refuse(&cell, HostOffers::EVERYTHING).map(Refusal::reason)
    };
    assert!(refused(TargetState::Preempted).is_some_and(|reason| reason.contains("not running")));
    assert_eq!(refused(TargetState::Out), Some("without a virtual machine there is no exit to be in"));
}
