//! What processors do for ever: vCPU 0 runs the VMM's commands, the others take part.

use crate::activity;
use crate::acts;
use crate::block;
use crate::calibrate;
use crate::call::parked::Parking;
use crate::conformance::{calls, hostile, processor as processor_tests};
use crate::cpu::{flags, hyperv, tsc};
use crate::exchange;
use crate::ping;
use crate::polling;
use crate::processor::{GENERATIONS, HOST_PACKETS, Private, SLOTS};
use crate::serve;
use crate::shared;
use crate::workers;
use guest_stub::abi::command::{self, Command};
use guest_stub::abi::{self, HostCalls, MAX_VCPUS, Operation, Report, Status};
use guest_stub::icr::{self, To};
use guest_stub::rendezvous::{Gathering, Generation};

/// The processors that are to start, where they share CPUs: vCPU 0, which waits for them, leaves its CPU to them.
static STARTS: Gathering = Gathering::new();
/// There is no call yet whose number this could be.
const START: Generation = Generation::from_stored(4);

/// vCPU 0: starts the others, then runs what the VMM asks for.
pub(crate) fn run_commands(private: &'static Private) -> ! {
    // SAFETY: the tables are loaded.
    unsafe { flags::enable_interrupts() };
    let boot = shared::boot();
    let processors = processors();
    if boot.yield_cpu != 0 {
        polling::yield_while_waiting();
    }
    private.apic.set_mode(boot.x2apic != 0);
    private.touch_ring();
    if boot.hyperv != 0 {
        hyperv::enable();
        hyperv::introduce(private.index);
    }
    shared::tell_host(&HostCalls {
        slots: SLOTS.as_ptr() as u64,
        packets: HOST_PACKETS.as_ptr() as u64,
        generations: &raw const GENERATIONS as u64,
        reserved: 0,
        workers: workers::addresses(false),
        observed_workers: workers::addresses(true),
    });
    shared::report(start_others(private, processors, boot.deadline));
    loop {
        shared::ring(abi::PORT_DOORBELL, 0);
        let report = lead(private, processors, &shared::command());
        shared::report(report.unwrap_or_else(|| activity::report(Status::BadCommand)));
    }
}

/// Any other processor.
pub(crate) fn take_part(private: &'static Private) -> ! {
    let boot = shared::boot();
    private.apic.set_mode(boot.x2apic != 0);
    if boot.hyperv != 0 {
        hyperv::introduce(private.index);
    }
    let mut activity = activity::STARTED;
    activity::finish(private, activity);
    if boot.yield_cpu != 0 {
        STARTS.come_and_wake(START, &Parking(private));
    }
    loop {
        activity = activity::sleep_until_next(activity);
        // A command that vCPU 0 has found invalid is not announced.
        let _ = follow(private, activity, &shared::command());
        activity::finish(private, activity);
    }
}

/// Runs one command. `None`: it is not valid.
fn lead(private: &'static Private, processors: usize, command: &Command) -> Option<Report> {
    match command.operation()? {
        Operation::Block => {
            let payload: command::Block = command.payload()?;
            block::lead(private, processors, &payload, workers::find(payload.worker, payload.observe)?)
        }
        Operation::Pings => ping::lead(private, processors, &command.payload()?),
        Operation::Calibrate => Some(calibrate::instruments(private, command.payload()?)),
        Operation::ClockExchange => exchange::lead(private, processors, &command.payload()?),
        Operation::Calls => {
            let payload: command::Calls = command.payload()?;
            calls::lead(private, processors, &payload, workers::find(payload.worker, payload.observe)?)
        }
        Operation::Serve => serve::lead(private, processors, &command.payload()?),
        Operation::Spray => hostile::lead(private, processors, &command.payload()?),
        Operation::Processor => processor_tests::lead(private, processors, &command.payload()?),
        Operation::Acts => acts::run(private, &command.payload()?),
    }
}

/// Takes part in vCPU 0's command.
fn follow(private: &'static Private, activity: u32, command: &Command) -> Option<()> {
    let processors = processors();
    match command.operation()? {
        Operation::Block => {
            let payload: command::Block = command.payload()?;
            block::follow(private, processors, &payload, workers::find(payload.worker, payload.observe)?);
        }
        Operation::Pings => ping::follow(private, processors, &command.payload()?),
        Operation::Calibrate | Operation::Processor | Operation::Acts => {}
        Operation::ClockExchange => exchange::follow(private, &command.payload()?),
        Operation::Calls => {
            let payload: command::Calls = command.payload()?;
            let worker = workers::find(payload.worker, payload.observe)?;
            calls::follow(private, processors, activity, &payload, worker)?;
        }
        Operation::Serve => serve::follow(private, &command.payload()?),
        Operation::Spray => hostile::follow(private, &command.payload()?),
    }
    Some(())
}

/// How many processors there are.
fn processors() -> usize {
    (shared::boot().vcpus as usize).clamp(1, MAX_VCPUS)
}

/// INIT, and start-up twice if once is not enough (SDM Vol. 3A 10.4.4.1). The mode is the one that `set_mode` set.
fn start_others(private: &'static Private, processors: usize, deadline: u64) -> Report {
    if processors == 1 {
        return activity::report(Status::Done);
    }
    let start = tsc::now();
    let boot = shared::boot();
    let has_started = |other| activity::has_finished(other, activity::STARTED);
    let everybody_is_up = || (1..processors).all(has_started);
    STARTS.expect(START, processors as u32 - 1);
    let wait = |until| {
        if boot.yield_cpu == 0 {
            return polling::poll_until(until, everybody_is_up);
        }
        STARTS.sleep_until_complete(START, until, &Parking(private))
    };
    let startup = icr::startup_at(boot.sipi_vector as u8, To::AllButSelf);
    private.apic.send(icr::init(To::AllButSelf), To::AllButSelf);
    tsc::wait_until(tsc::now().wrapping_add(boot.init_wait));
    private.apic.send(startup, To::AllButSelf);
    if wait(start.wrapping_add(deadline / 4)) {
        return activity::report(Status::Done);
    }
    private.apic.send(startup, To::AllButSelf);
    if wait(start.wrapping_add(deadline)) {
        return activity::report(Status::Done);
    }
    let missing = activity::others(0, processors, |other| !has_started(other));
    Report { missing, ..activity::report(Status::NotResponding) }
}
