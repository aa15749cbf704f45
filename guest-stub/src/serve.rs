//! All processors stay in a target state, vCPU 0 too, where the host calls them.

use crate::activity;
use crate::conformance::{devices::Timer, fault, verify};
use crate::participant;
use crate::processor::{GENERATIONS, Private};
use guest_stub::abi::command::Serve;
use guest_stub::abi::{Destination, Fault, GuestRoute, Report, Status, TargetState};
use guest_stub::rendezvous::Generation;

/// vCPU 0's part. `None`: the command is not valid.
pub(crate) fn lead(private: &'static Private, processors: usize, command: &Serve) -> Option<Report> {
    let state = TargetState::from_wire(command.target_state)?;
    fault::set(Fault::from_wire(command.fault)?);
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
    participant::stay(private, GuestRoute::Host, Destination::AllButSelf, state);
    timer.stop(private);
    if command.observe != 0 {
        participant::take_pending_interrupts();
    }
}
