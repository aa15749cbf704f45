//! Calls that several processors make at once: what vCPU 0, the initiators and the others do.

use super::command::Calls;
use super::initiator::{self, Initiator};
use super::{fault, verify};
use crate::activity;
use crate::call::worker::WorkerFn;
use crate::cpu::tsc;
use crate::participant;
use crate::polling;
use crate::processor::{GENERATIONS, Private};
use crate::shared;
use crate::vectors;
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{Fault, Report, Status, command};
use guest_stub::mask;
use guest_stub::rendezvous::Generation;

/// The activity whose initiators may begin.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// vCPU 0's part: lets the initiators make their calls, and waits until all have. `None`: the command is not valid.
pub(crate) fn lead(
    private: &'static Private,
    processors: usize,
    command: &command::Calls,
    worker: WorkerFn,
) -> Option<Report> {
    let calls = Calls::parse(command, worker)?;
    // Not that of the calls, which may be short on purpose.
    let deadline = command.deadline.max(shared::boot().deadline);
    fault::set(calls.manner.fault);
    // SAFETY: this is vCPU 0, between two commands.
    unsafe { vectors::set_wait(calls.wait) };
    let (phases, stepped) = (command.phases != 0, command.stepped != 0);
    verify::expect(verify::Expectation { phases, stepped, work: command.work });
    if command.last_generation != 0 {
        GENERATIONS.restart_after(Generation::from_stored(command.last_generation));
    }
    initiator::reset_progress();
    let activity = activity::begin(private, processors);
    if let Err(report) = activity::wait_until_ready(private.index, processors, 0, deadline) {
        return Some(report);
    }
    participant::enter(private, calls.route);
    calls.timer.start(private);
    // Release pairs with `wait_for_start`.
    STARTED.store(activity, Ordering::Release);
    if calls.has_initiator(private.index) {
        Initiator::new(private, processors, &calls).make_calls();
    }
    let initiators = mask::indices(&command.initiators).filter(|&index| index < processors).count() as u32;
    // The VMM's watchdog sees to an end.
    while !initiator::have_finished(initiators) {
        private.user_page().handled().store(initiator::calls_made(), Ordering::Relaxed);
        polling::poll_until(tsc::now(), || initiator::have_finished(initiators));
    }
    calls.timer.stop(private);
    fault::set(Fault::Nothing);
    let report = Report { rounds: initiator::calls_made(), ..activity::report(Status::Done) };
    Some(activity::end(private, processors, activity, deadline, report))
}

/// Another processor's part. `None`: the command is not valid.
pub(crate) fn follow(
    private: &'static Private,
    processors: usize,
    activity: u32,
    command: &command::Calls,
    worker: WorkerFn,
) -> Option<()> {
    let calls = Calls::parse(command, worker)?;
    participant::enter(private, calls.route);
    calls.timer.start(private);
    if calls.has_initiator(private.index) {
        private.user_page().ready().store(0, Ordering::Release);
        wait_for_start(activity);
        Initiator::new(private, processors, &calls).make_calls();
    }
    participant::stay(private, calls.route, calls.destination, calls.state, calls.wait);
    calls.timer.stop(private);
    if command.observe != 0 {
        participant::take_pending_interrupts();
    }
    Some(())
}

/// Waits until everybody is ready for the calls of `activity`. vCPU 0 says so, or that there are none.
fn wait_for_start(activity: u32) {
    // Acquire pairs with the Release in `lead`.
    polling::poll_until(u64::MAX, || STARTED.load(Ordering::Acquire) == activity);
}
