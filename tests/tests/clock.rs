//! Stamps of vCPUs whose TSCs differ are compared on one clock.

use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::Route;
use kipi::config::{CellId, Observe};
use kipi::events::recording::Recording;
use kipi::events::samples::{Participant, Round};
use kipi::experiment::machine::{Machine, VirtualMachine};
use kipi::guest::blocks::BlockSpec;
use kipi::guest::session::{Error, Limits, Session};
use kipi::results::metric::MetricName;
use kipi::statistics::clock_error::{ClockError, Comparisons};
use kipi::statistics::metrics;
use kipi::statistics::stages::Path;
use kipi::vm::{Hypervisor, VmConfig};
use kipi_tests::{HANG, NEVER, hypervisor, machine, run_tests, skip, test, turn};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// Seconds: no figure of a call comes near, unless the clocks' difference is in it.
const FAR: i64 = 20_000_000_000;
/// Ahead, all of them: a guest's TSC begins near zero.
const SHIFTS: [i64; 3] = [0, FAR, 2 * FAR];

/// Boots on the CPUs that there are, or on those of `pin`.
fn boot(hypervisor: &Hypervisor, pin: &'static [usize]) -> Result<VirtualMachine<'static>, Error> {
    let config = VmConfig { tsc_shifts: &SHIFTS, pin, ..machine(SHIFTS.len()) };
    // A target compares the deadline, which is one of the initiator's TSC, with its own.
    let limits = Limits { deadline: HANG, settle: Duration::from_micros(100) };
    let session = Session::boot(hypervisor, &config, limits, &NEVER)?;
    let cpus: Vec<usize> = (0..config.cpus).collect();
    Ok(VirtualMachine::new(session, None, pin, &cpus))
}

/// A machine whose vCPUs' TSCs differ, and how far its clocks are off when that is subtracted; `None`, after a line that
/// says why, where this host has none.
fn shifted(pin: &'static [usize]) -> Option<(VirtualMachine<'static>, u64)> {
    let hypervisor = hypervisor()?;
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        skip("with one CPU, no two vCPUs exchange stamps");
        return None;
    }
    let mut machine = match boot(&hypervisor, pin) {
        Ok(machine) => machine,
        Err(error @ Error::Vm(_)) => {
            skip(format_args!("this KVM moves no vCPU's TSC: {error}"));
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let ClockError { vcpus, host, subtracted, method, .. } =
        machine.clock_error(&Comparisons::default()).expect("the clocks are compared");
    if subtracted == [0; SHIFTS.len()] {
        skip("this KVM takes a TSC offset, and the guest goes on to read the host's TSC");
        return None;
    }
    assert_eq!((subtracted.as_slice(), host), (SHIFTS.as_slice(), 0), "{method}");
    assert!(method.contains("differ by up to 40000000000 cycles and are subtracted"), "{method}");
    let error = vcpus.unwrap_or_else(|| panic!("not every vCPU was compared: {method}"));
    assert!(error < FAR.unsigned_abs() / 2, "off by {error} cycles: {method}");
    Some((machine, error))
}

/// What causality demands of a round's stamps, where two clocks may differ by `error`.
fn assert_causal(round: &Round, error: u64) {
    let before = |early: u64, late: u64| assert!(early <= late.saturating_add(error), "error {error}: {round:?}");
    let worker = |each: &Participant| each.w.zip(each.x).unwrap_or_else(|| panic!("no worker: {round:?}"));
    for each in &round.participants {
        let (w, x) = worker(each);
        if let Some(a) = each.a {
            before(round.t0, a);
            round.participants.iter().for_each(|other| before(a, worker(other).0));
        }
        if let Some(vmm) = each.vmm {
            before(w, vmm);
            before(vmm, x);
        }
        before(x, round.t2);
    }
    for event in &round.trace {
        before(round.t0, event.tsc);
    }
}

/// Calls on a machine pinned like this: nothing that is computed of them has the clocks' difference in it.
fn assert_compared_on_one_clock(pin: &'static [usize]) {
    let _turn = turn();
    let Some((mut machine, error)) = shifted(pin) else { return };
    for (route, observe) in
        [(Route::XApic, Observe::Guest), (Route::XApic, Observe::Exits), (Route::Memory, Observe::Exits)]
    {
        let cell = CellId::broadcast(route, Destination::AllButSelf, TargetState::Spin, SHIFTS.len());
        let spec = BlockSpec {
            cell: CellId { observe, ..cell },
            initiator: 0,
            worker: Worker::Stamp,
            argument: 7,
            recording: Recording { kernel: false, ..Recording::EVERYTHING },
            warmup: 1,
            rounds: 10,
        };
        let block = machine.run_block(&spec).unwrap_or_else(|error| panic!("{spec:?}: {error}"));
        assert_eq!((block.rounds.len(), block.integrity.is_clean()), (10, true), "{spec:?}");
        block.rounds.iter().for_each(|round| assert_causal(round, error));
        let metrics = metrics::collect(&[&block.rounds]);
        assert!(metrics.contains_key(&MetricName::StartSkew) && metrics.contains_key(&MetricName::Overlap));
        for (metric, sample) in metrics {
            let summary = sample.summary();
            let largest = summary.min.abs().max(summary.max.abs());
            assert!(largest < FAR as f64 / 2.0, "{spec:?}: {metric:?} is up to {largest} cycles");
        }
        for path in block.rounds.iter().map(Path::critical) {
            let (costs, _) = path.costs(path.stages());
            let largest = costs.iter().flatten().map(|cost| cost.unsigned_abs()).max();
            assert!(largest.is_some_and(|cost| cost < u128::from(FAR.unsigned_abs()) / 2), "{spec:?}: {path:?}");
        }
    }
}

#[test]
fn tscs_that_differ_are_compared_on_one_clock() {
    assert_compared_on_one_clock(&[0, 1]);
}

#[test]
fn vcpus_that_may_move_are_compared_on_every_cpu() {
    assert_compared_on_one_clock(&[]);
}
