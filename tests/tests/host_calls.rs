//! Calls that the host starts, from several threads, and what becomes of those that nobody answers.

use guest_stub::abi::{TargetState, Worker};
use kipi::config::LocalApics;
use kipi::config::routes::Route;
use kipi::guest::calls::{self, CallsSpec};
use kipi::guest::host_call::{self, Callees, HostCall, HostResults};
use kipi::guest::serve::{Waiting, serve};
use kipi::guest::session::{Limits, Session};
use kipi::vm::{Hypervisor, VmConfig};
use kipi_tests::{HANG, hypervisor, machine, run_tests, test, turn};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

fn boot(hypervisor: &Hypervisor, vcpus: usize, local_apics: LocalApics) -> Session<'static> {
    let config = VmConfig { local_apics, ..machine(vcpus) };
    let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
    kipi_tests::boot(hypervisor, &config, limits)
}

fn host_call(targets: Callees<'_>, deadline: Duration) -> HostCall<'_> {
    HostCall { worker: Worker::Stamp, argument: 40, targets, observe: false, deadline }
}

#[test]
fn any_thread_calls_while_the_vcpus_wait() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    for (local_apics, route) in [(LocalApics::Kernel, Route::XApic), (LocalApics::User, Route::VmmXApic)] {
        let mut machine = boot(&hypervisor, 3, local_apics);
        let waiting = Waiting { target_state: TargetState::Halt, deadline: Duration::from_secs(10) };
        let call_often = |session: &Session<'_>, targets: Callees<'_>| -> Vec<HostResults> {
            let call = host_call(targets, Duration::from_secs(10));
            (0..20).map(|_| session.broadcast(&call).expect("the host's call completes")).collect()
        };
        let some: &[usize] = &[2, 1];
        let results = serve(&mut machine, waiting, |session| {
            std::thread::scope(|scope| {
                [Callees::All, Callees::These(some), Callees::Each, Callees::These(&[])]
                    .map(|targets| scope.spawn(move || call_often(session, targets)))
                    .map(|thread| thread.join().expect("no panic"))
            })
        });
        let results = results.expect("the machine serves");
        let everybody = [(0, 40), (1, 41), (2, 42)];
        for (calls, values) in results.iter().zip([&everybody[..], &everybody[1..], &everybody[..], &[]]) {
            assert!(calls.iter().all(|call| call.values == values), "{local_apics:?}: {calls:?}");
            assert!(calls.iter().all(|call| call.t0 <= call.t1 && call.t1 <= call.t2), "{local_apics:?}: {calls:?}");
        }
        let mut generations: Vec<u32> = results.iter().flatten().map(|call| call.generation).collect();
        generations.sort_unstable();
        assert!(generations.windows(2).all(|pair| pair[0] != pair[1]), "each call has its own generation");
        // The machine goes on as before.
        let calls = calls::run(&mut machine, &CallsSpec { route, calls: 2, ..CallsSpec::default() }, &mut |_| ());
        assert_eq!(calls.expect("vCPU 0 calls").made, 2);
    }
}

#[test]
fn who_does_not_answer_the_host_is_named_within_the_deadline() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 2, LocalApics::Kernel);
    let waiting = |target_state| Waiting { target_state, deadline: Duration::from_secs(10) };
    let short = Duration::from_millis(50);
    let error = serve(&mut machine, waiting(TargetState::Masked), |session| {
        session.broadcast(&host_call(Callees::These(&[1]), short))
    });
    match error.expect("the machine serves") {
        Err(host_call::Error::Silent { missing, .. }) => assert_eq!(missing, [1]),
        other => panic!("vCPU 1 has interrupts off, and the call has {other:?}"),
    }
    let error = serve(&mut machine, waiting(TargetState::Halt), |session| {
        session.broadcast(&host_call(Callees::These(&[2]), short))
    });
    assert!(matches!(error.expect("the machine serves"), Err(host_call::Error::NoSuchVcpu { vcpu: 2, vcpus: 2 })));
    // Nobody is in the guest: vCPU 0 waits for a command outside.
    let error = machine.broadcast(&host_call(Callees::These(&[0]), short)).unwrap_err();
    assert!(matches!(error, host_call::Error::Silent { .. }), "{error}");
}

#[test]
fn a_target_that_comes_late_is_sent_for_again() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 2, LocalApics::User);
    let waiting = Waiting { target_state: TargetState::Spin, deadline: Duration::from_secs(10) };
    let results = serve(&mut machine, waiting, |session| {
        // Out of the guest for three quarters of the deadline.
        session.vm().stall(1, Duration::from_millis(1500));
        std::thread::sleep(Duration::from_millis(50));
        session.broadcast(&host_call(Callees::All, Duration::from_secs(2)))
    });
    let results = results.expect("the machine serves").expect("the call completes");
    assert!(results.resent, "{results:?}");
}
