//! All processors stay in a target state, vCPU 0 too, where the host calls them.

use crate::activity;
use crate::conformance::{devices::Timer, fault, verify};
use crate::participant;
use crate::processor::{GENERATIONS, Private};
use crate::vectors;
use guest_stub::abi::command::Serve;
use guest_stub::abi::{Destination, Fault, GuestRoute, Report, Status, TargetState, Wait};
use guest_stub::rendezvous::Generation;

/// vCPU 0's part. `None`: the command is not valid.
pub(crate) fn lead(private: &'static Private, processors: usize, command: &Serve) -> Option<Report> {
    let state = TargetState::from_wire(command.target_state)?;
    let wait = Wait::from_wire(command.wait)?;
    fault::set(Fault::from_wire(command.fault)?);
    // SAFETY: this is vCPU 0, between two commands.
    unsafe { vectors::set_wait(wait) };
    verify::expect(verify::Expectation { phases: false, stepped: false, work: command.work });
    if command.last_generation != 0 {
        GENERATIONS.restart_after(Generation::from_stored(command.last_generation));
    }
    let activity = activity::begin(private, processors);
    if let Err(report) = activity::wait_until_ready(private.index, processors, 0, command.deadline) {
        return Some(report);
    }
    stay(private, command, state);
    fault::set(Fault::Nothing);
    Some(activity::end(private, processors, activity, command.deadline, activity::report(Status::Done)))
}

/// Another processor's part.
pub(crate) fn follow(private: &'static Private, command: &Serve) {
    if let Some(state) = TargetState::from_wire(command.target_state) {
        stay(private, command, state);
    }
}

fn stay(private: &'static Private, command: &Serve, state: TargetState) {
    let timer = Timer { period: command.timer_period, deadline: command.timer_deadline };
    participant::enter(private, GuestRoute::Host);
    timer.start(private);
    // Only a target that polls would have to know how to wait.
    participant::stay(private, GuestRoute::Host, Destination::AllButSelf, state, Wait::Spin);
    timer.stop(private);
    if command.observe != 0 {
        participant::take_pending_interrupts();
    }
}
