//! When the guest breaks a rule or falls silent, the machine says who and where, and nothing is left behind.

use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::Route;
use kipi::config::{self, CellId, Config, HostOffers, MachineSpec};
use kipi::events::recording::Recording;
use kipi::events::samples::Block;
use kipi::experiment::machine::{self, Machine, VirtualMachine};
use kipi::experiment::{self, Observer};
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::calibration::Calibration;
use kipi::guest::session::{Error, Limits, Session};
use kipi::statistics::clock_error::{ClockError, Comparisons};
use kipi::vcpu::stop::StopReason;
use kipi::vm::Hypervisor;
use kipi_tests::{HANG, hypervisor, machine, run_tests, test, turn, wait_until};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn main() -> std::process::ExitCode {
    run_tests()
}

const HALTED: CellId = CellId::broadcast(Route::XApic, Destination::AllButSelf, TargetState::Halt, 2);

const CALL: BlockSpec = BlockSpec {
    cell: HALTED,
    initiator: 0,
    worker: Worker::Stamp,
    argument: 0,
    recording: Recording::COUNTS,
    warmup: 0,
    rounds: 2,
};

/// A deadline for what is to go wrong; what goes well needs a tenth of it on a busy machine.
const SHORT: Duration = Duration::from_secs(3);

fn boot(hypervisor: &Hypervisor, vcpus: usize, deadline: Duration) -> Session<'static> {
    let limits = Limits { deadline, settle: Duration::ZERO };
    kipi_tests::boot(hypervisor, &machine(vcpus), limits)
}

/// One block on a machine of any size.
fn run(machine: &mut Session<'_>, spec: &BlockSpec) -> Result<Block, Error> {
    let cell = CellId { vcpus: machine.vcpus(), ..spec.cell };
    blocks::run(machine, &BlockSpec { cell, ..*spec }, None)
}

fn assert_says(error: &Error, needles: &[&str]) {
    let text = error.to_string();
    for needle in needles {
        assert!(text.contains(needle), "no {needle:?} in: {text}");
    }
    assert!(!text.contains('\n'), "more than one line: {text}");
}

/// Threads of vCPUs in this process.
fn vcpu_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("procfs").filter_map(Result::ok);
    // A thread may end between the listing and the look.
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("vcpu")).count()
}

#[test]
fn a_worker_that_faults_is_a_bug_check() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    for vcpus in [1, 2, 3] {
        let mut machine = boot(&hypervisor, vcpus, HANG / 4);
        let error = run(&mut machine, &BlockSpec { worker: Worker::Fault, ..CALL }).expect_err("a fault");
        assert!(matches!(error, Error::BugCheck(_)), "{error:?}");
        let who = format!("bug check on vCPU {}: #UD", vcpus - 1);
        assert_says(&error, &[&who, "vector 6", "error code 0x0", "RIP 0x", "workers::fault", "IRQL 14"]);
    }
}

#[test]
fn a_worker_that_faults_in_a_polling_target_is_a_bug_check_too() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 2, HANG / 4);
    let spec = BlockSpec {
        cell: CellId { route: Route::Memory, target_state: TargetState::Spin, ..HALTED },
        worker: Worker::Fault,
        ..CALL
    };
    assert_says(&run(&mut machine, &spec).expect_err("a fault"), &["bug check on vCPU 1: #UD", "workers::fault"]);
}

#[test]
fn a_worker_that_never_returns_on_a_target_is_a_bug_check() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 2, SHORT);
    let error = run(&mut machine, &BlockSpec { worker: Worker::Hang, ..CALL }).expect_err("an overstay");
    assert!(matches!(error, Error::BugCheck(_)), "{error:?}");
    assert_says(
        &error,
        &["bug check on vCPU 1", "did not return within the call's deadline", "vCPU 0", "workers::hang"],
    );
}

/// No other vCPU of the guest notices: the VMM's watchdog asks by an NMI, and the initiator answers with its bug check.
#[test]
fn a_worker_that_never_returns_on_the_initiator_meets_the_watchdog() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 1, SHORT / 4);
    let error = run(&mut machine, &BlockSpec { worker: Worker::Hang, ..CALL }).expect_err("a hang");
    assert!(matches!(error, Error::BugCheck(_)), "{error:?}");
    assert_says(
        &error,
        &["bug check on vCPU 0", "did not return within the call's deadline", "workers::hang", "IRQL 14"],
    );
}

/// A vCPU that is kept out of the guest does not take part: the line says which, and where it was.
#[test]
fn a_silent_target_is_named_with_its_place() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 3, SHORT);
    run_well(&mut machine);
    machine.vm().pause(2);
    let error = run(&mut machine, &CALL).expect_err("nobody speaks for vCPU 2");
    let Error::GivenUp(given_up) = &error else { panic!("{error:?}") };
    let diagnosis = &given_up.diagnosis;
    assert_eq!((given_up.block.integrity.timed_out, given_up.block.rounds.len()), (1, 0), "{error}");
    assert_eq!(diagnosis.missing, [2], "{error}");
    assert!(diagnosis.places[1].is_some() && diagnosis.places[2].is_some(), "{error}");
    assert_says(&error, &[": vCPU 2; vCPU 2 ", "at RIP 0x", "IRQL 0"]);
}

/// A virtual machine whose last vCPU is kept out of the guest in one of its blocks.
struct Unlucky<'a> {
    machine: VirtualMachine<'a>,
    vcpus: usize,
    /// Blocks until then; `None`: never.
    blocks: Option<usize>,
}

impl Machine for Unlucky<'_> {
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, machine::Error> {
        if self.blocks == Some(0) {
            self.machine.session().vm().pause(self.vcpus - 1);
        }
        self.blocks = self.blocks.and_then(|blocks| blocks.checked_sub(1));
        self.machine.run_block(spec)
    }

    fn calibrate(&mut self, count: usize) -> Result<Calibration, machine::Error> {
        self.machine.calibrate(count)
    }

    fn tsc_khz(&self) -> u64 {
        self.machine.tsc_khz()
    }

    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, machine::Error> {
        self.machine.clock_error(earlier)
    }

    fn boot_time(&self) -> Duration {
        self.machine.boot_time()
    }

    fn warnings(&self) -> Vec<String> {
        self.machine.warnings()
    }
}

/// A call that is given up on real vCPUs is counted, and does not end the measurement.
#[test]
fn a_silent_target_costs_its_cell_a_call_and_the_others_nothing() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let vcpus = 3;
    let config = Config {
        vcpus: vec![vcpus],
        routes: vec![Route::XApic],
        target_states: vec![TargetState::Halt, TargetState::User],
        deadline: Some(SHORT),
        ..kipi_tests::measurement()
    };
    let mut boots = 0;
    let boot = |_: MachineSpec| {
        boots += 1;
        let session = boot(&hypervisor, vcpus, SHORT);
        // After the call that follows the boot, and one block of each cell.
        let blocks = (boots == 1).then_some(3);
        Ok(Unlucky { machine: VirtualMachine::new(session, None, &[], &[0]), vcpus, blocks })
    };
    let (cells, refused) = config::plan(&config, HostOffers::EVERYTHING);
    let mut observer =
        Observer { progress: &mut |_, _, _| {}, samples: None, started: None, details: None, repeats: None };
    let (document, error) = experiment::run(&config, &cells, &refused, boot, &mut observer);
    assert!(error.is_none() && !document.partial, "{error:?}");
    // Disturbed blocks are measured again on machines of their own.
    assert!(boots >= 2, "{document:?}");
    let [halt, user] = &document.cells[..] else { panic!("{document:?}") };
    assert_eq!((halt.integrity.timed_out, user.integrity.timed_out), (1, 0), "{document:?}");
    let run: u64 = user.blocks.iter().map(|block| block.rounds).sum();
    assert!(run + user.not_in_state >= 10, "{user:?}");
    let said = document.warnings.iter().find(|warning| warning.contains("a call was given up"));
    assert!(said.is_some_and(|said| said.contains(": vCPU 2; vCPU 2 ")), "{:?}", document.warnings);
}

fn run_well(machine: &mut Session<'_>) {
    run(machine, &CALL).expect("a block of calls");
}

#[test]
fn a_paused_vcpu_goes_on_where_it_was() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 2, HANG / 4);
    for _ in 0..3 {
        machine.vm().pause(1);
        let stopped = machine.vm().wait(HANG).expect("vCPU 1 pauses");
        assert_eq!((stopped.vcpu, stopped.reason), (1, StopReason::Paused));
        assert!(stopped.state.is_some(), "KVM says where it is");
        machine.vm().resume(1);
        run_well(&mut machine);
    }
}

#[test]
fn a_dropped_machine_leaves_no_thread() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    assert_eq!(vcpu_threads(), 0);
    let with = |what: &str, deadline: Duration, use_it: &dyn Fn(&mut Session<'_>)| {
        let mut machine = boot(&hypervisor, 4, deadline);
        use_it(&mut machine);
        assert_eq!(vcpu_threads(), 4, "{what}: these threads are vCPUs'");
        drop(machine);
        assert_eq!(vcpu_threads(), 0, "{what}");
    };
    with("booted", HANG / 4, &|_| {});
    with("after a block", HANG / 4, &run_well);
    with("with a paused vCPU", HANG / 4, &|machine| machine.vm().pause(1));
    with("after a bug check", HANG / 4, &|machine| {
        run(machine, &BlockSpec { worker: Worker::Fault, ..CALL }).expect_err("a fault");
    });
    with("after silence", SHORT, &|machine| {
        machine.vm().pause(3);
        run(machine, &CALL).expect_err("vCPU 3 is paused");
    });
}

/// A machine that never came up, because it is stopped on the way.
#[test]
fn an_interrupted_boot_leaves_no_thread() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let stop = AtomicBool::new(true);
    let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
    // A boot that is quicker than the first look at the flag is none the worse.
    if let Err(error) = Session::boot(&hypervisor, &machine(64), limits, &stop) {
        assert!(matches!(error, Error::Interrupted), "{error}");
    }
    assert_eq!(vcpu_threads(), 0);
}

#[test]
fn an_interruption_ends_a_block_in_the_middle() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let stop = AtomicBool::new(false);
    let limits = Limits { deadline: HANG, settle: Duration::ZERO };
    let mut machine = Session::boot(&hypervisor, &machine(2), limits, &stop).expect("a guest");
    // Each round takes a good second, the block far longer than any patience.
    let argument = machine.tsc_khz() * 1000;
    let spec = BlockSpec { worker: Worker::Spin, argument, rounds: 1000, ..CALL };
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
        });
        let error = run(&mut machine, &spec).expect_err("an interruption");
        assert!(matches!(error, Error::Interrupted), "{error}");
    });
    drop(machine);
    assert!(start.elapsed() < HANG / 2, "took {:?}", start.elapsed());
    wait_until("no thread", || vcpu_threads() == 0);
}
